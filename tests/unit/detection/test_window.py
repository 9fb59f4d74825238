"""The window of one group; whether it agrees with the definition is `tests/property/test_oracle.py`."""

from __future__ import annotations

import random

import pytest

from sentinel.detection.window import Shape, Window

PAIR = Shape(threshold=2, timespan=10, suppress=10, cell=10)


def filled(times: list[int], shape: Shape = PAIR) -> Window:
    window = Window(shape)
    for number, at in enumerate(times):
        window.insert(at, f"{number:05}", 1)
    return window


@pytest.mark.parametrize(
    ("times", "buckets"),
    [
        ([0, 9], {0}),
        ([0, 10], set()),  # exactly T apart is not within T
        ([0, 5, 15], {0}),
        ([9, 10], {1}),  # the second triggers, and lies in the second bucket
        ([9, 10, 11], {1}),
        ([5, 9, 18], {0, 1}),
        ([-1, 0], {0}),
        ([-5, -1], {-1}),
        ([3, 3], {0}),
        ([3], set()),
    ],
)
def test_a_bucket_has_a_signal_when_an_event_in_it_triggers(times: list[int], buckets: set[int]) -> None:
    """Two events within less than ten, and the second one's time says which bucket."""
    assert filled(times).judge(times) == buckets


def test_first_and_last_are_of_triggering_events_and_count_is_of_all() -> None:
    """The first event of a pair counts, but does not trigger."""
    window = filled([0, 2, 4, 8])
    window.judge([0, 2, 4, 8])
    bucket = window.buckets[0]
    assert (bucket.first, bucket.last, bucket.count) == (2, 8, 4)


def test_memory_is_bounded() -> None:
    """However many events fall into a cell, and in whatever order, it keeps 2 N of them and counts all."""
    times = random.Random(1).choices(range(10), k=1000)
    window = filled(times)
    window.judge(times)
    bucket = window.buckets[0]
    assert (len(window), bucket.count, bucket.first, bucket.last) == (4, 1000, 0, 9)


def test_a_repeated_event_is_not_counted_again() -> None:
    """The same time and id is the same event."""
    window = filled([0, 2, 4])
    window.insert(2, "00001", 1)
    assert (len(window), window.buckets[0].count) == (3, 3)


def test_rank_is_the_highest_in_the_bucket() -> None:
    """One better source is enough, in any order."""
    window = Window(PAIR)
    for at, rank in [(0, 1), (1, 3), (2, 2), (12, 1)]:
        window.insert(at, "e", rank)
    assert {number: bucket.rank for number, bucket in window.buckets.items()} == {0: 3, 1: 1}


def test_a_twin_goes_its_own_way() -> None:
    """What happens to a copy leaves the original alone."""
    window = filled([0, 2])
    twin = window.twin()
    twin.insert(4, "x", 1)
    assert (len(window), window.buckets[0].count, len(twin), twin.buckets[0].count) == (2, 2, 3, 3)


def test_forget_drops_whole_buckets() -> None:
    """What lies before the bucket goes, the rest stays as it was."""
    window = filled([0, 2, 11, 13, 25])
    window.judge([0, 2, 11, 13, 25])
    window.forget(1)
    assert (len(window), sorted(window.buckets), window.buckets[1].first) == (3, [1, 2], 11)
