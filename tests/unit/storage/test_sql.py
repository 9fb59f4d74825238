"""Tests of sentinel.storage.sql: what a 202 promises."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.event import listens_for
from tests.support.schema import schema

from sentinel.detection.links import link
from sentinel.model import (
    ActionStatus,
    ActionType,
    Event,
    EventType,
    Incident,
    IncidentStatus,
    Severity,
    Signal,
    SubjectType,
    micros,
)
from sentinel.storage import SYSTEM, Action, Evidence, Outcome, Pending, Store, sqlite
from sentinel.storage.migrations import SCHEMA, newest_version
from sentinel.storage.values import StoreFull, StoreLost

START = datetime(2026, 1, 1, tzinfo=UTC)


def event(name: str, seconds: float = 0, **fields: Any) -> Event:
    defaults: dict[str, Any] = {
        "event_type": EventType.AUTHENTICATION,
        "severity": Severity.LOW,
        "timestamp": START + timedelta(seconds=seconds),
    }
    return Event(event_id=name, **(defaults | fields))


def pending(item: Event, *, late: bool = False) -> Pending:
    at = micros(item.timestamp)
    return Pending(
        event=item,
        at=at,
        received_at=at,
        late=late,
        origin="t",
        max_severity=Severity.HIGH,
        may_act=True,
        effects=False,
    )


def action(name: str, **fields: Any) -> Action:
    defaults: dict[str, Any] = {
        "key": f"key-{name}",
        "action_type": ActionType.IP_BLOCK,
        "target": "203.0.113.9",
        "reason": "r",
        "evidence": {},
        "severity": Severity.HIGH,
        "status": ActionStatus.ACTIVE,
        "created_at": 10,
        "expiration": 1000,
        "auto": True,
        "created_by": SYSTEM,
        "rule": "p",
    }
    return Action(id=name, **(defaults | fields))


def signal(name: str, **fields: Any) -> Signal:
    defaults: dict[str, Any] = {
        "rule": "r",
        "rule_hash": "h",
        "title": "t",
        "subject": "203.0.113.9",
        "subject_type": SubjectType.IP,
        "group": {"ip_address": "203.0.113.9"},
        "severity": Severity.HIGH,
        "threat_type": None,
        "confidence": 0.9,
        "bucket": 1,
        "first": 100,
        "last": 200,
        "count": 3,
    }
    return Signal(id=name, **(defaults | fields))


def test_the_file_promises_what_202_says(on_file: Any, path: Path) -> None:
    """synchronous=FULL, WAL, and no checkpoint whose error nobody sees; the file is its owner's alone."""

    async def pragmas(store: Store) -> list[Any]:
        return [
            store._backend._writer.scalar(text(f"PRAGMA {name}"))
            for name in ("synchronous", "journal_mode", "wal_autocheckpoint")
        ]

    assert on_file(pragmas) == [2, "wal", 0]
    assert path.stat().st_mode & 0o077 == 0


def test_events_get_gapless_numbers_and_come_back_unchanged(on_store: Any) -> None:
    """In order of acceptance, over restarts, with every field and right that they had."""
    first = [event("a", user_id="zoë", details={"n": [1, {"x": None}]}), event("b", ip_address="203.0.113.9")]
    on_store(lambda store: store.accept([pending(item) for item in first]))
    on_store(lambda store: store.accept([pending(event("c"), late=True)]))
    stored = on_store(lambda store: store.events_after(0, 10))
    assert [item.seq for item in stored] == [1, 2, 3]
    assert [item.event for item in stored] == [*first, event("c")]
    assert [item.late for item in stored] == [False, False, True]
    assert {(item.max_severity, item.may_act, item.effects, item.origin) for item in stored} == {
        (Severity.HIGH, True, False, "t")
    }


def test_the_first_of_equal_ids_wins(on_store: Any) -> None:
    """Within a batch and over batches; other content under a known id is told apart as a conflict."""
    one = on_store(lambda store: store.accept([pending(event("a")), pending(event("a")), pending(event("b"))]))
    two = on_store(lambda store: store.accept([pending(event("b", user_id="other")), pending(event("c"))]))
    assert ([e.event.event_id for e in one.events], one.duplicates, one.conflicts) == (["a", "b"], {1}, frozenset())
    assert ([e.event.event_id for e in two.events], two.duplicates, two.conflicts) == (["c"], {0}, {0})
    assert [e.event.user_id for e in on_store(lambda store: store.events_after(0, 10))] == [None, None, None]


def test_history_gives_each_event_of_a_time_once(on_store: Any) -> None:
    """In chunks, without late ones and without those accepted after `upto`; the end is outside."""
    items = [pending(event(f"e{n}", n), late=n == 3) for n in range(8)]
    start = micros(START)

    async def read(store: Store) -> list[str]:
        await store.accept(items)
        found = [chunk async for chunk in store.history(start + 1_000_000, start + 6_000_000, upto=5, chunk=2)]
        return [item.event.event_id for chunk in found for item in chunk]

    assert on_store(read) == ["e1", "e2", "e4"]


def test_signals_only_ever_widen(on_store: Any) -> None:
    """Two orders of the same upserts end in the same row."""
    wide, other = signal("s", first=50, last=150, count=2, may_act=True), signal("s")
    rows = []
    for order in ([wide, other], [other, wide]):
        for item in order:
            on_store(lambda store, item=item: store.apply(Outcome(position=0, signals=[item])))
        rows.append(on_store(lambda store: store.list_signals(10)))
    assert rows[0] == rows[1] == [signal("s", first=50, last=200, count=3, may_act=True)]


def test_incidents_are_replaced_when_their_signals_join_another(on_store: Any) -> None:
    """One component, one incident; what people made of it stays; its actions follow it."""
    old = Incident(
        id="old",
        subject="x",
        subject_type=SubjectType.IP,
        severity=Severity.LOW,
        confidence=0.9,
        first=1,
        last=2,
        size=1,
        threat_types=(),
    )
    new = Incident(
        id="new",
        subject="x",
        subject_type=SubjectType.IP,
        severity=Severity.HIGH,
        confidence=0.9,
        first=0,
        last=2,
        size=2,
        threat_types=(),
        status=IncidentStatus.OPEN,
    )
    on_store(
        lambda store: store.apply(
            Outcome(
                position=0,
                signals=[signal("s")],
                incidents=[old],
                incident_of={"s": "old"},
                actions=[action("a", signal_id="s", incident_id="old")],
            )
        )
    )
    on_store(
        lambda store: store.apply(
            Outcome(
                position=0,
                signals=[signal("t", first=300)],
                incidents=[new],
                incident_of={"t": "new"},
                incidents_gone={"old": "new"},
            )
        )
    )
    assert on_store(lambda store: store.list_incidents(10)) == [new]
    assert [a.incident_id for a in on_store(lambda store: store.list_actions())] == ["new"]
    assert on_store(lambda store: store.members_of(["old", "new"])) == {"new": ["s", "t"]}
    assert [s.id for s in on_store(lambda store: store.signals_in("new"))] == ["s", "t"]


def test_changes_are_numbered_without_gaps(on_store: Any) -> None:
    """Every change of an effective action has the next number; what takes no effect has none."""
    on_store(lambda store: store.apply(Outcome(position=0, actions=[action("a"), action("b", effective=False)])))
    on_store(lambda store: store.apply(Outcome(position=0, actions=[action("c"), action("a", expiration=None)])))
    rows = {a.id: a.change_seq for a in on_store(lambda store: store.list_actions())}
    assert rows == {"a": 3, "b": 0, "c": 2}
    assert [a.id for a in on_store(lambda store: store.actions_since(1))] == ["c", "a"]
    assert [a.id for a in on_store(lambda store: store.actions_in_force(500))] == ["c", "a"]
    assert [a.id for a in on_store(lambda store: store.actions_in_force(5000))] == ["a"]
    assert [a.id for a in on_store(lambda store: store.actions_run_out(5000))] == ["c"]


def test_a_key_has_one_row(on_store: Any) -> None:
    """Two actions of one decision key can't both be written: the whole outcome is refused."""
    twice = Outcome(position=7, actions=[action("a"), action("b", key="key-a")])
    with pytest.raises(Exception, match=r"(?i)unique"):
        on_store(lambda store: store.apply(twice))
    assert on_store(lambda store: store.list_actions()) == []
    assert on_store(lambda store: asyncio.sleep(0, store.processed_seq)) == 0


def test_only_what_people_undid_holds(on_store: Any) -> None:
    """A block that the monitor itself took back is no undo."""
    ended = {"status": ActionStatus.REVOKED, "revoked_at": 100}
    rows = [action("a", revoked_by="tok-1", **ended), action("b", revoked_by=SYSTEM, **ended), action("c")]
    on_store(lambda store: store.apply(Outcome(position=0, actions=rows)))
    assert [a.id for a in on_store(lambda store: store.undone_since(99))] == ["a"]
    assert on_store(lambda store: store.undone_since(100)) == []


def test_the_queries_of_the_hot_path_use_indexes(on_file: Any, path: Path) -> None:
    """What runs for every batch must not read whole tables: the statements as sent are explained."""
    sent: list[tuple[str, Any]] = []

    async def ask(store: Store) -> None:
        @listens_for(store._backend._engine, "before_cursor_execute")
        def _note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
            sent.append((statement, parameters[0] if isinstance(parameters, list) else parameters))

        await store.accept([pending(event("a")), pending(event("a"))])
        await store.apply(Outcome(position=1, incident_of={"s": "i", "t": "i"}, incidents_gone={"h": "i"}))
        await store.users_behind([("203.0.113.9", 1, 2)], 3)
        await store.events_after(5, 10)
        [chunk async for chunk in store.history(1, 2, 3)]
        await store.signals_of([("203.0.113.9", SubjectType.IP)])
        await store.signals_by_id(["s"])
        await store.signals_together(["i"])
        await store.members_of(["i"])
        await store.actions_by_key(["k"])
        await store.automatic_blocks(["203.0.113.9"])
        await store.actions_since(5)
        await store.actions_run_out(5)
        await store.baseline_records([("user", "grace"), ("user", "eve"), ("service", "api")])
        await store.baseline_entities(5, ("user", "grace"), 10)
        [chunk async for chunk in store.untaught_events(1, 2)]

    on_file(ask)
    connection = sqlite3.connect(path)
    queries = [(statement, parameters) for statement, parameters in sent if statement.startswith(("SELECT", "UPDATE"))]
    scans = []
    for statement, parameters in queries:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        harmless = ("SCAN asked", "SCAN CONSTANT ROW", "SCAN anon_1", "SCAN (subquery")
        scans += [(statement, step) for step in plan if step.startswith("SCAN") and not step.startswith(harmless)]
    statement, parameters = next(query for query in queries if "DISTINCT" in query[0])
    users = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    connection.close()
    assert len(queries) >= 20
    assert scans == []
    assert "events_success" in str(users)


def test_people_behind_an_address_are_counted_up_to_enough(on_store: Any) -> None:
    """Distinct users with a success there, in the time asked for; failures and others do not count."""

    def login(
        name: str, user: str, seconds: int = 0, *, success: object = True, address: str = "203.0.113.9"
    ) -> Pending:
        return pending(event(name, seconds, user_id=user, ip_address=address, details={"success": success}))

    items = [
        login("1", "a"),
        login("2", "a"),
        login("3", "b"),
        login("4", "c", success=False),
        login("5", "d", address="198.51.100.1"),
        login("6", "e", seconds=100),
        login("7", "f", success="true"),
    ]
    on_store(lambda store: store.accept(items))
    start = micros(START)
    assert on_store(lambda store: store.users_behind([("203.0.113.9", start, start + 50)], enough=9)) == [2]
    assert on_store(lambda store: store.users_behind([("203.0.113.9", start, start + 200_000_000)], enough=2)) == [2]


def test_a_checkpoint_that_a_reader_holds_up_is_soon_made_up_for(
    on_file: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log must not grow for thousands of events more because somebody read at the wrong moment."""
    monkeypatch.setattr("sentinel.storage.sqlite._CHECKPOINT_COMMITS", 10)

    async def while_somebody_reads(store: Store) -> list[int]:
        reader = sqlite3.connect(path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        for number in range(10):
            await store.accept([pending(event(f"e{number}"))])
        held_up = in_the_file_itself(path)
        reader.close()
        await store.accept([pending(event("one more"))])
        return [held_up, in_the_file_itself(path)]

    assert on_file(while_somebody_reads) == [0, 11]


def in_the_file_itself(path: Path) -> int:
    """Return how many events the database file holds without its log."""
    alone = shutil.copy(path, path.with_name("alone.db"))
    connection = sqlite3.connect(alone)
    [count] = connection.execute("SELECT count(*) FROM events").fetchone()
    connection.close()
    return int(count)


def test_what_is_sent_again_in_a_large_group_is_told_apart(on_store: Any) -> None:
    """Whatever the size of a group: the new ones are stored once and in order, between those that were known."""
    names = [f"e{number}" for number in range(1000)]
    on_store(lambda store: store.accept([pending(event(name)) for name in names[::3]]))
    told = on_store(lambda store: store.accept([pending(event(name)) for name in names]))
    assert told.duplicates == set(range(0, 1000, 3))
    assert [item.event.event_id for item in told.events] == [name for n, name in enumerate(names) if n % 3]
    stored = on_store(lambda store: store.events_after(0, 2000))
    assert [item.seq for item in stored] == list(range(1, 1001))
    assert [item.event.event_id for item in stored[334:]] == [item.event.event_id for item in told.events]


def test_a_text_may_hold_any_character(on_store: Any) -> None:
    """Names with U+0000, which PostgreSQL's texts can't hold, are stored, found again and summed up like any other."""
    odd = "a\0b\\u0000'\"é😀\u2400"
    start = micros(START)
    failed = event("e", user_id=odd, ip_address="203.0.113.9", details={"success": False, "failure_reason": odd})
    other = event("f", 1, ip_address="203.0.113.9", details={"success": False, "failure_reason": "expired"})
    noticed = event("n", 2, event_type=EventType.ANOMALY, user_id=odd, details={"entity": "erin", "metric": odd})
    read = event("d", 3, event_type=EventType.DATA_ACCESS, details={"table_name": odd, "sensitive": True})
    about = signal("s", subject=odd, subject_type=SubjectType.USER, group={"user_id": odd})
    said = Outcome(position=4, signals=[about], incident_of={"s": "i"}, actions=[action("a", target=odd, reason=odd)])

    async def kept(store: Store) -> None:
        items = [pending(item) for item in (failed, other, noticed, read)]
        assert len((await store.accept(items)).events) == 4
        assert (await store.accept(items)).duplicates == {0, 1, 2, 3}
        assert (await store.accept(items[:1])).conflicts == frozenset()
        await store.apply(said)

    async def asked(store: Store) -> None:
        assert [item.event for item in await store.list_events(10, user_id=odd)] == [noticed, failed]
        found = await store.signals_of([(odd, SubjectType.USER)])
        assert found == {(odd, SubjectType.USER): [(about, "i")]}
        assert [one.target for one in await store.automatic_blocks([odd])] == [odd]
        assert [one.reason for one in await store.actions_in_force(500)] == [odd]
        assert [item.event for item in await store.anomalies(limit=5, entity="frank")] == []
        assert [item.event for item in await store.events_naming([odd], start, start + 9, 10)] == [failed]
        [source] = (await store.summary(start)).sources
        assert (source.failures, "expired" in source.reasons) == (2, True)

    on_store(kept)
    on_store(asked)


def test_anomalies_are_found_by_whom_they_are_about(on_store: Any) -> None:
    """And by time, user and number; what is no anomaly is none."""

    def noticed(name: str, entity: str, seconds: int) -> Event:
        return event(name, seconds, event_type=EventType.ANOMALY, user_id=entity, details={"entity": entity})

    items = [noticed("a", "erin", 0), noticed("b", "frank", 1), event("c", 2, user_id="erin"), noticed("d", "erin", 3)]

    async def asked(store: Store) -> list[list[str]]:
        await store.accept([pending(item) for item in items])
        start = micros(START)
        answers = [
            await store.anomalies(entity="erin"),
            await store.anomalies(entity="erin", limit=1),
            await store.anomalies(before=4),
            await store.anomalies(since=start + 1, until=start + 2_000_000),
            await store.anomalies(user_id="erin", upto=2),
            await store.anomalies(ids=["d", "a", "x"]),
        ]
        return [[item.event.event_id for item in answer] for answer in answers]

    assert on_store(asked) == [["d", "a"], ["d"], ["b", "a"], ["b"], ["a"], ["d", "a"]]


def test_baselines_and_links_are_kept_and_replaced(on_store: Any) -> None:
    """What is learnt of an entity is one row, whichever day; what joins subjects is there once and from either side."""
    one, other = (SubjectType.USER, "zoë\0"), (SubjectType.IP, "203.0.113.9")

    async def work(store: Store) -> None:
        records = {("user", name): name.encode() for name in ("b", "a", "Z", "ä")}
        await store.save_baselines(5, records, b"all")
        await store.save_baselines(6, {("user", "b"): b"new"}, b"more")
        assert await store.baseline_records([("user", "b"), ("user", "a"), ("ip", "a")]) == {
            ("user", "b"): b"new",
            ("user", "a"): b"a",
        }
        assert await store.organisation_record() == b"more"
        seen: list[tuple[str, str]] = []
        while some := await store.baseline_entities(5, seen[-1] if seen else ("", ""), 1):
            seen += some
        assert sorted(seen) == [("user", "Z"), ("user", "a"), ("user", "ä")]
        for hour in (7, 7, 8):
            await store.apply(Outcome(position=0, links=[link(one, other, hour)]))
        assert await store.links_of([one], range(7, 8)) == await store.links_of([one], range(8))
        assert {found[:2] for found in await store.links_of([other], range(20))} == {(other, one)}
        assert len(await store.links_of([other], range(20))) == 2

    on_store(work)


def test_what_is_old_is_pruned_and_what_holds_stays(on_store: Any) -> None:
    """Events that a quarantine rests on, unjudged ones and blocks in force are kept, whatever their age."""
    far = micros(START + timedelta(days=9))

    async def work(store: Store) -> dict[str, int]:
        await store.accept([pending(event(f"e{n}", n)) for n in range(6)])
        held = action("q", action_type=ActionType.IP_BLOCK, expiration=None)
        over = action("x", status=ActionStatus.EXPIRED)
        proof = Evidence(action_id="q", bundle=b"b", sha256="0" * 64, events=(2, 3))
        await store.apply(
            Outcome(position=5, actions=[held, over], signals=[signal("s", last=5)], evidence=[proof, proof])
        )
        await store.save_baselines(1, {("user", "a"): b"x"}, b"all")
        return await store.prune(far, far, 0)

    gone = on_store(work)
    assert {name: number for name, number in gone.items() if number} == {
        "events": 3,
        "signals": 1,
        "security_actions": 1,
        "baselines": 1,
    }
    kept = on_store(lambda store: store.events_after(0, 10))
    assert [item.seq for item in kept] == [2, 3, 6]
    assert on_store(lambda store: store.evidence("q")).events == (2, 3)


def test_room_that_comes_back_at_once_explains_one_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that had no room a moment ago is no broken disk; one that still can't be written to is."""
    room = iter([False, True, True, False, True, True])
    monkeypatch.setattr(sqlite, "_no_room", lambda _: not next(room))

    def fails(_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_WRITE"
        raise error

    async def work() -> None:
        file = await sqlite.SqliteFile.opened(path)
        for expected in (StoreFull, StoreFull):
            with pytest.raises(expected):
                await file.write(fails, rows=1)
        await file.write(lambda _: None, rows=1)
        with pytest.raises(StoreLost):
            await file.write(fails, rows=1)

        other = await sqlite.SqliteFile.opened(path.with_name("other.db"))
        for expected in (StoreFull, StoreFull, StoreLost):
            with pytest.raises(expected):
                await other.write(fails, rows=1)
        await other.close()
        await file.close()

    asyncio.run(work())


def test_a_new_file_has_the_schema_that_the_steps_make() -> None:
    """A file made today and one that came all the way are the same; `python -m tests.support.schema` writes it anew."""
    assert SCHEMA.read_text(encoding="utf-8") == schema()


def test_a_file_of_an_earlier_version_goes_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the schema at hand is of another version, the steps make a new file, and it comes out the same."""
    made = tmp_path / "sqlite.sql"
    made.write_text(SCHEMA.read_text(encoding="utf-8").replace(f"-- version {newest_version()}", "-- version 0001"))
    monkeypatch.setattr("sentinel.storage.migrations.SCHEMA", made)
    _opened(tmp_path / "steps.db")
    monkeypatch.undo()
    _opened(tmp_path / "at-once.db")
    assert _tables(tmp_path / "steps.db") == _tables(tmp_path / "at-once.db")


def _opened(path: Path) -> None:
    async def once() -> None:
        await (await Store.open(path)).close()

    asyncio.run(once())


def _tables(path: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return {(kind, name, " ".join((made or "").split())) for kind, name, made in rows}
