"""
Which rules count an event, in which group, and what they read from it.

Most of what judging costs is here, for every event is asked all of this and only a few change anything. So events of
the same kind share what was found out about the first of them: which rules match (`index`), and for these who groups
by the same fields, so that a group is told once for all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar, cast

import msgspec

from sentinel.detection.index import MOST_REMEMBERED, Index
from sentinel.detection.rule import Base, Group, Part, read_value
from sentinel.detection.sigma.fields import ABSENT, quick_getter
from sentinel.detection.window import Amount, Arrival, Reading
from sentinel.model import Event, StoredEvent

__all__ = ["Matcher", "Staged", "Taker", "Use"]


class Taker(Protocol):
    """Who counts events, as far as it matters here."""

    @property
    def closes(self) -> bool:
        """Whether it judges its windows on closing."""

    @property
    def adds(self) -> bool:
        """Whether it adds up numbers; else it counts different things, and an event that shows two counts for both."""

    @property
    def least(self) -> float:
        """The smallest number that it adds."""


T = TypeVar("T", bound=Taker)

Staged = dict[Group, dict[T, list[Arrival]]]
"""What the events of each group give to whom, the earliest first."""


class Use(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """Who counts, and what it reads from the events of one detection."""

    taker: T
    part: Part


class _Reader(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """Who counts, as far as it reads the events that meet the same detections."""

    taker: T
    constant: Reading | None
    """What it reads of each alike; None: `read` tells."""
    read: Callable[[Event], Reading | None]
    alone: bool
    """Whether the event meets no other detection of this taker, so that there is nothing to join."""


class _Grouping(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """Who groups alike."""

    group: Callable[[Event], Group | None]
    missing: int
    """How many go without if it tells no group; 0: that is no lack."""
    readers: Sequence[_Reader[T]]


class Matcher(Generic[T]):
    """Stages events for those who count them."""

    def __init__(self, users: Mapping[Base, Sequence[Use[T]]]) -> None:
        self._index = Index(users)
        self._known: dict[tuple[Use[T], ...], list[_Grouping[T]]] = {}

    def stage(
        self, events: Iterable[StoredEvent], seen: Container[int], ignored: Counter[str]
    ) -> tuple[Staged[T], Staged[T], list[int]]:
        """
        Return what events give to whom: the new ones, those that were there before, and the numbers of the new.

        Nothing is changed but `ignored`, for an event may break a rule.

        Args:
            events: The earliest first.
            seen: Sequence numbers of those that were there before.
            ignored: Gets how often somebody could not count one, by reason.
        """
        fresh: Staged[T] = {}
        known: Staged[T] = {}
        new: dict[int, None] = {}
        severity, rank = None, 0
        for stored in events:
            if stored.seq in seen or stored.seq in new:
                staged = known
            else:
                new[stored.seq] = None
                staged = fresh
            groupings = self._groupings(self._index.find(stored.event))
            if not groupings:
                continue
            if stored.max_severity is not severity:  # it is the same for many, and its rank costs a look-up
                severity, rank = stored.max_severity, stored.max_severity.rank
            self._give(stored, rank, groupings, staged, ignored)
        return fresh, known, list(new)

    def _give(
        self,
        stored: StoredEvent,
        rank: int,
        groupings: Iterable[_Grouping[T]],
        staged: Staged[T],
        ignored: Counter[str],
    ) -> None:
        event, at, may_act = stored.event, stored.at, stored.may_act
        several: dict[tuple[T, Group], Reading] = {}
        for grouping in groupings:
            group = grouping.group(event)
            if group is None:
                ignored["field"] += grouping.missing
                continue
            mine = staged.get(group)
            if mine is None:
                mine = staged[group] = defaultdict(list)
            for reader in grouping.readers:
                taker, reading = reader.taker, reader.constant
                if reading is None:
                    reading = reader.read(event)
                    if reading is None or taker.adds:
                        reading = _checked(taker, reading, ignored)
                        if reading is None:
                            continue
                if not reader.alone:
                    several[taker, group] = _joined(taker, several.get((taker, group)), reading)
                    continue
                # What is judged on closing belongs to no event that could say later whether it takes effect.
                acts = may_act and (stored.effects or not taker.closes)
                mine[taker].append((at, rank, acts, reading))
        for (taker, group), reading in several.items():
            acts = may_act and (stored.effects or not taker.closes)
            staged[group][taker].append((at, rank, acts, reading))

    def _groupings(self, uses: tuple[Use[T], ...]) -> Sequence[_Grouping[T]]:
        groupings = self._known.get(uses)
        if groupings is None:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            groupings = self._known[uses] = _groupings(uses)
        return groupings


def _checked(taker: Taker, reading: Reading | None, ignored: Counter[str]) -> Reading | None:
    """Return what was read of an event, and count it if the rule can't use it."""
    if reading is None:
        ignored["field"] += 1
    elif taker.adds and (not reading or cast("Amount", reading[0]) < taker.least):
        ignored["number"] += 1
    return reading


def _joined(taker: Taker, known: Reading | None, reading: Reading) -> Reading:
    """Return what an event counts for that meets two detections of a rule: once, but for all it shows."""
    if known is None:
        return reading
    if taker.adds:
        return known
    return known + tuple(value for value in reading if value not in known)


def _groupings(uses: Sequence[Use[T]]) -> list[_Grouping[T]]:
    times = Counter(use.taker for use in uses)
    found: dict[tuple[tuple[tuple[str, str], ...], bool], list[Use[T]]] = {}
    for use in uses:
        found.setdefault((use.part.fields, use.part.plain), []).append(use)
    made = []
    for (fields, _), alike in found.items():
        readers = [
            _Reader(
                use.taker,
                use.part.read(None) if use.part.measure is None else None,
                _reading_of(use.part),
                alone=times[use.taker] == 1,
            )
            for use in alike
        ]
        # Only some addresses have a network: an event without one lacks nothing.
        derived = any(field == "ip_network" for _, field in fields)
        made.append(_Grouping(_group_of(alike[0].part), 0 if derived else len(readers), readers))
    return made


def _reading_of(part: Part) -> Callable[[Event], Reading | None]:
    """Return `part.reading`, made quicker for a text."""
    if part.measured is None or part.read is not read_value:
        return part.reading
    get = quick_getter(part.measured)

    def reading(event: Event) -> Reading | None:
        value = get(event)
        return (value,) if type(value) is str else part.reading(event)

    return reading


def _group_of(part: Part) -> Callable[[Event], Group | None]:
    """Return `part.group`, made quicker where one text, or two, make the group, and where there is none."""
    if len(part.fields) == 2 and not part.plain:  # noqa: PLR2004
        return _group_of_two(part)
    if len(part.fields) > 1 and not part.plain:
        return part.group
    fields = [(name, quick_getter(field)) for name, field in part.fields]
    lacking = () if part.plain or not fields else None

    def group(event: Event) -> Group | None:
        for name, get in fields:
            value = get(event)
            if type(value) is str:
                return ((name, value),)
            if value is not ABSENT:
                return part.group(event)
        return lacking

    return group


def _group_of_two(part: Part) -> Callable[[Event], Group | None]:
    ((first, field), (second, other)) = part.fields
    get_first, get_second = quick_getter(field), quick_getter(other)

    def group(event: Event) -> Group | None:
        one, two = get_first(event), get_second(event)
        if one is ABSENT or two is ABSENT:
            return None
        return ((first, one), (second, two)) if type(one) is str and type(two) is str else part.group(event)

    return group
