"""Mixed events for the service's benchmark: 30 % match a shipped rule."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from sentinel.model import Event, EventType, Severity, StoredEvent

KEYS = 50_000
RATE = 2_000  # events a second of event time
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def matching(dice: random.Random) -> tuple[EventType, dict[str, object]]:
    if dice.random() < 0.8:
        return EventType.AUTHENTICATION, {"success": False, "failure_reason": "bad_password", "operation": "login"}
    return EventType.SCAN, {"is_safe": False, "threat_type": "injection", "risk_score": 0.9}


def other(dice: random.Random) -> tuple[EventType, dict[str, object]]:
    kind = dice.choice([EventType.AUTHENTICATION, EventType.SCAN, EventType.DATA_ACCESS, EventType.NETWORK_REQUEST])
    return kind, {"success": True, "is_safe": True, "table_name": "orders", "row_count": 3, "status_code": 200}


def address(dice: random.Random) -> str:
    key = dice.randrange(50) if dice.random() < 0.1 else dice.randrange(KEYS)
    return f"2001:db8:{key >> 8:x}:{key & 255:x}::1" if key % 4 == 0 else f"10.{key >> 16}.{key >> 8 & 255}.{key & 255}"


def make_event(dice: random.Random, seq: int) -> StoredEvent:
    at = 1_700_000_000_000_000 + seq * 1_000_000 // RATE
    kind, details = matching(dice) if dice.random() < 0.3 else other(dice)
    event = Event(
        event_id=f"{seq:012x}",
        event_type=kind,
        severity=Severity.LOW,
        timestamp=EPOCH + timedelta(microseconds=at),
        ip_address=address(dice),
        user_id=f"user-{dice.randrange(KEYS)}",
        service_name="web",
        details=details,
    )
    return StoredEvent(seq, at, at, late=False, event=event, may_act=dice.random() < 0.9)
