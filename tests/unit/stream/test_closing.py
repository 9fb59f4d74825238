"""Tests of the windows that the worker judges on closing: once each, when nothing can change them any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sentinel.model import Severity, Signal
from sentinel.stream import Source
from sentinel.stream.worker import Touched

from .test_stream import NOW, Desk, failure

RULES = """
name: failed
logsource: {product: sentinel, category: authentication}
detection: {failed: {success: false}, condition: failed}
---
name: few
correlation: {type: event_count, rules: [failed], group-by: [ip_address], timespan: 60s, condition: {lt: 4}}
level: high
"""
LATENESS = 3600
CLOSED = NOW + (60 + LATENESS + 30 + 1) * 1_000_000
"""When the window that begins at NOW has closed, and what was in hand then has been judged."""
IMPORT = Source(origin="imp", max_severity=Severity.CRITICAL, may_act=True, lateness=None, live=False)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel.stream.worker._CLOSE_SECONDS", 0.02)


@contextmanager
def desk_on(home: Path) -> Iterator[Desk]:
    home.joinpath("rules").mkdir(exist_ok=True)
    home.joinpath("rules", "few.yml").write_text(RULES)
    desk = Desk(home / "data", rules_dir=(str(home / "rules"),), lateness=float(LATENESS))
    yield desk
    desk.close()


def stored(desk: Desk, least: int = 0) -> list[Signal]:
    """Return the signals after many turns of whoever closes windows, and when there are so many."""
    found: list[Signal] = []

    def there() -> bool:
        found[:] = desk.run(desk.monitor.store.list_signals(10))
        return len(found) >= least

    desk.run(asyncio.sleep(0.3))
    desk.until(there, f"{least} signals are there")
    return found


def take(desk: Desk, names: str) -> None:
    """Import failures of the first seconds, and wait for the end of the import."""
    events = [(n, failure(name, n)) for n, name in enumerate(names, 1)]
    desk.monitor.worker.followed["imp"] = Touched()
    receipt = desk.run(desk.monitor.intake.accept(events, IMPORT))
    desk.run(asyncio.wait_for(desk.monitor.worker.drained(receipt.accepted[-1].seq), 30))


@pytest.mark.parametrize(("failures", "found"), [(3, 1), (4, 0)])
def test_a_window_that_closes_while_nothing_comes_is_judged(tmp_path: Path, failures: int, found: int) -> None:
    """Not before the last event that may still be in time; then once, without an event that would bring it about."""
    with desk_on(tmp_path) as desk:
        desk.send([failure(f"e{n}", n) for n in range(failures)])
        desk.now = CLOSED - 3_000_000
        assert stored(desk) == []
        desk.now = CLOSED
        assert [(signal.rule, signal.count) for signal in stored(desk, found)] == [("few", failures)] * found


def test_an_event_in_time_counts_in_a_window_that_is_nearly_closed(tmp_path: Path) -> None:
    """The fourth one comes an hour late, and the window is not one of few any more."""
    with desk_on(tmp_path) as desk:
        desk.send([failure(f"e{n}", n) for n in range(3)])
        desk.now = NOW + LATENESS * 1_000_000
        desk.send([failure("late", 3)])
        desk.now = CLOSED
        assert stored(desk) == []


def test_a_window_that_closed_while_the_service_was_down_is_judged_after_the_start(tmp_path: Path) -> None:
    """What it held is read from the store."""
    with desk_on(tmp_path) as desk:
        desk.send([failure("a", 0), failure("b", 1)])
        desk.drain()
    with desk_on(tmp_path) as desk:
        assert stored(desk) == []
        desk.now = CLOSED
        assert [(signal.rule, signal.count) for signal in stored(desk, 1)] == [("few", 2)]


def test_the_end_of_an_import_closes_its_windows(tmp_path: Path) -> None:
    """Nothing follows, so the answer is there with the import's end, and belongs to the import."""
    with desk_on(tmp_path) as desk:
        take(desk, "ab")
        [signal] = desk.run(desk.monitor.store.list_signals(10))
        assert (signal.rule, signal.count) == ("few", 2)
        assert desk.monitor.worker.followed["imp"].signals == {signal.id}


def test_beside_live_events_an_import_closes_what_has_closed_for_these(tmp_path: Path) -> None:
    """Live ones may still fall into the window, so the end of an import does not decide it."""
    with desk_on(tmp_path) as desk:
        desk.send([failure("live", 1)])
        desk.drain()
        take(desk, "ab")
        assert stored(desk) == []
        del desk.monitor.worker.followed["imp"]
        desk.now = CLOSED
        assert [(signal.rule, signal.count) for signal in stored(desk, 1)] == [("few", 3)]


def test_an_import_under_way_keeps_windows_open(tmp_path: Path) -> None:
    """A log may hold more of any time until it has ended."""
    with desk_on(tmp_path) as desk:
        desk.monitor.worker.followed["imp"] = Touched()
        desk.send([failure("a", 0)])
        desk.now = CLOSED
        assert stored(desk) == []
        del desk.monitor.worker.followed["imp"]
        assert [signal.rule for signal in stored(desk, 1)] == ["few"]
