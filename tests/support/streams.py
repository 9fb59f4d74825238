"""Streams of events made from a seed: a log of logins, and a mix that sets off every shipped rule."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from sentinel.detection import parse_rules, shipped_rules
from sentinel.detection.examples import played
from sentinel.ingest import sshd
from sentinel.model import EventType, iso, micros

__all__ = ["LATENESS", "Events", "auth_log", "mixed", "of_log"]

LATENESS = "48h"
"""The setting under which no event of a stream is late, in whatever order they come."""
_HOURS = 24
_STAFF = [f"{a}.{b}" for a in ("anna", "ben", "carla", "emma", "grace", "hugo") for b in ("berg", "diaz", "ek", "fox")]
_NAMES = re.compile(r'"(user_id|session_id)": ?"([^"]*)"')
_ADDRESSES = {"203.0.113.": "10.{}.{}.", "198.51.100.": "11.{}.{}.", "192.0.2.": "12.{}.{}."}

Events = list[dict[str, Any]]


def of_log(lines: Iterable[str]) -> Events:
    """Return the events of an sshd log, moved so that the last one was a minute ago."""
    found = list(sshd.Reader(now=datetime.now(UTC)).read(lines))
    moved = time.time_ns() // 1000 - 60_000_000 - max(micros(event.timestamp) for event in found)
    events = []
    for event in found:
        fields = msgspec.to_builtins(event)
        events.append({**fields, "timestamp": iso(micros(event.timestamp) + moved)})
    return events


# --- logins


def auth_log(seed: int, scale: float) -> list[str]:
    """
    Return a day of an sshd log, two lines in a hundred up to half a minute out of order.

    Somebody works, mistypes and gives up, alone or behind an address that an office shares; old clients repeat one
    wrong password; and attackers guess fast, slowly, with invented names, all at one user, from all over a /64, and now
    and then with success. At scale 1 these are some 60,000 lines.
    """
    dice = random.Random(seed)
    kinds = [kind for kind, number in _KINDS.items() for _ in range(max(1, round(number * scale)))]
    lines = sorted(line for kind in kinds for line in kind(dice) if line[0] < _HOURS * 3600)
    arrived = sorted((at + (dice.uniform(0, 30) if dice.random() < 0.02 else 0), at, text) for at, text in lines)
    start = datetime.now(UTC) - timedelta(hours=_HOURS)
    return [f"{(start + timedelta(seconds=at)).isoformat()} host sshd[1]: {text}" for _, at, text in arrived]


Lines = Iterator[tuple[float, str]]


def _address(dice: random.Random) -> str:
    return f"{dice.choice((5, 45, 91, 185))}.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(1, 255)}"


def _failed(at: float, user: str, address: str) -> Lines:
    known = "" if user in _STAFF or user == "root" else "invalid user "
    if known:
        yield at, f"Invalid user {user} from {address} port 50022"
    yield at + 0.4, f"Failed password for {known}{user} from {address} port 50022 ssh2"


def _accepted(at: float, user: str, address: str) -> Lines:
    yield at, f"Accepted publickey for {user} from {address} port 50022 ssh2"


def _work(dice: random.Random, user: str, address: str, slips: float) -> Lines:
    at = dice.uniform(0, 10_000)
    while at < _HOURS * 3600:
        if dice.random() < slips:
            for _ in range(dice.randrange(1, 4)):
                yield from _failed(at, user if dice.random() < 0.7 else user.replace(".", ""), address)
                at += dice.uniform(3, 20)
        yield from _accepted(at, user, address)
        at += dice.uniform(900, 12_000)


def _person(dice: random.Random) -> Lines:
    return _work(dice, dice.choice(_STAFF), _address(dice), 0.1)


def _office(dice: random.Random) -> Lines:
    address = _address(dice)
    for user in _STAFF:
        yield from _work(dice, user, address, 0.08)
    if dice.random() < 0.5:  # it also hosts an attacker
        yield from _guesses(dice, ["root"], address, 120, 5)


def _guesses(dice: random.Random, users: list[str], address: str | None, number: int, longest: float) -> Lines:
    at = dice.uniform(0, _HOURS * 1800)
    for _ in range(number):
        yield from _failed(at, dice.choice(users), address or _address(dice))
        at += dice.uniform(0, longest)


def _old_client(dice: random.Random) -> Lines:
    return _guesses(dice, [dice.choice(_STAFF)], _address(dice), 30, 600)


def _brute_force(dice: random.Random) -> Lines:
    return _guesses(dice, ["root", "oracle", "pi"], _address(dice), dice.randrange(60, 900), dice.uniform(0.5, 4))


def _enumeration(dice: random.Random) -> Lines:
    return _guesses(dice, [f"u{n}" for n in range(9_000)], _address(dice), dice.randrange(60, 300), 14)


def _slow(dice: random.Random) -> Lines:
    users = dice.choice((_STAFF, ["admin", "test", "guest", "ubuntu"]))
    at, address = dice.uniform(0, 2_000), _address(dice)
    while at < _HOURS * 3600:
        yield from _failed(at, dice.choice(users), address)
        at += dice.uniform(900, 3_000)


def _sprayed(dice: random.Random) -> Lines:
    return _guesses(dice, ["grace.fox"], None, 200, 900)


def _hopper(dice: random.Random) -> Lines:
    net, at = f"2001:db8:{dice.randrange(1, 0xFFFF):x}:1", dice.uniform(0, _HOURS * 1800)
    for _ in range(200):
        yield from _failed(at, "root", f"{net}::{dice.randrange(1, 0xFFFF):x}")
        at += dice.uniform(2, 20)


def _compromise(dice: random.Random) -> Lines:
    address, user = _address(dice), dice.choice(_STAFF)
    at = dice.uniform(0, _HOURS * 1800)
    for _ in range(60):
        yield from _failed(at, user, address)
        at += dice.uniform(0.5, 3)
    yield from _accepted(at, user, address)


_KINDS = {
    _person: 150,
    _office: 8,
    _old_client: 5,
    _brute_force: 40,
    _enumeration: 15,
    _slow: 120,
    _sprayed: 20,
    _hopper: 3,
    _compromise: 4,
}


# --- a mix


def mixed(seed: int, number: int) -> Events:
    """
    Return events of every type in the order of their times, within a day that ended a minute ago.

    A quarter is what the shipped rules show as examples, of those that fire and those that don't, about other users and
    addresses each time. The rest are people at work.
    """
    dice = random.Random(seed)
    now = time.time_ns() // 1000
    events: list[tuple[int, dict[str, Any]]] = []
    shown = list(_shown())
    while len(events) < number // 4:
        events += _instance(dice, dice.choice(shown), now)
    while len(events) < number:
        events.append((now - dice.randrange(60, _HOURS * 3600) * 1_000_000, _work_of(dice)))
    events.sort(key=lambda each: each[0])
    return [
        {"event_id": f"mixed-{seed}-{n}", "timestamp": iso(at), **fields}
        for n, (at, fields) in enumerate(events[:number], start=1)
    ]


def _shown() -> Iterator[list[tuple[int, str]]]:
    """Yield each example of a shipped rule: when its events happen, from its end, and what they are as JSON."""
    for rule in parse_rules(shipped_rules()).rules:
        for steps in (*rule.examples.fires, *rule.examples.silent):
            events = played(steps)
            if all(each.event.event_type is not EventType.ANOMALY for each in events):  # these are only made, not sent
                yield [(events[-1].at - each.at, _without_time(msgspec.to_builtins(each.event))) for each in events]


def _without_time(fields: dict[str, Any]) -> str:
    left_out = {"event_id", "timestamp"}
    return json.dumps({name: value for name, value in fields.items() if name not in left_out and value is not None})


def _instance(dice: random.Random, shown: list[tuple[int, str]], now: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield an example's events as if others had done the same at another time."""
    who = dice.randrange(2_000)
    end = now - dice.randrange(60, _HOURS * 1800) * 1_000_000
    for before, text in shown:
        for old, new in _ADDRESSES.items():
            text = text.replace(old, new.format(who >> 8, who & 255))  # noqa: PLW2901
        text = text.replace("2001:db8:", f"2001:db8:{who + 1:x}:")  # noqa: PLW2901
        yield end - before, json.loads(_NAMES.sub(rf'"\1": "\2-{who}"', text))


def _work_of(dice: random.Random) -> dict[str, Any]:
    person = dice.randrange(3_000)
    who = {"severity": "low", "user_id": f"person-{person}", "ip_address": f"172.16.{person >> 8}.{person & 255}"}
    kind = dice.choice(("authentication", "data_access", "network_request", "scan", "authorization"))
    details = {
        "authentication": {"success": dice.random() < 0.9, "method": "password"},
        "data_access": {"table_name": "orders", "access_type": "select", "row_count": dice.randrange(200)},
        "network_request": {"c-uri": f"/orders/{person}", "cs-method": "GET", "sc-status": 200},
        "scan": {"is_safe": dice.random() < 0.99, "risk_score": 0.2},
        "authorization": {"granted": dice.random() < 0.98, "resource": "orders", "action": "read"},
    }
    return {"event_type": kind, "service_name": f"shop-{person % 9}", "details": details[kind], **who}
