"""Tests of sentinel.detection.coverage: rules that wait for what never comes are named."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.detection import parse_rules
from sentinel.detection.coverage import ENOUGH, Coverage
from sentinel.model import Event

from .samples import event

RULE = """
name: {name}
logsource: {source}
detection: {{a: {a}, b: {b}, condition: {condition}}}
"""
OURS = "{product: sentinel, category: authentication}"
CLOUD = "{product: aws, service: cloudtrail}"


def coverage(*rules: str) -> Coverage:
    found = parse_rules([("rules.yml", "---".join(rules))])
    assert not found.refused, found.refused
    return Coverage(found)


def rule(a: str, b: str = "{success: true}", condition: str = "a and b", source: str = OURS, name: str = "r") -> str:
    return RULE.format(name=name, source=source, a=a, b=b, condition=condition)


def seen_event(**details: Any) -> Event:
    return event({"success": False, **details}, user_id="erin")


@pytest.mark.parametrize(
    ("text", "blind"),
    [
        (rule("{tries: 3}"), True),
        (rule("{tries|gt: 3}"), True),
        (rule("{tries|exists: true}"), True),
        (rule("{tries|re: x}"), True),
        (rule("{user_id|fieldref: tries}"), True),
        (rule("{tries: 3}", condition="a or b"), False),  # the other side may still match
        (rule("{tries: 3}", "{tries: 4}", condition="1 of them"), True),
        (rule("{tries: 3}", condition="b and not a"), False),
        (rule("{tries: [null, 3]}"), False),
        (rule("{tries|exists: false}"), False),
        (rule("{tries|neq: 3}"), False),
        (rule("{user_id: erin}"), False),
        (rule("['tries']"), False),  # keywords look everywhere
    ],
)
def test_a_rule_is_blind_when_no_event_has_what_it_needs(text: str, blind: bool) -> None:
    """Only a field without which the rule can never match makes it blind, and only after many events."""
    seen = coverage(text)
    seen.see([seen_event()] * (ENOUGH - 1))
    assert seen.blind() == {}
    seen.see([seen_event()])
    assert list(seen.blind()) == (["r"] if blind else [])


def test_one_event_with_the_field_opens_its_eyes() -> None:
    """A field that is rare, not missing, stops being told."""
    seen = coverage(rule("{tries: 3}"))
    seen.see([seen_event()] * ENOUGH)
    assert seen.blind() == {"r": "no event of its log source had tries so far"}
    seen.see([seen_event(tries=0)])
    assert seen.blind() == {}


def test_a_foreign_log_source_is_blind_until_an_event_names_it() -> None:
    """Rules for a cloud that sends nothing are told at once, and not any more when it begins to."""
    seen = coverage(rule("{user_id: x}", source=CLOUD), rule("{success: true}", name="ours"))
    assert seen.blind() == {"r": "no event has named its log source yet"}
    seen.see([seen_event(logsource={"product": "aws", "service": "cloudtrail"})])
    assert seen.blind() == {}


COUNT = """
name: c
correlation: {{type: {kind}, rules: [r, ours], timespan: 1m, condition: {condition}}}
"""


@pytest.mark.parametrize(
    ("kind", "condition", "blind"),
    [
        ("event_count", "{gte: 2}", False),
        ("temporal", "{gte: 1}", False),
        ("temporal", "{gte: 2}", True),
        ("temporal_ordered", "null", True),
    ],
)
def test_a_correlation_is_blind_when_too_few_of_its_rules_see(kind: str, condition: str, blind: bool) -> None:
    """A count lives on one of its rules; a sequence needs every step."""
    serving = (rule("{user_id: x}", source=CLOUD), rule("{success: true}", name="ours"))
    seen = coverage(*serving, COUNT.format(kind=kind, condition=condition))
    assert list(seen.blind()) == (["c"] if blind else [])
