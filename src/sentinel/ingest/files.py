"""
Log files become lines: rotated and compressed ones in their order, and a growing one for as long as somebody reads.

Nothing is held but one line, and of a line no more than `MAX_LINE` characters, so that neither a log without line ends
nor a small archive that unpacks to a huge one can fill the memory.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from sentinel.errors import ConfigError
from sentinel.ingest.lines import MAX_LINE, LineReader
from sentinel.model import Event

__all__ = ["Tail", "bounded", "file_lines", "oldest_first", "read_files"]

_GZIP = b"\x1f\x8b"
_ROTATED = re.compile(r"(?P<base>.+?)(?:\.(?P<number>\d{1,5})|[.-](?P<date>\d{8}(?:-?\d{2,6})?))?(?:\.gz)?")


def oldest_first(paths: Iterable[Path]) -> list[Path]:
    """
    Return the files of each log in the order in which they were written.

    `auth.log.2.gz` is before `auth.log.1`, `auth.log-20260101` before `auth.log-20260108`, and `auth.log` is last.
    Files of different logs keep the order in which the logs were named.
    """
    named = list(paths)
    logs = {key: place for place, key in reversed(list(enumerate(_rotation(path)[0] for path in named)))}

    def age(path: Path) -> tuple[int, tuple[bool, str, int]]:
        log, when = _rotation(path)
        return logs[log], when

    return sorted(named, key=age)


def _rotation(path: Path) -> tuple[Path, tuple[bool, str, int]]:
    """The log that a file is a part of, and where its part stands in time: the present file last."""
    found = _ROTATED.fullmatch(path.name)
    if found is None:
        return path, (True, "", 0)
    number, date = found["number"], found["date"]
    return path.with_name(found["base"]), (not (number or date), date or "", -int(number or 0))


def read_files(reader: LineReader, paths: Sequence[Path]) -> Iterator[Event]:
    """
    Yield the events of the log in these files.

    Args:
        reader: Before its first line.
        paths: In the order in which they were written.

    Raises:
        ConfigError: As `file_lines`; the events before that were yielded.
    """

    def lines() -> Iterator[str]:
        return chain.from_iterable(map(file_lines, paths))

    with suppress(ConfigError):  # reading comes to the same place, and says it after what it has read
        reader.foresee(lines())
    yield from reader.read(lines())


def file_lines(path: Path) -> Iterator[str]:
    """
    Yield the lines of a log file, unpacked if it is gzip; whatever its name says.

    Raises:
        ConfigError: It can't be read, or its compressed data is broken or cut off; the lines before that were yielded.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            content: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            with io.TextIOWrapper(content, encoding="utf-8", errors="replace", newline="\n") as stream:
                yield from bounded(stream)
    except (gzip.BadGzipFile, EOFError, zlib.error) as err:
        raise ConfigError("the compressed data is broken or cut off", where=str(path)) from err
    except OSError as err:
        raise ConfigError(f"can't be read: {err.strerror}", where=str(path)) from err


def bounded(stream: TextIO) -> Iterator[str]:
    """Yield the lines of a stream; one that is longer than `MAX_LINE` is cut just above it, so readers can tell."""
    longest = MAX_LINE + 1
    while line := stream.readline(longest):
        rest = line
        while len(rest) == longest and not rest.endswith("\n"):
            rest = stream.readline(longest)
        yield line


class Tail:
    """
    Follows a file by its name, as `tail -F` does, from its beginning.

    A file that was renamed is read until nothing more is written to it, as its writer may take a moment to turn to the
    new one of that name. One that became shorter is read again from its start. A line counts when its end is written.
    """

    def __init__(self, path: Path) -> None:
        """`ConfigError` when there is no such file, later it may come and go."""
        self._path = path
        self._file: io.BufferedReader | None = None
        self._part = b""
        self._open()
        if self._file is None:
            raise ConfigError("can't be read: no such file", where=str(path))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def lines(self) -> Iterator[str]:
        """Yield the lines that were written since the last call."""
        grew = False
        for line in self._grown():
            grew = True
            yield line
        if not grew and self._replaced():
            if self._part:
                yield self._line()
            self.close()
            self._open()
            yield from self._grown()

    def _open(self) -> None:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            self._file = None
        except OSError as err:
            raise ConfigError(f"can't be read: {err.strerror}", where=str(self._path)) from err

    def _replaced(self) -> bool:
        """Whether the name now means another file; a name without a file means: not yet."""
        try:
            there = self._path.stat()
        except OSError:
            return False
        if self._file is None:
            return True
        here = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def _grown(self) -> Iterator[str]:
        if self._file is None:
            return
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._part = b""
        while piece := self._file.readline(MAX_LINE):
            if len(self._part) <= MAX_LINE:
                self._part += piece
            if piece.endswith(b"\n"):
                yield self._line()

    def _line(self) -> str:
        part, self._part = self._part, b""
        return part.decode("utf-8", errors="replace")
