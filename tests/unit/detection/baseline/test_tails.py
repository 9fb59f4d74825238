"""Surprises are what they say: checked against sums and known tables, not against themselves."""

from __future__ import annotations

import math
import random

import pytest

from sentinel.detection.baseline.scales import BINS, bin_of, scale_of
from sentinel.detection.baseline.tails import (
    binomial_surprise,
    count_surprise,
    median,
    score_of,
    spread_of,
    student_surprise,
)


@pytest.mark.parametrize(
    ("distance", "freedom", "tail"),
    [(1.812, 10, 0.05), (2.764, 10, 0.01), (4.144, 10, 0.001), (1.645, 10_000, 0.05), (3.090, 10_000, 0.001)],
)
def test_the_tail_of_student_is_that_of_the_tables(distance: float, freedom: float, tail: float) -> None:
    """Upper quantiles as printed in any table of t, to 3 % of the probability."""
    assert math.exp(-student_surprise(distance, freedom)) == pytest.approx(tail, rel=0.03)


@pytest.mark.parametrize("mean", [0.05, 0.7, 4.0])
@pytest.mark.parametrize("dispersion", [1.0, 2.0, 6.0])
def test_a_count_is_as_surprising_as_the_sum_of_its_tail(mean: float, dispersion: float) -> None:
    """The negative binomial's tail, added up term by term by its definition."""
    excess = max(dispersion - 1, 1e-3)
    size, share = mean / excess, excess / (1 + excess)
    probability = [
        math.exp(
            math.lgamma(size + n)
            - math.lgamma(size)
            - math.lgamma(n + 1)
            - size * math.log1p(excess)
            + n * math.log(share)
        )
        for n in range(400)
    ]
    assert sum(probability) == pytest.approx(1, abs=1e-6)
    for count in (math.ceil(mean) + 1, 10, 25):
        tail = sum(probability[count:])
        if tail > 1e-12:
            assert count_surprise(count, mean, dispersion) == pytest.approx(-math.log(tail), rel=0.01)


def test_what_is_usual_is_no_surprise() -> None:
    """At or below the expectation nothing is told; more is never less surprising."""
    assert count_surprise(0, 0.1, 1.5) == 0
    assert student_surprise(-2, 9) == 0
    assert binomial_surprise(4, 20, 0.2) == 0
    counts = [count_surprise(n, 0.5, 2.0) for n in range(600)]
    assert counts == sorted(counts)
    assert binomial_surprise(20, 20, 0.2) == pytest.approx(-20 * math.log(0.2))


def test_one_wild_day_does_not_move_the_middle() -> None:
    """Median and its deviation stand where the other days are."""
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    assert spread_of([1, 2, 3, 4, 1000], 3) == pytest.approx(1.4826)


@pytest.mark.parametrize("times", [1.0, 2.0])
def test_a_model_that_exaggerates_is_corrected(times: float) -> None:
    """Surprises twice as large as they should be are halved; attacks among them, up to one in fifty, change little."""
    chance = random.Random(1)
    bins = [0.0] * BINS
    for _ in range(5_000):
        bins[bin_of(times * chance.expovariate(1))] += 1
    for _ in range(50):
        bins[bin_of(40)] += 1
    corrected = scale_of(bins).corrected(times * 7)
    assert corrected == pytest.approx(7, rel=0.12)
    assert scale_of([]).corrected(7) == 7


def test_scores_rise_with_surprise() -> None:
    """The table of the reference: one day in 120 is .70, in 600 .80, in 160,000 .95."""
    for one_in, score in ((10, 0.44), (120, 0.70), (600, 0.80), (160_000, 0.95)):
        assert score_of(math.log(one_in)) == pytest.approx(score, abs=0.005)
