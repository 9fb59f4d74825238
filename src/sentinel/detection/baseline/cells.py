"""
Open hours: what is kept of events until their hour closes.

Kept are sums, sets, and for times the earliest and the latest. Adding is commutative, so the order of events can't
matter, up to the bounds of the sets: of more values, places and sessions in an hour, those that come first are kept.
Nothing here is stored: after a restart the events of the open hours are added again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from sentinel.detection.baseline.metrics import COUNTS, FIRST_SEEN, HEAVY
from sentinel.detection.links import HOUR
from sentinel.model import Event, EventType, Micros, StoredEvent

__all__ = ["AMOUNTS", "DAY", "HOUR", "READ", "Cell", "ServiceCell", "earliest", "feed", "feed_service"]

DAY: Final[Micros] = 24 * HOUR
AMOUNTS: Final = (*HEAVY, *COUNTS)
"""Names of the sums of a cell, in order."""

_N = {name: number for number, name in enumerate(AMOUNTS)}
_V = {name: number for number, name in enumerate(FIRST_SEEN)}
_MOST_VALUES = 256  # distinct values an hour; more of them is no habit
_MOST_PLACES = 32
_MOST_SESSIONS = 32
_MOST_WAYS = 8  # program, network and country of one session
_TICKS = 64  # the earliest events of a type in an hour, whose intervals are looked at
_MOST_SHOWN = 64
_MOST_SERVICES = 8
_LONGEST = 200  # characters of a value
_MOST_AMOUNT = 10**15


class Cell:
    """One user in one hour."""

    __slots__ = (
        "effects", "first", "last", "origin", "places", "rank", "responses", "role", "services", "sessions", "shown",
        "slowness", "sums", "ticks", "tz", "values",
    )  # fmt: skip

    def __init__(self) -> None:
        self.first: Micros = 2**63 - 1
        self.last: dict[str, Micros] = {}
        """The latest event by type."""
        self.rank = 0
        """Of the severity that the senders may reach, the highest."""
        self.origin = ""
        """The import that sent any of it, the last one of several."""
        self.effects = True
        """Whether what it leads to may take effect: not with anything from an import that only looks back."""
        self.sums = [0] * len(AMOUNTS)
        self.slowness = 0
        self.responses = 0
        self.values: set[tuple[int, str]] = set()
        self.places: dict[tuple[int, int], list[Micros]] = {}
        """By latitude and longitude in tenths of a degree, the first and the last time there."""
        self.sessions: dict[str, dict[tuple[str, str, str], list[Micros]]] = {}
        """By session, and program, network and country in it, the first and the last time."""
        self.ticks: dict[str, list[Micros]] = {}
        self.role = ""
        self.tz = ""
        self.services: set[str] = set()
        self.shown: dict[tuple[object, ...], Sequence[list[Micros]]] = {}
        """By what an event shows beside its numbers, the times of its session and place."""


class ServiceCell:
    """One service in one hour."""

    __slots__ = ("effects", "first", "last", "origin", "rank", "responses", "slowness")

    def __init__(self) -> None:
        self.first: Micros = 2**63 - 1
        self.last: Micros = 0
        self.rank = 0
        self.origin = ""
        self.effects = True
        self.responses = 0
        self.slowness = 0


def amount(value: object) -> int:
    """Return a number from 0 as a whole number, else 0: sums of whole numbers are the same in every order."""
    if type(value) is int:
        return min(value, _MOST_AMOUNT) if value > 0 else 0
    if type(value) is float and 0 < value < math.inf:
        return min(round(value), _MOST_AMOUNT)
    return 0


def _data(cell: Cell, details: dict[str, Any]) -> None:
    rows, sums = amount(details.get("row_count")), cell.sums
    sums[_ROWS] += rows
    sums[_ACCESSES] += 1
    if details.get("sensitive") is True:
        sums[_SENSITIVE] += rows
    _note(cell, _TABLE, details.get("table_name"))
    _time(cell, details.get("response_time_ms"))


def _tool(cell: Cell, details: dict[str, Any]) -> None:
    cell.sums[_TOOLS] += 1
    _note(cell, _TOOL, details.get("tool_name"))
    if details.get("sandbox_violation"):
        cell.sums[_VIOLATIONS] += 1


def _login(cell: Cell, details: dict[str, Any]) -> None:
    if details.get("success") is False:
        cell.sums[_FAILURES] += 1


def _right(cell: Cell, details: dict[str, Any]) -> None:
    if details.get("granted") is False:
        cell.sums[_REFUSALS] += 1
    _note(cell, _RESOURCE, details.get("resource"))


def _request(cell: Cell, details: dict[str, Any]) -> None:
    cell.sums[_REQUESTS] += 1
    cell.sums[_BYTES] += amount(details.get("bytes"))
    _time(cell, details.get("response_time_ms"))


def _violation(cell: Cell, _: dict[str, Any]) -> None:
    cell.sums[_VIOLATIONS] += 1


def _scan(cell: Cell, details: dict[str, Any]) -> None:
    if details.get("is_safe") is False:
        cell.sums[_VIOLATIONS] += 1


_CHANGES = frozenset({"role_change", "role_grant", "permission_change", "config_change"})


def _audit(cell: Cell, details: dict[str, Any]) -> None:
    operation = details.get("operation")
    if operation == "rls_violation":
        cell.sums[_REFUSALS] += 1
    elif type(operation) is str and operation in _CHANGES:
        cell.sums[_CHANGED] += 1


def _nothing(_cell: Cell, _: dict[str, Any]) -> None:
    pass


READ: dict[EventType, Callable[[Cell, dict[str, Any]], None]] = {
    EventType.DATA_ACCESS: _data,
    EventType.TOOL_EXECUTION: _tool,
    EventType.AUTHENTICATION: _login,
    EventType.AUTHORIZATION: _right,
    EventType.NETWORK_REQUEST: _request,
    EventType.SECURITY_VIOLATION: _violation,
    EventType.SCAN: _scan,
    EventType.AUDIT_LOG: _audit,
    EventType.WEBSOCKET_CONNECTION: _nothing,
    EventType.RATE_LIMIT: _nothing,
}
"""Events that say what a user does; the others are about services, or about what others say."""

_ROWS, _SENSITIVE, _ACCESSES, _TOOLS = _N["rows"], _N["sensitive_rows"], _N["accesses"], _N["tools"]
_REQUESTS, _BYTES = _N["requests"], _N["bytes"]
_FAILURES, _REFUSALS, _VIOLATIONS, _CHANGED = (
    _N["login_failures"], _N["refusals"], _N["violations"], _N["changes"],
)  # fmt: skip
_COUNTRY, _AGENT, _TOOL, _TABLE = _V["country"], _V["agent"], _V["tool"], _V["table"]
_NETWORK, _SERVICE, _RESOURCE, _ACTIVITY = _V["network"], _V["service"], _V["resource"], _V["activity"]


def _note(cell: Cell, field: int, value: object) -> None:
    if type(value) is str and value and len(cell.values) < _MOST_VALUES:
        cell.values.add((field, value[:_LONGEST]))


def _time(cell: Cell | ServiceCell, value: object) -> None:
    if type(value) in {int, float} and 0 < value < math.inf:  # type: ignore[operator]
        cell.slowness += round(1000 * math.log(value))  # type: ignore[arg-type]
        cell.responses += 1


def feed(stored: StoredEvent, cell: Cell) -> None:
    """Add an event to the cell of its user and hour."""
    event, at = stored.event, stored.at
    details, kind = event.details, event.event_type
    READ[kind](cell, details)
    cell.first = min(cell.first, at)
    if at > cell.last.get(kind, 0):
        cell.last[kind] = at
    _sent(stored, cell)
    if kind is EventType.AUTHENTICATION and details.get("success") is False:
        return  # whoever fails to log in as somebody says nothing about that person's habits
    ticks = cell.ticks.get(kind)
    if ticks is None:
        ticks = cell.ticks[kind] = []
    ticks.append(at)
    if len(ticks) > 4 * _TICKS:
        ticks.sort()
        del ticks[_TICKS:]
    for span in _spans(event, cell, at):
        if at < span[0]:
            span[0] = at
        elif at > span[1]:
            span[1] = at


def feed_service(stored: StoredEvent, cell: ServiceCell) -> None:
    """Add an event to the cell of its service and hour."""
    cell.first, cell.last = min(cell.first, stored.at), max(cell.last, stored.at)
    _sent(stored, cell)
    _time(cell, stored.event.details["response_time_ms"])


def _sent(stored: StoredEvent, cell: Cell | ServiceCell) -> None:
    """Note what an event's source may lead to."""
    cell.rank = max(cell.rank, stored.max_severity.rank)
    if stored.imported:
        cell.origin = stored.origin
        cell.effects = cell.effects and stored.effects


def earliest(ticks: list[Micros]) -> list[Micros]:
    """Return the times whose intervals are looked at, in order."""
    return sorted(ticks)[:_TICKS]


def _spans(event: Event, cell: Cell, at: Micros) -> Sequence[list[Micros]]:
    """Return the times of the session and of the place of an event, after what else it shows was noted."""
    details = event.details
    geo = details.get("geo")
    country = latitude = longitude = None
    if type(geo) is dict:
        country, latitude, longitude = geo.get("country"), geo.get("lat"), geo.get("lon")
    # Nearly all events of an hour show the same as one before.
    shown = (
        event.event_type, event.user_agent, event.ip_address, event.session_id, event.service_name,
        country, latitude, longitude, details.get("role"), details.get("tz"),
    )  # fmt: skip
    try:
        spans = cell.shown.get(shown)
    except TypeError:  # a list or an object where a text belongs
        return _note_all(event, cell, at, country, _place(latitude, longitude))
    if spans is None:
        spans = _note_all(event, cell, at, country, _place(latitude, longitude))
        if len(cell.shown) < _MOST_SHOWN:
            cell.shown[shown] = spans
    return spans


def _note_all(
    event: Event, cell: Cell, at: Micros, country: object, place: tuple[int, int] | None
) -> Sequence[list[Micros]]:
    agent = "" if event.user_agent is None else family_of(event.user_agent)
    network = "" if event.ip_address is None else network_of(event.ip_address)
    for field, value in (
        (_ACTIVITY, event.event_type.value), (_AGENT, agent), (_NETWORK, network),
        (_SERVICE, event.service_name), (_COUNTRY, country),
    ):  # fmt: skip
        _note(cell, field, value)
    if event.service_name and len(cell.services) < _MOST_SERVICES:
        cell.services.add(event.service_name)
    role, zone = event.details.get("role"), event.details.get("tz")
    if type(role) is str and role > cell.role:
        cell.role = role[:64]
    if type(zone) is str and zone > cell.tz:
        cell.tz = zone[:64]
    spans = []
    if event.session_id is not None and (event.session_id in cell.sessions or len(cell.sessions) < _MOST_SESSIONS):
        ways = cell.sessions.setdefault(event.session_id, {})
        way = (agent, network, country if type(country) is str else "")
        if way in ways or len(ways) < _MOST_WAYS:
            spans.append(ways.setdefault(way, [at, at]))
    if place is not None and (place in cell.places or len(cell.places) < _MOST_PLACES):
        spans.append(cell.places.setdefault(place, [at, at]))
    return tuple(spans)


def _place(latitude: object, longitude: object) -> tuple[int, int] | None:
    """Return tenths of degrees; None for what is no place."""
    if not (isinstance(latitude, int | float) and isinstance(longitude, int | float)):
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):  # noqa: PLR2004 - degrees
        return None
    return round(latitude * 10), round(longitude * 10)


_VERSION = re.compile(r"[\d._]{2,}|(?<=/)\S+|\d")


@lru_cache(maxsize=4096)
def family_of(agent: str) -> str:
    """Return a user agent without what changes with every update: its numbers and versions."""
    return _VERSION.sub("", agent[:_LONGEST]).strip()


@lru_cache(maxsize=65_536)
def network_of(address: str) -> str:
    """Return the network that people mean by "from there": /24, and of IPv6 /48."""
    if ":" in address:
        return ":".join([*address.split("::", maxsplit=1)[0].split(":"), "0", "0", "0"][:3])
    return address.rpartition(".")[0]
