"""One field of a selection."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.detection.sigma.values import Answer, all_of, any_of, field_predicate, negated
from sentinel.errors import RuleError

from .samples import event

PLACEHOLDERS = {"admins": ["erin", "frank"], "hosts": ["db", "web"]}


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
        # Another field of the same event.
        ("f|fieldref", "g", {"f": "A", "g": "a"}, True),
        ("f|fieldref", "g", {"f": "a", "g": "b"}, False),
        ("f|fieldref|cased", "g", {"f": "A", "g": "a"}, False),
        ("f|fieldref|endswith", "g", {"f": "x.example", "g": "example"}, True),
        ("f|fieldref", ["g", "h"], {"f": 5, "g": 1, "h": "5"}, True),
        ("f|fieldref|all", ["g", "h"], {"f": 5, "g": 1, "h": "5"}, False),
        ("f|fieldref", "g", {"f": ["a", "b"], "g": ["b"]}, True),
        ("f|fieldref", "g", {}, False),
        ("f|fieldref|neq", "g", {"f": "a", "g": "b"}, True),
        ("f|fieldref|neq", "g", {"f": "a", "g": "A"}, False),
        # Parts of a time, in UTC, weeks as ISO has them.
        ("f|minute", 59, {"f": "2026-01-01T00:59:00+01:00"}, True),
        ("f|hour", 23, {"f": "2026-01-01T00:59:00+01:00"}, True),
        ("f|day", 31, {"f": "2026-01-01T00:59:00+01:00"}, True),
        ("f|week", 53, {"f": "2027-01-01T12:00:00Z"}, True),
        ("f|month", [1, 2], {"f": "2026-02-01"}, True),
        ("f|year", 2026, {"f": "2026-02-01T00:00:00Z"}, True),
        ("f|hour|gte", 22, {"f": "2026-02-01T22:00:00Z"}, True),
        ("f|hour|gte", 22, {"f": "2026-02-01T21:59:59Z"}, False),
        ("f|hour|neq", 5, {"f": "no time"}, True),
        ("f|hour", 5, {"f": "no time"}, False),
        ("f|hour", 0, {"f": "0001-01-01T00:00:00+14:00"}, False),
        ("timestamp|year", 1970, {}, True),
        # Encoded texts, made with other programs: printf ... | base64.
        ("f|base64", "whoami", {"f": "d2hvYW1p"}, True),
        ("f|base64|contains", "whoami", {"f": "run d2hvYW1p now"}, True),
        ("f|wide|base64|contains", "whoami", {"f": "dwBoAG8AYQBtAGkA"}, True),
        ("f|utf16le|base64", "ab", {"f": "YQBiAA=="}, True),
        ("f|utf16be|base64", "ab", {"f": "AGEAYg=="}, True),
        ("f|utf16|base64", "ab", {"f": "//5hAGIA"}, True),
        ("f|base64offset|contains", "whoami", {"f": "d2hvYW1p"}, True),
        ("f|base64offset|contains", "whoami", {"f": "eHdob2FtaXg="}, True),  # xwhoamix
        ("f|base64offset|contains", "whoami", {"f": "eHh3aG9hbWl4eA=="}, True),  # xxwhoamixx
        ("f|base64offset|contains", "whoami", {"f": "d2hvYXJl"}, False),
        # Dashes of all kinds.
        ("f|windash|contains", " -enc ", {"f": "x /enc y"}, True),
        ("f|windash|contains", " /enc ", {"f": "x \N{EN DASH}enc y"}, True),
        ("f|windash", "-a -b", {"f": "\N{EM DASH}a \N{HORIZONTAL BAR}b"}, True),
        ("f|windash", "well-known", {"f": "well/known"}, False),
        ("f|windash|contains|all", ["-a", "-b"], {"f": "/a /b"}, True),
        ("f|windash|contains|all", ["-a", "-b"], {"f": "/a -c"}, False),
        # Placeholders.
        ("f|expand", "%admins%", {"f": "ERIN"}, True),
        ("f|expand", r"\%plain%admins%", {"f": "%plainerin"}, True),
        ("f|expand", r"\%admins%admins%", {"f": "erinerin"}, False),
        ("f|expand", "%admins%", {"f": "grace"}, False),
        ("f|expand|contains", "u=%admins%@%hosts%;", {"f": "u=frank@db;"}, True),
        ("f|expand|neq", "%admins%", {"f": "grace"}, True),
        ("|expand", "%admins%", {"x": "hello frank"}, True),
    ],
)
def test_field(key: str, wanted: Any, details: dict[str, Any], expected: bool) -> None:
    """A field matches as the Sigma specification and the decisions say."""
    assert field_predicate(key, wanted, PLACEHOLDERS).holds(event(details)) is expected


@pytest.mark.parametrize(
    ("key", "wanted", "reason"),
    [
        ("f|base65", "x", "'base65' is not supported"),
        ("f|expand", "%x%", "%x% does not stand in placeholders.yml"),
        ("f|expand", "x", "takes a text with"),
        ("f|expand", 5, "takes a text with"),
        ("f|windash", 5, "takes a text"),
        ("f|windash", "-a -b -c -d -e", "at most four"),
        ("f|windash|gt", "-x", "has no meaning with 'gt'"),
        ("f|base64", "a*", "without wildcards"),
        ("f|base64", 5, "without wildcards"),
        ("f|base64|re", "a", "has no meaning with 're'"),
        ("f|base64offset|contains", "a", "longer text"),
        ("f|wide", "a", "must stand before base64"),
        ("f|base64|wide", "a", "must stand before base64"),
        ("f|fieldref", 5, "names of fields"),
        ("f|fieldref|re", "g", "two fields"),
        ("f|fieldref|base64", "g", "two fields"),
        ("f|hour", "x", "whole number"),
        ("f|hour|contains", 5, "can only be compared"),
        ("f|hour|day", 5, "exclude or repeat"),
        ("|hour", 5, "needs a field"),
        ("|fieldref", "f", "needs a field"),
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


@pytest.mark.parametrize(
    ("key", "wanted", "need"),
    [
        ("f", "Abc", ("f", frozenset({"abc"}), True)),
        ("f", ["a", "b"], ("f", frozenset({"a", "b"}), True)),
        ("f", ["a", "b*"], ("f", frozenset({"a", "b"}), False)),
        ("f", "x*longer?", ("f", frozenset({"longer"}), False)),
        ("f|contains", ["A", "b"], ("f", frozenset({"a", "b"}), False)),
        ("f|contains|all", ["a", "b"], ("f", frozenset({"a"}), False)),
        ("f|cased", "Abc", ("f", frozenset({"abc"}), True)),
        ("", "Needle", ("", frozenset({"needle"}), False)),
        ("f|cased", "\N{GREEK CAPITAL LETTER SIGMA}", None),
        ("f", "*", None),
        ("f", [None, "a"], None),
        ("f|neq", "a", None),
        ("f|exists", True, None),
        ("f|re", "a", None),
        ("f|gt", 5, None),
        ("f|fieldref", "g", None),
    ],
)
def test_what_an_event_must_show(key: str, wanted: Any, need: tuple[str, frozenset[str], bool] | None) -> None:
    """An index may leave a rule out only when its text is certainly missing, so doubt means None."""
    found = field_predicate(key, wanted).need
    assert (found and [(one.field, one.literals, one.exact) for one in found]) == (need and [need])


@pytest.mark.parametrize(
    ("first", "second", "both", "either"),
    [
        (True, True, True, True),
        (True, False, False, True),
        (False, False, False, False),
        (True, None, None, True),
        (None, False, False, None),
        (None, None, None, None),
    ],
)
def test_what_is_not_known_yet_matters_only_where_it_can(
    first: Answer, second: Answer, both: Answer, either: Answer
) -> None:
    """A dear question is spared wherever the others decide, on both sides of an `and`, an `or` and a `not`."""
    parts = [field_predicate("a", 1), field_predicate("b", 1)]
    answers = {parts[0].questions[0]: first, parts[1].questions[0]: second}
    for predicates in (parts, parts[::-1]):
        assert all_of(predicates).decide(answers.__getitem__) is both
        assert any_of(predicates).decide(answers.__getitem__) is either
        assert negated(all_of(predicates)).decide(answers.__getitem__) is (None if both is None else not both)
