"""
Open websockets: closed with 1008 as soon as a block is known that would have refused them at the start.

One task looks after all of a middleware's connections, and only while there are some. It looks at the snapshot's
sequence a few times a second, and at the connections when that has moved; thousands of them cost nothing in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sentinel.enforcement.snapshot import Snapshot

__all__ = ["POLICY_VIOLATION", "Connections"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

POLICY_VIOLATION = 1008
"""The code of RFC 6455, section 7.4.1."""

_LOOK_SECONDS = 0.2


class Connections:
    """The open websockets of one middleware."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._open: set[_Connection] = set()
        self._watch: asyncio.Task[None] | None = None

    async def serve(
        self,
        serve: Callable[[Receive, Send], Awaitable[None]],
        receive: Receive,
        send: Send,
        refused: Callable[[], bool],
    ) -> None:
        """
        Serve a connection until it ends by itself or is refused.

        Args:
            serve: The application, waiting for what is received and sent through.
            receive: Of the server.
            send: Of the server.
            refused: Whether what is in force now refuses the connection.
        """
        connection = _Connection(receive, send, refused)
        self._open.add(connection)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_after(), name="sentinel-websockets")
        try:
            await serve(connection.receive, connection.send)
        finally:
            self._open.discard(connection)

    async def _look_after(self) -> None:
        seen: int | None = None
        while self._open:
            if (seq := self._snapshot.seq) != seen:
                seen = seq
                await asyncio.gather(*(each.close() for each in tuple(self._open) if each.refused()))
            await asyncio.sleep(_LOOK_SECONDS)


class _Connection:
    """A websocket between a server and an application, which can be closed from here."""

    def __init__(self, receive: Receive, send: Send, refused: Callable[[], bool]) -> None:
        self._receive = receive
        self._send = send
        self.refused = refused
        self._closed = asyncio.Event()
        self._over = False  # the application or the client has ended it

    async def close(self) -> None:
        """End the connection at the client's side; the application learns of it from what it does next."""
        if self._closed.is_set() or self._over:
            return
        self._closed.set()
        try:
            await self._send({"type": "websocket.close", "code": POLICY_VIOLATION})
        except (OSError, RuntimeError):
            self._over = True  # it ended at this very moment, and the server says so

    async def receive(self) -> Message:
        """Return what the client sends, or that it is gone, also when it is gone because we closed it."""
        if not self._closed.is_set():
            coming = asyncio.ensure_future(self._receive())
            closing = asyncio.ensure_future(self._closed.wait())
            try:
                await asyncio.wait({coming, closing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                closing.cancel()
                if not coming.done():
                    coming.cancel()
            if coming.done() and not self._closed.is_set():
                message = coming.result()
                self._over = self._over or message["type"] == "websocket.disconnect"
                return message
        return {"type": "websocket.disconnect", "code": POLICY_VIOLATION, "reason": ""}

    async def send(self, message: Message) -> None:
        """Send, as long as it is open; then `OSError`, which is how ASGI tells that nobody listens any more."""
        if self._closed.is_set():
            raise ConnectionResetError("the websocket was closed: its address, user or session is blocked")
        self._over = self._over or message["type"] == "websocket.close"
        await self._send(message)
