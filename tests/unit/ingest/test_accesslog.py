"""Access log lines of nginx and Apache, friendly and hostile, and the events that they become."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sentinel.ingest import apache, nginx
from sentinel.ingest.accesslog import AccessLogReader
from sentinel.ingest.events import decode, encode
from sentinel.ingest.lines import MAX_LINE
from sentinel.model import Event, EventType, Severity

STAMP = "[07/Mar/2026:10:20:30 +0100]"
COMMON = f'198.51.100.7 - - {STAMP} "GET /shop?item=7 HTTP/1.1" 200 512'
COMBINED = COMMON + ' "https://shop.example/" "Mozilla/5.0 (X11)"'
SYSLOG = "Mar  7 10:20:31 web1 {program}[77]: "


def read(*lines: str, reader: AccessLogReader | None = None) -> list[Event]:
    return list((reader or nginx.Reader()).read(lines))


def counts(line: str, reader: AccessLogReader | None = None) -> tuple[int, int, int]:
    """Events, ignored, unknown."""
    reader = reader or nginx.Reader()
    return len(list(reader.read([line]))), reader.ignored, reader.unknown


def details(line: str) -> dict[str, Any]:
    (event,) = read(line)
    return event.details


def test_a_line_becomes_an_event() -> None:
    """A request has all that its line says, under our names and under those of Sigma's webserver rules."""
    (event,) = read(COMBINED)
    assert event == Event(
        event_id=event.event_id,
        event_type=EventType.NETWORK_REQUEST,
        severity=Severity.LOW,
        timestamp=datetime(2026, 3, 7, 9, 20, 30, tzinfo=UTC),
        service_name="nginx",
        ip_address="198.51.100.7",
        user_agent="Mozilla/5.0 (X11)",
        details={
            "method": "GET",
            "status_code": 200,
            "bytes": 512,
            "c-ip": "198.51.100.7",
            "cs-method": "GET",
            "c-uri": "/shop?item=7",
            "cs-uri-stem": "/shop",
            "cs-uri-query": ["item=7", "/shop?item=7"],
            "sc-status": 200,
            "sc-bytes": 512,
            "cs-user-agent": "Mozilla/5.0 (X11)",
            "cs-referer": "https://shop.example/",
            "logsource": {"product": "nginx", "category": "webserver"},
        },
    )


@pytest.mark.parametrize(
    ("line", "reader"),
    [
        (COMMON, nginx.Reader()),
        (COMBINED + ' "-" 0.004', nginx.Reader()),
        (SYSLOG.format(program="nginx") + COMBINED, nginx.Reader()),
        ("2026-03-07T10:20:31+01:00 web1 nginx: " + COMMON, nginx.Reader()),
        (COMBINED, apache.Reader()),
        ("shop.example:443 " + COMBINED, apache.Reader()),
        (SYSLOG.format(program="apache2") + COMBINED, apache.Reader()),
        (SYSLOG.format(program="httpd") + COMMON + "\r\n", apache.Reader()),
    ],
)
def test_every_usual_form_is_read(line: str, reader: AccessLogReader) -> None:
    """Common, combined, with a virtual host, with further fields, and inside syslog lines: the same request."""
    (event,) = read(line, reader=reader)
    assert (event.ip_address, event.details["c-uri"], event.details["sc-status"]) == (
        "198.51.100.7",
        "/shop?item=7",
        200,
    )


@pytest.mark.parametrize(
    ("request_line", "method", "uri"),
    [
        ("POST /a b HTTP/1.1", "POST", "/a b"),
        ("GET /old", "GET", "/old"),
        ("GET / HTTP/1.0 HTTP/1.1", "GET", "/ HTTP/1.0"),
        (r"\x16\x03\x01", None, r"\x16\x03\x01"),
        ("-", None, None),
        ("", None, None),
        (r"GET /\x22quoted\x22 HTTP/1.1", "GET", r"/\x22quoted\x22"),
        (r"GET /\"quoted\" HTTP/1.1", "GET", r"/\"quoted\""),
    ],
)
def test_odd_requests_are_kept(request_line: str, method: str | None, uri: str | None) -> None:
    """What is no HTTP is an event too, as probes look like that; nothing of the request is lost."""
    found = details(f'198.51.100.7 - - {STAMP} "{request_line}" 400 0 "-" "-"')
    assert (found.get("cs-method"), found.get("c-uri")) == (method, uri)
    assert "cs-referer" not in found


@pytest.mark.parametrize(
    "line",
    [
        rf'198.51.100.7 - x [01/Jan/2020:00:00:00 +0000] {STAMP} "GET / HTTP/1.1" 401 0 "-" "-"',
        rf'198.51.100.7 - 203.0.113.66 - - [01/Jan/2020:00:00:00 +0000] \"GET {STAMP} "GET / HTTP/1.1" 401 0 "-" "-"',
        rf'198.51.100.7 - - {STAMP} "GET /\" 200 1 \"-\" \"-\" HTTP/1.1" 401 0 "-" "-"',
        rf'198.51.100.7 - - {STAMP} "GET / HTTP/1.1" 401 0 "-" "\" 200 9"',
    ],
)
def test_a_client_can_not_forge_address_time_or_status(line: str) -> None:
    """Whatever user, path or agent a client sends, the server's own fields are the ones that count."""
    (event,) = read(line)
    assert event.ip_address == "198.51.100.7"
    assert event.timestamp == datetime(2026, 3, 7, 9, 20, 30, tzinfo=UTC)
    assert event.details["sc-status"] == 401


def test_a_claimed_user_is_no_user_of_ours() -> None:
    """The name of an Authorization header stands in the details; rules about users must not believe it."""
    (event,) = read(COMMON.replace("- -", "- root"))
    assert (event.user_id, event.details["cs-username"]) == (None, "root")


def test_a_host_name_is_no_address() -> None:
    """Where the server logs host names the event has no address, and still says who it was."""
    (event,) = read(COMMON.replace("198.51.100.7", "client.example"))
    assert (event.ip_address, event.details["c-ip"]) == (None, "client.example")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", (0, 1, 0)),
        (SYSLOG.format(program="cron") + COMMON, (0, 1, 0)),
        ("2026/03/07 10:20:30 [error] 77#77: *1 open() failed", (0, 0, 1)),
        (SYSLOG.format(program="nginx") + "signal process started", (0, 0, 1)),
        (COMMON.replace("Mar", "Foo"), (0, 0, 1)),
        (COMMON.replace("07/", "32/"), (0, 0, 1)),
        (COMMON.replace(" 200 ", " two "), (0, 0, 1)),
        (COMMON.replace("GET", 'GET"'), (0, 0, 1)),
        (COMBINED[:-1], (0, 0, 1)),
        (COMMON.replace("/shop", "/" + "x" * MAX_LINE), (0, 0, 1)),
    ],
)
def test_every_line_is_accounted_for(line: str, expected: tuple[int, int, int]) -> None:
    """Lines of others are ignored, those that can't be read are unknown, and both are counted."""
    assert counts(line) == expected


def test_reading_again_gives_the_same_ids() -> None:
    """A log that is read twice gives no new events, and two equal requests in it stay two."""
    first, second = ([event.event_id for event in read(COMMON, COMMON, COMBINED)] for _ in range(2))
    assert first == second
    assert len(set(first)) == 3


def test_every_event_can_be_stored() -> None:
    """Bytes that are not UTF-8 don't keep a request out of the store."""
    (event,) = read(COMMON.replace("/shop", "/caf\udce9"))
    assert decode(encode(event)) == event


@pytest.mark.parametrize("unit", ['"', "\\", '\\"', " [", "] ", " ", "a", '" "', "- ", "1"])
def test_hostile_lines_end(unit: str) -> None:
    """Long lines made to send a pattern back and forth are read or counted, not searched for minutes."""
    size = (MAX_LINE - 300) // len(unit)
    for line in (unit * size, COMMON + unit * size, COMMON.replace("- -", f"- {unit * size}")):
        assert sum(counts(line)) == 1
