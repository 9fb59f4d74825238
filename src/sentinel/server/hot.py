"""
The hot routes, as plain ASGI: events in, texts to scan.

A framework's handling of one request costs more than judging it (measured: 4,000 requests/s against a microsecond an
event), so these read the body and answer by themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypedDict

import msgspec

from sentinel.app import Monitor
from sentinel.errors import ConfigError, InputTooLong, OutsideError, RejectedEvent
from sentinel.ingest.events import MAX_EVENTS, canonical_address, canonical_user
from sentinel.model import Depth, Event, EventType, ScanResult, Severity
from sentinel.scanning.context import AnalysisContext
from sentinel.scanning.text import AT_ONCE, NOTHING, WORTH_IT, Ahead
from sentinel.server.authorize import token_of
from sentinel.server.bodies import (
    NDJSON,
    media_type,
    new_id,
    parse_events,
    read_body,
    receipt_body,
    refused,
    sent_events,
)
from sentinel.server.problems import Problem, Receive, Scope, Send, json_bytes, respond
from sentinel.stream import Source

if TYPE_CHECKING:
    from sentinel.scanning.scanner import Scanner

__all__ = ["Hot", "ScanRequest"]

_INLINE_BYTES = 10_000
"""Longer requests take milliseconds and would hold up every other one, so they are judged in a thread."""
_TURN_BYTES = 2 * _INLINE_BYTES
"""Of requests that are judged at one turn of the loop: some milliseconds."""

_Id = Annotated[str, msgspec.Meta(max_length=256)]


class _Context(msgspec.Struct, forbid_unknown_fields=True):
    """What surrounds a prompt; `AnalysisContext` says which shapes each of these may have."""

    history: list[Any] | None = None
    conversation_history: list[Any] | None = None
    retrieved_documents: list[Any] = []
    tool_calls: list[Any] = []


class ScanRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /api/v1/scan takes, for each text."""

    prompt: str
    response: str | None = None
    engines: list[str] | None = None
    user_id: _Id | None = None
    session_id: _Id | None = None
    ip_address: str | None = None
    service_name: _Id | None = None
    context: _Context | None = None
    depth: Depth | None = None


class _Options(TypedDict):
    engines: list[str] | None
    context: AnalysisContext | None
    depth: Depth | None


class _Asked(NamedTuple):
    """A text that waits for its glance, and who waits for that."""

    prompt: str
    response: str | None
    options: _Options
    size: int
    """Of the request, in bytes."""
    result: asyncio.Future[ScanResult | None]


class _Together:
    """
    Glances at texts, all those together that wait at one turn of the loop.

    What comes meanwhile waits for the next turn, so each is judged as soon as it would have been, and where many come
    they cost less.
    """

    def __init__(self, scanner: Callable[[], Scanner]) -> None:
        self._scanner = scanner
        self._waiting: deque[_Asked] = deque()

    def glance(
        self, prompt: str, response: str | None, options: _Options, size: int
    ) -> asyncio.Future[ScanResult | None]:
        """
        Return what `Scanner.glance` will say or raise.

        Args:
            prompt: As there.
            response: As there.
            options: The others.
            size: Of the request, in bytes.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._judge, loop)
        result = loop.create_future()
        self._waiting.append(_Asked(prompt, response, options, size, result))
        return result

    def _judge(self, loop: asyncio.AbstractEventLoop) -> None:
        asked = list(self._next())
        if self._waiting:
            loop.call_soon(self._judge, loop)
        scanner = self._scanner()
        ahead = _looked_ahead(scanner, asked)
        for one in asked:
            if one.result.cancelled():  # whoever asked has gone away
                continue
            try:
                one.result.set_result(scanner.glance(one.prompt, one.response, **one.options, ahead=ahead))
            except Exception as err:  # noqa: BLE001 - whatever it is, it is for the one who asked
                one.result.set_exception(err)

    def _next(self) -> Iterator[_Asked]:
        """Yield those whose turn it is, of those who wait; one at least."""
        number, room = AT_ONCE, _TURN_BYTES
        while self._waiting and number and (room >= self._waiting[0].size or number == AT_ONCE):
            one = self._waiting.popleft()
            number, room = number - 1, room - one.size
            yield one


class _Refused(msgspec.Struct):
    """Stands in place of the verdict on an element that can't be judged."""

    line: int
    """From 1: place in the list, or physical line of NDJSON."""
    error: str


class _Answer(msgspec.Struct):
    """A verdict and what became of its event."""

    result: ScanResult
    event: Event
    stored: bool = False

    def body(self) -> dict[str, object]:
        """Return what the sender learns."""
        fields: dict[str, object] = msgspec.structs.asdict(self.result)
        return fields | {"scan_id": self.event.event_id, "event_stored": self.stored}


_ASKED_FOR = ("engines", "depth")
"""What a sender may ask for and not get."""
_decode_scan = msgspec.json.Decoder(ScanRequest).decode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _looked_ahead(scanner: Scanner, asked: Sequence[_Asked]) -> Ahead:
    texts = [text for one in asked if one.options["engines"] is None for text in (one.prompt, one.response) if text]
    if len(texts) < WORTH_IT:
        return NOTHING
    try:
        return scanner.look_ahead(texts)
    except Exception:  # noqa: BLE001 - what breaks it will break the scan of one of them, which then says so
        return NOTHING


class Hot:
    """The hot routes of one monitor, by method and path."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._together = _Together(lambda: monitor.scanner)
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
        body = await read_body(scope, receive)
        kind = media_type(scope)
        if kind in NDJSON:  # one look tells how many there are at most: a flood is not worth reading
            lines = body.count(b"\n") + 1
            if lines <= MAX_EVENTS and not self._monitor.intake.has_room(token_of(scope).id, lines):
                raise refused(self._monitor, lines - body.endswith(b"\n"))
        parsed = parse_events(body, kind)
        receipt = await sent_events(self._monitor, parsed, self._source(scope))
        told = receipt_body(receipt, parsed.rejected)
        if not (receipt.accepted or receipt.duplicates):
            raise Problem("invalid", "no event was acceptable; `rejected` says why for each", members=told)
        await respond(send, 202, json_bytes(told))

    async def scan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one text or many; each verdict is also an event."""
        kind = media_type(scope)
        body = await read_body(scope, receive)
        source = self._source(scope)
        if kind in NDJSON:
            lines = [(line, text) for line, text in enumerate(body.splitlines(), 1) if text.strip()]
            answers = await self._each(lines, source)
            await respond(send, 200, b"".join(json_bytes(one) + b"\n" for one in answers), "application/x-ndjson")
        elif kind != "application/json":
            raise Problem("media_type", "send application/json (an object or a list) or application/x-ndjson")
        elif body.lstrip()[:1] == b"[":
            answers = await self._each(list(enumerate(_elements(body), 1)), source)
            await respond(send, 200, json_bytes({"results": answers}))
        else:
            answer = await self._judged(body)
            await self._store([answer], source)
            await respond(send, 200, json_bytes(answer.body()))

    async def _each(self, elements: list[tuple[int, bytes]], source: Source) -> list[dict[str, object] | _Refused]:
        """Return the verdict on each element, in order; one that can't be judged does not spoil the others."""
        if len(elements) > MAX_EVENTS:
            raise Problem("too_large", f"a body holds at most {MAX_EVENTS} texts; send it in parts")
        answers: list[_Answer | _Refused] = []
        for some in _few_at_a_time(elements):
            answers += await asyncio.gather(*(self._judged_or_refused(line, raw) for line, raw in some))
            await asyncio.sleep(0)  # others' requests come between
        await self._store([answer for answer in answers if isinstance(answer, _Answer)], source)
        return [answer.body() if isinstance(answer, _Answer) else answer for answer in answers]

    async def _judged_or_refused(self, line: int, raw: bytes) -> _Answer | _Refused:
        try:
            return await self._judged(raw)
        except Problem as problem:
            return _Refused(line, str(problem))

    async def _judged(self, raw: bytes) -> _Answer:
        """
        Return the verdict on one element, counted and logged.

        Raises:
            Problem: It can't be judged; says why, and never quotes the text.
        """
        request = _scan_request(raw)
        context = _context(request)
        metrics = self._monitor.metrics.scans
        try:
            address = None if request.ip_address is None else canonical_address(request.ip_address)
            result = await self._scanned(request, context, len(raw))
        except InputTooLong as err:
            raise Problem("too_large", str(err)) from None
        except RejectedEvent as err:
            raise Problem("invalid", str(err)) from None
        except ConfigError as err:
            if err.where in _ASKED_FOR:
                raise Problem("invalid", str(err)) from None
            metrics.count_error()  # such as weights that were changed: not the sender's fault
            raise
        except Exception:
            metrics.count_error()
            raise
        metrics.count(result, session_id=request.session_id)
        self._monitor.scan_log.record(
            result, input_length=len(request.prompt), user_id=request.user_id, session_id=request.session_id
        )
        return _Answer(result, self._scan_event(request, address, result))

    async def _scanned(self, request: ScanRequest, context: AnalysisContext | None, size: int) -> ScanResult:
        scanner, texts = self._monitor.scanner, (request.prompt, request.response)
        options: _Options = {"engines": request.engines, "context": context, "depth": request.depth}
        result = await self._together.glance(*texts, options, size) if size <= _INLINE_BYTES else None
        if result is None:  # what takes long, a second look too, must not hold up everybody else
            result = await asyncio.to_thread(scanner.scan, *texts, **options)
        return result

    def _scan_event(self, request: ScanRequest, address: str | None, result: ScanResult) -> Event:
        return Event(
            event_id=new_id(),
            event_type=EventType.SCAN,
            severity=Severity.LOW if result.is_safe else Severity.HIGH,
            timestamp=datetime.fromtimestamp(self._monitor.clock() / 1_000_000, UTC),
            user_id=None if request.user_id is None else canonical_user(request.user_id),
            session_id=request.session_id,
            service_name=request.service_name,
            ip_address=address,
            details={
                "is_safe": result.is_safe,
                "threat_type": result.threat_type,
                "risk_score": result.risk_score,
                "action": result.action,
                "engines": result.triggered_engines,
                "failed_engines": result.failed_engines,
                "input_length": len(request.prompt),
                "latency_ms": result.latency_ms,
            },
        )

    async def _store(self, answers: list[_Answer], source: Source) -> None:
        """Make the verdicts' events durable; a verdict is never withheld, so it says where that failed."""
        events = [(line, answer.event) for line, answer in enumerate(answers, 1)]
        try:
            await self._monitor.intake.accept(events, source)
        except OutsideError as err:
            if not err.retryable:
                raise
            self._monitor.metrics.scan_events_lost.inc(len(answers))
            return
        for answer in answers:
            answer.stored = True


def _few_at_a_time(elements: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Yield elements in lists: so many as are judged at one turn of the loop, and a long one alone."""
    some: list[tuple[int, bytes]] = []
    for element in elements:
        if some and (len(some) == AT_ONCE or sum(len(raw) for _, raw in (*some, element)) > _TURN_BYTES):
            yield some
            some = []
        some.append(element)
    yield some


def _elements(body: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in _decode_elements(body)]
    except (ValueError, RecursionError):
        raise Problem("malformed", "the body is not a list in JSON and UTF-8") from None


def _scan_request(raw: bytes) -> ScanRequest:
    try:
        return _decode_scan(raw)
    except msgspec.ValidationError as err:
        raise Problem("invalid", str(err)) from None
    except (ValueError, RecursionError):
        raise Problem("malformed", "the text is not an object in JSON and UTF-8") from None


def _context(request: ScanRequest) -> AnalysisContext | None:
    if request.context is None:
        return None
    try:
        return AnalysisContext(**msgspec.structs.asdict(request.context))
    except TypeError as err:  # says what has another shape and where, never what it holds
        raise Problem("invalid", f"context: {err}") from None
