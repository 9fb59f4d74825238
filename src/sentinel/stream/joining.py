"""
Signals -> incidents, over all subjects that events join (decisions, H4).

Links between subjects are kept in memory for late hours, and stored as soon as one of the two has a signal: before that
nobody asks for them. Whichever comes last, the signal or the event that joins, finds the other; so the order in which
they come can't matter. Components only grow: what is in one incident stays together, so only the neighbours of what is
new must be looked at, and an incident whose signals are in another one is gone for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sentinel.detection.incidents import INCIDENT_GAP, incidents_of, node_of
from sentinel.detection.links import HOUR, Link, Links, Node
from sentinel.model import Incident, Micros, Signal, StoredEvent
from sentinel.storage import Outcome, Store

__all__ = ["Joiner"]

_MOST_HOT = 100_000  # subjects with signals of late that are known without asking the store
_RECENT: Micros = 26 * HOUR  # anomalies of a day are judged at its end
_MOST_ASKED = 5_000  # neighbours; of more, only those that had signals of late are asked for
_MARGIN: Micros = HOUR

_Known = dict[str, tuple[Signal, str | None]]
"""Signals by id, each with the id of the incident that it is in."""


class Joiner:
    """Finds the incidents that signals are in; reads the store, and writes nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.links = Links()
        self._hot: dict[Node, None] = {}
        self._fresh: list[Link] = []

    async def load(self) -> None:
        """Take up who has had signals of late."""
        latest = await self._store.latest_signal()
        for node in await self._store.subjects_since(latest - _RECENT, _MOST_HOT):
            self._hot.setdefault(node)

    def see(self, events: Iterable[StoredEvent]) -> None:
        """Take in events that are judged, each once; links to somebody with signals wait for the next outcome."""
        self._fresh += [link for link in self.links.add(events) if link[0] in self._hot or link[1] in self._hot]

    @property
    def waiting(self) -> bool:
        """Whether links wait to be stored."""
        return bool(self._fresh)

    def written(self, outcome: Outcome) -> None:
        """Forget what waited: it is durable."""
        stored = set(outcome.links)
        self._fresh = [link for link in self._fresh if link not in stored]

    async def join(self, fresh: Mapping[str, Signal], outcome: Outcome) -> dict[str, tuple[int, Incident]]:
        """
        Return by signal id the incident that each fresh signal is in, and how many its subject had before it.

        Args:
            fresh: Signals of a batch, by id.
            outcome: Gets new signals, incidents, and the links that must be kept.
        """
        nodes = {node_of(signal) for signal in fresh.values()}
        for node in nodes:
            self._hot[node] = self._hot.pop(node, None)
        while len(self._hot) > _MOST_HOT:
            del self._hot[next(iter(self._hot))]
        joining = list(self._fresh)
        nodes |= {node for link in joining for node in link[:2]}
        if not nodes:
            return {}
        times = [(signal.first, signal.last) for signal in fresh.values()]
        times += [(hour * HOUR, (hour + 1) * HOUR) for _, _, hour in joining]
        start = min(first for first, _ in times) - INCIDENT_GAP - _MARGIN
        end = max(last for _, last in times) + INCIDENT_GAP + _MARGIN
        known = await self._signals_of(nodes)
        for signal in fresh.values():
            known[signal.id] = (signal, known.get(signal.id, (signal, None))[1])
        alive = {node_of(signal) for signal, _ in known.values()}
        kept = await self._store.links_of(alive, start // HOUR, end // HOUR)
        held = self.links.of(alive, start, end)
        outcome.links = sorted(held - kept | set(joining))
        links = held | kept | set(joining)
        near = known | await self._signals_of(self._neighbours(links) - nodes)
        whole = await self._whole({key: found for key, found in near.items() if _overlaps(found[0], start, end)})
        return _joined(fresh, known, whole, links, outcome)

    def _neighbours(self, links: set[Link]) -> set[Node]:
        found = {node for link in links for node in link[:2]}
        return found if len(found) <= _MOST_ASKED else found & self._hot.keys()

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
    past: dict[Node, list[tuple[Micros, str]]] = {}
    for key, (signal, incident_id) in known.items():
        now = incident_of[key].id if key in incident_of else incident_id
        past.setdefault(node_of(signal), []).append((signal.first, str(now)))
    return {key: (_earlier(past[node_of(signal)], incident_of[key]), incident_of[key]) for key, signal in fresh.items()}


def _earlier(past: Iterable[tuple[Micros, str]], incident: Incident) -> int:
    """Return in how many incidents a subject was before this one."""
    mine = list(past)
    begun = min(first for first, name in mine if name == incident.id)
    return len({name for first, name in mine if first < begun} - {incident.id})


def _overlaps(signal: Signal, start: Micros, end: Micros) -> bool:
    return signal.first <= end and signal.last >= start
