"""The enforcement point for ASGI applications: refuses what is blocked before the application sees it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import msgspec

from sentinel.enforcement.buckets import TokenBuckets
from sentinel.enforcement.client import Proxies, client_address
from sentinel.enforcement.feed import Feed, now_micros
from sentinel.enforcement.report import Reporter
from sentinel.enforcement.snapshot import Block, Snapshot
from sentinel.enforcement.websocket import POLICY_VIOLATION, Connections
from sentinel.errors import ConfigError, OutsideError
from sentinel.model import Micros, iso
from sentinel.model import Scope as Kind
from sentinel.tls import Tls

__all__ = ["Caller", "SentinelMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FIRST_CONTACT_SECONDS = 2.0

_log = logging.getLogger("sentinel.enforcement")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, as the application knows it; what it doesn't know can't be refused."""

    user_id: str | None = None
    session_id: str | None = None
    service: str | None = None
    """The service that calls, when it is one of ours."""


class SentinelMiddleware:
    """
    Refuses requests that the Sentinel service has blocked: by address, user, session, service or endpoint.

    Each process keeps its own copy of the blocks, so a request costs microseconds and no question to anybody. The
    thread that keeps the copy up to date starts with the application's lifespan, or else with the first request, in the
    process that serves it; constructing the middleware starts nothing, so servers may fork after importing the app.

    Refusals: 403 (`SNTL-4031`) for a block, a suspension, a lockout, a quarantined session or an isolated caller; 503
    (`SNTL-5032`) while this application itself is isolated; 429 with Retry-After (`SNTL-4291`) for a rate limit,
    counted per process; 503 (`SNTL-5031`) for `on_unknown="deny"`. A websocket is closed with 1008 before it is
    accepted, and an open one as soon as the block is known here; an application that learns only later who is behind
    one puts a `Caller` into `scope["sentinel.caller"]` then. The reason stays inside; whoever is refused learns the
    decision's id and end. A request without an address (Unix socket) cannot be blocked by one.

    Args:
        app: The ASGI application inside.
        url: Of the service, such as `http://sentinel:8000`.
        token: An enforcer token; or `token_file`, the path of a file that holds one.
        trusted_proxies: Addresses and networks whose X-Forwarded-For is believed, `unix` for Unix sockets. Default
            none: the header is ignored. A server may have put the client in the peer's place before we see it, as
            uvicorn does for the peers in `--forwarded-allow-ips` (127.0.0.1 unless told otherwise).
        identify: Says who asks, from the ASGI scope; without it users, sessions and calling services can't be refused.
            It must not believe what the client only claims: verify the token or the session first. What it raises is
            answered like any error of the application.
        service: This application's name; isolating it refuses every request.
        on_unknown: What to do as long as there is neither a snapshot nor an answer of the service.
        snapshot_path: Where the copy is kept over restarts; without it a restart during an outage knows nothing.
        node: Name that the service shows; default host name and process id.
        events_token: An ingest token, or the path of a file that holds one: then requests are reported as events, see
            `Reporter`. Without it nothing is. Refused requests are not reported: the service knows whom it blocks.
        tls: How the service is known, and this application to it; without it the authorities of the system decide.

    Raises:
        ConfigError: An argument does not make sense.
    """

    def __init__(
        self,
        app: App,
        *,
        url: str,
        token: str | None = None,
        token_file: str | Path | None = None,
        trusted_proxies: Iterable[str] = (),
        identify: Callable[[Scope], Caller | None] | None = None,
        service: str | None = None,
        on_unknown: Literal["allow", "deny"] = "allow",
        snapshot_path: str | Path | None = None,
        node: str | None = None,
        events_token: str | Path | None = None,
        tls: Tls | None = None,
    ) -> None:
        if on_unknown not in {"allow", "deny"}:
            raise ConfigError("write allow or deny", where="on_unknown")
        path = None if snapshot_path is None else Path(snapshot_path)
        self._app = app
        self._proxies = Proxies(trusted_proxies)
        self._identify = identify
        self._own = () if service is None else ((Kind.SERVICE, service),)
        self._deny_unknown = on_unknown == "deny"
        self._buckets = TokenBuckets()
        self._websockets = Connections(snapshot := _loaded(path))
        self.reporter: Reporter | None = None
        if events_token is not None:
            self.reporter = Reporter(url, events_token, proxies=self._proxies, service=service, tls=tls)
        self.snapshot = snapshot
        self.feed = Feed(self.snapshot, url, _secret(token, token_file), node=node, snapshot_path=path, tls=tls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        self.feed.start()
        scope["sentinel.caller"] = None if self._identify is None else self._identify(scope)
        refusal = self._judge(scope)
        if refusal is None and self.reporter is not None and scope["type"] == "http":
            await self.reporter.serve(self._app, scope, receive, send)
        elif refusal is None and scope["type"] == "websocket":
            serve = partial(self._app, scope)
            await self._websockets.serve(serve, receive, send, lambda: self._no_longer_welcome(scope))
        elif refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        else:
            await _answer(refusal, send)

    def _judge(self, scope: Scope) -> _Refusal | None:
        if self.snapshot.seq is None:
            return _UNKNOWN if self._deny_unknown else None
        now, address, names = now_micros(), client_address(scope, self._proxies), self._names(scope)
        if refusal := self._refused(address, names, now):
            return refusal
        for limit in self.snapshot.limits(address, names, now):
            if wait_seconds := self._buckets.take(limit.id, limit.limit, time.monotonic()):
                return _limited(limit, wait_seconds)
        return None

    def _refused(self, address: str | None, names: list[tuple[Kind, str]], now: Micros) -> _Refusal | None:
        """Return what is in force against a connection, whatever it has used of its limits."""
        if self._own and (isolation := self.snapshot.refusal(None, self._own, now)):
            return _isolated(isolation)
        block = self.snapshot.refusal(address, names, now)
        return None if block is None else _blocked(block)

    def _no_longer_welcome(self, scope: Scope) -> bool:
        address = client_address(scope, self._proxies)
        return self._refused(address, self._names(scope), now_micros()) is not None

    def _names(self, scope: Scope) -> list[tuple[Kind, str]]:
        """Return what a block may name of this request."""
        names = [(Kind.ENDPOINT, scope.get("path", ""))]
        caller: Caller | None = scope["sentinel.caller"]
        if caller is not None:
            known = (Kind.USER, caller.user_id), (Kind.SESSION, caller.session_id), (Kind.SERVICE, caller.service)
            names += [(kind, unicodedata.normalize("NFC", name)) for kind, name in known if name is not None]
        return names

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the lifespan on; follow the service before the application is ready and until it has shut down."""

        async def send_and_follow(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.feed.start()
                await asyncio.to_thread(self.feed.wait_until_heard, _FIRST_CONTACT_SECONDS)
            elif message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(self.feed.stop)
                if self.reporter is not None:
                    await asyncio.to_thread(self.reporter.close)
            await send(message)

        await self._app(scope, receive, send_and_follow)


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What an outsider is told: RFC 9457."""

    status: HTTPStatus
    code: str
    detail: str
    retry_after_seconds: int | None = None
    decision: Block | None = None


_UNKNOWN = _Refusal(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    code="SNTL-5031",
    detail="It is not known yet who may pass. Try again in a few seconds.",
    retry_after_seconds=2,
)


def _blocked(block: Block) -> _Refusal:
    return _Refusal(
        status=HTTPStatus.FORBIDDEN,
        code="SNTL-4031",
        detail="Access is blocked. Quote the decision when you ask the operator about it.",
        decision=block,
    )


def _isolated(block: Block) -> _Refusal:
    return _Refusal(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        code="SNTL-5032",
        detail="This service is isolated for now. Quote the decision when you ask the operator about it.",
        decision=block,
    )


def _limited(block: Block, wait_seconds: float) -> _Refusal:
    return _Refusal(
        status=HTTPStatus.TOO_MANY_REQUESTS,
        code="SNTL-4291",
        detail="Such requests are limited. Wait as long as Retry-After says.",
        retry_after_seconds=math.ceil(wait_seconds),
        decision=block,
    )


async def _answer(refusal: _Refusal, send: Send) -> None:
    body = _body(refusal)
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if refusal.retry_after_seconds is not None:
        headers.append((b"retry-after", str(refusal.retry_after_seconds).encode()))
    await send({"type": "http.response.start", "status": refusal.status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _body(refusal: _Refusal) -> bytes:
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": refusal.status.phrase,
        "status": refusal.status.value,
        "detail": refusal.detail,
        "code": refusal.code,
    }
    if refusal.decision is not None:
        expires = refusal.decision.expires
        problem |= {"decision": refusal.decision.id, "expires": None if expires is None else iso(expires)}
    return msgspec.json.encode(problem)


def _secret(token: str | None, token_file: str | Path | None) -> str | Path:
    if token and token_file is None:
        return token
    if token_file is not None and token is None:
        return Path(token_file)
    raise ConfigError("give either a token or the path of a file that holds it", where="token, token_file")


def _loaded(path: Path | None) -> Snapshot:
    """Return what the file holds; without one nothing is known, which `on_unknown` judges and is not "no blocks"."""
    if path is None:
        return Snapshot()
    try:
        return Snapshot.load(path)
    except FileNotFoundError:
        return Snapshot()
    except OutsideError as err:
        _log.error("%s", err)
        return Snapshot()
