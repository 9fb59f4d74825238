"""
JSON from a sender becomes events, and events become the bytes that are stored.

Each element of a body is judged alone, so a bad one never spoils the good ones. The common case is one typed decode of
an element's bytes. Only an element that fails it takes the slow path, which moves unknown fields to `details.extra` or
finds the field to name. Reasons name fields and limits and never repeat what the sender wrote.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from typing import Annotated, Any, Final

import msgspec

from sentinel.errors import RejectedEvent
from sentinel.model import Event, EventType, Severity

__all__ = [
    "MAX_DEPTH",
    "MAX_EVENTS",
    "MAX_EVENT_BYTES",
    "Parsed",
    "Rejected",
    "TooManyEvents",
    "canonical_address",
    "canonical_user",
    "checked",
    "decode",
    "encode",
    "parse_json",
    "parse_ndjson",
]

MAX_EVENTS: Final = 10_000
"""Events in one body."""
MAX_EVENT_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 32
"""Nested objects and lists in one event, the event itself included."""

_LONGEST_ADDRESS = 45  # IPv6 with an embedded IPv4 address; keeps hostile lengths out of the cache
_MAX_MARKS = 500_000  # brackets and commas looked at in a broken list: half a second
_BOM = b"\xef\xbb\xbf"


class Rejected(msgspec.Struct, frozen=True):
    """One element that was not accepted, and why."""

    line: int
    """From 1: place in the list, or physical line of NDJSON."""
    event_id: str | None
    """As the sender gave it, where it can be read."""
    field: str | None
    reason: str


class Parsed(msgspec.Struct, frozen=True):
    """What a body holds: every element is in one of the two lists."""

    events: list[tuple[int, Event]]
    """With their lines, counted as in `Rejected`."""
    rejected: list[Rejected]


class TooManyEvents(RejectedEvent):
    """The body holds more than `MAX_EVENTS` events; none was taken."""

    def __init__(self) -> None:
        super().__init__(f"the body holds more than {MAX_EVENTS} events; send it in parts")


_LONGEST_NAME = 256
_NAMES = ("user_id", "session_id", "service_name", "correlation_id")
_Id = Annotated[str, msgspec.Meta(max_length=_LONGEST_NAME)]
_EventId = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"\A[ -~]+\Z")]


class _Wire(msgspec.Struct, forbid_unknown_fields=True):
    """An event as senders may write it: no id, nulls, any zone, any spelling of an address."""

    event_type: EventType
    severity: Severity
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    event_id: _EventId | None = None
    user_id: _Id | None = None
    session_id: _Id | None = None
    service_name: _Id | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    correlation_id: _Id | None = None
    details: dict[str, Any] | None = None


class _Claim(msgspec.Struct):
    event_id: _EventId | None = None


_ID_REASON = "must be a string of at most 256 characters"
_REASONS = {
    "event_type": f"must be one of {', '.join(kind for kind in EventType if kind is not EventType.ANOMALY)}",
    "severity": "must be low, medium, high or critical",
    "timestamp": "must be RFC 3339 with a zone, such as 2026-01-31T12:00:00Z",
    "event_id": "must be 1 to 128 printable ASCII characters",
    "user_id": _ID_REASON,
    "session_id": _ID_REASON,
    "service_name": _ID_REASON,
    "ip_address": "must be one IPv4 or IPv6 address, without zone or prefix length",
    "user_agent": "must be a string",
    "correlation_id": _ID_REASON,
    "details": "must be an object",
}

_fast = msgspec.json.Decoder(_Wire)
_object = msgspec.json.Decoder(dict[str, Any])
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_fields = {field.name: msgspec.json.Decoder(field.type) for field in msgspec.structs.fields(_Wire)}
_required = {field.name for field in msgspec.structs.fields(_Wire) if field.required}
_claim = msgspec.json.Decoder(_Claim)
_raw = msgspec.json.Decoder(msgspec.Raw)
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])
_stored = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()

# Text up to the next bracket or comma outside strings. Possessive, so a string that never ends fails in linear time.
_MARK = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{},])', re.DOTALL)
_BYTE = re.compile(r"\(byte (\d+)\)\Z")


# --- bodies


def parse_json(body: bytes, new_id: Callable[[], str]) -> Parsed:
    """
    Return the events of a JSON body: one object, or a list of objects.

    Args:
        body: UTF-8, with or without a byte order mark.
        new_id: Makes an id for each event that has none.

    Raises:
        TooManyEvents: The list is longer than `MAX_EVENTS`.
        RejectedEvent: The body as a whole is not JSON, or not an object or a list. The reason gives line and column,
            from 1, the column in bytes.
    """
    body = body.removeprefix(_BOM)
    start = body.lstrip()[:1]
    if start == b"[":
        elements: Iterable[bytes] = _elements(body)
    elif start == b"{":
        elements = [_checked(body)]
    else:
        raise RejectedEvent("the body must be a JSON object or a list of them")
    return _parse(enumerate(elements, 1), new_id)


def parse_ndjson(body: bytes, new_id: Callable[[], str]) -> Parsed:
    """
    Return the events of a body with one JSON object a line.

    Blank lines are skipped but counted, so `line` is what an editor shows. A byte order mark and CR LF are fine.

    Raises:
        TooManyEvents: More than `MAX_EVENTS` lines are not blank.
    """
    lines = enumerate(BytesIO(body.removeprefix(_BOM)), 1)
    return _parse(((number, line) for number, text in lines if (line := text.strip())), new_id)


def checked(events: Iterable[Event]) -> Parsed:
    """Return the events that readers of logs made, and which of them, from 1, no sender could have sent."""
    parsed = Parsed([], [])
    for place, event in enumerate(events, 1):
        try:
            _check_made(event)
            parsed.events.append((place, event))
        except RejectedEvent as error:
            parsed.rejected.append(Rejected(place, event.event_id, error.field, error.reason))
    return parsed


def _check_made(event: Event) -> None:
    """Raise for what a reader can't know: what its events become in JSON, and how long the names are."""
    for name in _NAMES:
        value = getattr(event, name)
        if value is not None and len(value) > _LONGEST_NAME:
            raise _refused(name)
    _check_size(_encoder.encode(event))


def _parse(elements: Iterable[tuple[int, bytes]], new_id: Callable[[], str]) -> Parsed:
    parsed = Parsed([], [])
    for count, (line, raw) in enumerate(elements, 1):
        if count > MAX_EVENTS:
            raise TooManyEvents
        try:
            parsed.events.append((line, _event(raw, new_id)))
        except RejectedEvent as error:
            parsed.rejected.append(Rejected(line, _claimed_id(raw), error.field, error.reason))
    return parsed


def _checked(body: bytes) -> bytes:
    """The body, if it is JSON in form; one that is only nested too deeply is left to the check of its depth."""
    try:
        _raw.decode(body)
    except RecursionError:
        pass
    except ValueError as error:
        raise _not_json(body, error) from None
    return body


def _elements(body: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in _raw_list.decode(body)]
    except (ValueError, RecursionError) as error:
        # One NaN or one tower of brackets breaks the whole list for the decoder; cut by hand, it breaks its element.
        return _cut(body, error)


def _cut(body: bytes, error: Exception) -> list[bytes]:
    """The elements of a list whose brackets and quotes balance, though they need not be JSON themselves."""
    elements: list[bytes] = []
    depth = start = end = 0
    for count, (end, mark) in enumerate(_marks(body)):
        if mark in b"[{":
            depth += 1
            start = start or end
        elif mark in b"]}":
            depth -= 1
        if depth == 0 or count == _MAX_MARKS:
            break
        if depth == 1 and mark == b",":
            elements.append(body[start : end - 1])
            start = end
    if depth or body[end:].strip():
        raise _not_json(body, error)
    return [*elements, body[start : end - 1]]


def _marks(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Brackets and commas outside strings, each with the place behind it."""
    end = 0
    while found := _MARK.match(body, end):
        end = found.end()
        yield end, found[1]


def _not_json(body: bytes, error: Exception) -> RejectedEvent:
    found = _BYTE.search(str(error))
    at = int(found[1]) if found else len(body)
    line, column = body.count(b"\n", 0, at) + 1, at - body.rfind(b"\n", 0, at)
    return RejectedEvent(f"the body is not JSON: line {line}, column {column}")


# --- one element


def _event(raw: bytes, new_id: Callable[[], str]) -> Event:
    _check_size(raw)
    if raw.lstrip()[:1] != b"{":
        raise RejectedEvent("an event must be an object")
    try:
        wire = _fast.decode(raw)
    except ValueError:
        wire = _slow(raw)
    return _normalised(wire, new_id)


def _check_size(raw: bytes) -> None:
    if len(raw) > MAX_EVENT_BYTES:
        raise RejectedEvent(f"an event may have {MAX_EVENT_BYTES} bytes at most")
    # Counting all brackets is a bound that nearly every event keeps; only the others are walked through.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise RejectedEvent(f"an event may be nested {MAX_DEPTH} levels deep at most")


def _depth(raw: bytes) -> int:
    depth = deepest = 0
    for _, mark in _marks(raw):
        depth += (mark in b"[{") - (mark in b"]}")
        deepest = max(deepest, depth)
    return deepest


def _slow(raw: bytes) -> _Wire:
    """Decode field by field, to name the one that is wrong and to keep the ones that nobody knows."""
    try:
        unknown = _object.decode(raw)
    except ValueError:
        # The decoder's message could quote the text.
        raise RejectedEvent("an event must be JSON in UTF-8, without NaN, Infinity and lone surrogates") from None
    members = _members.decode(raw)
    known: dict[str, Any] = {}
    for name, decoder in _fields.items():
        if name in unknown:
            del unknown[name]
            known[name] = _field(name, members[name], decoder)
        elif name in _required:
            raise RejectedEvent("is required", field=name)
    if unknown:
        known["details"] = _with_extra(known.get("details") or {}, unknown)
    return _Wire(**known)


def _field(name: str, raw: msgspec.Raw, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(raw)
    except ValueError:
        raise _refused(name) from None


def _with_extra(details: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
    extra = details.get("extra", {})
    if not isinstance(extra, dict):
        raise RejectedEvent("must be an object when the event has fields that are not known", field="details.extra")
    return {**details, "extra": {**extra, **unknown}}


def _normalised(wire: _Wire, new_id: Callable[[], str]) -> Event:
    if wire.severity is Severity.INFO:  # findings have it, events don't
        raise _refused("severity")
    if wire.event_type is EventType.ANOMALY:  # what we notice is no one else's to claim
        raise _refused("event_type")
    return Event(
        event_id=new_id() if wire.event_id is None else wire.event_id,
        event_type=wire.event_type,
        severity=wire.severity,
        timestamp=_utc(wire.timestamp),
        user_id=None if wire.user_id is None else canonical_user(wire.user_id),
        session_id=wire.session_id,
        service_name=wire.service_name,
        ip_address=None if wire.ip_address is None else canonical_address(wire.ip_address),
        user_agent=wire.user_agent,
        correlation_id=wire.correlation_id,
        details=wire.details or {},
    )


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is UTC:  # as nearly everybody writes it
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the last hours of year 9999, or the first of year 1, in another zone
        raise _refused("timestamp") from None


def _refused(field: str) -> RejectedEvent:
    return RejectedEvent(_REASONS[field], field=field)


def _claimed_id(raw: bytes) -> str | None:
    try:
        return _claim.decode(raw).event_id
    except (ValueError, RecursionError):
        return None


def canonical_user(user_id: str) -> str:
    """Return a user name in NFC, the one spelling that is stored and compared."""
    return user_id if user_id.isascii() else unicodedata.normalize("NFC", user_id)


def canonical_address(text: str) -> str:
    """
    Return an address in the one spelling that is stored and compared.

    That is RFC 5952 for IPv6, and plain IPv4 for IPv4-mapped IPv6 (`::ffff:1.2.3.4` is `1.2.3.4`).

    Raises:
        RejectedEvent: It is no address, or has a zone id, a prefix length or a port.
    """
    address = _address(text) if len(text) <= _LONGEST_ADDRESS else None
    if address is None:
        raise _refused("ip_address")
    return address


@lru_cache(maxsize=65_536)
def _address(text: str) -> str | None:
    if "%" in text:  # a zone id means something only on the machine that wrote it
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


# --- stored form


def encode(event: Event) -> bytes:
    """Return the stored form of an event: JSON in UTF-8; `decode` gives back an equal event."""
    return _encoder.encode(event)


def decode(raw: bytes) -> Event:
    """Return the event that `encode` stored."""
    return _stored.decode(raw)
