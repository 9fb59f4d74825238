"""
How much of the queue each source may hold.

A source may hold no more than it leaves free: alone it gets half of the queue, two that send all they can get a third
each, n of them an equal part of n + 1. So there is room for whoever comes next, without a list of who is expected, and
a flood is refused to its sender alone.

Source: dynamic thresholds with alpha = 1, Choudhury and Hahne 1998, "Dynamic queue length thresholds for shared-memory
packet switches".
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from sentinel.model import StoredEvent

__all__ = ["Shares"]


class Shares:
    """Counts the events of each source that wait to be judged; one step for each request, none for an event."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[str] = Counter()
        self._accepted: deque[tuple[int, str, int]] = deque()  # the last number, the source, and how many

    def allow(self, origin: str, number: int, *, waiting: int, judged: int) -> bool:
        """
        Return whether a source may add so many events.

        Args:
            origin: The source.
            number: Of events that it offers.
            waiting: Events of every source in the queue now.
            judged: Number of the last event that no longer waits.
        """
        self._release(judged)
        return self._held[origin] + number <= self._limit - waiting - number

    def offer(self, origin: str, number: int) -> None:
        """Count events that a source has offered."""
        self._held[origin] += number

    def settle(self, origin: str, number: int, accepted: Sequence[StoredEvent]) -> None:
        """Of so many events offered, count on only those that are in the queue now."""
        self._drop(origin, number - len(accepted))
        if accepted:
            self._accepted.append((accepted[-1].seq, origin, len(accepted)))

    def _release(self, judged: int) -> None:
        while self._accepted and self._accepted[0][0] <= judged:
            _, origin, number = self._accepted.popleft()
            self._drop(origin, number)

    def _drop(self, origin: str, number: int) -> None:
        self._held[origin] -= number
        if not self._held[origin]:
            del self._held[origin]
