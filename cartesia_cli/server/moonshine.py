"""The engine for live use: Moonshine tiny on onnxruntime, with the weights that its makers' package ships.

Quick enough to hear a growing utterance again several times a second. English only, no word times. The
weights are opened by path and used only if their digests are the published ones; the package's own code
is never run. Must not wait for, or know, who speaks when: that is the server's business.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ..audio.pcm import RATE, Samples
from ..errors import EngineError
from .engine import RecognizedWord
from .silence_split import split_at_silence

PACKAGE = "moonshine_voice"
WEIGHTS = Path("assets", "tiny-en")
"""Where the weights lie in the folder of the package."""

DIGESTS = {
    "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
    "decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
    "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
}
"""SHA-256 of the files in moonshine-voice 0.1.0, the same on all platforms. Later releases don't have them."""

LONGEST_SECONDS = 20.0
"""Longest piece that is heard at once: the model was measured up to this length."""

SHORTEST_SECONDS = 0.1
"""In less there is no word."""

SILENT = 2e-4
"""Peak below which there is nothing to hear: a few steps of 16-bit audio."""

LOUDEST, LOUDEST_GAIN = 0.9, 30.0
"""Quiet audio is raised to this peak, within this gain. At a hundredth of its level, 40 % more words were wrong."""

PADDING = np.zeros(RATE // 2, np.float32)
"""Silence before and after. Without it, a third more words were wrong; and of 157 clips that were cut anywhere,
12 ended in a loop instead of none."""

TOKENS_A_SECOND, TOKENS_AT_LEAST = 12, 8
"""Quick speech has some 7 tokens a second, "no, no, no" has 10. More is a decoder that finds no end."""

LOOP_TOKENS, LOOP_TIMES = 24, 4
"""So many tokens of nothing but the same few, at least so many times over, are a loop."""

NOTHING = "You"
"""What the model says of silence and noise. Somebody's "You." has its full stop."""

NOTES = frozenset("♪🎵")
"""How the model marks music."""

START, END = 1, 2
"""Tokens that begin and end a text."""

BLANK = "\u2581".encode()
"""How a token begins that begins a word."""

Token = tuple[bytes, float]
"""A piece of UTF-8, and how sure the model is of it: 0 to 1."""

REPAIR = "reinstall it: pip install --force-reinstall --no-deps moonshine-voice==0.1.0"


class MoonshineEngine:
    """A loaded Moonshine model."""

    name = "Moonshine tiny"
    languages = frozenset({"en"})

    def __init__(self, model: Model) -> None:
        self._model = model

    def start(self, language: str) -> MoonshineUtterance:
        return MoonshineUtterance(self._model)


class MoonshineUtterance:
    """Collects audio; Moonshine hears it at the end, in pieces where it is long."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._held: list[Samples] = []

    def push(self, samples: Samples) -> None:
        self._held.append(samples)

    def finish(self) -> tuple[RecognizedWord, ...]:
        """The words, without times."""
        return tuple(
            word for piece in split_at_silence(self._held, LONGEST_SECONDS) for word in words(self._hear(piece))
        )

    def _hear(self, samples: Samples) -> list[Token]:
        if len(samples) < SHORTEST_SECONDS * RATE or np.abs(samples).max() < SILENT:
            return []
        limit = TOKENS_AT_LEAST + int(len(samples) / RATE * TOKENS_A_SECOND)
        return self._model.transcribe(np.concatenate([PADDING, audible(samples), PADDING]), limit)


class Model:
    """The two networks and the vocabulary, from the folder where they lie.

    encoder   float32[1, samples] to float32[1, frames, 288], 24 ms a frame
    decoder   one token and the state before it to the odds of the next token and the state after it
    """

    def __init__(self, folder: Path) -> None:
        encoder, decoder, vocabulary = (folder / name for name in DIGESTS)
        # The encoder is a third quicker with two threads. The decoder's steps are too small to share: a second
        # thread saved no time and cost a fifth more CPU.
        self._encoder = _session(encoder, threads=min(2, os.cpu_count() or 1))
        self._decoder = _session(decoder, threads=1)
        # The encoder's memory grows with the audio: given back each time, it doesn't pile up.
        self._tidy = onnxruntime.RunOptions()
        self._tidy.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._tokens = tuple(_tokens(vocabulary.read_bytes()))
        # The state has a part about the text, new after each token, and one about the audio, the same for all.
        shapes = {one.name: one.shape for one in self._decoder.get_inputs()}
        self._state = {name: shape for name, shape in shapes.items() if name.startswith("past_key_values.")}
        self._first = [one.name for one in self._decoder.get_outputs()]
        self._later = [name for name in self._first if ".encoder." not in name]

    def transcribe(self, samples: Samples, limit: int) -> list[Token]:
        """What is said in `samples`: at most `limit` tokens, the likeliest each time."""
        audio = samples[np.newaxis]
        heard = np.ones(audio.shape, np.int64)
        (frames,) = self._encoder.run(None, {"input_values": audio, "attention_mask": heard}, self._tidy)
        # The decoder, too, wants to be told about samples, not frames: with frames it fails from nine seconds on.
        fixed = {"encoder_attention_mask": heard, "encoder_hidden_states": frames}
        state = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in self._state.items()}
        said, sure, wanted = [START], [1.0], self._first
        while len(said) <= limit and not is_looping(said):
            step = {"input_ids": np.array([said[-1:]]), "use_cache_branch": np.array([wanted is self._later])}
            odds, *after = self._decoder.run(wanted, fixed | state | step)
            token = int(odds[0, -1].argmax())
            if token == END:
                break
            said.append(token)
            sure.append(float(1 / np.exp(odds[0, -1] - odds[0, -1, token]).sum()))
            state |= {_before(name): value for name, value in zip(wanted[1:], after, strict=True)}
            wanted = self._later
        else:
            said = [START, *unrepeated(said[1:])]
        return [(self._tokens[token], odd) for token, odd in zip(said[1:], sure[1:], strict=False)]


def load() -> MoonshineEngine:
    """The packaged model. EngineError when it is missing, damaged or of another release."""
    _return_memory()
    folder = verified(packaged())
    try:
        return MoonshineEngine(Model(folder))
    except Exception as error:  # whatever onnxruntime may raise
        raise EngineError(f"the live model can't be loaded: {error}", hint=REPAIR) from error


def is_installed() -> bool:
    """Whether there are weights to load; whether they are the right ones shows when they are loaded."""
    return all((packaged() / name).is_file() for name in DIGESTS)


def packaged() -> Path:
    """Where the package keeps the weights, if there are any. Finding it doesn't run it."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0] if folders else "missing") / WEIGHTS


def verified(folder: Path) -> Path:
    """`folder`, if the three files in it are the published ones; EngineError if not."""
    for name, digest in DIGESTS.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise EngineError("the live model is not installed", hint=REPAIR) from error
        if found != digest:
            raise EngineError("the live model's weights are not the published ones: not used", hint=REPAIR)
    return folder


def audible(samples: Samples) -> Samples:
    """Quiet audio as loud as it can be, within LOUDEST_GAIN."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(min(LOUDEST_GAIN, max(1.0, LOUDEST / peak)) if peak > 0 else 1.0)


def words(tokens: Iterable[Token]) -> Iterator[RecognizedWord]:
    """The words of what the model says, with their leading blanks: "♪music♪" and stray punctuation are none.

    A character may need several tokens, and the last may be cut off. A word is as likely as its least likely token.
    """
    said: list[Token] = []
    for token, odds in tokens:
        if token.startswith(BLANK) or not said:
            said.append((token.removeprefix(BLANK), odds))
        else:
            said[-1] = said[-1][0] + token, min(said[-1][1], odds)
    spelt = [(word.decode("utf-8", "ignore"), odds) for word, odds in said]
    spelt = [(word, odds) for word, odds in spelt if any(map(str.isalnum, word)) and NOTES.isdisjoint(word)]
    if [word for word, _ in spelt] != [NOTHING]:
        yield from (RecognizedWord(f" {word}", probability=odds) for word, odds in spelt)


def is_looping(said: list[int]) -> bool:
    """Whether the last tokens are nothing but the same few, over and over."""
    for period in range(1, len(said) // LOOP_TIMES + 1):
        span = max(LOOP_TOKENS, LOOP_TIMES * period)
        if len(said) >= span and _repeated(said[-span:], period):
            return True
    return False


def unrepeated(said: list[int]) -> list[int]:
    """`said` with whatever is repeated at its end, be the last time cut off or not, only once."""
    for period in range(1, len(said) // 2 + 1):
        if _repeated(said[-2 * period :], period):
            start = len(said) - period
            while start > 0 and said[start - 1] == said[start - 1 + period]:
                start -= 1
            return said[: start + period]
    return said


def _return_memory() -> None:
    """Have glibc give everything from a MiB up back when it is freed.

    Without it, what the encoder gives back was left in pieces that nothing fitted in, in some processes: a MiB
    more after each utterance. The number is M_MMAP_THRESHOLD of mallopt(3); elsewhere, no loss.
    """
    try:
        ctypes.CDLL(None).mallopt(-3, 1 << 20)
    except (AttributeError, OSError, TypeError):
        return


def _session(weights: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what goes wrong is raised; stderr is the user's
    # Threads that spin while they wait cost whoever else is at work, and this engine's own next step.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])


def _tokens(vocabulary: bytes) -> Iterator[bytes]:
    """Each token as bytes of UTF-8: its length, in one byte or, from 128 on, in two; then itself."""
    at = 0
    while at < len(vocabulary):
        size, at = vocabulary[at], at + 1
        if size >= 128:
            size, at = size - 128 + 128 * vocabulary[at], at + 1
        yield vocabulary[at : at + size]
        at += size


def _before(name: str) -> str:
    """The input that takes up the output `name` again."""
    return name.replace("present.", "past_key_values.", 1)


def _repeated(said: list[int], period: int) -> bool:
    return said[period:] == said[:-period]
