"""What is remembered of an entity, for people: is it still learnt, and what is expected."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from sentinel.detection.baseline.anomaly import LEARNING
from sentinel.detection.baseline.habits import Habit, Person, Service
from sentinel.detection.baseline.judge import ACTIVE_DAYS, usual_hours
from sentinel.detection.baseline.metrics import COUNTS, FIRST_SEEN, HEAVY, METRICS, SERVICE
from sentinel.detection.baseline.tails import median
from sentinel.model import Micros, iso

__all__ = ["seen_entity"]

_person = msgspec.msgpack.Decoder(Person)
_service = msgspec.msgpack.Decoder(Service)


def seen_entity(
    entity_type: str, entity: str, record: bytes, now: Micros, organisation_first: Micros
) -> dict[str, object]:
    """
    Return what is remembered of a user or a service.

    Args:
        entity_type: `user` or `service`.
        entity: Its name.
        record: As the store keeps it.
        now: Up to when events have been judged, or any later time.
        organisation_first: When the first hour began that taught anything; first-seen values wait for it, too.
    """
    if entity_type == SERVICE:
        service = _service.decode(record)
        rows = list(_level("service_response_time", service.habit, now))
        first, days = service.first, len(service.habit.days) if service.habit else 0
    else:
        person = _person.decode(record)
        rows = list(_rows(person, now, organisation_first))
        first, days = person.first, person.days
    return {
        "entity": entity,
        "entity_type": entity_type,
        "first": iso(first),
        "active_days": days,
        "learning": not any(row["state"] == "ready" for row in rows),
        "metrics": rows,
    }


def _row(metric: str, n: int, expected: object, since: Micros, now: Micros) -> dict[str, object]:
    ready = n >= ACTIVE_DAYS and now - since >= LEARNING
    return {
        "metric": metric,
        "method": METRICS[metric].kind.value,
        "measures": METRICS[metric].tells,
        "state": "ready" if ready else "learning",
        "n": n,
        "expected": expected,
        "ready_from": None if ready else iso(since + LEARNING),
    }


def _level(metric: str, habit: Habit | None, now: Micros) -> Iterator[dict[str, object]]:
    if habit is not None:
        mean = sum(habit.peaks) / len(habit.peaks)
        yield _row(metric, len(habit.peaks), round(math.exp(mean / 100), 1), habit.since, now)


def _rows(person: Person, now: Micros, organisation_first: Micros) -> Iterator[dict[str, object]]:
    for metric in HEAVY:
        habit = person.habits.get(metric)
        if habit is not None:
            expected = {"day": _amount(habit.days), "hour": _amount(habit.peaks)}
            yield _row(metric, len(habit.days), expected, habit.since, now)
    for place, metric in enumerate(COUNTS):
        days = [day[place] for day in person.counts]
        if days:
            yield _row(metric, len(days), round(sum(days) / len(days), 2), person.first, now)
    yield from _level("response_time", person.habits.get("response_time"), now)
    if person.hours:
        hours = {"weekdays": usual_hours(person.hours[:24]), "weekends": usual_hours(person.hours[24:])}
        yield _row("active_hour", person.days, hours, person.first, now)
    for field, name in enumerate(FIRST_SEEN):
        if known := person.known.get(field):
            since = max(person.first, organisation_first)
            yield _row(f"new_{name}", person.days, f"one of {len(known)} known", since, now)
    yield _row("behaviour", person.days, "usual in each", person.first, now)


def _amount(days: list[int]) -> float:
    return round(math.expm1(median(days) / 100), 1)
