"""A Redis server of the tests' own, as Debian packages it, on a loopback port, which keeps nothing over a restart."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import redis
from tests.support.service import eventually

from sentinel.certificates import issue, make_ca

__all__ = ["PASSWORD", "RedisMasters", "RedisMastersWithTls", "RedisServer", "RedisWithTls"]

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
        self._command = [program, *words.split(), "--save", "", "--dir", str(folder), *self._more(folder)]
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis.from_url(self.url, decode_responses=True)

    def _more(self, folder: Path) -> list[str]:
        """Return what else it is told."""
        return []

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

    def empty(self) -> None:
        """Delete what it holds."""
        self.client.flushall()

    @property
    def runs(self) -> bool:
        """Whether it was started and not ended since."""
        return self._process is not None

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


class RedisWithTls(RedisServer):
    """One that is reached by TLS alone, with a certificate of `ca.pem` in its folder for the name localhost."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"rediss://default:{PASSWORD}@localhost:{self.port}/0?ssl_ca_certs={folder / 'ca.pem'}"
        self.client = redis.Redis.from_url(self.url, decode_responses=True, ssl_check_hostname=True)

    def _more(self, folder: Path) -> list[str]:
        _certify(folder, "localhost")
        return _by_tls(self.port, folder)


def _certify(folder: Path, name: str) -> None:
    now = datetime.now(UTC)
    ca = make_ca("ours", now)
    pair = issue(ca, "redis", [name], now)
    for file, content in (("ca.pem", ca.certificate), ("own.pem", pair.certificate), ("own.key", pair.key)):
        (folder / file).write_bytes(content)


def _by_tls(port: int, folder: Path) -> list[str]:
    files = [("cert", "own.pem"), ("key", "own.key"), ("ca-cert", "ca.pem")]
    words = [word for kind, name in files for word in (f"--tls-{kind}-file", str(folder / name))]
    return ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", *words]


class _Master(RedisServer):
    def __init__(self, folder: Path, *, tls: bool) -> None:
        self._tls = tls
        super().__init__(folder)
        if tls:
            ca = folder.parent / "ca.pem"
            self.client = redis.Redis.from_url(f"rediss{self.url[5:]}?ssl_ca_certs={ca}", decode_responses=True)

    def _more(self, folder: Path) -> list[str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.bus = free.getsockname()[1]
        words = f"--cluster-enabled yes --cluster-port {self.bus} --cluster-node-timeout 2000".split()
        if self._tls:
            words += ["--tls-cluster", "yes", *_by_tls(self.port, folder.parent)]
        return [*words, "--cluster-config-file", str(folder / "nodes.conf")]


class RedisMasters:
    """A cluster of three masters without replicas. As a context it leaves no process behind."""

    tls = False

    def __init__(self, folder: Path) -> None:
        if self.tls:
            _certify(folder, "127.0.0.1")  # by which they name each other
        self.masters: list[_Master] = []
        for number in range(3):
            (folder / str(number)).mkdir()
            self.masters.append(_Master(folder / str(number), tls=self.tls))
        hosts = ",".join(f"127.0.0.1:{master.port}" for master in self.masters)
        scheme, self._query = ("rediss", f"?ssl_ca_certs={folder / 'ca.pem'}") if self.tls else ("redis", "")
        self.url = f"{scheme}+cluster://default:{PASSWORD}@{hosts}{self._query}"
        self._first = f"{scheme}://default:{PASSWORD}@127.0.0.1:{self.masters[0].port}{self._query}"

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for master in self.masters:
                started.enter_context(master)
            for number, master in enumerate(self.masters):
                start, end = (16_384 * n // 3 for n in (number, number + 1))
                master.client.execute_command("CLUSTER ADDSLOTSRANGE", start, end - 1)
            first = self.masters[0]
            for master in self.masters[1:]:
                master.client.execute_command("CLUSTER MEET", "127.0.0.1", first.port, first.bus)
            eventually(self.whole, seconds=60, what="all three say that the cluster is whole")
            self._started = started.pop_all()
        self.client = redis.RedisCluster.from_url(self._first, decode_responses=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._started.close()

    def whole(self) -> bool:
        """Whether each of them knows of all the others, and that every slot is served."""
        for master in self.masters:
            told = master.client.cluster("INFO")
            if (told["cluster_state"], told["cluster_known_nodes"]) != ("ok", "3"):
                return False
        return True

    def start(self) -> None:
        """Start those that do not run; returns when the cluster is whole again."""
        for master in self.masters:
            if not master.runs:
                master.start()
        eventually(self.whole, seconds=60, what="the cluster is whole again")

    def kill(self) -> None:
        """End all of them at once."""
        for master in self.masters:
            if master.runs:
                master.kill()

    def empty(self) -> None:
        """Delete what they hold."""
        for master in self.masters:
            master.empty()


class RedisMastersWithTls(RedisMasters):
    """The same, reached by TLS alone, also by each other."""

    tls = True
