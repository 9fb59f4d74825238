"""Tests of sentinel.stream.joining: whatever comes last finds the other, over restarts and in little memory."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from sentinel.detection import links
from sentinel.detection.incidents import components_of, incident_of
from sentinel.detection.links import Links
from sentinel.model import Event, EventType, Severity, Signal, StoredEvent, SubjectType, ThreatType
from sentinel.storage import Outcome, Store
from sentinel.stream import joining
from sentinel.stream.joining import Joiner

MINUTE = 60_000_000
START = 490_000 * 60 * MINUTE  # an hour's beginning


def event(seq: int, minute: int, user: str, address: str) -> StoredEvent:
    at = START + minute * MINUTE
    made = Event(
        event_id=f"e{seq}",
        event_type=EventType.AUTHENTICATION,
        severity=Severity.LOW,
        timestamp=datetime.fromtimestamp(at / 1_000_000, UTC),
        user_id=user,
        ip_address=address,
    )
    return StoredEvent(seq, at, at, late=False, event=made)


def signal(kind: SubjectType, subject: str, minute: int) -> Signal:
    at = START + minute * MINUTE
    return Signal(
        id=f"{kind}-{subject}-{minute}",
        rule="odd",
        rule_hash="odd",
        title="odd",
        subject=subject,
        subject_type=kind,
        group={},
        severity=Severity.HIGH,
        threat_type=None,
        confidence=0.9,
        bucket=minute,
        first=at,
        last=at,
        count=1,
        may_act=True,
    )


class Desk:
    """A joiner on a store, started again as often as one likes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.joiner = Joiner(store)
        self.seen: list[StoredEvent] = []

    def start_again(self) -> None:
        """As after a kill; the events of open hours are seen again, here all."""
        self.joiner = Joiner(self.store)
        self.joiner.see(self.seen)

    async def take(self, events: list[StoredEvent], signals: list[Signal], *, written: bool = True) -> None:
        self.joiner.see(events)
        fresh = {each.id: each for each in signals}
        outcome = Outcome(position=0, signals=signals)
        await self.joiner.join(fresh, outcome)
        if not written:
            return
        await self.store.apply(outcome)
        self.joiner.written(outcome)
        self.seen += events

    async def incidents(self) -> dict[str, tuple[str, ...]]:
        found = await self.store.list_incidents(1000)
        members = await self.store.members_of(one.id for one in found)
        assert [one.size for one in found] == [len(members[one.id]) for one in found]
        return {name: tuple(signals) for name, signals in members.items()}


def wanted(signals: list[Signal], events: list[StoredEvent]) -> dict[str, tuple[str, ...]]:
    together = components_of(signals, Links().add(events))
    return {incident_of(mine).id: tuple(each.id for each in mine) for mine in together}


@pytest.mark.parametrize("memory", [0, 4_000, 1 << 20])
@pytest.mark.parametrize("seed", range(4))
def test_any_order_with_restarts_and_failed_writes_gives_the_incidents_of_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, memory: int
) -> None:
    """Signals that grow, events first or last, a write that failed, little memory: the incidents are those of both."""
    monkeypatch.setattr(joining, "_MOST_BYTES", memory)
    dice = random.Random(seed)
    events = [
        event(n, dice.randrange(600), f"u{dice.randrange(12)}", f"192.0.2.{dice.randrange(12)}") for n in range(60)
    ]
    signals = [
        msgspec.structs.replace(
            signal(
                *dice.choice([(SubjectType.USER, f"u{n % 12}"), (SubjectType.IP, f"192.0.2.{n % 12}")]),
                dice.randrange(600),
            ),
            severity=dice.choice(list(Severity)),
            threat_type=dice.choice([None, ThreatType.BRUTE_FORCE, ThreatType.INSIDER_THREAT]),
            confidence=dice.random(),
        )
        for n in range(25)
    ]
    grown = [
        msgspec.structs.replace(
            each, first=each.first - dice.randrange(80) * MINUTE, last=each.last + dice.randrange(80) * MINUTE
        )
        for each in signals
    ]
    left_events = events[:]
    dice.shuffle(left_events)
    left_signals = [each for pair in zip(grown, signals, strict=True) for each in pair]  # popped from the end

    async def run() -> None:
        store = await Store.open(tmp_path / "s.db")
        desk = Desk(store)
        while left_events or left_signals:
            some = [left_events.pop() for _ in range(min(len(left_events), dice.randrange(6)))]
            odd = [left_signals.pop() for _ in range(min(len(left_signals), dice.randrange(4)))]
            if dice.random() < 0.2:
                await desk.take(some, odd, written=False)
                if dice.random() < 0.5:
                    desk.start_again()
                else:  # asked again about the same, which it has seen
                    desk.seen += some
                    some = []
            await desk.take(some, odd)
            assert desk.joiner._growth is None or desk.joiner._growth.memory <= memory
            if dice.random() < 0.2:
                desk.start_again()
            if dice.random() < 0.2:
                desk.joiner.forget()
        await desk.take([], [])  # what waits after the last start
        assert await desk.incidents() == wanted(grown, events)
        found = await store.list_incidents(1000)
        assert {one.id: one for one in found} == {
            (one := incident_of(mine)).id: one for mine in components_of(grown, Links().add(events))
        }
        await store.close()

    asyncio.run(run())


def test_who_comes_alone_is_not_remembered() -> None:
    """A service that sees addresses without users, a million of them a day, keeps none: there is nobody to join."""
    events = [event(n, n % 600, "ada", f"198.51.{n // 250}.{n % 250}") for n in range(20_000)]
    alone = [msgspec.structs.replace(each, event=msgspec.structs.replace(each.event, user_id=None)) for each in events]
    kept = Links()
    tracemalloc.start()
    assert kept.add(alone) == []
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 20_000


def test_links_to_subjects_with_signals_outlive_the_memory_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes after thousands of other links still finds the one that was stored."""
    monkeypatch.setattr(links, "_MOST", 50)
    first, late = signal(SubjectType.IP, "192.0.2.1", 5), signal(SubjectType.USER, "grace", 6)
    crowd = [event(n, 60 + n % 120, f"u{n}", f"198.51.100.{n % 250}") for n in range(2, 400)]

    async def run() -> None:
        store = await Store.open(tmp_path / "s.db")
        desk = Desk(store)
        await desk.take([event(1, 5, "grace", "192.0.2.1")], [first])
        for start in range(0, len(crowd), 20):
            await desk.take(crowd[start : start + 20], [])
        assert desk.joiner.links.size <= 2 * 50
        await desk.take([], [late])
        assert list((await desk.incidents()).values()) == [(first.id, late.id)]
        await store.close()

    asyncio.run(run())
