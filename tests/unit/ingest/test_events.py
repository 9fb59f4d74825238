"""JSON in, events and reasons out; and the form in which events are stored."""

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sentinel.errors import RejectedEvent
from sentinel.ingest.events import (
    MAX_DEPTH,
    MAX_EVENT_BYTES,
    MAX_EVENTS,
    Parsed,
    Rejected,
    TooManyEvents,
    canonical_address,
    checked,
    decode,
    encode,
    parse_json,
    parse_ndjson,
)
from sentinel.model import Event, EventType, Severity

LOGIN = {"event_type": "authentication", "severity": "low", "timestamp": "2026-03-01T10:00:00Z"}


def new_id() -> str:
    return "made"


def body(*events: dict[str, Any]) -> bytes:
    return json.dumps(list(events)).encode()


def one(**fields: Any) -> Event:
    """The event of a body with LOGIN and these fields."""
    parsed = parse_json(json.dumps(LOGIN | fields).encode(), new_id)
    assert parsed.rejected == []
    return parsed.events[0][1]


def refusal(raw: bytes) -> Rejected:
    parsed = parse_json(raw, new_id)
    assert parsed.events == []
    return parsed.rejected[0]


def nested(levels: int) -> Any:
    """A value of this many lists, one in the other."""
    return json.loads("[" * levels + "]" * levels)


def test_a_full_event_arrives_field_by_field() -> None:
    """Whoever sends every field finds every field in the event."""
    fields = {
        "event_id": "e-1",
        "user_id": "anna",
        "session_id": "s-1",
        "service_name": "web",
        "ip_address": "198.51.100.7",
        "user_agent": "curl/8",
        "correlation_id": "c-1",
        "details": {"success": False, "nested": [1, 2.5, None]},
    }
    assert one(**fields) == Event(
        event_type=EventType.AUTHENTICATION,
        severity=Severity.LOW,
        timestamp=datetime(2026, 3, 1, 10, tzinfo=UTC),
        **fields,
    )


def test_null_means_absent() -> None:
    """Senders that write null for what they don't know are understood."""
    nulls = dict.fromkeys(
        ("event_id", "user_id", "session_id", "service_name", "ip_address", "user_agent", "correlation_id", "details")
    )
    assert one(**nulls) == one()


def test_a_missing_id_is_made() -> None:
    """Each event without an id gets its own from the caller."""
    ids = map(str, itertools.count())
    parsed = parse_json(body(LOGIN, LOGIN | {"event_id": "mine"}, LOGIN), lambda: next(ids))
    assert [event.event_id for _, event in parsed.events] == ["0", "mine", "1"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01T10:00:00.000001Z", datetime(2026, 3, 1, 10, 0, 0, 1, tzinfo=UTC)),
        ("2026-03-01T10:00:00+05:30", datetime(2026, 3, 1, 4, 30, tzinfo=UTC)),
        ("2026-03-01T00:30:00+01:00", datetime(2026, 2, 28, 23, 30, tzinfo=UTC)),
    ],
)
def test_times_are_stored_in_utc_with_microseconds(given: str, stored: datetime) -> None:
    """A time with any zone is the same instant in UTC."""
    event = one(timestamp=given)
    assert (event.timestamp, event.timestamp.tzinfo) == (stored, UTC)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_type", "login"),
        ("event_type", None),
        ("severity", "info"),
        ("severity", "HIGH"),
        ("severity", "warning"),
        ("timestamp", "2026-03-01T10:00:00"),
        ("timestamp", "yesterday"),
        ("timestamp", 1_772_359_200),
        ("timestamp", "9999-12-31T23:59:59-02:00"),
        ("timestamp", "2026-02-30T10:00:00Z"),
        ("event_id", ""),
        ("event_id", "x" * 129),
        ("event_id", "café"),
        ("event_id", "two\nlines"),
        ("event_id", "end\n"),
        ("user_id", 7),
        ("user_id", "x" * 257),
        ("session_id", "x" * 257),
        ("service_name", "x" * 257),
        ("correlation_id", "x" * 257),
        ("user_agent", ["curl"]),
        ("ip_address", ""),
        ("ip_address", "localhost"),
        ("ip_address", "198.51.100.0/24"),
        ("ip_address", "fe80::1%eth0"),
        ("details", "free text"),
        ("details", []),
    ],
)
def test_a_bad_value_is_refused_by_its_field(field: str, value: object) -> None:
    """The sender learns which field is wrong, and never reads the value back in the reason."""
    rejected = refusal(json.dumps(LOGIN | {"event_id": "e-1", field: value}).encode())
    assert rejected.field == field
    assert rejected.event_id == (None if field == "event_id" else "e-1")
    assert str(value) not in rejected.reason or value in ("", None)


@pytest.mark.parametrize("field", ["event_type", "severity", "timestamp"])
def test_the_three_required_fields_are_asked_for(field: str) -> None:
    """An event without kind, severity or time is refused by the name of what is missing."""
    event = {name: value for name, value in LOGIN.items() if name != field}
    assert (refusal(body(event)).field, refusal(body(event)).reason) == (field, "is required")


def test_unknown_fields_move_to_extra() -> None:
    """Fields that we don't know are kept under details.extra, beside what is there already."""
    event = one(details={"method": "password", "extra": {"a": 1}}, vendor="x", ip_address="::1")
    assert event.details == {"method": "password", "extra": {"a": 1, "vendor": "x"}}
    assert event.ip_address == "::1"
    assert refusal(body(LOGIN | {"vendor": "x", "details": {"extra": 1}})).field == "details.extra"


def test_the_last_of_equal_keys_wins() -> None:
    """Duplicate keys are read as other JSON parsers read them."""
    event = json.dumps(LOGIN)[:-1] + ', "user_id": 5, "user_id": "anna"}'
    assert parse_json(event.encode(), new_id).events[0][1].user_id == "anna"


def test_user_names_are_compared_in_one_spelling() -> None:
    """The composed and the decomposed form of a name are one user; case and spaces tell users apart."""
    assert one(user_id="Jose\u0301").user_id == one(user_id="Jos\u00e9").user_id == "Jos\u00e9"
    assert one(user_id=" anna").user_id == " anna"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("::FFFF:c633:6407", "198.51.100.7"),
        ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("0:0:0:0:0:0:0:0", "::"),
    ],
)
def test_addresses_have_one_spelling(text: str, canonical: str) -> None:
    """All spellings of an address are one subject (RFC 5952, sections 4 and 5)."""
    assert canonical_address(text) == canonical


@pytest.mark.parametrize(
    "text", ["010.0.0.1", "1.2.3", "1.2.3.4:22", " 1.2.3.4", "fe80::1%1", "::ffff:1.2.3.4%1", "1" * 99]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Octal look-alikes, ports, blanks and zones are not guessed at."""
    with pytest.raises(RejectedEvent) as caught:
        canonical_address(text)
    assert caught.value.field == "ip_address"


HOSTILE = {
    "NaN": b'{"event_type": "scan", "details": {"a": NaN}}',
    "Infinity": b'{"event_type": "scan", "details": {"a": -Infinity}}',
    "overflow": b'{"event_type": "scan", "details": {"a": 1e999}}',
    "lone surrogate": b'{"event_type": "scan", "user_id": "\\ud800"}',
    "surrogate in key": b'{"event_type": "scan", "details": {"\\udfff": 1}}',
    "not UTF-8": b'{"event_type": "scan", "user_id": "\xff"}',
    "encoded surrogate": b'{"event_type": "scan", "user_id": "\xed\xa0\x80"}',
    "deep": b'{"details": {"a": ' + b"[" * 90_000 + b"]" * 90_000 + b"}}",
    "bad brackets": b'{"a": [}]',
    "comma in string": b'{"a": NaN, "b": "],[\\"}"}',
    "number": b"3",
    "null": b"null",
    "list": b"[{}]",
    "nothing": b"",
    "huge": b'{"a": "' + b"x" * MAX_EVENT_BYTES + b'"}',
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_one_bad_element_never_spoils_the_good_ones(hostile: bytes) -> None:
    """Whatever stands in one place of a list, its neighbours are accepted and keep their places."""
    good = json.dumps(LOGIN).encode()
    parsed = parse_json(b" [" + good + b", " + hostile + b" ,\n" + good + b"]\n", new_id)
    assert [line for line, _ in parsed.events] == [1, 3]
    assert [rejected.line for rejected in parsed.rejected] == [2]


@pytest.mark.parametrize(
    "hostile", [raw for raw in HOSTILE.values() if raw], ids=[name for name, raw in HOSTILE.items() if raw]
)
def test_one_bad_line_never_spoils_the_good_ones(hostile: bytes) -> None:
    """The same holds for the lines of NDJSON."""
    good = json.dumps(LOGIN).encode()
    parsed = parse_ndjson(b"\n".join([good, hostile, good]), new_id)
    assert [line for line, _ in parsed.events] == [1, 3]
    assert [rejected.line for rejected in parsed.rejected] == [2]


def test_ndjson_counts_physical_lines() -> None:
    """Blank lines are skipped but counted; a byte order mark and CR LF don't matter."""
    good = json.dumps(LOGIN)
    parsed = parse_ndjson(f"\ufeff\r\n{good}\r\n\r\n  \n{{}}\r\n{good}".encode(), new_id)
    assert [line for line, _ in parsed.events] == [2, 6]
    assert [(rejected.line, rejected.field) for rejected in parsed.rejected] == [(5, "event_type")]


def test_a_body_may_be_one_object_and_start_with_a_byte_order_mark() -> None:
    """A single event needs no list around it."""
    assert [line for line, _ in parse_json(b"\xef\xbb\xbf " + json.dumps(LOGIN).encode(), new_id).events] == [1]
    assert parse_json(b"[]", new_id).events == []


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"", ""),
        (b"\n", ""),
        (b'"text"', ""),
        (b"hello", ""),
        (b'{"a": NaN}', "line 1, column 7"),
        (b'{"a":\n 1,,}', "line 2, column 4"),
        (b"[{},\n{}", "line 2, column 3"),
        (b"[1] 2", "line 1"),
        (b"[NaN] 2", "line 1, column 2"),
        (b'["secret', "line 1, column 9"),
        (b"[" * 100_000, "line 1"),
        (b"[NaN" + b",1" * 600_000 + b"]", "line 1, column 2"),
    ],
)
def test_a_body_that_is_not_json_is_refused_whole(raw: bytes, place: str) -> None:
    """The sender learns where the body breaks, and nothing of it is repeated."""
    with pytest.raises(RejectedEvent) as caught:
        parse_json(raw, new_id)
    assert place in caught.value.reason
    assert "secret" not in caught.value.reason


def test_too_deep_a_single_event_is_a_rejected_event() -> None:
    """A tower of brackets is the event's fault, not the body's."""
    assert "levels" in refusal(b'{"details": ' + b"[" * 20_000 + b"]" * 20_000 + b"}").reason


@pytest.mark.parametrize(("levels", "accepted"), [(MAX_DEPTH - 2, True), (MAX_DEPTH - 1, False)])
def test_depth_is_bounded(levels: int, accepted: bool) -> None:
    """32 levels, the event and its details among them, are accepted and 33 are not; breadth does not count."""
    wide = [[] for _ in range(100)]
    parsed = parse_json(body(LOGIN | {"details": {"deep": nested(levels), "wide": wide, "text": "[" * 99}}), new_id)
    assert bool(parsed.events) is accepted


@pytest.mark.parametrize(("size", "accepted"), [(MAX_EVENT_BYTES, True), (MAX_EVENT_BYTES + 1, False)])
def test_size_is_bounded(size: int, accepted: bool) -> None:
    """An event of exactly 64 KiB is accepted, one byte more is not."""
    empty = json.dumps(LOGIN | {"user_agent": ""})
    raw = empty.replace('""', '"' + "x" * (size - len(empty)) + '"').encode()
    assert len(raw) == size
    assert bool(parse_ndjson(raw, new_id).events) is accepted


@pytest.mark.parametrize("parse", [parse_json, parse_ndjson])
def test_the_number_of_events_is_bounded(parse: Callable[[bytes, Callable[[], str]], Parsed]) -> None:
    """10,000 events in a body are taken, 10,001 are refused as a whole."""
    events = ["{}"] * MAX_EVENTS
    text = {parse_json: lambda parts: f"[{','.join(parts)}]", parse_ndjson: "\n\n".join}[parse]
    assert len(parse(text(events).encode(), new_id).rejected) == MAX_EVENTS
    with pytest.raises(TooManyEvents):
        parse(text([*events, "{}"]).encode(), new_id)


@pytest.mark.parametrize(
    "event",
    [
        one(),
        one(user_id="", details={"a": {"b": [1, 1.0, -0.0, 10**30, 1e300, True, None, "\0\u2028é😀"]}}),
        one(timestamp="2026-03-01T10:00:00.123456+02:00", ip_address="2001:db8::1"),
    ],
)
def test_storing_loses_nothing(event: Event) -> None:
    """An event read back from its stored form is the same, and stores the same."""
    assert decode(encode(event)) == event
    assert encode(decode(encode(event))) == encode(event)


def test_events_of_equal_content_are_equal() -> None:
    """Whatever the order of keys and the spelling: so the store tells a duplicate from a conflict."""
    event = one(details={"a": 1, "b": {"c": 2, "d": 3}}, ip_address="::ffff:198.51.100.7")
    same = one(
        ip_address="198.51.100.7", details={"b": {"d": 3, "c": 2}, "a": 1}, timestamp="2026-03-01T11:00:00+01:00"
    )
    other = one(ip_address="198.51.100.7", details={"a": 1, "b": {"c": 2, "d": 4}})
    assert event == decode(encode(same)) != other


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": "u" * 257}, "user_id"),
        ({"service_name": "s" * 257}, "service_name"),
        ({"details": {"uri": "x" * MAX_EVENT_BYTES}}, None),
        ({"details": {"deep": json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)}}, None),
    ],
)
def test_what_a_reader_made_keeps_the_limits_of_what_is_sent(change: dict[str, Any], field: str | None) -> None:
    """A log can hold what no sender may send; it is refused alone, and says by its place which it was."""
    fine = Event(event_id="a", event_type=EventType.AUDIT_LOG, severity=Severity.LOW, timestamp=datetime.now(UTC))
    bad = msgspec.structs.replace(fine, event_id="b", **change)
    parsed = checked([fine, bad, fine])
    assert [place for place, _ in parsed.events] == [1, 3]
    assert [(one.line, one.event_id, one.field) for one in parsed.rejected] == [(2, "b", field)]
