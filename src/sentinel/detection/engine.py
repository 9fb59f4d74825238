"""
Events -> signals. The state is a cache over the event store: it can be dropped (`forget`) and brought back (`warm`).

Whoever drives the engine asks `needs` before `add`, and when that lies before `warm_from`, replays the stored events in
between. A restart, an eviction, an import of old events and a changed rule are then the same case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sentinel.detection.rule import Base, Group, LogSource, Rule, RuleSet, sources_of
from sentinel.detection.sigma.fields import subject_type
from sentinel.detection.window import Shape, Window
from sentinel.model import Event, Micros, Severity, Signal, StoredEvent, SubjectType

__all__ = ["Engine"]

_NOTHING_YET: Micros = 2**63 - 1
_REPLAYED_AT_ONCE = 10_000
_SEVERITIES = tuple(Severity)


class _Track:
    """
    One group of one rule.

    A signal may lead to an action iff the events that may act would have triggered it alone: otherwise anybody's events
    could complete a count, or, if they vetoed, prevent one. `acting` holds those events, `everything` all of them; the
    two are one window until the first event that may not act.
    """

    __slots__ = ("acting", "counter", "everything", "group")

    def __init__(self, counter: _Counter, group: Group) -> None:
        self.counter = counter
        self.group = group
        self.acting = self.everything = Window(counter.shape)

    def __len__(self) -> int:
        return len(self.everything) + (len(self.acting) if self.acting is not self.everything else 0)

    def insert(self, event: StoredEvent) -> None:
        """Take in a matching event."""
        rank = event.max_severity.rank
        if event.may_act:
            if self.acting is not self.everything:
                self.acting.insert(event.at, event.event.event_id, rank)
        elif self.acting is self.everything:
            self.everything = self.acting.copy()
        self.everything.insert(event.at, event.event.event_id, rank)

    def judge(self, times: Sequence[Micros]) -> set[int]:
        """Return the buckets with a signal that events at these times belong to."""
        if self.acting is not self.everything:
            self.acting.judge(times)
        found = self.everything.judge(times)
        buckets, suppress = self.everything.buckets, self.counter.shape.suppress
        return found | {number for at in times if buckets[number := at // suppress].first is not None}

    def forget(self, number: int) -> None:
        """Drop what lies before this bucket."""
        self.everything.forget(number)
        if self.acting is not self.everything:
            self.acting.forget(number)

    def signal(self, number: int) -> Signal:
        """Return the present state of the signal in this bucket."""
        rule, bucket = self.counter.rule, self.everything.buckets[number]
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
    """The groups of one rule. `since`: all events from then on are in, and none before it."""

    __slots__ = ("rule", "shape", "since", "tracks")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.shape = Shape(rule)
        self.since = _NOTHING_YET
        self.tracks: dict[Group, _Track] = {}

    def track(self, event: Event) -> _Track | None:
        """Return where a matching event counts; None if it lacks a field to group by."""
        group = self.rule.group(event)
        if group is None:
            return None
        track = self.tracks.get(group)
        if track is None:
            track = self.tracks[group] = _Track(self, group)
        return track

    def needs(self, at: Micros) -> Micros:
        """Return from where on events are needed to judge one at this time: its whole bucket, and T before that."""
        return at // self.shape.suppress * self.shape.suppress - self.shape.timespan

    def forget(self, before: Micros) -> None:
        """
        Drop the buckets wholly before this time.

        A bucket goes with all of its cells, or `count` would meet its events again in a replay.
        """
        number = before // self.shape.suppress
        self.since = max(self.since, number * self.shape.suppress)
        for track in self.tracks.values():
            track.forget(number)
        self.tracks = {group: track for group, track in self.tracks.items() if len(track)}


class _Index:
    """Finds the counters that an event counts for, without asking rules for other log sources."""

    def __init__(self, counters: Iterable[_Counter]) -> None:
        users: dict[Base, list[_Counter]] = {}
        for counter in counters:
            for base in counter.rule.bases:
                users.setdefault(base, []).append(counter)
        self._by_source: dict[LogSource, list[tuple[Base, list[_Counter]]]] = {}
        for base, using in users.items():
            self._by_source.setdefault(base.logsource, []).append((base, using))
        # Which parts rules name, so that a few look-ups find all log sources that fit an event.
        self._masks = {tuple(part is not None for part in source) for source in self._by_source}

    def find(self, event: Event) -> set[_Counter]:
        """Return each counter once, also when the event matches two of its detections."""
        found: set[_Counter] = set()
        for source in sources_of(event):
            for product, category, service in self._masks:
                wanted = (
                    source[0] if product else None,
                    source[1] if category else None,
                    source[2] if service else None,
                )
                for base, users in self._by_source.get(wanted, ()):
                    if base.asks(event):
                        found.update(users)
        return found


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
        self.reach: Micros = max((rule.timespan + rule.suppress for rule in rules.rules), default=0)
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
        touched: dict[_Track, list[Micros]] = {}
        for event, counter in self._counted(events):
            if replayed and event.at >= counter.since:
                continue
            track = counter.track(event.event)
            if track is None:
                continue
            if track not in touched:
                touched[track] = []
                self.retained -= len(track)
            touched[track].append(event.at)
            track.insert(event)
        self.retained += sum(map(len, touched))
        return touched

    def _counted(self, events: Iterable[StoredEvent]) -> Iterator[tuple[StoredEvent, _Counter]]:
        for event in events:
            if not event.late:
                for counter in self._index.find(event.event):
                    yield event, counter


def _signal_id(rule_hash: str, group: Group, bucket: int) -> str:
    parts = [rule_hash, *(part for pair in group for part in pair), str(bucket)]
    # Broken bytes of a log may have become lone surrogates; they must still make an id.
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.blake2b(b"".join(b"%d:%b" % (len(part), part) for part in encoded), digest_size=16).hexdigest()


def _subject_type(group: Group) -> SubjectType:
    """Return what the first field of the group that says what it is says."""
    types = (subject_type(name) for name, _ in group)
    return next((found for found in types if found is not SubjectType.GLOBAL), SubjectType.GLOBAL)
