"""
Counters and histograms that count in plain dictionaries and turn into metrics only when they are read.

`prometheus_client`'s own take a lock and look their child up at each increment, which together is as long as all that
is to be found out about an event. One thread counts; another may read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, product

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

__all__ = ["OTHER", "Counts", "Learned", "Spreads", "closed"]

OTHER = "other"
"""What stands for a value that is on no list, and for none at all."""

_MOST_SETS = 2_000
"""Label sets of one metric; beyond them, what is open in new ones is `other`. Caps of the single labels multiply."""
_LONGEST = 100
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/{}<>*-")

Key = tuple[str, ...]


def closed(*values: str) -> dict[str, str]:
    """Return a closed list as a table to look values up in, with `OTHER` for the rest."""
    return {value: value for value in values}


class Learned:
    """
    The values of an open label: those given, then those seen first, up to a number; `other` for the rest.

    Args:
        most: How many values there may be.
        given: Known from the start.
    """

    def __init__(self, most: int, given: Iterable[str] = ()) -> None:
        self._most = most
        self._known = {name: name for name in given}

    def __call__(self, value: object) -> str:
        """Return the label for a value that somebody sent."""
        if value.__class__ is not str:
            return OTHER
        known = self._known.get(value)
        return known if known is not None else self._learn(str(value))

    def __iter__(self) -> Iterator[str]:
        """Yield `other` and the values that there are."""
        yield OTHER
        yield from self._known

    def _learn(self, value: str) -> str:
        if len(self._known) >= self._most or not 0 < len(value) <= _LONGEST or not _PLAIN.issuperset(value):
            return OTHER  # a name of a table or a route is short and plain; what is not may be anybody's text
        self._known[value] = value
        return value


class Counts:
    """
    A counter with labels.

    Args:
        name: Without `_total`.
        told: What it counts.
        labels: Their names.
        registry: Where it is registered.
        start: The values of each label that are known beforehand: all their combinations start at 0.
        still_open: Names of the labels whose values are learned.
    """

    def __init__(
        self,
        name: str,
        told: str,
        labels: Sequence[str],
        registry: CollectorRegistry,
        *,
        start: Sequence[Iterable[str]],
        still_open: Iterable[str] = (),
    ) -> None:
        self._name, self._told, self._labels = name, told, tuple(labels)
        self._open = frozenset(self._labels.index(label) for label in still_open)
        self._by: dict[Key, float] = dict.fromkeys(product(*start), 0.0)
        self._most = max(_MOST_SETS, len(self._by))
        registry.register(self)

    def add(self, key: Key, amount: float = 1.0) -> None:
        """Count something with these labels, in the order of their names."""
        by = self._by
        if key in by:
            by[key] += amount
        else:
            self._first(key, amount)

    def _first(self, key: Key, amount: float) -> None:
        if len(self._by) >= self._most:
            key = tuple(OTHER if place in self._open else value for place, value in enumerate(key))
        self._by[key] = self._by.get(key, 0.0) + amount

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the present state, for a registry."""
        family = CounterMetricFamily(self._name, self._told, labels=self._labels)
        for key, amount in list(self._by.items()):
            family.add_metric(key, amount)
        yield family


class Spreads:
    """
    A histogram with labels.

    Args:
        name: Of the metric.
        told: What it measures.
        labels: Their names.
        registry: Where it is registered.
        bounds: Upper bounds of the buckets, ascending, in the metric's unit; the last, infinity, is added.
        start: As in `Counts`.
    """

    def __init__(
        self,
        name: str,
        told: str,
        labels: Sequence[str],
        registry: CollectorRegistry,
        *,
        bounds: Sequence[float],
        start: Sequence[Iterable[str]],
    ) -> None:
        self._name, self._told, self._labels, self._bounds = name, told, tuple(labels), tuple(bounds)
        self._counts: dict[Key, list[int]] = {}
        """How many lay above the bound before and at most at this one; then those above all."""
        self._sums: dict[Key, float] = {}
        self._keys: dict[str, Key] = {}
        """Of single labels."""
        self._of_zero = bisect_left(self._bounds, 0.0)
        for key in product(*start):
            self.begin(key)
        registry.register(self)

    def begin(self, key: Key) -> None:
        """Show these labels, at 0 until a value comes."""
        if key not in self._counts:
            self._sums[key] = 0.0
            self._counts[key] = [0] * (len(self._bounds) + 1)

    def observe(self, key: Key, value: float) -> None:
        """Count a value with these labels."""
        if key not in self._counts:
            self.begin(key)
        self._counts[key][bisect_left(self._bounds, value)] += 1
        self._sums[key] += value

    def observe_each(self, values: Iterable[tuple[str, float]]) -> None:
        """Count values, each with its label, where there is one label; most of them may be 0."""
        counts = self._counts
        for label, value in values:
            key = self._keys.get(label) or self._keys.setdefault(label, (label,))
            if value or key not in counts:
                self.observe(key, value)
            else:
                counts[key][self._of_zero] += 1

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the present state, for a registry."""
        family = HistogramMetricFamily(self._name, self._told, labels=self._labels)
        bounds = [*map(str, self._bounds), "+Inf"]
        for key, counts in list(self._counts.items()):
            family.add_metric(key, list(zip(bounds, accumulate(counts), strict=True)), self._sums[key])
        yield family
