"""The window of one group; whether it agrees with the definition is `tests/property/test_oracle.py`."""

from __future__ import annotations

import random

import pytest

from sentinel.detection.window import (
    Condition,
    Kind,
    OrderedWindow,
    Reading,
    Shape,
    TumblingWindow,
    Window,
    raise_rank,
    window_type,
)

TEN = {"timespan": 10, "suppress": 10, "cell": 10}


def shape(kind: Kind = Kind.EVENT_COUNT, n: int = 2, steps: int = 1, **bounds: int) -> Shape:
    condition = Condition(tuple((bounds or {"gte": n}).items()))
    return Shape(kind, condition, **TEN, threshold=n, steps=steps)


def filled(entries: list[tuple[int, Reading]], how: Shape) -> Window:
    window = window_type(how)(how)
    for at, reading in entries:
        window.extend([(at, 1, True, reading)])
    return window


def triggered(window: Window) -> dict[int, tuple[int, int]]:
    window.judge(range(-100, 200))
    return {number: (b.first, b.last) for number, b in sorted(window.buckets.items()) if b.first is not None}


def plain(times: list[int]) -> list[tuple[int, Reading]]:
    return [(at, ()) for at in times]


def valued(text: str) -> list[tuple[int, Reading]]:
    """`1a 5b` = the value a at 1, b at 5."""
    return [(int(word[:-1]), (word[-1],)) for word in text.split()]


def stepped(text: str) -> list[tuple[int, Reading]]:
    """`1a 5bc` = the first step at 1, the second and third at 5."""
    return [
        (int(word.rstrip("abc")), tuple("abc".index(letter) for letter in word.lstrip("-0123456789")))
        for word in text.split()
    ]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("times", "buckets"),
    [
        ([0, 9], {0: (9, 9)}),
        ([0, 10], {}),  # exactly T apart is not within T
        ([0, 5, 15], {0: (5, 5)}),
        ([9, 10], {1: (10, 10)}),  # the second triggers, and lies in the second bucket
        ([9, 10, 11], {1: (10, 11)}),
        ([5, 9, 18], {0: (9, 9), 1: (18, 18)}),
        ([-1, 0], {0: (0, 0)}),
        ([-5, -1], {-1: (-1, -1)}),
        ([3, 3], {0: (3, 3)}),
        ([3], {}),
    ],
)
def test_counted_events(times: list[int], buckets: dict[int, tuple[int, int]], backwards: bool) -> None:
    """Two events within less than ten, and the second one's time says which bucket."""
    assert triggered(filled(plain(times[::-1] if backwards else times), shape())) == buckets


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("entries", "buckets"),
    [
        ("0a 9b", {0: (9, 9)}),
        ("0a 10b", {}),
        ("0a 5a 9a", {}),  # one value, however often
        ("0a 9a 12b", {1: (12, 12)}),  # its last time counts
        ("0a 3b 4a 5b", {0: (3, 5)}),
        ("3a 3b", {0: (3, 3)}),
        ("9a 12b 18a 28a", {1: (12, 18)}),
        ("9a 12b 18a 21b", {1: (12, 18), 2: (21, 21)}),
        ("-5a -1b", {-1: (-1, -1)}),
    ],
)
def test_counted_values(entries: str, buckets: dict[int, tuple[int, int]], backwards: bool) -> None:
    """Two different values in (t - 10, t]."""
    events = valued(entries)
    assert triggered(filled(events[::-1] if backwards else events, shape(Kind.VALUE_COUNT))) == buckets


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("entries", "buckets"),
    [
        ("1a 2b 3c", {0: (3, 3)}),
        ("1a 3c 2b", {0: (3, 3)}),
        ("1b 2a 3c", {}),
        ("1a 2b 11c", {}),  # the first step is exactly T away
        ("1a 2b 5a 6b 11c", {1: (11, 11)}),  # the later start serves
        ("1a 2c 3b", {}),
        ("5a 5b 5c", {0: (5, 5)}),  # equal times satisfy either order
        ("5c 5b 5a", {0: (5, 5)}),
        ("5abc", {}),  # but each step needs an event of its own
        ("5abc 5abc 5abc", {0: (5, 5)}),
        ("5ab 5b 5c", {0: (5, 5)}),  # the first event must leave the second step to the other
        ("1ab 2ab 3c", {0: (3, 3)}),
        ("1ab 3c", {}),
        ("1a 2b 3c 8c 12c", {0: (3, 8)}),
    ],
)
def test_steps_in_order(entries: str, buckets: dict[int, tuple[int, int]], backwards: bool) -> None:
    """The last step triggers when those before it lie in order in (t - 10, t]."""
    events = stepped(entries)
    how = shape(Kind.TEMPORAL_ORDERED, steps=3)
    assert triggered(filled(events[::-1] if backwards else events, how)) == buckets


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("entries", "buckets"),
    [
        ([(0, 60), (590, 40)], {0: (590, 590)}),
        ([(0, 60), (600, 40)], {}),  # sixty cells of ten
        ([(9, 60), (599, 40)], {0: (599, 599)}),
        ([(0, 60), (599, 40)], {0: (599, 599)}),  # quantised: the whole first cell counts
        ([(591, 60), (598, 40)], {0: (591, 598)}),  # every event of a cell triggers with it
        ([(1, 200), (2, -150)], {0: (1, 2)}),  # nothing is taken away
        ([(598, 50), (602, 50)], {1: (602, 602)}),
    ],
)
def test_sums(entries: list[tuple[int, int]], buckets: dict[int, tuple[int, int]], backwards: bool) -> None:
    """A hundred in a cell and the 59 before it."""
    how = Shape(Kind.VALUE_SUM, Condition((("gte", 100),)), 600, 600)
    events: list[tuple[int, Reading]] = [(at, (amount,)) for at, amount in entries]
    window = filled(events[::-1] if backwards else events, how)
    window.judge([at for at, _ in entries])
    found = {number: (b.first, b.last) for number, b in window.buckets.items() if b.first is not None}
    assert found == buckets


@pytest.mark.parametrize(
    ("how", "entries", "holds"),
    [
        (shape(lt=3), [(0, ()), (9, ())], True),
        (shape(lt=3), [(0, ()), (5, ()), (9, ())], False),
        (shape(eq=2), [(0, ()), (9, ())], True),
        (shape(neq=2), [(0, ()), (9, ())], False),
        (shape(gte=2, lte=3), [(0, ()), (9, ())], True),
        (shape(gte=2, lte=3), [(0, ())], False),
        (shape(Kind.VALUE_COUNT, lt=2), [(0, ("a",)), (9, ("a",))], True),
        (shape(Kind.VALUE_COUNT, lt=2), [(0, ("a",)), (9, ("b",))], False),
        (shape(Kind.VALUE_SUM, lte=5), [(0, (3,)), (9, (2,)), (9, (-7,))], True),
        (shape(Kind.VALUE_SUM, lt=5), [(0, (3,)), (9, (2,)), (9, (-7,))], False),
        (shape(Kind.VALUE_AVG, gt=2), [(0, (1,)), (9, (4,))], True),
        (shape(Kind.VALUE_AVG, gt=2), [(0, (1,)), (9, (4,)), (9, (-4,))], False),
        (shape(Kind.VALUE_AVG, lt=2), [(0, ())], False),  # no number, no average
    ],
)
def test_closed_windows(how: Shape, entries: list[tuple[int, Reading]], holds: bool) -> None:
    """What more events can undo is judged when the window has closed, over all of its events."""
    window = filled(entries, how)
    assert isinstance(window, TumblingWindow)
    assert triggered(window) == {}
    assert window.close([0, 7]) == ({0} if holds else set())
    assert triggered(window) == ({0: (0, entries[-1][0])} if holds else {})


def test_a_closed_window_can_be_judged_again() -> None:
    """An event that came after all counts; the answer is the one of all events."""
    window = filled(plain([0, 5]), shape(lt=3))
    assert isinstance(window, TumblingWindow)
    assert window.close([0]) == {0}
    window.extend([(7, 1, True, ())])
    assert window.close([0]) == set()


def test_first_and_last_are_of_triggering_events_and_count_is_of_all() -> None:
    """The first event of a pair counts, but does not trigger."""
    window = filled(plain([0, 2, 4, 8]), shape())
    window.judge([0, 2, 4, 8])
    bucket = window.buckets[0]
    assert (bucket.first, bucket.last, bucket.count) == (2, 8, 4)


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (Kind.EVENT_COUNT, 4),
        (Kind.VALUE_COUNT, 2 * (2 * 2 + 16) + 2),
        (Kind.TEMPORAL_ORDERED, 4 * 64),
        (Kind.VALUE_SUM, 60),
    ],
)
def test_memory_is_bounded(kind: Kind, most: int) -> None:
    """However many events and values fall into a cell, and in whatever order, little is kept, and all is counted."""
    dice = random.Random(1)
    window = window_type(shape(kind))(shape(kind))
    for number in range(2000):
        window.extend([(dice.randrange(10), 1, True, (number if kind is Kind.VALUE_COUNT else 0,))])
    window.judge(range(10))
    assert (len(window) <= most, window.buckets[0].count) == (True, 2000)


def test_steps_in_order_survive_a_flood_of_one_of_them() -> None:
    """Ten thousand failures don't push the success out that makes them matter."""
    window = OrderedWindow(shape(Kind.TEMPORAL_ORDERED, steps=2))
    for at in range(10_000):
        window.extend([(at // 1000, 1, True, (0,))])
    window.extend([(4, 1, True, (1,))])
    assert window.judge([4]) == {0}


def test_the_last_of_many_in_vain_is_found_when_something_older_comes() -> None:
    """One name tried thousands of times is little to keep; another one out of order still finds the last trigger."""
    day = 10_000
    window = filled(
        [(at, ("a",)) for at in range(9_000)],
        Shape(Kind.VALUE_COUNT, Condition((("gte", 2),)), timespan=day, suppress=day, cell=day, threshold=2),
    )
    assert len(window) <= 2 * 512 + 2
    window.extend([(-1_500, 1, True, ("b",))])
    assert window.judge([-1_500]) == {0}
    assert (window.buckets[0].first, window.buckets[0].last) == (0, 8_499)


def test_rank_is_the_highest_in_the_bucket_and_can_be_raised() -> None:
    """One better source is enough, in any order, also one that shows later."""
    window = window_type(shape())(shape())
    for at, rank in [(0, 1), (1, 3), (2, 2), (12, 1)]:
        window.extend([(at, rank, True, ())])
    raise_rank(window, 12, 2)
    assert {number: bucket.rank for number, bucket in window.buckets.items()} == {0: 3, 1: 2}


@pytest.mark.parametrize("kind", [Kind.EVENT_COUNT, Kind.VALUE_COUNT, Kind.TEMPORAL_ORDERED, Kind.VALUE_SUM])
def test_a_twin_goes_its_own_way(kind: Kind) -> None:
    """What happens to a copy leaves the original alone."""
    window = filled([(0, (0,)), (2, (1,))], shape(kind, n=3, steps=3))
    twin = window.twin()
    twin.extend([(4, 1, True, (2,))])
    twin.extend([(1, 1, True, (2,))])
    assert (triggered(window), window.buckets[0].count) == ({}, 2)
    assert twin.buckets[0].count == 4


@pytest.mark.parametrize("kind", [Kind.EVENT_COUNT, Kind.VALUE_COUNT])
def test_forget_drops_whole_buckets(kind: Kind) -> None:
    """What lies before the bucket goes, the rest stays as it was."""
    window = filled([(0, ("a",)), (2, ("b",)), (11, ("a",)), (13, ("b",)), (25, ("c",))], shape(kind))
    window.judge([0, 2, 11, 13, 25])
    window.forget(10)
    assert (sorted(window.buckets), window.buckets[1].first) == ([1, 2], 11)
