"""
How many events a second the engine judges on one core, decoding and storage left out.

- `mixed`: 20 detections and 5 correlations; 30 in a hundred events match, 10 touch a window; a million keys.
- `many_rules`: the same events under 200 detections for one log source.
- `distinct`: one value_count over 10,000 values in one group, events in order; `distinct_shuffled`: within ten seconds.
- `shipped`: the shipped rules under failed logins, unsafe scans and harmless events.
- `logins`: the shipped rules under failed logins alone, from 400 addresses, some of them far louder than others.
- `memory`: as many addresses as there are events, each once: what is retained, and the peak.

Batches of 500, old windows forgotten every minute of event time. Times are processor time, so that a busy machine gives
the same figures.

With --addresses N, nothing but this: failed logins from N addresses, each once, under the shipped rules, 2,000 a second
of event time and as the service would: what is held, what the engine thinks that takes, and the resident memory, at
every million. --users names a user in each of them, one in a thousand; --service says what they sign in to, because
some rules take sshd and others all but sshd.

    python benchmarks/correlate.py [--json] [--events N] [--only NAME] [--addresses N [--users] [--service NAME]]
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from sentinel.detection import Engine, RuleSet, parse_rules, shipped_rules
from sentinel.model import Event, EventType, Severity, StoredEvent

BATCH = 500
KEYS = 1_000_000
RATE = 2_000  # events a second of event time
MINUTE = 60_000_000
LATENESS = 3_600_000_000
WINDOW_MEMORY = 1 << 30  # as in the settings
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = 1_700_000_000_000_000
DETECTION = """
name: d{n}
logsource: {{product: sentinel, category: network_request}}
detection: {{s: {{{field}: {value}}}, condition: s}}
sentinel: {{subject: endpoint}}
"""
CORRELATION = """
name: c{n}
correlation: {{type: {kind}, rules: [d{n}], group-by: [ip_address], timespan: 5m{condition}}}
"""
CONDITIONS = [
    ("event_count", ", condition: {gte: 10}"),
    ("value_count", ", condition: {gte: 10, field: user_id}"),
    ("value_sum", ", condition: {gte: 1000, field: row_count}"),
    ("event_count", ", condition: {gte: 20}"),
    ("value_count", ", condition: {gte: 5, field: user_id}"),
]


def ruleset(detections: int) -> RuleSet:
    """Correlations over the first five; the others are plain, asking for equal and for contained texts in turn."""
    documents = [CORRELATION.format(n=n, kind=kind, condition=more) for n, (kind, more) in enumerate(CONDITIONS)]
    for n in range(detections):
        field, value = ("action", f"act-{n}") if n % 2 == 0 or n < 5 else ("path|contains", f"/probe-{n}/")
        documents.append(DETECTION.format(n=n, field=field, value=value))
    rules = parse_rules([("benchmark", "\n---\n".join(documents))])
    assert not rules.refused
    return rules


def stored(
    dice: random.Random, seq: int, kind: EventType, details: dict[str, Any], at: int | None = None
) -> StoredEvent:
    at = START + seq * 1_000_000 // RATE if at is None else at
    key = dice.randrange(50) if dice.random() < 0.1 else dice.randrange(KEYS)
    event = Event(
        event_id=f"{seq:012x}",
        event_type=kind,
        severity=Severity.LOW,
        timestamp=EPOCH + timedelta(microseconds=at),
        ip_address=f"2001:db8:{key >> 8:x}:{key & 255:x}::1" if key % 4 == 0 else f"10.{key >> 16}.{key >> 8 & 255}.1",
        user_id=f"user-{dice.randrange(KEYS)}",
        service_name="web",
        details=details,
    )
    return StoredEvent(seq, at, at, late=False, event=event, may_act=dice.random() < 0.9)


def mixed(dice: random.Random, seq: int) -> StoredEvent:
    draw = dice.random()
    details: dict[str, Any] = {"action": "view", "path": "/shop/orders/17", "row_count": 3, "endpoint": "/shop"}
    if draw < 0.1:
        details["action"] = f"act-{dice.randrange(5)}"
    elif draw < 0.2:
        details["action"] = f"act-{dice.randrange(6, 20, 2)}"
    elif draw < 0.3:
        details["path"] = f"/x/probe-{dice.randrange(7, 20, 2)}/y"
    return stored(dice, seq, EventType.NETWORK_REQUEST, details)


def shipped(dice: random.Random, seq: int) -> StoredEvent:
    if dice.random() < 0.24:
        return stored(dice, seq, EventType.AUTHENTICATION, {"success": False, "operation": "login"})
    if dice.random() < 0.08:
        return stored(dice, seq, EventType.SCAN, {"is_safe": False, "threat_type": "injection"})
    kind = dice.choice([EventType.AUTHENTICATION, EventType.SCAN, EventType.DATA_ACCESS, EventType.NETWORK_REQUEST])
    return stored(dice, seq, kind, {"success": True, "is_safe": True, "row_count": 3, "status_code": 200})


def login(dice: random.Random, seq: int) -> StoredEvent:
    known = dice.random() < 0.5
    details = {
        "success": False,
        "operation": "login" if dice.random() < 0.55 else "identify",
        "failure_reason": "bad_password" if known else "unknown_user",
        "method": "password",
        "port": dice.randrange(1024, 65_536),
        "host": "bastion",
    }
    event = stored(dice, seq, EventType.AUTHENTICATION, details, START + seq * 500_000)
    address = f"10.1.{dice.randrange(2)}.{round(dice.paretovariate(1)) % 200}"
    return msgspec.structs.replace(
        event, event=msgspec.structs.replace(event.event, ip_address=address, user_id=f"user-{dice.randrange(40)}")
    )


def once(seq: int, *, users: bool = False, service: str = "web") -> StoredEvent:
    event = stored(random.Random(seq), seq, EventType.AUTHENTICATION, {"success": False, "operation": "login"})
    fields = {
        "ip_address": f"{11 + (seq >> 24)}.{seq >> 16 & 255}.{seq >> 8 & 255}.{seq & 255}",
        "user_id": f"user-{seq % 1000}" if users else None,
        "service_name": service,
    }
    return msgspec.structs.replace(event, event=msgspec.structs.replace(event.event, **fields))


def distinct(dice: random.Random, seq: int) -> StoredEvent:
    return stored(dice, seq, EventType.NETWORK_REQUEST, {"action": "act-0", "value": dice.randrange(12_000)})


def address(dice: random.Random, seq: int) -> StoredEvent:
    event = stored(dice, seq, EventType.NETWORK_REQUEST, {"action": f"act-{seq % 5}"})
    return msgspec.structs.replace(event, event=msgspec.structs.replace(event.event, ip_address=f"a{seq}"))


def counting() -> RuleSet:
    text = "name: c\ncorrelation: {type: value_count, rules: [d0], timespan: 1h, condition: {gte: 10000, field: value}}"
    rules = parse_rules([("benchmark", DETECTION.format(n=0, field="action", value="act-0") + "\n---\n" + text)])
    assert not rules.refused
    return rules


def shuffled(dice: random.Random, events: list[StoredEvent]) -> list[StoredEvent]:
    return sorted(events, key=lambda event: event.at + dice.randrange(10_000_000))


def measure(rules: RuleSet, events: list[StoredEvent], *, forgets: bool = True) -> dict[str, float]:
    engine = Engine(rules)
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
        if forgets and batch[-1].at - forgot_at >= MINUTE:
            most, forgot_at = max(most, engine.retained), batch[-1].at
            start = time.process_time()
            for _ in engine.forgetting(batch[0].at):
                pass
            forgetting.append(time.process_time() - start)
    return {
        "events": len(events),
        "events_per_cpu_second": round(len(events) / sum(adding)),
        "slowest_batch_ms": round(max(adding) * 1000, 2),
        "slowest_forget_ms": round(max(forgetting) * 1000, 2),
        "signal_states": signals,
        "most_retained": max(most, engine.retained),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def fill(addresses: int, **how: Any) -> None:
    """Print what so many addresses cost; 5,000,000 are 42 minutes at 2,000 a second."""
    engine = Engine(parse_rules(shipped_rules()))
    engine.warm((), engine.needs([once(1)]))
    print(
        f"{'addresses':>11} {'retained':>11} {'thought MB':>10} {'RSS MB':>7} {'peak MB':>8} {'events/CPU s':>12} "
        f"{'longest step of forgetting, ms':>31}"
    )
    forgot_at, longest, took = START, 0.0, 0.0
    for first in range(1, addresses + 1, BATCH):
        batch = [once(seq, **how) for seq in range(first, first + BATCH)]
        begun = time.process_time()
        engine.add(batch)
        took += time.process_time() - begun
        if batch[-1].at - forgot_at >= MINUTE:
            forgot_at = batch[-1].at
            steps = engine.forgetting(batch[-1].at - LATENESS if engine.memory < WINDOW_MEMORY else batch[0].at)
            over = False
            while not over:
                start = time.process_time()
                over = next(steps, MINUTE) == MINUTE
                longest = max(longest, time.process_time() - start)
        if (first - 1 + BATCH) % 1_000_000 == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            done = first - 1 + BATCH
            row = (
                done,
                engine.retained,
                engine.memory / 2**20,
                resident() / 2**20,
                peak,
                round(done / took),
                longest * 1000,
            )
            print("{:>11,} {:>11,} {:>10.0f} {:>7.0f} {:>8.0f} {:>12,} {:>31.1f}".format(*row), flush=True)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def made(make: Callable[[random.Random, int], StoredEvent], amount: int) -> list[StoredEvent]:
    dice = random.Random(1)
    return [make(dice, seq) for seq in range(1, amount + 1)]


ROWS: dict[str, Callable[[int], dict[str, float]]] = {
    "mixed": lambda n: measure(ruleset(20), made(mixed, n)),
    "many_rules": lambda n: measure(ruleset(200), made(mixed, n)),
    "distinct": lambda n: measure(counting(), made(distinct, n)),
    "distinct_shuffled": lambda n: measure(counting(), shuffled(random.Random(2), made(distinct, n))),
    "shipped": lambda n: measure(parse_rules(shipped_rules()), made(shipped, n)),
    "logins": lambda n: measure(parse_rules(shipped_rules()), made(login, n)),
    "memory": lambda n: measure(ruleset(20), made(address, n)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--only", choices=ROWS)
    parser.add_argument("--addresses", type=int, help="only see what so many addresses cost")
    parser.add_argument("--users", action="store_true", help="each names a user")
    parser.add_argument("--service", default="web", help="what they sign in to")
    arguments = parser.parse_args()
    if arguments.addresses:
        fill(arguments.addresses, users=arguments.users, service=arguments.service)
        return
    names = [arguments.only] if arguments.only else list(ROWS)
    result = {name: ROWS[name](arguments.events) for name in names}
    if arguments.json:
        print(json.dumps(result))
        return
    for name, row in result.items():
        print(name, *(f"{figure:>22}: {value:,}" for figure, value in row.items()), sep="\n  ")


if __name__ == "__main__":
    main()
