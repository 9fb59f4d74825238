"""
The door: junk for a token is turned away before a request is made of it.

A server that makes a task, a request and an answer of each can be kept busy by anybody who sends enough of them. Here
the answer is written as soon as the headers are read, and it is the same, byte for byte, as the application's: who is
turned away here would be turned away there. Whatever is unusual goes the usual way. The door also says who the other
side has proved to be by a certificate, and hands out each answer that is known whole in one piece: two take the system
as long again, and the other side too.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from sentinel.server.authorize import Authorize, bad_token, hardening
from sentinel.server.problems import Scope, json_bytes
from sentinel.tls import peer_of

__all__ = ["door_of"]

_UNUSUAL = {b"HEAD", b"CONNECT"}
_OF_CONNECTION = {b"connection", b"transfer-encoding"}
_BROKEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
"""What must not stand among headers."""


def _answer(scheme: str) -> bytes:
    refusal = bad_token()
    body = json_bytes(refusal.body)
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in refusal.headers.items()),
        *hardening(scheme),
    ]
    return b"".join(b"%b: %b\r\n" % header for header in headers) + b"%b\r\n" + body


_ANSWERS = {scheme: _answer(scheme) for scheme in ("http", "https")}
"""Without the first line and the server's own headers; `%b` is the place for one more."""


class _Cycle(RequestResponseCycle):
    """A request and its answer, whose first lines wait for the body."""

    _begun: Any = None
    """The message that began the answer, until the next one comes."""

    async def send(self, message: Any) -> None:
        """Take a message of the application."""
        if message["type"] == "http.response.start" and not self.response_started:
            self._begun = message
            return
        begun, self._begun = self._begun, None
        whole = None if begun is None else self._whole(begun, message)
        if whole is None:
            for one in (message,) if begun is None else (begun, message):
                await super().send(one)
            return
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(whole)
        self.message_event.set()
        self.on_response()

    def _whole(self, begun: Any, message: Any) -> bytes | None:
        """Return an answer as it is written, None where it is not whole or there is anything else to be done."""
        if message["type"] != "http.response.body" or message.get("more_body") or self.scope["method"] == "HEAD":
            return None
        if not self.keep_alive or self.disconnected or self.flow.write_paused or self.access_log:
            return None
        body = message.get("body", b"")
        headers = [*self.default_headers, *begun.get("headers", ())]
        if (b"content-length", b"%d" % len(body)) not in headers:
            return None
        if any(name in _OF_CONNECTION for name, _ in headers):
            return None
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        if lines.count(b"\n") != len(headers) or _BROKEN.search(lines):  # what it is, uvicorn says
            return None
        return b"".join((STATUS_LINE[begun["status"]], lines, b"\r\n", body))


class _Door(HttpToolsProtocol):
    """One connection of a server; `door_of` says to which application it leads."""

    authorize: Authorize

    _turned_away = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._peer = peer_of(transport.get_extra_info("ssl_object"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope["sentinel.peer"] = self._peer

    def on_headers_complete(self) -> None:
        scope = cast("Scope", self.scope)
        self._turned_away = self._is_usual() and self.authorize.junk(self.url.partition(b"?")[2], self.headers, scope)
        if not self._turned_away:
            super().on_headers_complete()
            if type(self.cycle) is RequestResponseCycle:
                self.cycle.__class__ = _Cycle  # uvicorn asks nobody which it should make; its task begins later
            return
        self.authorize.count(HTTPStatus.UNAUTHORIZED, scope)
        goes_on = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        own = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        answer = _ANSWERS[self.scheme or "http"] % (b"" if goes_on else b"connection: close\r\n")
        self.transport.write(b"HTTP/1.1 401 Unauthorized\r\n" + own + answer)
        if not goes_on:
            self.transport.close()
        self.on_response_complete()

    def _is_usual(self) -> bool:
        """Whether nothing of this connection is under way, and its client reads what it is answered."""
        return (
            (not self.cycle or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
            and self.parser.get_method() not in _UNUSUAL
        )

    def on_body(self, body: bytes) -> None:
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._turned_away:
            super().on_message_complete()


def door_of(app: Authorize) -> type[HttpToolsProtocol]:
    """Return the protocol with which uvicorn is to serve an application."""

    class ItsDoor(_Door):
        authorize = app

    return ItsDoor
