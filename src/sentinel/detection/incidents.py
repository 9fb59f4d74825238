"""Incidents: the connected components of signals, of one subject or of several that events join."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

from sentinel.detection.growth import INCIDENT_GAP, Sum, node_of
from sentinel.detection.links import HOUR, Link, Node
from sentinel.model import Incident, Micros, Severity, Signal, ThreatType

__all__ = ["INCIDENT_GAP", "components_of", "incident_of", "node_of", "rank_of", "suggestion"]

_WEIGHTS = {Severity.INFO: 0.05, Severity.LOW: 0.15, Severity.MEDIUM: 0.4, Severity.HIGH: 0.9, Severity.CRITICAL: 1.6}


def components_of(
    signals: Iterable[Signal],
    links: Iterable[Link] = (),
) -> list[list[Signal]]:
    """
    Return the signals of each incident, earliest first.

    Two signals are neighbours when the time between them is at most G, and they are about one subject or about two that
    an event carries, at most G away from both. An incident is a connected component. It is a function of the
    sets of signals and links alone, its id included, so the order in which they came can't matter.

    Args:
        signals: Any order.
        links: Between their subjects; others do no harm.
    """
    ordered = sorted(signals, key=lambda signal: (signal.first, signal.id))
    joined = _Joined(len(ordered))
    by_node: dict[Node, list[int]] = defaultdict(list)
    for place, signal in enumerate(ordered):
        by_node[node_of(signal)].append(place)
    for places in by_node.values():
        _join_runs(ordered, places, joined)
    roots = {node: joined.common_root(places) for node, places in by_node.items()}
    for (one, other), hours in _by_pair(links).items():
        if one not in by_node or other not in by_node or (roots[one] is not None and roots[one] == roots[other]):
            continue  # nearly all links join nobody, or what is together already
        if not joined.all_one(by_node[one], by_node[other]):
            for hour in hours:
                _join_near(ordered, by_node[one], by_node[other], hour, joined)
    components: dict[int, list[Signal]] = defaultdict(list)
    for place, signal in enumerate(ordered):
        components[joined.root(place)].append(signal)
    return list(components.values())


class _Joined:
    """Disjoint sets; the root of each is its smallest member."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def root(self, place: int) -> int:
        while self._parents[place] != place:
            self._parents[place] = place = self._parents[self._parents[place]]
        return place

    def common_root(self, places: Iterable[int]) -> int | None:
        """Return the root of these if they are in one set, else None."""
        roots = {self.root(place) for place in places}
        return roots.pop() if len(roots) == 1 else None

    def all_one(self, some: Iterable[int], others: Iterable[int]) -> bool:
        """Whether all of these are in one set already."""
        return self.common_root(chain(some, others)) is not None

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first


def _join_runs(signals: Sequence[Signal], places: Sequence[int], joined: _Joined) -> None:
    """Join the signals of one subject that follow each other within the gap."""
    end, before = -math.inf, -1
    for place in places:
        if signals[place].first - end <= INCIDENT_GAP:
            joined.join(before, place)
        end, before = max(end, signals[place].last), place


def _by_pair(links: Iterable[Link]) -> dict[tuple[Node, Node], list[int]]:
    pairs: dict[tuple[Node, Node], list[int]] = defaultdict(list)
    for one, other, hour in links:
        pairs[one, other].append(hour)
    return pairs


def _join_near(
    signals: Sequence[Signal], some: Iterable[int], others: Iterable[int], hour: int, joined: _Joined
) -> None:
    """Join the signals of two subjects that an event of this hour carried, where they are near it and each other."""
    start, end = hour * HOUR - INCIDENT_GAP, (hour + 1) * HOUR + INCIDENT_GAP
    near = [[n for n in places if signals[n].last >= start and signals[n].first < end] for places in (some, others)]
    for here in near[0]:
        for there in near[1]:
            if _apart(signals[here], signals[there]) <= INCIDENT_GAP:
                joined.join(here, there)


def _apart(one: Signal, other: Signal) -> Micros:
    return max(one.first - other.last, other.first - one.last, 0)


def incident_of(signals: Iterable[Signal]) -> Incident:
    """Return the incident that these signals make together."""
    found = Sum()
    for signal in signals:
        found.take(signal)
    return found.incident()


def rank_of(incident: Incident) -> float:
    """
    Return how urgent an incident is, from 0 to 100: its severity first, then how many kinds of threat it shows.

    A single high signal makes some 55; several kinds by one subject rise above any single one of the same severity.
    """
    kinds = max(len(incident.threat_types), 1)
    weight = _WEIGHTS[incident.severity] * incident.confidence * (1 + 0.4 * (kinds - 1))
    return round(100 * (1 - math.exp(-weight - 0.05 * math.log(incident.size))), 1)


_SUGGESTIONS = {
    ThreatType.DATA_EXFILTRATION: "suspend {subject}, and find out where the data went",
    ThreatType.SESSION_HIJACKING: "end the sessions of {subject}, and let the password be changed",
    ThreatType.CREDENTIAL_STUFFING: "lock the accounts that were entered, and let their passwords be changed",
    ThreatType.BRUTE_FORCE: "block {subject}, and look for a login that succeeded",
    ThreatType.PRIVILEGE_ESCALATION: "take back the rights of {subject} until it is clear who asked",
    ThreatType.INSIDER_THREAT: "look at the timeline with whoever leads {subject}, before you ask",
    ThreatType.ANOMALOUS_ACCESS: "ask {subject} whether it was them",
    ThreatType.AUTOMATED_ATTACK: "limit {subject}, and look for what runs there",
    ThreatType.RATE_LIMIT_ABUSE: "limit {subject}",
    ThreatType.SUSPICIOUS_PATTERNS: "look at the events of {subject}",
}


def suggestion(incident: Incident) -> str:
    """Return what to do first, in words: for the most dangerous of its threats."""
    threat = next((threat for threat in _SUGGESTIONS if threat in incident.threat_types), None)
    return "look at the signals" if threat is None else _SUGGESTIONS[threat].format(subject=incident.subject)
