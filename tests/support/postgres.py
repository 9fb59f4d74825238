"""A PostgreSQL server of the tests' own, as Debian packages it, on a loopback port, as durable as any."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from sentinel.certificates import issue, make_ca

__all__ = ["Postgres", "running"]

_PROGRAMS = "/usr/lib/postgresql/*/bin/postgres"
_NUMBERS = itertools.count(1)
# Another collation than that of SQLite and Python on purpose: nothing may rely on how texts are ordered.
_INITDB = ["-A", "scram-sha-256", "-U", "postgres", "-E", "UTF8", "--locale-provider=icu", "--icu-locale=en-US"]
_SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "60"}
_PASSWORD = "sesame, with a space"


class Postgres:
    """A server's folder, and the server while it runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found = sorted(Path("/").glob(_PROGRAMS.lstrip("/")), key=lambda path: int(path.parts[-3]))
        assert found, "PostgreSQL is missing: `make test` installs it"
        self._programs = found[-1].parent
        self._data = folder / "data"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def make(self) -> None:
        """Make the folder of databases."""
        password = self._folder / "password"
        password.write_text(_PASSWORD + "\n")
        self._own(password)
        self._run("initdb", "-D", str(self._data), "--pwfile", str(password), "--locale=C.UTF-8", *_INITDB)
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in (_SETTINGS | {"port": str(self.port)}).items())

    def secure(self) -> None:
        """Before the start: let nobody in without TLS. Its certificate is for localhost, by an authority of its own."""
        now = datetime.now(UTC)
        self.ca = self._folder / "ca.pem"
        authority = make_ca("ours", now)
        pair = issue(authority, "postgres", ["localhost"], now)
        self.ca.write_bytes(authority.certificate)
        for name, content in (("server.crt", pair.certificate), ("server.key", pair.key)):
            path = self._data / name
            path.write_bytes(content)
            path.chmod(0o600)
            self._own(path)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")
        (self._data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")

    def start(self) -> None:
        """Return when it answers."""
        self._run("pg_ctl", "start", "-w", "-t", "60", "-D", str(self._data), "-l", str(self._folder / "log"))

    def stop(self, mode: str = "immediate") -> None:
        """End it: `immediate` is as a crash, `fast` breaks off what is under way and says so."""
        self._run("pg_ctl", "stop", "-w", "-t", "60", "-m", mode, "-D", str(self._data))

    @property
    def pid(self) -> int:
        """Of its first process."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def children(self) -> list[int]:
        """Return the processes that it has started."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    @property
    def runs(self) -> bool:
        """Whether it was started and not ended since."""
        return (self._data / "postmaster.pid").exists()

    def database(self) -> str:
        """Return the URL of a new, empty database, for a role that owns it and has no other right."""
        name = f"s{next(_NUMBERS)}"
        self.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{_PASSWORD}'", "postgres")
        self.sql(f"CREATE DATABASE {name} OWNER {name} ENCODING 'UTF8' TEMPLATE template0", "postgres")
        return f"postgresql://{name}:{quote(_PASSWORD)}@127.0.0.1:{self.port}/{name}"

    def sql(self, statement: str, database: str) -> list[list[str]]:
        """Return what an independent program is told: the rows of psql."""
        command = ["psql", "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]
        command += ["-p", str(self.port), "-U", "postgres", "-d", database, "-c", statement]
        surroundings = {"PATH": os.environ["PATH"], "PGPASSWORD": _PASSWORD, "LANG": "C.UTF-8"}
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=surroundings)
        assert answer.returncode == 0, answer.stderr
        return [line.split("\t") for line in answer.stdout.splitlines()]

    def _own(self, path: Path) -> None:
        if os.getuid() == 0:
            os.chown(path, *_USER)

    def _run(self, program: str, *words: str) -> None:
        as_user = (
            ["setpriv", f"--reuid={_USER[0]}", f"--regid={_USER[1]}", "--clear-groups"] if os.getuid() == 0 else []
        )
        command = [*as_user, str(self._programs / program), *words]
        surroundings = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self._folder)}
        log = self._folder / f"{program}.txt"
        with log.open("wb") as told:  # a file: a server that goes on must not hold a pipe open
            code = subprocess.run(
                command, stdout=told, stderr=told, timeout=120, check=False, env=surroundings, cwd=self._folder
            ).returncode
        assert code == 0, log.read_text(errors="replace")[-2000:]


def _not_root() -> tuple[int, int]:
    """Return a user and its group: PostgreSQL refuses to run as root."""
    users = {entry.pw_name: (entry.pw_uid, entry.pw_gid) for entry in pwd.getpwall()}
    return users.get("postgres") or users["nobody"]


_USER = _not_root()


@contextmanager
def running(*, tls: bool = False) -> Iterator[Postgres]:
    """Give a server with no database of ours, one that takes TLS alone where that is asked for, and end it."""
    folder = Path(tempfile.mkdtemp(prefix="sentinel-postgres-"))
    try:
        server = Postgres(folder)
        server._own(folder)
        server.make()
        if tls:
            server.secure()
        server.start()
        try:
            yield server
        finally:
            if server.runs:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
