"""JSON lines, our own and foreign ones, and the events that they become."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from sentinel.ingest.jsonlog import Reader
from sentinel.model import Event, EventType, Severity

OWN = {"event_type": "scan", "severity": "low", "timestamp": "2026-03-01T10:00:00Z", "user_id": "anna"}
AWS = {"product": "aws", "service": "cloudtrail"}


def read(*objects: dict[str, Any] | str, **options: Any) -> list[Event]:
    lines = [item if isinstance(item, str) else json.dumps(item) for item in objects]
    return list(Reader(**options).read(lines))


def test_our_own_events_are_taken_as_over_http() -> None:
    """An event that was written to a file is the event that a sender would have posted."""
    event, named = read(OWN | {"vendor": "x"}, OWN | {"event_id": "mine"}, logsource=AWS)
    assert (event.event_type, event.user_id, event.details) == (EventType.SCAN, "anna", {"extra": {"vendor": "x"}})
    assert event.event_id.startswith("json-")
    assert named.event_id == "mine"


def test_a_foreign_object_is_kept_whole_and_says_where_it_is_from() -> None:
    """Sigma rules for that product find their fields under their names."""
    content = {"eventTime": "2026-03-01T10:00:00Z", "eventName": "StopLogging", "userIdentity": {"type": "Root"}}
    (event,) = read(content, logsource=AWS, time_field="eventTime")
    assert event == Event(
        event_id=event.event_id,
        event_type=EventType.AUDIT_LOG,
        severity=Severity.LOW,
        timestamp=datetime(2026, 3, 1, 10, tzinfo=UTC),
        service_name="cloudtrail",
        details=content | {"logsource": AWS},
    )


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("at", {"at": "2026-03-01T10:00:00Z"}),
        ("at", {"at": "2026-03-01T11:00:00+01:00"}),
        ("at", {"at": "2026-03-01 12:00:00"}),
        ("at", {"at": 1_772_359_200}),
        ("at", {"at": 1_772_359_200_000}),
        ("a.b", {"a": {"b": "2026-03-01T10:00:00Z"}}),
        ("a.b", {"a.b": "2026-03-01T10:00:00Z", "a": {"b": "2020-01-01T00:00:00Z"}}),
    ],
)
def test_times_are_read_in_the_usual_forms(field: str, content: dict[str, Any]) -> None:
    """ISO 8601 with a zone or in the stated one, seconds, milliseconds; at a key or a path."""
    (event,) = read(content, time_field=field, tz=timezone(timedelta(hours=2)))
    assert event.timestamp == datetime(2026, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[1, 2]",
        '"text"',
        "{}",
        '{"timestamp": true}',
        '{"timestamp": "yesterday"}',
        '{"timestamp": 1e300}',
        '{"timestamp": NaN}',
        '{"timestamp": {"a": 1}}',
        json.dumps(OWN | {"severity": "huge"}),
        json.dumps(OWN | {"event_type": "unheard_of"}),
        '{"a": ' * 5_000 + "1" + "}" * 5_000,
        json.dumps(OWN | {"user_agent": "x" * 65_536}),
    ],
)
def test_bad_lines_are_counted_and_spoil_no_others(line: str) -> None:
    """A line that is no event is unknown; the number of its line is kept, the lines around it are taken."""
    reader = Reader()
    good = json.dumps(OWN)
    assert len(list(reader.read([good, line, "", good]))) == 2
    assert (reader.lines, reader.ignored, reader.unknown, reader.unknown_at) == (4, 1, 1, [2])


def test_reading_again_gives_the_same_ids() -> None:
    """A file that is read twice gives no new events, and two equal lines in it stay two."""
    first, second = ([event.event_id for event in read(OWN, OWN)] for _ in range(2))
    assert first == second
    assert len(set(first)) == 2
