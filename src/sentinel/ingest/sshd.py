"""
OpenSSH's log lines become events.

Read: lines in syslog form, with either kind of stamp, of `sshd` and of the programs that newer releases split off. A
failed or accepted login is an `authentication` event with `operation: login`. "Invalid user" is one with
`operation: identify`, because the same attempt's "Failed ... for invalid user" follows and is the one to count. Clients
that don't speak the protocol give a `network_request` with a `reason`. Every single fact is of low severity: how bad
many of them are is for the rules to say. What only the order of the lines shows is told by `unresolved_users`.

User names are chosen by the attacker and may imitate the text around them ("root from 198.51.100.9 port 22 ssh2").
Nothing of the attacker's follows the address except in the details of some authentication methods, so the address is
looked for from the right, and a line that could be read in two ways is not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from sentinel.errors import RejectedEvent
from sentinel.ingest.events import canonical_address, canonical_user
from sentinel.ingest.lines import MAX_LINE, LineReader, storable
from sentinel.ingest.syslog import HEAD, Calendar, Ordinals, event_id
from sentinel.ingest.unresolved import Unresolved
from sentinel.model import Event, EventType, Severity

__all__ = ["Reader"]

_MAX_USER = 256
_PROGRAMS = frozenset({"sshd", "sshd-session", "sshd-auth"})
_REPEATED = re.compile(r"message repeated ([1-9]\d{0,4}) times: \[ (.*)\]", re.DOTALL)
# Nearly every login: one word for the method, one for the user, so that there is only one way to read it.
_PLAIN_LOGIN = re.compile(r"\w+ (\S+) for (invalid user )?(\S+) from (\S{1,64}) port (\d{1,5}) ssh2")
_TAIL = re.compile(r"(?P<address>\S{1,64})(?: port (?P<port>\d{1,5}))?(?: ssh2)?(?:: (?P<more>.*))?", re.DOTALL)
_KEY = re.compile(r"[A-Z0-9-]{1,32} (?:SHA256:[A-Za-z0-9+/=]{20,64}|(?:MD5:)?[0-9a-f:]{47})")
_PEER = re.compile(
    r"(?:Unable to negotiate with|Protocol major versions differ for) "
    r"(\S{1,64})(?: port (\d{1,5}))?: (no matching [A-Za-z ]{1,40}(?= found))?"
)
_BAD_START = {
    "Bad protocol version identification ": "bad protocol version",
    "banner exchange: Connection from ": "bad banner",
    "Did not receive identification string from ": "no identification string",
}
_PASSWORD_METHODS = ("password", "keyboard-interactive")

_NO_EVENT = (
    "Accepted key ",
    "Address ",
    "Authentication refused:",
    "Bad packet length",
    "Change of username",
    "Close session:",
    "Connection ",
    "Could not ",
    "Disconnected ",
    "Disconnecting",
    "Exiting on signal",
    "Nasty PTR record",
    "PAM ",
    "PAM:",
    "Partial ",
    "Postponed ",
    "Read error from ",
    "Received disconnect from ",
    "Received signal ",
    "Server listening on ",
    "Starting session:",
    "Timeout",
    "Transferred:",
    "User ",
    "Write failed",
    "beginning MaxStartups",
    "debug",
    "drop connection ",
    "exited MaxStartups",
    "input_userauth_request:",
    "kex_",
    "maximum authentication attempts exceeded",
    "pam_",
    "reverse mapping checking ",
    "session ",
    "ssh_dispatch_run_fatal:",
    "subsystem request ",
    "userauth_pubkey:",
)
"""How messages begin that give no event: what they tell is told by another line, or is no security fact."""


class Reader(LineReader):
    """Reads one source of sshd lines."""

    def __init__(self, *, tz: tzinfo = UTC, year: int | None = None, now: datetime) -> None:
        """
        Prepare for the first line.

        Args:
            tz: Zone of stamps that name none.
            year: Of the first line, None for what `foresee` finds, or the latest that is not in the future.
            now: Aware; what "future" means.
        """
        super().__init__()
        self._calendar = Calendar(tz=tz, year=year, now=now)
        self._ordinals = Ordinals()
        self._unresolved = Unresolved()

    def foresee(self, lines: Iterable[str]) -> None:
        """Find the year of the first line."""
        self._calendar.foresee(lines)

    def _events(self, line: str) -> Iterable[Event]:
        line = storable(line)
        head = HEAD.match(line) if len(line) <= MAX_LINE else None
        if head is None:
            return self._without_event(known=not line)
        stamp, host, program, message = head.groups()
        at = self._calendar.moment(stamp)
        if at is None:
            return self._without_event(known=False)
        if program not in _PROGRAMS:
            return self._without_event(known=True)
        copies, message = _unfolded(message)
        fact = _fact(message)
        if fact is None:
            return self._without_event(known=message.startswith(_NO_EVENT))
        fact.details["host"] = host
        ordinal = self._ordinals.next(line)
        events = [_event(fact, at, event_id("sshd", stamp, line, ordinal, copy)) for copy in range(copies)]
        self._weigh(events[0])
        return events

    def _weigh(self, login: Event) -> None:
        """Tell a failure how many other users failed from there before it, and never signed in."""
        address, user = login.ip_address, login.user_id
        if address is None or user is None:
            return
        if login.details["success"]:
            self._unresolved.succeeded(address, user)
        elif users := self._unresolved.failed(address, user, login.timestamp):
            login.details["unresolved_users"] = users


class _Fact(NamedTuple):
    event_type: EventType
    address: str
    details: dict[str, Any]
    user: str | None = None


class _Origin(NamedTuple):
    before: str
    """The text before " from "."""
    address: str
    port: dict[str, int]
    """`{"port": n}`, or empty where the line has none."""


def _event(fact: _Fact, at: datetime, identity: str) -> Event:
    return Event(
        event_id=identity,
        event_type=fact.event_type,
        severity=Severity.LOW,
        timestamp=at,
        user_id=fact.user,
        service_name="sshd",
        ip_address=_address(fact.address),
        details=fact.details,
    )


def _address(text: str) -> str | None:
    """The canonical address; None for what is none: UNKNOWN, or a host name from an old release."""
    try:
        return canonical_address(text.partition("%")[0])  # the zone of a link-local address means the logging host's
    except RejectedEvent:
        return None


def _unfolded(message: str) -> tuple[int, str]:
    """How many equal messages the line stands for, and the message without the prefixes and suffixes that vary."""
    repeated = _REPEATED.fullmatch(message) if message.startswith("message repeated ") else None
    copies, message = (int(repeated[1]), repeated[2]) if repeated else (1, message)
    message = message.rstrip().removesuffix(" [preauth]")
    return copies, message.removeprefix("error: ").removeprefix("fatal: ")


def _fact(message: str) -> _Fact | None:
    read = _READ.get(message.partition(" ")[0])
    return read(message) if read else None


def _failed(message: str) -> _Fact | None:
    return _login(message, success=False)


def _accepted(message: str) -> _Fact | None:
    return _login(message, success=True)


def _login(message: str, *, success: bool) -> _Fact | None:
    plain = _PLAIN_LOGIN.fullmatch(message)
    if plain:
        method, invalid, user, address, port = plain.groups()
        return _logged_in(_Origin(user, address, {"port": int(port)}), user, method, success, known=not invalid)
    what, _, whom = message.partition(" for ")
    method = what.partition(" ")[2]
    origin = _origin(whom)
    if origin is None or not method or " " in method:
        return None
    user = origin.before.removeprefix("invalid user ")
    return _logged_in(origin, user, method, success, known=user == origin.before)


def _logged_in(origin: _Origin, user: str, method: str, success: bool, *, known: bool) -> _Fact | None:
    details = {"success": success, "method": method, "operation": "login", **origin.port}
    if not success:
        details["failure_reason"] = _failure_reason(method, known=known)
    return _authentication(origin, user, details)


def _failure_reason(method: str, *, known: bool) -> str:
    if not known:
        return "unknown_user"
    return "bad_password" if method.startswith(_PASSWORD_METHODS) else "bad_token"


def _identified(message: str) -> _Fact | None:
    origin = _origin(message.removeprefix("Invalid user")) if message.startswith("Invalid user ") else None
    if origin is None:
        return None
    details = {"success": False, "failure_reason": "unknown_user", "operation": "identify", **origin.port}
    return _authentication(origin, origin.before.removeprefix(" "), details)


def _authentication(origin: _Origin, user: str, details: dict[str, Any]) -> _Fact | None:
    if len(user) > _MAX_USER:  # sshd cuts names at 100 characters: this is not its line
        return None
    return _Fact(EventType.AUTHENTICATION, origin.address, details, canonical_user(user))


def _refused_peer(message: str) -> _Fact | None:
    """A client that does not speak our part of the protocol."""
    peer = _PEER.match(message)
    if peer is None:
        return None
    # The client's offer follows the address, so here the left is the side to read from.
    origin = _Origin("", peer[1], _port(peer[2]))
    return _network(origin, peer[3] or "protocol versions differ")


def _bad_start(message: str) -> _Fact | None:
    """A client that does not speak the protocol."""
    for start, reason in _BAD_START.items():
        if message.startswith(start):
            found = _origin(message)
            return found and _network(found, reason)
    return None


def _network(origin: _Origin, reason: str) -> _Fact:
    return _Fact(EventType.NETWORK_REQUEST, origin.address, {"reason": reason, **origin.port})


def _origin(text: str) -> _Origin | None:
    """
    Where a message says that it comes from, and the text before; None where that is not certain.

    What follows the address is sshd's own text, or a key's type and fingerprint. Certificate ids and names of client
    hosts follow it too and are the client's choice: with those, a second " from " makes the line ambiguous.
    """
    before, found, after = text.rpartition(" from ")
    tail = _TAIL.fullmatch(after)
    if not found or tail is None:
        return None
    if tail["more"] and " from " in before and not _KEY.fullmatch(tail["more"]):
        return None
    return _Origin(before, tail["address"], _port(tail["port"]))


def _port(text: str | None) -> dict[str, int]:
    return {"port": int(text)} if text else {}


_READ: dict[str, Callable[[str], _Fact | None]] = {
    "Failed": _failed,
    "Accepted": _accepted,
    "Invalid": _identified,
    "Unable": _refused_peer,
    "Protocol": _refused_peer,
    **{start.partition(" ")[0]: _bad_start for start in _BAD_START},
}
"""How to read a message, by its first word."""
