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

__all__ = ["LENGTH_BYTES", "Order", "Part", "be_the_process", "parts_of"]

LENGTH_BYTES = 4
"""Before each part on its way stands how long it is."""


class Order(msgspec.Struct, array_like=True):
    """What the process is to read."""

    log: Log
    paths: list[bytes]
    size: int


class Part(msgspec.Struct, array_like=True):
    """Events, and how far the reader has come with them."""

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


def parts_of(events: Iterable[Event], size: int, *, soon: bool = False) -> Iterator[Parsed]:
    """Yield the events in parts of this length, checked; the last one, and with `soon` the first ones, are shorter."""
    rest = iter(events)
    for most in chain((size // 8, size // 4, size // 2) if soon else (), repeat(size)):
        part = list(islice(rest, max(1, most)))
        if not part:
            return
        yield checked(part)


def be_the_process() -> None:
    """Read what standard input orders; parts go to standard output."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    reader = order.log.reader()
    failed = None
    with suppress(BrokenPipeError):  # nobody wants the rest
        try:
            events = read_files(reader, [Path(os.fsdecode(path)) for path in order.paths])
            for parsed in parts_of(events, order.size, soon=True):
                _send(_part(reader, parsed))
        except ConfigError as err:
            failed = (err.reason, str(err.where))
        last = _part(reader, Parsed([], []))
        _send(msgspec.structs.replace(last, last=True, failed=failed, peak_kilobytes=_peak_kilobytes()))


def _part(reader: LineReader, parsed: Parsed) -> Part:
    return Part(parsed, reader.lines, reader.ignored, reader.unknown, reader.unknown_at)


def _peak_kilobytes() -> int:
    """Return the most memory that this process had; `getrusage` may say what whoever started it had by then."""
    with suppress(OSError), Path("/proc/self/status").open(encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _send(part: Part) -> None:
    encoded = _encode(part)
    rest = memoryview(len(encoded).to_bytes(LENGTH_BYTES, "big") + encoded)
    while rest:
        rest = rest[os.write(sys.stdout.fileno(), rest) :]
