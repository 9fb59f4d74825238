"""
One input as the engines see it: the text, its other readings, and where rules hold in them.

Attacks come encoded, and no judgement of the encoded form is worth much: so each text is also read with disguises
undone and encodings decoded. A trigger, cheap and looked for in one pass, decides whether a reading is worth
making; readings of readings are made too, within bounds. Encoding alone is no attack: what the reading says counts.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import msgspec
import re2

from sentinel.scanning import ciphers, decoding, folding
from sentinel.scanning.classify.ngram import NgramModel, Window
from sentinel.scanning.rulebook import MOST_HITS, Hit, Matching, RuleBook, matching_of
from sentinel.scanning.view import View, original

__all__ = [
    "AT_ONCE",
    "ENDLESS",
    "NOTHING",
    "WORTH_IT",
    "Ahead",
    "Source",
    "Text",
    "Time",
    "all_plainly_read",
    "called_by_all",
    "read",
]

Source = Literal["prompt", "response"]

_MAX_DEPTH = 3
_MAX_VIEWS = 32
_LAST = ("leet", "leet_l", "syllables")
"""After these only letters may still be moved: without digits or signs in words there is nothing left to decode."""
_MAX_GROWTH = 5
"""All readings together are at most so many times as long as the text."""
_SPARE_CHARS = 262_144
"""On top of that, so that texts of ordinary length may have all their readings."""


def _always() -> bool:
    return True


class Time(NamedTuple):
    """Whether there is time left, asked between steps each of which is at most one pass over one reading."""

    to_read: Callable[[], bool] = _always
    to_judge: Callable[[], bool] = _always


ENDLESS = Time()


class _Reading(NamedTuple):
    """How to read a text in which the trigger holds."""

    trigger: str
    views: Callable[[View], Iterator[View]]


class Ahead(NamedTuple):
    """What was found out about texts before they are scanned, by `looked_ahead`; that of readings by what they read."""

    rules: RuleBook | None = None
    """Which were asked: to others it says nothing."""
    model: NgramModel | None = None
    """Likewise."""
    read: Mapping[str, tuple[View, ...]] = {}
    """A text as it came, and in plain letters where that is another reading."""
    called: Mapping[str, Sequence[_Reading]] = {}
    """The readings whose triggers hold in a plain one."""
    left: Mapping[str, Sequence[int]] = {}
    """The places of the rules that may hold in a reading."""
    windows: Mapping[str, tuple[Window]] = {}
    """What the model says of a plain reading that is one window."""
    seconds: float = 0.0
    """What that took, for each text."""


NOTHING = Ahead()
WORTH_IT, AT_ONCE = 3, 32
"""Texts: from how many on to look at them together costs less than each alone, and beyond how many nothing is won."""


class Text(msgspec.Struct, frozen=True, eq=False):
    """A part of the input with all its readings."""

    source: Source
    views: tuple[View, ...]
    hits: tuple[Hit, ...]
    complete: bool = True
    """False when the bounds, or the time, left something unread."""
    cut_after: tuple[Hit, ...] = ()
    """The last hit of each rule that may hold in more places of a reading than were looked at."""
    time: Time = ENDLESS
    ahead: Ahead = NOTHING

    def hits_of(self, engine: str) -> Iterator[Hit]:
        """Yield where the rules of an engine hold, each place once, in the reading closest to the original."""
        return (hit for hit in self.hits if hit.rule.engine == engine)

    def check_time(self) -> None:
        """
        Do nothing while there is time; for engines, between steps that may take long.

        Raises:
            TimeoutError: The time of the scan is up.
        """
        if not self.time.to_judge():
            raise TimeoutError


def read(source: Source, text: str, rules: RuleBook, time: Time = ENDLESS, ahead: Ahead = NOTHING) -> Text:
    """
    Return the text with its readings and the places where rules hold.

    Args:
        source: The part of the input that it is.
        text: RE2 must be able to encode it.
        rules: Which are looked for.
        time: Until when.
        ahead: What is known of it already.
    """
    if ahead.rules is not rules:
        ahead = NOTHING
    views, complete = _views(text, time, ahead)
    places: dict[tuple[str, tuple[int, int]], Hit] = {}
    cut_after: list[Hit] = []
    for view in views:
        for rule_id, hits in groupby(rules.hits(view, ahead.left.get(view.text)), lambda hit: hit.rule.id):
            found = list(hits)
            if len(found) == MOST_HITS:
                cut_after.append(found[-1])
            for hit in found:
                places.setdefault((rule_id, hit.span), hit)
            if not time.to_read():
                break
        if not time.to_read():
            complete = False
            break
    return Text(source, views, tuple(places.values()), complete, tuple(cut_after), time, ahead)


def all_plainly_read(texts: Iterable[str]) -> list[tuple[View, ...]]:
    """Return each of the texts as it came and, where that is another reading, in plain letters."""
    roots = list(map(original, texts))
    plain = folding.all_normalised(roots)
    return [(root,) if same.text == root.text else (root, same) for root, same in zip(roots, plain, strict=True)]


def _one(make: Callable[[View], View]) -> Callable[[View], Iterator[View]]:
    return lambda view: iter((make(view),))


def _reversed(view: View) -> Iterator[View]:
    yield decoding.reversed_text(view)
    yield decoding.reversed_words(view)


_SHORT_WORD = 3
_AMBIGUOUS = frozenset({"evil", "mode", "have"})

_MORE_WORDS = "the you all what with pretend configuration reveal instruct translate secret password send"
_TELLING = (
    *(word for word in sorted(folding.COMMON_WORDS) if len(word) > _SHORT_WORD and word not in _AMBIGUOUS),
    *_MORE_WORDS.split(),
)
"""Words that a disguised attack can't do without, and that aren't English words when reversed or moved by 13."""


def _spelt(spell: Callable[[str], str]) -> str:
    return rf"(?i)\b(?:{'|'.join(map(spell, _TELLING))})\b"


_DIGITS = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}


def _moved(word: str) -> str:
    """Return a word as ROT13 spells it, perhaps with digits for letters, which stay as they are."""
    letters = ((codecs.encode(letter, "rot13"), _DIGITS.get(letter)) for letter in word)
    return "".join(f"[{moved}{digit}]" if digit else moved for moved, digit in letters)


_MOVING = (
    _Reading(rf"{_spelt(_moved)}|{_spelt(lambda word: _moved(word[::-1]))}", _one(decoding.rot13)),
    _Reading(rf"{_spelt(lambda word: word[::-1])}|(?:^|\s)={{1,2}}[A-Za-z0-9+/]{{12}}", _reversed),
)
"""Readings in which each letter stands for another one, or elsewhere."""
_READINGS = (
    _Reading(
        r"[A-Za-z0-9+/_-]{16}|(?:[A-Za-z0-9+/]+[a-z0-9][A-Z][A-Za-z0-9+/]*[\s.,:;|-]+){2}", decoding.base64_decoded
    ),
    _Reading(r"\b[A-Z2-7]{16,}", _one(decoding.base32_decoded)),
    _Reading(r"(?:[0-9A-Fa-f]{2}[ :,]?){8}", _one(decoding.hex_decoded)),
    _Reading(r"(?:\b[01]{8}\b[ ,]*){6}|(?:\b(?:[3-9][0-9]|1[0-2][0-9])\b[ ,]*){8}", _one(decoding.codes)),
    _Reading(r"(?:[.\-/|]+ +){7}", _one(decoding.morse)),
    _Reading(r"%[0-9A-Fa-f]{2}", _one(decoding.percent)),
    _Reading(r"=[2-7][0-9A-F]|=\r?\n", _one(decoding.quoted_printable)),
    _Reading(r"&(?:#[0-9xX]|[A-Za-z]{2,31};)", _one(decoding.entities)),
    _Reading(r"(?:\\[ux]|U\+)\{?[0-9A-Fa-f]{2}|0x[0-9A-Fa-f]{2}[ ,]", _one(decoding.escapes)),
    _Reading(r"<!--|\]: *(?:#|<>) *[(\"']", _one(decoding.comments)),
    _Reading(rf"\w(?:<[!/A-Za-z]|/\*|[\"']\s?[+.]\s?[\"']|{folding.PICTURE}\w)", folding.bare),
    *_MOVING,
    _Reading(folding.LEET, folding.leet),
    _Reading(
        r"(?:[A-Za-z][^\w\s]|[A-Za-z]\s|\b[0-9@$][^\w\s])(?:\b[A-Za-z0-9@$][^\w]){2}[A-Za-z0-9@$]\b",
        _one(folding.unsplit),
    ),
    _Reading(
        r"\b[A-Za-z]{1,7}[-.\x{b7}_][A-Za-z]{1,7}[-.\x{b7}_][A-Za-z]|[A-Za-z]-\n[A-Za-z]", _one(folding.syllables)
    ),
    _Reading(ciphers.CIPHERED, ciphers.deciphered),
    _Reading(ciphers.NUMBERED, _one(ciphers.numbered)),
    _Reading(ciphers.SPELT, _one(ciphers.spelt)),
    _Reading(ciphers.GLUED, _one(ciphers.unglued)),
    _Reading(decoding.BASE85, _one(decoding.base85_decoded)),
)


_TRIGGERS_PER_SET = 4
"""All in one Set would be one pass, but its automaton would have too many states to be built again for each text."""


_Triggers = tuple[Matching, Sequence[_Reading]]


def _trigger_sets(readings: Sequence[_Reading]) -> Iterator[_Triggers]:
    """Yield Sets of triggers, each with the readings that they call for."""
    for first in range(0, len(readings), _TRIGGERS_PER_SET):
        batch = readings[first : first + _TRIGGERS_PER_SET]
        triggers = re2.Set.SearchSet()
        for reading in batch:
            triggers.Add(reading.trigger)
        triggers.Compile()
        yield matching_of(triggers), batch


_ALL = tuple(_trigger_sets(_READINGS))
_LETTERS_ONLY = tuple(_trigger_sets(_MOVING))


def called_by_all(texts: Sequence[str]) -> list[list[_Reading]]:
    """
    Return for each text the readings that it calls for, asking one Set after the other about all of them.

    What holds in a text holds in it between two line breaks, too, so a Set that finds nothing in all texts together
    need not be asked about each. That is so as long as no trigger tells where a text begins or ends.
    """
    called: list[list[_Reading]] = [[] for _ in texts]
    octets = [text.encode() for text in texts]
    together = b"\n".join(octets)
    for matching, readings in _ALL:
        if not matching(together):
            continue
        for place, found in enumerate(map(matching, octets)):
            if found:
                called[place] += (readings[index] for index in sorted(found))
    return called


def _views(text: str, time: Time, ahead: Ahead) -> tuple[tuple[View, ...], bool]:
    views = list(ahead.read.get(text) or all_plainly_read([text])[0])
    # What the plain letters hide is hidden in the original too, so only the plain reading is read further.
    waiting = deque([views[-1]])
    seen = {view.text for view in views} | {""}
    room = _MAX_GROWTH * len(text) + _SPARE_CHARS
    complete = True
    while waiting:
        for view in _read_further(waiting.popleft(), ahead):
            if view.text in seen:
                continue
            complete = complete and view.is_complete
            room -= len(view.text)
            if room < 0 or len(views) == _MAX_VIEWS or not time.to_read():
                return tuple(views), False
            seen.add(view.text)
            views.append(view)
            waiting.append(view)
    return tuple(views), complete


def _read_further(view: View, ahead: Ahead) -> Iterator[View]:
    if view.depth == _MAX_DEPTH:
        return
    if view.name.endswith(_LAST):
        yield from _called_for(view, _LETTERS_ONLY)
        return
    if view.depth and view.name != "normalised":
        yield folding.normalised(view)
    called = ahead.called.get(view.text)
    if called is None:
        yield from _called_for(view, _ALL)
    else:
        for reading in called:
            yield from reading.views(view)


def _called_for(view: View, sets: Iterable[_Triggers]) -> Iterator[View]:
    octets = view.text.encode()
    for matching, readings in sets:
        for index in sorted(matching(octets) or ()):
            yield from readings[index].views(view)
