"""A real `sentinel serve` or `worker` on a data folder of its own, which a test may kill and start again."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import httpx

__all__ = ["SENTINEL", "S", "Service", "eventually"]

S = "/api/v1/security"
SENTINEL = Path(sys.executable).with_name("sentinel")
START_SECONDS = 60  # far more than a start takes, also on a machine that is busy with other things


def eventually(holds: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Return the first true answer; fails when there is none within the time."""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return answer


class Service:
    """A data folder, and the process that serves it while there is one. As a context it leaves no process behind."""

    def __init__(self, home: Path, kind: str = "serve") -> None:
        home.mkdir(exist_ok=True)
        self.home = home
        self._words = (kind, "--port" if kind == "serve" else "--metrics-port", "0")
        self.folder = home / "data"
        self.url = ""
        self.settings: dict[str, str] = {}
        """Further ones, as environment variables."""
        self.verify: ssl.SSLContext | bool = True
        """How to know it, and to make oneself known, when it speaks TLS."""
        self._stderr = home / "stderr.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[httpx.Client] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        if self._process is not None:
            self.kill()

    # --- the process

    def command(self, *words: str) -> list[str]:
        """Return a command line of ours about this data folder."""
        return [str(SENTINEL), *words, "--data-dir", str(self.folder)]

    @property
    def surroundings(self) -> dict[str, Any]:
        """What a process needs to run without the settings, proxies and files of whoever runs the tests."""
        settings = {"SENTINEL_BLAST_RADIUS": "1000000"}  # it depends on the clock, and has tests of its own
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        return {"cwd": self.home, "env": own | settings | self.settings}

    def launch(self, stderr: Any = None) -> None:
        """Start the process and don't wait for it."""
        assert self._process is None, "one at a time"
        with self._stderr.open("ab") as told:
            self._process = subprocess.Popen(
                self.command(*self._words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr or told,
                **self.surroundings,
            )

    def start(self, stderr: Any = None) -> Self:
        """Start the process, and return when it takes events."""
        self.launch(stderr)
        self.until_ready()
        return self

    def until_ready(self) -> None:
        """Return when the process takes events, or where it takes none, when it runs."""
        eventually(self._answers, seconds=START_SECONDS, what="/readyz says 200")

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.said()}"
        try:
            published = json.loads((self.folder / "service.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        if published["pid"] != self.pid:  # left behind by one that was killed
            return False
        if "url" not in published:  # a worker takes no requests
            self.url = published["metrics_url"]
            return True
        self.url = published["url"]
        return httpx.get(f"{self.url}/readyz", trust_env=False, verify=self.verify).status_code == 200

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process

    @property
    def runs(self) -> bool:
        """Whether it was started, and has not ended at somebody's word."""
        return self._process is not None

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        """Return the end of what it wrote to stderr."""
        return self._stderr.read_text(encoding="utf-8", errors="replace")[-2000:]

    def kill(self) -> None:
        """End the process as a power switch would."""
        self.process.kill()
        self.ended()

    def stop(self) -> int:
        """Ask the process to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self, seconds: float = 60) -> int:
        """Return the exit code, once the process has ended by itself."""
        code = self.process.wait(seconds)
        if self.process.stderr is not None:
            self.process.stderr.close()
        self._process = None
        return code

    # --- its API

    def client(self, token: str) -> httpx.Client:
        """Return a client with this token. It outlives restarts: give it whole URLs, from `self.url`."""
        client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False, verify=self.verify
        )
        self._clients.append(client)
        return client

    def admin(self) -> httpx.Client:
        """Return a client with the data folder's own token."""
        return self.client((self.folder / "token").read_text(encoding="ascii").strip())

    def ingest_token(self) -> str:
        """Return a new token whose events may lead to blocks."""
        return self.token("ingest", may_cause_actions=True)

    def token(self, role: str, **rights: Any) -> str:
        """Return a new token of a role."""
        order = {"role": role, **rights}
        answer = self.admin().post(f"{self.url}{S}/tokens", json=order)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def ask(self, path: str) -> Any:
        """Return the JSON that the admin gets from a path."""
        answer = self.admin().get(self.url + path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def drain(self, seconds: float = 60) -> None:
        """Return when all that was accepted is judged, and what was accepted before the start is taken up again."""

        def drained() -> bool:
            health = self.ask(f"{S}/health")
            queue, processor = health["queue"], health["components"]["security_event_processor"]
            return bool(queue["accepted_seq"] == queue["processed_seq"] and processor["settled"])

        eventually(drained, seconds=seconds, what="the queue is drained")

    def run(self, *words: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run another command of ours on this data folder, `before` in front of it, to its end."""
        command = [*before, *self.command(*words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **self.surroundings)
