"""Every shipped rule shows what makes it fire and what leaves it silent, and does so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from sentinel.detection import Engine, Rule, RuleSet, parse_rules, shipped_rules
from sentinel.detection.rule import Step
from sentinel.detection.sigma.parse import parse_timespan
from sentinel.model import Event, Signal, StoredEvent, micros

RULES = parse_rules(shipped_rules())
START = datetime(2026, 1, 5, 12, tzinfo=UTC)


def played(steps: Sequence[Step]) -> list[StoredEvent]:
    """Return the events of an example, one after the other from a full hour on."""
    events: list[StoredEvent] = []
    moment = START
    for step in steps:
        for _ in range(step.times):
            fields = {"event_id": str(len(events)), "severity": "low", "timestamp": moment, **step.event}
            event = msgspec.convert(fields, Event)
            at = micros(moment)
            events.append(StoredEvent(seq=len(events) + 1, at=at, received_at=at, late=False, event=event))
            moment += timedelta(microseconds=parse_timespan(step.every))
    return events


def signals_of(rules: RuleSet, steps: Sequence[Step]) -> list[Signal]:
    events = played(steps)
    engine = Engine(rules)
    engine.warm((), engine.needs(events))
    return engine.add(events)


def examples(kind: str) -> list[object]:
    return [
        pytest.param(rule, steps, id=f"{rule.id}-{number}")
        for rule in RULES.rules
        for number, steps in enumerate(getattr(rule.examples, kind))
    ]


@pytest.mark.parametrize(("rule", "steps"), examples("fires"))
def test_fires(rule: Rule, steps: Sequence[Step]) -> None:
    """The events make the rule fire."""
    assert rule.id in {signal.rule for signal in signals_of(RULES, steps)}


@pytest.mark.parametrize(("rule", "steps"), examples("silent"))
def test_silent(rule: Rule, steps: Sequence[Step]) -> None:
    """The events leave the rule silent, and every one of their fields is real."""
    assert rule.id not in {signal.rule for signal in signals_of(RULES, steps)}


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.id) for rule in RULES.rules if rule.emits])
def test_has_examples_and_a_threat(rule: Rule) -> None:
    """A rule that makes signals says what they mean, and has examples for both sides."""
    assert rule.threat_type
    assert rule.examples.fires
    assert rule.examples.silent


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.id) for rule in RULES.rules])
def test_example_events_have_only_known_fields(rule: Rule) -> None:
    """A misspelt field would make a silent example silent for the wrong reason."""
    for step in (step for steps in (*rule.examples.fires, *rule.examples.silent) for step in steps):
        assert step.event.keys() <= set(Event.__struct_fields__)
