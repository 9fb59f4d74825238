"""
What is remembered of one group of one rule: a window for each kind of correlation.

The definition (architecture, section 4) speaks of sets of events, so the answer must not depend on the order of
arrival, and it must come out of bounded memory. Time is cut into cells [k w, (k+1) w), w <= T; w divides S, hence a
cell lies in one bucket. Of each cell only some times are kept, and the definition is applied to those. Adding events
only adds triggers, so what a bucket knows (earliest and latest trigger, number of events, highest severity) only grows.

Whether an event triggers depends on the times in (t - T, t] alone: of several events at one time all trigger or none
does, as far as a signal can tell. So windows hold times, no ids; the engine keeps repeated events away from them.

**Counting events** (`CountWindow`): of a cell the first N and the last N times. An event among the first N finds its
N-1 predecessors in the list. Any later one triggers, because N events lie in less than w <= T, and in the list N-1
steps back from it end in the same cell as well. A dropped one lies between two kept ones that both trigger, so it can't
be the first or last trigger of its bucket.

**Counting values** (`ValueWindow`): of a cell, for each value, its first and its last time, and of these only the N
earliest firsts and the N latest lasts. D(t), the number of values in (t - T, t], is made of the cell of t (values whose
first is <= t), of whole cells (any of their values) and of the oldest, cut one (values whose last is > t - T). If a
value that was dropped from the firsts would count, then N others with earlier firsts count as well and D(t) >= N
anyway; the same holds for the lasts. The first trigger of a cell is the first occurrence of a value in it: otherwise
nothing entered with it, the event before it in the cell saw no fewer values and would be a trigger before the first.
Fewer than N values came before it in its cell, so its value is among the N earliest firsts.
Hence buckets and `first` are exact. Any other event may turn out to be the last trigger of its bucket, by one that
comes out of order; so the times of those that are later than all triggers of their bucket are kept, as long as they are
the 512 latest. `last` is exact, unless more events than that came in vain before the one that proves an older one.

**Steps in order** (`OrderedWindow`): the latest start of a chain of s steps dominates all others, so events in order
need one number for each step. What comes out of order, as what stands upstream always does, is judged against the times
kept: of each cell, here a 60th of T, and set of matched rules all up to 256, then the first 64 and the last 64. For the
ids of two steps one of each is enough. `first` and `last` are exact where a cell ends at each start of what stands
upstream, or no rule matches more than 256 times in a cell, and else to within a cell; so is all else of three or more
steps, for events out of order.

**Sums** (`SumWindow`) are quantised to T/60 by definition. **Closed windows** (`TumblingWindow`) keep what their
condition asks about, and are judged when nothing can be added.
"""

from __future__ import annotations

import enum
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from typing import Protocol, cast

import msgspec

from sentinel.model import Micros

__all__ = [
    "Amount",
    "Arrival",
    "Bucket",
    "Condition",
    "CountWindow",
    "Kind",
    "OrderedWindow",
    "Reading",
    "Shape",
    "SumWindow",
    "TumblingWindow",
    "ValueWindow",
    "Window",
    "raise_rank",
    "window_type",
]

Amount = int | Fraction
"""A number that adds up to the same sum in any order, unlike a float."""

Reading = tuple[str | Amount, ...]
"""What a rule reads from a matching event: the values, numbers or steps that it counts; empty for plain counts."""

Arrival = tuple[Micros, int, bool, Reading]
"""A matching event: its time, the rank of the severity that its source may reach, whether it may act, what is read."""

_PARTS_OF_A_SUM = 60  # decisions, C3
_KEPT_OF_A_STEP = 64
_NEVER: Micros = -(2**63)
_KEPT_IN_VAIN = 512
_SLACK = 16  # values beyond twice the limit before a cell is tidied


class Kind(enum.StrEnum):
    """The correlation types; a plain detection is an event count of one."""

    EVENT_COUNT = "event_count"
    VALUE_COUNT = "value_count"
    VALUE_SUM = "value_sum"
    VALUE_AVG = "value_avg"
    TEMPORAL = "temporal"
    TEMPORAL_ORDERED = "temporal_ordered"


class Condition(msgspec.Struct, frozen=True):
    """Bounds that a number must meet, all of them."""

    bounds: tuple[tuple[str, Amount], ...]
    """Of `gt`, `gte`, `lt`, `lte`, `eq`, `neq`, each once."""

    @property
    def rising(self) -> bool:
        """Whether what holds once can't be undone by more of the same."""
        return len(self.bounds) == 1 and self.bounds[0][0] in {"gt", "gte"}

    @property
    def least(self) -> int:
        """The smallest whole number above a lower bound."""
        ((name, bound),) = self.bounds
        return int(bound // 1) + 1 if name == "gt" else -int(-bound // 1)

    def holds(self, value: Amount) -> bool:
        """Whether the value meets every bound."""
        return all(_COMPARE[name](value, bound) for name, bound in self.bounds)


_COMPARE = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
    "eq": lambda value, bound: value == bound,
    "neq": lambda value, bound: value != bound,
}

# One or more of these for every group: they are in no reference cycle, and keeping them from the garbage collector
# takes pauses of half a second out of a service with a hundred thousand groups.


class Shape(msgspec.Struct, frozen=True):
    """What the windows of a rule need at hand of it."""

    kind: Kind
    condition: Condition
    timespan: Micros
    suppress: Micros
    cell: Micros = 0
    """Width of a cell: divides `suppress`, not above `timespan`."""
    threshold: int = 1
    steps: int = 1


class Bucket(msgspec.Struct, gc=False):
    """What is known of one bucket; `first` is None as long as no event in it triggers."""

    first: Micros | None = None
    last: Micros = 0
    count: int = 0
    rank: int = 0
    """Of the highest severity that a source of its events may reach."""
    signal_id: str = ""
    """Of its signal, once somebody asked for it: it stays the same, and a flood asks again and again."""


class Window(Protocol):
    """The matching events of one group, as far as the definition can ever ask for them."""

    buckets: dict[int, Bucket]

    @property
    def newest(self) -> Micros:
        """The latest time of its events."""

    def __len__(self) -> int: ...

    def twin(self) -> Window:
        """Return an equal window that changes on its own."""

    def extend(self, arrivals: Sequence[Arrival]) -> None:
        """Take in events that never were, at least one, the earliest first."""

    def judge(self, times: Iterable[Micros]) -> set[int]:
        """
        Apply the definition to what events inserted at these times, and since the last call, can have made trigger.

        Returns:
            The buckets in which such an event triggers, besides those of the times themselves.
        """

    def forget(self, start: Micros) -> None:
        """Drop what lies before this time, at which a bucket begins."""


def window_type(shape: Shape) -> Callable[[Shape], Window]:
    """Return what makes an empty window of the kind that the rule's condition asks for."""
    if shape.kind is Kind.VALUE_AVG or not shape.condition.rising:
        return TumblingWindow
    return _WINDOWS[shape.kind]


def raise_rank(window: Window, at: Micros, rank: int) -> None:
    """Let an event that is already in reach at least this severity."""
    if isinstance(window, TumblingWindow):
        tally = window.tallies[at // window.shape.timespan]
        tally.rank = max(tally.rank, rank)
    else:
        bucket = window.buckets[at // cast("_Rising", window).shape.suppress]
        bucket.rank = max(bucket.rank, rank)


def _enter(buckets: dict[int, Bucket], suppress: Micros, arrivals: Iterable[Arrival]) -> None:
    """Count events in their buckets."""
    bucket, start, end = None, 0, 0
    for at, rank, _, _ in arrivals:
        if bucket is None or not start <= at < end:  # neighbours are mostly in the same
            number = at // suppress
            bucket = buckets.get(number)
            if bucket is None:
                bucket = buckets[number] = Bucket()
            start, end = number * suppress, (number + 1) * suppress
        bucket.count += 1
        if rank > bucket.rank:  # noqa: PLR1730 - for every matching event, and `max` takes three times as long
            bucket.rank = rank


def _note(buckets: dict[int, Bucket], number: int, first: Micros, last: Micros) -> int:
    bucket = buckets[number]
    if bucket.first is None:
        bucket.first, bucket.last = first, last
    else:
        bucket.first, bucket.last = min(bucket.first, first), max(bucket.last, last)
    return number


def _copied(buckets: dict[int, Bucket]) -> dict[int, Bucket]:
    return {number: copy(bucket) for number, bucket in buckets.items()}


def _drop(buckets: dict[int, Bucket], before: int) -> None:
    for old in [number for number in buckets if number < before]:
        del buckets[old]


def _ranges(times: Iterable[Micros], reach: Micros) -> Iterator[tuple[Micros, Micros]]:
    """Return what the intervals [t, t + reach) cover, as few intervals, ascending."""
    start: Micros | None = None
    end: Micros = 0
    for at in sorted(times):
        if start is None or at > end:
            if start is not None:
                yield start, end
            start = at
        end = at + reach
    if start is not None:
        yield start, end


def _present(cells: Collection[int], numbers: range) -> list[int]:
    """Return which of these cells there are, ascending."""
    if len(numbers) <= len(cells):
        return [number for number in numbers if number in cells]
    return sorted(number for number in cells if number in numbers)


class CountWindow(msgspec.Struct, gc=False, eq=False):
    """For event_count with a lower bound."""

    shape: Shape
    buckets: dict[int, Bucket] = {}
    times: list[Micros] = []

    def __len__(self) -> int:
        return len(self.times)

    @property
    def newest(self) -> Micros:
        """The latest time that it holds."""
        return self.times[-1]

    def twin(self) -> CountWindow:
        """Return an equal window that changes on its own."""
        return CountWindow(self.shape, _copied(self.buckets), self.times.copy())

    def extend(self, arrivals: Sequence[Arrival]) -> None:
        """Take in events."""
        _enter(self.buckets, self.shape.suppress, arrivals)
        times, cell = self.times, self.shape.cell
        fresh = [arrival[0] for arrival in arrivals]
        if not times or fresh[0] >= times[-1]:
            times += fresh
        else:
            for at in fresh:
                insort(times, at)
        if len(times) > 2 * self.shape.threshold:
            for number in {at // cell for at in fresh}:
                self._trim(number * cell)

    def _trim(self, start: Micros) -> None:
        """Keep the first N and the last N times of the cell that begins then."""
        times, kept = self.times, self.shape.threshold
        first, beyond = bisect_left(times, start), bisect_left(times, start + self.shape.cell)
        if beyond - first > 2 * kept:
            del times[first + kept : beyond - kept]

    def judge(self, times: Iterable[Micros]) -> set[int]:
        """Return the buckets in which an event triggers that one of these times can have completed."""
        kept, timespan, back = self.times, self.shape.timespan, self.shape.threshold - 1
        found: set[int] = set()
        if len(kept) <= back:
            return found
        place = back
        for at in sorted(times):
            place = max(place, bisect_left(kept, at))
            while place < len(kept) and kept[place] < at + timespan:
                time = kept[place]
                if place >= back and time - kept[place - back] < timespan:
                    found.add(_note(self.buckets, time // self.shape.suppress, time, time))
                place += 1
        return found

    def forget(self, start: Micros) -> None:
        """Drop what lies before this time."""
        del self.times[: bisect_left(self.times, start)]
        _drop(self.buckets, start // self.shape.suppress)


class _Ends(msgspec.Struct, gc=False):
    """For each value that a cell keeps, when it came first, and when last."""

    firsts: dict[str | Amount, Micros] = {}
    lasts: dict[str | Amount, Micros] = {}


class ValueWindow(msgspec.Struct, gc=False, eq=False):
    """For value_count and temporal with a lower bound: temporal counts the steps that match."""

    shape: Shape
    buckets: dict[int, Bucket] = {}
    cells: dict[int, _Ends] = {}
    live: OrderedDict[str | Amount, Micros] | None = None
    """
    The values in (newest - T, newest], by their latest time, ascending; not more than N are needed. None as long as all
    cells together have fewer than N, which is how most groups stay: then nothing can trigger.
    """
    newest: Micros = _NEVER
    fresh: dict[str | Amount, Micros] = {}
    """What came out of order and belongs into `live`."""
    pending: list[Micros] = []
    vain: list[Micros] = []
    """Times that are not known to trigger, and later than all of their bucket that are, ascending."""
    held: int = 0

    def __len__(self) -> int:
        return self.held + len(self.live or ()) + len(self.fresh) + len(self.vain)

    def twin(self) -> ValueWindow:
        """Return an equal window that changes on its own."""
        cells = {number: _Ends(ends.firsts.copy(), ends.lasts.copy()) for number, ends in self.cells.items()}
        lists = (copy(self.live), self.newest, self.fresh.copy(), self.pending.copy(), self.vain.copy())
        return ValueWindow(self.shape, _copied(self.buckets), cells, *lists, self.held)

    def extend(self, arrivals: Sequence[Arrival]) -> None:
        """Take in events with their values."""
        _enter(self.buckets, self.shape.suppress, arrivals)
        before: tuple[Micros, Reading] | None = None
        for at, _, _, reading in arrivals:
            if (at, reading) != before:  # the same at the same time is nothing more
                self._insert(at, reading)
                before = at, reading

    def _insert(self, at: Micros, reading: Reading) -> None:
        shape = self.shape
        ends = self.cells.get(at // shape.cell)
        if ends is None:
            ends = self.cells[at // shape.cell] = _Ends()
        news = self._keep(ends, at, reading)
        enough = self.held >= 2 * shape.threshold  # each value is held by its first and its last time
        if at >= self.newest:
            self.newest = at
            if not enough or not self._advance(at, reading):
                self._keep_in_vain(at)
            return
        in_vain = self._is_vain(at)
        if in_vain:
            self._keep_in_vain(at)
        if enough and (news or in_vain):
            self.pending.append(at)
            self._enliven(at, reading)

    def _is_vain(self, at: Micros) -> bool:
        """Return whether all events of its bucket that are known to trigger are earlier."""
        bucket = self.buckets[at // self.shape.suppress]
        return bucket.first is None or at > bucket.last

    def _keep_in_vain(self, at: Micros) -> None:
        insort(self.vain, at)
        if len(self.vain) > 2 * _KEPT_IN_VAIN:
            del self.vain[:-_KEPT_IN_VAIN]

    def _keep(self, ends: _Ends, at: Micros, reading: Reading) -> bool:
        """Return whether an event is the first or the last in its cell to have one of its values."""
        firsts, lasts = ends.firsts, ends.lasts
        before = len(firsts) + len(lasts)
        news = False
        for value in reading:
            if (first := firsts.get(value)) is None or at < first:
                firsts[value] = at
                news = True
            if (last := lasts.get(value)) is None or at > last:
                lasts[value] = at
                news = True
        most = 2 * self.shape.threshold + _SLACK
        if len(firsts) > most or len(lasts) > most:
            self._tidy(ends)
        self.held += len(ends.firsts) + len(ends.lasts) - before
        return news

    def _tidy(self, ends: _Ends) -> None:
        kept = self.shape.threshold
        if len(ends.firsts) > 2 * kept + _SLACK:
            ends.firsts = dict(sorted(ends.firsts.items(), key=itemgetter(1))[:kept])
        if len(ends.lasts) > 2 * kept + _SLACK:
            ends.lasts = dict(sorted(ends.lasts.items(), key=itemgetter(1))[-kept:])

    def _advance(self, at: Micros, reading: Reading) -> bool:
        """Judge an event that is not older than any before it, by far the most common case; returns if it triggers."""
        start, enough = at - self.shape.timespan, self.shape.threshold
        live = self._lively(start) if self.live is None else self.live
        for value in reading:
            live[value] = at
            live.move_to_end(value)
            if self.fresh:
                self.fresh.pop(value, None)
        while len(live) > enough or (live and live[next(iter(live))] <= start):
            live.popitem(last=False)
        # Sorting in what came out of order takes long, so it waits until it can make the difference.
        if self.fresh and (len(live) < enough <= len(live) + len(self.fresh) or len(self.fresh) > enough):
            live = self._lively(start)
        if len(live) < enough:
            return False
        number = _note(self.buckets, at // self.shape.suppress, at, at)
        while self.vain and self.vain[-1] >= number * self.shape.suppress:
            self.vain.pop()
        return True

    def _lively(self, start: Micros) -> OrderedDict[str | Amount, Micros]:
        """Return `live` with what it lacks: all of it at first, later what came out of order."""
        latest = dict(self.live or {}) | self.fresh
        if self.live is None:
            latest = {}
            for value, at in (item for ends in self.cells.values() for item in ends.lasts.items()):
                latest[value] = max(at, latest.get(value, at))
        ordered = sorted((item for item in latest.items() if item[1] > start), key=itemgetter(1))
        self.live, self.fresh = OrderedDict(ordered[-self.shape.threshold :]), {}
        return self.live

    def _enliven(self, at: Micros, reading: Reading) -> None:
        """Let an older event count for those to come."""
        if self.live is None or at <= self.newest - self.shape.timespan:
            return
        for value in reading:
            if at > max(self.live.get(value, _NEVER), self.fresh.get(value, _NEVER)):
                self.fresh[value] = at

    def judge(self, times: Iterable[Micros]) -> set[int]:  # noqa: ARG002 - it knows itself what came out of order
        """Return the buckets in which an event triggers that one out of order can have completed."""
        found: set[int] = set()
        if self.pending:
            for start, end in _ranges(filter(self._matters, self.pending), self.shape.timespan):
                found.update(self._sweep(start, end))
            self.pending = []
            self.vain = [at for at in self.vain if self._is_vain(at)]
        return found

    def _matters(self, at: Micros) -> bool:
        """Whether an event out of order can start a bucket's signal, start it earlier or end it later."""
        suppress, width = self.shape.suppress, self.shape.cell
        end = min(at + self.shape.timespan, self.newest + 1)
        near = _present(self.cells, range((at - self.shape.timespan) // width, (end - 1) // width + 1))
        if sum(len(self.cells[number].firsts) for number in near) < self.shape.threshold:
            return False
        if (place := bisect_left(self.vain, at)) < len(self.vain) and self.vain[place] < end:
            return True
        numbers = _present(self.buckets, range(at // suppress, (end - 1) // suppress + 1))
        return any((first := self.buckets[number].first) is None or first > at for number in numbers)

    def _sweep(self, start: Micros, end: Micros) -> Iterator[int]:
        """Apply the definition to the times kept in [start, end)."""
        timespan, suppress, enough = self.shape.timespan, self.shape.suppress, self.shape.threshold
        entries = self._entries(start - timespan, end)
        present: dict[str | Amount | None, int] = {}
        left = 0
        for at, value in entries:
            present[value] = present.get(value, 0) + 1
            while entries[left][0] <= at - timespan:
                gone = entries[left][1]
                present[gone] -= 1
                if not present[gone]:
                    del present[gone]
                left += 1
            if at >= start and len(present) - (None in present) >= enough:
                yield _note(self.buckets, at // suppress, at, at)

    def _entries(self, after: Micros, before: Micros) -> list[tuple[Micros, str | Amount | None]]:
        """Return the times kept in (after, before) and the value of each, None for what came in vain, ascending."""
        width = self.shape.cell
        numbers = range(after // width, (before - 1) // width + 1)
        cells = [self.cells[number] for number in _present(self.cells, numbers)]
        ends = (ends for cell in cells for ends in (cell.firsts, cell.lasts))
        found: list[tuple[Micros, str | Amount | None]] = [
            (at, value) for side in ends for value, at in side.items() if after < at < before
        ]
        found += [(at, None) for at in self.vain if after < at < before]
        return sorted(found, key=itemgetter(0))

    def forget(self, start: Micros) -> None:
        """Drop what lies before this time."""
        number = start // self.shape.cell
        self.cells = {cell: ends for cell, ends in self.cells.items() if cell >= number}
        self.live, self.fresh = None, {}
        del self.vain[: bisect_left(self.vain, start)]
        self.held = sum(len(ends.firsts) + len(ends.lasts) for ends in self.cells.values())
        _drop(self.buckets, start // self.shape.suppress)


class OrderedWindow(msgspec.Struct, gc=False, eq=False):
    """For temporal_ordered: step s matches where bit s of an entry's mask is set."""

    shape: Shape
    buckets: dict[int, Bucket] = {}
    entries: list[tuple[Micros, int]] = []
    """(at, mask), ascending."""
    amounts: dict[tuple[int, int], int] = {}
    """How many entries a cell has of each mask."""
    starts: list[Micros] = []
    """Latest start of a chain of s steps that ended before `newest`; the first is not used."""
    now: list[int] = []
    """Masks of the events at `newest`."""
    newest: Micros = _NEVER
    pending: list[Micros] = []

    def __len__(self) -> int:
        return len(self.entries)

    def twin(self) -> OrderedWindow:
        """Return an equal window that changes on its own."""
        lists = (self.entries.copy(), self.amounts.copy(), self.starts.copy(), self.now.copy())
        return OrderedWindow(self.shape, _copied(self.buckets), *lists, self.newest, self.pending.copy())

    def extend(self, arrivals: Sequence[Arrival]) -> None:
        """Take in events that match the steps that they read."""
        _enter(self.buckets, self.shape.suppress, arrivals)
        for at, _, _, reading in arrivals:
            self._insert(at, reading)

    def _insert(self, at: Micros, reading: Reading) -> None:
        mask = sum(1 << cast("int", step) for step in reading)
        insort(self.entries, (at, mask))
        self._trim(at, mask)
        if at < self.newest:
            self.pending.append(at)
            return
        if at > self.newest:
            self.starts, _ = self._after(self.starts, self.now, self.newest)
            self.now, self.newest = [], at
        self._join(self.now, mask)
        if self._after(self.starts, self.now, at)[1] > at - self.shape.timespan:
            _note(self.buckets, at // self.shape.suppress, at, at)

    def _join(self, masks: list[int], mask: int) -> None:
        if masks.count(mask) < self.shape.steps:  # a chain can use no more of them
            masks.append(mask)

    def _trim(self, at: Micros, mask: int) -> None:
        cell = at // self.shape.cell
        amount = self.amounts[cell, mask] = self.amounts.get((cell, mask), 0) + 1
        if amount <= 4 * _KEPT_OF_A_STEP:
            return
        first = bisect_left(self.entries, (cell * self.shape.cell,))
        beyond = bisect_left(self.entries, ((cell + 1) * self.shape.cell,))
        places = [place for place in range(first, beyond) if self.entries[place][1] == mask]
        dropped = set(places[_KEPT_OF_A_STEP:-_KEPT_OF_A_STEP])
        self.entries = [entry for place, entry in enumerate(self.entries) if place not in dropped]
        self.amounts[cell, mask] = 2 * _KEPT_OF_A_STEP

    def _after(self, starts: Sequence[Micros], masks: Sequence[int], at: Micros) -> tuple[list[Micros], Micros]:
        """
        Return the latest starts once events at one time are added, and that of a chain which they complete.

        Events at one time satisfy either order, so a run of steps may be taken from them in which each has an event
        of its own.
        """
        steps = self.shape.steps
        after = list(starts) or [_NEVER] * steps
        done = _NEVER
        for taken in range(steps):
            start = starts[taken] if taken and starts else _NEVER if taken else at
            if start == _NEVER:
                continue
            for step in range(taken, taken + _run(masks, taken, steps)):
                if step + 1 == steps:
                    done = max(done, start)
                else:
                    after[step + 1] = max(after[step + 1], start)
        return after, done

    def judge(self, times: Iterable[Micros]) -> set[int]:  # noqa: ARG002 - it knows itself what came out of order
        """Return the buckets in which an event triggers that one out of order can have completed."""
        found: set[int] = set()
        if self.pending:
            for start, end in _ranges(self.pending, self.shape.timespan):
                found.update(self._sweep(start, end))
            self.pending = []
            self._restart()
        return found

    def _sweep(self, start: Micros, end: Micros) -> Iterator[int]:
        """Apply the definition to the entries in [start, end)."""
        starts: list[Micros] = []
        for at, masks in self._groups(start - self.shape.timespan, end):
            starts, done = self._after(starts, masks, at)
            if at >= start and done > at - self.shape.timespan:
                yield _note(self.buckets, at // self.shape.suppress, at, at)

    def _restart(self) -> None:
        """Work out anew what an event to come can continue."""
        self.starts = []
        for at, masks in self._groups(self.newest - self.shape.timespan, self.newest):
            self.starts, _ = self._after(self.starts, masks, at)

    def _groups(self, after: Micros, before: Micros) -> Iterator[tuple[Micros, list[int]]]:
        """Return the masks at each time in (after, before)."""
        first, beyond = bisect_left(self.entries, (after + 1,)), bisect_left(self.entries, (before,))
        for at, entries in groupby(self.entries[first:beyond], key=itemgetter(0)):
            masks: list[int] = []
            for _, mask in entries:
                self._join(masks, mask)
            yield at, masks

    def forget(self, start: Micros) -> None:
        """Drop what lies before this time."""
        del self.entries[: bisect_left(self.entries, (start,))]
        self.amounts = {
            (cell, mask): amount for (cell, mask), amount in self.amounts.items() if cell >= start // self.shape.cell
        }
        if self.newest < start:
            self.now, self.newest = [], _NEVER
        self._restart()
        _drop(self.buckets, start // self.shape.suppress)


def _run(masks: Sequence[int], first: int, beyond: int) -> int:
    """Return how many of the steps from `first` on can have an event of their own (bipartite matching, Kuhn 1955)."""
    owner: dict[int, int] = {}  # event -> step
    step = first
    while step < beyond and _finds_one(step, masks, owner, set()):
        step += 1
    return step - first


def _finds_one(step: int, masks: Sequence[int], owner: dict[int, int], tried: set[int]) -> bool:
    """Whether a step can have an event, others giving theirs away. In `_run` it would be garbage that holds itself."""
    for event, mask in enumerate(masks):
        if mask >> step & 1 and event not in tried:
            tried.add(event)
            if event not in owner or _finds_one(owner[event], masks, owner, tried):
                owner[event] = step
                return True
    return False


class _Part(msgspec.Struct, gc=False):
    """What a cell of a sum has in one bucket."""

    first: Micros
    last: Micros
    amount: Amount


class SumWindow(msgspec.Struct, gc=False, eq=False):
    """For value_sum with a lower bound: cells of T/60, and every event of a cell triggers with its cell."""

    shape: Shape
    buckets: dict[int, Bucket] = {}
    cells: dict[int, dict[int, _Part]] = {}
    newest: Micros = _NEVER

    def __len__(self) -> int:
        return len(self.cells)

    def twin(self) -> SumWindow:
        """Return an equal window that changes on its own."""
        cells = {cell: {number: copy(part) for number, part in parts.items()} for cell, parts in self.cells.items()}
        return SumWindow(self.shape, _copied(self.buckets), cells, self.newest)

    def _cell(self, at: Micros) -> int:
        return _PARTS_OF_A_SUM * at // self.shape.timespan

    def extend(self, arrivals: Sequence[Arrival]) -> None:
        """Take in events with their amounts."""
        _enter(self.buckets, self.shape.suppress, arrivals)
        for at, _, _, reading in arrivals:
            self._insert(at, reading)

    def _insert(self, at: Micros, reading: Reading) -> None:
        number = at // self.shape.suppress
        amount = max(cast("Amount", reading[0]), 0) if reading else 0
        parts = self.cells.setdefault(self._cell(at), {})
        part = parts.get(number)
        if part is None:
            parts[number] = _Part(at, at, amount)
        else:
            part.first, part.last, part.amount = min(part.first, at), max(part.last, at), part.amount + amount
        self.newest = max(self.newest, at)

    def judge(self, times: Iterable[Micros]) -> set[int]:
        """Return the buckets with a cell that reaches the sum, of those that these times add to."""
        found: set[int] = set()
        for start, end in _ranges({self._cell(at) for at in times}, _PARTS_OF_A_SUM):
            found.update(self._sweep(_present(self.cells, range(start - _PARTS_OF_A_SUM + 1, end)), start))
        return found

    def _sweep(self, cells: Sequence[int], start: int) -> Iterator[int]:
        amounts = [sum(part.amount for part in self.cells[cell].values()) for cell in cells]
        total: Amount = 0
        left = 0
        for cell, amount in zip(cells, amounts, strict=True):
            total += amount
            while cells[left] <= cell - _PARTS_OF_A_SUM:
                total -= amounts[left]
                left += 1
            if cell >= start and self.shape.condition.holds(total):
                for number, part in self.cells[cell].items():
                    yield _note(self.buckets, number, part.first, part.last)

    def forget(self, start: Micros) -> None:
        """Drop what lies before this time."""
        before = start // self.shape.suppress
        kept = {
            cell: {number: part for number, part in parts.items() if number >= before}
            for cell, parts in self.cells.items()
        }
        self.cells = {cell: parts for cell, parts in kept.items() if parts}
        _drop(self.buckets, before)


class _Tally(msgspec.Struct, gc=False):
    """What one tumbling window has seen."""

    first: Micros
    last: Micros
    rank: int = 0
    count: int = 0
    numbers: int = 0
    total: Amount = 0
    values: set[str | Amount] | None = None
    """None as long as none was shown: most rules show none, and an empty set takes 200 bytes."""
    holds: bool = False


class TumblingWindow(msgspec.Struct, gc=False, eq=False):
    """For conditions that more events can undo: [k T, (k+1) T) is judged by `close`, and not before."""

    shape: Shape
    buckets: dict[int, Bucket] = {}
    tallies: dict[int, _Tally] = {}
    newest: Micros = _NEVER
    held: int = 0

    def __len__(self) -> int:
        return self.held

    def twin(self) -> TumblingWindow:
        """Return an equal window that changes on its own."""
        tallies = {
            number: msgspec.structs.replace(tally, values=tally.values and tally.values.copy())
            for number, tally in self.tallies.items()
        }
        return TumblingWindow(self.shape, _copied(self.buckets), tallies, self.newest, self.held)

    def extend(self, arrivals: Sequence[Arrival]) -> None:
        """Take in events."""
        for at, rank, _, reading in arrivals:
            self._insert(at, rank, reading)

    def _insert(self, at: Micros, rank: int, reading: Reading) -> None:
        tally = self.tallies.get(at // self.shape.timespan)
        if tally is None:
            tally = self.tallies[at // self.shape.timespan] = _Tally(at, at)
            self.held += 1
        tally.first, tally.last, tally.rank = min(tally.first, at), max(tally.last, at), max(tally.rank, rank)
        tally.count += 1
        self.newest = max(self.newest, at)
        kind = self.shape.kind
        if kind is Kind.VALUE_SUM or kind is Kind.VALUE_AVG:
            for amount in cast("tuple[Amount, ...]", reading):
                tally.numbers += 1
                # A sum counts nothing below zero (decisions, C3); an average is what it is.
                if amount > 0 or kind is Kind.VALUE_AVG:
                    tally.total += amount
        elif reading:
            self._add_values(tally, reading)

    def _add_values(self, tally: _Tally, reading: Reading) -> None:
        values = tally.values = tally.values or set()
        # Beyond the largest bound every number of values gives the same answer.
        if len(values) <= max(bound for _, bound in self.shape.condition.bounds):
            self.held -= len(values)
            values.update(reading)
            self.held += len(values)

    def judge(self, times: Iterable[Micros]) -> set[int]:  # noqa: ARG002 - nothing is certain before the end
        """Return nothing: an open window has no answer."""
        return set()

    def close(self, numbers: Iterable[int]) -> set[int]:
        """Judge these windows, and return the buckets that they changed and that have a signal."""
        touched: set[int] = set()
        for number in numbers:
            tally = self.tallies.get(number)
            if tally is not None:
                tally.holds = self._holds(tally)
                touched.add(number * self.shape.timespan // self.shape.suppress)
        for bucket in touched:
            self.buckets[bucket] = self._bucket(bucket)
        return {number for number in touched if self.buckets[number].first is not None}

    def _holds(self, tally: _Tally) -> bool:
        if self.shape.kind is Kind.VALUE_AVG:
            return tally.numbers > 0 and self.shape.condition.holds(Fraction(tally.total) / tally.numbers)
        if self.shape.kind is Kind.VALUE_SUM:
            return self.shape.condition.holds(tally.total)
        counted = tally.count if self.shape.kind is Kind.EVENT_COUNT else len(tally.values or ())
        return self.shape.condition.holds(counted)

    def _bucket(self, bucket: int) -> Bucket:
        start, end = bucket * self.shape.suppress, (bucket + 1) * self.shape.suppress
        numbers = range(-(-start // self.shape.timespan), -(-end // self.shape.timespan))
        held = [tally for number in _present(self.tallies, numbers) if (tally := self.tallies[number]).holds]
        if not held:
            return Bucket()
        first, last = min(tally.first for tally in held), max(tally.last for tally in held)
        return Bucket(first, last, sum(tally.count for tally in held), max(tally.rank for tally in held))

    def forget(self, start: Micros) -> None:
        """Drop what lies before this time."""
        bucket = start // self.shape.suppress
        first = -(-bucket * self.shape.suppress // self.shape.timespan)
        self.tallies = {number: tally for number, tally in self.tallies.items() if number >= first}
        self.held = sum(1 + len(tally.values or ()) for tally in self.tallies.values())
        _drop(self.buckets, bucket)


_Rising = CountWindow | ValueWindow | OrderedWindow | SumWindow
_WINDOWS: dict[Kind, type[_Rising]] = {
    Kind.EVENT_COUNT: CountWindow,
    Kind.VALUE_COUNT: ValueWindow,
    Kind.VALUE_SUM: SumWindow,
    Kind.TEMPORAL: ValueWindow,
    Kind.TEMPORAL_ORDERED: OrderedWindow,
}
