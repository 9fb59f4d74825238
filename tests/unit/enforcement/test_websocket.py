"""Open websockets over a real uvicorn: they end when a block comes that would have refused them, and no other does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
import uvicorn
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.unit.enforcement.conftest import TOKEN, Service
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from sentinel.enforcement import Caller, SentinelMiddleware

SOON = 30  # seconds; a block takes a fraction of one


def asked_user(scope: Any) -> Caller | None:
    """Believe the query's `user`: good enough for a test."""
    users = parse_qs(scope["query_string"].decode()).get("user")
    return None if users is None else Caller(user_id=users[0])


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


class Shop:
    """An application with three kinds of websocket, in front of it the middleware, under uvicorn in a thread."""

    def __init__(self, service: Service) -> None:
        self.ended: list[str] = []
        self.middleware = SentinelMiddleware(
            self.serve, url=service.url, token=TOKEN, trusted_proxies=["127.0.0.1"], identify=asked_user
        )
        config = uvicorn.Config(
            self.middleware, port=0, ws="websockets-sansio", log_level="error", lifespan="off", proxy_headers=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        wait_until(lambda: self._server.started)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        try:
            await {"/echo": self.echo, "/ticker": self.ticker, "/login": self.login}[scope["path"]](socket)
        except WebSocketDisconnect as end:
            self.ended.append(f"{scope['path']} {end.code}")

    async def echo(self, socket: WebSocket) -> None:
        while True:
            await socket.send_text(await socket.receive_text())

    async def ticker(self, socket: WebSocket) -> None:
        while True:
            await socket.send_text("tick")
            await asyncio.sleep(0.02)

    async def login(self, socket: WebSocket) -> None:
        socket.scope["sentinel.caller"] = Caller(user_id=await socket.receive_text())
        await socket.send_text("welcome")
        await self.echo(socket)

    def open(self, path: str, address: str) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.port}{path}"
        return connect(url, additional_headers={"X-Forwarded-For": address}, proxy=None, open_timeout=SOON)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.middleware.feed.stop()


@pytest.fixture
def shop(service: Service) -> Iterator[Shop]:
    shop = Shop(service)
    yield shop
    shop.close()


def ends(socket: ClientConnection) -> int | None:
    """Return the code that the connection is closed with, whatever comes before."""
    try:
        while True:
            socket.recv(timeout=SOON)
    except ConnectionClosed as end:
        return None if end.rcvd is None else end.rcvd.code


def lives(socket: ClientConnection) -> bool:
    socket.send("still here?")
    return socket.recv(timeout=SOON) == "still here?"


@pytest.mark.parametrize(
    ("path", "action", "target"),
    [
        ("/echo", "ip_block", "203.0.113.0/24"),
        ("/echo?user=trudy", "user_suspend", "trudy"),
        ("/ticker", "ip_block", "203.0.113.9"),
    ],
)
def test_an_open_websocket_ends_with_a_block(service: Service, shop: Shop, path: str, action: str, target: str) -> None:
    """Closed with 1008 at the client, the application told in its own way; others stay, and a new one is refused."""
    with shop.open(path, "203.0.113.9") as struck, shop.open("/echo?user=grace", "198.51.100.7") as other:
        assert lives(other)
        service.publish("act-1", target, action_type=action)
        assert ends(struck) == 1008
        wait_until(lambda: shop.ended)
        # A framework turns our `OSError`, which whoever only sends gets, into its own word: 1006, no close was seen.
        assert shop.ended == ["/ticker 1006" if path == "/ticker" else "/echo 1008"]
        assert lives(other)
    with pytest.raises(InvalidStatus) as refused:
        shop.open(path, "203.0.113.9")
    assert refused.value.response.status_code == 403


def test_a_user_who_is_known_only_later_is_closed_out_too(service: Service, shop: Shop) -> None:
    """Many websockets log in by their first message; the application then says who it is."""
    with shop.open("/login", "203.0.113.9") as socket:
        socket.send("trudy")
        assert socket.recv(timeout=SOON) == "welcome"
        service.publish("act-1", "trudy", action_type="user_suspend")
        assert ends(socket) == 1008


def test_a_rate_limit_or_an_ended_block_closes_nothing(service: Service, shop: Shop) -> None:
    """A limit is on requests, not on what is open; and what has been undone is not in force."""
    with shop.open("/echo", "203.0.113.9") as socket, shop.open("/echo", "192.0.2.1") as other:
        service.publish("act-1", "ip:203.0.113.9", action_type="rate_limit")
        service.publish("act-2", "203.0.113.9", status="revoked")
        service.publish("act-3", "192.0.2.1")
        assert ends(other) == 1008, "somebody has looked at all of them"
        assert lives(socket)


def test_the_watch_ends_with_the_last_connection_and_begins_again(service: Service, shop: Shop) -> None:
    """Nothing runs for nobody, and a later connection is looked after like the first."""
    for number in range(2):
        with shop.open("/echo", f"203.0.113.{number}") as socket:
            assert lives(socket)
        watch = shop.middleware._websockets._watch
        assert watch is not None
        wait_until(watch.done)
    with shop.open("/echo", "203.0.113.9") as socket:
        service.publish("act-1", "203.0.113.9")
        assert ends(socket) == 1008
