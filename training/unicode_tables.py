"""Makes the tables that fold, classify and name the script of each character; shipped with the weights."""

from __future__ import annotations

import unicodedata

import numpy as np

from sentinel.scanning.classify.features import SCRIPTS, Tables

__all__ = ["unicode_tables"]

_SHAPES = {".,;:!?": 6, "()[]{}<>": 7, "\"'`": 8, "/\\|": 9, "_-=+*#~": 10, "@$%^&": 11}
_LOWER, _UPPER, _DIGIT, _CASELESS, _SPACE, _LINE_END, _OTHER_ASCII, _OTHER = 0, 1, 2, 3, 4, 5, 12, 13
_UNSPACED = ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
_NAMED = {
    "LATIN": "latin",
    "FULLWIDTH": "latin",
    "CYRILLIC": "cyrillic",
    "CJK": "cjk",
    "HIRAGANA": "cjk",
    "KATAKANA": "cjk",
    "HALFWIDTH": "cjk",
    "HANGUL": "cjk",
    "ARABIC": "arabic",
    "DEVANAGARI": "devanagari",
} | dict.fromkeys(_UNSPACED, "other_unspaced")


def unicode_tables() -> Tables:
    """Return the tables for the basic plane, by this Python's Unicode."""
    chars = [chr(code) for code in range(0x10000)]
    return Tables(
        np.array([ord(_folded(char)) for char in chars], np.uint32),
        np.array([_shape(char) for char in chars], np.uint32),
        np.array([SCRIPTS.index(_script(char)) for char in chars], np.uint8),
    )


def _folded(char: str) -> str:
    """Return one character: without case, marks (on Latin) and compatibility form; digits are all 0."""
    if char.isspace() or unicodedata.category(char) == "Cc":
        return " "
    bare = unicodedata.normalize("NFKD", char)[:1]
    plain = bare if bare.isascii() and bare.isalnum() else unicodedata.normalize("NFKC", char)
    lower = (plain if len(plain) == 1 else char).lower()
    if lower.isdecimal():
        return "0"
    return lower if len(lower) == 1 else char


def _shape(char: str) -> int:
    if char in "\n\r":
        return _LINE_END
    if char.isspace():
        return _SPACE
    if char.isdecimal():
        return _DIGIT
    if char.isalpha():
        return _LOWER if char.islower() else _UPPER if char.isupper() else _CASELESS
    if unicodedata.category(char)[0] == "M":
        # Vowel signs of Indic scripts and Arabic points belong to words.
        return _CASELESS
    return next((code for signs, code in _SHAPES.items() if char in signs), _OTHER_ASCII if char.isascii() else _OTHER)


def _script(char: str) -> str:
    if not char.isalpha():
        return "none"
    return _NAMED.get(unicodedata.name(char, "").partition(" ")[0].partition("-")[0], "other")
