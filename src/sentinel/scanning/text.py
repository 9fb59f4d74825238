"""
One input as the engines see it: the text, its other readings, and where rules hold in them.

Attacks come encoded, and no judgement of the encoded form is worth much: so each text is also read with disguises
undone and encodings decoded. A trigger, cheap and looked for in one pass, decides whether a reading is worth
making; readings of readings are made too, within bounds. Encoding alone is no attack: what the reading says counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import re2

from sentinel.scanning import decoding, folding
from sentinel.scanning.rulebook import Hit, RuleBook
from sentinel.scanning.view import View, original

__all__ = ["Source", "Text", "read"]

Source = Literal["prompt", "response"]

_MAX_DEPTH = 3
_MAX_VIEWS = 32
_LAST = ("leet", "leet_l")
"""Readings that aren't read further: digits are gone from them, and with them every encoding."""
_MAX_GROWTH = 12
"""All readings together are at most so many times as long as the text."""
_SPARE_CHARS = 65_536
"""On top of that, so that short texts may have all their readings."""


@dataclass(frozen=True, slots=True)
class Text:
    """A part of the input with all its readings; `complete` is False when the bounds left readings unmade."""

    source: Source
    views: tuple[View, ...]
    hits: tuple[Hit, ...]
    complete: bool = True

    def hits_of(self, engine: str) -> Iterator[Hit]:
        """Yield where the rules of an engine hold, each place once, in the reading closest to the original."""
        return (hit for hit in self.hits if hit.rule.engine == engine)


def read(source: Source, text: str, rules: RuleBook) -> Text:
    """Return the text with its readings and the places where rules hold; RE2 must be able to encode the text."""
    views, complete = _views(text)
    places: dict[tuple[str, tuple[int, int]], Hit] = {}
    for view in views:
        for hit in rules.hits(view):
            places.setdefault((hit.rule.id, hit.span), hit)
    return Text(source, views, tuple(places.values()), complete)


@dataclass(frozen=True, slots=True)
class _Reading:
    """How to read a text in which the trigger holds."""

    trigger: str
    views: Callable[[View], Iterator[View]]


def _one(make: Callable[[View], View]) -> Callable[[View], Iterator[View]]:
    return lambda view: iter((make(view),))


# The words are the commonest ones of English and of attacks, as the encoding spells them.
_READINGS = (
    _Reading(r"[A-Za-z0-9+/_-]{16}", decoding.base64_decoded),
    _Reading(r"(?:[0-9A-Fa-f]{2}[ :,]?){8}", _one(decoding.hex_decoded)),
    _Reading(r"%[0-9A-Fa-f]{2}", _one(decoding.percent)),
    _Reading(r"&(?:#[0-9xX]|[A-Za-z]{2,31};)", _one(decoding.entities)),
    _Reading(r"\\[ux][0-9A-Fa-f]{2}|0x[0-9A-Fa-f]{2}[ ,]", _one(decoding.escapes)),
    _Reading(r"<!--|\]: *(?:#|<>) *[(\"']", _one(decoding.comments)),
    _Reading(
        r"(?i)\b(?:gur|naq|lbh|lbhe|ner|jvgu|jvgubhg|sbe|sebz|nal|abj|nyy|jung|"
        r"vtaber|vtaberq|erirny|fubj|flfgrz|cebzcg|ehyrf|vafgehpgvbaf|cerivbhf)\b",
        _one(decoding.rot13),
    ),
    _Reading(
        r"(?i)\b(?:eht|uoy|ruoy|htiw|tuohtiw|morf|yna|tahw|siht|lla|"
        r"erongi|laever|wohs|metsys|tpmorp|selur|snoitcurtsni|suoiverp)\b",
        _one(decoding.reversed_text),
    ),
    _Reading(r"[A-Za-z][013457@$!|][A-Za-z]|\b[013457@$][A-Za-z]{2}", folding.leet),
    _Reading(r"\b[A-Za-z](?:[. _*|/-][A-Za-z0-9@$]){3}\b", _one(folding.unsplit)),
)


def _trigger_set() -> re2.Set:
    triggers = re2.Set.SearchSet()
    for reading in _READINGS:
        triggers.Add(reading.trigger)
    triggers.Compile()
    return triggers


_TRIGGERS = _trigger_set()


def _views(text: str) -> tuple[tuple[View, ...], bool]:
    root = original(text)
    plain = folding.normalised(root)
    views = [root] if plain.text == text else [root, plain]
    # What the plain letters hide is hidden in the original too, so only the plain reading is read further.
    waiting = deque([views[-1]])
    seen = {view.text for view in views} | {""}
    room = _MAX_GROWTH * len(text) + _SPARE_CHARS
    while waiting:
        for view in _read_further(waiting.popleft()):
            if view.text in seen:
                continue
            room -= len(view.text)
            if room < 0 or len(views) == _MAX_VIEWS:
                return tuple(views), False
            seen.add(view.text)
            views.append(view)
            waiting.append(view)
    return tuple(views), True


def _read_further(view: View) -> Iterator[View]:
    if view.depth == _MAX_DEPTH or view.name.endswith(_LAST):
        return
    for index in sorted(_TRIGGERS.Match(view.text) or ()):
        yield from _READINGS[index].views(view)
