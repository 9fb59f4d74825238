"""Starting is interrupted, or finds a disk that does not take what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.service import Service
from tests.support.strace import broken_from_the_start

LONGEST = 40


@pytest.mark.parametrize(("calls", "least"), [("fdatasync", 5), ("fsync", 2)])
def test_a_first_start_that_is_killed_at_any_fsync_can_be_repeated(calls: str, least: int, tmp_path: Path) -> None:
    """A data folder that is half made is finished by the next start; nobody has to delete it."""
    for number in range(1, LONGEST):
        service = Service(tmp_path / str(number))
        killing = broken_from_the_start(calls, f"signal=KILL:when={number}", service.home / "calls")
        killed = service.run("token", "list", before=killing)
        repeated = service.run("token", "list", "--json")
        assert repeated.returncode == 0, f"killed at fsync {number}: {repeated.stderr}"
        if killed.returncode == 0:
            break
    assert least < number < LONGEST - 1, "the kills did not reach from the first to the last"


@pytest.mark.parametrize(("calls", "error"), [("fdatasync,fsync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC")])
def test_a_start_that_cannot_write_ends_with_one_line_and_74(calls: str, error: str, tmp_path: Path) -> None:
    """A supervisor sees from the exit code that the disk is at fault, and a person from the line on stderr."""
    with Service(tmp_path) as service:
        service.start()
        service.kill()
    failing = broken_from_the_start(calls, f"error={error}", tmp_path / "calls")
    failed = service.run("serve", "--port", "0", before=failing)
    assert failed.returncode == 74
    assert failed.stderr.startswith("sentinel: ")
    assert failed.stderr.count("\n") == 1
    assert service.run("token", "list").returncode == 0
