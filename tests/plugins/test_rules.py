"""Every shipped rule shows what makes it fire and what leaves it silent, and does so."""

from __future__ import annotations

import pytest

from sentinel.detection import Rule, parse_rules, shipped_rules
from sentinel.detection.examples import failures
from sentinel.model import Event

RULES = parse_rules(shipped_rules())
WRONG = list(failures(RULES))


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.id) for rule in RULES.rules])
def test_examples_do_what_they_show(rule: Rule) -> None:
    """Every run under `fires` makes the rule fire, and every one under `silent` leaves it silent."""
    assert [reason for name, reason in WRONG if name == rule.id] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("", []),
        (("times: 3", "times: 2"), ["fires 1: the rule stays silent"]),
        (("times: 2}", "times: 4}"), ["silent 1: the rule fires"]),
        (("event_type: authentication", "event_type: gossip"), ["fires 1: not an event"]),
    ],
)
def test_an_example_that_does_something_else_is_named(change: tuple[str, str] | str, reason: list[str]) -> None:
    """Whoever writes a rule is told which of its examples is wrong."""
    text = EXAMPLE.replace(*change, 1) if change else EXAMPLE
    assert [
        told[: len(each)] for (_, told), each in zip(failures(parse_rules([("r", text)])), reason, strict=True)
    ] == reason


EXAMPLE = """
name: failed
logsource: {product: sentinel, category: authentication}
detection: {failed: {success: false}, condition: failed}
---
name: many
correlation: {type: event_count, rules: [failed], timespan: 10s, condition: {gte: 3}}
sentinel:
  examples:
    fires: [[{event: {event_type: authentication, details: {success: false}}, times: 3}]]
    silent: [[{event: {event_type: authentication, details: {success: false}}, times: 2}]]
"""


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
