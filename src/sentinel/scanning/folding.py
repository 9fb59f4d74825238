"""
Readings that undo disguised letters: look-alikes, invisible characters, digits for letters, letters set apart.

Everything here runs in time linear in the text: translations, and patterns whose repetitions can't overlap.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import accumulate, groupby

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from sentinel.scanning.view import Edit, View, edited

__all__ = [
    "COMMON_WORDS",
    "LEET",
    "PICTURE",
    "all_normalised",
    "bare",
    "closable",
    "leet",
    "normalised",
    "syllables",
    "unsplit",
]

# One line for each ASCII character, then those that readers (and models) take for it: our own pick from what Unicode's
# confusables (UTS #39) hold, the ones that look the same in common fonts.
_LOOK_ALIKES = resources.files("sentinel.scanning").joinpath("look_alikes.txt").read_text(encoding="utf-8")

# Blocks in which a character's compatibility decomposition may be one ASCII letter, perhaps with marks on it: accented
# Latin, Greek, Cyrillic, letter-like and circled, full-width, mathematical, squared.
_COMPATIBLE_BLOCKS = (
    (0x00A0, 0x0530),
    (0x1D2C, 0x1DC0),
    (0x1E00, 0x2200),
    (0x2460, 0x2500),
    (0x3000, 0x3001),
    (0xFF00, 0xFFF0),
    (0x1D400, 0x1D800),
    (0x1F130, 0x1F150),
)
# Lettered symbols that Unicode gives no decomposition: white on black, and the letters that flags are made of.
_LETTERED_BLOCKS = (0x1F150, 0x1F170, 0x1F1E6)

_INVISIBLE = (
    "\x00-\x08\x0e-\x1f\x7f"  # controls, but tab and line ends
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # soft hyphen, joiners and fillers
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"  # zero width, bidirectional controls
    "\U000e0001\U000e007f"  # ends of tag sequences
    "\u0300-\u034e\u0350-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"  # combining marks
)
_SPELLING = "\ufb00-\ufb06\ufe00-\ufe0f\U000e0020-\U000e007e\U000e0100-\U000e01ef"
"""Ligatures, variation selectors, tags: what may stand for more than one letter, or for a byte of one."""
_SELECTORS = "[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
_LETTERED = "[\U000e0020-\U000e007e]+|[\ufb00-\ufb06]"
_LEAST_SELECTORS = 3
"""One or two follow an emoji by right."""
_SPELT = re.compile(f"{_SELECTORS}{{{_LEAST_SELECTORS},}}|{_LETTERED}")
_REWRITTEN = re.compile(f"{_SELECTORS}+|{_LETTERED}|[{_INVISIBLE}]+")
_CONTROLS = bytes([*range(9), *range(14, 32), 127])
"""All of ASCII that is rewritten: with tab and line ends aside, what isn't printed."""
_TAG_OFFSET = 0xE0000
_FIRST_SELECTORS, _MORE_SELECTORS = range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)


def _plain(char: str) -> str:
    """Return the one character that `char` decomposes to, marks dropped, or `char` itself."""
    bare = [part for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part)]
    return bare[0] if len(bare) == 1 else char


def _folding_table() -> dict[int, str]:
    lines = (line.split() for line in _LOOK_ALIKES.splitlines())
    look_alike = {other: letter for letter, *others in lines for other in others}
    table = {code: _plain(chr(code)) for first, end in _COMPATIBLE_BLOCKS for code in range(first, end)}
    lettered = {first + i: chr(ord("A") + i) for first in _LETTERED_BLOCKS for i in range(26)}
    folded = {code: look_alike.get(char, char) for code, char in table.items()} | lettered
    return {code: char for code, char in folded.items() if chr(code) != char} | {
        ord(other): letter for other, letter in look_alike.items()
    }


_SPELLS, _GONE = 0xFFFF_FFFE, 0xFFFF_FFFF
"""No code points, but what becomes of some: what `_spelt` makes of them, or nothing."""


def _codes_in(characters: str) -> list[int]:
    """Return the code points of a regular expression's character class."""
    ranges = re.findall("(.)(?:-(.))?", characters, re.DOTALL)
    return [code for low, high in ranges for code in range(ord(low), ord(high or low) + 1)]


@cache
def _folding_array() -> NDArray[np.uint32]:
    """Return what each code point becomes: four mebibytes, but read a hundred times faster than a dictionary."""
    folded = np.arange(0x110000, dtype=np.uint32)
    table = _folding_table()
    folded[list(table)] = [ord(letter) for letter in table.values()]
    folded[_codes_in(_INVISIBLE)] = _GONE
    folded[_codes_in(_SPELLING)] = _SPELLS
    return folded


def normalised(source: View) -> View:
    """
    Return the text in plain letters.

    Compatibility forms and look-alikes become the letters that they resemble; zero-width characters, bidirectional and
    other controls, variation selectors and combining marks go; Unicode tag characters, and runs of variation selectors
    whose numbers are bytes of UTF-8 (as smuggled behind an emoji), become the text that they spell. Plain text is
    returned as it is.
    """
    if _is_plain(source.text):
        return source
    return _as_folded(source, _folded(source.text))


def all_normalised(sources: Sequence[View]) -> list[View]:
    """Return what `normalised` does for each of several texts, at less than for each alone."""
    found = list(sources)
    disguised = [place for place, source in enumerate(sources) if not _is_plain(source.text)]
    folded = _all_folded([sources[place].text for place in disguised])
    for place, text in zip(disguised, folded, strict=True):
        found[place] = _as_folded(sources[place], text)
    return found


def _as_folded(source: View, folded: str) -> View:
    return View("normalised", folded, source, lambda: _rewritten(source.text))


def _is_plain(text: str) -> bool:
    """Whether there is nothing to rewrite; patterns take ten times as long to tell."""
    if not text.isascii():
        return False
    octets = text.encode()
    return len(octets.translate(None, _CONTROLS)) == len(octets)


def _folded(text: str) -> str:
    folding = _folding_array()
    folded = folding.take(_codes(text))
    if (folded == _SPELLS).any():
        # What is spelt is ASCII, and what spells nothing goes.
        folded = folding.take(_codes(_SPELT.sub(lambda run: _spelt(run[0]), text)))
    return str(folded[folded < _SPELLS].tobytes(), "utf-32-le")


def _all_folded(texts: Sequence[str]) -> list[str]:
    if not texts:
        return []
    folded = _folding_array().take(_codes("".join(texts)))
    if folded.max() >= _SPELLS:  # where something goes, or spells, nobody knows any more where a text begins
        return [_folded(text) for text in texts]
    together, ends = str(folded.tobytes(), "utf-32-le"), list(accumulate(map(len, texts)))
    return [together[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _rewritten(text: str) -> Iterator[Edit]:
    for run in _REWRITTEN.finditer(text):
        yield run.start(), run.end(), _spelt(run[0])


def _spelt(run: str) -> str:
    if ord(run[0]) in range(_TAG_OFFSET + 0x20, _TAG_OFFSET + 0x7F):
        # Set apart by spaces, so that it doesn't run into the visible word before it.
        return f" {''.join(chr(ord(char) - _TAG_OFFSET) for char in run)} "
    if "\ufb00" <= run <= "\ufb06":
        return unicodedata.normalize("NFKC", run)
    return _smuggled(run) if len(run) >= _LEAST_SELECTORS else ""


def _smuggled(run: str) -> str:
    """Return the text whose bytes the 256 variation selectors of a run number, nothing if there is none."""
    codes = map(ord, run)
    values = bytes(code - 0xFE00 if code < _TAG_OFFSET else code - 0xE00F0 for code in codes if _is_selector(code))
    try:
        text = values.decode()
    except UnicodeDecodeError:
        return ""
    # Zeros are what a run of the commonest selector, which says "draw as an emoji" or "as text", comes to.
    return f" {text} " if len(text) == len(run) and text.isprintable() else ""


def _is_selector(code: int) -> bool:
    return code in _FIRST_SELECTORS or code in _MORE_SELECTORS


_LEET = str.maketrans("013456789@$!|+€", "oieasgtbgasiite")
_LEET_WITH_L = _LEET | str.maketrans("1!|", "lll")
LEET = r"[A-Za-z][013456789@$!|+€]{1,3}[A-Za-z]|\b[013457@$][A-Za-z]{2}|\b[A-Za-z]{2}[013457@$]\b"
"""A pattern for a word in which a digit or a sign stands for a letter."""
_STRETCH = 600
_LEET_SPOT = re.compile(LEET, re.ASCII)
_LEET_WORD = re.compile(r"(?<![\w@$!|+€])[\w@$!|+€]*[1!|][\w@$!|+€]*", re.ASCII)


def leet(source: View) -> Iterator[View]:
    """Yield the text with digits and signs read as letters; then with ones as l where an i makes no known word."""
    spots = edited("leet", source, lambda: _leet_spots(source.text))
    with_i = spots.text.translate(_LEET)
    # One character for one: the places stay right.
    yield replace(spots, text=with_i)
    if any(char in spots.text for char in "1!|"):
        with_l = spots.text.translate(_LEET_WITH_L)

        def known_or_l(match: re.Match[str]) -> str:
            word = with_i[slice(*match.span())]
            return word if word.lower() in COMMON_WORDS else with_l[slice(*match.span())]

        yield replace(spots, name=f"{spots.name}_l", text=_LEET_WORD.sub(known_or_l, spots.text).translate(_LEET))


def _leet_spots(text: str) -> Iterator[Edit]:
    """Yield where such words stand, unchanged: they say what of a long text is kept. Of many, one in each stretch."""
    at = 0
    while spot := _LEET_SPOT.search(text, at):
        at = min(spot.end() + _STRETCH, len(text))
        yield spot.start(), at, text[spot.start() : at]


_SEPARATORS = re.escape(" .-_*|/,~+:;=#\n\u00b7\u2022")
_SPLIT = re.compile(rf"(?<![\w@$])[\w@$]([{_SEPARATORS}])[\w@$](?:\1[\w@$])*(?![\w@$])")

_COMMON_WORDS = """
ignore disregard forget override bypass reveal repeat print show display output pretend act imagine you your are is now
the this that what all any every everything previous prior earlier above before initial instructions instruction rules
rule guidelines guideline directions restrictions restriction limits system prompt prompts message configuration safety
content filters and me my to as if have has had no without with an ai dan assistant model evil unrestricted new answer
follow help tell word for do of in line below developer mode from
"""
COMMON_WORDS = frozenset(_COMMON_WORDS.split())
"""What attacks are made of: by these words, however they are spelt, a hidden one is told."""


def _any_of(words: Iterable[str]) -> str:
    """Return a pattern for the words, the longest first, that looks at the first letter once for all."""
    ordered = sorted(words, key=lambda word: (word[0], -len(word), word))
    by_letter = groupby(ordered, key=lambda word: word[0])
    return "|".join(f"{letter}(?:{'|'.join(word[1:] for word in group)})" for letter, group in by_letter)


# Letters all set apart by one space lose their word boundaries; the words that attacks are made of bring them back.
_WORDS = re.compile(_any_of(COMMON_WORDS), re.IGNORECASE)
_LONG_WORD = 15
"""English words of attacks are shorter ("configuration" has 13 letters); a longer run is several words."""


def unsplit(source: View) -> View:
    """Return the text with letters that stand apart (`w o r d`, `w.o.r.d`) joined to words."""
    return edited("split", source, lambda: ((*run.span(), _joined(run[0])) for run in _SPLIT.finditer(source.text)))


def _joined(run: str) -> str:
    letters = run[::2]
    return letters if len(letters) < _LONG_WORD else _WORDS.sub(r" \g<0> ", letters)


_SYLLABLES = re.compile(r"\b[A-Za-z]{1,7}(?:[-.\u00b7_][A-Za-z]{1,7})+\b|[A-Za-z]-\n[A-Za-z]", re.ASCII)
_NOT_LETTERS = str.maketrans("", "", "-.\u00b7_\n")


def syllables(source: View) -> View:
    """Return the text with words that are cut by hyphens, dots or line ends (`ig-no-re`) joined."""
    words = _SYLLABLES.finditer
    return edited(
        "syllables", source, lambda: ((*word.span(), word[0].translate(_NOT_LETTERS)) for word in words(source.text))
    )


_PICTURES = "\u2190-\u2bff\U0001f000-\U0001f1e5\U0001f200-\U0001faff"
PICTURE = f"[{_PICTURES}]"
"""A pattern for one character that is a picture: arrows, symbols, emoji."""
_IN_A_WORD = r"</?(?:b|i|u|s|em|strong|span|font|a|sub|sup|mark|small|big|code|wbr|del|ins)\b[^<>]*>"
_NOISE = re.compile(
    rf"(<!--.*?-->|/\*.*?\*/|{_IN_A_WORD}|[\"']\s?[+.]\s?[\"']|[{_PICTURES}]+)|</?[a-z][^<>]*>",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)


def bare(source: View) -> Iterator[View]:
    """Yield the text without what a page shows no letters for: comments, tags, pictures; then with spaces for them."""
    text = closable(closable(source.text, "<!--", "-->"), "/*", "*/")
    noise = _NOISE.finditer
    yield edited("bare", source, lambda: ((*match.span(), "" if match[1] else " ") for match in noise(text)))
    yield edited("bare_spaced", source, lambda: ((*match.span(), " ") for match in noise(text)))


def closable(text: str, opening: str, closing: str) -> str:
    """
    Return the text with spaces for each opening mark that no closing one follows.

    To look for the end of each of many such comments would take a pass over the rest of the text for each.
    """
    last = text.rfind(closing)
    return text[: last + 1] + text[last + 1 :].replace(opening, " " * len(opening))
