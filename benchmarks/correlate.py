"""
How many events a second the engine judges under the shipped rules, on one core, decoding and storage left out.

Thirty in a hundred events match a rule (failed logins, unsafe scans), from many addresses and users; a few addresses
attack. Batches of 500, in order of time, old windows forgotten every minute of event time. Times are processor time, so
that a busy machine gives the same figures.

    python benchmarks/correlate.py [--json] [--events N]
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from datetime import UTC, datetime, timedelta

from sentinel.detection import Engine, parse_rules, shipped_rules
from sentinel.model import Event, EventType, Severity, StoredEvent

BATCH = 500
KEYS = 50_000
RATE = 2_000  # events a second of event time
MINUTE = 60_000_000
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


def measure(events: list[StoredEvent]) -> dict[str, float]:
    engine = Engine(parse_rules(shipped_rules()))
    engine.warm((), engine.needs(events))
    signals, most, forgot_at = 0, 0, events[0].at
    adding, forgetting = [], [0.0]
    gc.collect()
    gc.freeze()  # the events are the load, not the engine's: its own garbage collection counts, theirs doesn't
    for place in range(0, len(events), BATCH):
        batch = events[place : place + BATCH]
        start = time.process_time()
        signals += len(engine.add(batch))
        adding.append(time.process_time() - start)
        if batch[-1].at - forgot_at >= MINUTE:
            most, forgot_at = max(most, engine.retained), batch[-1].at
            start = time.process_time()
            engine.forget(engine.needs(batch))
            forgetting.append(time.process_time() - start)
    return {
        "events": len(events),
        "events_per_cpu_second": round(len(events) / sum(adding)),
        "slowest_batch_ms": round(max(adding) * 1000, 2),
        "slowest_forget_ms": round(max(forgetting) * 1000, 2),
        "signal_states": signals,
        "most_retained": max(most, engine.retained),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--events", type=int, default=500_000)
    arguments = parser.parse_args()
    dice = random.Random(1)
    result = measure([make_event(dice, seq) for seq in range(1, arguments.events + 1)])
    print(
        json.dumps(result) if arguments.json else "\n".join(f"{name:>22}: {value:,}" for name, value in result.items())
    )


if __name__ == "__main__":
    main()
