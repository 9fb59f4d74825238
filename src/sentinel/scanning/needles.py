r"""
What a text must contain for a pattern to hold: a cheap look that spares most patterns.

A pattern such as `\bignor(?:e|ing) (?:\w+ ){0,3}rules\b` holds in no text without `ignore` or `ignoring`, and in none
without `rules`. `needs` reads such sets of words, here called needles, off a pattern; a `Sieve` finds in one pass,
whose cost is linear in the text whatever stands in it, which patterns have all they need. It may name too many, never
too few: a pattern of which nothing is known is always named. The idea is that of RE2's `FilteredRE2`, whose own
automaton has to be built anew for every other text.

Needles and texts are compared by their full case folding, octet by octet in UTF-8. What RE2 holds for the same letter
but for its case folds to the same, so this is right for patterns that ignore case and for those that don't.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sieve", "needs"]

Needles = frozenset[str]

_OCTETS = 4
"""Of a needle, by which it is looked for."""
_LEAST_OCTETS = 3
"""A shorter needle stands in most texts."""
_GOOD_OCTETS = 8
"""A needle of more is not much rarer."""
_MOST_NEEDLES = 256
"""In one set."""
_SETS = 3
"""Of needles that a pattern needs: with more, hardly a pattern less is named."""

_ANY: Needles | None = None
"""In the place of the strings that a part of a pattern may stand for: too many to name."""
_NOTHING: Needles = frozenset({""})

_PLAIN = re.compile(r"[^\\\[(){}|?*+.^$]+(?![?*+{])|[^\\\[(){}|?*+.^$]")
"""Letters that stand for themselves, without one that is repeated after others."""
_WORDS = re.compile(r"\(\?:([^\\\[(){}?*+.^$]+)\)")
"""A group of nothing but such letters, the commonest there is."""
_CLASS_ALONE = r"\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]"
_CLASS = re.compile(rf"{_CLASS_ALONE}|\(\?:{_CLASS_ALONE}[+*]?\)|\.", re.DOTALL)
"""Also a group of nothing else, as a space in our rules is."""
_FEW_CHARS = re.compile(r"\[([^\]\[\\^-]{1,4})\]")
_COUNT = re.compile(r"\{(\d+)(,?)(\d*)\}")
_OPENING = re.compile(r"\((?:\?(?:P?<\w+>|[imsU-]*:))?")
_FLAGS = re.compile(r"\(\?[imsU-]+\)")
_CODE = re.compile(r"\\(?:x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|([0-7]{3}))")
_PROPERTY = re.compile(r"\\[pP](?:\{\^?\w+\}|\w)")
_CLASSES, _PLACES = frozenset("dDwWsSC"), frozenset("bBAz")
_REPEATING = frozenset("?*+{")
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}


class _Part(NamedTuple):
    """A piece of a pattern: the strings that it stands for, if they can be named, and what it needs besides."""

    exact: Needles | None = _ANY
    needs: tuple[Needles, ...] = ()

    def all_needs(self) -> tuple[Needles, ...]:
        """Return the sets of which each has one in every text in which the part holds."""
        return self.needs if self.exact is None else (*self.needs, self.exact)


def needs(pattern: str) -> tuple[Needles, ...]:
    """
    Return at most three sets of strings: a text in which the pattern holds contains, folded, one of each.

    Args:
        pattern: RE2 that compiles. What it has that is not known here makes the answer empty.
    """
    try:
        part = _Reader(pattern).read()
    except _Unknown:
        return ()
    found = {need for need in part.all_needs() if _quality(need) > (0, 0)}
    return tuple(sorted(found, key=_quality, reverse=True)[:_SETS])


def _quality(need: Needles) -> tuple[int, int]:
    """Return how rare texts are that contain one of them, for comparisons; (0, 0) when they can't be looked for."""
    shortest = min(len(needle.encode()) for needle in need)
    if shortest < _LEAST_OCTETS or len(need) > _MOST_NEEDLES:
        return 0, 0
    return min(shortest, _GOOD_OCTETS), _MOST_NEEDLES + 1 - len(need)


class _Unknown(Exception):
    """The pattern has something that is not known here."""


class _Reader:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def read(self) -> _Part:
        part = self._alternatives()
        if self._at < len(self._pattern):
            raise _Unknown
        return part

    def _alternatives(self) -> _Part:
        parts = [self._sequence()]
        while self._skipped("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _either(parts)

    def _sequence(self) -> _Part:
        parts = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return _after_each_other(parts)

    def _repeated(self, part: _Part) -> _Part:
        if self._pattern[self._at : self._at + 1] not in _REPEATING:
            return part
        least, most = 1, 1
        if self._skipped("?"):
            least = 0
        elif self._skipped("*"):
            least, most = 0, 2
        elif self._skipped("+"):
            most = 2
        elif count := _COUNT.match(self._pattern, self._at):
            self._at = count.end()
            least = int(count[1])
            most = least if not count[2] else int(count[3] or least + 2)
        else:
            return part
        self._skipped("?")  # few or many, it holds in the same texts
        if (least, most) == (0, 1) and part.exact is not None:
            return _Part(part.exact | _NOTHING)
        if (least, most) == (1, 1):
            return part
        return _Part(_ANY, part.all_needs() if least else ())

    def _atom(self) -> _Part:
        pattern, at = self._pattern, self._at
        if plain := _PLAIN.match(pattern, at):
            self._at = plain.end()
            return _Part(frozenset({plain[0].casefold()}))
        if few := _FEW_CHARS.match(pattern, at):
            self._at = few.end()
            return _Part(frozenset(few[1].casefold()))
        if found := _CLASS.match(pattern, at):
            self._at = found.end()
            return _Part()
        char = pattern[at]
        if char == "(":
            return self._group()
        if char == "\\":
            return self._escaped()
        if char == "[":
            raise _Unknown
        self._at += 1
        return _Part(_NOTHING if char in "^$" else frozenset({char.casefold()}))

    def _group(self) -> _Part:
        if words := _WORDS.match(self._pattern, self._at):
            self._at = words.end()
            return _Part(frozenset(words[1].casefold().split("|")))
        if flags := _FLAGS.match(self._pattern, self._at):
            self._at = flags.end()
            return _Part(_NOTHING)
        opening = _OPENING.match(self._pattern, self._at)
        assert opening is not None, "an atom that begins with a bracket"
        self._at = opening.end()
        part = self._alternatives()
        if not self._skipped(")"):
            raise _Unknown
        return part

    def _escaped(self) -> _Part:
        pattern, at = self._pattern, self._at
        if code := _CODE.match(pattern, at):
            self._at = code.end()
            char = chr(int(code[1] or code[2], 16) if code[3] is None else int(code[3], 8))
            return _Part(frozenset({char.casefold()}))
        if of_property := _PROPERTY.match(pattern, at):
            self._at = of_property.end()
            return _Part()
        char = pattern[at + 1 : at + 2]
        self._at += 2
        if char in _CLASSES:
            return _Part()
        if char in _PLACES:
            return _Part(_NOTHING)
        if char in _CONTROLS:
            return _Part(frozenset({_CONTROLS[char]}))
        if char.isalnum() or not char:
            raise _Unknown
        return _Part(frozenset({char.casefold()}))

    def _skipped(self, char: str) -> bool:
        found = self._pattern.startswith(char, self._at)
        self._at += found
        return found


def _either(parts: Sequence[_Part]) -> _Part:
    """Return what holds where one of the parts does: nothing is needed unless each of them needs something."""
    exact = [part.exact for part in parts if part.exact is not None]
    if len(exact) == len(parts) and sum(map(len, exact)) <= _MOST_NEEDLES:
        return _Part(frozenset().union(*exact))
    best = [max(part.all_needs(), key=_quality, default=_NOTHING) for part in parts]
    return _Part(_ANY, (frozenset().union(*best),))


def _after_each_other(parts: Sequence[_Part]) -> _Part:
    """Return what holds where the parts do one after the other: strings that can be named grow together."""
    found: list[Needles] = []
    run, whole = _NOTHING, True
    for part in parts:
        if part.exact is not None and len(run) * len(part.exact) <= _MOST_NEEDLES:
            run = frozenset(map("".join, itertools.product(run, part.exact)))
            continue
        found += [run, *part.needs]
        run, whole = _NOTHING if part.exact is None else part.exact, False
    return _Part(run) if whole else _Part(_ANY, (*found, run))


_COMMON = "etaoinsrhldcumfpgwybvkxjqz "
"""The letters of English from the most frequent on; what is none is rarer."""
_TABLE_BITS = 16
_MULTIPLIER = np.uint32(0x9E3779B1)  # Knuth's multiplicative hashing
_SHIFT = np.uint32(32 - _TABLE_BITS)
_THREE_OCTETS = np.uint32(0xFFFFFF)
_ZEROS = bytes(_OCTETS - 1)
"""After a text, so that a group begins at each of its octets."""

Groups = NDArray[np.uint32]
"""Four octets each, or three of a needle that has no more, as numbers."""


class Sieve:
    """
    Which of some patterns can hold in a text at all. Immutable, and safe to use from many threads.

    A needle is found by the two of its groups of four octets that are the rarest. A pattern is a bit of a number for
    each of the three sets that it may need, one number behind the other: a needle that is found adds the bits of those
    that it meets, and the patterns that are left are those with all three.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._count = len(patterns)
        unneeded = (1 << _SETS * self._count) - 1
        met_by: dict[tuple[int, int], int] = {}
        for place, pattern in enumerate(patterns):
            for number, need in enumerate(needs(pattern)):
                bit = 1 << number * self._count + place
                unneeded ^= bit
                for needle in need:
                    groups = _rarest(needle.encode())
                    met_by[groups] = met_by.get(groups, 0) | bit
        self._unneeded = unneeded
        self._met_by: dict[int, list[tuple[int, int]]] = {}
        """By a group, the group that must stand in the text besides, and the bits that both add."""
        for (first, second), met in met_by.items():
            self._met_by.setdefault(first, []).append((second, met))
        self._firsts = frozenset(self._met_by)
        known: Groups = np.array(list({group for both in met_by for group in both}), np.uint32)
        short = known <= _THREE_OCTETS
        self._tables = _table(known[~short]), _table(known[short])
        self.always = tuple(self._left(unneeded))
        """The places of the patterns of which nothing is known."""
        self._always = sum(1 << place for place in self.always)

    def candidates(self, text: str) -> list[int]:
        """Return the places of the patterns that have all they need, in order; `always` are left out."""
        return self._named(self._groups(text.casefold().encode()))

    def candidates_of(self, texts: Sequence[str]) -> list[list[int]]:
        """Return for each text what `candidates` does; the array is gone through once for all of them."""
        octets = [text.casefold().encode() for text in texts]
        return [self._named(groups) for groups in self._groups_of(octets)]

    def _named(self, groups: AbstractSet[int]) -> list[int]:
        met = self._unneeded
        for group in groups & self._firsts:
            for other, patterns in self._met_by[group]:
                if other in groups:
                    met |= patterns
        return list(self._left(met ^ self._always))

    def _left(self, met: int) -> Iterator[int]:
        left = met & (1 << self._count) - 1
        for number in range(1, _SETS):
            left &= met >> number * self._count
        return _bits(left)

    def _groups(self, octets: bytes) -> set[int]:
        """Return the groups of octets that stand in the text and may be those of needles."""
        if not octets:
            return set()
        groups, threes = _all_groups(octets + _ZEROS)
        long, short = self._tables
        found = np.concatenate((groups[long.take(_hashed(groups))], threes[short.take(_hashed(threes))]))
        return set(found.tolist())

    def _groups_of(self, texts: Sequence[bytes]) -> Iterator[set[int]]:
        """Yield for each text what `_groups` does; zeros between two texts keep them apart."""
        if not texts:
            return
        groups, threes = _all_groups(_ZEROS.join((*texts, b"")))
        ends = np.fromiter(itertools.accumulate(len(text) + len(_ZEROS) for text in texts), np.intp, len(texts))
        found = []
        for values, table in ((groups, self._tables[0]), (threes, self._tables[1])):
            (places,) = table.take(_hashed(values)).nonzero()
            found.append((values.take(places).tolist(), [0, *places.searchsorted(ends).tolist()]))
        (longs, long_ends), (shorts, short_ends) = found
        for number in range(len(texts)):
            here = set(longs[long_ends[number] : long_ends[number + 1]])
            here.update(shorts[short_ends[number] : short_ends[number + 1]])
            yield here


def _all_groups(padded: bytes) -> tuple[Groups, Groups]:
    """Return the groups of four octets that begin at each one but the last three, and those of three."""
    groups: Groups = np.ndarray((len(padded) - len(_ZEROS),), "<u4", padded, strides=(1,))
    return groups, groups & _THREE_OCTETS


def _table(groups: Groups) -> NDArray[np.bool_]:
    table = np.zeros(1 << _TABLE_BITS, np.bool_)
    table[_hashed(groups)] = True
    return table


def _hashed(groups: Groups) -> Any:
    hashed = groups * _MULTIPLIER
    hashed >>= _SHIFT
    return hashed


@functools.cache
def _rarest(needle: bytes) -> tuple[int, int]:
    """Return the two groups of a needle that the fewest texts will have; one twice, where it has no two."""
    starts = range(max(len(needle) - _OCTETS + 1, 1))
    by_rarity = sorted((needle[at : at + _OCTETS] for at in starts), key=_rarity, reverse=True)
    first, second = by_rarity[0], by_rarity[min(1, len(by_rarity) - 1)]
    return int.from_bytes(first, "little"), int.from_bytes(second, "little")


def _rarity(octets: bytes) -> int:
    return sum(_COMMON.find(chr(octet)) % (2 * len(_COMMON)) for octet in octets)


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
