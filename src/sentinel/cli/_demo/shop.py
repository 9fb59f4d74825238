"""A small shop behind the real middleware: people sign in, see orders, and ask an assistant whose texts are judged."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sentinel.cli._demo.service import Service, now_seconds
from sentinel.client import auth_event, data_access
from sentinel.enforcement import Caller, SentinelMiddleware

__all__ = ["Mailbox", "Shop"]

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


async def _gone(_request: Request, _error: Exception) -> JSONResponse:
    """Answer a visitor who left in the middle of a request, as they do when the time is up: no error of the shop."""
    return JSONResponse({"error": "nobody waits for an answer"}, 499)


class Shop:
    """
    The shop, served on a free port of this machine by a thread. As a context it is up inside.

    Args:
        service: What protects it.
        passwords: By user.
    """

    def __init__(self, service: Service, passwords: Mapping[str, str]) -> None:
        self._service = service
        self._passwords = passwords
        self._sessions: dict[str, str] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._assistant = httpx.AsyncClient(
            base_url=service.url, headers={"Authorization": f"Bearer {service.ingest}"}, timeout=30, trust_env=False
        )
        config = uvicorn.Config(
            self._application(), log_config=None, access_log=False, proxy_headers=False, ws="none", lifespan="on"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, name="shop", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = now_seconds() + _START_SECONDS
        while not self._server.started:
            if now_seconds() > deadline or not self._thread.is_alive():
                raise RuntimeError("the shop of the demo did not start")
            self._thread.join(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._listener.close()

    def _application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/login", self._login, methods=["POST"]),
                Route("/orders", self._orders),
                Route("/assistant", self._ask, methods=["POST"]),
            ],
            exception_handlers={ClientDisconnect: _gone},
            middleware=[
                Middleware(
                    SentinelMiddleware,
                    url=self._service.url,
                    token=self._service.enforcer,
                    events_token=self._service.ingest,
                    trusted_proxies=["127.0.0.1"],  # one machine plays everybody, each with an address of its own
                    identify=self._caller,
                    service="shop",
                    node="shop",
                )
            ],
        )

    def _caller(self, scope: Any) -> Caller | None:
        """Say whose session this is; the shop itself gave it out."""
        session = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-session"), "")
        user = self._sessions.get(session)
        return None if user is None else Caller(user_id=user, session_id=session)

    async def _page(self, _request: Request) -> JSONResponse:
        return JSONResponse({"shop": "open"})

    async def _login(self, request: Request) -> JSONResponse:
        form = await request.json()
        user, password = str(form["user"]), str(form["password"])
        known = self._passwords.get(user)
        success = known is not None and secrets.compare_digest(known, password)
        reason = None if success else "bad_password" if known else "unknown_user"
        request.scope["sentinel.report"](
            auth_event(success=success, failure_reason=reason, method="password", user_id=user)
        )
        if not success:
            return JSONResponse({"error": "wrong user or password"}, 401)
        session = secrets.token_urlsafe(16)
        self._sessions[session] = user
        return JSONResponse({"session": session})

    async def _orders(self, request: Request) -> JSONResponse:
        caller = request.scope["sentinel.caller"]
        if caller is None:
            return JSONResponse({"error": "sign in first"}, 401)
        rows = int(request.query_params["rows"])
        table = request.query_params.get("table", "orders")
        request.scope["sentinel.report"](
            data_access(table_name=table, access_type="select", row_count=rows, sensitive=table == "customers")
        )
        return JSONResponse({"rows": rows})

    async def _ask(self, request: Request) -> JSONResponse:
        caller = request.scope["sentinel.caller"]
        if caller is None:
            return JSONResponse({"error": "sign in first"}, 401)
        text = {"prompt": str((await request.json())["text"])}
        answer = await self._assistant.post(
            "/api/v1/scan", json=text | {"user_id": caller.user_id, "session_id": caller.session_id}
        )
        answer.raise_for_status()
        if answer.json()["is_safe"]:
            return JSONResponse({"answer": "Let me look that up for you."})
        return JSONResponse({"error": "The assistant does not take this text."}, 422)


class Mailbox:
    """Where the service's alerts arrive: a webhook on a free port of this machine. As a context it listens inside."""

    def __init__(self) -> None:
        self.received: list[tuple[float, str]] = []
        """When, in seconds since the epoch, and the title."""
        received = self.received

        class Receive(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((now_seconds(), str(msgspec.json.decode(body)["title"])))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Write nothing: the terminal belongs to the demo."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Receive)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, name="mailbox", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_STOP_SECONDS)
