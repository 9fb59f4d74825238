"""
The hot routes, as plain ASGI: events in, texts to scan.

A framework's handling of one request costs more than judging it (measured: 4,000 requests/s against a microsecond an
event), so these read the body and answer by themselves.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import msgspec

from sentinel.app import Monitor
from sentinel.errors import ConfigError, InputTooLong, OutsideError, RejectedEvent
from sentinel.ingest.events import MAX_EVENTS, Parsed, Rejected, TooManyEvents, parse_json, parse_ndjson
from sentinel.ingest.unpack import BodyTooLarge, decompress
from sentinel.model import Event, EventType, ScanResult, Severity, iso
from sentinel.observability import pseudonym
from sentinel.server.authorize import token_of
from sentinel.server.problems import Problem, Receive, Scope, Send, json_bytes, respond
from sentinel.stream import Overloaded, Receipt, Source

__all__ = ["Hot", "parse_events", "read_body", "receipt_body", "sent_events"]

_MAX_BODY = 10 * 1024 * 1024
_NDJSON = {"application/x-ndjson", "application/jsonl", "application/ndjson"}


def new_id() -> str:
    """Return an id for an event that came without one."""
    return f"evt-{uuid.uuid4().hex}"


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """
    Return the whole body, unpacked.

    Raises:
        Problem: Larger than the limit, packed in a way that is not gzip, or cut off.
    """
    headers = dict(scope["headers"])
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
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").lower()
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


def _media_type(scope: Scope) -> str:
    value: bytes = dict(scope["headers"]).get(b"content-type", b"")
    return value.decode("latin-1").partition(";")[0].strip().lower()


def parse_events(body: bytes, media_type: str) -> Parsed:
    """
    Return a body's events and what is wrong with the others.

    Raises:
        Problem: The body is of another type, no JSON at all, or holds too many events.
    """
    if media_type != "application/json" and media_type not in _NDJSON:
        raise Problem("media_type", "send application/json (an object or a list) or application/x-ndjson")
    try:
        return (parse_ndjson if media_type in _NDJSON else parse_json)(body, new_id)
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
    except Overloaded as err:
        raise Problem("overloaded", str(err), headers={"Retry-After": "1"}) from None
    counts = monitor.metrics.events
    counts.labels(result="accepted").inc(len(receipt.accepted))
    counts.labels(result="duplicate").inc(receipt.duplicates)
    counts.labels(result="conflict").inc(receipt.conflicts)
    counts.labels(result="late").inc(receipt.late)
    counts.labels(result="rejected").inc(len(receipt.rejected) + len(parsed.rejected))
    return receipt


class _ScanRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /api/v1/scan takes."""

    prompt: str
    response: str | None = None
    engines: list[str] | None = None
    user_id: str | None = None
    session_id: str | None = None
    ip_address: str | None = None
    service_name: str | None = None


_decode_scan = msgspec.json.Decoder(_ScanRequest).decode


class Hot:
    """The hot routes of one monitor, by method and path."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._lateness = round(monitor.settings.lateness * 1_000_000)
        self.routes: dict[tuple[str, str], Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            ("POST", "/api/v1/security/events"): self.events,
            ("POST", "/api/v1/scan"): self.scan,
        }

    def _source(self, scope: Scope) -> Source:
        token = token_of(scope)
        return Source(
            origin=token.id,
            max_severity=token.max_severity,
            may_act=token.may_cause_actions,
            lateness=self._lateness,
        )

    async def events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take events: 202 once they are durable."""
        parsed = parse_events(await read_body(scope, receive), _media_type(scope))
        receipt = await sent_events(self._monitor, parsed, self._source(scope))
        body = receipt_body(receipt, parsed.rejected)
        if not (receipt.accepted or receipt.duplicates):
            raise Problem("invalid", "no event was acceptable; `rejected` says why for each", members=body)
        await respond(send, 202, json_bytes(body))

    async def scan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one text; the verdict is also an event."""
        request = _scan_request(await read_body(scope, receive), _media_type(scope))
        try:
            result = self._monitor.scanner.scan(request.prompt, request.response, engines=request.engines)
        except InputTooLong as err:
            raise Problem("too_large", str(err)) from None
        except ConfigError as err:
            raise Problem("invalid", str(err)) from None
        except Exception:
            self._monitor.metrics.scan_errors.inc()
            raise
        event = self._scan_event(request, result)
        self._monitor.metrics.count_scan(result)
        self._log_scan(request, result)
        try:
            await self._monitor.intake.accept([(1, event)], self._source(scope))
            stored = True
        except OutsideError as err:
            if not err.retryable:
                raise
            stored = False  # a verdict is never withheld (decisions, E3)
            self._monitor.metrics.scan_events_lost.inc()
        answer = msgspec.to_builtins(result) | {"scan_id": event.event_id, "event_stored": stored}
        await respond(send, 200, json_bytes(answer))

    def _scan_event(self, request: _ScanRequest, result: ScanResult) -> Event:
        """Return the verdict as an event, checked as any event from outside is."""
        fields = {
            "event_type": EventType.SCAN,
            "severity": Severity.LOW if result.is_safe else Severity.HIGH,
            "timestamp": iso(self._monitor.clock()),
            "user_id": request.user_id,
            "session_id": request.session_id,
            "service_name": request.service_name,
            "ip_address": request.ip_address,
            "details": {
                "is_safe": result.is_safe,
                "threat_type": result.threat_type,
                "risk_score": result.risk_score,
                "action": result.action,
                "engines": result.triggered_engines,
                "failed_engines": result.failed_engines,
                "input_length": len(request.prompt),
                "latency_ms": result.latency_ms,
            },
        }
        parsed = parse_json(json_bytes(fields), new_id)
        if parsed.rejected:
            raise Problem("invalid", f"{parsed.rejected[0].field}: {parsed.rejected[0].reason}")
        return parsed.events[0][1]

    def _log_scan(self, request: _ScanRequest, result: ScanResult) -> None:
        tell = self._monitor.scan_log.info if result.is_safe else self._monitor.scan_log.warning
        tell(
            "scan_completed" if result.is_safe else "security_threat_detected",
            user_id=pseudonym(self._monitor.pseudonym_key, request.user_id),
            session_id=pseudonym(self._monitor.pseudonym_key, request.session_id),
            input_length=len(request.prompt),
            risk_score=result.risk_score,
            is_safe=result.is_safe,
            threat_type=result.threat_type.value if result.threat_type else None,
            engines_triggered=list(result.triggered_engines),
            latency_ms=result.latency_ms,
        )


def _scan_request(body: bytes, media_type: str) -> _ScanRequest:
    if media_type != "application/json":
        raise Problem("media_type", "send application/json: an object with `prompt`")
    try:
        request = _decode_scan(body)
    except msgspec.ValidationError as err:
        raise Problem("invalid", str(err)) from None
    except msgspec.DecodeError:
        raise Problem("malformed", "the body is not JSON in UTF-8") from None
    return request
