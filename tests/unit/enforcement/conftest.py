"""A small real service on a loopback port, which answers as the decisions endpoint does."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

TOKEN = "sntl_enforcer_for-tests"


class Service:
    """Holds a list of changes and hands them out, waiting for news as long as it is asked to."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.items: list[dict[str, Any]] = []
        self.says_complete = True
        self.broken: tuple[int, bytes] | None = None
        self.token = TOKEN
        self.asked: list[dict[str, str]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def seq(self) -> int:
        return max([0, *(item["seq"] for item in self.items)])

    def publish(self, block_id: str, target: str, **changes: Any) -> None:
        """Add a change; whoever waits is told at once."""
        with self.changed:
            item = {
                "id": block_id,
                "seq": self.seq + 1,
                "action_type": "ip_block",
                "target": target,
                "reason": "too many failures",
                "severity": "high",
                "status": "active",
                "created_at": "2026-01-02T03:04:05Z",
                "expiration": None,
                "auto": True,
            }
            self.items.append(item | changes)
            self.changed.notify_all()

    def restart_empty(self) -> None:
        with self.changed:
            self.items = []
            self.changed.notify_all()

    def answer(self, since: int, wait: float) -> dict[str, Any]:
        with self.changed:
            self.changed.wait_for(lambda: self.seq != since, timeout=wait)
            return {
                "seq": self.seq,
                "complete": self.says_complete and since == 0,
                "items": [item for item in self.items if item["seq"] > since],
            }


class _Handler(BaseHTTPRequestHandler):
    service: ClassVar[Service]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.service.asked.append(query)
        if self.service.broken is not None:
            self._send(*self.service.broken)
        elif self.headers["Authorization"] != f"Bearer {self.service.token}":
            self._send(401, b"{}")
        elif parts.path != "/api/v1/security/decisions":
            self._send(404, b"{}")
        else:
            answer = self.service.answer(int(query["since"]), min(float(query["wait"]), 0.2))
            self._send(200, json.dumps(answer).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever, args=(0.02,))
    thread.start()
    yield service
    service.server.shutdown()
    thread.join()
    service.server.server_close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until something holds; fails after ten seconds, which is far more than anything here needs."""

    def wait(holds: Callable[[], object]) -> None:
        pause = threading.Event()
        for _ in range(1000):
            if holds():
                return
            pause.wait(0.01)
        pytest.fail("it never came about")

    return wait
