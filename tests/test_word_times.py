"""Word times of the offline engines: by loudness, by forced alignment, and how true they are."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect

from cartesia_cli.audio.pcm import RATE, Samples, encode_s16le
from cartesia_cli.protocol.constants import API_VERSION, build_url
from cartesia_cli.protocol.events import Delta, TurnEnd, decode
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.protocol.realtime import AUTO, MANUAL, Close, Endpoint, RealtimeOptions, encode_command
from cartesia_cli.server import forced_alignment
from cartesia_cli.server.app import ServerConfig, create_app
from cartesia_cli.server.engine_choice import load_batch_engine, load_live_engine
from cartesia_cli.server.forced_alignment import Aligner, WordAligner
from cartesia_cli.server.observer import SilentObserver
from cartesia_cli.server.runner import serve_in_background
from cartesia_cli.server.spoken_form import pronounce, spell_out
from cartesia_cli.server.word_times import TimeSpan, correct, find_speech, place
from tests.speech import recite, say_words, silence
from tests.word_errors import are_in_order, most_in_a_pause, start_errors

SENTENCES = (
    "Every winter the lake freezes and people skate across to an island.",
    "Could you please tell me whether this bus stops near your hospital?",
    "Someone left a wet umbrella leaning against my new bookshelf.",
    "Large clouds gathered slowly while farmers hurried home with their hay.",
    "Most engineers I know prefer simple tools that never surprise anybody.",
    "Kowalski phoned Thursday evening and apologized for breaking our window.",
)
PAUSES = (0.4, 2.5, 0.6, 1.8, 0.9, 2.0)
"""Seconds before each sentence: with all of them, the recording fits into one window of Whisper, which has 30 s."""


def tone(seconds: float, level: float = 0.3) -> Samples:
    return (level * np.sin(np.arange(int(seconds * RATE)) * 0.3)).astype(np.float32)


def white_noise(seconds: float, level: float) -> Samples:
    return np.random.default_rng(1).normal(0, level, int(seconds * RATE)).astype(np.float32)


def close(spans: Sequence[tuple[float, ...]], expected: Sequence[TimeSpan]) -> bool:
    return np.allclose([span[:2] for span in spans], expected, atol=0.011)


TWO_TONES = np.concatenate([silence(1), tone(1), silence(1), tone(1), silence(1)])
"""Speech from 1 to 2 s and from 3 to 4 s, as far as loudness tells."""


def test_speech_is_found_between_pauses() -> None:
    assert close(find_speech(TWO_TONES), [(1, 2), (3, 4)])


def test_speech_includes_the_short_silence_of_a_stop_consonant() -> None:
    assert close(find_speech(np.concatenate([silence(0.5), tone(0.5), silence(0.1), tone(0.5)])), [(0.5, 1.6)])


def test_clicks_and_an_offset_of_the_level_are_not_speech() -> None:
    click = np.concatenate([silence(0.4), tone(0.02), silence(0.58)])
    assert close(find_speech(np.concatenate([click, TWO_TONES]) + np.float32(0.2)), [(2, 3), (4, 5)])


def test_digital_silence_has_no_speech() -> None:
    assert find_speech(silence(1)) == find_speech(silence(0)) == []


def test_words_that_reach_into_a_pause_end_and_begin_with_speech() -> None:
    recognized = [(1.1, 1.5), (1.5, 2.6), (2.6, 3.5), (3.5, 3.9)]
    assert close(correct(recognized, [None] * 4, TWO_TONES), [(1, 1.5), (1.5, 2), (3, 3.5), (3.5, 4)])


def test_words_that_were_recognized_in_a_pause_get_time_in_the_nearest_speech() -> None:
    first, second = correct([(2.6, 2.8), (3.0, 3.9)], [None] * 2, TWO_TONES)
    assert close([(first.start, second.end)], [(3, 4)]) and first.start < first.end <= second.start


def test_a_word_is_not_lengthened_over_a_sound_that_is_no_word() -> None:
    assert close(correct([(1.7, 1.9)], [None], TWO_TONES), [(1.7, 2)])


def test_times_stay_where_loudness_tells_no_pauses() -> None:
    recognized = [(0.5, 1.0), (1.0, 1.6), (2.2, 2.9)]
    assert close(correct(recognized, [None] * 3, white_noise(4, 0.1)), recognized)


def test_aligned_times_replace_those_of_the_recognizer() -> None:
    aligned = [(1.02, 1.4), None, (3.3, 3.95)]
    recognized = [(1.2, 1.5), (1.5, 1.9), (3.1, 3.7)]
    assert close(correct(recognized, aligned, TWO_TONES), [(1, 1.4), (1.5, 2), (3.3, 4)])


def test_an_aligned_word_on_the_other_side_of_a_pause_is_believed() -> None:
    recognized = [(1.0, 1.3), (1.3, 1.5), (3.4, 4.0)]
    assert close(correct(recognized, [(1, 2), (3, 3.4), (3.4, 4)], TWO_TONES), [(1, 2), (3, 3.4), (3.4, 4)])


def test_an_alignment_that_disagrees_on_many_words_in_a_row_is_dropped() -> None:
    recognized = [(1.0, 1.3), (1.3, 1.6), (1.6, 2.0), (3.0, 4.0)]
    run_away = [(3.0, 3.1), (3.1, 3.2), (3.2, 3.3), (3.3, 4.0)]
    assert close(correct(recognized, run_away, TWO_TONES), [(1, 1.3), (1.3, 1.6), (1.6, 2), (3.3, 4)])


def test_in_noise_one_aligned_word_that_disagrees_is_believed_and_two_in_a_row_are_not() -> None:
    recognized = [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5), (3.0, 4.0)]
    one, two = [(0, 0.5), (1.2, 1.3), (1.3, 1.5), (3.1, 4)], [(0, 0.5), (1.2, 1.3), (1.8, 1.9), (3.1, 4)]
    assert close(correct(recognized, one, white_noise(4, 0.1)), one)
    assert close(correct(recognized, two, white_noise(4, 0.1)), [*recognized[:3], (3.1, 4)])


times = st.floats(0, 6).map(lambda seconds: round(seconds, 2))


@given(st.lists(st.tuples(times, times), max_size=12), st.data())
def test_corrected_times_are_in_order_and_within_the_audio(pairs: list[TimeSpan], data: st.DataObject) -> None:
    recognized = sorted((min(pair), max(pair)) for pair in pairs)
    span = st.tuples(times, times).map(lambda pair: (min(pair), max(pair)))
    found = sorted(data.draw(st.lists(span, min_size=len(pairs), max_size=len(pairs))))
    aligned = [place if data.draw(st.booleans()) else None for place in found]
    audio = data.draw(st.sampled_from([TWO_TONES, silence(5), white_noise(5, 0.1), silence(0), silence(0.001)]))
    corrected = correct(recognized, aligned, audio)
    assert len(corrected) == len(recognized)
    limits = [0.0, *(time for span in corrected for time in span[:2]), len(audio) / RATE]
    assert all(late - early > -1e-9 for early, late in pairwise(limits)), corrected


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hello,", "hello"), ("don’t", "don't"), ("naïve", "naive"), ("well-known", "well known"),
        ("Kılıç", "kilic"), ("—", ""), ("日本", ""),
        ("$1,234.50", "one thousand two hundred thirty four dollars and fifty cents"), ("$1", "one dollar"),
        ("£20.", "twenty pounds"), ("€1.5", "one point five euros"), ("1990s", "nineteen nineties"),
        ("'80s", "eighties"), ("1984", "nineteen eighty four"), ("1905", "nineteen oh five"),
        ("1900", "nineteen hundred"), ("2005", "two thousand five"), ("2026", "twenty twenty six"),
        ("1990-1995", "nineteen ninety nineteen ninety five"), ("3rd", "third"), ("21st", "twenty first"),
        ("20th", "twentieth"), ("112th", "one hundred twelfth"), ("7:30", "seven thirty"), ("7:05", "seven oh five"),
        ("10:00", "ten"), ("3.14", "three point one four"), ("50%", "fifty percent"),
        ("12,500", "twelve thousand five hundred"),
        ("555-1234", "five five five one two three four"), ("007", "zero zero seven"), ("0", "zero"),
        ("1000000", "one zero zero zero zero zero zero"), ("2,000,000", "two million"), ("U.S.", "u s"), ("&", "and"),
        ("MP3", "mp three"), ("example.com", "example dot com"), ("9" * 20 + "th", "nine " * 19 + "ninth"),
    ],
)  # fmt: skip
def test_numbers_and_symbols_are_spelled_as_they_are_spoken(written: str, spoken: str) -> None:
    assert spell_out(written) == spoken.split()


def test_a_currency_is_left_out_where_a_scale_follows() -> None:
    assert spell_out("$5", "million.") == ["five"]
    assert spell_out("$5", "per") == ["five", "dollars"]


@pytest.mark.parametrize(
    ("word", "sounds"),
    [
        ("stamp", "S T AE M P"), ("timestamp", "T AY M S T AE M P"), ("blorf", "B L AO R F"), ("plone", "P L OW N"),
        ("xkcd", "EH K S K EY S IY D IY"), ("stamp's", "S T AE M P S"), ("'", ""),
    ],
)  # fmt: skip
def test_unknown_words_are_pronounced_by_their_letters(word: str, sounds: str) -> None:
    assert pronounce(word, {"stamp": "S T AE M P", "time": "T AY M"}.get) == sounds


@given(st.text(max_size=30), st.text(max_size=8))
def test_any_text_is_spelled_and_pronounced(text: str, following: str) -> None:
    for word in spell_out(text, following):
        assert word == word.lower() and pronounce(word, {}.get)


def correct_times(words: Sequence[Word], language: str, samples: Samples) -> tuple[Word, ...]:
    return WordAligner().correct_times(words, samples, language)


def late_words(text: str, spans: Sequence[TimeSpan]) -> list[Word]:
    """Words as Whisper has them: a tenth of a second late."""
    pairs = zip(text.split(), spans, strict=True)
    return [Word(f" {word}", start + 0.1, end + 0.1, probability=0.5) for word, (start, end) in pairs]


def test_words_without_times_stay_without_times() -> None:
    words = [Word(" Hello"), Word(" there.")]
    assert list(correct_times(words, "en", tone(2))) == words
    assert list(correct_times([], "en", tone(2))) == []


@pytest.mark.engine
@pytest.mark.parametrize(("language", "limit"), [("en", 45), ("de", 75)])
def test_words_are_aligned_in_english_and_snapped_in_other_languages(language: str, limit: float) -> None:
    spoken, spans = say_words(SENTENCES[0])
    words = late_words(SENTENCES[0], spans)
    timed = correct_times(words, language, np.concatenate([spoken, silence(0.5)]))
    assert [(word.word, word.probability) for word in timed] == [(word.word, word.probability) for word in words]
    known = [(word, *span) for word, span in zip(SENTENCES[0].split(), spans, strict=True)]
    assert np.abs(start_errors(known, timed)).mean() < limit if language == "en" else timed[-1].end != words[-1].end


def test_without_the_aligner_words_are_snapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    words = [Word(" one", 1.1, 1.5), Word(" two", 1.5, 2.6)]
    timed = correct_times(words, "en", TWO_TONES)
    assert close([(word.start or 0.0, word.end or 0.0) for word in timed], [(1, 1.5), (1.5, 2)])


@pytest.mark.engine
@pytest.mark.parametrize("kind", [RuntimeError, IndexError, KeyError])
def test_a_failing_aligner_costs_no_words(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    def fail(self: object, words: Sequence[str], samples: Samples) -> None:
        raise kind

    monkeypatch.setattr(Aligner, "align", fail)
    words = [Word(" one", 1.1, 1.5), Word(" two", 1.5, 2.6)]
    assert [word.word for word in correct_times(words, "en", TWO_TONES)] == [" one", " two"]


@pytest.mark.engine
def test_a_failure_in_one_thread_leaves_the_aligners_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = list[int]()

    class Fake:
        def __init__(self) -> None:
            loaded.append(threading.get_ident())

        def align(self, words: Sequence[str], samples: Samples) -> list[TimeSpan | None]:
            if words == ["fail"]:
                raise RuntimeError
            return [None] * len(words)

    monkeypatch.setattr(forced_alignment, "Aligner", Fake)
    aligner = WordAligner()
    with ThreadPoolExecutor(1) as other:
        for words in (["one"], ["fail"], ["two"]):
            assert aligner.align(words, silence(1), "en") == [None]
            assert other.submit(aligner.align, ["one"], silence(1), "en").result() == [None]
    assert [ident == threading.get_ident() for ident in loaded] == [True, False, True]


@pytest.mark.engine
def test_words_of_an_earlier_text_do_not_change_how_another_is_pronounced(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[str, str]] = []

    def record(word: str, look_up: Callable[[str], str | None]) -> str:
        found.append((word, pronounce(word, look_up)))
        return found[-1][1]

    monkeypatch.setattr(forced_alignment, "pronounce", record)
    aligner = Aligner()
    for words in (["zorbone"], ["zorbonetime", "zorbone"]):
        aligner.align(words, silence(1))
    assert found == [("zorbone", "Z AO R B OW N"), ("zorbonetime", "Z AO R B AA N EH T AY M")]


@pytest.mark.engine
def test_the_dictionary_of_an_aligner_does_not_grow_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    import pocketsphinx

    loads = list[dict[str, Any]]()

    def load(**options: Any) -> object:
        loads.append(options)
        return decoder(**options)

    decoder = pocketsphinx.Decoder
    monkeypatch.setattr(pocketsphinx, "Decoder", load)
    monkeypatch.setattr(forced_alignment, "MAX_ADDED_WORDS", 2)
    aligner = Aligner()
    for text in ("zorb one", "zorb two", "zorbix zorbone", "zorb", "zorbix"):
        aligner.align(text.split(), silence(1))
    assert len(loads) == 2


@pytest.mark.engine
def test_alignment_is_the_same_in_any_order_and_any_thread() -> None:
    clips = [(sentence.split(), say_words(sentence)[0]) for sentence in SENTENCES[:4]]
    clips.append((clips[0][0], clips[0][1] + white_noise(len(clips[0][1]) / RATE, 0.05)[: len(clips[0][1])]))
    alone = [Aligner().align(words, samples) for words, samples in clips]
    results: dict[int, list[list[TimeSpan | None]]] = {}

    def work(turn: int) -> None:
        aligner, order = Aligner(), clips[:: -1 if turn else 1]
        results[turn] = [aligner.align(words, samples) for words, samples in order][:: -1 if turn else 1]

    threads = [threading.Thread(target=work, args=(turn,)) for turn in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: alone, 1: alone}


@pytest.mark.engine
def test_numbers_and_unknown_words_are_aligned() -> None:
    spoken, spans = say_words("Kowalski sold nineteen bicycles yesterday morning.")
    aligned = Aligner().align(["Kowalski", "sold", "19", "bicycles", "—", "yesterday", "morning."], spoken)
    assert aligned[4] is None
    found = [span for span in aligned if span]
    assert max(abs(start - known) for (start, _), (known, _) in zip(found, spans, strict=True)) < 0.12


@pytest.mark.engine
@pytest.mark.parametrize("seconds", [0, 0.001, 0.06, 1])
def test_audio_in_which_the_words_are_not_has_no_alignment(seconds: float) -> None:
    assert Aligner().align(["Hello", "there."], silence(seconds)) == [None, None]
    assert Aligner().align([], silence(seconds)) == []


def test_words_that_an_alignment_lacks_share_the_speech_between_their_neighbours() -> None:
    placed = place(["one", "three", "four", "nine", "ten"], [None, (1.4, 1.7), None, None, (3.5, 4.0)], TWO_TONES)
    assert close(placed, [(1, 1.4), (1.4, 1.7), (1.7, 2), (3.1, 3.5), (3.5, 4)])
    assert [span.aligned for span in placed] == [False, True, False, False, True]
    assert close(place(["one", "two"], [None, None], TWO_TONES), [(1, 2), (3, 4)])
    assert close(place(["one", "two"], [None, None], silence(2)), [(0, 1), (1, 2)])
    assert place([], [], TWO_TONES) == place([], [], silence(0)) == []


@given(st.lists(st.none() | st.tuples(times, times).map(lambda pair: (min(pair), max(pair))), max_size=12), st.data())
def test_placed_words_are_in_order_and_within_the_audio(places: list[TimeSpan | None], data: st.DataObject) -> None:
    aligned = iter(sorted(span for span in places if span is not None))
    audio = data.draw(st.sampled_from([TWO_TONES, silence(5), white_noise(5, 0.1), silence(0), silence(0.001)]))
    words = data.draw(st.lists(st.sampled_from(["a", "longer"]), min_size=len(places), max_size=len(places)))
    placed = place(words, [span and next(aligned) for span in places], audio)
    limits = [0.0, *(time for span in placed for time in span[:2]), len(audio) / RATE]
    assert len(placed) == len(places) and all(late - early > -1e-9 for early, late in pairwise(limits)), placed


def test_words_that_could_not_be_aligned_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [Word(" one", 1.1, 1.5), Word(" two", 1.5, 2.6)]
    monkeypatch.setattr(WordAligner, "align", lambda *_: [(1.1, 1.5), None])
    assert [word.estimated for word in correct_times(words, "en", TWO_TONES)] == [False, True]
    assert not any(word.estimated for word in correct_times(words, "de", TWO_TONES))


@pytest.mark.engine
@pytest.mark.parametrize("endpoint", [MANUAL, AUTO])
def test_requested_word_times_of_a_live_session_are_true(endpoint: Endpoint) -> None:
    audio, spoken = recite(SENTENCES[:4], PAUSES[:4])
    options = RealtimeOptions(model="ink-2", word_timestamps=True)
    engine = load_live_engine(None, SilentObserver())
    with serve_in_background(create_app(engine, None, ServerConfig())) as server:
        address = build_url(server, endpoint.path, options.query(endpoint), websocket=True)
        headers = {"Cartesia-Version": API_VERSION}
        with connect(address, compression=None, proxy=None, additional_headers=headers) as socket:
            socket.send(encode_s16le(np.concatenate([audio, silence(1)])))
            socket.send(encode_command(endpoint, Close()))
            events = [decode(frame) for frame in socket]
    words = [word for event in events if isinstance(event, Delta | TurnEnd) for word in event.words or ()]
    texts = [event.text if isinstance(event, Delta) else event.transcript for event in events
             if isinstance(event, Delta | TurnEnd)]  # fmt: skip
    assert "".join(word.word for word in words) == "".join(texts)
    assert are_in_order(words, len(audio) / RATE + 1)
    aligned = [word for word in words if not word.estimated]
    assert len(aligned) > 0.9 * len(spoken)
    errors = np.abs(start_errors(spoken, aligned))
    assert len(errors) > 0.8 * len(spoken) and errors.mean() <= 35 and np.percentile(errors, 95) <= 90, errors
    assert max(most_in_a_pause(spoken, word) for word in words) <= 0.15


@pytest.mark.engine
@pytest.mark.waits
def test_word_times_are_true_in_speech_with_pauses_and_in_noise() -> None:
    engine = load_batch_engine(None, SilentObserver())
    audio, spoken = recite(SENTENCES, PAUSES)
    power = np.mean(audio[np.abs(audio) > 1e-3] ** 2)
    noise = white_noise(len(audio) / RATE, float(np.sqrt(power / 10)))
    (clean,) = engine.recognize([audio], "en")
    (noisy,) = engine.recognize([(0.5 * (audio + noise)).astype(np.float32)], "en")
    for words in (clean, noisy):
        assert are_in_order(words, len(audio) / RATE)
        assert len(start_errors(spoken, words)) > 50
    errors = np.abs(start_errors(spoken, clean))
    assert np.mean(errors) <= 35 and np.percentile(errors, 95) <= 90
    assert max(most_in_a_pause(spoken, word) for word in clean) <= 0.15
    assert np.percentile(np.abs(start_errors(spoken, noisy)), 95) <= 160
