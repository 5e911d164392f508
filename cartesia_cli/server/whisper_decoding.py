"""Recognizes several windows of audio in one call of a loaded Whisper model.

Four windows together take about three quarters of the time that they take one after the other: each step of the decoder
reads all weights once for all of them. The words of a window must never depend on the others: their times and
probabilities are the same to the last bit. What a change of the constants here does is measured by
`benchmarks/local.py` for English, and by `benchmarks/languages.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ctranslate2 import StorageView
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens, merge_punctuations
from faster_whisper.vad import SpeechTimestampsMap, get_speech_timestamps
from numpy.typing import NDArray

from ..audio.pcm import RATE, Samples
from ..protocol.json_fields import DetectedLanguage, Word
from ..protocol.languages import CHINESE_SCRIPTS
from .engine import amplify_quiet

WINDOW_FRAMES = 3000
"""How many hundredths of a second a window has once it is padded with silence: as many as Whisper was trained on."""

SHORT_WINDOW_FRAMES = 1000
"""How many it has if it holds little speech. Speech of 3 s then takes 0.4 of the time."""

MARGIN_FRAMES = 200
"""Least silence at the end of a short window."""

SURE_LOG_PROBABILITY = -0.4
"""A short window counts if the mean logarithm of the probability of its tokens is at least this, and it doesn't repeat
itself; otherwise it is padded to the full length. 80 prompts of people in Italian, Russian, Spanish and French had 213
wrong characters with short windows alone, 199 with full ones, and have 193 so (benchmarks/languages.py); half of them
are recognized twice, and none of 20 English ones. A German sentence of a synthetic voice became "winter winter winter".
"""

BEAM_SIZE = 5
"""How many candidate texts the decoder keeps at each step (beam search). One alone made 15 % more word errors on ten
minutes of speech.
"""

MAX_COMPRESSION = 2.4
"""How much zlib may shorten a text: one that it shortens more repeats itself (Whisper's own threshold)."""

REPETITION_PENALTY = 1.1
"""For the second attempt at a text that repeats itself: "no" was then recognized as often as it had been said, 40
times, instead of until the model reached its limit.
"""

MAX_NO_SPEECH_PROBABILITY = 0.6
"""A text is dropped if the probability that nobody speaks is higher, and MIN_LOG_PROBABILITY isn't exceeded (Whisper's
own thresholds).
"""

MIN_LOG_PROBABILITY = -1.0
"""Mean logarithm of the probability of the tokens of a text above which it isn't dropped."""

LANGUAGES_WITHOUT_TIMESTAMPS = frozenset({"en", "zh"})
"""Languages in which the model is told to leave timestamps out. In English, there are as few errors without them. In
Chinese, it writes the script that was asked for only then. In other languages, it loses short words without them, such
as "n'est" in "n'est pas disponible": 71 wrong characters in 28 French prompts instead of 51, 39 in 21 Russian ones
instead of 30.
"""

TIMESTAMP_SECONDS = 0.02
"""The unit of timestamps."""

MAX_UNHEARD_SECONDS = 1.0
"""A text whose last timestamp is farther from the end of the window is recognized again without timestamps: with them,
the model may stop after a sentence, and expects the rest in another window.
"""

OPENING_MARKS, CLOSING_MARKS = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"
"""Punctuation that belongs to the word after it and to the word before it."""

PROMPTS = {
    "zh": "以下是普通话的句子。",
    "zh-Hans": "以下是普通话的句子。",
    "zh-Hant": "以下是普通話的句子。",
}
"""Text that Whisper continues in the same characters: "the following are sentences in Mandarin", in simplified and in
traditional ones. Without it, Whisper base writes traditional ones for most recordings.
"""

Alignment = list[dict[str, Any]]
"""The words of a window as faster-whisper aligns them: `word`, `start`, `end`, `probability`."""


def recognize(
    model: WhisperModel, windows: Sequence[Samples], language: str, min_frames: int = WINDOW_FRAMES
) -> list[tuple[Word, ...]]:
    """The words of each window, which has at most 30 s. Times are seconds from its first sample.

    min_frames   least length to which a window is padded, in hundredths of a second
    """
    loud = [amplify_quiet(window) for window in windows]
    # Without the voice detector, silence becomes "You".
    speech = [get_speech_timestamps(samples) for samples in loud]
    mels = {k: _mel(model, loud[k], parts) for k, parts in enumerate(speech) if parts}
    code = CHINESE_SCRIPTS.get(language, language)
    tokenizer = Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=code)
    prompt, timestamps = PROMPTS.get(language, ""), code not in LANGUAGES_WITHOUT_TIMESTAMPS
    words: list[tuple[Word, ...]] = [()] * len(windows)
    for padded in sorted({min_frames, WINDOW_FRAMES}):  # all windows of one call of the model must have the same length
        if rows := [k for k, mel in mels.items() if _padded_frames(mel, min_frames) <= padded]:
            encoded, frames = [_encode(model, mels[k], padded) for k in rows], [mels[k].shape[-1] for k in rows]
            is_short = padded < WINDOW_FRAMES
            found = _decode(model, tokenizer, encoded, frames, prompt, timestamps=timestamps, is_short=is_short)
            for k, alignment in zip(rows, found, strict=True):
                if alignment is not None:
                    words[k] = _place_words(alignment, speech[k])
                    del mels[k]
    return words


def detect_language(model: WhisperModel, samples: Samples, min_frames: int = WINDOW_FRAMES) -> DetectedLanguage | None:
    """The language of the first 30 s of speech; None if nobody speaks."""
    loud = amplify_quiet(samples)
    speech = get_speech_timestamps(loud)
    if not speech:
        return None
    mel = _mel(model, loud, speech)[..., :WINDOW_FRAMES]
    encoded = _encode(model, mel, _padded_frames(mel, min_frames))
    token, confidence = model.model.detect_language(StorageView.from_array(encoded))[0][0]
    return DetectedLanguage(token[2:-2], round(float(confidence), 3))  # "<|en|>"


def _mel(model: WhisperModel, samples: Samples, speech: Sequence[Mapping[str, int]]) -> NDArray[np.float32]:
    """The spectrum of the speech in a window, a column for each hundredth of a second.

    speech   `start` and `end` of each part, in samples
    """
    joined = np.concatenate([samples[part["start"] : part["end"]] for part in speech])
    mel: NDArray[np.float32] = model.feature_extractor(joined)[..., :-1]
    return mel


def _padded_frames(mel: NDArray[np.float32], min_frames: int) -> int:
    return min_frames if mel.shape[-1] + MARGIN_FRAMES <= min_frames else WINDOW_FRAMES


def _encode(model: WhisperModel, mel: NDArray[np.float32], padded: int) -> NDArray[np.float32]:
    """What the decoder needs to know of a window. One at a time: four at once are no quicker, and take 200 MB more."""
    features = StorageView.from_array(np.ascontiguousarray(pad_or_trim(mel, padded)[np.newaxis]))
    return np.asarray(model.model.encode(features, to_cpu=True))


def _decode(
    model: WhisperModel,
    tokenizer: Tokenizer,
    encoded: Sequence[NDArray[np.float32]],
    frames: Sequence[int],
    prompt: str,
    repetition_penalty: float = 1.0,
    *,
    timestamps: bool,
    is_short: bool = False,
) -> list[Alignment | None]:
    """The words of each window, with times in its audio without silence. What repeats itself is decoded once more, with
    REPETITION_PENALTY, and what stops early without timestamps.

    encoded      each window
    frames       how many hundredths of a second of audio each window has
    prompt       text that each window continues, or empty
    timestamps   whether the model says when each sentence begins and ends, too
    is_short     whether windows are shorter than the model was trained on: then those that it is not sure of are None
    """
    before = [tokenizer.sot_prev, *tokenizer.encode(f" {prompt}")] if prompt else []
    start = [*before, *tokenizer.sot_sequence, *([] if timestamps else [tokenizer.no_timestamps])]
    # By default, a text that is unlikely or repeats itself would be replaced by one drawn at random (at a higher
    # temperature), which depends on everything that the same worker did before. Of the unlikely ones, none was replaced
    # by a likelier one.
    results = model.model.generate(
        StorageView.from_array(np.concatenate(encoded)),
        [start] * len(encoded),
        beam_size=BEAM_SIZE,
        max_length=model.max_length,
        suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
        repetition_penalty=repetition_penalty,
        return_scores=True,
        return_no_speech_prob=True,
    )
    texts = [result.sequences_ids[0] for result in results]
    # The score is the mean over the tokens of the text; the end of the text counts, too.
    likely = [one.scores[0] * len(text) / (len(text) + 1) for one, text in zip(results, texts, strict=True)]
    for k, result in enumerate(results):
        if result.no_speech_prob > MAX_NO_SPEECH_PROBABILITY and likely[k] <= MIN_LOG_PROBABILITY:
            texts[k] = []
    tokens = [[token for token in text if token < tokenizer.eot] for text in texts]
    if prompt:  # what isn't speech may be recognized as the prompt itself
        tokens = [[] if tokenizer.decode(text).strip() == prompt else text for text in tokens]
    loops = [_repeats_itself(tokenizer.decode(text)) for text in tokens]
    unsure = {k for k in range(len(tokens)) if is_short and (loops[k] or likely[k] < SURE_LOG_PROBABILITY)}
    found = [
        None if k in unsure else _align(model, tokenizer, *window)
        for k, window in enumerate(zip(tokens, encoded, frames, strict=True))
    ]

    def decode_again(rows: Sequence[int], penalty: float, timestamps: bool) -> None:
        windows = [encoded[k] for k in rows], [frames[k] for k in rows]
        if rows:
            attempts = _decode(model, tokenizer, *windows, prompt, penalty, timestamps=timestamps, is_short=is_short)
            for k, alignment in zip(rows, attempts, strict=True):
                found[k] = alignment

    sure = [k for k in range(len(texts)) if k not in unsure]
    stopped = [k for k in sure if timestamps and _stops_early(tokenizer, texts[k], frames[k])]
    decode_again(stopped, repetition_penalty, False)
    if repetition_penalty == 1.0:
        decode_again([k for k in sure if k not in stopped and loops[k]], REPETITION_PENALTY, timestamps)
    return found


def _align(
    model: WhisperModel, tokenizer: Tokenizer, tokens: Sequence[int], encoded: NDArray[np.float32], frames: int
) -> Alignment:
    """The words of one window. One at a time: four at once are no quicker, and take 100 MB more."""
    found: Alignment = model.find_alignment(tokenizer, [tokens], StorageView.from_array(encoded), frames)[0]
    merge_punctuations(found, OPENING_MARKS, CLOSING_MARKS)
    return found


def _stops_early(tokenizer: Tokenizer, text: Sequence[int], frames: int) -> bool:
    """Whether a text ends with a timestamp long before the end of its window."""
    if not text or text[-1] < tokenizer.timestamp_begin:
        return False
    spoken = (text[-1] - int(tokenizer.timestamp_begin)) * TIMESTAMP_SECONDS
    return frames / 100 - spoken > MAX_UNHEARD_SECONDS


def _repeats_itself(text: str) -> bool:
    return bool(get_compression_ratio(text.strip()) > MAX_COMPRESSION)


def _place_words(alignment: Alignment, speech: Sequence[Mapping[str, int]]) -> tuple[Word, ...]:
    """Words with times in the window, from those in its speech, whose parts were joined.

    speech   `start` and `end` of each part in the window, in samples
    """
    times = SpeechTimestampsMap(speech, RATE)
    words = []
    for word in alignment:
        if word["word"]:  # otherwise it is punctuation that belongs to another word
            part = times.get_chunk_index((word["start"] + word["end"]) / 2)
            start, end = (times.get_original_time(float(word[side]), part) for side in ("start", "end"))
            words.append(Word(word["word"], start, end))
    return tuple(words)
