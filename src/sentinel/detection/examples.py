"""Rules show what makes them fire and what leaves them silent; this plays it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from sentinel.detection.engine import Engine
from sentinel.detection.rule import RuleSet, Step
from sentinel.detection.sigma.parse import parse_timespan
from sentinel.model import Event, Signal, StoredEvent, micros

__all__ = ["failures", "played", "signals_of"]

_START = datetime(2026, 1, 5, 12, tzinfo=UTC)


def played(steps: Sequence[Step]) -> list[StoredEvent]:
    """
    Return the events of an example, one after the other from a full hour on.

    Raises:
        msgspec.ValidationError: A step is no event.
    """
    events: list[StoredEvent] = []
    moment = _START
    for step in steps:
        for _ in range(step.times):
            fields = {"event_id": str(len(events)), "severity": "low", "timestamp": moment, **step.event}
            event = msgspec.convert(fields, Event)
            at = micros(moment)
            events.append(StoredEvent(seq=len(events) + 1, at=at, received_at=at, late=False, event=event))
            moment += timedelta(microseconds=parse_timespan(step.every))
    return events


def signals_of(rules: RuleSet, steps: Sequence[Step]) -> list[Signal]:
    """Return the signals of all rules over an example; its end closes all windows."""
    events = played(steps)
    engine = Engine(rules)
    engine.warm((), engine.needs(events))
    return engine.add(events) + engine.close(None)


def failures(rules: RuleSet) -> Iterator[tuple[str, str]]:
    """Return (rule, what is wrong) for each example that does not do what it shows."""
    for rule in rules.rules:
        for runs, fires in ((rule.examples.fires, True), (rule.examples.silent, False)):
            for number, steps in enumerate(runs, start=1):
                name = f"{'fires' if fires else 'silent'} {number}"
                try:
                    fired = rule.id in {signal.rule for signal in signals_of(rules, steps)}
                except msgspec.ValidationError as err:
                    yield rule.id, f"{name}: not an event: {err}"
                    continue
                if fired is not fires:
                    yield rule.id, f"{name}: the rule {'fires' if fired else 'stays silent'}"
