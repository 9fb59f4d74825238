"""Bodies of requests, the events in them, and what their sender is told."""

from __future__ import annotations

import itertools
import uuid

from sentinel.app import Monitor
from sentinel.errors import RejectedEvent
from sentinel.ingest.events import MAX_EVENTS, Parsed, Rejected, TooManyEvents, parse_json, parse_ndjson
from sentinel.ingest.unpack import BodyTooLarge, decompress
from sentinel.server.problems import Problem, Receive, Scope
from sentinel.stream import Overloaded, Receipt, Source

__all__ = [
    "NDJSON",
    "media_type",
    "new_id",
    "parse_events",
    "read_body",
    "receipt_body",
    "refused",
    "sent_events",
]

NDJSON = {"application/x-ndjson", "application/jsonl", "application/ndjson"}
"""Media types of a line for each event."""

_MAX_BODY = 10 * 1024 * 1024
_PROCESS = uuid.uuid4().hex[:20]
_numbers = itertools.count()


def new_id() -> str:
    """Return an id for an event that came without one: random for the process, counted within it."""
    # Asking the system for random bytes each time costs ten times more, and an id is no secret.
    return f"evt-{_PROCESS}{next(_numbers):012x}"


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """
    Return the whole body, unpacked.

    Raises:
        Problem: Larger than the limit, packed in a way that is not gzip, or cut off.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("malformed", "the body ended early")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MAX_BODY:
            raise Problem("too_large", f"a body holds at most {_MAX_BODY} bytes; send it in parts")
        if not message.get("more_body"):
            break
    body = b"".join(parts)
    encoding = _header(scope, b"content-encoding", b"identity").lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise Problem("media_type", "the only content encoding taken is gzip, once")
    try:
        return decompress(body)
    except BodyTooLarge as err:
        raise Problem("too_large", str(err)) from None
    except RejectedEvent as err:
        raise Problem("malformed", str(err)) from None


def media_type(scope: Scope) -> str:
    """Return what the sender says that the body is, in lower case and without parameters."""
    return _header(scope, b"content-type").partition(";")[0].strip().lower()


def _header(scope: Scope, wanted: bytes, default: bytes = b"") -> str:
    """Return a header's last value."""
    values = [value for name, value in scope["headers"] if name == wanted]
    return (values[-1] if values else default).decode("latin-1")


def parse_events(body: bytes, media_type: str) -> Parsed:
    """
    Return a body's events and what is wrong with the others.

    Raises:
        Problem: The body is of another type, no JSON at all, or holds too many events.
    """
    if media_type != "application/json" and media_type not in NDJSON:
        raise Problem("media_type", "send application/json (an object or a list) or application/x-ndjson")
    try:
        return (parse_ndjson if media_type in NDJSON else parse_json)(body, new_id)
    except TooManyEvents as err:
        raise Problem("too_large", f"{err} (at most {MAX_EVENTS})") from None
    except RejectedEvent as err:
        raise Problem(
            "invalid", str(err), members={"accepted": 0, "duplicates": 0, "late": 0, "rejected": []}
        ) from None


def receipt_body(receipt: Receipt, rejected: list[Rejected]) -> dict[str, object]:
    """Return what the sender learns about its events."""
    return {
        "accepted": len(receipt.accepted),
        "duplicates": receipt.duplicates,
        "late": receipt.late,
        "rejected": sorted([*rejected, *receipt.rejected], key=lambda item: item.line),
        "event_ids": [event.event.event_id for event in receipt.accepted if event.event.event_id.startswith("evt-")],
    }


async def sent_events(monitor: Monitor, parsed: Parsed, source: Source) -> Receipt:
    """
    Return once the events are durable.

    Raises:
        Problem: Too many wait: nothing was taken, the sender keeps them.
        StoreUnable: The store has no room or is locked: likewise.
    """
    try:
        receipt = await monitor.intake.accept(parsed.events, source)
    except Overloaded:
        raise refused(monitor, len(parsed.events)) from None
    counts = monitor.metrics.events
    counts.labels(result="accepted").inc(len(receipt.accepted))
    counts.labels(result="duplicate").inc(receipt.duplicates)
    counts.labels(result="conflict").inc(receipt.conflicts)
    counts.labels(result="late").inc(receipt.late)
    counts.labels(result="rejected").inc(len(receipt.rejected) + len(parsed.rejected))
    return receipt


def refused(monitor: Monitor, events: int) -> Problem:
    """Count events that are refused, and return what their sender is told."""
    monitor.metrics.events.labels(result="refused").inc(events)
    monitor.metrics.bad_tokens.labels(status="429").inc()
    return Problem("overloaded", str(Overloaded()), headers={"Retry-After": "1"})
