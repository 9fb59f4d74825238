"""Faults in system calls, by strace."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Self

__all__ = ["Strace", "broken_from_the_start"]


def broken_from_the_start(calls: str, fault: str, log: Path) -> list[str]:
    """
    Return what to write before a command, so that these system calls fail in it as `fault` says.

    Without `--seccomp-bpf`, which would be faster: with it strace 6.1 counts wrongly, and `when=2` never comes.
    """
    return [_strace(), "-f", "-o", str(log), "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]


def _strace() -> str:
    """Return the path of strace; fails without it, because faults that nobody tried are no reason to feel safe."""
    found = shutil.which("strace")
    assert found is not None, "strace is missing: install it (apt install strace); fault tests are never skipped"
    return found


class Strace:
    """
    Watches a process, and breaks its system calls, for as long as the context lasts.

    Args:
        pid: The process, with all its threads.
        log: File for the lines, one a call.
        calls: Names of the system calls to watch, with commas between them.
        inject: What to break and how, such as `fsync:error=EIO:when=3` (each thread counts its own); None only watches.
        path: Only calls about this file.
    """

    def __init__(self, pid: int, log: Path, *, calls: str, inject: str | None = None, path: Path | None = None) -> None:
        self._log = log
        about = [] if path is None else ["-P", str(path)]
        fault = [] if inject is None else ["-e", f"inject={inject}"]
        watched = ["-e", f"trace={calls}", "-e", "signal=none"]
        self._command = [_strace(), "-f", "-o", str(log), *about, *watched, *fault, "-p", str(pid)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        told = line = self._process.stderr.readline()
        while line and "attached" not in line:
            line = self._process.stderr.readline()
            told += line
        assert "attached" in told, f"strace can't attach (may this user trace processes?): {told}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)

    def lines(self) -> list[str]:
        """Return what was seen, in order."""
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()
