"""Tests of sentinel.response.backtest: what would have been is what would have been done, and to whom."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from zlib import crc32

import pytest
from tests.oracle import oracle

from sentinel.detection import parse_rules
from sentinel.model import Event, EventType, Severity, StoredEvent, micros
from sentinel.response import GuardRails, default_policy
from sentinel.response import backtest as module
from sentinel.response.backtest import Backtest, backtest

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = parse_rules(
    [
        (
            "rules.yml",
            """
name: failed
logsource: {product: sentinel, category: authentication}
detection: {failed: {success: false}, condition: failed}
---
name: many
level: high
correlation: {type: event_count, rules: [failed], group-by: [ip_address], timespan: 1m, condition: {gte: 3}}
---
name: net
level: high
correlation: {type: event_count, rules: [failed], group-by: [ip_network], timespan: 1m, condition: {gte: 3}}
---
name: few
correlation: {type: event_count, rules: [failed], group-by: [ip_address], timespan: 1m, condition: {lt: 2}}
""",
        )
    ]
)


def login(minutes: float, address: str, user: str | None = None, *, success: bool = False, **how: Any) -> StoredEvent:
    when = START + timedelta(minutes=minutes)
    event = Event(
        event_id=f"{minutes} {address} {user}",
        event_type=EventType.AUTHENTICATION,
        severity=Severity.LOW,
        timestamp=when,
        ip_address=address,
        user_id=user,
        details={"success": success},
    )
    at = micros(when)
    return StoredEvent(crc32(event.event_id.encode()), at, at, how.pop("late", False), event, may_act=True, **how)


def attack(address: str, **how: Any) -> list[StoredEvent]:
    return [login(n / 10, address, **how) for n in range(3)]


def tried(events: list[StoredEvent], rails: GuardRails | None = None) -> Backtest:
    return backtest(RULES, default_policy(), rails or GuardRails(), events)


def test_the_signals_are_the_oracles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order, and however small the portions between which the engine forgets."""
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    dice = random.Random(1)
    events = [login(dice.uniform(0, 30), f"192.0.2.{dice.randrange(3)}") for _ in range(200)]
    dice.shuffle(events)
    found = {signal.id: (signal.first, signal.last, signal.count) for signal in tried(events).signals}
    expected: dict[str, tuple[int, int, int]] = {}
    for rule in RULES.rules:
        expected |= oracle(rule, events) if rule.emits else {}
    assert found == expected != {}


@pytest.mark.parametrize(
    ("logins", "users", "stopped"),
    [
        ([], (), 0),
        ([login(30, "192.0.2.9", "anna", success=True)], ("anna",), 1),
        ([login(30, "192.0.2.9", "anna", success=True), login(40, "192.0.2.9", "anna", success=True)], ("anna",), 2),
        ([login(-60, "192.0.2.9", "ben", success=True)], ("ben",), 0),  # used to come from there
        ([login(-1500, "192.0.2.9", "ben", success=True)], (), 0),  # more than a day before
        ([login(90, "192.0.2.9", "ben", success=True)], (), 0),  # the block is over
        ([login(30, "192.0.2.8", "ben", success=True)], (), 0),  # from somewhere else
        ([login(30, "192.0.2.9", "ben")], (), 0),  # did not get in
    ],
)
def test_a_block_names_the_good_people_whom_it_would_have_met(
    logins: list[StoredEvent], users: tuple[str, ...], stopped: int
) -> None:
    """They signed in from there in the day before, or would have while it held."""
    [struck] = tried([*logins, *attack("192.0.2.9")]).struck
    assert (struck.users, struck.logins_stopped) == (users, stopped)


def test_a_blocked_network_meets_everybody_in_it() -> None:
    """An IPv6 block takes the /64, and its people with it."""
    events = [*attack("2001:db8:1:2::a"), login(9, "2001:db8:1:2::b", "carl", success=True)]
    assert {struck.users for struck in tried(events).struck} == {("carl",)}


def test_a_shared_address_would_have_been_limited() -> None:
    """The policy sees who is behind an address, as it does in service."""
    people = [login(5 + n, "192.0.2.9", f"user{n}", success=True) for n in range(3)]
    [struck] = tried([*people, *attack("192.0.2.9")]).struck
    assert struck.decision.action.value == "rate_limit"


def test_guard_rails_hold_and_late_events_make_no_signals() -> None:
    """What would not have been done is not told as if it would."""
    assert tried(attack("192.0.2.9"), GuardRails(allow_list=(ip_network("192.0.2.0/24"),))).struck == []
    assert tried(attack("192.0.2.9", late=True)) == Backtest([], [])
    assert tried([]) == Backtest([], [])


def test_one_incident_is_one_decision() -> None:
    """Several signals of one hour that ask for the same block are one block."""
    again = [login(n / 10 + 5, "192.0.2.9") for n in range(3)]
    result = tried([*attack("192.0.2.9"), *again])
    assert [signal.rule for signal in result.signals].count("many") == 2
    assert len(result.struck) == 1
