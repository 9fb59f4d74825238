"""
A log's files, read by a process of their own: one processor makes and checks events while the other judges them.

The process is started anew, not forked, because it may be asked for beside threads and on any system. It is ahead of
whoever takes the events by one part and no more, so neither holds more of the log than that.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from sentinel.errors import ConfigError, OutsideError
from sentinel.ingest.events import Parsed, checked
from sentinel.ingest.files import read_files
from sentinel.ingest.lines import LineReader
from sentinel.model import Event

__all__ = ["Apart", "parts_of"]


class _Part(msgspec.Struct, array_like=True):
    """Events, and how far the reader has come with them."""

    parsed: Parsed
    lines: int
    ignored: int
    unknown: int
    unknown_at: list[int]
    last: bool = False
    failed: tuple[str, str] | None = None
    """Why a file could not be read, and which."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Part).decode


def parts_of(events: Iterable[Event], size: int) -> Iterator[Parsed]:
    """Yield the events in parts of this length, checked; the last one may be shorter."""
    rest = iter(events)
    while part := list(islice(rest, size)):
        yield checked(part)


class Apart:
    """Reads files from now on; `parts` gives the events, and tells the reader here what its copy there has counted."""

    def __init__(self, reader: LineReader, paths: Sequence[Path], size: int) -> None:
        """
        Start the process.

        Args:
            reader: Before its first line.
            paths: In the order in which they were written.
            size: Events in a part.
        """
        context = multiprocessing.get_context("spawn")
        self._reader = reader
        self._receiving, sending = context.Pipe(duplex=False)
        self._process = context.Process(target=_send, args=(reader, paths, size, sending), daemon=True)
        self._process.start()
        sending.close()  # the process has its own; with this one open its end would never be seen

    async def parts(self) -> AsyncIterator[Parsed]:
        """
        Yield the events, part by part.

        Raises:
            ConfigError: A file can't be read; what came before was yielded.
            OutsideError: The process ended before the log did.
        """
        last = False
        while not last:
            part = await asyncio.to_thread(self._receive)
            last = part.last
            reader = self._reader
            reader.lines, reader.ignored = part.lines, part.ignored
            reader.unknown, reader.unknown_at = part.unknown, part.unknown_at
            if part.failed is not None:
                reason, where = part.failed
                raise ConfigError(reason, where=where)
            if part.parsed.events or part.parsed.rejected:
                yield part.parsed
        await asyncio.to_thread(self._process.join)

    def _receive(self) -> _Part:
        try:
            return _decode(self._receiving.recv_bytes())
        except (EOFError, OSError):  # it died between two parts, or in the middle of one
            raise OutsideError("the process that reads the log ended before the log did", retryable=True) from None


def _send(reader: LineReader, paths: Sequence[Path], size: int, sending: Connection) -> None:
    """Be the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the other one decides what it means
    failed = None
    try:
        for parsed in parts_of(read_files(reader, paths), size):
            sending.send_bytes(_encode(_part(reader, parsed)))
    except ConfigError as err:
        failed = (err.reason, str(err.where))
    except BrokenPipeError:  # nobody wants the rest
        return
    sending.send_bytes(_encode(_part(reader, Parsed([], []), last=True, failed=failed)))


def _part(reader: LineReader, parsed: Parsed, *, last: bool = False, failed: tuple[str, str] | None = None) -> _Part:
    return _Part(parsed, reader.lines, reader.ignored, reader.unknown, reader.unknown_at, last, failed)
