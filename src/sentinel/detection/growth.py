"""
Incidents as they grow: what must be known of the signals so far to tell what a new one, or a new link, joins.

Not the signals themselves. Those of one subject that follow each other within the gap are a run, and two runs are
neighbours exactly where two of their signals are: a hole in a run is no wider than the gap, so whoever comes close to
the hull comes close to one of its ends. An incident is what its signals add up to. So a signal costs the same whether
it is the first of its incident or the millionth.

Everything here only grows: hulls widen, incidents join, the first signal moves to the front. Where something shrinks,
because old signals were deleted or a write failed, it is thrown away and taken up from the store.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final

import msgspec

from sentinel.detection.links import HOUR, Link, Node
from sentinel.model import Incident, Micros, Severity, Signal, SubjectType, ThreatType

__all__ = ["INCIDENT_GAP", "Growth", "Sum", "node_of"]

INCIDENT_GAP: Final[Micros] = 3600 * 1_000_000
"""G of the decisions, part H: signals further apart than this belong to different incidents."""

# Measured with 50,000 subjects of one signal, in one incident and in as many, and with 20 signals in one run and in 20.
_BYTES_OF_A_SIGNAL = 190
_BYTES_OF_A_SUBJECT = 500
_BYTES_OF_A_SHARE = 250
_BYTES_OF_AN_INCIDENT = 1_250
_SEVERITIES = tuple(Severity)
_FIRST, _LAST = attrgetter("first"), attrgetter("last")
_PREFERRED = (
    SubjectType.USER,
    SubjectType.SESSION,
    SubjectType.IP,
    SubjectType.NETWORK,
    SubjectType.SERVICE,
    SubjectType.TOOL,
    SubjectType.GLOBAL,
)
_Weight = tuple[int, int, int, str]


def node_of(signal: Signal) -> Node:
    """Return what a signal is about."""
    return signal.subject_type, signal.subject


class Sum(msgspec.Struct, eq=False):
    """What the signals of an incident add up to."""

    head: tuple[Micros, str, Node] | None = None
    """Time, id and subject of the first."""
    last: Micros = 0
    rank: int = 0
    confidence: float = 0.0
    size: int = 0
    threats: set[ThreatType] = msgspec.field(default_factory=set)
    shares: dict[Node, tuple[int, int]] = msgspec.field(default_factory=dict)
    """By subject the highest rank of its signals, and how many there are."""
    users: int = 0
    user: Node | None = None
    worst: _Weight | None = None
    """Of whom the worst and most signals are about, smallest first."""
    stored: list[str] = msgspec.field(default_factory=list)
    """Under which ids the store has it, or parts of it."""
    runs: int = 0
    """How many are in hand."""
    counted: int = 0
    """Of its shares, how many the memory is said to hold."""
    into: Sum | None = None
    """What it has become a part of."""

    def take(self, signal: Signal, *, new: bool = True) -> None:
        """Add a signal, or what a known one has become."""
        node = node_of(signal)
        head = (signal.first, signal.id, node)
        if self.head is None or head[:2] < self.head[:2]:
            self.head = head
        self.last = max(self.last, signal.last)
        self.confidence = max(self.confidence, signal.confidence)
        if signal.threat_type is not None:
            self.threats.add(signal.threat_type)
        self._share(node, signal.severity.rank, int(new))

    def _share(self, node: Node, rank: int, count: int) -> None:
        before = self.shares.get(node)
        if before is None:
            before = (0, 0)
            if node[0] is SubjectType.USER:
                self.users, self.user = self.users + 1, node
        rank, count_ = max(rank, before[0]), before[1] + count
        self.shares[node] = rank, count_
        self.rank, self.size = max(self.rank, rank), self.size + count
        weight = (-rank, -count_, _PREFERRED.index(node[0]), node[1])
        if self.worst is None or weight < self.worst:  # weights only fall, so no other can have become the smallest
            self.worst = weight

    def absorb(self, other: Sum) -> None:
        """Add all that is in another one, which is a part of this from now on."""
        assert self.head is not None
        assert other.head is not None
        self.head = min(self.head, other.head, key=lambda head: head[:2])
        self.last, self.confidence = max(self.last, other.last), max(self.confidence, other.confidence)
        self.threats |= other.threats
        for node, (rank, count) in other.shares.items():
            self._share(node, rank, count)
        self.stored += other.stored
        self.runs += other.runs
        self.counted += other.counted
        other.into = self

    @property
    def whole(self) -> Sum:
        """What it is a part of by now, or itself."""
        found = self
        while found.into is not None:
            found = found.into
        return found

    def incident(self) -> Incident:
        """Return it as it stands."""
        assert self.head is not None
        assert self.worst is not None
        first, signal_id, (kind, name) = self.head
        digest = hashlib.blake2b(f"incident\0{kind}\0{name}\0{signal_id}".encode(), digest_size=16)
        # The one user, if there is one; else whom the worst and most signals are about.
        subject = self.user if self.users == 1 and self.user else (_PREFERRED[self.worst[2]], self.worst[3])
        return Incident(
            id=digest.hexdigest(),
            subject=subject[1],
            subject_type=subject[0],
            severity=_SEVERITIES[self.rank],
            confidence=self.confidence,
            first=first,
            last=self.last,
            size=self.size,
            threat_types=tuple(sorted(self.threats)),
        )


class _Run(msgspec.Struct, eq=False):
    """Signals of one subject that follow each other within the gap."""

    first: Micros
    last: Micros
    part_of: Sum

    @property
    def whole(self) -> Sum:
        """The incident that it is in."""
        self.part_of = self.part_of.whole
        return self.part_of


class _Subject(msgspec.Struct, eq=False):
    """What is known of one subject's signals."""

    ids: set[str]
    runs: list[_Run]
    """In order of time; between two is more than the gap."""

    def between(self, start: Micros, end: Micros) -> tuple[int, int]:
        """Return the places of the runs that touch this time, ends included."""
        return bisect_left(self.runs, start, key=_LAST), bisect_right(self.runs, end, key=_FIRST)


class Growth:
    """The incidents of some subjects: all signals of these are in, and of the incidents that they are in the sums."""

    def __init__(self) -> None:
        self._subjects: dict[Node, _Subject] = {}  # who was asked about last goes last
        self._sums: dict[str, Sum] = {}
        self._ids = self._shares = 0
        self._changed: dict[Sum, None] = {}

    def lacking(self, nodes: Iterable[Node]) -> list[Node]:
        """Return those of these subjects that are not in hand; the others stay longest from now on."""
        lacking = []
        for node in nodes:
            known = self._subjects.pop(node, None)
            if known is None:
                lacking.append(node)
            else:
                self._subjects[node] = known
        return lacking

    def lacking_sums(self, incidents: Iterable[str]) -> list[str]:
        """Return those of these incidents whose sums are not in hand."""
        return sorted(set(incidents) - self._sums.keys())

    def put_sums(self, signals: Iterable[tuple[Signal, str]]) -> None:
        """Take up whole incidents from their signals, each with the id of the incident."""
        fresh: dict[str, Sum] = {}
        for signal, incident_id in signals:
            found = fresh.get(incident_id)
            if found is None:
                found = fresh[incident_id] = Sum(stored=[incident_id])
            found.take(signal)
        for each in fresh.values():
            self._count(each)
        self._sums |= fresh

    def _count(self, changed: Sum) -> None:
        self._shares += len(changed.shares) - changed.counted
        changed.counted = len(changed.shares)

    def put(self, node: Node, signals: Sequence[tuple[Signal, str]]) -> None:
        """Take up a subject from all of its signals, the earliest first, each with the id of its incident."""
        self._subjects[node] = _Subject(set(), [])
        for signal, incident_id in signals:
            self._enter(signal, self._sums[incident_id].whole)

    def _enter(self, signal: Signal, home: Sum | None = None) -> tuple[_Run, bool, bool]:
        """Put a signal where it belongs; returns its run, whether it is new, and whether the run has widened."""
        mine = self._subjects[node_of(signal)]
        new = signal.id not in mine.ids
        if new:
            mine.ids.add(signal.id)
            self._ids += 1
        place, end = mine.between(signal.first - INCIDENT_GAP, signal.last + INCIDENT_GAP)
        if place == end:
            run = _Run(signal.first, signal.last, home or Sum())
            run.part_of.runs += 1
            mine.runs.insert(place, run)
            return run, new, True
        run, *others = mine.runs[place:end]
        if home is not None:
            self._together(run.whole, home)
        for other in others:
            self._together(run.whole, other.whole)
            run.last = other.last
            run.whole.runs -= 1
        del mine.runs[place + 1 : end]
        widened = signal.first < run.first or signal.last > run.last
        run.first, run.last = min(run.first, signal.first), max(run.last, signal.last)
        return run, new, widened or bool(others)

    def knows(self, signal: Signal) -> bool:
        """Whether a signal of a subject in hand is in."""
        return signal.id in self._subjects[node_of(signal)].ids

    def add(self, signal: Signal) -> bool:
        """Take in a signal of a subject in hand, new or changed; returns whether it may have new neighbours."""
        run, new, widened = self._enter(signal)
        run.whole.take(signal, new=new)
        self._changed[run.whole] = None
        return new or widened

    def unjoined(self, one: Node, others: Iterable[Node]) -> Iterator[Node]:
        """Yield those that a subject isn't known to have one incident with, and neither another: who more can join."""
        whole = self._only_of(one)
        for other in others:
            if whole is None or self._only_of(other) is not whole:
                yield other

    def _only_of(self, node: Node) -> Sum | None:
        """Return what all signals of a subject in hand are in; None where that is not one, or it isn't in hand."""
        mine = self._subjects.get(node)
        return mine.runs[0].whole if mine is not None and len(mine.runs) == 1 else None

    def connect(self, link: Link) -> None:
        """Join the signals of two subjects in hand that events of an hour carried, near it and each other."""
        one, other, hour = link
        if one not in self._subjects or other not in self._subjects or not any(self.unjoined(one, [other])):
            return
        start, end = hour * HOUR - INCIDENT_GAP, (hour + 1) * HOUR + INCIDENT_GAP
        there = self._near(other, start, end)
        for here in self._near(one, start, end) if there else ():
            for run in there:
                if max(here.first - run.last, run.first - here.last) <= INCIDENT_GAP:
                    self._together(here.whole, run.whole)

    def _near(self, node: Node, start: Micros, end: Micros) -> list[_Run]:
        mine = self._subjects[node]
        place, beyond = mine.between(start, end - 1)
        return mine.runs[place:beyond]

    def _together(self, one: Sum, other: Sum) -> None:
        if one is other:
            return
        large, small = (one, other) if len(one.shares) >= len(other.shares) else (other, one)
        large.absorb(small)
        self._changed.pop(small, None)
        self._changed[large] = None

    def settle(self) -> list[tuple[Sum, Incident, list[str]]]:
        """Return the incidents that have changed since the last call, each with the other ids it was known by."""
        settled = []
        for changed in self._changed:
            incident = changed.incident()
            gone = [name for name in changed.stored if name != incident.id]
            for name in gone:
                self._sums.pop(name, None)
            changed.stored = [incident.id]
            self._sums[incident.id] = changed
            self._count(changed)
            settled.append((changed, incident, gone))
        self._changed = {}
        return settled

    def incident_of(self, signal: Signal) -> tuple[int, Sum]:
        """Return the incident that a signal in hand is in, and in how many others its subject was before that."""
        mine = self._subjects[node_of(signal)]
        place, _ = mine.between(signal.first, signal.last)
        found = mine.runs[place].whole
        before: set[int] = set()
        for run in mine.runs:
            if run.whole is found:
                break
            before.add(id(run.whole))
        return len(before), found

    @property
    def memory(self) -> int:
        """About how many bytes it takes."""
        subjects = len(self._subjects) * _BYTES_OF_A_SUBJECT + self._ids * _BYTES_OF_A_SIGNAL
        return subjects + len(self._sums) * _BYTES_OF_AN_INCIDENT + self._shares * _BYTES_OF_A_SHARE

    def shrink(self, most: int) -> None:
        """Let go of subjects that were not asked about for longest, until it takes at most so many bytes."""
        while self._subjects and self.memory > most:
            dropped = self._subjects.pop(next(iter(self._subjects)))
            self._ids -= len(dropped.ids)
            for run in dropped.runs:
                home = run.whole
                home.runs -= 1
                if not home.runs:
                    self._shares -= home.counted
                    for name in home.stored:
                        self._sums.pop(name, None)
