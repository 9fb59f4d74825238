"""The statistics of judging a judge: error rates with their uncertainty."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Limit", "auc", "limit_for", "recall_at", "wilson"]

_Z = 1.959963984540054
"""The normal quantile of 95 %, two-sided."""
_STEP = 10_000
"""Limits are given to four digits."""

Risks = Sequence[float]


class Limit(NamedTuple):
    """A risk from which on at most a given share of benign texts is flagged."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float


def wilson(hits: int, of: int) -> tuple[float, float]:
    """
    Return the 95 % interval of a share; (0, 1) of nothing.

    Source: Wilson, Probable inference (JASA 22, 1927).
    """
    if of == 0:
        return 0.0, 1.0
    share, spread = hits / of, _Z * _Z / of
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / of + spread / of / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def limit_for(benign: Risks, rate: float) -> Limit:
    """
    Return from which risk on at most `rate` of benign texts are flagged.

    The interval is free of assumptions about the distribution: how many of n texts lie above the true limit is
    binomial, so its bounds are order statistics (Conover, Practical Nonparametric Statistics, section 3.2).

    Args:
        benign: Risks in [0, 1], at least one.
        rate: In (0, 1).
    """
    falling = sorted(benign, reverse=True)
    expected = len(falling) * rate
    half = _Z * math.sqrt(expected * (1 - rate))
    return Limit(
        _above(falling, math.floor(expected)),
        _above(falling, math.ceil(expected + half)),
        _above(falling, math.floor(expected - half)),
    )


def _above(falling: Sequence[float], allowed: int) -> float:
    """Return the lowest limit, to four digits, that at most `allowed` of the risks reach."""
    if allowed < 0:
        return 1.0
    reached = falling[allowed] if allowed < len(falling) else 0.0
    return min(1.0, (math.floor(reached * _STEP) + 1) / _STEP)


def auc(positive: Risks, negative: Risks) -> float | None:
    """
    Return the chance that a positive has the higher risk than a negative, ties counting half; None without both.

    Source: Mann and Whitney 1947; the area under the ROC curve is their U / (n m).
    """
    if not (len(positive) and len(negative)):
        return None
    rising = sorted(negative)
    wins = sum(bisect_left(rising, risk) + bisect_right(rising, risk) for risk in positive)
    return wins / 2 / len(positive) / len(negative)


def recall_at(positive: Risks, negative: Risks, rate: float) -> float | None:
    """Return the share of positives above the limit that at most `rate` of the negatives reach; None without both."""
    if not (len(positive) and len(negative)):
        return None
    reached = sorted(negative, reverse=True)[math.floor(len(negative) * rate)]
    return sum(risk > reached for risk in positive) / len(positive)
