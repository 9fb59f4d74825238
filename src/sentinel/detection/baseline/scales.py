"""How surprised a model has been, and what its surprises are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = ["BINS", "Scale", "bin_of", "scale_of"]

BINS: Final = 120
"""Bins of a quarter of a nat."""
_LN5 = math.log(5)
_PRIOR = 54.0  # person-days of the tail that are taken to be as the model says before any are seen


class Scale(msgspec.Struct, frozen=True):
    """The surprise that one person-day in five exceeds, and the mean excess beyond."""

    start: float = _LN5
    mean: float = 1.0

    def corrected(self, surprise: float) -> float:
        """Return a surprise that comes as often as it says: never more than the model's own."""
        if surprise <= self.start:
            return min(surprise, _LN5)
        return min(surprise, _LN5 + (surprise - self.start) / self.mean)


def bin_of(surprise: float) -> int:
    """Return the bin that a surprise is counted in."""
    return min(int(surprise * 4), BINS - 1)


def scale_of(bins: Sequence[float]) -> Scale:
    """
    Return how to correct a model from how often it was how surprised.

    Only the person-days between the most surprising fifth and the most surprising fiftieth are used: attacks are fewer
    than that. Of an exponential tail, which surprises have when the model is right, the mean excess cut off there is
    .744 of the whole one's.
    """
    total = sum(bins)
    if total < 1:
        return Scale()
    start, end = _quantile(bins, 0.8 * total), _quantile(bins, 0.98 * total)
    excess = weight = 0.0
    for number, count in enumerate(bins):
        middle = (number + 0.5) / 4
        if start < middle <= end:
            excess += count * (middle - start)
            weight += count
    measured = excess / 0.744
    return Scale(max(start, _LN5), max((measured + _PRIOR) / (weight + _PRIOR), 1.0))


def _quantile(bins: Sequence[float], wanted: float) -> float:
    below = 0.0
    for number, count in enumerate(bins):
        below += count
        if below >= wanted:
            return (number + 1) / 4
    return len(bins) / 4
