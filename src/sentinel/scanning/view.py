"""
A reading of a text that knows where each character came from.

Theory of operation. A view is a list of runs, sorted by their place in the view. Run *i* covers the view's characters
from `starts[i]` up to the next run and stands for the source's characters from `lows[i]` to `highs[i]`. When both sides
are equally long the run is a copy and maps character by character (backwards if `highs[i] < lows[i]`); otherwise
something was decoded and each of its characters stands for the whole source run. What was removed needs no run at all.
The three columns are machine integers, so that a text full of edits costs 24 bytes an edit.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Edit", "View", "edited", "excerpted", "mirrored", "original", "translated"]


class Edit(NamedTuple):
    """Characters `start` to `end` of the source, read as `replacement`."""

    start: int
    end: int
    replacement: str


@dataclass(frozen=True, slots=True)
class View:
    """One reading of a text; `parent` is what it was made from, None for the original."""

    name: str
    text: str
    parent: View | None = None
    starts: Sequence[int] = (0,)
    lows: Sequence[int] = (0,)
    highs: Sequence[int] = (0,)

    @property
    def depth(self) -> int:
        """How many readings lie between this one and the original; 0 for the original."""
        return 0 if self.parent is None else self.parent.depth + 1

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the original text, in characters, of the view's characters `start` to `end` > `start`."""
        view = self
        while view.parent is not None:
            bounds = (*view._source(start), *view._source(end - 1))
            start, end = min(bounds), max(bounds)
            view = view.parent
        return start, end

    def _source(self, position: int) -> tuple[int, int]:
        run = bisect_right(self.starts, position) - 1
        stop = self.starts[run + 1] if run + 1 < len(self.starts) else len(self.text)
        width, offset = stop - self.starts[run], position - self.starts[run]
        low, high = self.lows[run], self.highs[run]
        if high - low == width:
            return low + offset, low + offset + 1
        if low - high == width:
            return low - offset - 1, low - offset
        return low, high


def original(text: str) -> View:
    """Return the text as it came, the root of all its views."""
    return View("original", text)


def translated(name: str, source: View, text: str) -> View:
    """Return a view whose text has one character for each of the source's."""
    return View(_path(source, name), text, source, (0,), (0,), (len(text),))


def mirrored(name: str, source: View) -> View:
    """Return the source read backwards."""
    return View(_path(source, name), source.text[::-1], source, (0,), (len(source.text),), (0,))


def edited(name: str, source: View, edits: Iterable[Edit]) -> View:
    """Return the source with the edits made; they are sorted and don't overlap."""
    pieces: list[str] = []
    starts, lows, highs = array("q"), array("q"), array("q")
    length = 0
    for low, high, piece in _runs(source.text, edits):
        if piece:
            pieces.append(piece)
            starts.append(length)
            lows.append(low)
            highs.append(high)
            length += len(piece)
    return View(_path(source, name), "".join(pieces), source, starts, lows, highs)


def excerpted(name: str, source: View, excerpts: Iterable[Edit]) -> View:
    """Return only the excerpts, as they read, with a line break for what lies between them."""
    return edited(name, source, _with_gaps(excerpts, len(source.text)))


def _path(source: View, name: str) -> str:
    return name if source.parent is None else f"{source.name}/{name}"


def _runs(text: str, edits: Iterable[Edit]) -> Iterator[tuple[int, int, str]]:
    at = 0
    for start, end, replacement in edits:
        yield at, start, text[at:start]
        yield start, end, replacement
        at = end
    yield at, len(text), text[at:]


def _with_gaps(excerpts: Iterable[Edit], length: int) -> Iterator[Edit]:
    at = 0
    for excerpt in excerpts:
        yield Edit(at, excerpt.start, "\n")
        yield excerpt
        at = excerpt.end
    yield Edit(at, length, "")
