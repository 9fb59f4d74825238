"""Incidents in the shape of OCSF's Incident Finding (class 2005), for other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sentinel.detection.incidents import suggestion
from sentinel.model import Incident, IncidentStatus, Micros, Severity, Signal
from sentinel.storage import Note

__all__ = ["incident_finding"]

VERSION = "1.5.0"
"""Of the OCSF schema: https://schema.ocsf.io/1.5.0/classes/incident_finding."""

_CLASS, _CATEGORY = 2005, 2
_SEVERITY = {Severity.INFO: 1, Severity.LOW: 2, Severity.MEDIUM: 3, Severity.HIGH: 4, Severity.CRITICAL: 5}
_STATUS = {
    IncidentStatus.OPEN: (1, "New"),
    IncidentStatus.ACKNOWLEDGED: (2, "In Progress"),
    IncidentStatus.CLOSED: (5, "Closed"),
}
_PRIORITY = {1: "Low", 2: "Medium", 3: "High", 4: "Critical"}
_RULE = 1  # type_id of an analytic


def incident_finding(
    incident: Incident, signals: Sequence[Signal], notes: Sequence[Note], now: Micros, product_version: str
) -> dict[str, Any]:
    """
    Return an incident as an Incident Finding.

    Args:
        incident: What it is about.
        signals: Its signals, each a finding.
        notes: What people said of it; the last one is the comment.
        now: When it is exported, microseconds.
        product_version: Ours.
    """
    activity = 3 if incident.status is IncidentStatus.CLOSED else 2 if notes or incident.assignee else 1
    status_id, status = _STATUS[incident.status]
    priority = min(max(_SEVERITY[incident.severity] - 1, 1), 4)
    finding: dict[str, Any] = {
        "activity_id": activity,
        "activity_name": {1: "Create", 2: "Update", 3: "Close"}[activity],
        "category_uid": _CATEGORY,
        "category_name": "Findings",
        "class_uid": _CLASS,
        "class_name": "Incident Finding",
        "type_uid": _CLASS * 100 + activity,
        "time": now // 1000,
        "severity_id": _SEVERITY[incident.severity],
        "severity": incident.severity.value.capitalize(),
        "status_id": status_id,
        "status": status,
        "priority_id": priority,
        "priority": _PRIORITY[priority],
        "confidence_score": round(100 * incident.confidence),
        "start_time": incident.first // 1000,
        "end_time": incident.last // 1000,
        "desc": f"{incident.subject}: {', '.join(incident.threat_types) or 'signals'}",
        "message": suggestion(incident),
        "metadata": {
            "version": VERSION,
            "profiles": ["incident"],
            "uid": incident.id,
            "product": {"name": "Sentinel", "vendor_name": "Sentinel", "version": product_version},
        },
        "finding_info_list": [_finding_info(signal) for signal in signals],
        # The schema wants one of the two; who has not been chosen yet is the team.
        **(
            {"assignee": {"name": incident.assignee}}
            if incident.assignee
            else {"assignee_group": {"name": "security-team"}}
        ),
        "observables": _observables(signals),
    }
    if notes:
        finding["comment"] = notes[-1].note
    return finding


def _finding_info(signal: Signal) -> dict[str, Any]:
    return {
        "uid": signal.id,
        "title": signal.title,
        "types": [signal.threat_type.value] if signal.threat_type else [],
        "first_seen_time": signal.first // 1000,
        "last_seen_time": signal.last // 1000,
        "related_events_count": signal.count,
        "analytic": {"name": signal.title, "uid": signal.rule, "type_id": _RULE, "type": "Rule"},
    }


_OBSERVABLES: Mapping[str, tuple[int, str]] = {
    "ip": (2, "IP Address"),
    "user": (4, "User Name"),
    "session": (10, "Resource UID"),
}


def _observables(signals: Sequence[Signal]) -> list[dict[str, Any]]:
    subjects = sorted({(signal.subject_type.value, signal.subject) for signal in signals})
    return [
        {"name": kind, "type_id": _OBSERVABLES[kind][0], "type": _OBSERVABLES[kind][1], "value": name}
        for kind, name in subjects
        if kind in _OBSERVABLES
    ]
