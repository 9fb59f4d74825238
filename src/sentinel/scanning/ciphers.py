"""
Readings that undo letters exchanged for others.

Shifted and mirrored alphabets, octal and binary codes, spelling alphabets, and words without spaces between them. A
shifted text looks like any text in a language that nobody knows, so what calls for its reading are the words that
attacks are made of, as each alphabet spells them.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from functools import cache
from typing import Any

import re2

from sentinel.scanning.folding import COMMON_WORDS
from sentinel.scanning.view import View, edited, translated

__all__ = ["CIPHERED", "GLUED", "NUMBERED", "SPELT", "deciphered", "numbered", "spelt", "unglued"]

_LOWER, _UPPER = string.ascii_lowercase, string.ascii_uppercase
_SHORTEST = 6
"""Letters of a word that no alphabet turns into another one by chance."""
_MORE_WORDS = "forget secret password directions directives translate instruct reveal everyone without"
_TELLING = sorted({word for word in {*COMMON_WORDS, *_MORE_WORDS.split()} if len(word) >= _SHORTEST})


def _moved(places: int) -> dict[int, int]:
    to = _LOWER[places:] + _LOWER[:places]
    return str.maketrans(_LOWER + _UPPER, to + to.upper())


# Moving by 13 is a reading of its own, whose words may be shorter.
_ALPHABETS = {
    **{f"caesar_{places}": _moved(26 - places) for places in range(1, 26) if places != 13},  # noqa: PLR2004 - as said
    "atbash": str.maketrans(_LOWER + _UPPER, _LOWER[::-1] + _UPPER[::-1]),
    "rot47": {code: 33 + (code + 14) % 94 for code in range(33, 127)},
}
"""What each character stands for, by the name of the cipher."""


def _spellings(name: str) -> str:
    back = {plain: code for code, plain in _ALPHABETS[name].items()}
    spelt_words = "|".join(re.escape(word.translate(back)) for word in _TELLING)
    return f"(?:{spelt_words})" if name == "rot47" else rf"(?i:\b(?:{spelt_words})\b)"


CIPHERED = "|".join(map(_spellings, _ALPHABETS))


@cache
def _one_by_one() -> tuple[tuple[str, Any], ...]:
    """Return each cipher's name and pattern; few texts need them."""
    return tuple((name, re2.compile(_spellings(name))) for name in _ALPHABETS)


def deciphered(source: View) -> Iterator[View]:
    """Yield the text in each alphabet in which it has a telling word: Caesar's by 1 to 25, Atbash, ROT47."""
    for name, telling in _one_by_one():
        if telling.search(source.text):
            yield translated(name, source, source.text.translate(_ALPHABETS[name]))


NUMBERED = r"(?:\\[0-3]?[0-7]{2}){6}|(?:\b[01][0-7]{2}\b[ ,]*){8}|\b[01]{48}"
_CODES = re.compile(
    r"(?:\\[0-3]?[0-7]{2}){6,}|\b[01][0-7]{2}(?:[ ,]{1,2}[01][0-7]{2}){7,}\b|\b(?P<binary>(?:[01]{8}){6,})\b"
)


def numbered(source: View) -> View:
    r"""Return the text with octal codes (`\151`, `151 147`) and unbroken binary ones read as what they spell."""
    runs = _CODES.finditer
    return edited("numbered", source, lambda: ((*run.span(), _from_codes(run)) for run in runs(source.text)))


def _from_codes(run: re.Match[str]) -> str:
    if binary := run["binary"]:
        octets = int(binary, 2).to_bytes(len(binary) // 8, "big")
    else:
        octets = bytes(int(code, 8) & 0xFF for code in re.findall("[0-7]+", run[0]))
    return octets.decode("utf-8", "replace")


_SPELLING = """\
alfa bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo sierra
tango uniform victor whiskey xray yankee zulu alpha juliet whisky x-ray
"""
_LETTERS = {word: word[0] for word in _SPELLING.split()}
_NAME = rf"(?:{'|'.join(sorted(_LETTERS, key=len, reverse=True))})"
SPELT = rf"(?i)(?:\b{_NAME}\b[ ,.;/|\n-]*){{8}}"
_SPELT_RUN = re.compile(rf"\b{_NAME}\b(?:[ ,.;/|\n-]{{1,4}}{_NAME}\b){{7,}}", re.IGNORECASE)
_SPELT_LETTER = re.compile(rf"({_NAME})([ ,.;/|\n-]*)", re.IGNORECASE)


def spelt(source: View) -> View:
    """Return the text with runs of the spelling alphabet (`india golf november`) read as letters (ICAO, Annex 10)."""
    runs = _SPELT_RUN.finditer
    return edited("spelt", source, lambda: ((*run.span(), _spelt_out(run[0])) for run in runs(source.text)))


def _spelt_out(run: str) -> str:
    """Return the letters; more than one sign between two of them ends a word."""
    parts = _SPELT_LETTER.findall(run)
    letters = "".join(_LETTERS[name.lower()] + (" " if len(signs) > 1 else "") for name, signs in parts)
    return letters if " " in letters.strip() else _apart(letters)


GLUED = (
    r"(?i)(?:ignore|disregard|forget|reveal|bypass|override|pretend|repeat|following)_?(?:all|any|prev|prior|earl|your|the|every|you)[A-Za-z_]"
    r"|(?:previous|prior|earlier|your|initial|exact|all|safety|no|from)_?(?:instructions|guidelines|directions|restrictions|rules|programming)"
    r"|any_?restrictions|(?:you_?are|act)_?(?:now|an?|as)_?(?:ai|dan|unf|my)|(?:your|hidden|the)_?system_?prompt|developer_?mode_?and"
    r"|(?:\pL+_){5}\pL|(?-i)(?:[A-Z][a-z]+){6}"
)
_GLUED_RUN = re.compile(r"\b[^\W\d]{10,}\b")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
# Short words stand in longer ones by chance.
_KNOWN = re.compile(
    "|".join(sorted({*COMMON_WORDS, *_MORE_WORDS.split()} - {"a", "in", "or", "no", "if"}, key=len, reverse=True)),
    re.IGNORECASE,
)


def unglued(source: View) -> View:
    """Return the text with words apart that were written as one: `ignore_all`, `ignoreAll`, `ignoreall`."""
    runs = _GLUED_RUN.finditer
    return edited("unglued", source, lambda: ((*run.span(), _apart(run[0])) for run in runs(source.text)))


def _apart(run: str) -> str:
    words = _HUMP.sub(" ", run.replace("_", " ")).split()
    return " ".join(words if len(words) != 1 else _KNOWN.sub(r" \g<0> ", words[0]).split())
