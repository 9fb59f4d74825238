"""
Lines of JSON become events: our own as they are, those of any other product as `audit_log` events.

An object with `event_type` is judged like one that is sent over HTTP. Any other is kept whole in `details`, and
`details.logsource` says which Sigma rules are for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec

from sentinel.errors import RejectedEvent
from sentinel.ingest.events import MAX_EVENT_BYTES, parse_json
from sentinel.ingest.lines import LineReader, storable
from sentinel.ingest.syslog import Ordinals, event_id
from sentinel.model import Event, EventType, Severity

__all__ = ["Reader"]

_object = msgspec.json.Decoder(dict[str, Any])
_LATEST_SECONDS = 10_000_000_000  # numbers above mean milliseconds; as seconds they would lie beyond the year 2286


class Reader(LineReader):
    """Reads one source of JSON lines."""

    def __init__(
        self, *, logsource: Mapping[str, str] | None = None, time_field: str = "timestamp", tz: tzinfo = UTC
    ) -> None:
        """
        Prepare for the first line.

        Args:
            logsource: `product`, `service` and `category` of foreign objects, as far as known.
            time_field: Where a foreign object has its time: a key, or a dotted path. Its value is ISO 8601, or seconds
                or milliseconds since 1970.
            tz: Zone of times that name none.
        """
        super().__init__()
        self._logsource = dict(logsource or {})
        self._time_field = time_field
        self._tz = tz
        self._ordinals = Ordinals()

    def _events(self, line: str) -> Iterable[Event]:
        line = storable(line).strip()
        if not line or len(line) > MAX_EVENT_BYTES:
            return self._without_event(known=not line)
        ordinal = self._ordinals.next(line)
        try:
            content = _object.decode(line)
            own = "event_type" in content
            stamp = _found(content, "timestamp" if own else self._time_field)
            identity = event_id("json", str(stamp), line, ordinal)
            event = self._own(line, identity) if own else self._foreign(content, identity)
        except (ValueError, RecursionError, RejectedEvent):
            return self._without_event(known=False)
        return (event,)

    def _own(self, line: str, identity: str) -> Event:
        parsed = parse_json(line.encode(), lambda: identity)
        if parsed.rejected:
            raise RejectedEvent(parsed.rejected[0].reason)
        return parsed.events[0][1]

    def _foreign(self, content: dict[str, Any], identity: str) -> Event:
        return Event(
            event_id=identity,
            event_type=EventType.AUDIT_LOG,
            severity=Severity.LOW,
            timestamp=_moment(_found(content, self._time_field), self._tz),
            service_name=self._logsource.get("service") or self._logsource.get("product"),
            details=content | {"logsource": self._logsource} if self._logsource else content,
        )


def _found(content: Any, path: str) -> Any:
    """The value of a key, or what a dotted path leads to; None where there is none."""
    if not isinstance(content, dict):
        return None
    if path in content:
        return content[path]
    first, _, rest = path.partition(".")
    return _found(content.get(first), rest) if rest else None


def _moment(value: Any, tz: tzinfo) -> datetime:
    """Return the time in UTC; `ValueError` for what is none."""
    try:
        moment = _read(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=tz)).astimezone(UTC)
    except (TypeError, OverflowError, OSError) as err:
        raise ValueError("no time") from err


def _read(value: Any) -> datetime:
    if type(value) in {int, float}:  # a bool is an int too
        return datetime.fromtimestamp(value / 1000 if value > _LATEST_SECONDS else value, UTC)
    return datetime.fromisoformat(value)
