"""
Signals -> incidents, over all subjects that events join (decisions, H4).

Links between subjects are kept in memory for late hours, and stored as soon as one of the two has a signal: before that
nobody asks for them. Whichever comes last, the signal or the event that joins, finds the other; so the order in which
they come can't matter. Components only grow: an incident whose signals are in another one is gone for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sentinel.detection.incidents import INCIDENT_GAP, incidents_of, node_of
from sentinel.detection.links import HOUR, Link, Links, Node
from sentinel.model import Incident, Micros, Signal, StoredEvent
from sentinel.storage import Outcome, Store

__all__ = ["Joiner"]

_MOST_HOT = 100_000  # subjects with signals of late that are known without asking the store
_RECENT: Micros = 26 * HOUR  # anomalies of a day are judged at its end
_MOST_TOGETHER = 500  # subjects with signals looked at for one batch
_ROUNDS = 8
_MARGIN = 2  # hours


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
        first, last = min(start for start, _ in times), max(end for _, end in times)
        known, links, unstored = await self._around(nodes, fresh, first, last)
        outcome.links = sorted(unstored | set(joining))
        return self._incidents(fresh, known, links, joining, outcome)

    async def _around(
        self, nodes: set[Node], fresh: Mapping[str, Signal], first: Micros, last: Micros
    ) -> tuple[dict[Node, list[tuple[Signal, str | None]]], set[Link], set[Link]]:
        """Return the signals of subjects and of those that events join to them, their links, and those not stored."""
        mine: dict[Node, list[Signal]] = {}
        for signal in fresh.values():
            mine.setdefault(node_of(signal), []).append(signal)
        known: dict[Node, list[tuple[Signal, str | None]]] = {}
        links: set[Link] = set()
        unstored: set[Link] = set()
        start, end = first - INCIDENT_GAP - _MARGIN * HOUR, last + INCIDENT_GAP + _MARGIN * HOUR
        frontier = set(nodes)
        for _ in range(_ROUNDS):
            stored = await self._store.signals_of([(name, kind) for kind, name in frontier])
            for node in frontier:
                found = {signal.id: (signal, incident) for signal, incident in stored.get((node[1], node[0]), [])}
                for signal in mine.get(node, ()):
                    found[signal.id] = (signal, found.get(signal.id, (signal, None))[1])
                if found:
                    known[node] = list(found.values())
            alive = [node for node in frontier if node in known]
            kept = await self._store.links_of(alive, start // HOUR, end // HOUR) if alive else set()
            held = self.links.of(alive, start, end)
            unstored |= held - kept
            more = held | kept
            links |= more
            frontier = {node for link in more for node in link[:2]} - known.keys() - nodes
            nodes = nodes | frontier
            if not frontier or len(known) > _MOST_TOGETHER:
                break
        return known, links, unstored

    @staticmethod
    def _incidents(
        fresh: Mapping[str, Signal],
        known: Mapping[Node, Sequence[tuple[Signal, str | None]]],
        links: set[Link],
        joining: Sequence[Link],
        outcome: Outcome,
    ) -> dict[str, tuple[int, Incident]]:
        before = {signal.id: incident for mine in known.values() for signal, incident in mine}
        signals = {signal.id: signal for mine in known.values() for signal, _ in mine}
        stored = {signal_id for signal_id, incident in before.items() if incident is not None}
        outcome.new_signals += [signal for signal in fresh.values() if signal.id not in stored]
        touched = {(node, hour) for one, other, hour in joining for node in (one, other)}
        found: dict[str, tuple[int, Incident]] = {}
        past: dict[Node, set[str]] = {}
        for incident in sorted(incidents_of(signals.values(), links), key=lambda one: (one.first, one.id)):
            mine = [signals[signal_id] for signal_id in incident.signals]
            if any(signal.id in fresh for signal in mine) or any(_lies(signal, touched) for signal in mine):
                changed = {signal.id: incident.id for signal in mine if before[signal.id] != incident.id}
                if changed or any(signal.id in fresh for signal in mine):
                    outcome.incidents.append(incident)
                outcome.incident_of |= changed
                gone = {old for signal in mine if (old := before[signal.id]) is not None} - {incident.id}
                outcome.incidents_gone |= dict.fromkeys(sorted(gone), incident.id)
            for signal in mine:
                earlier = past.setdefault(node_of(signal), set())
                if signal.id in fresh:
                    found[signal.id] = (len(earlier - {incident.id}), incident)
            for signal in mine:
                past[node_of(signal)].add(incident.id)
        return found


def _lies(signal: Signal, touched: set[tuple[Node, int]]) -> bool:
    node = node_of(signal)
    near = range((signal.first - INCIDENT_GAP) // HOUR, (signal.last + INCIDENT_GAP) // HOUR + 1)
    return any((node, hour) in touched for hour in near)
