"""Incidents: the connected components of a subject's signals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from sentinel.model import Incident, Micros, Signal

__all__ = ["INCIDENT_GAP", "incidents_of"]

INCIDENT_GAP: Micros = 3600 * 1_000_000
"""G of the decisions, part H: signals further apart than this belong to different incidents."""


def incidents_of(signals: Iterable[Signal], gap: Micros = INCIDENT_GAP) -> list[Incident]:
    """
    Return the incidents that one subject's signals form, earliest first.

    Two signals are neighbours when the time between them is at most `gap`; an incident is a connected component. It is
    a function of the set of signals alone, its id included, so the order in which they came can't matter.

    Args:
        signals: All about one subject, any order.
        gap: Largest time between neighbours, in microseconds.
    """
    components: list[list[Signal]] = []
    end: Micros = 0
    for signal in sorted(signals, key=lambda signal: (signal.first, signal.id)):
        if components and signal.first - end <= gap:
            components[-1].append(signal)
            end = max(end, signal.last)
        else:
            components.append([signal])
            end = signal.last
    return [_incident(component) for component in components]


def _incident(signals: Sequence[Signal]) -> Incident:
    first = signals[0]
    name = f"incident\0{first.subject_type}\0{first.subject}\0{first.id}"
    return Incident(
        id=hashlib.blake2b(name.encode(), digest_size=16).hexdigest(),
        subject=first.subject,
        subject_type=first.subject_type,
        severity=max((signal.severity for signal in signals), key=lambda severity: severity.rank),
        confidence=max(signal.confidence for signal in signals),
        first=first.first,
        last=max(signal.last for signal in signals),
        signals=tuple(signal.id for signal in signals),
        threat_types=tuple(sorted({signal.threat_type for signal in signals if signal.threat_type})),
    )
