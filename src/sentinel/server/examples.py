"""The examples of the OpenAPI document; a test holds each against its schema, and sends those that can be sent."""

from __future__ import annotations

from typing import Any

__all__ = ["ANSWERS", "BODIES", "PARAMETERS"]

_S = "/api/v1/security"
_AT = "2026-11-22T12:00:00Z"
_UNTIL = "2026-11-22T13:00:00Z"
_INCIDENT_ID = "9d2c6f0b7a1e4853"
_SIGNAL_ID = "4b1f0c2d9e8a7b6c5d4e3f2a1b0c9d8e"

_EVENT: dict[str, Any] = {
    "event_type": "authentication",
    "severity": "low",
    "timestamp": _AT,
    "user_id": "grace.fox",
    "ip_address": "203.0.113.9",
    "details": {"success": False, "failure_reason": "bad_password"},
}
_SIGNAL: dict[str, Any] = {
    "id": _SIGNAL_ID,
    "rule": "guessing-from-an-address",
    "title": "Many failed logins from an address",
    "subject": "203.0.113.9",
    "subject_type": "ip",
    "group": {"ip_address": "203.0.113.9"},
    "severity": "high",
    "threat_type": "brute_force",
    "confidence": 0.9,
    "bucket": 29_396_880,
    "first": _AT,
    "last": _AT,
    "count": 12,
}
_INCIDENT: dict[str, Any] = {
    "id": _INCIDENT_ID,
    "subject": "203.0.113.9",
    "subject_type": "ip",
    "severity": "high",
    "confidence": 0.9,
    "first": _AT,
    "last": _AT,
    "signals": [_SIGNAL_ID],
    "threat_types": ["brute_force"],
    "status": "open",
    "assignee": None,
    "actions": ["act-0f1e2d3c4b5a69788796a5b4"],
    "rank": 55.5,
    "size": 1,
}
_ANOMALY: dict[str, Any] = {
    "id": "0f1e2d3c4b5a69788796a5b40f1e2d3c",
    "entity": "grace.fox",
    "entity_type": "user",
    "metric": "rows",
    "type": "volumetric",
    "method": "median_mad",
    "n": 9,
    "expected": 120.0,
    "observed": 9000,
    "score": 0.93,
    "severity": "medium",
    "at": _AT,
    "reason": "9,000 rows read or written in an hour, 120 are usual",
}
_LIMITS: dict[str, Any] = {
    "metric": "rows",
    "method": "median_mad",
    "type": "volumetric",
    "entity_type": "user",
    "measures": "rows read or written",
    "enabled": True,
    "report": 0.7,
    "medium": 0.85,
    "high": 0.95,
    "adjusted": True,
}
_ACTION: dict[str, Any] = {
    "id": "act-0f1e2d3c4b5a69788796a5b4",
    "seq": 17,
    "action_type": "ip_block",
    "target": "203.0.113.9",
    "reason": "Many failed logins from an address",
    "severity": "high",
    "status": "active",
    "created_at": _AT,
    "expiration": _UNTIL,
    "auto": True,
    "incident_id": _INCIDENT_ID,
    "evidence": {"count": 12},
    "created_by": "sentinel",
    "simulated": False,
    "enforced_by": ["shop-1"],
}
_CROWDSEC: dict[str, Any] = {
    "id": 184_467_440_737,
    "origin": "sentinel",
    "scenario": "sentinel/strong-signal-on-an-address",
    "scope": "Ip",
    "value": "203.0.113.9",
    "type": "ban",
    "duration": "0h59m30s",
    "uuid": "act-0f1e2d3c4b5a69788796a5b4",
}
_VIOLATION_ID = "01234567-89ab-8def-a123-456789abcdef"
_VIOLATION: dict[str, Any] = {
    "id": _VIOLATION_ID,
    "violation_type": "role",
    "severity": "medium",
    "user_id": "grace.fox",
    "session_id": None,
    "table_name": None,
    "attempted_operation": "read",
    "violation_details": {"granted": False, "resource": "payroll", "action": "read", "violation_type": "role"},
    "ip_address": "203.0.113.9",
    "user_agent": None,
    "blocked": True,
    "resolved": False,
    "resolution_notes": None,
    "created_at": _AT,
    "resolved_at": None,
    "resolved_by": None,
}
_SCORE = {
    "score": 98.0,
    "score_normalized": 99.5,
    "open_violations_last_hour": {"medium": 1},
    "signals_last_hour": {},
    "events_last_hour": 4_000,
}
_TOKEN: dict[str, Any] = {
    "id": "tok-0123456789abcdef",
    "name": "web",
    "role": "ingest",
    "max_severity": "high",
    "may_cause_actions": False,
    "created_at": _AT,
    "expires_at": None,
    "source_cidr": None,
    "revoked_at": None,
}
_THRESHOLD: dict[str, Any] = {
    "rule": "guessing-from-an-address",
    "title": "Many failed logins from an address",
    "counts": "event_count",
    "bound": "gte",
    "value": 10.0,
    "timespan_seconds": 60.0,
    "adjusted": False,
}
_RECEIPT = {
    "accepted": 1,
    "duplicates": 0,
    "late": 0,
    "rejected": [],
    "event_ids": ["evt-0a1b2c3d4e5f60718293a4b5c6d7e8f9"],
}


def _page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None}


BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/v1/scan"): {"prompt": "What's the weather?"},
    ("POST", f"{_S}/events"): _EVENT,
    ("POST", f"{_S}/alerts/webhook"): {"title": "Disk nearly full", "severity": "warning", "source": "node-3"},
    ("POST", f"{_S}/incidents/{{incident_id}}/{{word}}"): {"note": "on it", "assignee": "erin"},
    ("PUT", f"{_S}/baselines"): {"metric": "rows", "medium": 0.85},
    ("POST", f"{_S}/violations/{{violation_id}}/resolve"): {"notes": "the role is given back"},
    ("POST", f"{_S}/dead-letters/replay"): {"seqs": [4711]},
    ("POST", f"{_S}/feedback"): {
        "action_id": _ACTION["id"],
        "verdict": "false_positive",
        "reason": "our own monitoring",
        "suppress_hours": 24.0,
    },
    ("PUT", f"{_S}/thresholds"): {"rule": "guessing-from-an-address", "value": 20.0},
    ("POST", f"{_S}/manual-action"): {
        "action_type": "ip_block",
        "target": "203.0.113.0/24",
        "reason": "scans since noon",
        "duration_hours": 4.0,
    },
    ("POST", f"{_S}/tokens"): {"role": "ingest", "name": "web", "may_cause_actions": True, "expires": "90d"},
    ("POST", f"{_S}/imports"): {"act": False, "lateness_seconds": 3600.0},
}
"""Of what is sent as JSON."""

PARAMETERS: dict[str, Any] = {
    "entity": "grace.fox",
    "incident_id": _INCIDENT_ID,
    "word": "ack",
    "violation_id": _VIOLATION_ID,
    "thing": _SIGNAL_ID,
    "action_id": _ACTION["id"],
    "ip": "203.0.113.9",
    "user_id": "grace.fox",
    "action_type": "ip_block",
    "target": "203.0.113.9",
    "token_id": _TOKEN["id"],
    "import_id": "imp-0123456789abcdef",
}
"""Of what stands in a path."""

ANSWERS: dict[tuple[str, str], Any] = {
    ("GET", "/readyz"): {"ready": True, "reason": None},
    ("GET", f"{_S}/health"): {
        "overall_status": "healthy",
        "timestamp": _AT,
        "components": {
            "security_metrics_service": {"status": "running"},
            "security_event_processor": {"status": "running"},
            "automated_response_service": {"status": "running"},
            "threat_detection_service": {"status": "running"},
        },
    },
    ("POST", "/api/v1/scan"): {
        "is_safe": True,
        "risk_score": 0.02,
        "threat_type": None,
        "triggered_engines": [],
        "findings": [],
        "latency_ms": 0.4,
        "version": "69001df0537a+e512b5f693eb",
        "action": "allow",
        "is_blocked": False,
        "block_reason": None,
        "matched_patterns": [],
        "triggered_layers": [],
        "failed_engines": [],
        "scan_id": "evt-0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "event_stored": True,
    },
    ("POST", f"{_S}/events"): _RECEIPT,
    ("POST", f"{_S}/alerts/webhook"): {"status": "received", "processed_alerts": 1, "duplicates": 0},
    ("GET", f"{_S}/summary"): {
        "timestamp": _AT,
        "violations_last_hour": {"low": 0, "medium": 1, "high": 0, "critical": 0},
        "data_access_last_hour": {"total_accesses": 210, "sensitive_accesses": 4, "unique_users": 12},
        "active_blocks": 1,
        "health": _SCORE,
        "top_sources": [{"ip_address": "203.0.113.9", "failures": 12, "reasons": ["bad_password"]}],
    },
    ("GET", f"{_S}/events"): _page(
        {**_EVENT, "event_id": "evt-0a1b2c3d4e5f60718293a4b5c6d7e8f9", "received_at": _AT, "late": False}
    ),
    ("GET", f"{_S}/signals"): _page(_SIGNAL),
    ("GET", f"{_S}/incidents"): _page(_INCIDENT),
    ("GET", f"{_S}/incidents/{{incident_id}}"): {
        **_INCIDENT,
        "signals": [_SIGNAL],
        "actions": [_ACTION],
        "timeline": [
            {"at": _AT, "what": "signal", "id": _SIGNAL_ID, "says": "Many failed logins from an address"},
            {"at": _AT, "what": "ip_block", "id": _ACTION["id"], "says": "Many failed logins from an address"},
        ],
        "suggestion": "block 203.0.113.9, and look for a login that succeeded",
        "anomalies": [_ANOMALY],
        "evidence": [
            {
                "event_id": "evt-0a1b2c3d4e5f60718293a4b5c6d7e8f9",
                "at": _AT,
                "event_type": "authentication",
                "user_id": "grace.fox",
                "session_id": None,
                "ip_address": "203.0.113.9",
            }
        ],
        "notes": [{"at": _AT, "by": _TOKEN["id"], "what": "acknowledged", "note": "on it"}],
    },
    ("GET", f"{_S}/exports/incidents/{{incident_id}}"): {"class_uid": 2005, "severity_id": 4, "status_id": 1},
    ("GET", f"{_S}/anomalies"): _page(_ANOMALY),
    ("GET", f"{_S}/baselines"): _page(_LIMITS),
    ("PUT", f"{_S}/baselines"): {"success": True, "limits": _LIMITS},
    ("GET", f"{_S}/baselines/{{entity}}"): {
        "entity": "grace.fox",
        "entity_type": "user",
        "first": _AT,
        "active_days": 9,
        "learning": False,
        "metrics": [
            {
                "metric": "rows",
                "method": "median_mad",
                "measures": "rows read or written",
                "state": "ready",
                "n": 9,
                "expected": {"day": 310.0, "hour": 120.0},
                "ready_from": None,
            }
        ],
    },
    ("POST", f"{_S}/incidents/{{incident_id}}/{{word}}"): {
        "success": True,
        "message": f"{_INCIDENT_ID} is acknowledged",
    },
    ("GET", f"{_S}/violations"): _page(_VIOLATION),
    ("POST", f"{_S}/violations/{{violation_id}}/resolve"): {
        "success": True,
        "message": f"{_VIOLATION_ID} is resolved",
    },
    ("GET", f"{_S}/dead-letters"): _page(
        {
            "seq": 4711,
            "reason": "ZeroDivisionError",
            "received_at": _AT,
            "event": {**_EVENT, "event_id": "evt-0a1b2c3d4e5f60718293a4b5c6d7e8f9"},
        }
    ),
    ("POST", f"{_S}/dead-letters/replay"): {"success": True, "message": "1 events are judged again"},
    ("POST", f"{_S}/feedback"): {"success": True, "undone": [_ACTION["id"]]},
    ("GET", f"{_S}/thresholds"): _page(_THRESHOLD),
    ("PUT", f"{_S}/thresholds"): {"success": True, "threshold": _THRESHOLD | {"value": 20.0, "adjusted": True}},
    ("GET", f"{_S}/explain/{{thing}}"): {
        "kind": "signal",
        "signal": _SIGNAL,
        "rule_asks": "10 failed logins from one address within 1 minute",
        "policy_says": "ip_block on 203.0.113.9, by its rule strong-signal-on-an-address",
    },
    ("GET", f"{_S}/evidence/{{action_id}}"): {
        "action_id": _ACTION["id"],
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "status": "verified",
        "problems": [],
        "notes": [],
        "bundle": {
            "action": {"id": _ACTION["id"], "action_type": "threat_quarantine", "target": "session:s-1"},
            "signals": [],
            "events": [
                {
                    "seq": 41,
                    "event_id": "evt-0a1b2c3d4e5f60718293a4b5c6d7e8f9",
                    "event_type": "authentication",
                    "at": _AT,
                    "sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
                }
            ],
            "complete": True,
            "collected_at": _AT,
        },
    },
    ("GET", f"{_S}/rules"): {
        "version": "4169b9d2ac6b9647d903cc7cdaf66c00",
        "refused": [],
        "warnings": [],
        "rejected": [],
        **_page({"rule": "guessing-from-an-address", "title": "Many failed logins from an address", "blind": None}),
    },
    ("POST", f"{_S}/rules/reload"): {"success": True, "message": "79 rules are in force"},
    ("GET", f"{_S}/active-blocks"): {
        "ip_blocks": [{"ip_address": "203.0.113.9", **_ACTION}],
        "user_suspensions": [],
        "rate_limits": [],
        "account_lockouts": [],
        "service_isolations": [],
        "quarantines": [],
        "escalations": [],
    },
    ("GET", f"{_S}/actions"): _page(_ACTION),
    ("GET", f"{_S}/check-ip/{{ip}}"): {"ip_address": "203.0.113.9", "is_blocked": True, "block_info": _ACTION},
    ("GET", f"{_S}/check-user/{{user_id}}"): {"user_id": "grace.fox", "is_suspended": False, "suspension_info": None},
    ("GET", f"{_S}/decisions"): {"seq": 17, "complete": False, "items": [_ACTION]},
    ("GET", "/v1/decisions"): [_CROWDSEC],
    ("GET", "/v1/decisions/stream"): {"new": [_CROWDSEC], "deleted": None},
    ("POST", f"{_S}/manual-action"): {
        "success": True,
        "message": "ip_block on 203.0.113.0/24 is in force",
        "action": _ACTION
        | {"target": "203.0.113.0/24", "auto": False, "incident_id": None, "created_by": _TOKEN["id"]},
    },
    ("DELETE", f"{_S}/action/{{action_type}}/{{target}}"): {
        "success": True,
        "message": "ip_block on 203.0.113.9 has ended",
    },
    ("GET", f"{_S}/audit"): _page(
        {
            "seq": 41,
            "at": _AT,
            "actor": "sentinel",
            "operation": "ip_block.create",
            "target": "203.0.113.9",
            "details": {"reason": "Many failed logins from an address"},
        }
    ),
    ("GET", f"{_S}/audit/verify"): {"status": "verified", "size": 41, "anchored": 41, "problems": [], "notes": []},
    ("POST", f"{_S}/prune"): {
        "deleted": {"events": 120_000, "signals": 12, "incidents": 3, "security_actions": 2, "audit_trail": 0}
    },
    ("GET", f"{_S}/tokens"): _page(_TOKEN),
    ("POST", f"{_S}/tokens"): {**_TOKEN, "token": "(shown once)"},
    ("DELETE", f"{_S}/tokens/{{token_id}}"): {"success": True, "message": f"{_TOKEN['id']} is revoked"},
    ("POST", f"{_S}/imports"): {"import_id": "imp-0123456789abcdef"},
    ("POST", f"{_S}/imports/{{import_id}}/events"): _RECEIPT,
    ("POST", f"{_S}/imports/{{import_id}}/finish"): {
        "signals": [_SIGNAL],
        "dead_letters": 0,
        "anomalies": [],
        "decisions": [
            {
                "id": _ACTION["id"],
                "action": "ip_block",
                "scope": "ip",
                "value": "203.0.113.9",
                "rule": "strong-signal-on-an-address",
                "at": _AT,
                "expires": _UNTIL,
                "reason": "Many failed logins from an address",
                "effective": False,
            }
        ],
    },
}
"""Of what is answered as JSON."""
