"""From rows to values and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row

from sentinel.access import Token
from sentinel.model import (
    ActionStatus,
    ActionType,
    Event,
    EventType,
    Incident,
    IncidentStatus,
    Role,
    Severity,
    Signal,
    StoredEvent,
    SubjectType,
    ThreatType,
)
from sentinel.storage.values import Action, AuditEntry, Pending, Violation

__all__ = [
    "action_row",
    "decode_event",
    "event_row",
    "to_action",
    "to_audit_entry",
    "to_event",
    "to_incident",
    "to_signal",
    "to_token",
    "to_violation",
    "token_row",
    "with_text",
]

_encode = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode
"""From an event's body to the event."""
_decode = msgspec.json.decode
_severity = {severity.value: severity for severity in Severity}
_subject_type = {kind.value: kind for kind in SubjectType}
_threat_type: dict[str | None, ThreatType | None] = {None: None, **{threat.value: threat for threat in ThreatType}}


def event_row(seq: int, item: Pending) -> tuple[Any, ...]:
    """Return the row of an event that is to be stored."""
    event_ = item.event
    success = event_.details.get("success") if event_.event_type is EventType.AUTHENTICATION else None
    return (
        seq,
        event_.event_id,
        item.at,
        item.received_at,
        item.late,
        event_.event_type.value,
        event_.severity.value,
        event_.user_id,
        event_.ip_address,
        success if isinstance(success, bool) else None,
        item.origin,
        item.max_severity.value,
        item.may_act,
        item.effects,
        _encode(event_),
    )


def to_event(row: Row[Any]) -> StoredEvent:
    """Return the event that a row holds."""
    return StoredEvent(
        row.seq,
        row.at,
        row.received_at,
        bool(row.late),
        decode_event(row.body),
        _severity[row.max_severity],
        bool(row.may_act),
        bool(row.effects),
        row.origin,
    )


def to_signal(row: Sequence[Any]) -> Signal:
    """Return the signal that a row of the whole table holds; its group may still be text."""
    id_, rule, rule_hash, title, subject, subject_type, group, severity, *rest = row
    threat_type, confidence, bucket, first, last, count, may_act, _ = rest
    return Signal(
        id=id_,
        rule=rule,
        rule_hash=rule_hash,
        title=title,
        subject=subject,
        subject_type=_subject_type[subject_type],
        group=group if isinstance(group, dict) else _decode(group),
        severity=_severity[severity],
        threat_type=_threat_type[threat_type],
        confidence=confidence,
        bucket=bucket,
        first=first,
        last=last,
        count=count,
        may_act=bool(may_act),
    )


def with_text(value: msgspec.Struct, *columns: str) -> dict[str, Any]:
    """Return what a row holds for a `statements.Bulk`: these columns as JSON text."""
    row: dict[str, Any] = msgspec.to_builtins(value)
    return row | {column: _encode(row[column]).decode() for column in columns}


def to_incident(row: Row[Any]) -> Incident:
    """Return the incident that a row holds."""
    return Incident(
        id=row.id,
        subject=row.subject,
        subject_type=SubjectType(row.subject_type),
        severity=_severity[row.severity],
        confidence=row.confidence,
        status=IncidentStatus(row.status),
        first=row.first,
        last=row.last,
        size=row.size,
        threat_types=tuple(ThreatType(name) for name in row.threat_types),
        assignee=row.assignee,
    )


def action_row(action: Action) -> dict[str, Any]:
    """Return the row of an action."""
    row: dict[str, Any] = msgspec.to_builtins(action)
    row["decision_key"] = row.pop("key")
    row["auto_created"] = row.pop("auto")
    return row


def to_action(row: Row[Any]) -> Action:
    """Return the action that a row holds."""
    return Action(
        id=row.id,
        key=row.decision_key,
        action_type=ActionType(row.action_type),
        target=row.target,
        reason=row.reason,
        evidence=row.evidence,
        severity=_severity[row.severity],
        status=ActionStatus(row.status),
        created_at=row.created_at,
        expiration=row.expiration,
        auto=row.auto_created,
        created_by=row.created_by,
        rule=row.rule,
        signal_id=row.signal_id,
        incident_id=row.incident_id,
        decided_at=row.decided_at,
        effective=row.effective,
        change_seq=row.change_seq,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
    )


def to_audit_entry(row: Row[Any]) -> AuditEntry:
    """Return the audit entry that a row holds."""
    details = msgspec.json.decode(row.details)
    return AuditEntry(at=row.at, actor=row.actor, operation=row.operation, target=row.target, details=details)


def to_violation(row: Row[Any]) -> Violation:
    """Return the violation that a row holds."""
    return msgspec.convert(row, Violation, from_attributes=True)


def token_row(token: Token) -> dict[str, Any]:
    """Return the row of a token."""
    return {
        **{name: getattr(token, name) for name in token.__struct_fields__},
        "role": token.role.value,
        "max_severity": token.max_severity.value,
    }


def to_token(row: Row[Any]) -> Token:
    """Return the token that a row holds."""
    return Token(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        hash=row.hash,
        max_severity=_severity[row.max_severity],
        may_cause_actions=row.may_cause_actions,
        created_at=row.created_at,
        expires_at=row.expires_at,
        source_cidr=row.source_cidr,
        revoked_at=row.revoked_at,
    )
