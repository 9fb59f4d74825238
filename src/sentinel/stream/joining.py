"""
Signals -> incidents, over all subjects that events join (decisions, H4).

Links between subjects are kept in memory, and stored as soon as one of the two has a signal: before that nobody asks
for them. What the store knows of an hour is taken up once, when events or signals first touch it, and what it knows of
a subject when that has its first signal. Whichever comes last, the signal or the event that joins, finds the other; so
the order in which they come can't matter, as long as memory holds the links of subjects that have no signal yet.

Components only grow: what is in one incident stays together, so only the neighbours of what is new must be looked at,
and an incident whose signals are in another one is gone for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sentinel.detection.incidents import INCIDENT_GAP, incidents_of, node_of
from sentinel.detection.links import HOUR, Link, Links, Node
from sentinel.model import Incident, Micros, Signal, StoredEvent
from sentinel.storage import Outcome, Store

__all__ = ["Joiner", "earlier_incidents"]

_MOST_HOT = 100_000  # subjects that are known to have signals
_EVER = range(-(2**31), 2**31)  # hours

_Known = dict[str, tuple[Signal, str | None]]
"""Signals by id, each with the id of the incident that it is in."""


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

    async def join(self, fresh: Mapping[str, Signal], outcome: Outcome) -> dict[str, tuple[int, Incident]]:
        """
        Return by signal id the incident that each fresh signal is in, and how many its subject had before it.

        Args:
            fresh: Signals of a batch, by id.
            outcome: Gets new signals, incidents, and the links that must be kept.
        """
        nodes = {node_of(signal) for signal in fresh.values()}
        hours = _hours((signal.first, signal.last) for signal in fresh.values())
        await self._take_up(self._touched.union(hours))
        await self._begin(nodes - self._hot.keys())
        for node in nodes:  # who had a signal last goes last
            self._hot[node] = self._hot.pop(node)
        while len(self._hot) > _MOST_HOT:
            del self._hot[next(iter(self._hot))]
        joining = set(self._fresh)
        outcome.links = sorted(joining | self.links.all_of(self._new))
        nodes |= {node for link in joining for node in link[:2]}
        if not nodes:
            return {}
        span = _span(hours, {hour for _, _, hour in joining})
        known = await self._signals_of(nodes)
        for signal in fresh.values():
            known[signal.id] = (signal, known.get(signal.id, (signal, None))[1])
        alive = {node_of(signal) for signal, _ in known.values()}
        links = self.links.of(alive, span, self._hot.keys()) | joining
        near = known | await self._signals_of({node for link in links for node in link[:2]} - nodes)
        start, end = span.start * HOUR - INCIDENT_GAP, span.stop * HOUR + INCIDENT_GAP
        whole = await self._whole({key: found for key, found in near.items() if _overlaps(found[0], start, end)})
        return _joined(fresh, known, whole, links, outcome)

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

    async def _signals_of(self, nodes: Iterable[Node]) -> _Known:
        found = await self._store.signals_of([(name, kind) for kind, name in nodes])
        return {signal.id: (signal, incident) for mine in found.values() for signal, incident in mine}

    async def _whole(self, near: _Known) -> _Known:
        """Return these signals with all that are in the same incidents: only new links and signals join those."""
        incidents = sorted({incident for _, incident in near.values() if incident is not None})
        members = await self._store.signals_together(incidents)
        return {signal.id: (signal, incident) for signal, incident in members} | near


def _joined(
    fresh: Mapping[str, Signal], known: _Known, whole: _Known, links: set[Link], outcome: Outcome
) -> dict[str, tuple[int, Incident]]:
    """Add to the outcome what has become of the incidents; returns what `join` does."""
    before = {key: incident for key, (_, incident) in whole.items()}
    together: dict[str, list[str]] = {}
    for key, incident_id in before.items():
        if incident_id is not None:
            together.setdefault(incident_id, []).append(key)
    outcome.new_signals += [signal for key, signal in fresh.items() if before[key] is None]
    incident_of: dict[str, Incident] = {}
    for incident in incidents_of([signal for signal, _ in whole.values()], links, together.values()):
        incident_of |= dict.fromkeys(incident.signals, incident)
        changed = {key: incident.id for key in incident.signals if before[key] != incident.id}
        if changed or not fresh.keys().isdisjoint(incident.signals):
            outcome.incidents.append(incident)
        outcome.incident_of |= changed
        gone = {old for key in changed if (old := before[key]) is not None}
        outcome.incidents_gone |= dict.fromkeys(sorted(gone), incident.id)
    past: dict[Node, list[tuple[Signal, str | None]]] = {}
    for key, (signal, incident_id) in known.items():
        now = incident_of[key].id if key in incident_of else incident_id
        past.setdefault(node_of(signal), []).append((signal, now))
    return {
        key: (earlier_incidents(past[node_of(signal)], incident_of[key].id), incident_of[key])
        for key, signal in fresh.items()
    }


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


def _hours(spans: Iterable[tuple[Micros, Micros]]) -> set[int]:
    """Return the hours in which events can join signals of these times to others."""
    return {
        hour
        for first, last in spans
        for hour in range((first - INCIDENT_GAP) // HOUR - 1, (last + INCIDENT_GAP) // HOUR + 2)
    }


def _span(*hours: set[int]) -> range:
    every = set().union(*hours)
    return range(min(every), max(every) + 1)


def _runs(hours: Sequence[int]) -> list[range]:
    """Return sorted hours as stretches without gaps."""
    runs: list[range] = []
    for hour in hours:
        if runs and runs[-1].stop == hour:
            runs[-1] = range(runs[-1].start, hour + 1)
        else:
            runs.append(range(hour, hour + 1))
    return runs


def _overlaps(signal: Signal, start: Micros, end: Micros) -> bool:
    return signal.first <= end and signal.last >= start
