"""Transcripts of other programs are recognized by their shape, with words in seconds, and never in a wrong unit."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.errors import InputError
from cartesia_cli.output import FORMATS, Layout, writer
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.transcript import Transcript
from cartesia_cli.transcript_import import load_transcripts
from tests.conftest import Run
from tests.test_words_and_text import without_frame

TEXT = "Good morning, Anna. How are you?"
SPOKEN = (
    Word("Good", 0.24, 0.5), Word("morning,", 0.5, 0.98), Word("Anna.", 1.02, 1.4),
    Word("How", 2.1, 2.3), Word("are", 2.3, 2.44), Word("you?", 2.44, 2.8),
)  # fmt: skip
TURNS = ((0, 3, "Good morning, Anna."), (3, 6, "How are you?"))


def ms(seconds: float | None) -> int:
    return round((seconds or 0.0) * 1000)


def bare(word: str) -> str:
    return word.strip(",.?").lower()


ASSEMBLYAI_WORDS = [
    {"text": w.word, "start": ms(w.start), "end": ms(w.end), "confidence": 0.98, "speaker": "AB"[k > 2]}
    for k, w in enumerate(SPOKEN)
]
ASSEMBLYAI = {
    "id": "9ea68fd3-f953-42c1-9742-976c447fb463", "audio_url": "https://assembly.ai/wildfires.mp3",
    "status": "completed", "language_code": "en_us", "speech_model": "best", "text": TEXT, "words": ASSEMBLYAI_WORDS,
    "utterances": [
        {"speaker": "AB"[k], "start": ms(SPOKEN[a].start), "end": ms(SPOKEN[b - 1].end), "text": text,
         "confidence": 0.97, "words": ASSEMBLYAI_WORDS[a:b]}
        for k, (a, b, text) in enumerate(TURNS)
    ],
    "confidence": 0.97, "audio_duration": 3, "punctuate": True, "error": None,
}  # fmt: skip

DEEPGRAM = {
    "metadata": {
        "transaction_key": "deprecated", "request_id": "a847f427-4ad5-4d67-9b95-db801e58251c", "sha256": "154e29",
        "created": "2026-05-12T18:57:13.426Z", "duration": 3.2, "channels": 1, "models": ["30089e05"],
    },
    "results": {
        "channels": [
            {"alternatives": [
                {"transcript": TEXT, "confidence": 0.99, "words": [
                    {"word": bare(w.word), "start": w.start, "end": w.end, "confidence": 0.99,
                     "punctuated_word": w.word, "speaker": int(k > 2), "speaker_confidence": 0.7}
                    for k, w in enumerate(SPOKEN)
                ]}
            ]}
        ],
    },
}  # fmt: skip


def google(start: str, end: str, speaker: str, labels: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [
        {"alternatives": [{"transcript": " " * (a > 0) + text, "confidence": 0.9, "words": [
            {start: f"{w.start}s", end: f"{w.end}s", "word": w.word, "confidence": 0.9, speaker: labels[a > 0]}
            for w in SPOKEN[a:b]
        ]}], f"result{end[0].upper()}{end[1:]}": f"{SPOKEN[b - 1].end}s", "languageCode": "en-us"}
        for a, b, text in TURNS
    ]  # fmt: skip


GOOGLE_V1 = {
    "results": google("startTime", "endTime", "speakerTag", (1, 2)),
    "totalBilledTime": "15s",
    "requestId": "7",
}
GOOGLE_LONG_RUNNING = {
    "name": "6212202767953098955",
    "metadata": {"@type": "type.googleapis.com/google.cloud.speech.v1.LongRunningRecognizeMetadata"},
    "done": True,
    "response": {"@type": "type.googleapis.com/google.cloud.speech.v1.LongRunningRecognizeResponse", **GOOGLE_V1},
}
GOOGLE_V2 = {
    "results": google("startOffset", "endOffset", "speakerLabel", ("1", "2")),
    "metadata": {"totalBilledDuration": "4s"},
}


def aws_items() -> Iterator[dict[str, Any]]:
    for k, w in enumerate(SPOKEN):
        label = f"spk_{int(k > 2)}"
        yield {
            "id": k, "type": "pronunciation", "start_time": str(w.start), "end_time": str(w.end),
            "speaker_label": label, "alternatives": [{"confidence": "0.998", "content": w.word.strip(",.?")}],
        }  # fmt: skip
        if w.word[-1] in ",.?":
            alternatives = [{"confidence": "0.0", "content": w.word[-1]}]
            yield {"id": k, "type": "punctuation", "speaker_label": label, "alternatives": alternatives}


AWS = {
    "jobName": "my-first-transcription-job", "accountId": "111122223333", "status": "COMPLETED",
    "results": {"transcripts": [{"transcript": TEXT}], "items": list(aws_items())},
}  # fmt: skip

ELEVENLABS = {
    "language_code": "eng", "language_probability": 0.98, "text": TEXT, "transcription_id": "t-1",
    "words": [
        entry
        for k, w in enumerate(SPOKEN)
        for entry in (
            {"text": " ", "start": SPOKEN[k - 1].end, "end": w.start, "type": "spacing", "speaker_id": "speaker_0"},
            {"text": w.word, "start": w.start, "end": w.end, "type": "word", "speaker_id": f"speaker_{int(k > 2)}"},
        )
    ][1:],
}  # fmt: skip

WHISPERX = {
    "segments": [
        {"start": SPOKEN[a].start, "end": SPOKEN[b - 1].end, "text": " " + text, "speaker": f"SPEAKER_0{k}", "words": [
            {"word": w.word, "start": w.start, "end": w.end, "score": 0.9, "speaker": f"SPEAKER_0{k}"}
            for w in SPOKEN[a:b]
        ]}
        for k, (a, b, text) in enumerate(TURNS)
    ],
    "word_segments": [{"word": w.word, "start": w.start, "end": w.end, "score": 0.9} for w in SPOKEN],
    "language": "en",
}  # fmt: skip


def whisper_cpp(*, full: bool) -> dict[str, Any]:
    def times(start: float | None, end: float | None) -> dict[str, Any]:
        stamps = [f"00:00:0{ms(time) // 1000},{ms(time) % 1000:03}" for time in (start, end)]
        return {"timestamps": {"from": stamps[0], "to": stamps[1]}, "offsets": {"from": ms(start), "to": ms(end)}}

    def tokens(words: tuple[Word, ...]) -> Iterator[dict[str, Any]]:
        yield {"text": "[_BEG_]", **times(0, 0), "id": 50363, "p": 0.9, "t_dtw": -1}
        for w in words:
            middle = ((w.start or 0) + (w.end or 0)) / 2
            yield {"text": f" {w.word[:2]}", **times(w.start, middle), "id": 400, "p": 0.9, "t_dtw": -1}
            yield {"text": w.word[2:], **times(middle, w.end), "id": 401, "p": 0.9, "t_dtw": -1}
        yield {"text": "[_TT_140]", **times(2.8, 2.8), "id": 50503, "p": 0.3, "t_dtw": -1}

    return {
        "systeminfo": "AVX = 1 | AVX2 = 1", "model": {"type": "base", "multilingual": False, "vocab": 51864},
        "params": {"model": "models/ggml-base.en.bin", "language": "en", "translate": False},
        "result": {"language": "en"},
        "transcription": [
            {**times(SPOKEN[a].start, SPOKEN[b - 1].end), "text": " " + text}
            | ({"tokens": list(tokens(SPOKEN[a:b]))} if full else {})
            for a, b, text in TURNS
        ],
    }  # fmt: skip


VERBOSE_JSON = {
    "task": "transcribe", "language": "english", "duration": 3.2, "text": TEXT,
    "segments": [
        {"id": k, "seek": 0, "start": SPOKEN[a].start, "end": SPOKEN[b - 1].end, "text": " " + text, "tokens": [50364],
         "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.2, "no_speech_prob": 0.01}
        for k, (a, b, text) in enumerate(TURNS)
    ],
    "words": [{"word": w.word, "start": w.start, "end": w.end} for w in SPOKEN],
}  # fmt: skip

FASTER_WHISPER = [
    {"id": k + 1, "seek": 320, "start": SPOKEN[a].start, "end": SPOKEN[b - 1].end, "text": " " + text, "tokens": [1],
     "words": [[w.start, w.end, f" {w.word}", 0.98] for w in SPOKEN[a:b]], "temperature": 0.0}
    for k, (a, b, text) in enumerate(TURNS)
]  # fmt: skip

CARTESIA = {
    "type": "transcript", "text": TEXT, "language": "en", "duration": 3.2, "request_id": "r-1",
    "words": [{"word": w.word, "start": w.start, "end": w.end} for w in SPOKEN],
}  # fmt: skip

HUGGING_FACE = {
    "text": f" {TEXT}", "chunks": [{"text": f" {w.word}", "timestamp": [w.start, w.end]} for w in SPOKEN],
}  # fmt: skip

WITH_WORDS: dict[str, Any] = {
    "AssemblyAI": ASSEMBLYAI, "Deepgram": DEEPGRAM, "Google v1": GOOGLE_V1, "Google operation": GOOGLE_LONG_RUNNING,
    "Google v2": GOOGLE_V2, "AWS": AWS, "ElevenLabs": ELEVENLABS, "WhisperX": WHISPERX,
    "whisper.cpp full": whisper_cpp(full=True), "verbose_json": VERBOSE_JSON, "faster-whisper": FASTER_WHISPER,
    "Cartesia": CARTESIA, "Hugging Face": HUGGING_FACE,
}  # fmt: skip
SPEAKERS = {
    "AssemblyAI": ("A", "B"), "Deepgram": ("0", "1"), "Google v1": ("1", "2"), "Google operation": ("1", "2"),
    "Google v2": ("1", "2"), "AWS": ("spk_0", "spk_1"), "ElevenLabs": ("speaker_0", "speaker_1"),
    "WhisperX": ("SPEAKER_00", "SPEAKER_01"),
}  # fmt: skip
DURATIONS = {"AssemblyAI": 3.0, "Deepgram": 3.2, "verbose_json": 3.2, "Cartesia": 3.2}


def only(document: Any, source: str = "a.json") -> Transcript:
    (transcript,) = load_transcripts(document if isinstance(document, str) else json.dumps(document), source)
    return transcript


def refusal(document: Any, source: str = "a.json") -> str:
    with pytest.raises(InputError) as caught:
        load_transcripts(document if isinstance(document, str) else json.dumps(document), source)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("name", WITH_WORDS)
def test_words_come_in_seconds_with_their_punctuation_and_speakers(name: str) -> None:
    transcript = only(WITH_WORDS[name])
    assert transcript.text.strip() == TEXT
    assert transcript.words is not None
    assert [(w.word.strip(), w.start, w.end) for w in transcript.words] == [(w.word, w.start, w.end) for w in SPOKEN]
    speakers = SPEAKERS.get(name, (None, None))
    assert [w.speaker for w in transcript.words] == [speakers[0]] * 3 + [speakers[1]] * 3
    assert [(s.text.strip(), s.start, s.end, s.speaker) for s in transcript.segments] == [
        ("Good morning, Anna.", 0.24, 1.4, speakers[0]), ("How are you?", 2.1, 2.8, speakers[1]),
    ]  # fmt: skip
    assert "".join(segment.text for segment in transcript.segments) == transcript.text
    assert {segment.timing for segment in transcript.segments} == {"server"}
    assert transcript.duration == DURATIONS.get(name)


@pytest.mark.parametrize("name", WITH_WORDS)
def test_what_was_imported_is_read_back_from_our_own_json(name: str) -> None:
    transcript = only(WITH_WORDS[name])
    again = only(writer("json")(transcript, Layout(words=True)))
    for form in FORMATS:
        layout = Layout(words=True)
        assert writer(form)(again, layout) == writer(form)(transcript, layout), form
    assert [word.speaker for word in again.words or ()] == [word.speaker for word in transcript.words or ()]


def test_words_that_whisperx_could_not_align_have_the_speaker_of_their_segment() -> None:
    document = copy.deepcopy(WHISPERX)
    for name in ("start", "end", "score", "speaker"):
        for segment, k in ((0, 1), (1, 0)):
            del document["segments"][segment]["words"][k][name]
    transcript = only(document)
    assert [word.speaker for word in transcript.words or ()] == ["SPEAKER_00"] * 3 + ["SPEAKER_01"] * 3
    assert writer("text")(transcript, Layout()) == "SPEAKER_00: Good morning, Anna.\nSPEAKER_01: How are you?\n"


@pytest.mark.parametrize(
    ("document", "speakers"),
    [
        (
            {"words": [
                {"text": "Well", "start": 0.1, "end": 0.3, "type": "word", "speaker_id": "A"},
                {"text": "(laughs)", "start": 0.7, "end": 1.0, "type": "audio_event", "speaker_id": None},
                {"text": "there.", "start": 1.1, "end": 1.5, "type": "word", "speaker_id": "A"},
                {"text": "(coughs)", "start": 1.6, "end": 1.7, "type": "audio_event", "speaker_id": None},
                {"text": "Yes", "start": 1.8, "end": 1.9, "type": "word", "speaker_id": "B"},
            ], "text": "Well (laughs) there. (coughs) Yes"},
            ["A", "A", "A", None, "B"],
        ),
        (
            {"segments": [{"start": 0.1, "end": 6, "text": " Hi. Take 42 now. No.", "speaker": "A", "words": [
                {"word": "Hi.", "start": 0.1, "end": 0.2, "speaker": "A"},
                {"word": "Take", "start": 2.3, "end": 2.6, "speaker": "B"},
                {"word": "42"},
                {"word": "now.", "start": 3.5, "end": 4.5, "speaker": "B"},
                {"word": "No.", "start": 5, "end": 6, "speaker": "A"},
            ]}]},
            ["A", "B", "B", "B", "A"],
        ),
        (
            {"results": [{"alternatives": [{"transcript": "hello my there", "words": [
                {"startTime": "0s", "endTime": "0.5s", "word": "hello", "speakerTag": 1},
                {"startTime": "0.5s", "endTime": "1s", "word": "my", "speakerTag": 0},
                {"startTime": "1s", "endTime": "1.5s", "word": "there", "speakerTag": 1},
            ]}]}]},
            ["1", "1", "1"],
        ),
    ],
    ids=["ElevenLabs", "WhisperX", "Google"],
)  # fmt: skip
def test_words_without_a_speaker_between_two_of_one_speaker_are_of_that_one(
    document: Any, speakers: list[str | None]
) -> None:
    assert [word.speaker for word in only(document).words or ()] == speakers


def test_names_that_only_the_utterances_of_assemblyai_have_are_those_of_their_words() -> None:
    document = copy.deepcopy(ASSEMBLYAI)
    for utterance, name in zip(document["utterances"], ("Ben", "Anna"), strict=True):
        utterance["speaker"] = name
    document["words"] = [{**word, "speaker": None} for word in document["words"]]
    transcript = only(document)
    assert [word.speaker for word in transcript.words or ()] == ["Ben"] * 3 + ["Anna"] * 3
    assert [segment.speaker for segment in transcript.segments] == ["Ben", "Anna"]


def test_older_answers_of_aws_name_speakers_apart_from_their_words() -> None:
    items = [{name: value for name, value in item.items() if name != "speaker_label"} for item in aws_items()]
    times = [{"start_time": item["start_time"]} for item in items if item["type"] == "pronunciation"]
    labels = {
        "segments": [{"speaker_label": "spk_0", "items": times[:3]}, {"speaker_label": "spk_1", "items": times[3:]}]
    }
    found = only({"results": {"items": items, "transcripts": [{"transcript": TEXT}], "speaker_labels": labels}})
    assert [word.speaker for word in found.words or ()] == ["spk_0"] * 3 + ["spk_1"] * 3


def test_stretches_of_hugging_face_are_segments() -> None:
    chunks = [
        {"text": text, "timestamp": [start, end]} for start, end, text in ((0, 2.5, "Hi Anna."), (3, 4.0, " Bye."))
    ]
    found = only({"text": "Hi Anna. Bye.", "chunks": chunks})
    assert [(part.start, part.end, part.text) for part in found.segments] == [(0, 2.5, "Hi Anna."), (3, 4, " Bye.")]
    chunks[1]["timestamp"] = [3, None]  # cut off: the known start is kept
    last = only({"text": "Hi Anna. Bye.", "chunks": chunks}).segments[-1]
    assert (last.start, last.end, last.timing) == (3, pytest.approx(3 + 4 / 15), "estimated")
    chunks[1]["timestamp"] = [None, 4]
    assert only({"text": "Hi Anna. Bye.", "chunks": chunks}).words is not None


def test_channels_of_elevenlabs_become_one_conversation() -> None:
    def part(k: int) -> dict[str, Any]:
        own = [
            {"text": w.word, "start": w.start, "end": w.end, "type": "word", "channel_index": k}
            for w in SPOKEN[3 * k : 3 * k + 3]
        ]
        return {"language_code": "en", "text": TURNS[k][2], "words": own, "channel_index": k}

    transcript = only({"transcripts": [part(1), part(0)], "transcription_id": "t-1"})
    assert (transcript.text, transcript.language, transcript.request_id) == (TEXT, "en", "t-1")
    assert [segment.speaker for segment in transcript.segments] == ["channel 0", "channel 1"]


@pytest.mark.parametrize("blank", ["", " ", None])
def test_blank_speaker_counts_as_missing(blank: str | None) -> None:
    document = copy.deepcopy(WHISPERX)
    for segment in document["segments"]:
        segment["speaker"] = blank
        for word in segment["words"]:
            word["speaker"] = blank
    transcript = only(document)
    assert not transcript.has_speakers
    assert writer("csv")(transcript, Layout()).startswith("number,start,end,word\r\n")


def test_whisper_cpp_without_tokens_has_its_segments() -> None:
    transcript = only(whisper_cpp(full=False))
    assert (transcript.words, transcript.language) == (None, "en")
    assert [(s.text, s.start, s.end) for s in transcript.segments] == [
        (" Good morning, Anna.", 0.24, 1.4), (" How are you?", 2.1, 2.8),
    ]  # fmt: skip


def test_whisper_cpp_with_a_word_a_segment_has_words() -> None:
    document = {"transcription": [
        {"offsets": {"from": ms(w.start), "to": ms(w.end)}, "text": f" {w.word}"} for w in SPOKEN
    ]}  # fmt: skip
    transcript = only(document)
    assert [(w.start, w.end) for w in transcript.words or ()] == [(w.start, w.end) for w in SPOKEN]
    assert [segment.text for segment in transcript.segments] == [" Good morning, Anna.", " How are you?"]


def test_characters_that_tokens_of_whisper_cpp_divide_are_whole(run: Run, tmp_path: Path) -> None:
    halves = "é".encode()
    document = b"".join([
        b'{"transcription": [{"offsets": {"from": 0, "to": 900}, "text": " caf\xc3\xa9", "tokens": [',
        b'{"text": " caf", "offsets": {"from": 0, "to": 500}}, {"text": "', halves[:1],
        b'", "offsets": {"from": 500, "to": 700}}, {"text": "', halves[1:],
        b'", "offsets": {"from": 700, "to": 900}}]}]}',
    ])  # fmt: skip
    (tmp_path / "a.json").write_bytes(document)
    done = run("render", "a.json", "-f", "csv")
    assert (done.returncode, done.stdout) == (0, "number,start,end,word\r\n1,0.000,0.900,café\r\n".encode())


def test_openais_diarized_json_has_speakers_and_segments() -> None:
    segments = [
        {"type": "transcript.text.segment", "id": f"seg_{k}", "start": SPOKEN[a].start, "end": SPOKEN[b - 1].end,
         "text": f" {text}", "speaker": "AB"[k]}
        for k, (a, b, text) in enumerate(TURNS)
    ]  # fmt: skip
    transcript = only({"task": "transcribe", "duration": 3.2, "text": TEXT, "segments": segments})
    assert (transcript.text, transcript.words, transcript.duration) == (TEXT, None, 3.2)
    assert [(s.start, s.end, s.speaker) for s in transcript.segments] == [(0.24, 1.4, "A"), (2.1, 2.8, "B")]


DIARIZED = (
    ("agent", "Thanks for calling OpenAI support."),
    ("A", "Hi, how do I enable it?"),
    ("agent", "A: Like this."),
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"Agent: {DIARIZED[0][1]}\nA: {DIARIZED[1][1]}\nSpeaker agent: {DIARIZED[2][1]}", None),
        (f"{DIARIZED[0][1]} A: {DIARIZED[1][1]} {DIARIZED[2][1]}", None),
        (" ".join(text for _, text in DIARIZED), "the text"),
        (f"Note: {DIARIZED[0][1]} {DIARIZED[1][1]} {DIARIZED[2][1]}", "the text"),
        (f"Agent: {DIARIZED[0][1]} {DIARIZED[1][1]} {DIARIZED[2][1]} More.", "the text"),
    ],
)
def test_labels_that_only_the_text_of_diarized_json_has_are_not_words(text: str, wanted: str | None) -> None:
    segments = [
        {"type": "transcript.text.segment", "id": f"seg_{k}", "start": k * 5.0, "end": k * 5 + 4.5}
        | {"text": t, "speaker": s}
        for k, (s, t) in enumerate(DIARIZED)
    ]
    (t,) = load_transcripts(json.dumps({"task": "transcribe", "duration": 15.0, "text": text, "segments": segments}))
    assert t.text == (text if wanted else " ".join(said for _, said in DIARIZED))
    if not wanted:
        assert [(s.start, s.end, s.speaker, s.text.strip()) for s in t.segments] == [
            (k * 5.0, k * 5 + 4.5, *turn) for k, turn in enumerate(DIARIZED)
        ]


def test_assemblyai_without_utterances_or_words_is_still_in_milliseconds() -> None:
    words = {name: value for name, value in ASSEMBLYAI.items() if name != "utterances"}
    assert [w.start for w in only(words).words or ()] == [w.start for w in SPOKEN]
    utterances = {name: value for name, value in ASSEMBLYAI.items() if name not in ("words", "text")}
    assert [w.start for w in only(utterances).words or ()] == [w.start for w in SPOKEN]
    assert only(utterances).text == TEXT
    sentences = {"sentences": [
        {name: u[name] for name in ("text", "start", "end", "confidence")} for u in ASSEMBLYAI["utterances"]
    ], "id": "5", "confidence": 0.9, "audio_duration": 3}  # fmt: skip
    assert [segment.end for segment in only(sentences).segments] == [1.4, 2.8]


def test_members_that_are_empty_do_not_hide_those_that_say_the_same() -> None:
    sentences = [{**utterance, "speaker": None} for utterance in ASSEMBLYAI["utterances"]]
    document = {**ASSEMBLYAI, "utterances": [], "sentences": sentences, "words": []}
    assert [w.start for w in only(document).words or ()] == [w.start for w in SPOKEN]
    heard = [
        {"word": "hello", "start": 0.1, "end": 0.5, "punctuated_word": ""},
        {"word": "", "start": 0.5, "end": 0.5},
        {"word": "you", "start": 0.5, "end": 1.0, "punctuated_word": None},
    ]
    deepgram = copy.deepcopy(DEEPGRAM)
    deepgram["results"]["channels"] = [{"alternatives": [{"transcript": "hello you", "words": heard}]}]
    assert [w.start for w in only(deepgram).words or () if w.word] == [0.1, 0.5]
    spoken = [
        {"startTime": "0.1s", "endTime": "0.5s", "word": "hello", "speakerLabel": "0", "speakerTag": 1},
        {"startOffset": "", "startTime": "0.5s", "endTime": "1s", "word": "you", "speakerLabel": "", "speakerTag": 2},
    ]
    result = {"alternatives": [{"transcript": "hello you", "words": spoken}], "languageCode": "", "language_code": "en"}
    google = only({"results": [result]})
    assert [(w.start, w.speaker) for w in google.words or ()] == [(0.1, "1"), (0.5, "2")]
    assert google.language == "en"


def test_answers_without_a_transcript_say_so() -> None:
    other = {"results": [{"type": "word", "start_time": 0.1, "alternatives": [{"content": "Hi"}]}], "format": "2.9"}
    assert "not a transcript" in refusal(other)
    assert "not a transcript" in refusal({"monologues": [{"elements": [{"type": "text", "value": "Hi", "ts": 0.2}]}]})
    assert "an error response" in refusal({"id": "5", "status": "error", "text": None, "error": "Download error"})
    assert "neither text nor words" in refusal({"id": "5", "status": "queued", "text": None, "words": None})
    assert "gs://b/a.wav: No such object" in refusal(
        {"results": {"gs://b/a.wav": {"error": {"message": "No such object"}, "transcript": None}}}
    )
    empty = copy.deepcopy(DEEPGRAM)
    empty["results"]["channels"] = [{"alternatives": []}]
    assert "there are no results" in refusal(empty)
    assert "there are no results" in refusal({"results": {"gs://b/a.wav": {"transcript": {"results": []}}}})


def test_times_of_aws_that_are_no_decimals_are_refused_and_an_opening_mark_at_the_end_is_kept() -> None:
    items = [*aws_items()]
    items[0]["start_time"] = "0,24"
    results: dict[str, Any] = {"items": items, "transcripts": [{"transcript": TEXT}]}
    assert 'start_time is a string, where seconds such as "4.87" belong' in refusal({"results": results})
    opening = {"type": "punctuation", "alternatives": [{"content": "«"}]}
    labels = {"segments": [{"speaker_label": "spk_0", "items": [{"start_time": None}]}]}
    found = only({"results": {"items": [*aws_items(), opening], "speaker_labels": labels}})
    assert found.words is not None and found.words[-1].word == "«"


def test_chunks_and_tokens_without_their_times_are_refused() -> None:
    assert "chunks[0].timestamp is missing" in refusal({"text": "a", "chunks": [{"text": "a"}]})
    assert "chunks[0].timestamp is a number" in refusal({"text": "a", "chunks": [{"text": "a", "timestamp": 3}]})
    assert "offsets is missing" in refusal({"systeminfo": "", "transcription": [{"text": "a"}]})


def test_channels_become_one_conversation_in_order_of_time() -> None:
    channels = []
    for label, words in (("ch_0", SPOKEN[:3]), ("ch_1", SPOKEN[3:])):
        later = Word("Fine.", 4.0, 4.4) if label == "ch_0" else None
        channels.append([*words, *filter(None, [later])])
    expected = "Good morning, Anna. How are you? Fine."
    deepgram = {"results": {"channels": [
        {"alternatives": [{"transcript": " ".join(w.word for w in own), "words": [
            {"word": w.word, "start": w.start, "end": w.end} for w in own]}]}
        for own in channels
    ]}, "metadata": {"duration": 5.0, "channels": 2}}  # fmt: skip
    transcript = only(deepgram)
    assert transcript.text == expected
    assert [segment.speaker for segment in transcript.segments] == ["channel 0", "channel 1", "channel 0"]
    assert [word.start for word in transcript.words or ()] == [0.24, 0.5, 1.02, 2.1, 2.3, 2.44, 4.0]
    items = [
        {"type": "pronunciation", "start_time": str(w.start), "end_time": str(w.end), "channel_label": f"ch_{k}",
         "alternatives": [{"content": w.word}]}
        for k, own in enumerate(channels) for w in own
    ]  # fmt: skip
    aws = {"results": {"transcripts": [{"transcript": "Good morning, Anna. Fine. How are you?"}], "items": items}}
    assert only(aws).text == expected
    tagged = {"results": [
        {"channelTag": k + 1, "alternatives": [{"transcript": " ".join(w.word for w in own), "words": [
            {"word": w.word, "startTime": f"{w.start}s", "endTime": f"{w.end}s"} for w in own]}]}
        for k, own in enumerate(channels)
    ]}  # fmt: skip
    assert only(tagged).text == expected


def test_words_that_google_repeats_with_their_speakers_are_there_once() -> None:
    plain = google("startTime", "endTime", "speakerTag", (0, 0))
    tagged = google("startTime", "endTime", "speakerTag", (1, 2))
    words = [word for result in tagged for word in result["alternatives"][0]["words"]]
    transcript = only({"results": [*plain, {"alternatives": [{"words": words}]}]})
    assert transcript.text == TEXT
    assert [word.speaker for word in transcript.words or ()] == ["1", "1", "1", "2", "2", "2"]


def test_durations_of_google_are_read_in_every_spelling() -> None:
    for start, end in (("0.300s", "1s"), ({"nanos": 3e8}, {"seconds": "1"}), ({"seconds": 0, "nanos": 3e8}, "1.000s")):
        for names in (("startTime", "endTime"), ("start_offset", "end_offset")):
            word = {"word": "Hello", names[0]: start, names[1]: end}
            transcript = only({"results": [{"alternatives": [{"transcript": "Hello", "words": [word]}]}]})
            assert [(w.start, w.end) for w in transcript.words or ()] == [(0.3, 1.0)]
    omitted = {"word": "Hello", "endTime": "1s"}
    transcript = only({"results": [{"alternatives": [{"transcript": "Hello", "words": [omitted]}]}]})
    assert [(w.start, w.end) for w in transcript.words or ()] == [(0.0, 1.0)]
    assert "is a string, where a duration" in refusal(
        {"results": [{"alternatives": [{"words": [omitted | {"endTime": "1300"}]}]}]}
    )


@pytest.mark.parametrize("end", ["resultEndTime", "resultEndOffset", "result_end_time"])
def test_results_of_google_without_word_times_are_segments_that_end_when_they_say(end: str) -> None:
    texts = ("Good morning, Anna.", " How are you?", " Fine.")
    results = [
        {"alternatives": [{"transcript": text}], end: f"{seconds}s"}
        for text, seconds in zip(texts, (60, "120.500", 3600), strict=True)
    ]
    (t,) = load_transcripts(json.dumps({"results": results}))
    assert [(s.start, s.end, s.text, s.timing) for s in t.segments] == [
        (0, 60, texts[0], "server"), (60, 120.5, texts[1], "server"), (120.5, 3600, texts[2], "server"),
    ]  # fmt: skip
    silent = [results[0], {end: "100s"}, results[1], results[2]]
    assert [s.start for s in only({"results": silent}).segments] == [0, 100, 120.5]
    channels = [result | {"channelTag": 1 + k % 2} for k, result in enumerate(results)]
    assert [(s.start, s.end, s.speaker) for s in only({"results": channels}).segments] == [
        (0, 60, "channel 1"), (0, 120.5, "channel 2"), (60, 3600, "channel 1"),
    ]  # fmt: skip
    del results[1][end]
    assert not only({"results": results}).segments


def test_a_batch_of_google_is_a_transcript_for_each_file() -> None:
    batch = {"results": {name: {"transcript": GOOGLE_V2} for name in ("gs://b/a.wav", "gs://b/c.wav")}}
    transcripts = load_transcripts(json.dumps(batch))
    assert [transcript.source for transcript in transcripts] == ["gs://b/a.wav", "gs://b/c.wav"]
    assert {transcript.text for transcript in transcripts} == {TEXT}


def test_opening_punctuation_belongs_to_the_next_word() -> None:
    def item(kind: str, content: str, *times: str) -> dict[str, Any]:
        return {"type": kind, "alternatives": [{"content": content}]} | dict(
            zip(("start_time", "end_time"), times, strict=False)
        )

    items = [item("punctuation", "¿"), item("pronunciation", "Qué", "0.1", "0.4"), item("punctuation", "?")]
    transcript = only({"results": {"transcripts": [{"transcript": "¿Qué?"}], "items": items}})
    assert transcript.words == (Word("¿Qué?", 0.1, 0.4),)


# Subtitles -------------------------------------------------------------------------------------------------

SRT = (
    "1\n00:00:01,000 --> 00:00:02,500\n<i>Good morning,\nAnna.</i>\n\n2\n00:00:03,000 --> 00:00:04,000\nHow are you?\n"
)
VTT = (
    "WEBVTT\n\nNOTE nothing\n\n00:01.000 --> 00:02.500 line:0\n<v Ben>Good morning,\nAnna.</v>\n\n"
    "00:03.000 --> 00:04.000\n<v.loud Anna Lee>How &amp; <00:03.500>why?\n"
)


@pytest.mark.parametrize("source", ["talk.srt", "talk.json", "-"])
def test_cues_of_subtitles_are_segments(source: str) -> None:
    transcript = only(SRT, source)
    assert (transcript.text, transcript.words) == (TEXT, None)
    assert [(s.start, s.end, s.text) for s in transcript.segments] == [
        (1.0, 2.5, "Good morning, Anna."), (3.0, 4.0, " How are you?"),
    ]  # fmt: skip


def test_voices_of_webvtt_are_speakers() -> None:
    transcript = only("\ufeff" + VTT, "talk.vtt")
    assert transcript.text == "Good morning, Anna. How & why?"
    assert [segment.speaker for segment in transcript.segments] == ["Ben", "Anna Lee"]


def test_our_own_subtitles_are_read_back() -> None:
    transcript = only(CARTESIA)
    for form in ("srt", "vtt"):
        again = only(writer(form)(transcript, Layout()), f"a.{form}")
        assert again.text == TEXT
        assert (again.segments[0].start, again.segments[-1].text[-4:]) == (0.24, "you?")


def test_text_of_subtitles_is_kept_or_reported() -> None:
    assert only(SRT.replace("How", "How\n\nreally"), "a.srt").text == "Good morning, Anna. How really are you?"
    assert refusal(SRT.replace("00:00:03,000 --> 00:00:04,000", "00:00:03,000 --> soon"), "a.srt").startswith(
        "a.srt, line 7: times can't be read: "
    )
    assert refusal("By Ben\n\n" + SRT, "a.srt") == "a.srt, line 1: text without times: By Ben"
    assert refusal("WEBVTT\n", "a.vtt") == "a.vtt has no cues"
    assert refusal("Dear diary", "a.srt").startswith("a.srt, line 1: text without times")
    assert refusal("", "a.srt") == "a.srt is empty"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"])
@pytest.mark.parametrize("text", [SRT, VTT, json.dumps(CARTESIA)])
def test_other_encodings_of_unicode_are_read(run: Run, tmp_path: Path, encoding: str, text: str) -> None:
    (tmp_path / "a").write_bytes(text.encode(encoding))
    done = run("render", "a")
    assert (done.returncode, done.stdout.removeprefix(b"Ben: ")[:13], done.stderr) == (0, b"Good morning,", b"")


def test_subtitles_in_an_old_encoding_are_read_and_it_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_bytes(SRT.replace("Good", "“Café”").encode("cp1252"))
    done = run("render", "a.srt")
    assert done.stdout.decode().startswith("“Café” morning")
    assert done.stderr == b"warning: a.srt is not UTF-8: it was read as Windows-1252\n"


# Wrong units -----------------------------------------------------------------------------------------------


def scaled(value: Any, factor: float) -> Any:
    """A document with all its times multiplied."""
    if isinstance(value, list):
        return [scaled(item, factor) for item in value]
    if isinstance(value, dict):
        return {
            name: item * factor
            if name in ("start", "end", "from", "to") and isinstance(item, int | float)
            else scaled(item, factor)
            for name, item in value.items()
        }
    return value


SECONDS = {"text": TEXT, "words": CARTESIA["words"], "duration": 3.2}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (scaled(SECONDS, 1000), "times go up to 2800 s, 2796.8 s beyond the end of a recording of 3.2 s"),
        (scaled({"text": TEXT, "words": CARTESIA["words"]}, 1000), "words last 310 s in the median"),
        (scaled({**SECONDS, "duration": 3200}, 1000), "words last 310 s in the median"),
        (scaled({"text": "Hi", "words": [{"word": "Hi", "start": 0.25, "end": 0.65}]}, 1000), "words last 400 s"),
        ({"text": TEXT, "words": [{"text": w["text"], "start": w["start"], "end": w["end"]} for w in ASSEMBLYAI_WORDS]},
         "words last 310 s in the median"),
        (ASSEMBLYAI["utterances"], "words last 310 s in the median"),
        ([{name: w[name] for name in ("text", "start", "end", "confidence")} for w in ASSEMBLYAI_WORDS],
         "segments last 310 s in the median"),
        (scaled(WHISPERX, 1000), "words last 310 s in the median"),
        (scaled([{k: s[k] for k in ("start", "end", "text")} for s in VERBOSE_JSON["segments"]], 1000),
         "segments last 930 s in the median"),
        (scaled({"segments": [{"start": 0.2, "end": 2.8, "text": TEXT}]}, 1000), "segments last 2600 s in the median"),
        ([{"start": 250, "end": 650, "text": "Smoke"}], "segments last 400 s in the median"),
        (scaled(DEEPGRAM, 1000), "times go up to 2800 s"),
        (scaled(VERBOSE_JSON, 1000), "times go up to 2800 s"),
        ({"text": TEXT, "chunks": [{"text": w.word, "timestamp": [ms(w.start), ms(w.end)]} for w in SPOKEN]},
         "words last 310 s in the median"),
        (scaled(ELEVENLABS, 1000), "words last 310 s in the median"),
        (scaled(CARTESIA, 0.001), "characters a second: too short"),
        ({"source": "a", "model": "m", "segments": [], **scaled(SECONDS, 1000)}, "times go up to 2800 s"),
        ({**ASSEMBLYAI, "words": [{**w, "end": w["end"] + 0.5} for w in ASSEMBLYAI_WORDS]},
         "words[0].end is 500.5, where a whole number of milliseconds belongs"),
        ({**CARTESIA, "words": list(reversed(CARTESIA["words"]))}, "of 6 words begin before those that precede them"),
    ],
)  # fmt: skip
def test_times_in_a_wrong_unit_or_order_are_refused(document: Any, said: str) -> None:
    message = refusal(document)
    assert message.startswith("a.json: ")
    assert said in message


def test_the_refusal_is_exit_code_3(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(scaled(SECONDS, 1000)))
    done = run("render", "a.json", "-f", "srt")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"2796.8 s beyond the end" in done.stderr
    assert b"\nhint: if these are milliseconds, divide them by 1000 first" in done.stderr


def test_slightly_wrong_duration_is_accepted() -> None:
    assert only({**CARTESIA, "duration": 0.2}).words == SPOKEN
    assert (
        only({"text": "Hi.", "duration": 3600.0, "segments": [{"start": 0, "end": 3600, "text": "Hi."}]}).text == "Hi."
    )


@pytest.mark.parametrize("value", [-5, -0.5, 1e308, 1e300, float("nan"), "end"])
def test_single_times_that_can_not_be_true_are_estimated(value: Any) -> None:
    document = copy.deepcopy(CARTESIA)
    del document["duration"]
    document["words"][2] = {"word": "Anna.", "start": 1.02, "end": 0.5 if value == "end" else value}
    told = json.loads(writer("json")(only(document), Layout(words=True)))["words"]
    assert [word.get("timing") for word in told] == [None, None, "estimated", None, None, None]
    assert 0.98 <= told[2]["start"] <= told[2]["end"] <= 2.1
    segments = [{"start": 0.0, "end": 1.0, "text": "A."}, {"start": 1.5, "end": 0.2 if value == "end" else value,
                 "text": "B."}, {"start": 3.0, "end": 4.0, "text": "C."}]  # fmt: skip
    if value != value:
        return  # a segment without an end is refused
    found = only({"segments": segments}).segments
    assert [segment.timing for segment in found] == ["server", "estimated", "server"]
    assert 1.0 <= found[1].start <= found[1].end <= 3.0


@pytest.mark.parametrize("duration", [-5, 1e308, float("inf"), float("nan")])
def test_durations_that_can_not_be_true_reach_no_result(duration: float) -> None:
    for document in (CARTESIA | {"duration": duration}, VERBOSE_JSON | {"duration": duration}):
        transcript = only(document)
        assert transcript.duration is None
        for form in FORMATS:
            written = without_frame(writer(form)(transcript, Layout(words=True)), form)
            assert "-5" not in written and "e+308" not in written and "inf" not in written.lower()


# Any mutation of any of them -------------------------------------------------------------------------------

PIECES: list[Any] = [
    None, True, -1, 0, 1, 250, 1e9, 1e308, -5.5, "", "x", "4.87", "1.3s", "nan", [], {}, [[]], "\ud800", {"a": 1},
]  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every member of a document: what holds it, and its name or number there."""
    if isinstance(value, dict | list):
        for name in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, name
            yield from places(value[name])


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    document = copy.deepcopy({"it": draw(st.sampled_from([*WITH_WORDS.values(), whisper_cpp(full=False)]))})
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(document["it"]))
        if not found:
            break
        _mutate(draw, *draw(st.sampled_from(found)), found)
    return document["it"]


def _mutate(draw: st.DrawFn, holder: Any, name: Any, found: list[tuple[Any, Any]]) -> None:
    """Replace, leave out, exchange or scale one member."""
    match draw(st.sampled_from(["replace", "leave out", "exchange", "scale"])):
        case "replace":
            holder[name] = copy.deepcopy(draw(st.sampled_from(PIECES)))
        case "leave out":
            del holder[name]
        case "exchange":
            other, its = draw(st.sampled_from(found))
            holder[name] = copy.deepcopy(other[its])
        case "scale" if isinstance(holder[name], int | float):
            holder[name] *= draw(st.sampled_from([0.001, 1000, -1]))


@pytest.mark.waits
@given(mutated())
def test_no_mutation_of_a_document_gives_a_traceback_or_times_in_another_unit(document: Any) -> None:
    try:
        transcripts = load_transcripts(json.dumps(document), "a.json")
    except InputError as error:
        assert error.hint and "\n" not in error.message
        return
    for transcript in transcripts:
        for form in FORMATS:
            writer(form)(transcript, Layout(words=True))
        times = transcript.word_times()
        assert all(0 <= time.start <= time.end for time in times)
        told = [time for time in times if not time.estimated]
        lengths = sorted(time.end - time.start for time in told if time.end > time.start)
        assert not lengths or lengths[len(lengths) // 2] <= 30
        for segment in transcript.segments:
            assert 0 <= segment.start <= segment.end
