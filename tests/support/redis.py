"""A Redis server of the tests' own, as Debian packages it, on a loopback port, which keeps nothing over a restart."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

import redis
from tests.support.service import eventually

__all__ = ["PASSWORD", "RedisServer"]

PASSWORD = "open-sesame"


class RedisServer:
    """The server while it runs. As a context it leaves no process behind."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        assert program, "redis-server is missing: `make test` installs it"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://default:{PASSWORD}@127.0.0.1:{self.port}/0"
        words = f"--port {self.port} --bind 127.0.0.1 --requirepass {PASSWORD} --appendonly no --daemonize no"
        self._command = [program, *words.split(), "--save", "", "--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis.from_url(self.url, decode_responses=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        """Return when it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, seconds=60, what="redis-server answers")

    def kill(self) -> None:
        """End it at once; what it held is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)
        self._process = None

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False
