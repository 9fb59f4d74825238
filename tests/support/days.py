"""Generated days, and baselines driven without a store: what the tests of noticing share."""

from __future__ import annotations

import json
import random
import runpy
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sentinel.detection.baseline import Anomaly, Baselines, Step, Tuning
from sentinel.ingest.events import parse_ndjson
from sentinel.model import Event, Micros, StoredEvent, micros

__all__ = ["DAY", "HOUR", "Driven", "days", "stored"]

HOUR: Micros = 3600 * 1_000_000
DAY: Micros = 24 * HOUR
_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@cache
def days(seed: int, length: int, users: int, planted: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Events of so many days, and what was planted in them."""
    events, labels = runpy.run_path(str(_BENCHMARKS / "gen_days.py"))["generate"](seed, length, users, planted)
    return events, labels


@cache
def judge() -> dict[str, Any]:
    """The names of `benchmarks/judge_days.py`."""
    return runpy.run_path(str(_BENCHMARKS / "judge_days.py"))


def stored(events: Sequence[dict[str, Any]]) -> list[StoredEvent]:
    """Events as the store gives them, none of them late."""
    found: list[Event] = []
    for start in range(0, len(events), 5_000):
        body = "\n".join(map(json.dumps, events[start : start + 5_000])).encode()
        parsed = parse_ndjson(body, lambda: "none")
        assert not parsed.rejected
        found += [event for _, event in parsed.events]
    times = [micros(event.timestamp) for event in found]
    return [StoredEvent(n, at, at, False, event) for n, (at, event) in enumerate(zip(times, found, strict=True), 1)]


class Driven:
    """Baselines with records in a dictionary."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        self.tuning = tuning
        self.records: dict[tuple[str, str], bytes] = {}
        self.last_days: dict[tuple[str, str], int] = {}
        self.organisation = b""
        self.baselines = self.opened()
        self.found: list[Anomaly] = []

    def opened(self) -> Baselines:
        return Baselines(lambda zone, at: 3600 if zone == "Europe/Berlin" else 0, self.tuning, self.organisation)

    def restart(self, events: Iterable[StoredEvent]) -> None:
        """Forget what is in memory, and add the events of open hours again, as a start does."""
        self.baselines = self.opened()
        self.baselines.add([event for event in events if event.at >= self.baselines.open_from])

    def close(
        self,
        now: Micros | None = None,
        lateness: Micros = 0,
        *,
        part: int = 1_000_000,
        saved: Callable[[Step], bool] = lambda _: True,
    ) -> list[Anomaly]:
        """
        Judge what is due, as the service does: records read, judged in groups, kept.

        Args:
            now: As for `Baselines.due`.
            lateness: Likewise.
            part: So many entities of a day are judged in one step.
            saved: Is asked after each step; False loses it, and may `restart`.
        """
        found: list[Anomaly] = []
        while step := self.baselines.due(now, lateness):
            keys, whole = self.baselines.concerned(step), True
            if keys is None:
                after = self.baselines.organisation.learnt
                keys = sorted(k for k, day in self.last_days.items() if day == step.day and k > after)[:part]
                whole = len(keys) < part
            odd: list[Anomaly] = []
            records: dict[tuple[str, str], bytes] = {}
            for start in range(0, len(keys), 7):
                more, kept = self.baselines.judge(step, keys[start : start + 7], self.records)
                odd += more
                records |= kept
            organisation = self.baselines.finish(step) if whole else self.baselines.pause(keys[-1])
            if saved(step):
                found += odd
                self.records |= records
                self.last_days |= dict.fromkeys(records, step.day)
                self.organisation = organisation
        self.found += found
        return found


def shuffled(events: Sequence[StoredEvent], seed: int, within: Micros) -> list[StoredEvent]:
    """Events in an order in which none comes more than `within` after a later one."""
    chance = random.Random(seed)
    return sorted(events, key=lambda event: event.at + chance.uniform(0, within))
