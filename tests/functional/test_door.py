"""Junk for a token at the door of a real server: turned away, counted, told, and as if by the application itself."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from tests.support.service import S, Service, eventually

from sentinel.server.door import _Cycle

JUNK = f"Authorization: Bearer sntl_admin_{'0' * 38}"


class Answer(NamedTuple):
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A connection on which requests are written as bytes and answers are read in order."""

    def __init__(self, service: Service) -> None:
        self._socket = socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=60)
        self._file = self._socket.makefile("rb")

    def write(self, data: str) -> None:
        self._socket.sendall(data.encode("latin-1"))

    def read(self, *, body: bool = True) -> Answer:
        status = int(self._file.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self._file.readline().strip().decode():
            name, _, value = line.partition(": ")
            headers[name] = value
        return Answer(status, headers, self._file.read(int(headers["content-length"])) if body else b"")

    def ask(self, *lines: str, method: str = "GET", path: str = "/signals", body: str = "") -> Answer:
        self.write("\r\n".join([f"{method} {S}{path} HTTP/1.1", "Host: x", *lines, "", body]))
        return self.read()

    def at_its_end(self) -> bool:
        """Whether the other side has closed."""
        return self._file.read() == b""

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("door")) as service:
        yield service.start()


@pytest.fixture
def wire(service: Service) -> Iterator[Wire]:
    wire = Wire(service)
    yield wire
    wire.close()


@pytest.fixture
def good(service: Service) -> str:
    return f"Authorization: Bearer {(service.folder / 'token').read_text().strip()}"


@pytest.fixture(scope="module")
def refused(service: Service) -> Callable[[], float]:
    """How many bad tokens the metrics know of."""
    client = service.client(service.run("token", "create", "--role", "scraper").stdout.strip())

    def read() -> float:
        lines = client.get(f"{service.url}/metrics").text.splitlines()
        [line] = [line for line in lines if line.startswith('security_api_refused_total{status="401"}')]
        return float(line.split()[1])

    return read


def told(service: Service) -> list[dict[str, Any]]:
    """Return the lines of the log about refusals."""
    lines = (service.folder / "logs" / "api.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "refused" in line["event"] and "status" in line]


def test_the_door_answers_as_the_application_does(wire: Wire) -> None:
    """Two credentials at once are left to the application: its answer to bad ones is the same, header for header."""
    at_the_door = wire.ask(JUNK)
    inside = wire.ask(JUNK, JUNK)
    assert at_the_door.status == inside.status == 401
    assert at_the_door.body == inside.body
    date = ("date", at_the_door.headers["date"])  # a second may pass between the two
    assert list((at_the_door.headers | dict([date])).items()) == list((inside.headers | dict([date])).items())


@pytest.mark.parametrize("junk", [JUNK, "Authorization: Bearer ", "Authorization: Basic YTpi", "Authorization: x"])
def test_a_connection_goes_on_after_junk(wire: Wire, good: str, junk: str) -> None:
    """Also after a body, whole or in chunks, that nobody wanted to read."""
    length, chunked = "Content-Length: 11", "Transfer-Encoding: chunked"
    assert wire.ask(junk).status == 401
    assert wire.ask(junk, length, method="POST", path="/events", body='{"a": "bc"}').status == 401
    assert wire.ask(good).status == 200
    assert wire.ask(junk, chunked, method="POST", path="/events", body="3\r\nabc\r\n0\r\n\r\n").status == 401
    assert wire.ask(good).status == 200


def test_answers_come_in_the_order_of_the_requests(wire: Wire, good: str) -> None:
    """Requests that are sent without waiting don't overtake each other, whoever answers them."""
    order = [good, JUNK, JUNK, good, JUNK, good, good, JUNK]
    wire.write("".join(f"GET {S}/signals HTTP/1.1\r\nHost: x\r\n{who}\r\n\r\n" for who in order))
    assert [wire.read().status for _ in order] == [200 if who is good else 401 for who in order]


def test_what_is_unusual_is_left_to_the_application(wire: Wire, good: str) -> None:
    """HEAD has no body; a token in the URL is worse than a bad one in the header; a bad one opens no open route."""
    wire.write(f"HEAD {S}/health HTTP/1.1\r\nHost: x\r\n{JUNK}\r\n\r\n")
    assert wire.read(body=False).status == 401
    assert wire.ask(JUNK, path=f"/signals?token={good.rpartition(' ')[2]}").status == 400
    assert wire.ask(JUNK, path="/health").status == 401
    assert wire.ask(JUNK, path="/nowhere").status == 401
    assert wire.ask(JUNK, "Expect: 100-continue", "Content-Length: 2", method="POST", body="{}").status == 401


@pytest.mark.parametrize("line", ["HTTP/1.0", "HTTP/1.1\r\nConnection: close"])
def test_whoever_wants_the_connection_closed_gets_that(wire: Wire, line: str) -> None:
    """As the protocol says, with the answer before it."""
    wire.write(f"GET {S}/signals {line}\r\nHost: x\r\n{JUNK}\r\n\r\n")
    answer = wire.read()
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    assert wire.at_its_end()


@pytest.mark.parametrize("line", ["HTTP/1.1", "HTTP/1.0", "HTTP/1.1\r\nConnection: close"])
@pytest.mark.parametrize(("path", "status"), [("/signals", 200), ("/nowhere", 404), ("/signals?limit=x", 422)])
def test_an_answer_says_the_same_however_it_is_written(
    wire: Wire, good: str, line: str, path: str, status: int
) -> None:
    """Most are written in one piece, those that end a connection are not: that is the only difference."""
    told = wire.ask(good, path=path)
    wire.write(f"GET {S}{path} {line}\r\nHost: x\r\n{good}\r\n\r\n")
    again = wire.read()
    assert (told.status, again.status) == (status, status)
    assert again.body == told.body
    ends = {"connection": "close"} if line != "HTTP/1.1" else {}
    assert again.headers == told.headers | {"date": again.headers["date"]} | ends
    assert not ends or wire.at_its_end()


def sent(*messages: dict[str, Any], method: str = "GET", keep_alive: bool = True) -> list[bytes]:
    """Return what is written of an answer, piece by piece."""
    written: list[bytes] = []
    cycle = _Cycle(
        scope={"type": "http", "method": method},  # type: ignore[typeddict-item]  # what an answer looks at
        transport=SimpleNamespace(write=written.append, close=lambda: None),  # type: ignore[arg-type]
        flow=SimpleNamespace(write_paused=False),  # type: ignore[arg-type]
        logger=logging.getLogger("test"),
        access_logger=logging.getLogger("test"),
        access_log=False,
        default_headers=[(b"date", b"now")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )

    async def send() -> None:
        for message in messages:
            await cycle.send(message)

    asyncio.run(send())
    assert cycle.response_complete
    return written


def begun(**headers: str) -> dict[str, Any]:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": named}


def body(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text.encode(), **fields}


def test_an_answer_that_is_known_whole_is_written_in_one_piece() -> None:
    """Two pieces take the system, and whoever reads them, twice as long."""
    assert sent(begun(content_length="5", etag="x"), body("Hello")) == [
        b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 5\r\netag: x\r\n\r\nHello"
    ]


@pytest.mark.parametrize(
    ("headers", "messages", "options"),
    [
        ({"content_length": "5"}, [body("He", more_body=True), body("llo")], {}),
        ({}, [body("Hello", more_body=True), body("")], {}),
        ({}, [body("Hello")], {}),
        ({"content_length": "5"}, [body("Hello")], {"keep_alive": False}),
        ({"content_length": "5", "connection": "close"}, [body("Hello")], {}),
        ({"content_length": "5"}, [body("Hello")], {"method": "HEAD"}),
    ],
)
def test_any_other_answer_is_written_as_the_server_does_it(
    headers: dict[str, str], messages: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    """In parts, in chunks, at the end of a connection, without a body."""
    written = sent(begun(**headers), *messages, **options)
    assert len(written) > 1 or options.get("method") == "HEAD"
    lines, _, rest = b"".join(written).partition(b"\r\n\r\n")
    assert lines.startswith(b"HTTP/1.1 200 OK\r\ndate: now\r\n")
    whole = b"5\r\nHello\r\n0\r\n\r\n" if b"chunked" in lines else b"Hello"
    assert rest == (b"" if options.get("method") == "HEAD" else whole)


@pytest.mark.parametrize("value", ["5\r\nset-cookie: x", "5\nx", "5\rx", "5\0"])
def test_no_header_breaks_out_of_its_line(value: str) -> None:
    """Neither an answer nor a part of one is written then."""
    with pytest.raises(RuntimeError, match="header"):
        sent(begun(content_length="5", etag=value), body("Hello"))


def test_each_refusal_is_counted_and_few_lines_tell_of_all(
    service: Service, wire: Wire, refused: Callable[[], float]
) -> None:
    """Whoever fills the log with bad tokens fills nothing: one line at once, then one a second with the number."""
    eventually(lambda: sum(line["count"] for line in told(service)) == refused(), seconds=30, what="told")
    before, lines = refused(), len(told(service))
    began, asked = time.monotonic(), 0
    while asked < 300 or time.monotonic() < began + 3:
        assert wire.ask(JUNK).status == 401
        asked += 1
    elapsed = time.monotonic() - began
    assert refused() == before + asked
    eventually(
        lambda: sum(line["count"] for line in told(service)) == before + asked,
        seconds=30,
        what="the last second is told",
    )
    fresh = told(service)[lines:]
    assert len(fresh) <= 2 + math.ceil(elapsed)
    assert told(service)[0]["address"] == "127.0.0.1"
    assert {line["status"] for line in fresh} == {401}
    assert "sntl_" not in json.dumps(told(service))
