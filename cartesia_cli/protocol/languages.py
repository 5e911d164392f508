"""Languages: their names, and the values of `--language` that are no code of the API.

The codes are those of ink-whisper, mostly ISO 639-1. The lists are for completion and warnings, and must never reject a
value: within an API version the server may add new ones (API docs: api-conventions).
"""

from __future__ import annotations

from ..errors import UsageError

AUTO_LANGUAGE = "auto"
"""Asks for the language to be detected. The batch endpoint of the API can't do that (batch); the local server can."""

CHINESE_SCRIPTS = {"zh-Hans": "zh", "zh-Hant": "zh"}
"""Chinese in simplified and traditional characters, each with its code in the API, which knows no scripts. The local
server does.
"""

TRADITIONAL_CHINESE = frozenset({"zh-tw", "zh-hk", "zh-mo"})
"""Codes of the places where Chinese is written in traditional characters, in lower case."""

LANGUAGE_NAMES = dict(
    entry.strip().split(" ", 1)
    for entry in """
    en English, zh Chinese, de German, es Spanish, ru Russian, ko Korean, fr French, ja Japanese, pt Portuguese,
    tr Turkish, pl Polish, ca Catalan, nl Dutch, ar Arabic, sv Swedish, it Italian, id Indonesian, hi Hindi,
    fi Finnish, vi Vietnamese, he Hebrew, uk Ukrainian, el Greek, ms Malay, cs Czech, ro Romanian, da Danish,
    hu Hungarian, ta Tamil, no Norwegian, th Thai, ur Urdu, hr Croatian, bg Bulgarian, lt Lithuanian, la Latin,
    mi Maori, ml Malayalam, cy Welsh, sk Slovak, te Telugu, fa Persian, lv Latvian, bn Bengali, sr Serbian,
    az Azerbaijani, sl Slovenian, kn Kannada, et Estonian, mk Macedonian, br Breton, eu Basque, is Icelandic,
    hy Armenian, ne Nepali, mn Mongolian, bs Bosnian, kk Kazakh, sq Albanian, sw Swahili, gl Galician, mr Marathi,
    pa Punjabi, si Sinhala, km Khmer, sn Shona, yo Yoruba, so Somali, af Afrikaans, oc Occitan, ka Georgian,
    be Belarusian, tg Tajik, sd Sindhi, gu Gujarati, am Amharic, yi Yiddish, lo Lao, uz Uzbek, fo Faroese,
    ht Haitian Creole, ps Pashto, tk Turkmen, nn Nynorsk, mt Maltese, sa Sanskrit, lb Luxembourgish, my Burmese,
    bo Tibetan, tl Tagalog, mg Malagasy, as Assamese, tt Tatar, haw Hawaiian, ln Lingala, ha Hausa, ba Bashkir,
    jw Javanese, su Sundanese, yue Cantonese, or Odia, zh-Hans Chinese (simplified), zh-Hant Chinese (traditional)
    """.split(",")
)
"""Code to its English name. Those of ink-whisper are in the order of the batch reference."""

HINT_LANGUAGES = tuple(code for code in LANGUAGE_NAMES if code not in CHINESE_SCRIPTS)
"""Codes that may be language hints: the 44 of ink-preview are among these (API docs: stt/languages)."""

LANGUAGES = tuple(code for code in HINT_LANGUAGES if code != "or")
"""Languages of ink-whisper."""


def api_language(code: str | None) -> str | None:
    """The language as the API takes it. Raises UsageError for AUTO_LANGUAGE, which it doesn't."""
    if code == AUTO_LANGUAGE:
        raise UsageError(
            "the API can't detect the language with ink-whisper", hint="name it, as in -l de; or use --local -l auto"
        )
    return CHINESE_SCRIPTS.get(code or "", code)


def language_name(code: str) -> str:
    """The name of a language, or its code if there is none."""
    return LANGUAGE_NAMES.get(code, code)
