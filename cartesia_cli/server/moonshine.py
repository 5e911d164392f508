"""The engine for live sessions: Moonshine tiny on onnxruntime, with the weights of a package that its makers publish.

Fast enough to recognize a growing utterance again several times a second. English only, no word times. What a change
of the constants here does is measured by `benchmarks/live_engines.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnxruntime

from ..audio.pcm import RATE, Samples
from ..errors import EngineError
from ..protocol.json_fields import DetectedLanguage, Word
from .engine import M_MMAP_THRESHOLD, amplify_quiet, open_network, set_malloc_options, split_at_silence
from .packaged_models import MOONSHINE, MOONSHINE_LANGUAGES

MAX_PIECE_SECONDS = 20.0
"""Longest audio that is recognized at once: the model was measured up to this length."""

MIN_PIECE_SECONDS = 0.1
"""Shorter audio has no word."""

MIN_PEAK = 2e-4
"""Peak below which audio is silence: a few steps of 16 bits."""

PADDING = np.zeros(RATE // 2, np.float32)
"""Silence before and after. Without it, a third more words were wrong; and of 157 clips that were cut anywhere,
12 ended in a loop instead of none."""

MAX_TOKENS_PER_SECOND = 12
"""Most tokens of a text, besides EXTRA_TOKENS. Fast speech has some 7 tokens a second, "no, no, no" has 10. More come
from a decoder that finds no end.
"""

EXTRA_TOKENS = 8
"""Tokens that even the shortest audio may have."""

LOOP_TOKENS = 24
"""Minimum length of a loop, all repetitions together."""

LOOP_REPEATS = 4
"""Minimum number of repetitions in a loop."""

NOISE_TEXT = "You"
"""The model's text for silence and noise. A spoken "You." has its full stop."""

MUSIC_SYMBOLS = frozenset("♪🎵")

PUNCTUATION = frozenset({b".", b",", b"?", b"!", b";", b":"})
"""Tokens that say nothing of the word that they follow."""

START_TOKEN, END_TOKEN = 1, 2
"""Tokens that begin and end a text."""

WORD_START = "\u2581".encode()
"""First bytes of a token that begins a word."""

ScoredToken = tuple[bytes, float]
"""A piece of UTF-8, and its probability, 0 to 1."""


class MoonshineEngine:
    """A loaded Moonshine model: two networks and a vocabulary, from the folder of MOONSHINE.

    encoder   float32[1, samples] to float32[1, frames, 288], 24 ms a frame
    decoder   one token and the state before it to the scores of the next token and the state after it
    """

    name, languages, is_quick = MOONSHINE.title, MOONSHINE_LANGUAGES, True
    workers = batch_size = 1  # a second worker would make the text of all sessions later

    def __init__(self) -> None:
        encoder, decoder, vocabulary = (MOONSHINE.folder / name for name in MOONSHINE.sha256)
        # The encoder is a third faster with two threads. The decoder's steps are too small to share: a second
        # thread saved no time and cost a fifth more CPU.
        self._encoder = open_network(encoder, threads=min(2, os.cpu_count() or 1))
        self._decoder = open_network(decoder)
        # The encoder's memory grows with the audio: it is given back each time.
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._tokens = tuple(_tokens(vocabulary.read_bytes()))
        self._numbers = {token: number for number, token in enumerate(self._tokens)}
        # The state has a part about the text, new after each token, and one about the audio, computed with the first.
        shapes = {one.name: one.shape for one in self._decoder.get_inputs()}
        self._state_shapes = {name: shape for name, shape in shapes.items() if name.startswith("past_key_values.")}
        self._first_outputs = [one.name for one in self._decoder.get_outputs()]
        self._later_outputs = [name for name in self._first_outputs if ".encoder." not in name]

    def detect_language(self, samples: Samples) -> DetectedLanguage | None:
        return DetectedLanguage("en")  # never called: detection is not among its languages

    def recognize(self, utterances: Sequence[Samples], language: str) -> list[tuple[Word, ...]]:
        """The words of each, without times."""
        return [tuple(self._words(samples)) for samples in utterances]

    def recognize_after(self, known: Sequence[str], samples: Samples) -> Sequence[Word]:
        """Implements `ContinuingEngine`."""
        return tuple(join_tokens(self._transcribe(samples, known)))

    def _words(self, samples: Samples) -> Iterator[Word]:
        for piece in split_at_silence([samples], MAX_PIECE_SECONDS):
            yield from join_tokens(self._transcribe(piece))

    def _transcribe(self, samples: Samples, known: Sequence[str] = ()) -> list[ScoredToken]:
        """The tokens of a piece after those of the words that are `known` to begin it."""
        if len(samples) < MIN_PIECE_SECONDS * RATE or np.abs(samples).max() < MIN_PEAK:
            return []
        max_tokens = EXTRA_TOKENS + int(len(samples) / RATE * MAX_TOKENS_PER_SECOND)
        return self.decode(np.concatenate([PADDING, amplify_quiet(samples), PADDING]), max_tokens, known)

    def decode(self, samples: Samples, max_tokens: int, known: Sequence[str] = ()) -> list[ScoredToken]:
        """The tokens of the text in `samples` after `known` words: the likeliest each time, `max_tokens` in all."""
        audio = samples[np.newaxis]
        mask = np.ones(audio.shape, np.int64)
        (frames,) = self._encoder.run(None, {"input_values": audio, "attention_mask": mask}, self._run_options)
        # The decoder's mask, too, is one of samples: with one of frames it fails from nine seconds on.
        fixed = {"encoder_attention_mask": mask, "encoder_hidden_states": frames}
        shapes = self._state_shapes.items()
        state = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in shapes}
        tokens = [START_TOKEN, *self._encode(known)]
        begun, fed, outputs = len(tokens), 0, self._first_outputs
        probabilities = [1.0] * begun
        while len(tokens) <= max_tokens and not is_looping(tokens):
            is_later = outputs is self._later_outputs
            step = {"input_ids": np.array([tokens[fed:]]), "use_cache_branch": np.array([is_later])}
            scores, *after = self._decoder.run(outputs, fixed | state | step)
            fed, token = len(tokens), int(scores[0, -1].argmax())
            if token == END_TOKEN:
                break
            tokens.append(token)
            probabilities.append(float(1 / np.exp(scores[0, -1] - scores[0, -1, token]).sum()))
            # The decoder's outputs are its next inputs, under other names.
            state |= {
                name.replace("present.", "past_key_values.", 1): value
                for name, value in zip(outputs[1:], after, strict=True)
            }
            outputs = self._later_outputs
        else:
            tokens = [START_TOKEN, *drop_repeats(tokens[1:])]
        pairs = zip(tokens[begun:], probabilities[begun:], strict=False)
        return [(self._tokens[token], probability) for token, probability in pairs]

    def _encode(self, words: Iterable[str]) -> Iterator[int]:
        """Tokens of words, each the longest that fits; bytes that begin no token are left out."""
        for word in words:
            left = WORD_START + word.strip().encode()
            while left:
                size = next((size for size in range(len(left), 0, -1) if left[:size] in self._numbers), 0)
                if size:
                    yield self._numbers[left[:size]]
                left = left[size or 1 :]


def load() -> MoonshineEngine:
    """The packaged model. Raises EngineError when it is missing, damaged or of another release."""
    # Everything from a MiB up is given back when it is freed. Without it, what the encoder gave back was left in pieces
    # that nothing fitted in, in some processes: a MiB more after each utterance.
    set_malloc_options({M_MMAP_THRESHOLD: 1 << 20})
    MOONSHINE.verify()
    try:
        return MoonshineEngine()
    except Exception as error:  # whatever onnxruntime may raise
        raise EngineError(f"{MOONSHINE.kind} can't be loaded: {error}", hint=MOONSHINE.repair_hint) from error


def join_tokens(tokens: Iterable[ScoredToken]) -> Iterator[Word]:
    """The words of a text, with their leading spaces, without "♪music♪" and stray punctuation.

    A character may need several tokens, and the last may be cut off. A word is as likely as its least likely token
    without its punctuation.
    """
    joined: list[ScoredToken] = []
    for token, probability in tokens:
        if token.startswith(WORD_START) or not joined:
            joined.append((token.removeprefix(WORD_START), probability))
        else:
            before, least = joined[-1]
            joined[-1] = before + token, least if token in PUNCTUATION else min(least, probability)
    words = [(word.decode("utf-8", "ignore"), probability) for word, probability in joined]
    words = [(word, p) for word, p in words if any(map(str.isalnum, word)) and MUSIC_SYMBOLS.isdisjoint(word)]
    if [word for word, _ in words] != [NOISE_TEXT]:
        yield from (Word(f" {word}", probability=probability) for word, probability in words)


def is_looping(tokens: list[int]) -> bool:
    """Whether a text ends in the same few tokens, over and over."""
    for period in range(1, len(tokens) // LOOP_REPEATS + 1):
        span = max(LOOP_TOKENS, LOOP_REPEATS * period)
        if len(tokens) >= span and _repeats(tokens[-span:], period):
            return True
    return False


def drop_repeats(tokens: list[int]) -> list[int]:
    """`tokens` with what is repeated at their end only once, even if the last repeat is cut off."""
    for period in range(1, len(tokens) // 2 + 1):
        if _repeats(tokens[-2 * period :], period):
            start = len(tokens) - period
            while start > 0 and tokens[start - 1] == tokens[start - 1 + period]:
                start -= 1
            return tokens[: start + period]
    return tokens


def _tokens(vocabulary: bytes) -> Iterator[bytes]:
    """Each token as bytes of UTF-8: its length, in one byte or, from 128 on, in two; then itself."""
    at = 0
    while at < len(vocabulary):
        size, at = vocabulary[at], at + 1
        if size >= 128:
            size, at = size - 128 + 128 * vocabulary[at], at + 1
        yield vocabulary[at : at + size]
        at += size


def _repeats(tokens: list[int], period: int) -> bool:
    return tokens[period:] == tokens[:-period]
