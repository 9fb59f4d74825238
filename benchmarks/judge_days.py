"""
Judge what an import noticed in labelled days: `python benchmarks/judge_days.py EVENTS OUTPUT LABELS [...]`.

EVENTS and LABELS are of `gen_days.py`, OUTPUT is what `sentinel ingest EVENTS --format json --json` printed. A planted
anomaly is found when one about its user lies within it, or an hour before to a day after; loudly, when a signal of
medium or above does. A user-day is spoiled when such a signal about its user begins or ends on it (decisions, H3).
Told is when a running service would have told: an hour, the default lateness, after the end of the hour or, where
that needs a whole day, of the day.
Exit code 1 when less than 80 % are found, more than 1 % of benign user-days are spoiled, or a learner was accused.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

LOUD = {"medium", "high", "critical"}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WHOLE_DAYS = {"first_seen", "trend"}
Json = dict[str, Any]


class Verdict(NamedTuple):
    """How an import did."""

    planted: Counter[str]
    found: Counter[str]
    loud: Counter[str]
    delays: dict[str, list[float]]
    """By type, hours from the beginning of what was planted to when a service would have told."""
    user_days: int
    """Benign ones."""
    spoiled: Counter[str]
    """By rule, benign user-days with a signal of medium or above; a day may count for several."""
    spoiled_days: int
    learners: int
    """Anomalies about whoever was there for fewer than seven days or five with events."""


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def told(anomaly: Json) -> datetime:
    at = time(anomaly["at"])
    begin = at.replace(minute=0, second=0, microsecond=0)
    end = begin.replace(hour=0) + DAY if anomaly["method"] in WHOLE_DAYS else begin + HOUR
    return end + HOUR


def judge(days: dict[str, set[str]], first: dict[str, datetime], output: Json, labels: Json) -> Verdict:
    """
    Compare what was found with what was planted.

    Args:
        days: By user, the days with events.
        first: By user, the time of the first event.
        output: Of the import.
        labels: What was planted.
    """
    anomalies, signals = defaultdict(list), defaultdict(list)
    for anomaly in output["anomalies"]:
        anomalies[anomaly["entity"]].append(anomaly)
    for signal in output["signals"]:
        if signal["severity"] in LOUD and signal["subject_type"] == "user":
            signals[signal["subject"]].append(signal)
    planted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    loud: Counter[str] = Counter()
    delays = defaultdict(list)
    for label in labels["anomalies"]:
        kind, user, start, end = label["type"], label["user"], time(label["start"]), time(label["end"])
        planted[kind] += 1
        near = [a for a in anomalies[user] if start - HOUR <= time(a["at"]) <= end + DAY]
        if near:
            found[kind] += 1
            delays[kind].append(min((told(a) - start) / HOUR for a in near))
        loud[kind] += any(start - HOUR <= time(s["last"]) and time(s["first"]) <= end + DAY for s in signals[user])
    benign = {(user, day) for user, mine in days.items() for day in mine} - struck(labels)
    spoiled = [
        (signal["rule"], user, day)
        for user, mine in signals.items()
        for signal in mine
        for day in {signal["first"][:10], signal["last"][:10]}
        if (user, day) in benign
    ]
    by_rule = Counter(rule for rule, _, _ in spoiled)
    spoiled_days = len({(user, day) for _, user, day in spoiled})
    learners = sum(learning(anomaly, days, first) for anomaly in output["anomalies"])
    return Verdict(planted, found, loud, dict(delays), len(benign), by_rule, spoiled_days, learners)


def struck(labels: Json) -> set[tuple[str, str]]:
    """Return the user-days on which something was planted."""
    found = set()
    for label in labels["anomalies"]:
        day, end = time(label["start"]).date(), time(label["end"]).date()
        while day <= end:
            found.add((label["user"], day.isoformat()))
            day += DAY
    return found


def learning(anomaly: Json, days: dict[str, set[str]], first: dict[str, datetime]) -> bool:
    """Whether an anomaly accuses somebody who was there for fewer than seven days, or five with events."""
    user, at = anomaly["entity"], anomaly["at"]
    if anomaly["entity_type"] != "user":
        return False
    return time(at) - first[user] < 7 * DAY or sum(day < at[:10] for day in days[user]) < 5


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def days_of(events: list[Json]) -> tuple[dict[str, set[str]], dict[str, datetime]]:
    """Return by user the days with events, and the first event's time."""
    days: dict[str, set[str]] = defaultdict(set)
    first: dict[str, datetime] = {}
    for event in events:
        user, at = event.get("user_id"), event["timestamp"]
        if user is not None:
            days[user].add(at[:10])
            first[user] = min(first.get(user, time(at)), time(at))
    return days, first


def right(verdict: Verdict) -> bool:
    """Whether the issue's limits are kept."""
    return (
        verdict.found.total() >= 0.8 * verdict.planted.total()
        and verdict.spoiled_days <= 0.01 * verdict.user_days
        and not verdict.learners
    )


def lines(verdict: Verdict) -> list[str]:
    """Return the verdict for people."""
    head = (
        f"found {verdict.found.total()} of {verdict.planted.total()}, {verdict.loud.total()} with a signal; "
        f"{verdict.spoiled_days} of {verdict.user_days} benign user-days spoiled "
        f"({100 * verdict.spoiled_days / verdict.user_days:.2f} %); {verdict.learners} anomalies about learners"
    )
    rows = [
        f"  {kind:16} {verdict.found[kind]} of {verdict.planted[kind]}, {verdict.loud[kind]} with a signal; told after "
        + (f"{statistics.median(verdict.delays[kind]):.1f} h (median)" if kind in verdict.delays else "-")
        for kind in sorted(verdict.planted)
    ]
    return [head, *rows, f"  spoiled by {dict(verdict.spoiled)}"]


def main() -> None:
    good = True
    names = sys.argv[1:]
    for events, output, labels in zip(names[::3], names[1::3], names[2::3], strict=True):
        with Path(events).open(encoding="utf-8") as file:
            days, first = days_of([json.loads(line) for line in file])
        verdict = judge(days, first, read(output), read(labels))
        good &= right(verdict)
        print("\n".join(lines(verdict)))
    sys.exit(not good)


if __name__ == "__main__":
    main()
