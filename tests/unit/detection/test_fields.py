"""What names mean and how values read."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.detection.sigma.fields import ABSENT, getter, number, strings, subject_type, text
from sentinel.model import EventType, Severity, SubjectType

from .samples import EPOCH, event

EVENT = event(
    {"user_id": "shadowed", "session_id": "inner", "a.b": "flat", "a": {"b": "deep", "c": {"d": 1}}, "n": None},
    user_id="erin",
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_id", "erin"),
        ("details.user_id", "shadowed"),
        ("session_id", "inner"),
        ("event_type", EventType.AUTHENTICATION),
        ("a.b", "flat"),
        ("a.c.d", 1),
        ("details.a.c.d", 1),
        ("details.a.b", "flat"),
        ("n", None),
        ("a.x", ABSENT),
        ("user_id.x", ABSENT),
        ("nothing", ABSENT),
    ],
)
def test_a_name_finds_the_nearest_field(name: str, value: object) -> None:
    """Top level first, then a key of details, then a path; `details.` skips the top level."""
    assert getter(name)(EVENT) == value


CLOUD = {"target": [{"name": "a", "tags": ["x", "y"]}, {"name": "b"}, "odd"], "deep": [{"list": [{"name": None}]}]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target.name", ["a", "b"]),
        ("target.tags", ["x", "y"]),
        ("deep.list.name", [None]),
        ("target.nothing", ABSENT),
        ("target.name.deeper", ABSENT),
    ],
)
def test_a_path_goes_through_lists(name: str, value: object) -> None:
    """The objects of a list each give their own; a list in a list is one list, and what has nothing gives nothing."""
    assert getter(name)(event(CLOUD)) == value


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("192.0.2.1", ABSENT),
        ("not:an:address", ABSENT),
        (None, ABSENT),
    ],
)
def test_ip_network_is_the_64_of_an_ipv6_address(address: str | None, network: object) -> None:
    """The subscriber's network in RFC 5952 spelling; IPv4 has none."""
    assert getter("ip_network")(event(ip_address=address)) == network


def test_keywords_see_what_the_source_wrote() -> None:
    """Texts at any depth count; numbers, and the id, type and severity that are ours, don't."""
    found = strings(event({"a": ["x", {"b": "y"}], "n": 7}, event_id="random", user_agent="curl"))
    assert sorted(found) == ["curl", "x", "y"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Text", "Text"),
        (True, "true"),
        (500, "500"),
        (1.5, "1.5"),
        (Severity.HIGH, "high"),
        (EPOCH, "1970-01-01T00:00:00Z"),
        (10**400, None),
        (None, None),
        (ABSENT, None),
        ({"a": 1}, None),
        (["a"], None),
    ],
)
def test_text_form(value: Any, expected: str | None) -> None:
    """Scalars have one text form, as JSON would write it; nothing else has one."""
    assert text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (0.5, 0.5),
        ("12.5", 12.5),
        ("-3", -3),
        (True, None),
        ("1e9", None),
        ("1_000", None),
        (" 5", None),
        ("٣", None),
        ("nan", None),
        ("9" * 400, None),
        (None, None),
    ],
)
def test_number_form(value: Any, expected: float | None) -> None:
    """Numbers and plain decimal texts are numbers; junk is not."""
    assert number(value) == expected


def test_subject_type_follows_the_field() -> None:
    """With or without `details.`, and global for a field that names no subject."""
    names = ["ip_address", "ip_network", "user_id", "session_id", "service_name", "details.tool_name", "table_name"]
    assert [subject_type(name) for name in names] == [
        SubjectType.IP,
        SubjectType.NETWORK,
        SubjectType.USER,
        SubjectType.SESSION,
        SubjectType.SERVICE,
        SubjectType.TOOL,
        SubjectType.GLOBAL,
    ]
