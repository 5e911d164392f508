"""How a window is recognized by a Whisper model that gives recorded answers: languages, scripts and timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from tokenizers import Tokenizer as Vocabulary

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.server import whisper_decoding
from cartesia_cli.server.packaged_models import BASE

pytestmark = pytest.mark.engine

SECONDS = 4
"""Length of the window."""

Answer = Sequence[str | float]
"""What a model says: text, and timestamps in seconds."""


class RecordedModel:
    """Stands in for faster-whisper's model and for CTranslate2's: gives the next of some answers in each call.

    scores    mean logarithms of probabilities, for the first calls
    prompts   what it was asked to continue
    lengths   of the windows that it encoded, in hundredths of a second
    """

    max_length, tokens_per_second, is_multilingual = 448, 50, True
    find_alignment = WhisperModel.find_alignment

    def __init__(self, *answers: Answer) -> None:
        self.model = self
        self.hf_tokenizer = Vocabulary.from_file(str(BASE.folder / "tokenizer.json"))
        self.scores: list[float] = []
        self.prompts: list[str] = []
        self.lengths: list[int] = []
        self._answers = iter(answers)

    def feature_extractor(self, samples: Samples) -> Any:
        return np.zeros((80, len(samples) * 100 // RATE + 1), np.float32)

    def encode(self, features: Any, to_cpu: bool) -> Any:
        self.lengths.append(features.shape[-1])
        return np.zeros((1, self.lengths[-1], 1), np.float32)

    def generate(self, encoded: object, prompts: Sequence[list[int]], **options: object) -> list[SimpleNamespace]:
        self.prompts += [str(self.hf_tokenizer.decode(prompt, skip_special_tokens=False)) for prompt in prompts]
        tokens = [self._tokens(next(self._answers)) for _ in prompts]
        score = self.scores.pop(0) if self.scores else -0.2
        return [SimpleNamespace(sequences_ids=[answer], scores=[score], no_speech_prob=0.1) for answer in tokens]

    def align(self, encoded: object, start: object, texts: Any, frames: int, **options: object) -> list[Any]:
        """Every token takes the same time."""
        tokens = len(texts[0])
        times = [(k, k * frames // 2 // max(1, tokens)) for k in range(tokens + 1)]
        return [SimpleNamespace(text_token_probs=[0.9] * tokens, alignments=times)]

    def _tokens(self, answer: Answer) -> list[int]:
        first = Tokenizer(self.hf_tokenizer, True, task="transcribe", language="fr").timestamp_begin
        tokens: list[int] = []
        for part in answer:
            tokens += self.hf_tokenizer.encode(part, add_special_tokens=False).ids if isinstance(part, str) else []
            tokens += [first + round(part * 50)] if isinstance(part, float) else []
        return tokens


@pytest.fixture(autouse=True)
def all_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper_decoding, "get_speech_timestamps", lambda samples: [{"start": 0, "end": len(samples)}])


def recognize(model: Any, language: str) -> list[str]:
    """The words of a window, after a check of their times."""
    (words,) = whisper_decoding.recognize(model, [np.full(SECONDS * RATE, 0.5, np.float32)], language)
    times = [time or 0.0 for word in words for time in (word.start, word.end)]
    assert times == sorted(times) and all(0 <= time <= SECONDS for time in times)
    return [word.word for word in words]


@pytest.mark.parametrize(
    ("language", "prompt", "words"),
    [
        ("zh", "以下是普通话的句子。", "这 家 饭 馆 的 菜 很好 吃, 价 格 也 不 贵。"),
        ("zh-Hans", "以下是普通话的句子。", "这 家 饭 馆 的 菜 很好 吃, 价 格 也 不 贵。"),
        ("zh-Hant", "以下是普通話的句子。", "這 家 飯 館 的 菜 很好 吃, 價 格 也 不 貴。"),
    ],
)
def test_chinese_is_asked_for_in_its_script_and_divided_into_characters(language: str, prompt: str, words: str) -> None:
    model = RecordedModel([words.replace(" ", "")])
    assert recognize(model, language) == words.split()  # "very good" is one token of the model
    assert model.prompts == [f"<|startofprev|> {prompt}<|startoftranscript|><|zh|><|transcribe|><|notimestamps|>"]


def test_text_that_is_only_the_prompt_is_dropped() -> None:
    assert recognize(RecordedModel([whisper_decoding.PROMPTS["zh-Hant"]]), "zh-Hant") == []


def test_english_is_recognized_without_timestamps_and_french_with_them() -> None:
    english, french = RecordedModel([" Good", " day."]), RecordedModel([0.0, " Bonjour.", 3.5])
    assert (recognize(english, "en"), recognize(french, "fr")) == ([" Good", " day."], [" Bonjour."])
    assert english.prompts == ["<|startoftranscript|><|en|><|transcribe|><|notimestamps|>"]
    assert french.prompts == ["<|startoftranscript|><|fr|><|transcribe|>"]


def test_window_whose_timestamps_end_early_is_recognized_again_without_them() -> None:
    model = RecordedModel([0.0, " Bonjour.", 1.5], [" Bonjour. Merci."])
    assert recognize(model, "fr") == [" Bonjour.", " Merci."]
    assert [prompt.endswith("<|notimestamps|>") for prompt in model.prompts] == [False, True]


def test_windows_with_little_speech_are_padded_to_a_short_length_and_stay_in_order() -> None:
    windows = [np.full(int(seconds * RATE), 0.5, np.float32) for seconds in (8.2, 7.9, 30, 1)]
    short: Any = RecordedModel([" two"], [" four"], [" one"], [" three"])
    found = whisper_decoding.recognize(short, windows, "en", whisper_decoding.SHORT_WINDOW_FRAMES)
    assert [word.word for words in found for word in words] == [" one", " two", " three", " four"]
    assert short.lengths == [1000, 1000, 3000, 3000]
    unmeasured = RecordedModel([" one"])
    assert recognize(unmeasured, "en") == [" one"]
    assert unmeasured.lengths == [3000]


@pytest.mark.parametrize(
    ("text", "score"), [(" winter" * 40, -0.1), (" parmekleidung", -0.9)], ids=["repeats", "unlikely"]
)
def test_short_window_that_the_model_is_not_sure_of_is_recognized_again_at_full_length(text: str, score: float) -> None:
    windows = [np.full(int(seconds * RATE), 0.5, np.float32) for seconds in (3, 20)]
    model: Any = RecordedModel([text], [" Im", " Winter."], [" Danach."])
    model.scores = [score]
    found = whisper_decoding.recognize(model, windows, "en", whisper_decoding.SHORT_WINDOW_FRAMES)
    assert [[word.word for word in words] for words in found] == [[" Im", " Winter."], [" Danach."]]
    assert model.lengths == [1000, 3000, 3000]
