"""
Refused requests, counted one by one and told together.

A line for each would let anybody fill the disk: the first is told at once, the others of a second in one line with
their number. So the lines' numbers add up to the metric.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sentinel.observability.logging import Log
from sentinel.observability.metrics import Metrics

__all__ = ["Refusals"]

_EVERY_SECONDS = 1.0


class Refusals:
    """Refusals for want of a token or of the right role, by status."""

    def __init__(self, metrics: Metrics, log: Log) -> None:
        self._log = log
        self._counters = {status: metrics.bad_tokens.labels(status=str(status)) for status in (401, 403)}
        self._untold: dict[int, int] = {}
        """By status what has not been told; a status is here for as long as no second passes without a refusal."""

    def count(self, status: int, address: Callable[[], str | None]) -> None:
        """Count one refusal; `address` is asked where the request came from, if there is a line to write."""
        self._counters[status].inc()
        if status in self._untold:
            self._untold[status] += 1
            return
        self._log.warning("request refused", status=status, address=address(), count=1)
        self._tell_in_a_second(status)

    def _tell_in_a_second(self, status: int) -> None:
        self._untold[status] = 0
        asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._go_on, status)

    def _go_on(self, status: int) -> None:
        if self._tell(status):
            self._tell_in_a_second(status)

    def _tell(self, status: int) -> int:
        count = self._untold.pop(status, 0)
        if count:
            self._log.warning("more requests refused", status=status, count=count)
        return count

    def close(self) -> None:
        """Tell what has not been told."""
        for status in list(self._untold):
            self._tell(status)
