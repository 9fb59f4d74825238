"""Both clients against a real service: what is handed over arrives once, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.service import S, Service, eventually

from sentinel.client import AsyncClient, BufferFull, Client, Refused, auth_event, tool_execution
from sentinel.errors import ConfigError, OutsideError, RejectedEvent

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens there


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as service:
        yield service.start()


def stored(service: Service) -> list[str]:
    """The users of all stored events; each was sent with a user of its own."""
    users, cursor = [], ""
    while True:
        page = service.ask(f"{S}/events?limit=500{cursor}")
        users += [item["user_id"] for item in page["items"]]
        if not page["next_cursor"]:
            return sorted(users)
        cursor = f"&cursor={page['next_cursor']}"


def login(number: int) -> dict[str, Any]:
    return auth_event(success=False, user_id=f"user{number:05}", ip_address="203.0.113.9")


class Stub:
    """A service that gives the prepared answers in turn, and afterwards takes everything."""

    def __init__(self, *answers: tuple[int, dict[str, str], dict[str, Any]]) -> None:
        self.bodies: list[list[dict[str, Any]]] = []
        self.tokens: list[str | None] = []
        self.taking = threading.Event()
        self.taking.set()
        waiting = list(answers)
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stub.taking.wait(10)
                stub.bodies.append([json.loads(line) for line in body.splitlines()])
                stub.tokens.append(self.headers["Authorization"])
                status, headers, answer = waiting.pop(0) if waiting else (202, {}, {"rejected": []})
                raw = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(raw))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.taking.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def stub() -> Iterator[Callable[..., Stub]]:
    made: list[Stub] = []

    def make(*answers: tuple[int, dict[str, str], dict[str, Any]]) -> Stub:
        made.append(Stub(*answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


# --- against the real service


def test_a_restart_in_the_middle_loses_and_doubles_nothing(service: Service) -> None:
    """The service is killed while events flow and comes back: each event is stored exactly once."""
    token = service.ingest_token()
    with Client(service.url, token, batch_events=50, linger_seconds=0.05, room=400) as client:
        for number in range(1_000):
            if number == 300:
                port = service.url.rpartition(":")[2]
                service.kill()
                threading.Thread(target=restarted, args=(service, port), daemon=True).start()
            client.send(login(number))  # waits while the service is away and the buffer full
        client.flush(60)
        assert client.waiting == 0
    assert stored(service) == [f"user{number:05}" for number in range(1_000)]


def restarted(service: Service, port: str) -> None:
    """Start the service again where it was before."""
    words = service.command
    service.command = lambda *args: [port if word == "0" else word for word in words(*args)]  # type: ignore[method-assign]
    service.launch()


def test_the_async_client_delivers_as_well(service: Service) -> None:
    """Events from several tasks arrive, each once."""
    token = service.ingest_token()

    async def several() -> None:
        async with AsyncClient(service.url, token, batch_events=20, linger_seconds=0.05, room=40) as client:

            async def some(first: int) -> None:
                for number in range(first, first + 50):
                    await client.send(login(number))

            await asyncio.gather(*map(some, range(0, 200, 50)))
            await client.flush()
            assert client.waiting == 0

    asyncio.run(several())
    assert stored(service) == [f"user{number:05}" for number in range(200)]


def test_what_the_service_refuses_is_handed_back(service: Service) -> None:
    """One bad event among good ones comes back with the reason; the good ones are stored."""
    refused: list[Refused] = []
    with Client(service.url, service.ingest_token(), on_refused=refused.extend) as client:
        client.send(login(1))
        client.send(login(2) | {"ip_address": "nowhere"})
        client.send(login(3))
    [one] = refused
    assert one.reason.startswith("ip_address: ")
    assert json.loads(one.event)["user_id"] == "user00002"
    assert stored(service) == ["user00001", "user00003"]


# --- against a service that misbehaves


@pytest.mark.parametrize("status", [429, 503, 500, 502, 401])
def test_an_error_is_followed_by_the_same_events(stub: Callable[..., Stub], status: int) -> None:
    """Whatever goes wrong on the way, the very same events come again until they are taken."""
    there = stub((status, {"Retry-After": "0"}, {"detail": "later"}))
    with Client(there.url, "secret") as client:
        client.send(login(1))
    assert there.bodies[0] == there.bodies[1]
    assert len(there.bodies) == 2
    assert set(there.tokens) == {"Bearer secret"}


def test_a_body_that_is_too_large_is_sent_in_parts(stub: Callable[..., Stub]) -> None:
    """A proxy with a lower limit than the service's does not stop the stream; an event too large for it comes back."""
    refused: list[Refused] = []
    there = stub(*[(413, {}, {})] * 3)
    with Client(there.url, "secret", batch_events=4, linger_seconds=60, on_refused=refused.extend) as client:
        for number in range(4):
            client.send(login(number))
    assert [len(body) for body in there.bodies] == [4, 2, 1, 3]
    assert [json.loads(one.event)["user_id"] for one in refused] == ["user00000"]


def test_a_refused_batch_is_handed_back_whole(stub: Callable[..., Stub]) -> None:
    """A 422 that lists nothing still leaves no event unaccounted for."""
    refused: list[Refused] = []
    there = stub((422, {}, {"detail": "no"}))
    with Client(there.url, "secret", on_refused=refused.extend) as client:
        client.send(login(1))
        client.send(login(2))
    assert len(refused) == 2


def test_a_batch_is_sent_when_it_is_full_or_old(stub: Callable[..., Stub]) -> None:
    """Nobody has to flush: a full batch goes at once, the rest when it has waited long enough."""
    there = stub()
    with Client(there.url, "secret", batch_events=3, linger_seconds=0.2) as client:
        for number in range(4):
            client.send(login(number))
        eventually(lambda: len(there.bodies) == 2, seconds=30, what="both batches are sent")
    assert [len(body) for body in there.bodies] == [3, 1]


def test_a_full_buffer_raises_when_it_is_told_to(stub: Callable[..., Stub]) -> None:
    """Memory is bounded: the event that finds no room is not taken, and the caller knows."""
    there = stub()
    there.taking.clear()
    client = Client(there.url, "secret", batch_events=2, room=2, when_full="raise")
    client.send(login(1))
    client.send(login(2))
    with pytest.raises(BufferFull):
        client.send(login(3))
    assert client.waiting == 2
    there.taking.set()
    client.close()


def test_a_full_buffer_blocks_until_there_is_room(stub: Callable[..., Stub]) -> None:
    """By default the sender waits, and everything arrives in its order."""
    there = stub()
    there.taking.clear()
    client = Client(there.url, "secret", batch_events=1, room=1)
    client.send(login(1))
    sender = threading.Thread(target=client.send, args=(login(2),))
    sender.start()
    sender.join(0.2)
    assert sender.is_alive()
    there.taking.set()
    sender.join(10)
    client.close()
    assert [body[0]["user_id"] for body in there.bodies] == ["user00001", "user00002"]


def test_events_that_can_not_be_sent_are_told() -> None:
    """Closing without a service raises with the number that is left, and never pretends."""
    client = Client(NOWHERE, "secret")
    client.send(login(1))
    with pytest.raises(OutsideError, match="1 events are not sent: ConnectError"):
        client.close(0.3)
    with pytest.raises(BufferFull):
        client.send(login(2))


def test_the_async_client_tells_as_well() -> None:
    """The same for the client of an event loop, on flush and on close; its buffer can raise too."""

    async def story() -> None:
        client = AsyncClient(NOWHERE, "secret", batch_events=1, room=1, when_full="raise")
        await client.send(login(1))
        with pytest.raises(BufferFull):
            await client.send(login(2))
        with pytest.raises(OutsideError):
            await client.flush(0.2)
        with pytest.raises(OutsideError, match="1 events are not sent"):
            await client.close(0.2)
        with pytest.raises(BufferFull):
            await client.send(login(2))

    asyncio.run(story())


def test_a_token_file_is_read_anew(stub: Callable[..., Stub], tmp_path: Path) -> None:
    """A token that was replaced in its file is used from the next request on."""
    there, file = stub(), tmp_path / "token"
    file.write_text("old\n")
    with Client(there.url, file) as client:
        client.send(login(1))
        client.flush()
        file.write_text("new\n")
        client.send(login(2))
    assert there.tokens == ["Bearer old", "Bearer new"]


def test_a_forked_child_sends_only_its_own(stub: Callable[..., Stub]) -> None:
    """What waited in the parent is the parent's to send; the child begins with an empty buffer and a thread."""
    there = stub()
    client = Client(there.url, "secret", batch_events=5, linger_seconds=60)
    client.send(login(1))
    child = os.fork()
    if child == 0:  # nothing of the test may run on in here
        code = 1
        try:
            client.send(login(2))
            client.flush(10)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    client.close()
    assert [[event["user_id"] for event in body] for body in there.bodies] == [["user00002"], ["user00001"]]


def test_a_fork_waits_while_the_connection_is_prepared(
    stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the thread locks then, modules and OpenSSL above all, would stay locked in the child for ever."""
    locked, preparing = threading.Lock(), threading.Event()

    def verified(_: object) -> bool:
        with locked:
            preparing.set()
            time.sleep(0.5)
        return True

    monkeypatch.setattr("sentinel.client.synchronous.verified", verified)
    client = Client(stub().url, "secret", batch_events=5, linger_seconds=60)
    client.send(login(1))
    assert preparing.wait(60)
    child = os.fork()
    if child == 0:  # nothing of the test may run on in here
        os._exit(0 if locked.acquire(timeout=5) else 1)
    assert os.waitpid(child, 0)[1] == 0
    client.close()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"url": "127.0.0.1:8000"}, "url"),
        ({"batch_events": 0}, "batch_events"),
        ({"batch_events": 10_001, "room": 20_000}, "batch_events"),
        ({"batch_events": 10, "room": 9}, "room"),
    ],
)
def test_a_wrong_setting_is_named(options: dict[str, Any], named: str) -> None:
    """A client that could never work says so when it is made."""
    with pytest.raises(ConfigError, match=named):
        Client(**({"url": NOWHERE, "token": "secret"} | options))


@pytest.mark.parametrize("event", [{"details": {"huge": "x" * 65_536}}, {"details": {"odd": object()}}])
def test_what_can_never_be_sent_is_refused_at_once(event: dict[str, Any]) -> None:
    """The caller learns of it where it happens, without the content in the message."""
    with pytest.raises(RejectedEvent) as told:
        Client(NOWHERE, "secret").send(auth_event(success=True) | event)
    assert "xxx" not in str(told.value)


def test_an_event_says_what_was_given_and_no_more() -> None:
    """Absent facts are absent, a tool's clean sandbox is false, and further details stand beside ours."""
    assert tool_execution(tool_name="shell", success=True, user_id="anna", details={"turn": 3}) == {
        "event_type": "tool_execution",
        "severity": "low",
        "user_id": "anna",
        "details": {"tool_name": "shell", "success": True, "sandbox_violation": False, "turn": 3},
    }
