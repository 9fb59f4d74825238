"""Small makers of events and rules for the tests of this folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

from sentinel.detection import Rule, RuleSet, parse_rules
from sentinel.model import Event, EventType, Severity, StoredEvent

SECOND = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FAILED = """
name: failed
logsource: {product: sentinel, category: authentication}
detection: {failed: {success: false}, condition: failed}
"""


def event(details: dict[str, Any] | None = None, **fields: Any) -> Event:
    """Return an authentication event with these details and fields."""
    defaults = {"event_id": "e", "event_type": EventType.AUTHENTICATION, "severity": Severity.LOW, "timestamp": EPOCH}
    return Event(**(defaults | fields), details=details or {})


def failure(at: float, event_id: str = "", **how: Any) -> StoredEvent:
    """Return a failed login from 192.0.2.1, `at` seconds after the epoch."""
    moment = round(at * SECOND)
    stored = {key: how.pop(key) for key in ("late", "max_severity", "may_act") if key in how}
    fields = {"ip_address": "192.0.2.1", "timestamp": EPOCH + timedelta(microseconds=moment)} | how
    body = event({"success": False} | fields.pop("details", {}), event_id=event_id or f"{moment}", **fields)
    seq = crc32(f"{moment} {body.event_id}".encode())  # the store gives each event its own
    return StoredEvent(seq=seq, at=moment, received_at=moment, event=body, late=stored.pop("late", False), **stored)


def count(n: int = 3, t: str = "10s", extra: str = "", more: str = "") -> RuleSet:
    """Return `FAILED` with an event count per address over it."""
    text = f"""{FAILED}
---
name: many
title: Many failures
level: high
correlation:
  {{type: event_count, rules: [failed], group-by: [ip_address], timespan: {t}, condition: {{gte: {n}}}{extra}}}
{more}
"""
    rules = parse_rules([("rules.yml", text)])
    assert not rules.refused
    return rules


def rule(text: str) -> Rule:
    """Return the one rule that this text holds."""
    rules = parse_rules([("rules.yml", text)])
    assert not rules.refused
    return rules.rules[0]
