"""
The tables that programs outside read: who accessed which data, what was audited, what was violated.

Each row stands for one event and is written in the transaction that makes the event durable, so there are never two of
them and none is missing, whatever is sent again or killed. Its id comes from the event's id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sentinel.model import Event, EventType, Severity
from sentinel.storage.values import Pending

__all__ = ["contract_rows", "row_id"]

_LARGEST = 2**63 - 1
_encode = msgspec.json.Encoder().encode

Row = tuple[Any, ...]


def row_id(event_id: str) -> str:
    """Return the UUID (version 8, RFC 9562) of the row that stands for an event."""
    digest = hashlib.blake2b(event_id.encode(), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-a{digest[17:20]}-{digest[20:]}"


def contract_rows(first: int, items: Sequence[Pending]) -> dict[str, list[Row]]:
    """
    Return by table the rows of events, in the order of its columns.

    Args:
        first: Number of the first event; the others follow.
        items: The events as they are stored.
    """
    found: dict[str, list[Row]] = {}
    for seq, item in enumerate(items, first):
        for table, row_of in _TABLES.get(item.event.event_type, ()):
            row = row_of(item)
            if row is not None:
                found.setdefault(table, []).append((seq, row_id(item.event.event_id), *row))
    return found


def _access(item: Pending) -> Row:
    event, said = item.event, item.event.details
    return (
        event.user_id,
        event.service_name,
        _text(said.get("access_type")),
        _text(said.get("table_name")),
        _whole(said.get("row_count")),
        said.get("sensitive") is True,
        _text(said.get("access_pattern")),
        event.session_id,
        event.ip_address,
        _number(said.get("response_time_ms")),
        item.at,
    )


def _audited(item: Pending) -> Row:
    event, said = item.event, item.event.details
    key = _text(said.get("key"))
    old, new, changed = said.get("old_values"), said.get("new_values"), said.get("changed_fields")
    if key is not None:  # a changed setting names itself
        old, new, changed = {key: said.get("old")}, {key: said.get("new")}, [key]
    return (
        _text(said.get("table_name")),
        _text(said.get("operation")) or "event",
        event.user_id,
        event.session_id,
        _text(said.get("row_id")),
        _json(old),
        _json(new),
        _json(changed),
        event.ip_address,
        event.user_agent,
        event.service_name,
        _json(said.get("security_context")),
        item.at,
    )


def _violated(item: Pending) -> Row:
    """Somebody says that there was one, blocked or not."""
    said = item.event.details
    return _violation(item, _text(said.get("violation_type")) or "other", blocked=said.get("blocked") is True)


def _claimed(item: Pending) -> Row | None:
    """What another detector says; that its alert is over is no violation."""
    said = item.event.details
    if said.get("status") == "resolved":
        return None
    return _violation(item, _text(said.get("threat_type")) or "threat_detection", blocked=said.get("blocked") is True)


def _refused(item: Pending) -> Row | None:
    """A refusal that is called low, and names no violation, is the routine of any system with rights."""
    said = item.event.details
    kind = _text(said.get("violation_type"))
    if said.get("granted") is not False or (kind is None and item.event.severity is Severity.LOW):
        return None
    return _violation(item, kind or "permission", blocked=True)


def _escaped(item: Pending) -> Row | None:
    said = item.event.details
    kind = _text(said.get("sandbox_violation"))
    if kind is None:
        return None
    return _violation(item, kind, blocked=said.get("success") is False)


def _row_level(item: Pending) -> Row | None:
    said = item.event.details
    if said.get("operation") != "rls_violation":
        return None
    return _violation(item, "rls_violation", blocked=said.get("blocked") is not False)


def _violation(item: Pending, kind: str, *, blocked: bool) -> Row:
    event: Event = item.event
    said = event.details
    severity = event.severity if event.severity.rank <= item.max_severity.rank else item.max_severity
    return (
        kind,
        severity.value,
        event.user_id,
        event.session_id,
        _text(said.get("table_name")),
        _text(said.get("action")) or _text(said.get("tool_name")) or _text(said.get("attempted_operation")),
        _json(said),
        event.ip_address,
        event.user_agent,
        blocked,
        False,
        None,
        item.at,
        None,
        None,
    )


_TABLES: dict[EventType, tuple[tuple[str, Callable[[Pending], Row | None]], ...]] = {
    EventType.DATA_ACCESS: (("data_access_log", _access),),
    EventType.AUDIT_LOG: (("audit_log", _audited), ("security_violations", _row_level)),
    EventType.SECURITY_VIOLATION: (("security_violations", _violated),),
    EventType.THREAT_DETECTION: (("security_violations", _claimed),),
    EventType.AUTHORIZATION: (("security_violations", _refused),),
    EventType.TOOL_EXECUTION: (("security_violations", _escaped),),
}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST
    return value if fits else None  # type: ignore[return-value]  # said in the line above


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, float) or _whole(value) is not None else None  # type: ignore[arg-type]


def _json(value: object) -> str | None:
    return None if value is None else _encode(value).decode()
