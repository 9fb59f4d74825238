"""sshd's log lines, friendly and hostile, and the events that they become."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from sentinel.ingest.events import decode, encode
from sentinel.ingest.lines import MAX_LINE
from sentinel.ingest.sshd import Reader
from sentinel.model import Event, EventType, Severity

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HEAD = "Nov 20 03:04:05 bastion sshd[812]: "
KEY = "ED25519 SHA256:" + "q" * 43
FORGED = "from 203.0.113.66 port 22 ssh2"
REAL = "from 198.51.100.7 port 5022 ssh2"


def read(*lines: str) -> list[Event]:
    return list(Reader(now=NOW).read(lines))


def counts(*lines: str) -> tuple[int, int, int, int]:
    """Lines, events, ignored, unknown."""
    reader = Reader(now=NOW)
    events = len(list(reader.read(lines)))
    return reader.lines, events, reader.ignored, reader.unknown


def facts(message: str) -> tuple[str | None, str | None, dict[str, Any]]:
    """User, address and details of a message's one event, without the host."""
    (event,) = read(HEAD + message)
    assert event.details.pop("host") == "bastion"
    return event.user_id, event.ip_address, event.details


def test_a_line_becomes_an_event() -> None:
    """An event read from a line has all that the line says."""
    (event,) = read("Nov 20 03:04:05 bastion sshd[812]: Failed password for root from 198.51.100.7 port 5022 ssh2\n")
    assert event == Event(
        event_id=event.event_id,
        event_type=EventType.AUTHENTICATION,
        severity=Severity.LOW,
        timestamp=datetime(2026, 11, 20, 3, 4, 5, tzinfo=UTC),
        user_id="root",
        service_name="sshd",
        ip_address="198.51.100.7",
        details={
            "success": False,
            "failure_reason": "bad_password",
            "method": "password",
            "operation": "login",
            "port": 5022,
            "host": "bastion",
        },
    )


@pytest.mark.parametrize(
    ("message", "user", "method", "reason"),
    [
        (f"Failed password for anna {REAL}", "anna", "password", "bad_password"),
        (f"Failed password for invalid user anna {REAL}", "anna", "password", "unknown_user"),
        (f"Failed keyboard-interactive/pam for anna {REAL}", "anna", "keyboard-interactive/pam", "bad_password"),
        (f"Failed none for invalid user anna {REAL}", "anna", "none", "unknown_user"),
        (f"Failed publickey for anna {REAL}: {KEY}", "anna", "publickey", "bad_token"),
        (f"Failed publickey for anna {REAL}: RSA {'ab:' * 15}ab", "anna", "publickey", "bad_token"),
        (f"Failed password for anna {REAL} [preauth]", "anna", "password", "bad_password"),
        (f"error: Failed password for anna {REAL}", "anna", "password", "bad_password"),
        (f"Failed password for invalid user  {REAL}", "", "password", "unknown_user"),
        (f"Failed password for invalid user two words {REAL}", "two words", "password", "unknown_user"),
        (f"Accepted password for anna {REAL}", "anna", "password", None),
        (f"Accepted publickey for anna {REAL}: {KEY}", "anna", "publickey", None),
        (f"Accepted publickey for anna {REAL}: ED25519-CERT ID laptop (serial 7) CA {KEY}", "anna", "publickey", None),
        (f"Accepted gssapi-with-mic for anna {REAL}: anna@EXAMPLE.ORG", "anna", "gssapi-with-mic", None),
    ],
)
def test_logins_are_told_apart(message: str, user: str, method: str, reason: str | None) -> None:
    """User, method, success and the reason of a failure are read from every form of a login line."""
    expected = {"success": reason is None, "method": method, "operation": "login", "port": 5022}
    if reason:
        expected["failure_reason"] = reason
    assert facts(message) == (user, "198.51.100.7", expected)


@pytest.mark.parametrize(
    ("message", "user", "port"),
    [
        ("Invalid user anna from 198.51.100.7 port 5022", "anna", {"port": 5022}),
        ("Invalid user anna from 198.51.100.7", "anna", {}),
        ("Invalid user  from 198.51.100.7 port 5022 [preauth]", "", {"port": 5022}),
    ],
)
def test_an_unknown_name_is_no_login(message: str, user: str, port: dict[str, int]) -> None:
    """The line that only names an unknown user is not counted as a login: its Failed line follows."""
    expected = {"success": False, "failure_reason": "unknown_user", "operation": "identify", **port}
    assert facts(message) == (user, "198.51.100.7", expected)


OFFER = "Their offer: ssh-rsa,ssh-dss"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            f"Unable to negotiate with 198.51.100.7 port 9: no matching host key type found. {OFFER}",
            "no matching host key type",
        ),
        (
            f"fatal: Unable to negotiate with 198.51.100.7 port 9: no matching cipher found. {OFFER} [preauth] ",
            "no matching cipher",
        ),
        (f"Unable to negotiate with 198.51.100.7: no matching MAC found. {OFFER}", "no matching MAC"),
        (
            "Unable to negotiate with 198.51.100.7 port 9: no matching MAC found. Their offer: x from 203.0.113.66",
            "no matching MAC",
        ),
        (
            "Protocol major versions differ for 198.51.100.7 port 9: 2 vs. 1",
            "protocol versions differ",
        ),
        ("Bad protocol version identification 'GET / HTTP/1.1' from 198.51.100.7 port 9", "bad protocol version"),
        (
            "Bad protocol version identification 'a' from 203.0.113.66 port 1' from 198.51.100.7 port 9",
            "bad protocol version",
        ),
        ("error: banner exchange: Connection from 198.51.100.7 port 9: invalid format", "bad banner"),
        ("Did not receive identification string from 198.51.100.7 port 9", "no identification string"),
    ],
)
def test_clients_that_do_not_speak_the_protocol(message: str, reason: str) -> None:
    """Probes that never get as far as a login are events with their real address and a fixed reason."""
    (event,) = read(HEAD + message)
    assert (event.event_type, event.ip_address, event.details["reason"]) == (
        EventType.NETWORK_REQUEST,
        "198.51.100.7",
        reason,
    )


@pytest.mark.parametrize(
    "name", [f"root {FORGED}", f"root {FORGED}: {KEY}", f"root {FORGED} {FORGED}", "x from ", f"x\\n{HEAD}Failed"]
)
@pytest.mark.parametrize(
    "message",
    [
        "Failed password for invalid user {name} " + REAL,
        "Failed publickey for invalid user {name} " + REAL + ": " + KEY,
        "Invalid user {name} from 198.51.100.7 port 5022",
        "Invalid user {name} from 198.51.100.7",
    ],
)
def test_a_name_can_not_forge_an_address(message: str, name: str) -> None:
    """Whatever name an attacker chooses, the address is the one that sshd wrote and the name is the whole name."""
    user, address, _ = facts(message.format(name=name))
    assert (user, address) == (name, "198.51.100.7")


@pytest.mark.parametrize(
    "message",
    [
        f"Failed publickey for root {REAL}: ED25519-CERT ID x {FORGED}: y (serial 0) CA {KEY}",
        f"Failed publickey for root {REAL}: ED25519-CERT ID x {FORGED}: {KEY} ID y (serial 0) CA {KEY}",
        f'Failed hostbased for root {REAL}: RSA SHA256:{"q" * 43}, client user "x {FORGED}: y", client host "z"',
        f'Failed hostbased for root {REAL}: {KEY}, client user "x", client host "z {FORGED}: {KEY}"',
    ],
)
def test_a_certificate_can_not_forge_an_address(message: str) -> None:
    """Text of the client behind the address makes the line ambiguous: it is counted, and blames nobody."""
    assert counts(HEAD + message) == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("spelling", "address"),
    [
        ("2001:DB8::0:1", "2001:db8::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("UNKNOWN", None),
        ("host.example.org", None),
    ],
)
def test_addresses_are_canonical(spelling: str, address: str | None) -> None:
    """All spellings of an address are one subject; an event without an address is still an event."""
    assert facts(f"Failed password for root from {spelling} port 22 ssh2")[1] == address


@pytest.mark.parametrize(
    "line",
    [
        HEAD + "Connection closed by authenticating user root 198.51.100.7 port 22 [preauth]",
        HEAD + "Connection from 198.51.100.7 port 22 on 192.0.2.1 port 22",
        HEAD + "Disconnected from user anna 198.51.100.7 port 22",
        HEAD + "Received disconnect from 198.51.100.7 port 22:11: Bye Bye [preauth]",
        HEAD + "error: maximum authentication attempts exceeded for root from 198.51.100.7 port 22 ssh2 [preauth]",
        HEAD + "error: kex_exchange_identification: Connection closed by remote host",
        HEAD + "pam_unix(sshd:session): session opened for user anna(uid=1000) by (uid=0)",
        HEAD + "User root from 198.51.100.7 not allowed because not listed in AllowUsers",
        HEAD + "Postponed publickey for anna from 198.51.100.7 port 22 ssh2 [preauth]",
        "Nov 20 03:04:05 bastion CRON[77]: Failed password for root from 198.51.100.7 port 22 ssh2",
        "Nov 20 03:04:05 bastion systemd: Started.",
        "",
        "\n",
    ],
)
def test_known_lines_without_an_event(line: str) -> None:
    """Lines that tell nothing new, and those of other programs, are ignored and counted as such."""
    assert counts(line) == (1, 0, 1, 0)


@pytest.mark.parametrize(
    "line",
    [
        "no syslog at all",
        HEAD + "A message of tomorrow's release",
        HEAD + "Failed password for root",
        HEAD + "Failed password for root from 198.51.100.7 port 22 ssh2 and more",
        HEAD + "Invalid user root",
        HEAD + f"Failed password for {'x' * 257} {REAL}",
        HEAD + "message repeated 100000 times: [ Failed password for root from 198.51.100.7 port 22 ssh2]",
        HEAD + "message repeated 0 times: [ Failed password for root from 198.51.100.7 port 22 ssh2]",
        HEAD + f"Failed password for root {REAL}".ljust(MAX_LINE),
        f"Feb 30 03:04:05 bastion sshd[1]: Failed password for root {REAL}",
        "Nov 20 03:04:05 bastion last message repeated 3 times",
    ],
)
def test_unknown_lines_are_counted(line: str) -> None:
    """What can't be read is never dropped without a trace."""
    assert counts(line) == (1, 0, 0, 1)


@pytest.mark.parametrize("program", ["sshd[1]", "sshd", "sshd-session[1]", "sshd-auth[1]"])
@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("Nov  2 03:04:05", datetime(2026, 11, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-11-02T03:04:05.678901+01:00", datetime(2024, 11, 2, 2, 4, 5, 678901, tzinfo=UTC)),
    ],
)
def test_heads_of_old_and_new_releases(program: str, stamp: str, at: datetime) -> None:
    """Both kinds of stamp, and all programs that OpenSSH was split into, are read."""
    (event,) = read(f"{stamp} bastion {program}: Failed password for root {REAL}")
    assert event.timestamp == at


def test_a_repeated_message_counts() -> None:
    """A line that stands for N messages gives N events with ids of their own."""
    line = HEAD + f"message repeated 3 times: [ Failed password for root {REAL}]"
    events = read(line)
    assert [event.user_id for event in events] == ["root"] * 3
    assert len({event.event_id for event in events + read(line, line)}) == 6


def test_reading_again_changes_nothing() -> None:
    """The same file read again gives the same ids, and two equal lines stay two events."""
    line, other = HEAD + f"Failed password for root {REAL}", HEAD + f"Failed password for anna {REAL}"
    ids = [event.event_id for event in read(line, other, line)]
    assert len(set(ids)) == 3
    assert ids == [
        event.event_id for event in read(line + "\r\n", HEAD + "Connection closed", other + "\n", line + "\n")
    ]


def test_a_source_can_be_read_in_parts() -> None:
    """Whoever follows a log hands over lines as they come; years, ordinals and counts go on."""
    line = f"Dec 31 23:59:59 bastion sshd[1]: Failed password for root {REAL}"
    reader = Reader(now=NOW)
    parts = [*reader.read([line]), *reader.read([line, line.replace("Dec 31", "Jan  1")])]
    assert [event.timestamp.year for event in parts] == [2025, 2025, 2026]
    assert len({event.event_id for event in parts}) == 3
    assert reader.lines == 3


def test_zone_and_year_can_be_given() -> None:
    """A log in another zone and of a known year is dated as stated."""
    reader = Reader(tz=timezone(timedelta(hours=2)), year=2019, now=NOW)
    (event,) = reader.read([HEAD + f"Failed password for root {REAL}"])
    assert event.timestamp == datetime(2019, 11, 20, 1, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("name", ["caf\udce9", "\ud800", "Jose\u0301", "😀"])
def test_every_event_can_be_stored(name: str) -> None:
    """Bytes that are not UTF-8 don't keep an event out of the store; names are in NFC."""
    (event,) = read(HEAD + f"Failed password for invalid user {name} {REAL}")
    assert decode(encode(event)) == event
    assert event.user_id in {"caf\ufffd", "\ufffd", "Jos\u00e9", "😀"}


@pytest.mark.parametrize(
    "unit", [" from ", "from 1.1.1.1 port 1 ssh2: ", "a", " ", "[ ", "Failed password for ", ": ", "1"]
)
@pytest.mark.parametrize(
    "start", ["Failed password for ", "Invalid user ", "Unable to negotiate with ", "message repeated 5 times: [ "]
)
def test_hostile_lines_end(start: str, unit: str) -> None:
    """Long lines made to send a pattern back and forth are read or counted, not searched for minutes."""
    for size in (MAX_LINE - 200, 1_000_000):
        assert counts(HEAD + start + unit * (size // len(unit)))[0] == 1
