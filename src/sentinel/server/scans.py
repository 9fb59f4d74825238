"""
Texts to scan, as plain ASGI.

Theory of operation. Requests that come at the same time are answered together. Each is read and checked by itself, and
then waits for the next turn of the loop. At that turn all texts that wait are judged, counted and logged in one go, and
their events are offered to the store in one piece; when that is durable each gets its answer. So what comes one by one
is judged as soon as it comes, and where many come each of them costs less. A text that takes long, or a second look,
goes its own way, in a thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from sentinel.app import Monitor
from sentinel.errors import ConfigError, InputTooLong, OutsideError, RejectedEvent
from sentinel.ingest.events import MAX_EVENTS, canonical_address, canonical_user
from sentinel.model import Depth, Event, EventType, ScanResult, Severity
from sentinel.scanning.context import AnalysisContext
from sentinel.scanning.text import AT_ONCE, NOTHING, WORTH_IT, Ahead
from sentinel.server.bodies import NDJSON, media_type, new_id, read_body
from sentinel.server.hot import source_of
from sentinel.server.problems import Problem, Receive, Scope, Send, json_bytes, respond
from sentinel.stream import Source

__all__ = ["ScanRequest", "Scans"]

_INLINE_BYTES = 10_000
"""Longer requests take milliseconds and would hold up every other one, so they are judged in a thread."""
_TURN_BYTES = 2 * _INLINE_BYTES
"""Of requests that are judged at one turn of the loop: some milliseconds."""
_ASKED_FOR = ("engines", "depth")
"""What a sender may ask for and not get."""

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

    def json(self) -> bytes:
        """Return what the sender learns: the verdict's fields and two more, whose values need no escape."""
        stored = b"true" if self.stored else b"false"
        scan_id = self.event.event_id.encode()
        return b'%b,"scan_id":"%b","event_stored":%b}' % (json_bytes(self.result)[:-1], scan_id, stored)


class _Asked(NamedTuple):
    """A text that is to be judged, and who waits for that."""

    request: ScanRequest
    context: AnalysisContext | None
    address: str | None
    size: int
    """Of the request, in bytes."""
    source: Source | None
    """Whose event it becomes; None where whoever waits stores it himself."""
    answer: asyncio.Future[_Answer | None]
    """None when it takes a second look."""


_decode_scan = msgspec.json.Decoder(ScanRequest).decode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Scans:
    """The route of one monitor that judges texts, by method and path: `Scans(monitor).routes`."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._lateness = round(monitor.settings.lateness * 1_000_000)
        self._waiting: deque[_Asked] = deque()
        self._keeping: set[asyncio.Task[None]] = set()
        self.routes: dict[tuple[str, str], Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            ("POST", "/api/v1/scan"): self.scan,
        }

    async def scan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one text or many; each verdict is also an event."""
        kind = media_type(scope)
        body = await read_body(scope, receive)
        source = source_of(scope, self._lateness)
        if kind in NDJSON:
            lines = [(line, text) for line, text in enumerate(body.splitlines(), 1) if text.strip()]
            answers = await self._each(lines, source)
            await respond(send, 200, b"".join(one + b"\n" for one in answers), "application/x-ndjson")
        elif kind != "application/json":
            raise Problem("media_type", "send application/json (an object or a list) or application/x-ndjson")
        elif body.lstrip()[:1] == b"[":
            answers = await self._each(list(enumerate(_elements(body), 1)), source)
            await respond(send, 200, b'{"results":[%b]}' % b",".join(answers))
        else:
            answer = await self._judged(body, source)
            await respond(send, 200, answer.json())

    async def _each(self, elements: list[tuple[int, bytes]], source: Source) -> list[bytes]:
        """Return the verdict on each element, in order; one that can't be judged does not spoil the others."""
        if len(elements) > MAX_EVENTS:
            raise Problem("too_large", f"a body holds at most {MAX_EVENTS} texts; send it in parts")
        answers: list[_Answer | _Refused] = []
        for some in _few_at_a_time(elements):
            answers += await asyncio.gather(*(self._judged_or_refused(line, raw) for line, raw in some))
            await asyncio.sleep(0)  # others' requests come between
        await self._store([answer for answer in answers if isinstance(answer, _Answer)], source)
        return [answer.json() if isinstance(answer, _Answer) else json_bytes(answer) for answer in answers]

    async def _judged_or_refused(self, line: int, raw: bytes) -> _Answer | _Refused:
        try:
            return await self._judged(raw, None)
        except Problem as problem:
            return _Refused(line, str(problem))

    async def _judged(self, raw: bytes, source: Source | None) -> _Answer:
        """
        Return the verdict on one element, counted and logged; its event is stored where there is a source.

        Raises:
            Problem: It can't be judged; says why, and never quotes the text.
        """
        request = _scan_request(raw)
        loop = asyncio.get_running_loop()
        asked = _Asked(request, _context(request), _address(request), len(raw), source, loop.create_future())
        if asked.size <= _INLINE_BYTES:
            if not self._waiting:
                loop.call_soon(self._take_turn, loop, 1)
            self._waiting.append(asked)
            answer = await asked.answer
            if answer is not None:
                return answer
        [answer] = self._noted([(asked, await self._judged_in_a_thread(asked))])
        if source is not None:
            await self._store([answer], source)
        return answer

    async def _judged_in_a_thread(self, asked: _Asked) -> ScanResult:
        """Return the verdict on what takes long, a second look too: it must not hold up everybody else."""
        request = asked.request
        try:
            return await asyncio.to_thread(
                self._monitor.scanner.scan,
                request.prompt,
                request.response,
                engines=request.engines,
                context=asked.context,
                depth=request.depth,
            )
        except Exception as err:  # noqa: BLE001 - raised again, as what it means
            raise self._meant(err) from None

    # --- together

    def _take_turn(self, loop: asyncio.AbstractEventLoop, known: int) -> None:
        """
        Judge those who wait, when a turn of the loop has brought nobody new: others of a burst come a moment later.

        Args:
            loop: The one that runs.
            known: How many waited a turn ago.
        """
        if known < len(self._waiting) < AT_ONCE:
            loop.call_soon(self._take_turn, loop, len(self._waiting))
            return
        asked = list(self._next())
        if self._waiting:
            loop.call_soon(self._take_turn, loop, len(self._waiting))
        try:
            self._answer(asked, loop)
        except Exception as err:  # noqa: BLE001 - nobody may wait for ever
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(err)

    def _answer(self, asked: Sequence[_Asked], loop: asyncio.AbstractEventLoop) -> None:
        """Judge texts; those who wait have their answers when the events are stored, or others do that."""
        ahead = self._looked_ahead(asked)
        judged = []
        for one in asked:
            if one.answer.cancelled():  # whoever asked has gone away
                continue
            try:
                result = self._glanced(one, ahead)
            except Exception as err:  # noqa: BLE001 - whatever it is, it is for the one who asked
                one.answer.set_exception(err)
                continue
            if result is None:
                one.answer.set_result(None)
            else:
                judged.append((one, result))
        by_origin: dict[str, list[tuple[_Asked, _Answer]]] = {}
        for one, answer in zip([one for one, _ in judged], self._noted(judged), strict=True):
            if one.source is None:
                one.answer.set_result(answer)
            else:
                by_origin.setdefault(one.source.origin, []).append((one, answer))
        for answered in by_origin.values():
            task = loop.create_task(self._keep(answered))
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)

    def _next(self) -> Iterator[_Asked]:
        """Yield those whose turn it is, of those who wait; one at least."""
        number, room = AT_ONCE, _TURN_BYTES
        while self._waiting and number and (room >= self._waiting[0].size or number == AT_ONCE):
            one = self._waiting.popleft()
            number, room = number - 1, room - one.size
            yield one

    def _looked_ahead(self, asked: Sequence[_Asked]) -> Ahead:
        requests = [one.request for one in asked if one.request.engines is None]
        texts = [text for request in requests for text in (request.prompt, request.response) if text]
        if len(texts) < WORTH_IT:
            return NOTHING
        try:
            return self._monitor.scanner.look_ahead(texts)
        except Exception as err:  # noqa: BLE001 - whatever it is, each can be judged without
            # One scan may not break by it, so without this nobody would know why all of them cost more.
            self._monitor.log.error("texts not looked at together", error=type(err).__name__)  # noqa: TRY400 - no text
            return NOTHING

    def _glanced(self, asked: _Asked, ahead: Ahead) -> ScanResult | None:
        request = asked.request
        try:
            return self._monitor.scanner.glance(
                request.prompt,
                request.response,
                engines=request.engines,
                context=asked.context,
                depth=request.depth,
                ahead=ahead,
            )
        except Exception as err:  # noqa: BLE001 - raised again, as what it means
            raise self._meant(err) from None

    async def _keep(self, answered: Sequence[tuple[_Asked, _Answer]]) -> None:
        """Store the verdicts' events, all of one source, then let those who wait have their answers."""
        source = answered[0][0].source
        assert source is not None
        try:
            await self._store([answer for _, answer in answered], source)
        except Exception as err:  # noqa: BLE001 - as in judging
            for asked, _ in answered:
                if not asked.answer.done():
                    asked.answer.set_exception(err)
        else:
            for asked, answer in answered:
                if not asked.answer.done():
                    asked.answer.set_result(answer)

    # --- for each

    def _meant(self, err: Exception) -> Exception:
        """Return what an error of the scanner means to the sender; one that is not his fault is counted."""
        match err:
            case InputTooLong():
                return Problem("too_large", str(err))
            case ConfigError(where=where) if where in _ASKED_FOR:
                return Problem("invalid", str(err))
            case _:  # such as weights that were changed
                self._monitor.metrics.scans.count_error()
                return err

    def _noted(self, judged: Sequence[tuple[_Asked, ScanResult]]) -> list[_Answer]:
        """Count and log verdicts; returns them, each with the event that tells of it."""
        if not judged:
            return []
        count, line = self._monitor.metrics.scans.count, self._monitor.scan_log.line
        lines = []
        for (request, *_), result in judged:
            count(result, session_id=request.session_id)
            length = len(request.prompt)
            lines.append(line(result, input_length=length, user_id=request.user_id, session_id=request.session_id))
        self._monitor.scan_log.write(*lines)
        return [_Answer(result, self._event(asked, result)) for asked, result in judged]

    def _event(self, asked: _Asked, result: ScanResult) -> Event:
        request = asked.request
        return Event(
            event_id=new_id(),
            event_type=EventType.SCAN,
            severity=Severity.LOW if result.is_safe else Severity.HIGH,
            timestamp=datetime.fromtimestamp(self._monitor.clock() / 1_000_000, UTC),
            user_id=None if request.user_id is None else canonical_user(request.user_id),
            session_id=request.session_id,
            service_name=request.service_name,
            ip_address=asked.address,
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
    room = _TURN_BYTES
    for element in elements:
        size = len(element[1])
        if some and (len(some) == AT_ONCE or size > room):
            yield some
            some, room = [], _TURN_BYTES
        some.append(element)
        room -= size
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


def _address(request: ScanRequest) -> str | None:
    if request.ip_address is None:
        return None
    try:
        return canonical_address(request.ip_address)
    except RejectedEvent as err:
        raise Problem("invalid", str(err)) from None


def _context(request: ScanRequest) -> AnalysisContext | None:
    if request.context is None:
        return None
    try:
        return AnalysisContext(**msgspec.structs.asdict(request.context))
    except TypeError as err:  # says what has another shape and where, never what it holds
        raise Problem("invalid", f"context: {err}") from None
