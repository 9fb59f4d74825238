"""What a parsed rule says of an event."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.detection.rule import sources_of
from sentinel.model import EventType

from .samples import FAILED, SECOND, count, event, rule


def plain(settings: str = "{}", source: str = "{category: authentication}") -> str:
    return f"name: p\nlogsource: {source}\ndetection: {{s: {{a: 1}}, condition: s}}\nsentinel: {settings}"


@pytest.mark.parametrize(
    ("source", "fields", "expected"),
    [
        ("{product: sentinel}", {}, True),
        ("{product: Sentinel, category: Authentication}", {}, True),
        ("{product: sentinel, category: scan}", {}, False),
        ("{category: authentication}", {}, True),
        ("{service: web}", {"service_name": "Web"}, True),
        ("{service: web}", {"service_name": "mail"}, False),
        ("{service: web}", {}, False),
        ("{product: linux}", {}, False),
        ("{product: linux, service: sshd}", {"logsource": {"product": "linux", "service": "sshd"}}, True),
        ("{product: linux, service: sshd}", {"logsource": {"product": "linux"}}, False),
        ("{product: sentinel}", {"logsource": {"product": "linux"}}, True),
        ("{product: linux}", {"logsource": "linux"}, False),
    ],
)
def test_log_sources(source: str, fields: dict[str, Any], expected: bool) -> None:
    """Every event is one of ours by its type and service, and also what its `details.logsource` says."""
    details = {"a": 1} | {key: value for key, value in fields.items() if key == "logsource"}
    top = {key: value for key, value in fields.items() if key != "logsource"}
    assert rule(plain(source=source)).matches(event(details, **top)) is expected


def test_our_source_is_the_event_type_and_the_service() -> None:
    """Product, category, service in lower case."""
    assert sources_of(event(event_type=EventType.SCAN, service_name="Chat")) == [("sentinel", "scan", "chat")]


@pytest.mark.parametrize(
    ("fields", "group"),
    [
        ({"user_id": "erin", "ip_address": "192.0.2.1"}, (("user_id", "erin"),)),
        ({"ip_address": "192.0.2.1", "session_id": "s"}, (("ip_address", "192.0.2.1"),)),
        ({"session_id": "s", "service_name": "w"}, (("session_id", "s"),)),
        ({"service_name": "w"}, (("service_name", "w"),)),
        ({}, ()),
    ],
)
def test_a_plain_detection_is_about_the_first_subject_present(fields: dict[str, str], group: object) -> None:
    """User, address, session, service; an event with none of them still makes a signal."""
    assert rule(plain()).parts[0].group(event(**fields)) == group


def test_the_subject_may_be_named() -> None:
    """`sentinel.subject` replaces the usual order."""
    named = rule(plain("{subject: details.tool_name}"))
    assert named.parts[0].group(event({"tool_name": "shell"}, user_id="erin")) == (("details.tool_name", "shell"),)


@pytest.mark.parametrize(("address", "group"), [("192.0.2.1", (("ip_address", "192.0.2.1"),)), (None, None)])
def test_an_event_without_the_field_takes_no_part_in_a_count(address: str | None, group: object) -> None:
    """A missing value is no group of its own."""
    assert count().rules[1].parts[0].group(event(ip_address=address)) == group


def test_values_that_are_no_scalars_make_no_group() -> None:
    """Lists and mappings can't be a subject."""
    named = rule(FAILED + "sentinel: {subject: x}")
    assert [named.parts[0].group(event({"x": value})) for value in ([1], {"a": 1}, 7)] == [(), (), (("x", "7"),)]


@pytest.mark.parametrize(
    ("timespan", "suppress", "cell"),
    [
        ("10s", "10s", 10),
        ("10s", "3s", 3),
        ("10s", "60s", 10),
        ("10s", "25s", 25 / 3),
        ("6s", "7s", 3.5),
        ("1m", "1h", 60),
    ],
)
def test_cells_divide_a_bucket_and_fit_into_a_window(timespan: str, suppress: str, cell: float) -> None:
    """The largest divisor of S that is not above T, down to the microsecond."""
    found = count(t=timespan, more=f"sentinel: {{suppress: {suppress}}}").rules[1]
    assert found.suppress % found.cell == 0
    assert found.cell <= found.timespan
    if cell == 25 / 3:  # not a whole number of microseconds: a quarter is the next that is
        cell = 25 / 4
    assert found.cell == cell * SECOND
