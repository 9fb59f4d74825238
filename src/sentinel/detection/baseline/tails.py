"""
How surprising a value is: the negative natural logarithm of the probability of one at least as large ("nats").

Surprise adds up where probabilities multiply, and 4.6 is one day in a hundred, 6.9 one in a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["MOST", "binomial_surprise", "count_surprise", "median", "score_of", "spread_of", "student_surprise"]

MOST = 60.0
"""The largest surprise told apart; e^-60 is far below what any model of people's days can claim."""

_LOG_2PI = math.log(2 * math.pi)
_TERMS = 2_000  # of a sum, at most; where rare events are counted, a dozen are enough


def median(values: Sequence[float]) -> float:
    """Return the middle value; of an even number the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def spread_of(values: Sequence[float], middle: float) -> float:
    """
    Return the median absolute deviation, scaled to the standard deviation of a normal distribution.

    Source: Rousseeuw and Croux 1993; 1.4826 = 1 / the third quartile of the standard normal.
    """
    return 1.4826 * median([abs(value - middle) for value in values])


def student_surprise(distance: float, freedom: float) -> float:
    """
    Return the surprise of a distance above the middle, in estimated spreads.

    Args:
        distance: (value - middle) / spread.
        freedom: Degrees of freedom, above 0: few observations make the tail heavy.

    Source: Student's upper tail by Wallace's approximation to the normal (Wallace 1959).
    """
    if distance <= 0:
        return 0.0
    root = math.sqrt(freedom * math.log1p(distance * distance / freedom))
    return _normal_surprise(root * (8 * freedom + 1) / (8 * freedom + 3))


def _normal_surprise(z: float) -> float:
    if z < 8:  # noqa: PLR2004 - beyond, the tail is too small for erfc to keep its digits
        return -math.log(math.erfc(z / math.sqrt(2)) / 2)
    return min(MOST, z * z / 2 + math.log(z) + _LOG_2PI / 2)


def count_surprise(count: float, mean: float, dispersion: float) -> float:
    """
    Return the surprise of at least `count` events where `mean` are expected.

    Args:
        count: From 0.
        mean: Above 0.
        dispersion: Variance over mean, from 1: 1 is Poisson, more is negative binomial.
    """
    whole = math.ceil(count)
    if whole <= mean or whole == 0:
        return 0.0
    excess = max(dispersion - 1, 1e-3)
    size, share = mean / excess, excess / (1 + excess)
    term = size * math.log(1 / (1 + excess))
    start = term + math.lgamma(size + whole) - math.lgamma(size) - math.lgamma(whole + 1) + whole * math.log(share)
    total = ratio = 1.0
    for n in range(whole, whole + _TERMS):  # the terms above, as multiples of the first of them
        ratio *= (size + n) / (n + 1) * share
        total += ratio
        if ratio < 1e-6 * total:
            break
    return min(MOST, max(0.0, -(start + math.log(total))))


def binomial_surprise(hits: int, trials: int, chance: float) -> float:
    """Return the surprise of at least so many hits; above the mean by Chernoff's bound, which never exaggerates."""
    share = hits / trials
    if share <= chance:
        return 0.0
    if share >= 1:
        return min(MOST, -trials * math.log(chance))
    divergence = share * math.log(share / chance) + (1 - share) * math.log((1 - share) / (1 - chance))
    return min(MOST, trials * divergence)


def score_of(surprise: float) -> float:
    """
    Return a score in [0, 1) that is easier to read than a probability.

    One day in ten is .44, in a hundred .68, in a thousand .82, in ten thousand .90, in a million .97.
    """
    return float(1 - math.exp(-surprise / 4))
