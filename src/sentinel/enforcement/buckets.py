"""Token buckets: how a rate limit lets some requests through."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["TokenBuckets"]


class TokenBuckets:
    """
    One bucket for each rate limit in force, for the use of one thread.

    A bucket holds as many tokens as the limit allows in a minute and refills evenly. At most `capacity` buckets are
    kept, the longest unused goes first; only a decision of the service makes one, so clients cannot push others out.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, per_minute: int, now_seconds: float) -> float:
        """Take one token and return 0.0, or return the seconds until there will be one."""
        tokens, since = self._buckets.get(key, (float(per_minute), now_seconds))
        tokens = min(per_minute, tokens + max(0.0, now_seconds - since) * per_minute / 60)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - allowed, now_seconds)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) * 60 / per_minute
