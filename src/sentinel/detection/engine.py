"""
Events -> signals. The state is a cache over the event store: it can be dropped (`forget`) and brought back (`warm`).

Whoever drives the engine asks `needs` before `add`, and when that lies before `warm_from`, replays the stored events in
between. A restart, an eviction, an import of old events and a changed rule are then the same case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from sentinel.detection.rule import Base, Group, LogSource, Rule, RuleSet, sources_of
from sentinel.detection.sigma.fields import subject_type
from sentinel.detection.window import Shape, Window
from sentinel.model import Event, EventType, Micros, Severity, Signal, StoredEvent, SubjectType

__all__ = ["Engine"]

_NOTHING_YET: Micros = 2**63 - 1
_REPLAYED_AT_ONCE = 10_000
_SEVERITIES = tuple(Severity)


class _Track(msgspec.Struct, gc=False, eq=False):
    """
    One group of one rule.

    A signal may lead to an action iff the events that may act would have triggered it alone: otherwise anybody's events
    could complete a count, or, if they vetoed, prevent one. `acting` holds those events, `everything` all of them; the
    two are one window until the first event that may not act.
    """

    rule: Rule
    group: Group
    acting: Window
    everything: Window

    def __len__(self) -> int:
        return len(self.everything) + (len(self.acting) if self.acting is not self.everything else 0)

    def insert(self, event: StoredEvent, rank: int) -> None:
        """Take in a matching event whose source may reach the severity `rank`."""
        if event.may_act:
            if self.acting is not self.everything:
                self.acting.insert(event.at, event.event.event_id, rank)
        elif self.acting is self.everything:
            self.everything = self.acting.twin()
        self.everything.insert(event.at, event.event.event_id, rank)

    def judge(self, times: Sequence[Micros]) -> set[int]:
        """Return the buckets with a signal that events at these times belong to."""
        if self.acting is not self.everything:
            self.acting.judge(times)
        found = self.everything.judge(times)
        buckets, suppress = self.everything.buckets, self.rule.suppress
        found.update(number for at in times if buckets[number := at // suppress].first is not None)
        return found

    def forget(self, number: int) -> None:
        """Drop what lies before this bucket."""
        self.everything.forget(number)
        if self.acting is not self.everything:
            self.acting.forget(number)

    def signal(self, number: int) -> Signal:
        """Return the present state of the signal in this bucket."""
        rule, bucket = self.rule, self.everything.buckets[number]
        acting = self.acting.buckets.get(number)
        assert bucket.first is not None, "only buckets with a trigger are asked for"
        return Signal(
            id=_signal_id(rule.hash, self.group, number),
            rule=rule.id,
            rule_hash=rule.hash,
            title=rule.title,
            subject="|".join(value for _, value in self.group) or "global",
            subject_type=_subject_type(self.group),
            group=dict(self.group),
            severity=_SEVERITIES[min(rule.level.rank, bucket.rank)],
            threat_type=rule.threat_type,
            confidence=rule.confidence,
            bucket=number,
            first=bucket.first,
            last=bucket.last,
            count=bucket.count,
            may_act=acting is not None and acting.first is not None,
        )


class _Counter:
    """One rule, with the groups that have events. `since`: all events from then on are in, and none before it."""

    __slots__ = ("rule", "shape", "since", "tracks")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.shape = Shape(rule.threshold, rule.timespan, rule.suppress, rule.cell)
        self.since = _NOTHING_YET
        self.tracks: dict[Group, _Track] = {}

    def track(self, group: Group) -> _Track:
        """Return where the events of a group are kept."""
        track = self.tracks.get(group)
        if track is None:
            window = Window(self.shape)
            track = self.tracks[group] = _Track(self.rule, group, acting=window, everything=window)
        return track

    def needs(self, at: Micros) -> Micros:
        """Return from where on events are needed to judge one at this time: its whole bucket, and T before that."""
        return at // self.rule.suppress * self.rule.suppress - self.rule.timespan

    def forget(self, before: Micros) -> None:
        """
        Drop the buckets wholly before this time.

        A bucket goes with all of its cells, or `count` would meet its events again in a replay.
        """
        number = before // self.rule.suppress
        start = number * self.rule.suppress
        self.since = max(self.since, start)
        self.tracks = {group: track for group, track in self.tracks.items() if track.everything.entries[-1][0] >= start}
        for track in self.tracks.values():
            if track.everything.entries[0][0] < start:
                track.forget(number)


class _Family:
    """Rules that count the same events by the same fields: a match and a group are worked out once for all of them."""

    __slots__ = ("counters", "group")

    def __init__(self, counters: Sequence[_Counter]) -> None:
        self.counters = counters
        self.group = counters[0].rule.group


_Plan = Sequence[tuple[Base, Sequence[_Family]]]
"""Detections to ask, and who counts an event that matches."""


class _Index:
    """Finds the families that an event counts for, without asking rules for other log sources."""

    def __init__(self, counters: Iterable[_Counter]) -> None:
        self._by_source: dict[LogSource, list[tuple[Base, list[_Family]]]] = {}
        for base, families in _users(counters).items():
            self._by_source.setdefault(base.logsource, []).append((base, families))
        # Which parts rules name, so that a few look-ups find all log sources that fit an event.
        self._masks = {tuple(part is not None for part in source) for source in self._by_source}
        services = {service for _, _, service in self._by_source}
        self._own: dict[tuple[str | None, str | None], _Plan] = {
            (kind, service): self._plan(("sentinel", kind, service))
            for kind in EventType
            for service in services | {None}
        }

    def find(self, event: Event) -> Collection[_Family]:
        """Return each family once, also when the event matches two of its detections."""
        own, *foreign = sources_of(event)
        plan = self._own.get(own[1:]) or self._own[event.event_type, None]
        found = [families for base, families in plan if base.asks(event)]
        for source in foreign:
            found += [families for base, families in self._plan(source) if base.asks(event)]
        return found[0] if len(found) == 1 else {family for families in found for family in families}

    def _plan(self, source: LogSource) -> _Plan:
        product, category, service = source
        wanted = {(product if p else None, category if c else None, service if s else None) for p, c, s in self._masks}
        return [entry for key in wanted for entry in self._by_source.get(key, ())]


def _users(counters: Iterable[_Counter]) -> dict[Base, list[_Family]]:
    alike: dict[object, list[_Counter]] = {}
    for counter in counters:
        rule = counter.rule
        alike.setdefault((rule.bases, rule.plain, tuple(name for name, _ in rule.group_by)), []).append(counter)
    users: dict[Base, list[_Family]] = {}
    for family in map(_Family, alike.values()):
        for base in family.counters[0].rule.bases:
            users.setdefault(base, []).append(family)
    return users


class Engine:
    """
    Judges events under one rule set.

    `warm_from`: the state is complete for every event that is not late and not before it. `retained`: entries held in
    windows.
    """

    def __init__(self, rules: RuleSet) -> None:
        self._counters = [_Counter(rule) for rule in rules.rules if rule.emits]
        self._index = _Index(self._counters)
        self.warm_from: Micros = _NOTHING_YET
        self.retained = 0
        self.reach: Micros = max((rule.timespan + rule.suppress for rule in rules.rules if rule.emits), default=0)
        """How far before an event its judgement can reach: the widest T + S."""

    def needs(self, events: Sequence[StoredEvent]) -> Micros:
        """Return how far back the state must reach to judge these events; the largest time if nothing is needed."""
        earliest = min((event.at for event in events if not event.late), default=None)
        if earliest is None:
            return _NOTHING_YET
        return min((counter.needs(earliest) for counter in self._counters), default=_NOTHING_YET)

    def warm(self, history: Iterable[StoredEvent], start: Micros) -> None:
        """
        Add events that were judged before, without a word about their signals; `warm_from` is `start` afterwards.

        Args:
            history: All events judged so far with `start <= at < warm_from`, any order. More does no harm: late ones,
                and those from `warm_from` on, are left out. Events still to be given to `add` don't belong here. It may
                come in several calls, all but the last with the present `warm_from` as `start`.
            start: Microseconds.
        """
        remaining = iter(history)
        while chunk := list(islice(remaining, _REPLAYED_AT_ONCE)):
            for track, times in self._insert(chunk, replayed=True).items():
                track.judge(times)
        self.warm_from = start
        for counter in self._counters:
            counter.since = min(counter.since, start)

    def add(self, events: Sequence[StoredEvent]) -> list[Signal]:
        """
        Judge events and return the signals that they belong to, as these now stand.

        Late events are left out. Repeated ones change nothing, and their signals are returned again, so a caller that
        lost an answer gets it by asking again.

        Args:
            events: Any order, `needs(events) >= warm_from`.

        Returns:
            Present state of each signal that the events created, changed or lie in the window of, by (first, id).

        Raises:
            ValueError: The state does not reach back far enough; `warm` it first.
        """
        if self.needs(events) < self.warm_from:
            raise ValueError("the state does not reach back far enough for these events; warm it first")
        touched = self._insert(events, replayed=False)
        signals = [track.signal(number) for track, times in touched.items() for number in track.judge(times)]
        return sorted(signals, key=lambda signal: (signal.first, signal.id))

    def forget(self, before: Micros) -> None:
        """Drop what is wholly before this time, and raise `warm_from` to it."""
        for counter in self._counters:
            counter.forget(before)
        self.warm_from = max(self.warm_from, before)
        self.retained = sum(len(track) for counter in self._counters for track in counter.tracks.values())

    def _insert(self, events: Iterable[StoredEvent], *, replayed: bool) -> dict[_Track, list[Micros]]:
        """Take in events; returns the times of those that each group got."""
        touched: dict[_Track, list[Micros]] = {}
        for event in events:
            if event.late:
                continue
            rank = event.max_severity.rank
            for track in self._tracks(event, replayed=replayed):
                if track not in touched:
                    touched[track] = []
                    self.retained -= len(track)
                touched[track].append(event.at)
                track.insert(event, rank)
        self.retained += sum(map(len, touched))
        return touched

    def _tracks(self, event: StoredEvent, *, replayed: bool) -> Iterator[_Track]:
        for family in self._index.find(event.event):
            group = family.group(event.event)
            if group is not None:
                for counter in family.counters:
                    if not replayed or event.at < counter.since:
                        yield counter.track(group)


def _signal_id(rule_hash: str, group: Group, bucket: int) -> str:
    parts = [rule_hash, *(part for pair in group for part in pair), str(bucket)]
    # Broken bytes of a log may have become lone surrogates; they must still make an id.
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.blake2b(b"".join(b"%d:%b" % (len(part), part) for part in encoded), digest_size=16).hexdigest()


def _subject_type(group: Group) -> SubjectType:
    """Return what the first field of the group that says what it is says."""
    types = (subject_type(name) for name, _ in group)
    return next((found for found in types if found is not SubjectType.GLOBAL), SubjectType.GLOBAL)
