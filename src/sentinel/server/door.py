"""
The door: junk for a token is turned away before a request is made of it.

A server that makes a task, a request and an answer of each can be kept busy by anybody who sends enough of them. Here
the answer is written as soon as the headers are read, and it is the same, byte for byte, as the application's: who is
turned away here would be turned away there. Whatever is unusual goes the usual way. The door also says who the other
side has proved to be by a certificate.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sentinel.server.authorize import Authorize, bad_token, hardening
from sentinel.server.problems import Scope, json_bytes
from sentinel.tls import peer_of

__all__ = ["door_of"]

_UNUSUAL = {b"HEAD", b"CONNECT"}


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
