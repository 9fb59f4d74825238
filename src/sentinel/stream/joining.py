"""
Signals -> incidents, over all subjects that events join (decisions, H4).

Links between subjects are kept in memory, and stored as soon as one of the two has a signal: before that nobody asks
for them. What the store knows of an hour is taken up once, when events or signals first touch it, and what it knows of
a subject when that has its first signal. Whichever comes last, the signal or the event that joins, finds the other; so
the order in which they come can't matter, as long as memory holds the links of subjects that have no signal yet.

Components only grow: what is in one incident stays together, so only the neighbours of what is new must be looked at,
and an incident whose signals are in another one is gone for good. What must be known of the others is kept in hand
(`detection.growth`), so that a stretch of events costs what it adds and not what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sentinel.detection.growth import INCIDENT_GAP, Growth, Sum, node_of
from sentinel.detection.links import HOUR, Link, Links, Node
from sentinel.model import Incident, Signal, StoredEvent
from sentinel.storage import Outcome, Store

__all__ = ["Joiner", "earlier_incidents"]

_MOST_HOT = 100_000  # subjects that are known to have signals
_MOST_BYTES = 32 << 20  # of subjects and incidents in hand
_EVER = range(-(2**31), 2**31)  # hours


class Joiner:
    """Finds the incidents that signals are in; reads the store, and writes nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.links = Links()
        self._hot: dict[Node, None] = {}
        self._new: set[Node] = set()
        """Had their first signal, and their links aren't stored."""
        self._fresh: list[Link] = []
        self._touched: set[int] = set()
        self._taken_up: set[int] = set()
        self._growth: Growth | None = None
        """What is known of the incidents, as it is stored."""
        self._unwritten: Growth | None = None
        """The same with what the last outcome adds, which counts once that is stored."""

    def see(self, events: Sequence[StoredEvent]) -> None:
        """Take in events that are judged, each once; links to somebody with signals wait for the next outcome."""
        self._touched |= {event.at // HOUR for event in events}
        self._fresh += [link for link in self.links.add(events) if link[0] in self._hot or link[1] in self._hot]
        self.links.shrink(self._hot.keys())

    def written(self, outcome: Outcome) -> None:
        """Forget what waited: it is durable."""
        stored = set(outcome.links)
        self._fresh = [link for link in self._fresh if link not in stored]
        self._new.clear()
        if self._unwritten is not None:
            self._growth, self._unwritten = self._unwritten, None
            self._growth.shrink(_MOST_BYTES)

    def forget(self) -> None:
        """Ask the store again: signals were deleted there."""
        self._growth = self._unwritten = None

    async def join(self, fresh: Mapping[str, Signal], outcome: Outcome) -> dict[str, tuple[int, Incident]]:
        """
        Return by signal id the incident that each fresh signal is in, and how many its subject had before it.

        Args:
            fresh: Signals of a batch, by id.
            outcome: Gets new signals, incidents, and the links that must be kept.
        """
        nodes = {node_of(signal) for signal in fresh.values()}
        hours = {hour for signal in fresh.values() for hour in _hours(signal)}
        await self._take_up(self._touched.union(hours))
        begun = nodes - self._hot.keys()
        await self._begin(begun)
        for node in nodes:  # who had a signal last goes last
            self._hot[node] = self._hot.pop(node)
        while len(self._hot) > _MOST_HOT:
            del self._hot[next(iter(self._hot))]
        joining = set(self._fresh)
        outcome.links = sorted(joining | self.links.all_of(self._new))
        nodes |= {node for link in joining for node in link[:2]}
        if not nodes:
            return {}
        growth = self._unwritten = self._growth or Growth()
        self._growth = None
        await self._fetch(growth, nodes)
        outcome.new_signals += [signal for signal in fresh.values() if not growth.knows(signal)]
        links = set(joining)
        for signal in fresh.values():
            node = node_of(signal)
            if growth.add(signal) or node in begun:
                for hour in _hours(signal):
                    beside = self.links.beside(node, hour, self._hot.keys())
                    links.update((node, other, hour) for other in growth.unjoined(node, beside))
        await self._fetch(growth, {node for link in links for node in link[:2]})
        for link in links:
            growth.connect(link)
        return _settled(fresh, growth, outcome)

    async def _fetch(self, growth: Growth, nodes: Iterable[Node]) -> None:
        """Take up what the store knows of subjects that are not in hand, and of the incidents that they are in."""
        lacking = growth.lacking(nodes)
        if not lacking:
            return
        found = await self._store.signals_of([(name, kind) for kind, name in lacking])
        mine = {
            (kind, name): [(signal, incident_id) for signal, incident_id in known if incident_id is not None]
            for (name, kind), known in found.items()
        }
        incidents = growth.lacking_sums(incident_id for known in mine.values() for _, incident_id in known)
        growth.put_sums(await self._store.signals_together(incidents))
        for node in lacking:
            growth.put(node, mine.get(node, []))

    async def _begin(self, nodes: set[Node]) -> None:
        """Take in subjects that have their first signal: what joins them to others counts from now on."""
        stored = await self._store.links_of(nodes, _EVER)
        self._new |= nodes
        self._hot |= dict.fromkeys(nodes)
        self._merge(stored)

    async def _take_up(self, hours: Iterable[int]) -> None:
        """Make good what this process does not know of hours: who had signals then, and which links are stored."""
        for run in _runs(sorted(set(hours) - self._taken_up)):
            start, end = run.start * HOUR - INCIDENT_GAP, run.stop * HOUR + INCIDENT_GAP
            known = await self._store.subjects_between(start, end, _MOST_HOT)
            stored = await self._store.links_of(known, run)
            for node in known:
                self._hot.setdefault(node)
            self._fresh += self.links.of(self._hot, run, self._hot.keys())  # seen before it was known who had signals
            self._merge(stored)
            self._taken_up.update(run)
        self._touched -= self._taken_up  # more may have been seen meanwhile

    def _merge(self, stored: Iterable[Link]) -> None:
        self.links.merge(link for link in stored if link[0] in self._hot and link[1] in self._hot)


def _settled(fresh: Mapping[str, Signal], growth: Growth, outcome: Outcome) -> dict[str, tuple[int, Incident]]:
    """Add to the outcome what has become of the incidents; returns what `join` does."""
    whole: dict[Sum, Incident] = {}
    for changed, incident, gone in growth.settle():
        whole[changed] = incident
        outcome.incidents.append(incident)
        outcome.incidents_gone |= dict.fromkeys(gone, incident.id)
    joined = {}
    for key, signal in fresh.items():
        earlier, found = growth.incident_of(signal)
        joined[key] = earlier, whole[found]
    outcome.incident_of |= {signal.id: joined[signal.id][1].id for signal in outcome.new_signals}
    return joined


def earlier_incidents(past: Iterable[tuple[Signal, str | None]], incident_id: str) -> int:
    """
    Return in how many incidents a subject was before this one.

    Args:
        past: Its signals, each with the id of the incident that it is in; one at least is in this one.
        incident_id: Which it is.
    """
    mine = list(past)
    begun = min(signal.first for signal, name in mine if name == incident_id)
    return len({name for signal, name in mine if signal.first < begun} - {incident_id})


def _hours(signal: Signal) -> range:
    """Return the hours in which events can join a signal to others."""
    return range((signal.first - INCIDENT_GAP) // HOUR - 1, (signal.last + INCIDENT_GAP) // HOUR + 2)


def _runs(hours: Sequence[int]) -> list[range]:
    """Return sorted hours as stretches without gaps."""
    runs: list[range] = []
    for hour in hours:
        if runs and runs[-1].stop == hour:
            runs[-1] = range(runs[-1].start, hour + 1)
        else:
            runs.append(range(hour, hour + 1))
    return runs
