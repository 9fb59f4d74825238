"""Anomalies as events, which rules can correlate, and as rows for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sentinel.detection.baseline.anomaly import Anomaly
from sentinel.detection.baseline.metrics import SERVICE, USER
from sentinel.model import Event, EventType, StoredEvent, iso

__all__ = ["anomaly_event", "anomaly_row"]

_PREFIX: Final = "anomaly-"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def anomaly_event(anomaly: Anomaly) -> Event:
    """Return an anomaly as an event about its entity, with all that is known of it in the details."""
    return Event(
        event_id=f"{_PREFIX}{anomaly.id}",
        event_type=EventType.ANOMALY,
        severity=anomaly.severity,
        timestamp=_EPOCH + timedelta(microseconds=anomaly.at),
        user_id=anomaly.entity if anomaly.entity_type == USER else None,
        service_name=anomaly.entity if anomaly.entity_type == SERVICE else None,
        details={
            "entity": anomaly.entity,
            "entity_type": anomaly.entity_type,
            "metric": anomaly.metric,
            "type": anomaly.type.value,
            "method": anomaly.method,
            "n": anomaly.n,
            "expected": anomaly.expected,
            "observed": anomaly.observed,
            "score": anomaly.score,
            "reason": anomaly.reason,
        },
    )


def anomaly_row(stored: StoredEvent) -> dict[str, object]:
    """Return an anomaly as every list shows it (decisions, A7)."""
    event, details = stored.event, stored.event.details
    return {
        "id": event.event_id.removeprefix(_PREFIX),
        "entity": details["entity"],
        "entity_type": details["entity_type"],
        "metric": details["metric"],
        "type": details["type"],
        "method": details["method"],
        "n": details["n"],
        "expected": details["expected"],
        "observed": details["observed"],
        "score": details["score"],
        "severity": event.severity.value,
        "at": iso(stored.at),
        "reason": details["reason"],
    }
