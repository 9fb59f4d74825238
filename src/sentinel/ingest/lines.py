"""What the readers of all logs share: lines in, events out, and every line accounted for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from sentinel.model import Event

__all__ = ["MAX_LINE", "LineReader", "storable"]

MAX_LINE: Final = 64 * 1024
"""Characters of a line; a longer one is counted as unknown."""

_SHOWN = 10
_SURROGATE = re.compile("[\ud800-\udfff]")


class LineReader:
    """
    Reads one source of lines; counts what it meets.

    A line gives events or is counted as `ignored` (known, no event) or `unknown`, which includes lines over `MAX_LINE`;
    `unknown_at` has the numbers of the first ten of these, from 1. Open the log as UTF-8 with `errors="replace"`; lone
    surrogates become U+FFFD too, because an event must be storable.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.ignored = 0
        self.unknown = 0
        self.unknown_at: list[int] = []

    def foresee(self, lines: Iterable[str]) -> None:
        """Look through a whole log before its first line is read, where that tells what the line itself does not."""

    def read(self, lines: Iterable[str]) -> Iterator[Event]:
        """Yield the events of the lines, in their order; call it again to go on with the same source."""
        for line in lines:
            self.lines += 1
            yield from self._events(line.rstrip("\r\n"))

    def _events(self, line: str) -> Iterable[Event]:
        """Return the events of a line, or count it by `_without_event`."""
        raise NotImplementedError

    def _without_event(self, *, known: bool) -> tuple[()]:
        self.ignored += known
        self.unknown += not known
        if not known and len(self.unknown_at) < _SHOWN:
            self.unknown_at.append(self.lines)
        return ()


def storable(line: str) -> str:
    """Return the line with U+FFFD in place of lone surrogates, which no JSON can hold."""
    return line if line.isascii() else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", line)
