"""
Output that is checked before it is let through.

Theory of operation. Text comes in pieces. What came is checked whenever `step_chars` more have come, and then all but
the last `hold_chars` characters are let through. So of a stretch of at most `hold_chars` characters that is unsafe when
it is complete, not even the first character has left when that is found out: until then its beginning was held. A check
sees as much again of what was let through before, for the context. It begins and ends at white space, because half a
word may look like something that the whole word isn't; at the end everything is checked.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

from sentinel.errors import ConfigError, ThreatDetected
from sentinel.model import ScanResult

__all__ = ["StreamFilter"]


class StreamFilter:
    """
    Lets a response through as far as it has been checked. One for each response; not for several threads.

    Args:
        check: Judges a stretch of the response.
        hold_chars: The longest stretch of which no part leaves before the whole of it was checked.
        step_chars: How much may come between two checks; fewer checks cost less and delay more.

    Raises:
        ConfigError: One of the numbers is not positive.
    """

    def __init__(self, check: Callable[[str], ScanResult], *, hold_chars: int = 400, step_chars: int = 100) -> None:
        for name, value in (("hold_chars", hold_chars), ("step_chars", step_chars)):
            if value < 1:
                raise ConfigError("it is a number of characters from 1 on", where=name)
        self._check = check
        self._hold = hold_chars
        self._step = step_chars
        self._text = ""
        """What is held back, after up to as much of what was let through."""
        self._released = 0
        """Characters of it that were let through."""
        self._unchecked = 0
        self._refused: ScanResult | None = None

    def feed(self, piece: str) -> str:
        """
        Return what may be let through after another piece; often nothing.

        Raises:
            ThreatDetected: The response is not safe, now and for every later piece.
        """
        self._text += piece
        self._unchecked += len(piece)
        if self._refused is None and self._unchecked < self._step:
            return ""
        newest = len(self._text) - self._hold
        last = max(self._text.rfind(" ", max(0, newest)), self._text.rfind("\n", max(0, newest)))
        end = len(self._text) if last < 0 else last
        self._judge(end)
        return self._let_through(end - self._hold)

    def finish(self) -> str:
        """
        Return the rest of the response.

        Raises:
            ThreatDetected: The response is not safe.
        """
        self._judge(len(self._text))
        return self._let_through(len(self._text))

    def over(self, pieces: Iterable[str]) -> Iterator[str]:
        """
        Yield the response as far as it has been checked.

        Raises:
            ThreatDetected: The response is not safe; what was yielded before is.
        """
        for piece in pieces:
            if safe := self.feed(piece):
                yield safe
        if safe := self.finish():
            yield safe

    async def aover(self, pieces: AsyncIterable[str]) -> AsyncIterator[str]:
        """Yield what `over` yields, from an asynchronous stream."""
        async for piece in pieces:
            if safe := self.feed(piece):
                yield safe
        if safe := self.finish():
            yield safe

    def _judge(self, end: int) -> None:
        if self._refused is None and self._text:
            result = self._check(self._text[:end])
            self._unchecked = 0
            if result.is_blocked:
                self._refused = result
        if self._refused is not None:
            raise ThreatDetected(self._refused)

    def _let_through(self, end: int) -> str:
        if end <= self._released:
            return ""
        safe = self._text[self._released : end]
        oldest = max(0, end - self._hold)
        first = self._text.find(" ", oldest, end)
        cut = oldest if first < 0 else first
        self._text = self._text[cut:]
        self._released = end - cut
        return safe
