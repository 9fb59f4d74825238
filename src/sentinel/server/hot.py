"""
Events in, as plain ASGI; texts to scan are the other hot route (`scans.py`).

A framework's handling of one request costs more than judging it (measured: 4,000 requests/s against a microsecond an
event), so these read the body and answer by themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sentinel.app import Monitor
from sentinel.ingest.events import MAX_EVENTS
from sentinel.model import Micros
from sentinel.server.authorize import token_of
from sentinel.server.bodies import NDJSON, media_type, parse_events, read_body, receipt_body, refused, sent_events
from sentinel.server.problems import Problem, Receive, Scope, Send, json_bytes, respond
from sentinel.stream import Source

__all__ = ["Hot", "source_of"]


def source_of(scope: Scope, lateness: Micros) -> Source:
    """Return whose events those of a request are."""
    token = token_of(scope)
    return Source(
        origin=token.id,
        max_severity=token.max_severity,
        may_act=token.may_cause_actions,
        lateness=lateness,
    )


class Hot:
    """The route of one monitor that takes events, by method and path: `Hot(monitor).routes`."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._lateness = round(monitor.settings.lateness * 1_000_000)
        self.routes: dict[tuple[str, str], Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            ("POST", "/api/v1/security/events"): self.events,
        }

    async def events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take events: 202 once they are durable."""
        body = await read_body(scope, receive)
        kind = media_type(scope)
        if kind in NDJSON:  # one look tells how many there are at most: a flood is not worth reading
            lines = body.count(b"\n") + 1
            if lines <= MAX_EVENTS and not self._monitor.intake.has_room(token_of(scope).id, lines):
                raise refused(self._monitor, lines - body.endswith(b"\n"))
        parsed = parse_events(body, kind)
        receipt = await sent_events(self._monitor, parsed, source_of(scope, self._lateness))
        told = receipt_body(receipt, parsed.rejected)
        if not (receipt.accepted or receipt.duplicates):
            raise Problem("invalid", "no event was acceptable; `rejected` says why for each", members=told)
        await respond(send, 202, json_bytes(told))
