"""Tests of sentinel.stream.mirror: which keys stand for what is in force."""

from __future__ import annotations

import json

import msgspec
from tests.unit.storage.test_sql import action

from sentinel.model import ActionType
from sentinel.stream.mirror import keys_of, names_of

NOW = 1_767_225_600_000_000


def test_of_several_the_one_that_ends_last_stands_for_all() -> None:
    """For as many milliseconds as it still holds; what has ended by then stands for nothing."""
    over, short, long = (
        msgspec.structs.replace(action(name), expiration=NOW + seconds * 1_000_000)
        for name, seconds in (("over", 0), ("short", 5), ("long", 60))
    )
    keys = keys_of([short, long, over], NOW)
    assert sorted(keys) == sorted(names_of(long.action_type, long.target))
    assert {(json.loads(value)["id"], left) for value, left in keys.values()} == {("long", 60_000)}
    assert keys_of([over], NOW) == {}
    for_ever = msgspec.structs.replace(action("ever"), expiration=None)
    assert {left for _, left in keys_of([long, for_ever], NOW).values()} == {None}


def test_keys_are_named_as_the_guide_names_them() -> None:
    """Addresses and users have a key of their own beside the one that every action has."""
    assert names_of(ActionType.IP_BLOCK, "203.0.113.0/24") == [
        "security_action:ip_block:203.0.113.0/24",
        "ip_block:203.0.113.0/24",
    ]
    assert names_of(ActionType.USER_SUSPEND, "ann") == ["security_action:user_suspend:ann", "user_suspend:ann"]
    assert names_of(ActionType.RATE_LIMIT, "user:ann") == ["security_action:rate_limit:user:ann"]
