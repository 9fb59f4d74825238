"""A receiver of notifications: it takes them, refuses them, or takes them and does not say so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple

__all__ = ["Came", "Receiver", "receiving"]

Mode = Literal["take", "refuse", "silent"]
"""`silent`: what comes is taken, and answered when that is over."""


class Came(NamedTuple):
    """Something that was posted."""

    path: str
    key: str
    """Its `Idempotency-Key`; empty without one."""
    text: str
    taken: bool


class Receiver:
    """What was posted, and what became of it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._modes: dict[str, Mode] = {}
        self.came: list[Came] = []
        self._over = threading.Condition()

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def set(self, mode: Mode, *paths: str) -> None:
        """Go on in another way at these paths; without one, at all. Whoever waits for an answer gets it."""
        with self._over:
            self._modes = self._modes | dict.fromkeys(paths, mode) if paths else {"": mode}
            self._over.notify_all()

    def _mode(self, path: str) -> Mode:
        return self._modes.get(path) or self._modes.get("", "take")

    def tries(self, word: str, *paths: str) -> int:
        """Return how often something with a word in it came to these paths."""
        return sum(word in item.text and item.path in paths for item in self.came)

    def keys(self, word: str, *paths: str) -> list[str]:
        """Return the key of each message with a word in it that was taken there: one for each that one counts."""
        return [item.key for item in self.came if item.taken and word in item.text and item.path in paths]

    def got(self, path: str, key: str, text: str) -> bool:
        """Return whether it is taken."""
        taken = self._mode(path) != "refuse"
        self.came.append(Came(path, key, text, taken))
        if taken:
            with self._over:
                self._over.wait_for(lambda: self._mode(path) != "silent")
        return taken


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Give a receiver that listens on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            taken = receiver.got(self.path, self.headers.get("Idempotency-Key", ""), text)
            try:
                self.send_response(200 if taken else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:  # whoever asked was killed meanwhile
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="receiver")
    thread.start()
    try:
        yield receiver
    finally:
        receiver.set("take")
        server.shutdown()
        thread.join()
        server.server_close()
