"""
Lines of web servers' access logs, common and combined, become events.

Each request is a `network_request` event. Its details have our own names (`method`, `status_code`, `bytes`) and those
of Sigma's webserver rules (`cs-method`, `c-uri`, `sc-status`, `c-ip`, `cs-user-agent`, ...), as they stand in the log:
still escaped and encoded. Every single request is of low severity: what many of them mean is for the rules to say.

All but the address, the time and the status is the client's choice. Servers escape quotes, so the first unescaped one
begins the request, and the time is what stands right before it. The user is not taken as `user_id`: servers log the
name of an Authorization header that nobody has checked.

Sources: log_format combined of ngx_http_log_module; mod_log_config's common, combined and vhost_combined.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sentinel.errors import RejectedEvent
from sentinel.ingest.events import canonical_address
from sentinel.ingest.lines import MAX_LINE, LineReader, storable
from sentinel.ingest.syslog import HEAD, Ordinals, event_id
from sentinel.model import Event, EventType, Severity

__all__ = ["AccessLogReader"]

# Text up to the next unescaped quote; possessive, so a hostile line fails in linear time.
_QUOTED = r'((?:[^"\\]++|\\.)*+)'
_LINE = re.compile(rf'{_QUOTED}"{_QUOTED}" (\d{{3}}) (\d{{1,18}}|-)(?: "{_QUOTED}" "{_QUOTED}".*)?', re.DOTALL)
_WHO = re.compile(r"(?:(?P<vhost>[\w.-]+:\d{1,5}) )?(?P<client>\S+) \S+ (?P<user>.+) \[(?P<stamp>[^\[\]]{20,30})\] ")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MAX_USER = 256


class AccessLogReader(LineReader):
    """Reads one source of access log lines, bare or inside syslog lines of the server's programs."""

    def __init__(self, product: str, programs: Iterable[str]) -> None:
        """
        Prepare for the first line.

        Args:
            product: Sigma's name of the server; becomes the service of the events.
            programs: Names by which the server writes to syslog.
        """
        super().__init__()
        self._product = product
        self._programs = frozenset(programs)
        self._ordinals = Ordinals()
        self._stamp = ""
        self._moment: datetime | None = None

    def _events(self, line: str) -> Iterable[Event]:
        line = storable(line)
        if not line or len(line) > MAX_LINE:
            return self._without_event(known=not line)
        head = HEAD.match(line)
        if head and head["program"] not in self._programs:
            return self._without_event(known=True)
        found = _LINE.fullmatch((head["message"] if head else line).rstrip())
        who = _WHO.fullmatch(found[1]) if found else None
        at = self._time(who["stamp"]) if who else None
        if found is None or who is None or at is None:
            return self._without_event(known=False)
        identity = event_id(self._product, who["stamp"], line, self._ordinals.next(line))
        return (self._event(who, found, at, identity),)

    def _time(self, stamp: str) -> datetime | None:
        if stamp != self._stamp:  # many lines share a second
            self._stamp, self._moment = stamp, _moment(stamp)
        return self._moment

    def _event(self, who: re.Match[str], found: re.Match[str], at: datetime, identity: str) -> Event:
        agent = _given(found[6])
        return Event(
            event_id=identity,
            event_type=EventType.NETWORK_REQUEST,
            severity=Severity.LOW,
            timestamp=at,
            service_name=self._product,
            ip_address=_address(who["client"]),
            user_agent=agent,
            details=_details(who, found, agent) | {"logsource": {"product": self._product, "category": "webserver"}},
        )


def _details(who: re.Match[str], found: re.Match[str], agent: str | None) -> dict[str, Any]:
    method, uri = _asked(found[2])
    stem, _, query = (uri or "").partition("?")
    status, size = int(found[3]), int(found[4]) if found[4] != "-" else 0
    details = {
        "method": method,
        "status_code": status,
        "bytes": size,
        "c-ip": who["client"],
        "cs-method": method,
        "c-uri": uri,
        "cs-uri-stem": stem or None,
        "cs-uri-query": [query, uri] if query else uri,  # public rules look for paths in it, too
        "sc-status": status,
        "sc-bytes": size,
        "cs-user-agent": agent,
        "cs-referer": _given(found[5]),
        "cs-username": _given(who["user"][:_MAX_USER]),
        "cs-host": who["vhost"],
    }
    return {name: value for name, value in details.items() if value is not None}


def _asked(request: str) -> tuple[str | None, str | None]:
    """Method and URI; a request that is not HTTP has no method, and all of it stands for the URI."""
    method, space, rest = request.partition(" ")
    if not space or not method.isalpha() or not method.isascii():
        return None, _given(request)
    return method, rest.rpartition(" HTTP/")[0] or rest


def _given(value: str | None) -> str | None:
    return None if value in {None, "", "-"} else value


def _address(text: str) -> str | None:
    """The canonical address; None where the server logs host names."""
    try:
        return canonical_address(text)
    except RejectedEvent:
        return None


def _moment(stamp: str) -> datetime | None:
    """`30/Sep/2021:08:00:55 +0000` in UTC; None for what is no time."""
    try:
        day, month, year = stamp[:11].split("/")
        iso = f"{year}-{_MONTHS.index(month) + 1:02d}-{day}T{stamp[12:20]}{stamp[21:]}"
        return datetime.fromisoformat(iso).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
