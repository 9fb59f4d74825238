"""
What a name in a rule means in an event, and how a value reads as text or as a number.

A name is a top-level field, else a key of `details`, else a dotted path from `details`; `details.x` is never top-level.
A path that meets a list goes on in each of its elements and finds a list, as the logs of clouds have them.
`ip_network` is derived: the /64 of an IPv6 address.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from ipaddress import IPv6Address
from operator import attrgetter
from typing import Any, Final

from sentinel.model import Event, SubjectType, iso, micros

__all__ = [
    "ABSENT",
    "Getter",
    "getter",
    "key_in_details",
    "number",
    "presence",
    "quick_getter",
    "strings",
    "subject_type",
    "text",
]

Getter = Callable[[Event], Any]

ABSENT: Final = object()
"""What a getter returns when the event has no such field; unlike `None`, which is a null that somebody wrote."""

_SUBJECTS = {
    "ip_address": SubjectType.IP,
    "ip_network": SubjectType.NETWORK,
    "user_id": SubjectType.USER,
    "session_id": SubjectType.SESSION,
    "service_name": SubjectType.SERVICE,
    "tool_name": SubjectType.TOOL,
}
_NUMBER = re.compile(r"[-+]?[0-9]{1,300}(\.[0-9]{1,300})?")
_SUBSCRIBER_BITS = 64  # what one IPv6 subscriber commonly holds: RFC 6177
_LARGEST_BITS = 1024  # beyond it an integer has no float, and Python refuses to spell it at some length
_TEXT_FIELDS = ("user_id", "session_id", "service_name", "ip_address", "user_agent", "correlation_id")


def getter(name: str) -> Getter:
    """Return the function that finds the field called `name` in an event, `ABSENT` when there is none."""
    in_details = _details_getter(name.removeprefix("details."))
    if name == "ip_network":
        return _ip_network
    if name not in Event.__struct_fields__:
        return in_details
    top = attrgetter(name)

    def get(event: Event) -> Any:
        value = top(event)
        return event.details.get(name, ABSENT) if value is None else value

    return get


def quick_getter(name: str) -> Getter:
    """
    Return what finds a field's text where it usually is.

    Where that gives no text, `getter` has the last word; but what is `ABSENT` here is for it, too.
    """
    return attrgetter(name) if name in _TEXT_FIELDS else getter(name)


def presence(name: str) -> Getter:
    """Return what tells whether an event has the field: True, or `ABSENT`."""
    if name in _TEXT_FIELDS:
        top = attrgetter(name)
        return lambda event: ABSENT if top(event) is None and name not in event.details else True
    get = getter(name)
    return lambda event: ABSENT if get(event) is ABSENT else True


def key_in_details(name: str) -> str | None:
    """Return the key of a field that is in `details` alone and no path, so that nobody needs a getter to find it."""
    key = name.removeprefix("details.")
    in_event = name == "ip_network" or name in Event.__struct_fields__
    return None if in_event or "." in key else key


def _details_getter(name: str) -> Getter:
    parts = name.split(".")

    def get_key(event: Event) -> Any:
        return event.details.get(name, ABSENT)

    def get_path(event: Event) -> Any:
        value = event.details.get(name, ABSENT)
        return _walk(event.details, parts) if value is ABSENT else value

    return get_key if len(parts) == 1 else get_path


def _walk(value: Any, parts: Sequence[str]) -> Any:
    for place, part in enumerate(parts):
        if isinstance(value, list):
            found = [each for each in (_walk(each, parts[place:]) for each in value) if each is not ABSENT]
            return list(_flat(found)) if found else ABSENT
        if not isinstance(value, dict) or part not in value:
            return ABSENT
        value = value[part]
    return value


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def _ip_network(event: Event) -> Any:
    address = event.ip_address
    if address is None or ":" not in address:
        return ABSENT
    try:
        network = int(IPv6Address(address)) >> _SUBSCRIBER_BITS << _SUBSCRIBER_BITS
    except ValueError:  # not an address after all: it belongs to no network
        return ABSENT
    return f"{IPv6Address(network)}/{128 - _SUBSCRIBER_BITS}"


def strings(event: Event) -> list[str]:
    """
    Return every text that the event's source wrote, nested ones too: what keywords are looked for in.

    The id, type and severity are ours, not the source's: a keyword must not hit a random id by chance.
    """
    own = (getattr(event, name) for name in _TEXT_FIELDS)
    return [value for value in own if value is not None] + list(_nested(event.details))


def _nested(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def scalars(value: Any) -> Iterator[Any]:
    """Return what is in an array or an object, and in those within it; of a scalar only itself."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        else:
            yield value


def text(value: object) -> str | None:
    """Return the text form of a scalar (500 -> `500`, True -> `true`), None for anything else."""
    if type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= _LARGEST_BITS else None
    if isinstance(value, float):
        return repr(value)
    return iso(micros(value)) if isinstance(value, datetime) else None


def number(value: object) -> float | None:
    """Return a number, or a text that is a plain decimal number, as a number; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def subject_type(field: str) -> SubjectType:
    """Return what a subject taken from this field is."""
    return _SUBJECTS.get(field.removeprefix("details."), SubjectType.GLOBAL)
