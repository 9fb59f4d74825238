"""One field of a selection."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.detection.sigma.values import field_predicate
from sentinel.errors import RuleError

from .samples import event


@pytest.mark.parametrize(
    ("key", "wanted", "details", "expected"),
    [
        # Equality: text forms, no case, alternatives, arrays.
        ("f", "abc", {"f": "ABC"}, True),
        ("f", "ABC", {"f": "abc"}, True),
        ("f", "abc", {"f": "abcd"}, False),
        ("f", 500, {"f": "500"}, True),
        ("f", "500", {"f": 500}, True),
        ("f", False, {"f": False}, True),
        ("f", False, {"f": "false"}, True),
        ("f", False, {"f": 0}, False),
        ("f", "", {"f": ""}, True),
        ("f", "", {"f": "x"}, False),
        ("f", "", {}, False),
        ("f", ["a", "b"], {"f": "b"}, True),
        ("f", ["a", "b"], {"f": "c"}, False),
        ("f", "b", {"f": ["a", "B"]}, True),
        ("f", "b", {"f": []}, False),
        ("f", "b", {"f": {"b": "b"}}, False),
        ("f", "b", {}, False),
        # Null: null or absent.
        ("f", None, {"f": None}, True),
        ("f", None, {}, True),
        ("f", None, {"f": ""}, False),
        ("f", [None, "login"], {}, True),
        ("f", [None, "login"], {"f": "login"}, True),
        ("f", [None, "login"], {"f": "logout"}, False),
        # Wildcards and their escapes.
        ("f", "a*", {"f": "ABC"}, True),
        ("f", "*c", {"f": "abc"}, True),
        ("f", "*b*", {"f": "abc"}, True),
        ("f", "*b*", {"f": "acc"}, False),
        ("f", "a?c", {"f": "a\nc"}, True),
        ("f", "a?c", {"f": "ac"}, False),
        ("f", "a?c", {"f": "abcd"}, False),
        ("f", "b?d", {"f": "abcd"}, False),
        ("f", "a*c*e", {"f": "abc\nde"}, True),
        ("f", "a*c*e", {"f": "abde"}, False),
        ("f", "*", {"f": "anything"}, True),
        ("f", "*", {}, False),
        ("f", r"a\*", {"f": "a*"}, True),
        ("f", r"a\*", {"f": "ab"}, False),
        ("f", r"a\?c", {"f": "abc"}, False),
        ("f", r"c:\temp", {"f": r"C:\Temp"}, True),
        ("f", r"c:\\*", {"f": r"C:\Temp"}, True),
        ("f", r"c:\\*", {"f": "C:*"}, False),
        ("f", "a.c*", {"f": "abcd"}, False),
        ("f", "?.b*", {"f": "a.bc"}, True),
        ("f", "?.b*", {"f": "axbc"}, False),
        ("f", "a?é*", {"f": "AxÉ\ud800"}, True),
        # contains, startswith, endswith, cased.
        ("f|contains", "B", {"f": "abc"}, True),
        ("f|contains", "x", {"f": "abc"}, False),
        ("f|contains", 0, {"f": 500}, True),
        ("f|startswith", "AB", {"f": "abc"}, True),
        ("f|startswith", "b", {"f": "abc"}, False),
        ("f|endswith", "C", {"f": "abc"}, True),
        ("f|endswith", "b", {"f": "abc"}, False),
        ("f|contains", "a*c", {"f": "xabcx"}, True),
        ("f|cased", "Abc", {"f": "Abc"}, True),
        ("f|cased", "Abc", {"f": "abc"}, False),
        ("f|contains|cased", "B", {"f": "abc"}, False),
        # all: every value, each in some element.
        ("f|contains|all", ["a", "c"], {"f": "abc"}, True),
        ("f|contains|all", ["a", "x"], {"f": "abc"}, False),
        ("f|contains|all", ["a", "b"], {"f": ["a", "b"]}, True),
        ("f|all", ["a", "b"], {"f": ["a", "c"]}, False),
        # neq: true where nothing is equal, also when there is nothing.
        ("f|neq", "a", {"f": "b"}, True),
        ("f|neq", "a", {"f": "A"}, False),
        ("f|neq", "a", {}, True),
        ("f|neq", ["a", "b"], {"f": "b"}, False),
        ("f|neq", "a", {"f": ["b", "a"]}, False),
        ("f|neq", None, {}, False),
        ("f|contains|neq", "b", {"f": "abc"}, False),
        # exists: presence only.
        ("f|exists", True, {"f": None}, True),
        ("f|exists", True, {}, False),
        ("f|exists", False, {}, True),
        ("f|exists", False, {"f": ""}, False),
        # Numbers.
        ("f|gt", 5, {"f": 5}, False),
        ("f|gt", 5, {"f": 5.1}, True),
        ("f|gte", 5, {"f": "5"}, True),
        ("f|lt", 5, {"f": 4}, True),
        ("f|lt", 5, {"f": 5}, False),
        ("f|lte", 5, {"f": 5}, True),
        ("f|gt", 5, {"f": "many"}, False),
        ("f|lt", 5, {"f": None}, False),
        ("f|lt", 5, {}, False),
        ("f|gt", 0, {"f": True}, False),
        # Regular expressions: RE2, found anywhere, case counts.
        ("f|re", "b+", {"f": "abbc"}, True),
        ("f|re", "^b", {"f": "abbc"}, False),
        ("f|re", "B", {"f": "abc"}, False),
        ("f|re|i", "B", {"f": "abc"}, True),
        ("f|re|s", "a.c", {"f": "a\nc"}, True),
        ("f|re", "a.c", {"f": "a\nc"}, False),
        ("f|re|m", "^b", {"f": "a\nb"}, True),
        ("f|re", "^50", {"f": 500}, True),
        ("f|re", "x", {"f": "\ud800x"}, True),
        # Networks.
        ("f|cidr", "192.0.2.0/24", {"f": "192.0.2.77"}, True),
        ("f|cidr", "192.0.2.0/24", {"f": "192.0.3.1"}, False),
        ("f|cidr", "192.0.2.9/24", {"f": "192.0.2.77"}, True),
        ("f|cidr", ["10.0.0.0/8", "2001:db8::/32"], {"f": "2001:db8::1"}, True),
        ("f|cidr", "192.0.2.0/24", {"f": "2001:db8::1"}, False),
        ("f|cidr", "192.0.2.0/24", {"f": "no address"}, False),
        ("f|cidr", "0.0.0.0/0", {"f": 5}, False),
        # Keywords: anywhere in the event, nested too.
        ("", "NEEDLE", {"a": [{"b": "a needle in"}]}, True),
        ("", "needle", {"needle": "x"}, False),
        ("", ["x", "y"], {"a": "..y.."}, True),
        ("|all", ["x", "y"], {"a": "x", "b": "y"}, True),
        ("|all", ["x", "y"], {"a": "x"}, False),
        ("|re", "^x$", {"a": "x"}, True),
        ("", "n*le", {"a": "a needle in"}, True),
    ],
)
def test_field(key: str, wanted: Any, details: dict[str, Any], expected: bool) -> None:
    """A field matches as the Sigma specification and the decisions say."""
    assert field_predicate(key, wanted)(event(details)) is expected


@pytest.mark.parametrize(
    ("key", "wanted", "reason"),
    [
        ("f|base64", "x", "'base64' is not supported"),
        ("f|windash", "-x", "'windash' is not supported"),
        ("f|fieldref", "g", "'fieldref' is not supported"),
        ("f|expand", "%x%", "'expand' is not supported"),
        ("f|", "x", "'' is not supported"),
        ("f|contains|startswith", "x", "exclude or repeat"),
        ("f|all|all", "x", "exclude or repeat"),
        ("f|cased|re", "x", "'cased'"),
        ("f|contains|i", "x", "belong to 're'"),
        ("f|contains|all|neq", ["x"], "'neq'"),
        ("f|exists|neq", True, "'neq'"),
        ("f|exists", "yes", "true or false"),
        ("f|re", "(?=x)", "RE2 has no such"),
        ("f|re", r"(a)\1", "RE2 has no such"),
        ("f|re", "\ud800", "RE2 has no such"),
        ("f|re", 5, "takes a text"),
        ("f|cidr", "192.0.2.0/99", "takes a network"),
        ("f|gt", "5", "takes a number"),
        ("f|gt", None, "takes a number"),
        ("f|gt", True, "takes a number"),
        ("f|contains", None, "null"),
        ("f", [], "empty list"),
        ("f", {"a": 1}, "must be a text"),
        ("f", [["a"]], "must be a text"),
        ("f", 10**400, "must be a text"),
        ("|gt", 5, "needs a field"),
        ("|exists", True, "needs a field"),
        ("|neq", "x", "needs a field"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(key: str, wanted: Any, reason: str) -> None:
    """A modifier or value that can't be evaluated exactly is an error, never ignored."""
    with pytest.raises(RuleError) as caught:
        field_predicate(key, wanted)
    assert reason in caught.value.reason


def test_a_refused_expression_is_not_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """RE2 would print it on its own; the reason belongs into the refusal and nowhere else."""
    with pytest.raises(RuleError):
        field_predicate("f|re", "(?=x)")
    assert capfd.readouterr() == ("", "")
