"""Tests of Engine.ignored: what rules match and can't count is a number, not a silence."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.detection import Engine, parse_rules

from .samples import FAILED, failure

CORRELATION = """
---
name: c
correlation: {{type: {kind}, rules: [failed], group-by: [{by}], timespan: 1m, condition: {condition}}}
"""


def engine(kind: str, condition: str, by: str = "ip_address") -> Engine:
    rules = parse_rules([("rules.yml", FAILED + CORRELATION.format(kind=kind, condition=condition, by=by))])
    assert not rules.refused, rules.refused
    return Engine(rules)


@pytest.mark.parametrize(
    ("kind", "condition", "by", "event", "ignored"),
    [
        ("event_count", "{gte: 2}", "ip_address", {}, {}),
        ("event_count", "{gte: 2}", "ip_address", {"ip_address": None}, {"field": 1}),
        ("event_count", "{gte: 2}", "user_id", {}, {"field": 1}),
        ("event_count", "{gte: 2}", "ip_network", {}, {}),  # IPv4 has none: nothing is missing
        ("value_count", "{gte: 2, field: x}", "ip_address", {}, {"field": 1}),
        ("value_count", "{gte: 2, field: x}", "ip_address", {"details": {"x": "y"}}, {}),
        ("value_sum", "{gte: 2, field: x}", "ip_address", {}, {"field": 1}),
        ("value_sum", "{gte: 2, field: x}", "ip_address", {"details": {"x": 1}}, {}),
        ("value_sum", "{gte: 2, field: x}", "ip_address", {"details": {"x": "much"}}, {"number": 1}),
        ("value_sum", "{gte: 2, field: x}", "ip_address", {"details": {"x": None}}, {"number": 1}),
        ("value_sum", "{gte: 2, field: x}", "ip_address", {"details": {"x": -1}}, {"number": 1}),
        ("value_sum", "{gte: 2, field: x}", "ip_address", {"details": {"x": True}}, {"number": 1}),
        ("value_avg", "{gte: 2, field: x}", "ip_address", {"details": {"x": "much"}}, {"number": 1}),
        ("value_avg", "{gte: 2, field: x}", "ip_address", {"details": {"x": -1}}, {}),
        ("value_avg", "{gte: 2, field: x}", "ip_address", {"details": {"x": True}}, {}),
    ],
)
def test_what_a_rule_can_not_count_is_counted(
    kind: str, condition: str, by: str, event: dict[str, Any], ignored: dict[str, int]
) -> None:
    """A field that is missing and a number that is none are told apart; what is usable is not counted."""
    judge = engine(kind, condition, by)
    judge.warm((), -(10**15))
    judge.add([failure(1, **event)])
    assert {reason: number for reason, number in judge.ignored.items() if number} == ignored


def test_a_replay_is_not_counted_again() -> None:
    """What was counted when it came is not counted when its windows are brought back."""
    judge = engine("event_count", "{gte: 2}", "user_id")
    judge.warm([failure(1)], -(10**15))
    assert not judge.ignored
