"""
A reading of a text that knows where each character came from.

Theory of operation. A view is its parent with edits made. Few views hold anything whose place matters, so places are
worked out when the first is asked for: then the edits are made once more and leave a list of runs, sorted by their
place in the view. Run *i* covers the view's characters from `starts[i]` up to the next run and stands for the parent's
characters from `lows[i]` to `highs[i]`. When both sides are equally long the run is a copy and maps character by
character; otherwise something was decoded and each of its characters stands for the parent's whole run. What was
removed needs no run at all. The three columns are machine integers: a run costs 24 bytes.

A reading of a long text holds only what was rewritten and its surroundings: the rest reads as in the parent, which is
judged too.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from typing import NamedTuple

import msgspec

__all__ = ["Edit", "View", "edited", "excerpted", "mirrored", "original", "translated"]

Edit = tuple[int, int, str]
"""The source's characters from the first number up to the second, and what they read as."""

_MOST_EDITS = 2**18
"""Of one view, which bounds its cost. As many fit into a mebibyte of letters with an emoji after each."""
_LONG = 16_384
"""Characters from which on a text is long."""
_SURROUNDINGS = 600
"""Characters kept on each side of an edit: more than a window of the model, or a sentence."""


class _Runs(NamedTuple):
    starts: array[int]
    lows: array[int]
    highs: array[int]

    def add(self, start: int, low: int, high: int) -> None:
        self.starts.append(start)
        self.lows.append(low)
        self.highs.append(high)


class View(msgspec.Struct, frozen=True, eq=False, dict=True):
    """One reading of a text; `parent` is what it was made from, None for the original."""

    name: str
    text: str
    parent: View | None = None
    edits: Callable[[], Iterable[Edit]] = tuple
    """Gives what was changed in the parent, sorted and without overlaps; what wasn't maps character by character."""
    is_mirrored: bool = False
    is_complete: bool = True
    """False when there were more edits than one view has; from there on it reads as its parent."""

    @property
    def depth(self) -> int:
        """How many readings lie between this one and the original; 0 for the original."""
        return 0 if self.parent is None else self.parent.depth + 1

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the original text, in characters, of the view's characters `start` to `end` > `start`."""
        if self.parent is None:
            return start, end
        if self.is_mirrored:
            return self.parent.span(len(self.text) - end, len(self.text) - start)
        return self.parent.span(self._source(start)[0], self._source(end - 1)[1])

    def _source(self, position: int) -> tuple[int, int]:
        starts, lows, highs = self._runs
        run = bisect_right(starts, position) - 1
        stop = starts[run + 1] if run + 1 < len(starts) else len(self.text)
        low, high = lows[run], highs[run]
        if high - low == stop - starts[run]:
            at = low + position - starts[run]
            return at, at + 1
        return low, high

    @cached_property
    def _runs(self) -> _Runs:
        runs = _Runs(array("q"), array("q"), array("q"))
        length = at = 0
        size = len(self.parent.text) if self.parent else 0
        for start, end, replacement in chain(self.edits(), [(size, size, "")]):
            if start > at:
                runs.add(length, at, start)
                length += start - at
            if replacement:
                runs.add(length, start, end)
                length += len(replacement)
            at = end
        return runs


def original(text: str) -> View:
    """Return the text as it came, the root of all its views."""
    return View("original", text)


def translated(name: str, source: View, text: str) -> View:
    """Return a view whose text has one character for each of the source's."""
    return View(_path(source, name), text, source)


def mirrored(name: str, source: View) -> View:
    """Return the source read backwards."""
    return View(_path(source, name), source.text[::-1], source, is_mirrored=True)


def edited(name: str, source: View, edits: Callable[[], Iterable[Edit]]) -> View:
    """
    Return the source with edits made, of a long one only their surroundings.

    Args:
        name: Of the reading.
        source: What is read.
        edits: Gives them sorted and without overlaps, the same each time.
    """
    if len(source.text) >= _LONG:
        return _made(name, source, lambda: _with_surroundings(edits(), len(source.text)))
    return _made(name, source, edits)


def excerpted(name: str, source: View, excerpts: Iterable[Edit]) -> View:
    """Return only the excerpts, as they read, with a line break for what lies between them."""
    kept = list(_with_gaps(excerpts, len(source.text)))
    return _made(name, source, lambda: kept)


def _made(name: str, source: View, edits: Callable[[], Iterable[Edit]]) -> View:
    waiting = iter(edits())
    text = _edited(source.text, islice(waiting, _MOST_EDITS))
    is_complete = next(waiting, None) is None
    return View(_path(source, name), text, source, lambda: islice(edits(), _MOST_EDITS), is_complete=is_complete)


def _path(source: View, name: str) -> str:
    return name if source.parent is None else f"{source.name}/{name}"


def _edited(text: str, edits: Iterable[Edit]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end, replacement in edits:
        pieces.append(text[at:start])
        pieces.append(replacement)
        at = end
    pieces.append(text[at:])
    return "".join(pieces)


def _with_gaps(excerpts: Iterable[Edit], length: int) -> Iterator[Edit]:
    at = 0
    for excerpt in excerpts:
        yield at, excerpt[0], "\n"
        yield excerpt
        at = excerpt[1]
    yield at, length, ""


def _with_surroundings(edits: Iterable[Edit], length: int) -> Iterator[Edit]:
    """Yield the edits, and what takes out all that is far from each; everything, where there are none."""
    kept = 0
    for edit in edits:
        if edit[0] - _SURROUNDINGS > kept:
            yield kept, edit[0] - _SURROUNDINGS, "\n"
        yield edit
        kept = edit[1] + _SURROUNDINGS
    if kept < length:
        yield kept, length, ""
