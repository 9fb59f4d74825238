"""
Groups with few events, which under an attack from many addresses are nearly all: the events themselves, packed.

A window is worth its memory where it spares memory: for a group with many events. Of one with few, windows are made
from the events when they are asked for, and thrown away again. One structure serves all rules that count the same of
the same events, and a group costs some 150 bytes in it instead of 700 for each rule.

Time is cut into slabs that are as wide as the longest timespan and bucket of the rules, so the events that can trigger
together with one lie in its slab and the two beside it, and what is over is dropped slab by slab.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import cast

from sentinel.detection.rule import Group
from sentinel.detection.window import Arrival, Reading
from sentinel.model import Micros

__all__ = ["Few", "group_with", "key_of"]

_Packed = int | tuple[object, ...]
"""Time, rank and right to act in one number; one for each event, each followed by what is read where rules read."""

_LONG_AGO: Micros = -(2**63)
_AT = itemgetter(0)
_BYTES_OF_A_GROUP = 110
_BYTES_OF_AN_EVENT = 40
_BYTES_OF_A_READING = 100


def key_of(group: Group, *, plain: bool) -> str:
    """Return a group as one text, which no other group of the same rules has; in those of a plain one fields differ."""
    if plain:
        return "".join(f"{len(part)}:{part}" for pair in group for part in pair)
    if len(group) == 1:
        return group[0][1]
    return "".join(f"{len(value)}:{value}" for _, value in group)


def group_with(key: str, names: Sequence[str]) -> Group:
    """Return the group with all of these fields of which `key` is the key."""
    if len(names) == 1:
        return ((names[0], key),)
    found = []
    for name in names:
        length, _, rest = key.partition(":")
        found.append((name, rest[: int(length)]))
        key = rest[int(length) :]
    return tuple(found)


class Few:
    """The events of groups with few of them, for rules that count the same of the same events."""

    def __init__(self, width: Micros, *, reads: bool) -> None:
        """
        Begin without events.

        Args:
            width: Of a slab: no rule has a longer timespan or bucket.
            reads: Whether the rules read something from the events, other than that they are there.
        """
        self.width = width
        self.held = 0
        """Events."""
        self.reads = reads
        self._slabs: dict[int, dict[str, _Packed]] = {}
        self._over: Micros = _LONG_AGO  # what is before it is as good as gone

    @property
    def memory(self) -> int:
        """About how many bytes it takes: measured with groups of one event, and of eight."""
        groups = sum(map(len, self._slabs.values()))  # each counted once for each slab that it is in
        return groups * _BYTES_OF_A_GROUP + self.held * (_BYTES_OF_AN_EVENT + self.reads * _BYTES_OF_A_READING)

    def add(self, key: str, arrivals: Sequence[Arrival]) -> tuple[int, int]:
        """
        Take in events of a group.

        Returns:
            How many of its events can count together with these at most, and how many things they show together.
        """
        near: set[int] = set()
        for arrival in arrivals:
            number = arrival[0] // self.width
            near |= {number - 1, number, number + 1}
            slab = self._slabs.get(number)
            if slab is None:
                slab = self._slabs[number] = {}
            known = slab.get(key)
            slab[key] = self._packed(arrival) if known is None else _flat(known) + _flat(self._packed(arrival))
        self.held += len(arrivals)
        found = [packed for number in near if (packed := self._slabs.get(number, {}).get(key)) is not None]
        events = sum(map(self._events, found))
        return events, sum(map(_shown, found)) if self.reads else events

    def _packed(self, arrival: Arrival) -> _Packed:
        at, rank, may_act, reading = arrival
        number = at << 4 | rank << 1 | may_act
        if not self.reads:
            return number
        return number, reading[0] if len(reading) == 1 else reading

    def _events(self, packed: _Packed) -> int:
        return 1 if isinstance(packed, int) else len(packed) // (1 + self.reads)

    def of(self, key: str, between: tuple[Micros, Micros] | None = None) -> list[Arrival]:
        """
        Return the events of a group, the earliest first.

        Args:
            key: Of the group.
            between: Only what matters to events from then to then is needed. What these make trigger lies up to a slab
                after them, in a bucket that may reach into the next; before them it is the same. None: all.
        """
        slabs = self._slabs.values() if between is None else self._around(*between)
        found = [slab[key] for slab in slabs if key in slab]
        there = (each for packed in found for each in self._unpacked(packed) if each[0] >= self._over)
        return sorted(there, key=_AT)

    def _around(self, start: Micros, end: Micros) -> list[dict[str, _Packed]]:
        near = range(start // self.width - 2, end // self.width + 3)
        return [slab for number, slab in self._slabs.items() if number in near]

    def _unpacked(self, packed: _Packed) -> Iterator[Arrival]:
        parts = cast("tuple[int, ...]", _flat(packed))
        readings = cast("tuple[object, ...]", parts[1::2]) if self.reads else ((),) * len(parts)
        for number, read in zip(parts[:: 1 + self.reads], readings, strict=True):
            reading = cast("Reading", read if isinstance(read, tuple) else (read,))
            yield number >> 4, number >> 1 & 7, bool(number & 1), reading

    def take(self, key: str) -> list[Arrival]:
        """Return the events of a group, the earliest first, and keep them no longer."""
        found = self.of(key)
        for slab in self._slabs.values():
            if (packed := slab.pop(key, None)) is not None:
                self.held -= self._events(packed)
        return found

    def __iter__(self) -> Iterator[str]:
        """Return the keys of the groups, each once."""
        return iter(dict.fromkeys(key for slab in self._slabs.values() for key in slab))

    def forget(self, start: Micros, at_once: int) -> Iterator[int]:
        """Drop what is over at this time, some groups at each step; yields how many events went."""
        if start <= self._over:
            return
        self._over = start
        for number in [number for number in self._slabs if (number + 1) * self.width <= start]:
            slab = self._slabs.pop(number)
            while slab:
                freed = sum(self._events(slab.popitem()[1]) for _ in range(min(at_once, len(slab))))
                self.held -= freed
                yield freed

    def tidy(self) -> None:
        """Drop what is over, which a replay brings anew."""
        over = self._over
        self._over = _LONG_AGO
        slab = self._slabs.get(over // self.width, {})
        for key, packed in list(slab.items()):
            kept = [self._packed(arrival) for arrival in self._unpacked(packed) if arrival[0] >= over]
            self.held -= self._events(packed) - len(kept)
            if len(kept) < self._events(packed):
                del slab[key]
                if kept:
                    slab[key] = kept[0] if len(kept) == 1 else tuple(part for each in kept for part in _flat(each))


def _flat(packed: _Packed) -> tuple[object, ...]:
    return (packed,) if isinstance(packed, int) else packed


def _shown(packed: _Packed) -> int:
    """Return how many things the events of a group show; those that show nothing are something as well."""
    return sum(max(1, len(read)) if isinstance(read, tuple) else 1 for read in _flat(packed)[1::2])
