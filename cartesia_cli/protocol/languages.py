"""Languages: their names, and the values of `--language` that are no code of the API.

The codes are those of ink-whisper, mostly ISO 639-1. The lists are for completion and warnings, and must never reject a
value: within an API version the server may add new ones (API docs: api-conventions).
"""

from __future__ import annotations

from functools import cache

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


THREE_LETTER_CODES = """
eng en, zho zh, chi zh, cmn zh, deu de, ger de, spa es, rus ru, kor ko, fra fr, fre fr, jpn ja, por pt, tur tr, pol pl,
cat ca, nld nl, dut nl, ara ar, swe sv, ita it, ind id, hin hi, fin fi, vie vi, heb he, iw he, ukr uk, ell el, gre el,
msa ms, may ms, ces cs, cze cs, ron ro, rum ro, dan da, hun hu, tam ta, nor no, nob no, nb no, tha th, urd ur, hrv hr,
bul bg, lit lt, lat la, mri mi, mao mi, mal ml, cym cy, wel cy, slk sk, slo sk, tel te, fas fa, per fa, lav lv, ben bn,
srp sr, aze az, slv sl, kan kn, est et, mkd mk, mac mk, bre br, eus eu, baq eu, isl is, ice is, hye hy, arm hy, nep ne,
mon mn, bos bs, kaz kk, sqi sq, alb sq, swa sw, glg gl, mar mr, pan pa, sin si, khm km, sna sn, yor yo, som so, afr af,
oci oc, kat ka, geo ka, bel be, tgk tg, snd sd, guj gu, amh am, yid yi, lao lo, uzb uz, fao fo, hat ht, pus ps, tuk tk,
nno nn, mlt mt, san sa, ltz lb, mya my, bur my, bod bo, tib bo, tgl tl, fil tl, mlg mg, asm as, tat tt, lin ln, hau ha,
bak ba, jav jw, jv jw, sun su, ori or
"""
"""Codes of ISO 639-2 and 639-3, and others of the same languages, each with the one in LANGUAGE_NAMES."""

OTHER_NAMES = {
    "burmese": "my", "castilian": "es", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb", "mandarin": "zh",
    "moldavian": "ro", "moldovan": "ro", "panjabi": "pa", "pushto": "ps", "sinhalese": "si", "valencian": "ca",
}  # fmt: skip
"""Names that Whisper has besides those in LANGUAGE_NAMES, in lower case."""


def primary_language(language: str) -> str:
    """The code of a language, without a script or a region, whatever program names it: "de" for "de-DE", "de_de",
    "deu" and "German". Anything else as it is, in lower case, without what follows the first hyphen.
    """
    name = language.strip().casefold()
    code = name.replace("_", "-").partition("-")[0]
    return _codes_by_name().get(name) or _codes_by_name().get(code, code)


@cache
def _codes_by_name() -> dict[str, str]:
    names = {name.casefold(): code for code, name in LANGUAGE_NAMES.items()}
    codes: dict[str, str] = dict(entry.split() for entry in THREE_LETTER_CODES.split(","))
    return names | OTHER_NAMES | codes


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
