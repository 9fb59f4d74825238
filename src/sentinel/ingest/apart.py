"""
A log's files, read by a process of their own: one processor makes and checks events while the other judges them.

The process is a Python that knows nothing but the readers, so it is at work before the program that asked for it has
loaded the rest of itself. It is ahead of whoever takes the events by one part and no more, so neither holds more of the
log than that. It ends when nobody listens any more, however that came about.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from sentinel.errors import ConfigError, OutsideError
from sentinel.ingest.events import Parsed
from sentinel.ingest.lines import LineReader
from sentinel.ingest.logs import Log
from sentinel.ingest.parts import LENGTH_BYTES, Order, Part, joined

__all__ = ["Apart"]

# msgspec takes `typing` where there are no extensions of it, which are slow to load.
_PROGRAM = """
import sys
sys.modules["typing_extensions"] = None
from sentinel.ingest.parts import be_the_process
be_the_process()
"""

_decode = msgspec.json.Decoder(list[Part]).decode


class Apart:
    """Reads files from now on, until it is left as a context; `parts` gives the events."""

    def __init__(self, log: Log, paths: Sequence[Path], size: int, reader: LineReader) -> None:
        """
        Start the process.

        Args:
            log: How the lines are to be read.
            paths: In the order in which they were written.
            size: Events in a part; the first ones are shorter, for whoever waits, and so is the last.
            reader: Is told what the one in the process has counted.
        """
        self._reader = reader
        self.peak_kilobytes = 0
        """The most memory that the process had, once it has ended."""
        # By -P a folder named `sentinel` where somebody happens to be is not run; in a group of its own, Ctrl-C reaches
        # only who decides what it means.
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0 if os.name == "posix" else None,
        )
        assert self._process.stdin is not None
        with self._process.stdin as order:
            order.write(msgspec.json.encode(Order(log, [os.fsencode(path) for path in paths], size)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()  # nothing, where it has ended

    async def parts(self) -> AsyncIterator[Parsed]:
        """
        Yield the events, part by part.

        Raises:
            ConfigError: A file can't be read; what came before was yielded.
            OutsideError: The process ended before the log did.
        """
        last = False
        while not last:
            pieces = await asyncio.to_thread(self._receive)
            reader, part = self._reader, pieces[-1]
            last, self.peak_kilobytes = part.last, part.peak_kilobytes
            reader.lines, reader.ignored = part.lines, part.ignored
            reader.unknown, reader.unknown_at = part.unknown, part.unknown_at
            parsed = joined([piece.parsed for piece in pieces])
            if parsed.events or parsed.rejected:
                yield parsed
            if part.failed is not None:
                reason, where = part.failed
                raise ConfigError(reason, where=where)

    def _receive(self) -> list[Part]:
        sent = self._process.stdout
        assert sent is not None
        length = int.from_bytes(sent.read(LENGTH_BYTES), "big")
        message = sent.read(length)
        if not length or len(message) < length:  # it died between two messages, or in the middle of one
            raise OutsideError("the process that reads the log ended before the log did", retryable=True)
        return _decode(message)
