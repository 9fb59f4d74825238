"""
Events -> signals. The state is a cache over the event store: it can be dropped (`forget`) and brought back (`warm`).

Whoever drives the engine asks `needs` before `add`, and when that lies before `warm_from`, replays the stored events in
between. A restart, an eviction, an import of old events and a changed rule are then the same case.

Rules stand in an order in which each comes after those that it refers to: a correlation over correlations takes the
buckets that trigger there as its events, at the time at which the bucket begins.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import attrgetter

import msgspec

from sentinel.detection.few import Few, group_with, key_of
from sentinel.detection.matching import Matcher, Staged, Use
from sentinel.detection.rule import Base, Group, Part, Rule, RuleSet
from sentinel.detection.window import Arrival, Kind, TumblingWindow, Window, raise_rank, window_type
from sentinel.model import Micros, Severity, Signal, StoredEvent, SubjectType

__all__ = ["Engine"]

_NOTHING_YET: Micros = 2**63 - 1
_REPLAYED_AT_ONCE = 10_000
_FORGOTTEN_AT_ONCE = 2_000  # groups: some milliseconds
_FEW = 8
"""Events of a group, close enough to count together, that are kept as they are; with more it gets windows."""
_BYTES_OF_A_TRACK = 650
_BYTES_OF_AN_ENTRY = 50
_SEVERITIES = tuple(Severity)
_AT = attrgetter("at")


class _Track(msgspec.Struct, gc=False, eq=False):
    """
    One group of one rule.

    A signal may lead to an action iff the events that may act would have triggered it alone: otherwise anybody's events
    could complete a count, or, if they vetoed, prevent one. `acting` holds those events, `everything` all of them; the
    two are one window until the first event that may not act.
    """

    group: Group
    acting: Window
    everything: Window
    known: dict[tuple[int, Group, Micros], bool] | None = None
    """What came from upstream, and whether it may act; the same bucket is found again and again."""
    passing: bool = False
    """Whether it was made of the events of a group with few, and nobody keeps it."""

    def __len__(self) -> int:
        held = len(self.everything) + len(self.known or ())
        return held if self.acting is self.everything else held + len(self.acting)

    def extend(self, arrivals: list[Arrival]) -> None:
        """Take in matching events, the earliest first."""
        acting = [arrival for arrival in arrivals if arrival[2]]
        if len(acting) < len(arrivals) and self.acting is self.everything:
            self.everything = self.acting.twin()
        if acting:
            self.acting.extend(acting)
        if self.acting is not self.everything:
            self.everything.extend(arrivals)

    def insert_found(self, key: tuple[int, Group, Micros], arrival: Arrival) -> None:
        """Take in what was found upstream, once; what may act, and how severe it may be, can still rise."""
        at, rank, may_act, _ = arrival
        if self.known is None:
            self.known = {}
        acted = self.known.get(key)
        if acted is None and not may_act and self.acting is self.everything:
            self.everything = self.acting.twin()
        if acted is None:
            self.everything.extend([arrival])
        if may_act and not acted and self.acting is not self.everything:
            self.acting.extend([arrival])
        self.known[key] = may_act or bool(acted)
        raise_rank(self.everything, at, rank)

    def catch_up(self, arrivals: list[Arrival]) -> None:
        """Take in events that were judged before, as if each had just come."""
        self.extend(arrivals)
        times = [arrival[0] for arrival in arrivals]
        self.everything.judge(times)
        if self.acting is not self.everything:
            self.acting.judge(times)

    def judge(self, times: Sequence[Micros], suppress: Micros) -> set[int]:
        """Return the buckets with a signal that events at these times belong to."""
        found = self.everything.judge(times)
        buckets = self.everything.buckets
        numbers = {at // suppress for at in times}
        if self.acting is not self.everything:
            numbers |= self.acting.judge(times)  # what they trigger has a signal, which may act from now on
        for number in numbers:
            bucket = buckets.get(number)
            if bucket is not None and bucket.first is not None:
                found.add(number)
        return found

    def close(self, numbers: Sequence[int]) -> set[int]:
        """Judge windows that have closed; returns the buckets with a signal."""
        assert isinstance(self.acting, TumblingWindow)
        assert isinstance(self.everything, TumblingWindow)
        if self.acting is not self.everything:
            self.acting.close(numbers)
        return self.everything.close(numbers)

    def forget(self, start: Micros) -> None:
        """Drop what lies before this time, at which a bucket begins."""
        self.everything.forget(start)
        if self.acting is not self.everything:
            self.acting.forget(start)
        if self.known is not None:
            self.known = {key: acted for key, acted in self.known.items() if key[2] >= start}


class _Counter:
    """One rule, with the groups that have events. `since`: all events from then on are in, and none before it."""

    __slots__ = ("complete", "feeds", "few", "kinds", "open", "rule", "since", "tracks", "warm_from", "window")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.kinds = {name: kind for name, kind in rule.group_by if kind is not SubjectType.GLOBAL}
        self.window = window_type(rule.shape)
        self.since = _NOTHING_YET
        self.warm_from = _NOTHING_YET
        """Every event from then on that is not late is judged rightly."""
        self.few: Few | None = None
        """Where groups with few events are, while they have no track; one for several rules. None: all have one."""
        self.tracks: dict[Group, _Track] = {}
        self.feeds: list[tuple[_Counter, int, Part]] = []
        """Who counts what this one finds."""
        self.open: dict[int, set[_Track]] = {}
        """Windows that are judged on closing and have not been, by number."""
        self.complete = _NOTHING_YET
        """Buckets that begin from then on are whole, with what stands upstream; windows before can't be judged."""

    def new_track(self, group: Group) -> _Track:
        """Return where the events of a group will be kept, whose first they are."""
        window = self.window(self.rule.shape)
        track = self.tracks[group] = _Track(group, acting=window, everything=window)
        return track

    def passing_track(self, group: Group, arrivals: list[Arrival]) -> _Track:
        """Return these events of a group as they stand, for once."""
        window = self.window(self.rule.shape)
        track = _Track(group, acting=window, everything=window, passing=True)
        track.catch_up(arrivals)
        return track

    @property
    def least(self) -> int:
        """How many things the events of a group must show for any of them to trigger."""
        if self.rule.kind is Kind.VALUE_SUM:
            return 1
        return self.rule.shape.steps if self.rule.kind is Kind.TEMPORAL_ORDERED else self.rule.shape.threshold

    def opened(self, track: _Track, arrivals: Iterable[Arrival]) -> None:
        """
        Remember that the windows of these events must be judged.

        A replay opens windows that were judged before: the bucket that they lie in needs their answer again.
        """
        for number in {arrival[0] // self.rule.timespan for arrival in arrivals}:
            self.open.setdefault(number, set()).add(track)

    def due(self, horizon: Micros | None) -> dict[_Track, list[int]]:
        """Return, and count as judged, the windows that end by this time; all for None."""
        due: dict[_Track, list[int]] = {}
        for number in sorted(self.open):
            if horizon is None or (number + 1) * self.rule.timespan <= horizon:
                tracks = self.open.pop(number)
                if self.rule.origin(number * self.rule.timespan) >= self.complete:
                    for track in tracks:
                        due.setdefault(track, []).append(number)
        return due

    def forget(self, start: Micros) -> Iterator[int]:
        """
        Drop what is before this time, at which a bucket begins, some groups at each step; yields how many entries went.

        A bucket goes with all of its cells, or `count` would meet its events again in a replay.
        """
        kept = start
        if self.rule.on_close:  # windows go whole, and the first that stays may begin after its bucket
            kept = -(-start // self.rule.timespan) * self.rule.timespan
        self.since, self.complete = max(self.since, kept), max(self.complete, start)
        tracks = iter(list(self.tracks.values()))
        while some := list(islice(tracks, _FORGOTTEN_AT_ONCE)):
            yield sum(self._forget_of(track, start, kept) for track in some)
        self.tracks = dict(self.tracks)  # what went leaves holes, which only a new one is without

    def _forget_of(self, track: _Track, start: Micros, kept: Micros) -> int:
        held = len(track)
        if track.everything.newest < kept:
            del self.tracks[track.group]
            return held
        track.forget(start)
        return held - len(track)

    def signal(self, track: _Track, number: int) -> Signal:
        """Return the present state of the signal in this bucket."""
        rule, bucket = self.rule, track.everything.buckets[number]
        assert bucket.first is not None, "only buckets with a trigger are asked for"
        bucket.signal_id = bucket.signal_id or _signal_id(rule.hash, track.group, number)
        return Signal(
            id=bucket.signal_id,
            rule=rule.id,
            rule_hash=rule.hash,
            title=rule.title,
            subject="|".join(value for _, value in track.group) or "global",
            subject_type=self._subject_type(track.group),
            group=dict(track.group),
            severity=_SEVERITIES[min(rule.level.rank, bucket.rank)],
            threat_type=rule.threat_type,
            confidence=rule.confidence,
            bucket=number,
            first=bucket.first,
            last=bucket.last,
            count=bucket.count,
            may_act=self.acts(track, number),
        )

    def acts(self, track: _Track, number: int) -> bool:
        """Whether the events that may act trigger alone."""
        bucket = track.acting.buckets.get(number)
        return bucket is not None and bucket.first is not None

    def _subject_type(self, group: Group) -> SubjectType:
        """Return what the first field of the group that says what it is says."""
        for name, _ in group:
            if name in self.kinds:
                return self.kinds[name]
        return SubjectType.GLOBAL


class _Family:
    """
    Rules that count the same of the same events: its group and its values are worked out once for all.

    `few`: where it keeps groups with few events. A group that has a track has one for each of the rules.
    """

    __slots__ = ("adds", "closes", "counters", "few", "least", "needed", "plain")

    def __init__(self, counters: Sequence[_Counter]) -> None:
        self.counters = counters
        self.few = counters[0].few
        self.needed = min(counter.least for counter in counters)
        self.plain = counters[0].rule.plain
        self.closes = counters[0].rule.on_close
        kind = counters[0].rule.kind
        self.adds = kind in {Kind.VALUE_SUM, Kind.VALUE_AVG}
        self.least = 0 if kind is Kind.VALUE_SUM else -math.inf  # a sum takes nothing below zero

    def has_few(self, group: Group) -> bool:
        """Whether the events of a group are kept as they are, if there are any."""
        return self.few is not None and group not in self.counters[0].tracks


def _families(counters: Iterable[_Counter]) -> list[_Family]:
    """Return the rules by what they count; what is new gets a place for groups with few events here."""
    alike: dict[object, list[_Counter]] = {}
    for counter in counters:
        rule = counter.rule
        counted = rule.kind if rule.kind is not Kind.TEMPORAL_ORDERED else Kind.TEMPORAL
        parts = tuple((part.source, part.fields, part.plain, part.measured) for part in rule.parts)
        alike.setdefault((parts, counted, rule.on_close, counter.few), []).append(counter)
    found = []
    for same in alike.values():
        if same[0].few is None and not (same[0].rule.on_close or same[0].rule.upstream):
            found += [_sharing(together) for together in _in_step(same)]
        else:
            found.append(_Family(same))
    return found


def _in_step(counters: Iterable[_Counter]) -> list[list[_Counter]]:
    """Return rules in lists in which every bucket of the first is a whole number of each other's."""
    found: list[list[_Counter]] = []
    for counter in sorted(counters, key=lambda counter: counter.rule.suppress, reverse=True):
        fitting = (each for each in found if each[0].rule.suppress % counter.rule.suppress == 0)
        if (mine := next(fitting, None)) is not None:
            mine.append(counter)
        else:
            found.append([counter])
    return found


def _sharing(counters: Sequence[_Counter]) -> _Family:
    width = max(max(counter.rule.timespan, counter.rule.suppress) for counter in counters)
    few = Few(width, reads=counters[0].rule.kind is not Kind.EVENT_COUNT)
    for counter in counters:
        counter.few = few
    return _Family(counters)


def _uses(families: Iterable[_Family]) -> dict[Base, list[Use[_Family]]]:
    users: dict[Base, list[Use[_Family]]] = {}
    for family in families:
        for part in family.counters[0].rule.parts:
            if isinstance(part.source, Base):
                users.setdefault(part.source, []).append(Use(family, part))
    return users


class _Seen:
    """The sequence numbers of events that were added: ranges, because they are given out without gaps."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, seq: object) -> bool:
        assert isinstance(seq, int)
        if not self._ends or seq >= self._ends[-1]:  # nearly always they come in order
            return False
        place = bisect_right(self._starts, seq)
        return place > 0 and seq < self._ends[place - 1]

    def add(self, seq: int) -> None:
        """Take in a number that is new."""
        if self._ends and self._ends[-1] == seq:
            self._ends[-1] = seq + 1
            return
        place = bisect_right(self._starts, seq)
        follows = place > 0 and self._ends[place - 1] == seq
        leads = place < len(self._starts) and self._starts[place] == seq + 1
        if follows and leads:
            self._ends[place - 1] = self._ends.pop(place)
            del self._starts[place]
        elif follows:
            self._ends[place - 1] = seq + 1
        elif leads:
            self._starts[place] = seq
        else:
            self._starts.insert(place, seq)
            self._ends.insert(place, seq + 1)


_Touched = dict[_Counter, dict[_Track, list[Micros]]]
"""The times of events that each group got."""


class Engine:
    """
    Judges events under one rule set.

    `warm_from`: the state is complete for every event that is not late and not before it. `retained`: entries held in
    windows.
    """

    def __init__(self, rules: RuleSet, before: Engine | None = None) -> None:
        known = {counter.rule.hash: counter for counter in before.counters} if before else {}
        self.counters: list[_Counter] = [known.get(rule.hash) or _Counter(rule) for rule in _needed(rules.rules)]
        self.seen: _Seen = before.seen if before else _Seen()
        self.retained = 0
        self.ignored: Counter[str] = Counter()
        """
        Matching events that a rule could not count, since somebody last cleared it: `field` when they lack what it
        groups by or counts, `number` when what it adds up is none, or below zero in a sum.
        """
        self._served_from: Micros = _NOTHING_YET
        """From this time on events are known to need nothing that is lacking; what is forgotten makes it unknown."""
        self._connect({rule.hash: rule for rule in rules.rules})
        if before:
            self._take_over(set(known.values()))

    def _connect(self, rules: Mapping[str, Rule]) -> None:
        by_hash = {counter.rule.hash: counter for counter in self.counters}
        for counter in self.counters:
            counter.rule, counter.feeds = rules[counter.rule.hash], []
        for counter in self.counters:
            for step, part in enumerate(counter.rule.parts):
                if isinstance(part.source, Rule):
                    by_hash[part.source.hash].feeds.append((counter, step, part))
        self._families = _families(self.counters)
        self._matcher = Matcher(_uses(self._families))
        self.reach: Micros = max((counter.rule.reach for counter in self.counters), default=0)
        """How far before an event its judgement can reach."""
        self.closes = any(counter.rule.on_close for counter in self.counters)
        """Whether windows are judged on closing, so that `close` has something to do."""

    @property
    def warm_from(self) -> Micros:
        """From when on the state is complete, for every event that is not late; no rule keeps more than others need."""
        return max((counter.warm_from for counter in self.counters), default=_NOTHING_YET)

    @property
    def memory(self) -> int:
        """About how many bytes of events it holds."""
        fews = [family.few for family in self._families if family.few is not None]
        tracks = sum(len(counter.tracks) for counter in self.counters)
        entries = self.retained - sum(few.held for few in fews)
        return tracks * _BYTES_OF_A_TRACK + entries * _BYTES_OF_AN_ENTRY + sum(few.memory for few in fews)

    def _take_over(self, known: set[_Counter]) -> None:
        fresh = set(self.counters) - known
        for counter in self.counters:
            if counter in known:
                self._feed_again(counter, fresh)
        self._weigh()

    def replaced(self, rules: RuleSet) -> Engine:
        """
        Return an engine for other rules, with the state of the rules that have not changed.

        This one must not be used any more. Unless every rule is known, the new one's `warm_from` says that nothing is
        there: `warm` it, and only what the new rules lack is taken in.
        """
        return Engine(rules, self)

    def _feed_again(self, counter: _Counter, fresh: set[_Counter]) -> None:
        """Tell correlations that are new what one that they refer to has found so far."""
        feeds = [feed for feed in counter.feeds if feed[0] in fresh]
        touched: _Touched = {}
        for track in chain(counter.tracks.values(), _passing(counter) if feeds else ()):
            numbers = [number for number, bucket in track.everything.buckets.items() if bucket.first is not None]
            if numbers:
                self._feed(counter, feeds, track, numbers, touched)
        for _ in self._settle(touched):
            pass

    def needs(self, events: Sequence[StoredEvent]) -> Micros:
        """Return how far back the state lacks what judging these events needs; the largest time if it lacks nothing."""
        earliest = min((event.at for event in events if not event.late), default=None)
        # A later event never needs an earlier one, so where the last batch lacked nothing the next need not be asked.
        if earliest is None or earliest >= self._served_from:
            return _NOTHING_YET
        needs = ((counter.rule.needs(earliest), counter.warm_from) for counter in self.counters)
        lacking = min((start for start, there in needs if start < there), default=_NOTHING_YET)
        if lacking == _NOTHING_YET:
            self._served_from = earliest
        return lacking

    def needs_to_close(self, alive: Micros, lateness: Micros) -> Micros:
        """
        Return how far back the state lacks what judging every window that had not closed at `alive` needs.

        After a restart, that is the last moment at which windows are known to have been closed; the largest time if
        nothing is lacking.
        """
        needs = (
            (start - counter.rule.margin - counter.rule.depth, counter.warm_from)
            for counter in self.counters
            if (start := _unclosed(counter.rule, alive - lateness)) is not None
        )
        return min((start for start, there in needs if start < there), default=_NOTHING_YET)

    def warm(self, history: Iterable[StoredEvent], start: Micros) -> None:
        """
        Add events that were judged before, without a word about their signals; `warm_from` is `start` afterwards.

        Args:
            history: All events judged so far with `start <= at < warm_from`, any order. More does no harm: late ones,
                and those from `warm_from` on, are left out. Events still to be given to `add` don't belong here. It may
                come in several calls, all but the last with the present `warm_from` as `start`.
            start: Microseconds.
        """
        for family in self._families:
            if family.few is not None:
                family.few.tidy()
        remaining = iter(history)
        while chunk := list(islice(remaining, _REPLAYED_AT_ONCE)):
            for _ in self._settle(self._insert(chunk, replayed=True)):
                pass
        self.ignored.clear()
        self._weigh()
        for counter in self.counters:
            counter.warm_from = min(counter.warm_from, start)
            counter.since = min(counter.since, start)
            counter.complete = min(counter.complete, start + counter.rule.depth)

    def add(self, events: Sequence[StoredEvent]) -> list[Signal]:
        """
        Judge events and return the signals that they belong to, as these now stand.

        Late events are left out. Repeated ones (by `seq`) change nothing, and their signals are returned again, so a
        caller that lost an answer gets it by asking again.

        Args:
            events: Any order; nothing may be lacking that they need.

        Returns:
            Present state of each signal that the events created, changed or lie in the window of, by (first, id).

        Raises:
            ValueError: The state does not reach back far enough; `warm` it first.
        """
        if self.needs(events) < _NOTHING_YET:
            raise ValueError("the state does not reach back far enough for these events; warm it first")
        return _signals(self._settle(self._insert(events, replayed=False)))

    def close(self, now: Micros | None, lateness: Micros = 0) -> list[Signal]:
        """
        Judge the windows that have closed since the last call, and return their signals.

        A window has closed when no event that is not late can fall into it any more: its end plus the lateness, and
        what stands upstream of the rule may need longer. Each is judged once, and again only when an event came for it
        after all (an import into the past).

        Args:
            now: Every event received before this time has been given to `add`. None closes all: nothing will follow.
            lateness: How old an event may be when it is received, in microseconds.
        """
        touched: _Touched = {}
        return _signals(self._settle(touched, now=now, lateness=lateness, closing=True))

    def forget(self, before: Micros) -> None:
        """
        Drop what is wholly before this time.

        Windows that have not been judged stay, with what a correlation over them will need.
        """
        for _ in self._forgetting(lambda _: before):
            pass

    def forgetting(self, expected: Micros) -> Iterator[None]:
        """
        Drop what no rule needs to judge events from a time on.

        Yields:
            Between steps of a few milliseconds; nothing else may be asked until the last is done.
        """
        return self._forgetting(lambda rule: rule.needs(expected))

    def _forgetting(self, limit: Callable[[Rule], Micros]) -> Iterator[None]:
        for counter, before in [*self._limits(limit)]:
            start = counter.rule.origin(before)
            self._served_from = _NOTHING_YET
            for freed in counter.forget(start):
                self.retained -= freed
                yield
            counter.warm_from = max(counter.warm_from, before)
            if counter.few is not None:
                for freed in counter.few.forget(start, _FORGOTTEN_AT_ONCE):
                    self.retained -= freed
                    yield

    def _limits(self, limit: Callable[[Rule], Micros]) -> Iterator[tuple[_Counter, Micros]]:
        """Return what is before which time each rule can go without; rules that share what they keep go together."""
        changing: dict[Rule, Micros] = {}  # where the first bucket begins that closing can still change
        shared = {family.few: family for family in self._families if family.few is not None}
        for counter in self.counters:
            rule = counter.rule
            if counter.few is not None:
                mates = shared[counter.few].counters
                widest = max((mate.rule for mate in mates), key=attrgetter("suppress"))
                yield counter, widest.origin(min(limit(mate.rule) for mate in mates))
                continue
            starts = [changing[upstream] for upstream in rule.upstream if upstream in changing]
            starts += [min(counter.open) * rule.timespan] if counter.open else []
            if starts:
                changing[rule] = rule.origin(min(starts))
            yield counter, min(limit(rule), changing[rule] - rule.margin) if rule in changing else limit(rule)

    def _weigh(self) -> None:
        self.retained = sum(len(track) for counter in self.counters for track in counter.tracks.values())
        self.retained += sum(family.few.held for family in self._families if family.few is not None)

    # --- taking in

    def _insert(self, events: Iterable[StoredEvent], *, replayed: bool) -> _Touched:
        """Take in events, the earliest first because windows are quickest with those."""
        ordered = sorted((event for event in events if not event.late), key=_AT)
        fresh, known, new = self._matcher.stage(ordered, () if replayed else self.seen, self.ignored)
        if not replayed:
            for seq in sorted(new):
                self.seen.add(seq)
        touched: _Touched = {}
        few: dict[tuple[_Family, Group], list[Micros]] = {}
        for family, group, arrivals in _each(fresh):
            if family.has_few(group):
                self._take_few(touched, few, family, group, _wanted(arrivals, family.counters[0], replayed=replayed))
            else:
                for counter in family.counters:
                    self._take(touched, counter, group, _wanted(arrivals, counter, replayed=replayed))
        for family, group, arrivals in _each(known):
            if family.has_few(group):
                few.setdefault((family, group), []).extend([arrival[0] for arrival in arrivals])
            else:
                for counter in family.counters:
                    self._touch(touched, counter, group, arrivals)
        for (family, group), times in few.items():
            self._judge_few(touched, family, group, times)
        return touched

    def _take(self, touched: _Touched, counter: _Counter, group: Group, arrivals: list[Arrival]) -> None:
        """Take in events of a group that has windows."""
        if arrivals:
            track = self._touch(touched, counter, group, arrivals)
            track.extend(arrivals)
            if counter.rule.on_close:
                counter.opened(track, arrivals)

    def _take_few(
        self,
        touched: _Touched,
        few: dict[tuple[_Family, Group], list[Micros]],
        family: _Family,
        group: Group,
        arrivals: list[Arrival],
    ) -> None:
        """Take in events of a group that had few; with many it gets tracks."""
        if not arrivals:
            return
        assert family.few is not None
        key = key_of(group, plain=family.plain)
        self.retained += len(arrivals)
        events, shown = family.few.add(key, arrivals)
        if events <= _FEW:
            if shown >= family.needed:
                few[family, group] = [arrival[0] for arrival in arrivals]
            return
        held = family.few.held
        mine = family.few.take(key)
        self.retained -= held - family.few.held
        times = [arrival[0] for arrival in arrivals]
        for counter in family.counters:
            self._touch(touched, counter, group, _reached(mine, times, counter)).catch_up(mine)

    def _judge_few(self, touched: _Touched, family: _Family, group: Group, times: Sequence[Micros]) -> None:
        """Have a group with few events judged at these times."""
        assert family.few is not None
        arrivals = family.few.of(key_of(group, plain=family.plain), (min(times), max(times)))
        for counter in family.counters:
            if len(arrivals) >= counter.least or family.few.reads:
                track = counter.passing_track(group, arrivals)
                reached = _reached(arrivals, times, counter)
                touched.setdefault(counter, {})[track] = [arrival[0] for arrival in reached]

    def _touch(self, touched: _Touched, counter: _Counter, group: Group, arrivals: Iterable[Arrival]) -> _Track:
        """Return where the events of a group are kept, to be judged at these; it is weighed again after that."""
        mine = touched.get(counter)
        if mine is None:
            mine = touched[counter] = {}
        track = counter.tracks.get(group)
        if track is None:
            track = counter.new_track(group)
        elif track not in mine:
            self.retained -= len(track)
        mine.setdefault(track, []).extend([arrival[0] for arrival in arrivals])
        return track

    # --- judging

    def _settle(
        self,
        touched: _Touched,
        *,
        now: Micros | None = None,
        lateness: Micros = 0,
        closing: bool = False,
    ) -> Iterator[tuple[_Counter, _Track, int]]:
        """Judge what was touched, and what that touches in turn; returns the buckets with a signal."""
        for counter in self.counters:
            mine = touched.get(counter, {})
            suppress = counter.rule.suppress
            found = {track: numbers for track, times in mine.items() if (numbers := track.judge(times, suppress))}
            if closing and counter.rule.on_close:
                horizon = None if now is None else now - lateness - counter.rule.settling
                for track, windows in counter.due(horizon).items():
                    found[track] = found.get(track, set()) | track.close(windows)
            # A replay goes as far back as somebody needs it, and may show a correlation a part of an older bucket.
            whole = counter.complete + counter.rule.margin
            for track, numbers in found.items():
                for number in numbers:
                    if not counter.rule.upstream or number * suppress >= whole:
                        yield counter, track, number
                if counter.feeds and numbers:
                    self._feed(counter, counter.feeds, track, numbers, touched)
        self.retained += sum(len(track) for mine in touched.values() for track in mine if not track.passing)

    def _feed(
        self,
        counter: _Counter,
        feeds: Sequence[tuple[_Counter, int, Part]],
        track: _Track,
        numbers: Iterable[int],
        touched: _Touched,
    ) -> None:
        """Hand what was found to the correlations that count it."""
        key = dict(track.group)
        for follower, step, part in feeds:
            group, reading = part.regroup(key)
            if reading is None:
                continue
            for number in numbers:
                at = number * counter.rule.suppress
                arrival = (at, track.everything.buckets[number].rank, counter.acts(track, number), reading)
                theirs = self._touch(touched, follower, group, [arrival])
                theirs.insert_found((step, track.group, at), arrival)
                if follower.rule.on_close:
                    follower.opened(theirs, [arrival])


def _unclosed(rule: Rule, settled: Micros) -> Micros | None:
    """Return the start of the first bucket that windows can change which end after this time; None without any."""
    starts = [start for upstream in rule.upstream if (start := _unclosed(upstream, settled)) is not None]
    if rule.on_close:
        starts.append(settled - rule.settling - rule.timespan)
    return min(map(rule.origin, starts), default=None)


def _each(staged: Staged[_Family]) -> Iterator[tuple[_Family, Group, list[Arrival]]]:
    for group, takers in staged.items():
        for family, arrivals in takers.items():
            yield family, group, arrivals


def _wanted(arrivals: list[Arrival], counter: _Counter, *, replayed: bool) -> list[Arrival]:
    return [arrival for arrival in arrivals if arrival[0] < counter.since] if replayed else arrivals


def _reached(arrivals: Sequence[Arrival], times: Sequence[Micros], counter: _Counter) -> list[Arrival]:
    """Return those that events at these times, of their number, can have made trigger."""
    start, end = min(times), max(times) + counter.rule.timespan
    return [arrival for arrival in arrivals if start <= arrival[0] < end]


def _passing(counter: _Counter) -> Iterator[_Track]:
    """Return the groups with few events as they stand."""
    if counter.few is not None and not counter.rule.plain:
        names = [name for name, _ in counter.rule.group_by]
        for key in counter.few:
            yield counter.passing_track(group_with(key, names), counter.few.of(key))


def _needed(rules: Sequence[Rule]) -> list[Rule]:
    """Return the rules that emit, and the correlations that these refer to, in the order in which they stand."""
    wanted: set[Rule] = set()
    for rule in reversed(rules):
        if rule.emits or rule in wanted:
            wanted |= {rule, *rule.upstream}
    return [rule for rule in rules if rule in wanted]


def _signals(found: Iterable[tuple[_Counter, _Track, int]]) -> list[Signal]:
    signals = {(counter, track, number): None for counter, track, number in found if counter.rule.emits}
    made = [counter.signal(track, number) for counter, track, number in signals]
    return sorted(made, key=lambda signal: (signal.first, signal.id))


def _signal_id(rule_hash: str, group: Group, bucket: int) -> str:
    parts = [rule_hash, *(part for pair in group for part in pair), str(bucket)]
    # Broken bytes of a log may have become lone surrogates; they must still make an id.
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.blake2b(b"".join(b"%d:%b" % (len(part), part) for part in encoded), digest_size=16).hexdigest()
