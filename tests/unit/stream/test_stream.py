"""Tests of sentinel.stream: nothing accepted is lost or judged twice, and what is in force reaches who asks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.oracle import oracle

from sentinel.app import Monitor
from sentinel.detection import Engine
from sentinel.detection.incidents import components_of, incident_of
from sentinel.detection.links import Links
from sentinel.model import (
    ActionStatus,
    ActionType,
    Event,
    EventType,
    Incident,
    IncidentStatus,
    Severity,
    Signal,
    StoredEvent,
    iso,
)
from sentinel.rulefolder import read_rules
from sentinel.settings import Settings
from sentinel.storage import Action, AuditEntry, Outcome, StoreFull
from sentinel.stream import Source

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = int(START.timestamp()) * 1_000_000
SOURCE = Source(origin="tok", max_severity=Severity.CRITICAL, may_act=True, lateness=3600 * 1_000_000)


def failure(name: str, seconds: float, address: str = "203.0.113.9") -> Event:
    return Event(
        event_id=name,
        event_type=EventType.AUTHENTICATION,
        severity=Severity.LOW,
        timestamp=START + timedelta(seconds=seconds),
        ip_address=address,
        details={"success": False},
    )


class Desk:
    """A monitor and the loop that it runs in; `now` is its clock."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.now = NOW
        self.runner = asyncio.Runner()
        self.folder = folder
        self.monitor = self.run(Monitor.open(Settings(data_dir=folder, **settings), clock=lambda: self.now))

    def run(self, work: Any) -> Any:
        async def carry() -> Any:
            return await work

        return self.runner.run(carry())

    def send(self, events: Sequence[Event]) -> None:
        self.run(self.monitor.intake.accept([(n, event) for n, event in enumerate(events, 1)], SOURCE))

    def drain(self) -> None:
        self.run(asyncio.wait_for(self.monitor.worker.drained(self.monitor.store.accepted_seq), 30))

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Run the loop until something holds."""
        for _ in range(3000):
            self.run(asyncio.sleep(0.01))
            if holds():
                return
        pytest.fail(f"it never came about that {what}")

    def signals(self) -> list[Signal]:
        self.drain()
        return list(self.run(self.monitor.store.list_signals(1000)))

    def close(self) -> None:
        self.run(self.monitor.close())
        self.runner.close()


@contextmanager
def desk_on(folder: Path, **settings: Any) -> Iterator[Desk]:
    desk = Desk(folder, **settings)
    yield desk
    desk.close()


@pytest.mark.parametrize("seed", range(4))
def test_any_order_repetition_and_restart_gives_the_oracles_answer(tmp_path: Path, seed: int) -> None:
    """Signals and incidents in the store are a function of the set of events, whatever way they came."""
    dice = random.Random(seed)
    events = [
        failure(f"e{n}", dice.choice((dice.uniform(-3000, 200), dice.uniform(0, 90))), f"203.0.113.{dice.randrange(3)}")
        for n in range(300)
    ]
    sent = events + dice.sample(events, 60)
    dice.shuffle(sent)
    while sent:
        with desk_on(tmp_path / "d") as desk:
            for _ in range(dice.randrange(1, 6)):
                size = dice.randrange(1, 80)
                desk.send(sent[:size])
                sent = sent[size:]
    with desk_on(tmp_path / "d") as desk:
        signals = desk.signals()
        stored = desk.run(desk.monitor.store.events_after(0, 1000))
        incidents = desk.run(desk.monitor.store.list_incidents(1000))
        members = desk.run(desk.monitor.store.members_of(one.id for one in incidents))
    assert len(stored) == len(events)
    expected: dict[str, tuple[int, int, int]] = {}
    for rule in read_rules(["default"]).rules:
        expected |= oracle(rule, stored) if rule.emits else {}
    assert {s.id: (s.first, s.last, s.count) for s in signals} == expected != {}
    together = components_of(signals, Links().add(stored))
    assert {i.id: i for i in map(incident_of, together)} == {i.id: i for i in incidents}
    assert {incident_of(mine).id: [signal.id for signal in mine] for mine in together} == members


def test_what_was_pruned_is_no_part_of_an_incident_that_goes_on(tmp_path: Path) -> None:
    """Signals that were deleted name no incident and count in none, though it was in hand when they went."""

    def burst(name: str, minutes: float) -> list[Event]:
        return [failure(f"{name}{n}", (minutes - 24 * 60) * 60 + n) for n in range(10)]

    old = Source(origin="tok", max_severity=Severity.CRITICAL, may_act=True, lateness=None)
    with desk_on(tmp_path, retention_days=1) as desk:
        for events in (burst("a", -10), burst("b", 40)):
            desk.run(desk.monitor.intake.accept(list(enumerate(events, 1)), old))
            desk.drain()
        [before] = desk.run(desk.monitor.store.list_incidents(10))
        assert desk.run(desk.monitor.prune())["signals"] > 0
        desk.run(desk.monitor.intake.accept(list(enumerate(burst("c", 90), 1)), old))
        signals = desk.signals()
        found = desk.run(desk.monitor.store.list_incidents(10))
    assert [incident_of(mine) for mine in components_of(signals)] == found
    assert found[0].first > before.first


def test_events_beyond_the_memory_of_the_worker_are_read_from_the_store(tmp_path: Path) -> None:
    """A backlog that no queue holds is judged in order all the same."""
    with desk_on(tmp_path) as desk:
        worker = desk.monitor.worker
        worker.offer = lambda events: worker._more.set()  # type: ignore[method-assign]  # nothing is handed over
        desk.send([failure(f"e{n}", n / 100) for n in range(1200)])
        [signal] = [s for s in desk.signals() if s.rule == "failed_logins_by_address"]
    assert signal.count == 1200


class _Fragile(Engine):
    def add(self, events: Sequence[StoredEvent]) -> list[Signal]:
        if any(event.event.event_id == "poison" for event in events):
            raise ZeroDivisionError
        return super().add(events)


def test_an_event_that_breaks_the_engine_is_set_aside_and_the_others_judged(tmp_path: Path) -> None:
    """A dead letter with its reason and a count; the worker goes on."""
    with desk_on(tmp_path) as desk:
        desk.monitor.worker._engine = _Fragile(desk.monitor.rules)
        desk.send(
            [failure(f"e{n}", n) for n in range(5)] + [failure("poison", 5)] + [failure(f"f{n}", n) for n in range(5)]
        )
        assert [signal.count for signal in desk.signals()] == [10]
        assert desk.monitor.metrics.dead_letters._value.get() == 1
        rows = desk.run(_dead_letters(desk))
    assert rows == [(6, "ZeroDivisionError")]


async def _dead_letters(desk: Desk) -> list[tuple[int, str]]:
    from sqlalchemy import select

    from sentinel.storage import tables

    return [tuple(row) for row in await desk.monitor.store._all(select(tables.dead_letters))]


def test_an_outcome_waits_for_room_and_is_not_lost(tmp_path: Path) -> None:
    """While the disk is full the worker says so and tries again; then the block is there, once."""
    with desk_on(tmp_path) as desk:
        store, real, failures = desk.monitor.store, desk.monitor.store.apply, [StoreFull(), StoreFull()]

        async def apply(outcome: Outcome) -> list[Action]:
            if failures and outcome.signals:
                raise failures.pop()
            return await real(outcome)

        store.apply = apply  # type: ignore[method-assign]
        desk.send([failure(f"e{n}", n) for n in range(10)])
        desk.until(lambda: desk.monitor.health()["overall_status"] == "critical", "it is critical")
        desk.drain()
        assert desk.monitor.health()["overall_status"] == "healthy"
        assert len(desk.run(store.list_actions())) == 1
        assert desk.monitor.board.snapshot.check("203.0.113.9", desk.now)


def manual(name: str, expiration: int | None = None) -> Action:
    return Action(
        id=name,
        key=name,
        action_type=ActionType.IP_BLOCK,
        target="198.51.100.1",
        reason="r",
        evidence={},
        severity=Severity.LOW,
        status=ActionStatus.ACTIVE,
        created_at=NOW,
        expiration=expiration,
        auto=False,
        created_by="tok",
    )


def test_who_asks_for_changes_gets_them_at_once_and_only_once(tmp_path: Path) -> None:
    """First everything, then what changed since; a question that finds nothing waits until there is something."""

    async def follow(desk: Desk) -> None:
        board, orders = desk.monitor.board, desk.monitor.orders
        first = await board.changes(0, wait=5, node="n")
        assert (first.seq, first.complete, first.items) == (0, True, [])
        waiting = asyncio.create_task(board.changes(0, wait=30, node="n"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await orders.order(manual("a"), by="tok")
        news = await asyncio.wait_for(waiting, 30)
        assert ([item["id"] for item in news.items], news.seq) == (["a"], 1)
        assert board.enforced_by((await desk.monitor.store.actions_by_id(["a"]))[0]) == []
        quiet = await board.changes(1, wait=0.05, node="n")
        assert (quiet.seq, quiet.complete, quiet.items) == (1, False, [])
        assert board.enforced_by((await desk.monitor.store.actions_by_id(["a"]))[0]) == ["n"]
        await orders.end(ActionType.IP_BLOCK, "198.51.100.1", by="tok")
        ended = await board.changes(1, wait=5, node="n")
        assert [(item["id"], item["status"]) for item in ended.items] == [("a", "revoked")]
        stranger = await board.changes(99, wait=5, node="m")
        assert (stranger.complete, stranger.items, stranger.seq) == (True, [], 2)

    with desk_on(tmp_path) as desk:
        desk.run(follow(desk))


def test_time_ends_an_action_in_the_store_too(tmp_path: Path) -> None:
    """Enforcement knows the end by itself; the row says `expired` soon after, once, with an audit entry."""
    with desk_on(tmp_path) as desk:
        desk.run(desk.monitor.orders.order(manual("a", expiration=NOW + 1_000_000), by="tok"))
        desk.now += 2_000_000
        assert desk.monitor.board.snapshot.check("198.51.100.1", desk.now) is None

        def row() -> Action:
            [found] = desk.run(desk.monitor.store.list_actions())
            return found

        desk.until(lambda: row().status is ActionStatus.EXPIRED, "the row says so")
        operations = [entry.operation for _, entry in desk.run(desk.monitor.store.list_audit(10))]
        assert iso(row().revoked_at or 0) == iso(desk.now)
    assert operations[:2] == ["ip_block.expire", "ip_block.create"]


def test_two_orders_at_once_make_one_row(tmp_path: Path) -> None:
    """Two admins press the same button: one block, with the longer time."""

    async def both(desk: Desk) -> None:
        orders = [manual(name, NOW + hours * 3_600_000_000) for name, hours in (("a", 1), ("b", 2))]
        await asyncio.gather(*(desk.monitor.orders.order(order, by="tok") for order in orders))

    with desk_on(tmp_path) as desk:
        desk.run(both(desk))
        rows = desk.run(desk.monitor.store.list_actions())
    assert [(row.id, row.expiration) for row in rows] == [("a", NOW + 7_200_000_000)]


def test_what_rules_could_not_count_is_a_metric(tmp_path: Path) -> None:
    """An event without what a rule groups by, and one with no number where it adds up, are seen by whoever watches."""
    with desk_on(tmp_path) as desk:
        details = {"access_type": "select", "row_count": "many"}
        read = msgspec.structs.replace(
            failure("read", 0), event_type=EventType.DATA_ACCESS, user_id="erin", details=details
        )
        desk.send([failure("whose", 0), read])
        desk.drain()
        value = desk.monitor.metrics.registry.get_sample_value
        assert (value("security_rule_inputs_ignored_total", {"reason": "number"}) or 0) > 0
        assert (value("security_rule_inputs_ignored_total", {"reason": "field"}) or 0) > 0


def test_two_writes_at_once_number_each_change_once(tmp_path: Path) -> None:
    """A note in the audit log beside a block does not give the block's number to the next one."""

    async def both(desk: Desk) -> list[int]:
        store = desk.monitor.store
        note = AuditEntry(at=NOW, actor="erin", operation="note", target="-", details={})
        blocks = [manual(name, NOW + 3_600_000_000) for name in ("a", "b")]
        for block in blocks:
            await asyncio.gather(
                store.apply(Outcome(position=0, actions=[block])), store.apply(Outcome(position=0, audit=[note]))
            )
        return [action.change_seq for action in await store.actions_since(0)]

    with desk_on(tmp_path) as desk:
        assert desk.run(both(desk)) == [1, 2]


def test_what_is_said_of_an_incident_that_becomes_part_of_another_is_refused_not_lost(tmp_path: Path) -> None:
    """Whoever acknowledges it at that moment hears that there is none, and can look which it is now."""

    async def late(desk: Desk) -> tuple[Incident | None, int]:
        store, orders = desk.monitor.store, desk.monitor.orders
        [one] = await store.list_incidents(10)
        async with orders.acting:  # a batch is being written; the acknowledgement waits for it
            said = asyncio.create_task(
                desk.monitor.people.follow(
                    one.id, IncidentStatus.ACKNOWLEDGED, by="tok", note="on it", assignee=None, taker="erin"
                )
            )
            await asyncio.sleep(0)
            larger = msgspec.structs.replace(one, id="f" * 32)
            await store.apply(Outcome(position=0, incidents=[larger], incidents_gone={one.id: larger.id}))
        return await said, len(await store.notes_on(one.id))

    with desk_on(tmp_path) as desk:
        desk.send([failure(f"e{n}", n) for n in range(10)])
        desk.drain()
        assert desk.run(late(desk)) == (None, 0)


def test_an_action_moves_with_its_incident(tmp_path: Path) -> None:
    """Also one that was read before and is written again in the same batch."""

    async def merged(desk: Desk) -> tuple[set[str | None], set[str]]:
        store = desk.monitor.store
        [one] = await store.list_incidents(10)
        read = await store.actions_of(one.id)
        larger = msgspec.structs.replace(one, id="f" * 32)
        outcome = Outcome(position=0, incidents=[larger], incidents_gone={one.id: larger.id})
        outcome.actions = read
        await store.apply(outcome)
        now = {action.incident_id for action in await store.list_actions()}
        return now, {incident.id for incident in await store.list_incidents(10)}

    with desk_on(tmp_path) as desk:
        desk.send([failure(f"e{n}", n) for n in range(10)])
        desk.drain()
        assert desk.run(merged(desk)) == ({"f" * 32}, {"f" * 32})
