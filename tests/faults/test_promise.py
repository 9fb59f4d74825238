"""What happens on the way from the disk to a 202, as the kernel sees it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.support.sender import Sender
from tests.support.service import Service
from tests.support.stored import Stored
from tests.support.strace import Strace
from tests.support.traffic import Traffic

CALLS = "fdatasync,fsync,write,writev,sendto,sendmsg"
SIGHTS = re.compile(r"(?P<synced>sync.*= 0$)|(?P<failed>sync.*= -1 EIO)|(?P<promised>HTTP/1\.1 202)")
REQUESTS = 20


def story(lines: Iterable[str]) -> list[str | None]:
    return [sight.lastgroup for line in lines if (sight := SIGHTS.search(line))]


def test_every_202_follows_an_fsync_of_its_own(tmp_path: Path) -> None:
    """A sender that asks alone is answered after its events are on the disk, not while they are on the way."""
    with Service(tmp_path) as service:
        service.start()
        sender, traffic = Sender(service, seed=1), Traffic(1)
        with Strace(service.pid, tmp_path / "calls", calls=CALLS) as tracer:
            for _ in range(REQUESTS):
                assert sender.send(traffic.batch(3))
        assert service.stop() == 0
    seen = story(tracer.lines())
    assert seen.count("promised") == REQUESTS
    for number, sight in enumerate(seen):
        assert sight != "promised" or (number > 0 and seen[number - 1] == "synced"), seen


# Where a write fails: each is met by a different line of the store.
FAILURES = {
    "the fsync of a commit": ("fdatasync,fsync:error=EIO:when=5", "sentinel.db-wal"),
    "the write of a commit": ("pwrite64:error=EIO:when=5", "sentinel.db-wal"),
    "the fsync of a checkpoint": ("fdatasync,fsync:error=EIO:when=1", "sentinel.db"),
    "the write of a checkpoint": ("pwrite64:error=EIO:when=1", "sentinel.db"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_write_or_fsync_stops_the_process_and_costs_nothing_acknowledged(failure: str, tmp_path: Path) -> None:
    """The process ends with 74 at once; the next one starts clean, and what is sent again is there once."""
    inject, file = FAILURES[failure]
    with Service(tmp_path) as service:
        service.start()
        with Sender(service, seed=3, largest=5_000) as sender:
            sender.wait_for(5_000)
            path = service.folder / file
            with Strace(service.pid, tmp_path / "calls", calls="fdatasync,fsync,pwrite64", inject=inject, path=path):
                assert service.ended(60) == 74
            service.start()
            sender.wait_for(max(10_000, len(sender.owed) + 1))
        service.drain()
        assert service.stop() == 0
    assert sender.cut_off >= 1
    Stored(service.folder).check(offered=sender.offered, owed=sender.owed)


def test_nobody_gets_a_202_after_an_fsync_failed(tmp_path: Path) -> None:
    """The request whose fsync failed is cut off without an answer, and so is whoever comes after it."""
    with Service(tmp_path) as service:
        service.start()
        with Sender(service, seed=4) as sender:
            sender.wait_for(1_000)
            inject = "fdatasync,fsync:error=EIO:when=5"
            with Strace(service.pid, tmp_path / "calls", calls=CALLS, inject=inject) as tracer:
                assert service.ended(60) == 74
        seen = story(tracer.lines())
        assert seen.count("failed") == 1, "an fsync that failed was tried again"
        assert "promised" not in seen[seen.index("failed") :]


def test_the_process_ends_after_a_failed_fsync_even_if_nobody_hears_it(tmp_path: Path) -> None:
    """The supervisor that read stderr has died: saying why fails, and the process must not live on because of it."""
    with Service(tmp_path) as service:
        service.start(stderr=subprocess.PIPE)
        assert service.process.stderr is not None
        service.process.stderr.close()
        sender = Sender(service, seed=5)
        with Strace(service.pid, tmp_path / "calls", calls="fdatasync", inject="fdatasync,fsync:error=EIO"):
            assert not sender.send(Traffic(5).batch(3))
            assert service.ended(20) == 74


def test_a_failed_fsync_while_it_ends_is_told(tmp_path: Path) -> None:
    """A service that is asked to end and can't put its store in order says so by its exit code, and loses nothing."""
    with Service(tmp_path) as service:
        service.start()
        sender = Sender(service, seed=6)
        batch = Traffic(6).batch(100)
        sender.offered.update((event["event_id"], event) for event in batch)
        assert sender.send(batch)
        path = service.folder / "sentinel.db"
        inject = "fdatasync,fsync:error=EIO:when=1"
        with Strace(service.pid, tmp_path / "calls", calls="fdatasync,fsync", inject=inject, path=path):
            assert service.stop() == 74
        service.start()
        service.drain()
        assert service.stop() == 0
    Stored(service.folder).check(offered=sender.offered, owed=sender.owed)
