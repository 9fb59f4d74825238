"""
What the classifier sees of a text: hashed character n-grams, shapes, words, word pairs.

Theory of operation. A text becomes an array of code points, each folded to one character by table (case, marks,
compatibility forms, digits, white space), runs of spaces to one. At each position begin four n-grams of 2 to 5
characters and one shape, the classes (upper, lower, digit, bracket, ...) of six characters as they were typed, which
is how gibberish and code differ from prose. Where a word begins stand the word, the pair with the next word and the
pair with the one after; a repeated word pairs with itself in a feature of its own, so that floods look alike whatever
floods. All hashes are polynomials modulo 2**32, computed for all positions at once: a word's is a difference of
prefix sums times an inverse power. The same code makes the features in training and at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BUCKET_BITS",
    "LATIN",
    "MOST_CHARS",
    "SCRIPTS",
    "Features",
    "FeaturesOfAll",
    "Folded",
    "FoldedTexts",
    "Tables",
    "features",
    "features_of_all",
    "fold",
    "fold_all",
    "main_script",
    "window_size",
    "window_starts",
]

Ints = NDArray[Any]

BUCKET_BITS = 19
SCRIPTS = ("none", "latin", "cyrillic", "cjk", "arabic", "devanagari", "other", "other_unspaced")
"""What the codes of `Tables.script` mean."""
LATIN = SCRIPTS.index("latin")
_LOWER, _UPPER = 0, 1
_WORD_SHAPES = 4
"""Shapes below this one belong to words: lower case, upper case, digit, letter without case."""
_WINDOW, _DENSE_WINDOW = 330, 150
"""Characters of a window; the smaller one where a character is a syllable or a word."""
_DENSE_SCRIPTS = (SCRIPTS.index("cjk"), SCRIPTS.index("other_unspaced"))

_NGRAMS = 4
_SHAPE_LENGTH = 6
_PADDING = _SHAPE_LENGTH
_GAP = "\0" * _PADDING
"""Between two texts that are looked at together: no feature reaches over it."""
_LAST_CODE = 0xFFFF
"""Characters beyond the basic plane (emoji, rare ideographs) count as one."""
_SPACE = 0x20
_TWO_SPACES = np.full(2, _SPACE, np.uint32).tobytes()

_FACTOR = np.uint32(0x01000193)
_INVERSE = np.uint32(pow(int(_FACTOR), -1, 2**32))
_ORDERS = np.array([[0x85EBCA6B], [0xC2B2AE35], [0x27D4EB2F]], np.uint32)
"""Factors of a word that is the first of a pair, in its middle or at its end."""
_REPEATED = np.uint32(0x165667B1)
_MIX = np.uint32(0x9E3779B1)
_SHIFT = np.uint32(32 - BUCKET_BITS)
_SALTS = np.array([[0x3C6EF372], [0x1B873593], [0xE6546B64], [0xCC9E2D51], [0x2545F491]], np.uint32)
MOST_CHARS = 2**15
"""Characters that `features` takes at once; powers are kept ready for so many."""
_POWERS = np.cumprod(np.full(MOST_CHARS, _FACTOR), dtype=np.uint32)
_INVERSES = np.cumprod(np.full(MOST_CHARS, _INVERSE), dtype=np.uint32)


class Tables(NamedTuple):
    """
    What each code point of the basic plane becomes; arrays of 65,536.

    They are shipped with the weights, not computed: Unicode differs between Python versions, verdicts must not.
    """

    fold: Ints
    """uint32: the folded character."""
    shape: Ints
    """uint32: a class from 0 to 15."""
    script: Ints
    """uint8: an index into `SCRIPTS`."""


class Folded(NamedTuple):
    """A text as code points, spaces collapsed, with one space at each end."""

    chars: Ints
    shapes: Ints
    scripts: Ints
    positions: Ints
    """Of each character in the text; -1 for the space before it."""
    is_latin: bool
    """Whether no letter is of another script."""

    @property
    def window_size(self) -> int:
        """How many characters a window has."""
        return _WINDOW if self.is_latin else window_size(self.scripts)


class Features(NamedTuple):
    """The buckets of one block, and where they stand."""

    buckets: Ints
    """All of them: `grams`, row by row, then `words`."""
    grams: Ints
    """(5, n): one column for each character."""
    words: Ints
    """Words, then pairs of neighbours, then pairs with one word between."""
    beginnings: Ints
    """The characters at which the words themselves begin."""

    @property
    def word_at(self) -> Ints:
        """The character at which each of `words` begins."""
        return np.concatenate((self.beginnings, self.beginnings[:-1], self.beginnings[:-2]))


class FoldedTexts(NamedTuple):
    """Several texts as one array; `_PADDING` zeros stand between two of them."""

    chars: Ints
    shapes: Ints
    scripts: Ints
    starts: Ints
    """Of each text, with the space before it."""
    ends: Ints
    gaps: Ints
    """The places of the zeros."""

    def scripts_and_sizes(self) -> tuple[Ints, Ints]:
        """Return for each text the script of most of its letters, and how many characters a window of it has."""
        number = len(self.starts)
        if self.scripts.max() <= LATIN:
            return np.full(number, LATIN), np.full(number, _WINDOW)
        of_text = np.repeat(np.arange(number), np.diff(self.starts, append=len(self.scripts)))
        all_counts = np.bincount(of_text * len(SCRIPTS) + self.scripts, minlength=number * len(SCRIPTS))
        counts = all_counts.reshape(number, len(SCRIPTS)).T
        is_dense = counts[list(_DENSE_SCRIPTS)].sum(axis=0) > (self.ends - self.starts) / 4
        return main_script(counts), np.where(is_dense, _DENSE_WINDOW, _WINDOW)


class FeaturesOfAll(NamedTuple):
    """The buckets of several texts, and where they stand."""

    grams: Ints
    """(5, n): one column for each character."""
    words: Ints
    """Words and pairs of them."""
    word_at: Ints
    """The character at which each of `words` begins."""


def fold(text: str, tables: Tables) -> Folded:
    """Return the text folded; any `str` will do."""
    padded = f" {text} "
    if padded.isascii():
        codes: Ints = np.frombuffer(padded.encode(), np.uint8)
    else:
        codes = np.minimum(np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), np.uint32), _LAST_CODE)
    chars = tables.fold.take(codes)
    positions = np.arange(-1, len(codes) - 1)
    # A search for bytes costs a tenth of comparing numbers; one that begins inside a number does no harm.
    if _TWO_SPACES in chars.tobytes():
        spaces = chars == _SPACE
        kept = np.flatnonzero(np.concatenate(([True], ~(spaces[1:] & spaces[:-1]))))
        codes, chars, positions = codes.take(kept), chars.take(kept), positions.take(kept)
    shapes = tables.shape.take(codes)
    if text.isupper():
        # Shouting is a habit of some people and a disguise of others: it must say nothing.
        shapes[shapes == _UPPER] = _LOWER
    scripts = tables.script.take(codes)
    return Folded(chars, shapes, scripts, positions, padded.isascii() or bool(scripts.max() <= LATIN))


def fold_all(texts: Sequence[str], tables: Tables) -> FoldedTexts:
    """
    Return several texts as one array, each as `fold` has it.

    Args:
        texts: Together, with 8 for each of them, at most `MOST_CHARS` characters.
        tables: What each character becomes.
    """
    padded = [f" {text} " for text in texts]
    joined = _GAP.join(padded)
    if joined.isascii():
        codes: Ints = np.frombuffer(joined.encode(), np.uint8)
    else:
        codes = np.minimum(np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32), _LAST_CODE)
    chars = tables.fold.take(codes)
    sizes = np.fromiter(map(len, padded), np.intp, len(padded))
    ends = np.add.accumulate(sizes + _PADDING) - _PADDING
    starts, gaps = ends - sizes, _gaps(ends)
    chars[gaps] = 0
    spaces = chars == _SPACE
    twice = spaces[1:] & spaces[:-1]
    if twice.any():
        kept = np.flatnonzero(np.concatenate(([True], ~twice)))
        codes, chars = codes.take(kept), chars.take(kept)
        starts, ends = kept.searchsorted(starts), kept.searchsorted(ends)
        gaps = _gaps(ends)
    shapes, scripts = tables.shape.take(codes), tables.script.take(codes)
    shapes[gaps] = 0
    scripts[gaps] = 0
    for place, text in enumerate(texts):
        if text.isupper():
            of_text = shapes[starts[place] : ends[place]]
            of_text[of_text == _UPPER] = _LOWER
    return FoldedTexts(chars, shapes, scripts, starts, ends, gaps)


def _gaps(ends: Ints) -> Ints:
    """Return the places between texts that end there; none follows the last one."""
    places: Ints = (ends[:-1, None] + np.arange(_PADDING)).ravel()
    return places


def features_of_all(folded: FoldedTexts) -> FeaturesOfAll:
    """Return the buckets that `features` has of each of the texts; those of what parts them mean nothing."""
    n = len(folded.chars)
    inside = folded.shapes < _WORD_SHAPES
    inside[folded.starts] = inside[folded.ends - 1] = inside[folded.gaps] = False
    words, pairs, skips, before = _word_hashes(folded.chars, inside)
    text_at = folded.ends.searchsorted(before)
    near, far = text_at[1:] == text_at[:-1], text_at[2:] == text_at[:-2]
    of_words = np.concatenate((words, pairs[near], skips[far]))
    word_at = np.concatenate((before, before[:-1][near], before[:-2][far]))
    grams = np.empty((1 + _NGRAMS, n), np.uint32)
    _hash_grams(folded.chars, folded.shapes, grams)
    return FeaturesOfAll(_buckets(grams), _buckets(of_words), word_at)


def features(chars: Ints, shapes: Ints) -> Features:
    """
    Return the buckets of at most 32,768 folded characters.

    Args:
        chars: uint32, `Folded.chars` or a part of it.
        shapes: uint32, as long.
    """
    n = len(chars)
    inside = shapes < _WORD_SHAPES
    inside[0] = inside[-1] = False
    *hashes, beginnings = _word_hashes(chars, inside)
    of_words = np.concatenate(hashes)
    buckets = np.empty((1 + _NGRAMS) * n + len(of_words), np.uint32)
    grams, words = buckets[: (1 + _NGRAMS) * n].reshape(1 + _NGRAMS, n), buckets[(1 + _NGRAMS) * n :]
    _hash_grams(chars, shapes, grams)
    words[:] = of_words
    _buckets(buckets)
    return Features(buckets, grams, words, beginnings)


def _buckets(hashes: Ints) -> Ints:
    """Turn hashes into buckets where they are."""
    hashes *= _MIX
    hashes >>= _SHIFT
    return hashes


def window_size(scripts: Ints) -> int:
    """Return how many characters a window of a text in these scripts has: 330, or 150 where most have no spaces."""
    if scripts.max() <= LATIN:
        return _WINDOW
    counts = np.bincount(scripts, minlength=len(SCRIPTS))
    return _DENSE_WINDOW if counts[list(_DENSE_SCRIPTS)].sum() > len(scripts) / 4 else _WINDOW


def main_script(counts: Ints) -> Ints:
    """
    Return the scripts, indices into `SCRIPTS`, of most letters; Latin where there is none.

    Args:
        counts: Letters by script along the first axis. Latin ones count a third: the letters that other alphabets
            share with it have become Latin in the plain reading of a text.
    """
    weighed = counts[LATIN:] * 3
    weighed[0] //= 3
    scripts: Ints = np.argmax(weighed, axis=0) + LATIN
    return scripts


def window_starts(length: int, size: int) -> Ints:
    """Return where the windows over `length` characters begin: every half window, the last one ends with the text."""
    if length <= size:
        return np.zeros(1, np.intp)
    return np.append(np.arange(0, length - size, size // 2), length - size)


def _hash_grams(chars: Ints, shapes: Ints, hashes: Ints) -> None:
    """Put the hashes of shapes into the first row, those of 2 to 5 characters into the others."""
    n = len(chars)
    padded = np.zeros(n + _PADDING, np.uint32)
    padded[:n] = chars
    before = chars
    for length in range(1, 1 + _NGRAMS):
        row = hashes[length]
        np.multiply(before, _FACTOR, out=row)
        row += padded[length : n + length]
        before = row
    padded[:n] = shapes
    pairs = padded[:-1] | padded[1:] << 4
    hashes[0] = pairs[:n] | pairs[2 : n + 2] << 8 | pairs[4 : n + 4] << 16
    hashes += _SALTS


def _word_hashes(chars: Ints, inside: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """
    Return the hashes of words, pairs of neighbours and pairs with a word between; and where the words begin.

    Args:
        chars: Folded.
        inside: Which of them belong to words; neither the first nor the last does.
    """
    (edges,) = (inside[1:] != inside[:-1]).nonzero()
    before, last = edges[::2], edges[1::2]
    sums = np.add.accumulate(chars * _POWERS[: len(chars)], dtype=np.uint32)
    words = (sums.take(last) - sums.take(before)) * _INVERSES.take(before)
    first, second, third = words * _ORDERS
    pairs = first[:-1] + second[1:]
    np.putmask(pairs, words[:-1] == words[1:], _REPEATED)
    skips = second[:-2] + third[2:]
    np.putmask(skips, words[:-2] == words[2:], _REPEATED)
    return words, pairs, skips, before
