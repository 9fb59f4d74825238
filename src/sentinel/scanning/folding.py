"""
Readings that undo disguised letters: look-alikes, invisible characters, digits for letters, letters set apart.

Everything here runs in time linear in the text: translations, and patterns whose repetitions can't overlap.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from importlib import resources

import re2

from sentinel.scanning.view import Edit, View, edited, translated

__all__ = ["COMMON_WORDS", "PICTURE", "bare", "leet", "normalised", "syllables", "unsplit"]

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
    "\ufe00-\ufe0f\U000e0100-\U000e01ef\U000e0001\U000e007f"  # variation selectors, ends of tag sequences
    "\u0300-\u034e\u0350-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"  # combining marks
)
_SELECTORS = "[\ufe00-\ufe0f\U000e0100-\U000e01ef]{3,}"
_REWRITTEN = re.compile(f"{_SELECTORS}|[{_INVISIBLE}]+|[\U000e0020-\U000e007e]+|[\ufb00-\ufb06]")
# RE2 passes over plain text fifty times faster than `re` looks for what to rewrite in it.
_SUSPECT = re2.compile(r"[\x00-\x08\x0e-\x1f\x7f]|[^\x00-\x7f]")
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


_FOLDING = _folding_table()


def normalised(source: View) -> View:
    """
    Return the text in plain letters.

    Compatibility forms and look-alikes become the letters that they resemble; zero-width characters, bidirectional and
    other controls, variation selectors and combining marks go; Unicode tag characters, and runs of variation selectors
    whose numbers are bytes of UTF-8 (as smuggled behind an emoji), become the text that they spell. Plain text is
    returned as it is.
    """
    if not _SUSPECT.search(source.text):
        return source
    edits = (Edit(match.start(), match.end(), _rewritten(match[0])) for match in _REWRITTEN.finditer(source.text))
    view = edited("normalised", source, edits)
    # One character for one: the runs stay right.
    return View(view.name, view.text.translate(_FOLDING), source, view.starts, view.lows, view.highs)


def _rewritten(run: str) -> str:
    if ord(run[0]) in range(_TAG_OFFSET + 0x20, _TAG_OFFSET + 0x7F):
        # Set apart by spaces, so that it doesn't run into the visible word before it.
        return f" {''.join(chr(ord(char) - _TAG_OFFSET) for char in run)} "
    if "\ufb00" <= run <= "\ufb06":
        return unicodedata.normalize("NFKC", run)
    return _smuggled(run)


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
_LEET_WORD = re2.compile(r"[\w@$!|+€]*[1!|][\w@$!|+€]*")


def leet(source: View) -> Iterator[View]:
    """Yield the text with digits and signs read as letters; once more where a one may be an i or an l."""
    text = source.text
    yield translated("leet", source, text.translate(_LEET))
    if any(char in text for char in "1!|"):
        words = _LEET_WORD.sub(lambda match: _leet_word(match[0]), text)
        yield translated("leet_l", source, words.translate(_LEET))


def _leet_word(word: str) -> str:
    """Return the word with ones as i if that makes a known word, else as l."""
    with_i = word.translate(_LEET)
    return with_i if with_i.lower() in COMMON_WORDS else word.translate(_LEET_WITH_L)


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
# Letters all set apart by one space lose their word boundaries; the words that attacks are made of bring them back,
# the longest first.
_WORDS = re2.compile(f"(?i){'|'.join(sorted(COMMON_WORDS, key=lambda word: (-len(word), word)))}")
_LONG_WORD = 15
"""English words of attacks are shorter ("configuration" has 13 letters); a longer run is several words."""


def unsplit(source: View) -> View:
    """Return the text with letters that stand apart (`w o r d`, `w.o.r.d`) joined to words."""
    edits = (Edit(match.start(), match.end(), _joined(match[0])) for match in _SPLIT.finditer(source.text))
    return edited("split", source, edits)


def _joined(run: str) -> str:
    letters = run[::2]
    return letters if len(letters) < _LONG_WORD else _WORDS.sub(r" \g<0> ", letters)


_SYLLABLES = re2.compile(r"\b[A-Za-z]{1,7}(?:[-.\x{b7}_][A-Za-z]{1,7})+\b|[A-Za-z]-\n[A-Za-z]")
_NOT_LETTERS = re.compile(r"[-.\u00b7_\n]")


def syllables(source: View) -> View:
    """Return the text with words that are cut by hyphens, dots or line ends (`ig-no-re`) joined."""
    edits = (
        Edit(match.start(), match.end(), _NOT_LETTERS.sub("", match[0])) for match in _SYLLABLES.finditer(source.text)
    )
    return edited("syllables", source, edits)


_PICTURES = "\u2190-\u2bff\U0001f000-\U0001f1e5\U0001f200-\U0001faff"
PICTURE = f"[{_PICTURES}]"
"""A pattern for one character that is a picture: arrows, symbols, emoji."""
_IN_A_WORD = r"</?(?:b|i|u|s|em|strong|span|font|a|sub|sup|mark|small|big|code|wbr|del|ins)\b[^<>]*>"
_NOISE = re2.compile(rf"(?is)(<!--.*?-->|/\*.*?\*/|{_IN_A_WORD}|[\"']\s?[+.]\s?[\"']|[{_PICTURES}]+)|</?[a-z][^<>]*>")


def bare(source: View) -> Iterator[View]:
    """Yield the text without what a page shows no letters for: comments, tags, pictures; then with spaces for them."""
    matches = list(_NOISE.finditer(source.text))
    yield edited("bare", source, (Edit(match.start(), match.end(), "" if match[1] else " ") for match in matches))
    yield edited("bare_spaced", source, (Edit(match.start(), match.end(), " ") for match in matches))
