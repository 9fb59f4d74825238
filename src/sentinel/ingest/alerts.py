"""
Alerts of other systems become events: Alertmanager's webhook (version 4), and a generic one.

An alert is somebody's claim: it is kept and shown, and causes no action (decisions, B6). One of our own alerts is only
noted (`audit_log`), for if it counted as a violation, the count would raise the next alert.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from sentinel.errors import RejectedEvent
from sentinel.model import Event, EventType, Severity

__all__ = ["alert_events", "ended"]

_MAX_ALERTS = 1_000
_TEXT = 1_000
_LABELS = 64
_SEVERITIES = {severity.value: severity for severity in Severity} | {
    "info": Severity.LOW,
    "warning": Severity.MEDIUM,
    "page": Severity.CRITICAL,
}
_OWN_JOB = "sentinel"


class _Alert(msgspec.Struct):
    status: str
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    startsAt: str = ""  # noqa: N815 - Alertmanager's spelling
    fingerprint: str = ""


class _Alertmanager(msgspec.Struct):
    version: str
    alerts: list[_Alert]


class _Generic(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    severity: str
    description: str = ""
    source: str = ""
    id: str = ""


def alert_events(body: bytes, now: datetime, new_id: Callable[[], str]) -> list[Event]:
    """
    Return the events of a webhook's body; the same alert in the same state has the same id, so it counts once.

    Raises:
        RejectedEvent: The body is neither form; says what is wrong and quotes nothing of it.
    """
    try:
        raw = msgspec.json.decode(body)
        if isinstance(raw, dict) and "alerts" in raw:
            sent = msgspec.convert(raw, _Alertmanager)
            return [_of_alertmanager(alert, now) for alert in _bounded(sent).alerts]
        return [_of_generic(msgspec.convert(raw, _Generic), now, new_id)]
    except msgspec.ValidationError as err:
        raise RejectedEvent(str(err)) from None
    except (ValueError, RecursionError):
        raise RejectedEvent("the body is no object in JSON and UTF-8") from None


def ended(events: Iterable[Event]) -> list[str]:
    """Return the ids of the events by which alerts began that are over now, our own left aside."""
    theirs = (event.details for event in events if event.event_type is EventType.THREAT_DETECTION)
    return [said["firing_event_id"] for said in theirs if said["status"] == "resolved"]


def _bounded(sent: _Alertmanager) -> _Alertmanager:
    if sent.version != "4":
        raise RejectedEvent("`version` must be 4, Alertmanager's present one")
    if len(sent.alerts) > _MAX_ALERTS:
        raise RejectedEvent(f"a webhook carries at most {_MAX_ALERTS} alerts")
    if any(alert.status not in {"firing", "resolved"} for alert in sent.alerts):
        raise RejectedEvent("the status of an alert is firing or resolved")
    return sent


def _of_alertmanager(alert: _Alert, now: datetime) -> Event:
    own = alert.labels.get("job") == _OWN_JOB or alert.labels.get("origin") == _OWN_JOB
    details: dict[str, Any] = {
        "operation": "alert",
        "alert": alert.labels.get("alertname", "unnamed")[:_TEXT],
        "status": alert.status,
        "source": "alertmanager",
        "labels": {name[:_TEXT]: value[:_TEXT] for name, value in sorted(alert.labels.items())[:_LABELS]},
        "summary": alert.annotations.get("summary", "")[:_TEXT],
        "starts_at": alert.startsAt[:_LABELS],
    }
    fingerprint = alert.fingerprint or _digest(*(f"{name}={value}" for name, value in sorted(alert.labels.items())))
    firing, this = (f"alert-{_digest(fingerprint, alert.startsAt, state)}" for state in ("firing", alert.status))
    if alert.status == "resolved":
        details["firing_event_id"] = firing
    return Event(
        event_id=this,
        event_type=EventType.AUDIT_LOG if own else EventType.THREAT_DETECTION,
        severity=_severity(alert.labels.get("severity", "")) if alert.status == "firing" else Severity.LOW,
        timestamp=now,
        details=details,
    )


def _of_generic(alert: _Generic, now: datetime, new_id: Callable[[], str]) -> Event:
    details = {
        "operation": "alert",
        "alert": alert.title[:_TEXT],
        "status": "firing",
        "source": alert.source[:_TEXT] or "webhook",
        "summary": alert.description[:_TEXT],
    }
    return Event(
        event_id=f"alert-{_digest(alert.source, alert.id)}" if alert.id else new_id(),
        event_type=EventType.THREAT_DETECTION,
        severity=_severity(alert.severity),
        timestamp=now,
        details=details,
    )


def _severity(word: str) -> Severity:
    """Return ours for a foreign word; what is unknown is low, so that a stranger's word wakes nobody."""
    found = _SEVERITIES.get(word.lower(), Severity.LOW)
    return Severity.LOW if found is Severity.INFO else found


def _digest(*parts: str) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]
