"""
What baselines find is a function of the set of events: order, batches and restarts can't matter.

Within the bounds of an hour, that is: of more values, places, sessions or entities those count that come first.
"""

from __future__ import annotations

import random

import msgspec
import pytest
from tests.support.days import DAY, HOUR, Driven, days, shuffled, stored

from sentinel.detection.baseline import Anomaly, Step
from sentinel.model import StoredEvent


@pytest.fixture(scope="module")
def events() -> list[StoredEvent]:
    return stored(days(3, 10, 24, 8)[0])


@pytest.fixture(scope="module")
def expected(events: list[StoredEvent]) -> list[Anomaly]:
    """The oracle: everything sorted, everything added, then every hour closed in its order."""
    driven = Driven()
    driven.baselines.add(sorted(events, key=lambda event: (event.at, event.event.event_id)))
    driven.close()
    assert len(driven.found) >= 10
    assert len({anomaly.id for anomaly in driven.found}) == len(driven.found)
    return driven.found


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_arrival_does_not_matter(events: list[StoredEvent], expected: list[Anomaly], seed: int) -> None:
    """Events up to an hour late, in batches of any size, hours closed as soon as they may be: the same anomalies."""
    chance, driven = random.Random(seed), Driven()
    arriving = shuffled(events, seed, HOUR)
    while arriving:
        size = chance.choice((1, 50, 400))
        batch, arriving = arriving[:size], arriving[size:]
        driven.baselines.add(batch)
        if arriving:  # whatever comes now is at most an hour older than the latest that was seen
            driven.close(now=max(event.at for event in batch), lateness=HOUR)
    driven.close()
    assert not driven.baselines.ignored
    assert sorted(driven.found, key=lambda a: a.id) == sorted(expected, key=lambda a: a.id)


def test_a_restart_changes_nothing(events: list[StoredEvent], expected: list[Anomaly]) -> None:
    """What is remembered and the events of open hours are all that is needed, wherever it stops."""
    chance, driven, seen = random.Random(4), Driven(), 0
    in_order = sorted(events, key=lambda event: event.at)
    while seen < len(in_order):
        batch = in_order[seen : seen + 300]
        seen += len(batch)
        driven.baselines.add(batch)
        driven.close(now=batch[-1].at, lateness=HOUR)
        if chance.random() < 0.3:
            driven.restart(in_order[:seen])
    driven.close()
    assert driven.found == expected


def test_what_comes_for_a_closed_hour_teaches_nothing(events: list[StoredEvent]) -> None:
    """A file closes all at its end; a later one reopens none, and its events are counted."""
    driven = Driven()
    driven.baselines.add(events)
    driven.close()
    before = dict(driven.records)
    driven.baselines.add(events[:100])
    assert driven.close() == []
    assert driven.records == before
    assert driven.baselines.ignored["closed_hour"] > 50


def test_a_day_is_learnt_once(events: list[StoredEvent]) -> None:
    """The last hours of a day may bring nothing; what comes for them after the day was learnt is too late."""
    late_hour = max(event.at for event in events) // DAY * DAY + 22 * HOUR
    driven = Driven()
    driven.baselines.add([event for event in events if event.at < late_hour - 2 * HOUR])
    driven.close(now=late_hour + 2 * HOUR)
    records, organisation = dict(driven.records), driven.organisation
    straggler = max(events, key=lambda event: event.at)
    driven.baselines.add([msgspec.structs.replace(straggler, at=late_hour)])
    assert driven.close() == []
    assert (driven.records, driven.organisation) == (records, organisation)
    assert driven.baselines.ignored == {"closed_hour": 1}


def test_a_day_may_close_in_parts(events: list[StoredEvent], expected: list[Anomaly]) -> None:
    """Five entities at a time, restarts between two parts, some of them before a part was kept: all is the same."""
    whole = Driven()
    whole.baselines.add(events)
    whole.close()
    chance, driven, parts = random.Random(5), Driven(), 0

    def saved(step: Step) -> bool:
        nonlocal parts
        parts += step.whole_day
        lost = chance.random() < 0.2
        if lost:
            driven.restart(events)
        return not lost

    driven.baselines.add(events)
    driven.close(part=5, saved=saved)
    assert parts > 40
    assert driven.found == expected
    assert driven.records == whole.records
    assert driven.organisation == whole.organisation
