"""
What is remembered of one group of one rule.

The definition (architecture, section 4): order the matching events by (at, event id); e_j triggers iff
t_j - t_(j-N+1) < T; a signal is a bucket of width S with a triggering event. It speaks of sets, so the answer must not
depend on the order of arrival, and it must come out of bounded memory.

Time is cut into cells [k w, (k+1) w) with w <= T, and of each cell the first N and the last N events are kept. That is
enough:

- An event among the first N of its cell finds its N-1 predecessors in the list: those in its cell were kept, and of an
  earlier cell either all or the last N.
- Any later one of a cell triggers, because N events lie in less than w <= T; and in the list, N-1 steps back from it
  end in the same cell as well.
- A dropped event lies between a kept one and another that both trigger, so it can't be the first or last trigger of its
  bucket: w divides S, hence a cell lies in one bucket.

So the definition may be applied to the list as it stands. Adding events only adds triggers; what a bucket knows
(earliest and latest trigger, number of events, highest severity) therefore only grows, whatever the order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from copy import copy

import msgspec

from sentinel.model import Micros

__all__ = ["Bucket", "Shape", "Window"]


# One or more for every group: they are in no reference cycle, and keeping them from the garbage collector takes pauses
# of half a second out of a service with a hundred thousand groups.


class Shape(msgspec.Struct, frozen=True):
    """The numbers of a rule that its windows need at hand."""

    threshold: int
    timespan: Micros
    suppress: Micros
    cell: Micros


class Bucket(msgspec.Struct, gc=False):
    """What is known of one bucket; `first` is None as long as no event in it triggers."""

    first: Micros | None = None
    last: Micros = 0
    count: int = 0
    rank: int = 0
    """Of the highest severity that a source of its events may reach."""


class Window(msgspec.Struct, gc=False, eq=False):
    """The matching events of one group, as far as the definition can ever ask for them."""

    shape: Shape
    buckets: dict[int, Bucket] = {}
    entries: list[tuple[Micros, str]] = []
    """(at, event id), ascending."""

    def __len__(self) -> int:
        return len(self.entries)

    def twin(self) -> Window:
        """Return an equal window that changes on its own."""
        buckets = {number: copy(bucket) for number, bucket in self.buckets.items()}
        return Window(self.shape, buckets, self.entries.copy())

    def insert(self, at: Micros, event_id: str, rank: int) -> None:
        """
        Take in an event whose source may reach the severity `rank`.

        A repeated event changes nothing while its entry is kept. One that its cell has dropped can't be told from a new
        one and would add to `count`, and to nothing else: triggers and severity are minima and maxima. The store
        removes duplicates before, and `count` only informs.
        """
        entry, entries = (at, event_id), self.entries
        if not entries or entry > entries[-1]:
            entries.append(entry)
        else:
            place = bisect_left(entries, entry)
            if entries[place] == entry:
                return
            entries.insert(place, entry)
        number = at // self.shape.suppress
        bucket = self.buckets.get(number)
        if bucket is None:
            bucket = self.buckets[number] = Bucket()
        bucket.count += 1
        bucket.rank = max(bucket.rank, rank)
        if len(entries) > 2 * self.shape.threshold:
            self._trim(at)

    def _trim(self, at: Micros) -> None:
        """Keep the first N and the last N entries of the cell that `at` lies in; at most one is too many."""
        entries, kept, cell = self.entries, self.shape.threshold, self.shape.cell
        start = at - at % cell
        first = bisect_left(entries, (start,))
        beyond = first + 2 * kept
        if beyond < len(entries) and entries[beyond][0] < start + cell:
            del entries[first + kept]

    def judge(self, times: Iterable[Micros]) -> set[int]:
        """
        Apply the definition to every event that one of these times can have made trigger.

        Args:
            times: Of events inserted or repeated; one at t can complete only windows that end in [t, t + T).

        Returns:
            The buckets in which such an event triggers.
        """
        entries, timespan, back = self.entries, self.shape.timespan, self.shape.threshold - 1
        found: set[int] = set()
        place = back
        for at in sorted(times):
            place = max(place, bisect_left(entries, (at,)))
            while place < len(entries) and entries[place][0] < at + timespan:
                time = entries[place][0]
                if place >= back and time - entries[place - back][0] < timespan:
                    found.add(self._note(time))
                place += 1
        return found

    def _note(self, time: Micros) -> int:
        number = time // self.shape.suppress
        bucket = self.buckets[number]
        if bucket.first is None:
            bucket.first = bucket.last = time
        elif time < bucket.first:
            bucket.first = time
        elif time > bucket.last:
            bucket.last = time
        return number

    def forget(self, number: int) -> None:
        """Drop every bucket before this one, with its events."""
        del self.entries[: bisect_left(self.entries, (number * self.shape.suppress,))]
        for old in [bucket for bucket in self.buckets if bucket < number]:
            del self.buckets[old]
