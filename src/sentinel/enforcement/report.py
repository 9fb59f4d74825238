"""What an application's requests tell the monitor: an event for each, sent beside them and never in their way."""

from __future__ import annotations

import logging
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from sentinel.client import Client, auth_event, authorization, network_request
from sentinel.enforcement.client import Proxies, client_address
from sentinel.errors import OutsideError, SentinelError
from sentinel.tls import Tls

__all__ = ["Reporter"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_ROOM = 10_000
_LINGER_SECONDS = 0.1  # so long an attacker goes on after what gave him away; it makes ten requests a second at most
_MOST_CHARACTERS = 2_048  # of a URI or a user agent: who asks may write as much as the server takes
_CLOSE_SECONDS = 2.0
_TELL_SECONDS = 60.0

_log = logging.getLogger("sentinel.enforcement")


class Reporter:
    """
    Sends events about requests that an application has served.

    `network_request` for each; `authentication` besides for one that carried an Authorization header and was answered
    401; `authorization` for one that was answered 403. The application may report more: `scope["sentinel.report"]`
    takes an event as `sentinel.client` makes them, and adds who asks and from where.

    Events wait in a buffer of 10,000 and go out in batches from a thread. What does not fit, or is refused, is dropped,
    counted in `dropped` and logged: the application goes on as if nobody listened.
    """

    def __init__(
        self, url: str, token: str | Path, *, proxies: Proxies, service: str | None, tls: Tls | None = None
    ) -> None:
        self._client = Client(
            url,
            token,
            linger_seconds=_LINGER_SECONDS,
            room=_ROOM,
            when_full="raise",
            on_refused=lambda few: self._drop(len(few)),
            tls=tls,
        )
        self._proxies = proxies
        self._service = service
        self._told_at = -_TELL_SECONDS
        self.dropped = 0

    async def serve(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request by the application, and report it when it is answered."""
        status: int | None = None

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        scope["sentinel.report"] = lambda event: self._send(scope, event)
        try:
            await app(scope, receive, noted)
        except Exception:
            self._report(scope, status or HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
        if status is not None:  # otherwise the client went away before there was an answer
            self._report(scope, status)

    def close(self) -> None:
        """Send what waits, as far as that takes a moment, and end."""
        try:
            self._client.close(_CLOSE_SECONDS)
        except OutsideError as err:
            _log.warning("events are lost: %s", err)

    def _report(self, scope: Scope, status: int) -> None:
        method, route = scope["method"], getattr(scope.get("route"), "path", None)
        event = network_request(method=method, status_code=int(status), endpoint=route)
        uri = _uri(scope)
        event["details"] |= {"cs-method": method, "c-uri": uri, "sc-status": int(status)}
        event["details"] |= {"logsource": {"category": "webserver"}}
        self._send(scope, event)
        credentials = _header(scope, b"authorization")
        if status == HTTPStatus.UNAUTHORIZED and credentials:
            self._send(scope, _refused_login(credentials))
        elif status == HTTPStatus.FORBIDDEN:
            resource = route or uri.partition("?")[0]
            self._send(scope, authorization(granted=False, resource=resource, action=method))

    def _send(self, scope: Scope, event: Mapping[str, Any]) -> None:
        try:
            self._client.send({**self._about(scope), **event})
        except SentinelError:  # no room, or no JSON: an application must not fail because it is watched
            self._drop(1)

    def _about(self, scope: Scope) -> dict[str, Any]:
        caller = scope.get("sentinel.caller")
        found = {
            "ip_address": client_address(scope, self._proxies),
            "user_agent": _header(scope, b"user-agent")[:_MOST_CHARACTERS] or None,
            "user_id": getattr(caller, "user_id", None),
            "session_id": getattr(caller, "session_id", None),
            "service_name": self._service,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _drop(self, events: int) -> None:
        self.dropped += events
        if time.monotonic() - self._told_at >= _TELL_SECONDS:
            self._told_at = time.monotonic()
            _log.warning("events are dropped, %d so far: %s", self.dropped, self._client.trouble or "not acceptable")


def _uri(scope: Scope) -> str:
    """Return path and query as the client wrote them."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    query: bytes = scope.get("query_string") or b""
    return (raw + b"?" + query if query else raw).decode("latin-1")[:_MOST_CHARACTERS]


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _refused_login(credentials: str) -> dict[str, Any]:
    """Return the event for credentials that did not hold; of a password none is kept, of a name what was tried."""
    scheme, _, rest = credentials.partition(" ")
    if scheme.lower() != "basic":
        return auth_event(success=False, operation="jwt_verify", failure_reason="bad_token")
    try:
        name = b64decode(rest).decode().partition(":")[0]
    except ValueError:  # neither base64 nor text
        name = ""
    return auth_event(
        success=False, method="password", failure_reason="bad_password", user_id=name[:_MOST_CHARACTERS] or None
    )
