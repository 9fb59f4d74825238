"""The statistics behind `calibrate` and `eval`, against values known from elsewhere and by plain counting."""

from __future__ import annotations

import random

import pytest

from sentinel.cli._figures import auc, limit_for, recall_at, wilson


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        (10, 100, 0.0552, 0.1744),  # Brown, Cai and DasGupta, Statistical Science 16 (2001)
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson(hits: int, of: int, low: float, high: float) -> None:
    """The interval of a share, at both ends too."""
    assert wilson(hits, of) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        ([0.9, 0.8], [0.1, 0.2], 1.0),
        ([0.1], [0.9], 0.0),
        ([0.5, 0.5], [0.5], 0.5),
        ([0.9, 0.3], [0.5, 0.1], 0.75),
        ([], [0.5], None),
        ([0.5], [], None),
    ],
)
def test_auc(positive: list[float], negative: list[float], expected: float | None) -> None:
    """Pairs in the right order, ties counting half; nothing to say without both sides."""
    assert auc(positive, negative) == expected


def test_recall_at_a_rate() -> None:
    """Only attacks above all but the allowed share of benign texts count; a tie with that one does not."""
    negative = [0.5] + [0.1] * 99
    assert recall_at([0.6, 0.5, 0.2, 0.1], negative, 0.001) == 0.25
    assert recall_at([0.6, 0.5, 0.2, 0.1], negative, 0.01) == 0.75
    assert recall_at([], negative, 0.01) is None


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_a_limit_keeps_its_rate(rate: float) -> None:
    """At the limit at most the share is flagged, at the next lower one more; the interval lies around it."""
    dice = random.Random(3)
    benign = [round(dice.random() ** 3, 3) for _ in range(2000)]
    limit = limit_for(benign, rate)
    assert sum(risk >= limit.value for risk in benign) <= rate * 2000
    assert sum(risk >= limit.value - 0.0011 for risk in benign) > rate * 2000
    assert limit.low < limit.value < limit.high
    true = (1 - rate) ** 3  # of the distribution that the dice follow
    assert limit.low <= true + 0.001
    assert true - 0.001 <= limit.high


def test_a_limit_is_never_zero() -> None:
    """Where no benign text has any risk, a limit of zero would flag them all."""
    assert limit_for([0.0] * 2000, 0.01) == (0.0001, 0.0001, 0.0001)


def test_a_limit_with_many_certain_texts_is_as_high_as_can_be() -> None:
    """When too many benign texts have risk 1, no limit keeps the rate, and the highest is told."""
    assert limit_for([1.0] * 200, 0.01).value == 1.0


def test_of_few_texts_the_interval_is_open_above() -> None:
    """With two texts above the limit the true one may be anything higher."""
    assert limit_for([number / 200 for number in range(200)], 0.01).high == 1.0
