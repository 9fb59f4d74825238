"""
What baselines cost in processor time, without the store: `benchmarks/baselines.py [--users 200] [--days 14] [--json]`.

Generated days (`gen_days.py`) are added and closed; a metric counts as tracked for an event when the event feeds it.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from typing import Any

import gen_days

from sentinel.detection.baseline import Baselines
from sentinel.detection.baseline.cells import HOUR, READ, Cell, feed
from sentinel.ingest.events import parse_ndjson
from sentinel.model import StoredEvent, micros

USERS, DAYS = 200, 14
ALWAYS = ("active_hour", "behaviour")
"""What every event feeds that says what a user does."""


def stored(events: list[dict[str, Any]]) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    for start in range(0, len(events), 5_000):
        body = "\n".join(map(json.dumps, events[start : start + 5_000])).encode()
        for _, event in parse_ndjson(body, lambda: "none").events:
            at = micros(event.timestamp)
            found.append(StoredEvent(len(found) + 1, at, at, False, event))
    return found


def tracked(event: StoredEvent) -> int:
    """Return how many metrics of its user an event feeds, alone."""
    if event.event.user_id is None or event.event.event_type not in READ:
        return 0
    cell = Cell()
    feed(event, cell)
    parts = (cell.responses, cell.ticks, cell.sessions, cell.places)
    return sum(map(bool, (*cell.sums, *parts))) + len({field for field, _ in cell.values}) + len(ALWAYS)


def measure(users: int = USERS, days: int = DAYS) -> dict[str, float]:
    """Return microseconds of processor time an event and tracked metric, and bytes of a user."""
    events = stored(gen_days.generate(1, days, users, 0)[0])
    metrics = sum(map(tracked, events))
    baselines = Baselines(lambda _zone, _at: 0)
    records: dict[tuple[str, str], bytes] = {}
    last: dict[tuple[str, str], int] = {}
    start = time.process_time()
    baselines.add(events)
    added = time.process_time() - start
    while step := baselines.due(None):
        concerned = baselines.concerned(step)
        keys = sorted(key for key, day in last.items() if day == step.day) if concerned is None else concerned
        _, kept = baselines.judge(step, keys, records)
        records |= kept
        last |= dict.fromkeys(kept, step.day)
        organisation = baselines.finish(step)
    total = time.process_time() - start
    sizes = sorted(len(record) for record in records.values())
    return {
        "users": users,
        "days": days,
        "events": len(events),
        "metrics_an_event": metrics / len(events),
        "microseconds_an_event": total / len(events) * 1e6,
        "of_these_while_events_come": added / len(events) * 1e6,
        "microseconds_a_tracked_metric": total / metrics * 1e6,
        "record_bytes_median": sizes[len(sizes) // 2],
        "record_bytes_most": sizes[-1],
        "organisation_bytes": len(organisation),
        "open_cell_bytes": cell_bytes(events),
    }


def cell_bytes(events: list[StoredEvent]) -> float:
    """Return what one user in one open hour takes in memory, the strings of events aside."""
    hour = [event for event in events if event.at // HOUR == events[len(events) // 2].at // HOUR]
    baselines = Baselines(lambda _zone, _at: 0)
    tracemalloc.start()
    baselines.add(hour)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken / max(baselines.open, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = {name: round(value, 1) for name, value in measure(arguments.users, arguments.days).items()}
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value:12,}")


if __name__ == "__main__":
    main()
