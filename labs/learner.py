"""A learner's code, run apart: in a copy of its folder, in a process of its own, for a limited time."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

__all__ = ["Learner", "Miss"]

_DRIVER = Path(__file__).with_name("driver.py")
_ANSWER_BYTES = 2**20
_OUTPUT_BYTES = 2**18
_MOST_FILES = 500
_MOST_BYTES = 10 * 2**20
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "venv", "node_modules")
PATIENCE_SECONDS = 60.0
"""For one question. To start Python and compile the scanner's rules takes one or two, on a busy machine ten."""


class Miss(Exception):
    """What was expected did not come; the text says what came instead."""


class Learner:
    """
    Asks questions of the code in a folder. Use it as a context.

    The code runs in a copy, so what it writes is gone afterwards. A process that ends or takes too long is replaced at
    the next question.

    Args:
        folder: The learner's.
        probes: A Python file; its functions are what can be asked.
        patience_seconds: For one question.

    Raises:
        Miss: The folder holds more than 500 files or 10 MiB.
    """

    def __init__(self, folder: Path, probes: Path, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.exposed: list[str] = []
        """Addresses beyond this machine on which the code tried to listen."""
        self.kept: dict[str, Any] = {}
        """What is costly to find out, and checks share."""
        self._probes = probes
        self._patience = patience_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = -1
        self._known: dict[str, tuple[dict[str, Any], str]] = {}
        _check_size(folder)
        self._temporary = tempfile.TemporaryDirectory(prefix="sentinel-lab-")
        self.folder = Path(self._temporary.name, "copy")
        shutil.copytree(folder, self.folder, ignore=_LEFT_OUT, symlinks=True)
        self._output = Path(self._temporary.name, "output")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._temporary.cleanup()

    def ask(self, probe: str, *args: Any) -> Any:
        """
        Return what a probe returns, as JSON has it. The same question is asked once.

        Raises:
            Miss: The code raised an error, ended, took too long, or answered with what JSON can't hold.
        """
        return self._asked(probe, args)[0]

    def printed(self, probe: str, *args: Any) -> str:
        """Return what the code prints while it answers, to standard output and error, 256 KiB of it."""
        return self._asked(probe, args)[1]

    def text(self, name: str) -> str:
        """
        Return a file of the learner's.

        Raises:
            Miss: There is none, or it is no text.
        """
        path = self.folder / name
        try:
            if path.is_symlink():
                raise Miss(f"{name} is a link")
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise Miss(f"{name} is missing or no text") from None

    def _asked(self, probe: str, args: tuple[Any, ...]) -> tuple[Any, str]:
        question = json.dumps({"probe": probe, "args": args})
        if question not in self._known:
            self._known[question] = self._answered(question)
        answer, printed = self._known[question]
        if "error" in answer:
            raise Miss(answer["error"])
        return answer["value"], printed

    def _answered(self, question: str) -> tuple[dict[str, Any], str]:
        process = self._running()
        assert process.stdin is not None
        before = self._output.stat().st_size
        try:
            process.stdin.write(question.encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(self._line())
        except (OSError, ValueError) as err:
            self._end()
            reason = str(err) if isinstance(err, TimeoutError) else "the code ended the process, or broke off"
            return {"error": reason}, self._printed(before)
        self.exposed = answer["exposed"]
        return answer, self._printed(before)

    def _printed(self, start: int) -> str:
        with self._output.open("rb") as output:
            output.seek(start)
            return output.read(_OUTPUT_BYTES).decode("utf-8", "replace")

    def _line(self) -> bytes:
        """Return the next line of the answers; raises TimeoutError, or ValueError if there is no whole line."""
        deadline = time.monotonic() + self._patience
        line = b""
        with selectors.DefaultSelector() as ready:
            ready.register(self._answers, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0 or not ready.select(left):
                    raise TimeoutError(f"no answer within {self._patience:g} seconds")
                part = os.read(self._answers, 65536)
                line += part
                if not part or len(line) > _ANSWER_BYTES:
                    raise ValueError("no whole answer")
        return line

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        self._answers, theirs = os.pipe()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our driver, by its full path
                [sys.executable, "-P", str(_DRIVER), str(self._probes), str(theirs)],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=[theirs],
                start_new_session=True,
            )
        os.close(theirs)
        return self._process

    def _environment(self) -> dict[str, str]:
        """Return an environment without anything of the caller's that a lab does not need, such as keys."""
        home = self._temporary.name
        # On a machine with many cores numpy's threads alone would take all the memory that the code may have.
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}  # noqa: TID251 - a shell
        return {
            **kept,
            **threads,
            "HOME": home,
            "TMPDIR": home,
            "PYTHONUTF8": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "100",
        }

    def _end(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # the group is its own, threads and all
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # what was not read any more
            self._process.stdin.close()
        os.close(self._answers)
        self._process = None


def _check_size(folder: Path) -> None:
    files = size = 0
    for place, folders, names in os.walk(folder):
        left_out = _LEFT_OUT(place, [*folders, *names])
        folders[:] = [name for name in folders if name not in left_out]
        for name in names:
            if name not in left_out:
                files += 1
                size += Path(place, name).lstat().st_size
        if files > _MOST_FILES or size > _MOST_BYTES:
            raise Miss(
                f"{folder} holds more than {_MOST_FILES} files or {_MOST_BYTES // 2**20} MiB; keep only the lab in it"
            )
