"""Selections and conditions."""

from __future__ import annotations

import pytest

from sentinel.detection.sigma.condition import detection_predicate
from sentinel.detection.sigma.document import LocatedError, Map, documents

from .samples import event

SELECTIONS = """
a: {a: 1}
b: {b: 1}
x_one: {x: 1}
x_two: {y: 1}
_hidden: {never: 1}
"""


def detection(text: str) -> Map:
    (content,) = documents(text)
    assert isinstance(content, Map)
    return content


@pytest.mark.parametrize(
    ("condition", "present", "expected"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a and b", "a", False),
        ("a and b", "ab", True),
        ("a or b", "b", True),
        ("a OR b", "b", True),
        ("a or b or x_one", "x", True),
        ("a and b and x_one", "ab", False),
        ("not a", "", True),
        ("not not a", "a", True),
        ("a or b and x_one", "a", True),
        ("(a or b) and x_one", "a", False),
        ("not a and b", "b", True),
        ("not (a and b)", "ab", False),
        ("1 of x*", "y", True),
        ("1 of x*", "ab", False),
        ("all of x*", "x", False),
        ("all of x*", "xy", True),
        ("1 of them", "b", True),
        ("1 of them", "", False),
        ("all of them", "abxy", True),
        ("a and 1 of x* and not b", "ax", True),
        ("[a, b]", "b", True),
    ],
)
def test_condition(condition: str, present: str, expected: bool) -> None:
    """Conditions bind not, and, or in this order; selections that begin with an underscore are out of `of`."""
    matches = detection_predicate(detection(f"{SELECTIONS}condition: {condition}"))
    assert matches.holds(event(dict.fromkeys(present, 1))) is expected


@pytest.mark.parametrize(
    ("selection", "details", "expected"),
    [
        ("{a: 1, b: 1}", {"a": 1}, False),
        ("{a: 1, b: 1}", {"a": 1, "b": 1}, True),
        ("[{a: 1}, {b: 1}]", {"b": 1}, True),
        ("[{a: 1}, {b: 1}]", {"c": 1}, False),
        ("[needle, pin]", {"c": "a pin"}, True),
        ("needle", {"c": "a needle"}, True),
        ("{'|all': [needle, pin]}", {"c": "a pin"}, False),
        ("[{a: 1}, pin]", {"c": "a pin"}, True),
    ],
)
def test_selection(selection: str, details: dict[str, object], expected: bool) -> None:
    """A map asks for all of its fields, a list for one of its items, plain texts are keywords."""
    assert detection_predicate(detection(f"s: {selection}\ncondition: s")).holds(event(details)) is expected


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("s: {a: 1}", 1, "'condition' is missing"),
        ("s: {a: 1}\ntimeframe: 5m\ncondition: s", 2, "event_count"),
        ("s: {a: 1}\ntimeframe: 5m\ncondition: s | count() by b > 5", 2, "group-by: [b]"),
        ("s: {a: 1}\ncondition: s | count() > 5", 2, "type: event_count, condition: {gt: 5}"),
        (
            "s: {a: 1}\ncondition: s | count(user) by ip >= 5",
            2,
            "type: value_count, group-by: [ip], condition: {field: user, gte: 5}",
        ),
        ("s: {a: 1}\ncondition: s | sum(rows) > 5", 2, "type: value_sum, condition: {field: rows, gt: 5}"),
        ("s: {a: 1}\ncondition: s | near t", 2, "correlation of type temporal"),
        ("s: {a: 1}\ncondition: s | max(x) > 5", 2, "write a correlation"),
        ("s: {a: 1}\ncondition: s near t", 2, "'near'"),
        ("s: {a: 1}\ncondition: t", 2, "'t'"),
        ("s: {a: 1}\ncondition: (s", 2, "parenthesis"),
        ("s: {a: 1}\ncondition: s and", 2, "ends early"),
        ("s: {a: 1}\ncondition: and s", 2, "'and'"),
        ("s: {a: 1}\ncondition: ''", 2, "ends early"),
        ("s: {a: 1}\ncondition: 2 of s*", 2, "'2 of'"),
        ("s: {a: 1}\ncondition: 1 of t*", 2, "names no selection"),
        ("s: {a: 1}\ncondition: 5", 2, "must be text"),
        ("s: [a, b]\ncondition: all of s", 2, "'|all:'"),
        (f"s: {{a: 1}}\ncondition: {'not ' * 500}s", 2, "at most"),
        ("s:\n  a: 1\n  b|c: 1\ncondition: s", 3, "'c'"),
        ("s: {}\ncondition: s", 1, "must be a text"),
        ("s: []\ncondition: s", 1, "empty list"),
        ("s: [{a: 1}, {}]\ncondition: s", 1, "must be a text"),
        ("s: [{a: 1}, [{b: 1}]]\ncondition: s", 1, "list of lists"),
    ],
)
def test_what_is_not_understood_says_where(text: str, line: int, reason: str) -> None:
    """Anything that can't be evaluated exactly is refused with its line."""
    with pytest.raises(LocatedError) as caught:
        detection_predicate(detection(text))
    assert (caught.value.line, reason in caught.value.reason) == (line, True), caught.value.reason
