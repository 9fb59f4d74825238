"""
A log in parts, and the process that reads one for somebody else: see `apart`.

Nothing is imported here but what reading needs, because whoever asked waits for the first part.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice, repeat
from pathlib import Path

import msgspec

from sentinel.errors import ConfigError
from sentinel.ingest.events import Parsed, checked
from sentinel.ingest.files import read_files
from sentinel.ingest.lines import LineReader
from sentinel.ingest.logs import Log
from sentinel.model import Event

__all__ = ["LENGTH_BYTES", "Order", "Part", "be_the_process", "joined", "parts_of"]

LENGTH_BYTES = 4
"""Before each message on its way stands how long it is."""

_PIECES = 8  # in a message


class Order(msgspec.Struct, array_like=True):
    """What the process is to read."""

    log: Log
    paths: list[bytes]
    size: int
    """Events in a message."""


class Part(msgspec.Struct, array_like=True):
    """Events, and how far the reader has come with them. A message is a list of them."""

    parsed: Parsed
    lines: int
    ignored: int
    unknown: int
    unknown_at: list[int]
    last: bool = False
    failed: tuple[str, str] | None = None
    """Why a file could not be read, and which."""
    peak_kilobytes: int = 0
    """Of the process, with the last part."""


_encode = msgspec.json.Encoder().encode


def parts_of(events: Iterable[Event], size: int) -> Iterator[Parsed]:
    """Yield the events in parts of this length, checked; the last one is shorter."""
    rest = iter(events)
    while part := list(islice(rest, size)):
        yield checked(part)


def joined(pieces: Iterable[Parsed]) -> Parsed:
    """Return pieces as one part; places are counted through."""
    whole, before = Parsed([], []), 0
    for piece in pieces:
        whole.events.extend((before + place, event) for place, event in piece.events)
        whole.rejected.extend(msgspec.structs.replace(each, line=before + each.line) for each in piece.rejected)
        before += len(piece.events) + len(piece.rejected)
    return whole


def be_the_process() -> None:
    """Read what standard input orders; parts go to standard output."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    reader = order.log.reader()
    failed = None
    lengths = chain((1, 2, 4), repeat(_PIECES))  # the first ones are short, for whoever waits
    message, length = _Message(), next(lengths)
    with suppress(BrokenPipeError):  # nobody wants the rest
        try:
            events = read_files(reader, [Path(os.fsdecode(path)) for path in order.paths])
            for parsed in parts_of(events, max(1, order.size // _PIECES)):
                message.add(_part(reader, parsed))
                if len(message) == length:
                    message.send()
                    length = next(lengths)
        except ConfigError as err:
            failed = (err.reason, str(err.where))
        last = _part(reader, Parsed([], []))
        message.add(msgspec.structs.replace(last, last=True, failed=failed, peak_kilobytes=_peak_kilobytes()))
        message.send()


def _part(reader: LineReader, parsed: Parsed) -> Part:
    return Part(parsed, reader.lines, reader.ignored, reader.unknown, reader.unknown_at)


def _peak_kilobytes() -> int:
    """Return the most memory that this process had; `getrusage` may say what whoever started it had by then."""
    with suppress(OSError), Path("/proc/self/status").open(encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class _Message:
    """Parts that go out together as one JSON list. They are kept encoded: as events they take four times the room."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, part: Part) -> None:
        """Put a part behind the others."""
        self._pieces.append((b"," if self._pieces else b"[") + _encode(part))

    def send(self) -> None:
        """Write it, and let go of what it held."""
        self._pieces.append(b"]")
        length = sum(map(len, self._pieces))
        for piece in (length.to_bytes(LENGTH_BYTES, "big"), *self._pieces):
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(sys.stdout.fileno(), rest) :]
        self._pieces.clear()
