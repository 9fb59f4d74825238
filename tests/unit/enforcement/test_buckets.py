"""Token buckets let through what the limit says, and no more."""

import pytest

from sentinel.enforcement.buckets import TokenBuckets


def test_the_limit_holds_and_refills_evenly() -> None:
    """Ten a minute: ten at once, then one every six seconds."""
    buckets = TokenBuckets()
    assert [buckets.take("b", 10, 100.0) for _ in range(10)] == [0.0] * 10
    assert buckets.take("b", 10, 100.0) == pytest.approx(6)
    assert buckets.take("b", 10, 104.0) == pytest.approx(2)
    assert buckets.take("b", 10, 106.5) == 0.0
    assert buckets.take("b", 10, 106.5) > 0


@pytest.mark.parametrize(("limit", "seconds"), [(1, 60), (10, 60), (100, 300)])
def test_over_time_no_more_passes_than_the_limit(limit: int, seconds: int) -> None:
    """Whoever asks ten times a second gets one burst and then the rate."""
    buckets = TokenBuckets()
    passed = sum(buckets.take("b", limit, tenth / 10) == 0 for tenth in range(seconds * 10))
    assert passed == pytest.approx(limit + limit * seconds / 60, abs=1)


def test_a_wait_refills_no_more_than_a_minutes_worth() -> None:
    """A quiet night does not save up for a flood in the morning."""
    buckets = TokenBuckets()
    buckets.take("b", 3, 0.0)
    assert [buckets.take("b", 3, 1e6) == 0 for _ in range(5)] == [True, True, True, False, False]


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    """Time that runs backwards neither refills nor takes."""
    buckets = TokenBuckets()
    assert buckets.take("b", 1, 100.0) == 0
    assert buckets.take("b", 1, 50.0) == pytest.approx(60)


def test_a_lower_limit_holds_at_once() -> None:
    """When the service tightens a limit, tokens saved under the old one are gone."""
    buckets = TokenBuckets()
    buckets.take("b", 100, 0.0)
    assert [buckets.take("b", 2, 0.0) == 0 for _ in range(3)] == [True, True, False]


def test_memory_is_bounded_and_the_busy_stay() -> None:
    """With too many limits in force the longest unused bucket goes, not the one that is needed."""
    buckets = TokenBuckets(capacity=3)
    passed = 0
    for n in range(100):
        passed += buckets.take("busy", 1, 0.0) == 0
        buckets.take(str(n), 1, 0.0)
    assert len(buckets) == 3
    assert passed == 1
