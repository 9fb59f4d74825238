"""Tests of sentinel.storage.parts: the logs of events in PostgreSQL, made in parts and dropped in parts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from tests.support.postgres import Postgres
from tests.support.stored import read
from tests.unit.storage.conftest import restarting
from tests.unit.storage.test_sql import START, action, event, pending

import sentinel.storage
from sentinel.model import ActionType, EventType, micros
from sentinel.storage import Evidence, Outcome, Store, StoreUnable
from sentinel.storage.parts import next_size, prove_numbers
from sentinel.storage.postgres import _connect, _engine
from sentinel.storage.values import LeaseLost

OLD = {"application_name": "sentinel 0123"}
"""How a node of the version before calls its sessions."""
FAR = micros(START + timedelta(days=100))
DAY = 86_400_000_000


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
def on_server(url: str) -> Callable[[Callable[[Store], Awaitable[Any]]], Any]:
    return restarting(url)


def sql(url: str, *statements: str) -> list[Any]:
    return [read(url, statement) for statement in statements][-1]


def small_parts(url: str, size: int) -> None:
    """Make the first part of a new store so small that a test can fill it."""
    statements = [
        f"DROP TABLE {table}_p1; CREATE TABLE {table}_p1 PARTITION OF {table} FOR VALUES FROM (1) TO ({size + 1});"
        for table in ("events", "data_access_log", "audit_log")
    ]

    async def made() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("".join(statements) + f"UPDATE event_parts SET upto = {size}")
        await connection.close()

    asyncio.run(made())


@pytest.fixture
def small(url: str, on_server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store whose parts have ten numbers each."""
    monkeypatch.setattr("sentinel.storage.parts._SMALLEST", 10)
    monkeypatch.setattr("sentinel.storage.parts._STEP", 1)
    on_server(lambda store: store.probe())
    small_parts(url, 10)
    return url


def parts(url: str, table: str = "events") -> list[str]:
    return [
        row[0]
        for row in read(
            url,
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            f" WHERE inhparent = '{table}'::regclass ORDER BY length(relname), relname",
        )
    ]


def where(url: str) -> dict[str, str]:
    return dict(read(url, "SELECT event_id, tableoid::regclass::text FROM events ORDER BY seq"))


async def filled(store: Store, names: Sequence[str], **fields: Any) -> None:
    for name in names:
        kind = EventType.DATA_ACCESS if name.startswith("d") else EventType.AUTHENTICATION
        await store.accept([pending(event(name, event_type=kind, **fields))])


# --- made before they are needed


def test_a_part_is_there_before_it_is_needed(small: str, on_server: Any) -> None:
    """What comes after the last number of one goes to the next, for all the logs, and order and numbers go on."""

    async def work(store: Store) -> list[int]:
        for start in range(0, 40, 8):
            await filled(store, [f"d{n}" for n in range(start, start + 8)])
            await store.keep_parts(DAY)
        return [item.seq for item in await store.events_after(0, 100)]

    assert on_server(work) == list(range(1, 41))
    assert parts(small)[:5] == ["events_p1", "events_p11", "events_p21", "events_p31", "events_p41"]
    assert set(where(small).values()) == {"events_p1", "events_p11", "events_p21", "events_p31"}
    assert read(small, "SELECT count(*) FROM data_access_log_p21") == [(10,)]


def test_no_event_is_refused_because_a_part_is_missing(small: str, on_server: Any) -> None:
    """It goes to the rest, is a duplicate like any other, and what is made later begins after it."""

    async def work(store: Store) -> frozenset[int]:
        await filled(store, [f"e{n}" for n in range(25)])
        await store.keep_parts(DAY)
        await filled(store, ["new"])
        again = await store.accept([pending(event(name)) for name in ("e1", "e12", "e24", "new", "newer")])
        assert [item.seq for item in again.events] == [27]
        return again.duplicates

    assert on_server(work) == {0, 1, 2, 3}
    places = where(small)
    assert (places["e9"], places["e10"], places["e24"]) == ("events_p1", "events_rest", "events_rest")
    assert (places["new"], places["newer"]) == ("events_p26", "events_p26")


def test_a_conflict_is_told_from_a_duplicate_in_whichever_part(small: str, on_server: Any) -> None:
    """The same id with other contents, against parts that are closed, the last one and the rest."""

    async def work(store: Store) -> None:
        await filled(store, [f"e{n}" for n in range(12)])
        await store.keep_parts(DAY)
        await filled(store, [f"e{n}" for n in range(12, 25)])
        for name in ("e1", "e11", "e24"):
            again = await store.accept([pending(event(name)), pending(event(name, 1))])
            assert (again.duplicates, again.conflicts) == ({0, 1}, {1})
            [found] = await store.list_events(5, event_id=name)
            assert found.event.event_id == name

    on_server(work)


def test_only_the_node_that_judges_makes_parts(small: str, on_server: Any) -> None:
    """Two that made the same one would be in each other's way."""

    async def work(store: Store) -> None:
        await filled(store, ["e1"])
        other = await Store.open(small)
        with pytest.raises(LeaseLost):
            await other.keep_parts(DAY)
        await other.close()

    on_server(work)


def test_who_reads_a_log_for_long_is_waited_for_only_so_long(
    small: str, on_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all who write would wait behind the one who makes a part; it is made the next time."""
    monkeypatch.setattr("sentinel.storage.parts._SOON", text("SET LOCAL lock_timeout = '50ms'"))

    async def work(store: Store) -> None:
        await filled(store, ["e1"])
        reader = await asyncpg.connect(small)
        async with reader.transaction():
            await reader.fetch("SELECT * FROM events")
            with pytest.raises(StoreUnable, match="55P03"):
                await store.keep_parts(DAY)
            await filled(store, ["e2"])
        await reader.close()
        await store.keep_parts(DAY)

    on_server(work)
    assert "events_p11" in parts(small)


async def begun(store: Store, doing: asyncio.Future[Any]) -> None:
    """Return in the middle of a write, or when there was none."""
    for _ in range(100_000):
        if store._backend._lock.locked() or doing.done():
            return
        await asyncio.sleep(0)
    raise AssertionError("nothing is written")


_DUTIES: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "parts": lambda store: store.keep_parts(DAY),
    "pruning": lambda store: store.prune(FAR, FAR, 0, DAY),
    "settling": lambda store: store.tell_settled(),
}


@pytest.mark.parametrize("duty", _DUTIES)
def test_a_duty_that_is_cancelled_writes_to_its_end(small: str, on_server: Any, duty: str) -> None:
    """As when another node takes over: half a transaction would be in the way of the next one on the connection."""

    async def work(store: Store) -> None:
        for n in range(5):
            await store.accept([pending(event(f"e{n}"))])
            doing = asyncio.ensure_future(_DUTIES[duty](store))
            await begun(store, doing)
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)
            await store.accept([pending(event(f"after{n}"))])
        assert store.trouble is None

    on_server(work)


@pytest.mark.parametrize(
    ("last", "numbers", "elapsed", "expected"),
    [
        (1_000_000, 100, DAY, 1_000_000),  # hardly anything comes
        (1_000_000, 2_500_000, DAY, 2_500_000),
        (1_000_000, 10**9, DAY, 4_000_000),  # a burst does not make one for years
        (64_000_000, 100, DAY, 16_000_000),
        (5_000_000, 0, 0, 5_000_000),  # nothing is known yet
    ],
)
def test_a_part_is_as_large_as_its_time_needs(last: int, numbers: int, elapsed: int, expected: int) -> None:
    """By how fast numbers were given out, and never much larger or smaller than the one before."""
    assert next_size(last, numbers, elapsed, DAY) == expected


# --- looked into only where a time can be


def test_closed_parts_tell_from_which_number_on_a_time_can_be(small: str, on_server: Any) -> None:
    """By the latest time of all events up to a part's end; whoever asks finds the same as without."""

    async def work(store: Store) -> None:
        for n in range(45):
            await store.accept([pending(event(f"e{n}", 100 * n if n != 3 else 1_550))])
            await store.keep_parts(DAY)
        start = micros(START)
        assert store.first_since(start) == 1
        assert store.first_since(start + 1_500_000_000) == 1  # the one that is out of order
        assert store.first_since(start + 1_560_000_000) == 11
        assert store.first_since(start + 3_950_000_000) == 41
        for since in (0, 1_549, 1_551, 2_000, 4_200):
            expected = [n for n in range(45) if (100 * n if n != 3 else 1_550) >= since]
            at = start + since * 1_000_000
            found = [item.event.event_id for item in await store.list_events(100, since=at)]
            assert found == [f"e{n}" for n in reversed(expected)]
            assert await store.events_since(at, 100) == len(expected)
            read_again = [item.seq - 1 async for some in store.history(at, FAR, 100) for item in some]
            assert read_again == expected

    on_server(work)

    async def another(store: Store) -> None:
        assert store.first_since(micros(START) + 3_950_000_000) == 41

    on_server(another)


# --- dropped


def test_a_part_in_which_all_is_over_is_dropped(small: str, on_server: Any) -> None:
    """With its ids, which are free again; what is not judged, or evidence, stays, and stays a duplicate."""

    async def work(store: Store) -> dict[str, int]:
        for start in range(0, 30, 10):
            await filled(store, [f"d{n}" for n in range(start, start + 10)])
            await store.keep_parts(DAY)
        held = action("q", action_type=ActionType.IP_BLOCK, expiration=None)
        proof = Evidence(action_id="q", bundle=b"b", sha256="0" * 64, events=(4,))
        await store.apply(Outcome(position=25, actions=[held], evidence=[proof]))
        return await store.prune(FAR, FAR, 0, DAY)

    gone = on_server(work)
    assert (gone["events"], gone["data_access_log"], gone["audit_log"]) == (24, 25, 0)
    assert {"events_p1", "events_p11"}.isdisjoint(parts(small))
    assert {"data_access_log_p1", "audit_log_p11"}.isdisjoint(
        parts(small, "data_access_log") + parts(small, "audit_log")
    )
    assert where(small) == {"d3": "events_rest"} | {f"d{n}": "events_p21" for n in range(25, 30)}
    ids = sql(small, "SELECT event_id FROM event_ids ORDER BY seq")
    assert ids == [("d3",), *((f"d{n}",) for n in range(25, 30))]
    assert sql(small, "SELECT count(*) FROM pg_class WHERE relname LIKE 'events_gone%'") == [(0,)]

    async def again(store: Store) -> None:
        sent = await store.accept([pending(event(f"d{n}", event_type=EventType.DATA_ACCESS)) for n in (3, 2, 29)])
        assert sent.duplicates == {0, 2}
        assert sent.conflicts == frozenset()
        assert [item.seq for item in sent.events] == [31]
        await store.apply(Outcome(position=31, actions=[action("q", status="expired")]))
        assert (await store.prune(FAR, FAR, 0, DAY))["events"] == 7

    on_server(again)
    assert sql(small, "SELECT count(*) FROM event_ids") == [(0,)]


def test_of_a_part_that_lasts_longer_rows_are_deleted(small: str, on_server: Any) -> None:
    """Nothing stays more than a span above its time, and what is dropped soon is not deleted row by row."""
    start = micros(START)

    async def work(store: Store) -> None:
        for n in range(20):  # a day each
            await store.accept([pending(event(f"e{n}", 86_400 * n))])
        await store.keep_parts(DAY)
        await store.apply(Outcome(position=20))
        gone = await store.prune(start + 3 * DAY, 0, 0, 2 * DAY)
        assert gone["events"] == 3
        assert "events_p1" in await asyncio.to_thread(parts, small)
        gone = await store.prune(start + 8 * DAY, 0, 0, 2 * DAY)
        assert gone["events"] == 0  # it ends within two days, and goes as a whole then
        gone = await store.prune(start + 10 * DAY, 0, 0, 2 * DAY)
        assert gone["events"] == 7
        assert "events_p1" not in await asyncio.to_thread(parts, small)

    on_server(work)
    assert len(where(small)) == 10


def test_a_drop_that_was_broken_off_is_taken_up_again(
    small: str, on_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile an id of it is as good as new, and its new event is not forgotten with the old one."""

    async def work(store: Store) -> None:
        await filled(store, [f"e{n}" for n in range(12)])
        await store.keep_parts(DAY)
        await store.apply(Outcome(position=12))

        async def broken(_self: Store, _name: str) -> None:
            raise LeaseLost

        with monkeypatch.context() as patch:
            patch.setattr(Store, "_drop_retired", broken)
            with pytest.raises(LeaseLost):
                await store.prune(FAR, FAR, 0, DAY)
        assert [item.event.event_id for item in await store.events_after(0, 100)] == ["e10", "e11"]
        sent = await store.accept([pending(event("e10")), pending(event("e4"))])
        assert ([item.seq for item in sent.events], sent.duplicates) == ([13], {0})
        await store.prune(0, 0, 0, DAY)

    on_server(work)
    assert sql(small, "SELECT event_id, seq FROM event_ids ORDER BY seq") == [("e10", 11), ("e11", 12), ("e4", 13)]
    assert sql(small, "SELECT count(*) FROM pg_class WHERE relname LIKE 'events_gone%'") == [(0,)]


def test_who_reads_for_long_keeps_nothing_else_from_being_pruned(
    small: str, on_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part goes the next time; what else is over goes now, and who accepts is not held up."""
    monkeypatch.setattr("sentinel.storage.parts._SOON", text("SET LOCAL lock_timeout = '50ms'"))

    async def work(store: Store) -> None:
        await filled(store, [f"d{n}" for n in range(12)])
        await store.keep_parts(DAY)
        over = action("x", status="expired")
        await store.apply(Outcome(position=12, actions=[over]))
        reader = await asyncpg.connect(small)
        async with reader.transaction():
            await reader.fetch("SELECT * FROM events")
            gone = await store.prune(FAR, FAR, 0, DAY)
            assert (gone["data_access_log"], gone["security_actions"]) == (12, 1)
            assert "events_p1" in await asyncio.to_thread(parts, small)
            await filled(store, ["new"])
        await reader.close()
        assert (await store.prune(FAR, FAR, 0, DAY))["events"] == 10
        assert store.trouble is None

    on_server(work)
    assert "events_p1" not in parts(small)


# --- the version before


def migrated(url: str, revision: str, *, proven: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(sentinel.storage.__file__).with_name("migrations")))

    def work(connection: Connection) -> None:
        if proven:
            prove_numbers(connection)
        config.attributes["connection"] = connection
        there = connection.dialect.has_table(connection, "event_parts")
        (command.downgrade if there else command.upgrade)(config, revision)

    async def run() -> None:
        engine = _engine(partial(_connect, url))
        async with engine.connect() as connection:
            await connection.run_sync(work)
            await connection.commit()
        await engine.dispose()

    asyncio.run(run())


_ROW = "'{0}', {1}, {1}, false, 'authentication', 'low', NULL, NULL, NULL, 't', 'high', true, false"


def inserted(name: str, seq: int, at: int = 5) -> str:
    """Return how a row is written by hand, or by a node of the version before."""
    body = f'{{"event_id":"{name}","event_type":"authentication","severity":"low","timestamp":"2026-11-20T00:00:00Z"}}'
    return f"INSERT INTO events VALUES ({seq}, {_ROW.format(name, at)}, convert_to('{body}', 'UTF8'))"


async def as_old(url: str, *statements: str) -> str:
    connection = await asyncpg.connect(url, server_settings=OLD)
    try:
        return [await connection.execute(statement) for statement in statements][-1]
    finally:
        await connection.close()


@pytest.fixture
def earlier(url: str) -> str:
    """A store of the version before, with 50 events."""
    migrated(url, "0013")
    asyncio.run(as_old(url, *(inserted(f"e{n}", n) for n in range(1, 51))))
    return url


@pytest.mark.parametrize("proven", [False, True])
def test_the_table_of_before_becomes_a_part_as_it_is(earlier: str, on_server: Any, proven: bool) -> None:
    """No row is written again, what was there is found, and is a duplicate until it goes with its part."""
    file = sql(earlier, "SELECT relfilenode FROM pg_class WHERE relname = 'events'")
    if not proven:
        migrated(earlier, "head")

    async def work(store: Store) -> None:
        assert store.accepted_seq == 50
        sent = await store.accept([pending(event("e7")), pending(event("new"))])
        assert (sent.duplicates, [item.seq for item in sent.events]) == ({0}, [51])
        assert [item.seq for item in await store.list_events(5, event_id="e7")] == [7]
        assert [item.seq for item in await store.list_events(2)] == [51, 50]
        await store.keep_parts(DAY)

    on_server(work)
    assert sql(earlier, "SELECT relfilenode FROM pg_class WHERE relname = 'events_before'") == file
    first = 50_051 if proven else 51
    assert where(earlier)["new"] == ("events_before" if proven else "events_p51")
    assert f"events_p{first}" in parts(earlier)
    indexes = sql(earlier, "SELECT indexdef FROM pg_indexes WHERE tablename = 'events_before' ORDER BY indexname")
    assert len(indexes) == 5, "an index was built anew beside the one that was there"


def test_the_table_of_before_is_dropped_as_a_whole(earlier: str, on_server: Any) -> None:
    """And its ids with it, but those of evidence; from then on nothing of it is left."""
    migrated(earlier, "head")

    async def work(store: Store) -> None:
        held = action("q", action_type=ActionType.IP_BLOCK, expiration=None)
        proof = Evidence(action_id="q", bundle=b"b", sha256="0" * 64, events=(9,))
        await store.accept([pending(event("new"))])
        await store.apply(Outcome(position=50, actions=[held], evidence=[proof]))
        assert (await store.prune(6, 6, 0, DAY))["events"] == 49
        sent = await store.accept([pending(event(name)) for name in ("e7", "e9", "new")])
        assert (sent.duplicates, [item.seq for item in sent.events]) == ({1, 2}, [52])

    on_server(work)
    assert where(earlier) == {"e9": "events_rest", "new": "events_p51", "e7": "events_p51"}
    left = "SELECT count(*) FROM pg_class WHERE relname ~ '^events_(before|gone)' AND relkind = 'r'"
    assert sql(earlier, left) == [(0,)]


def test_nodes_of_the_version_before_go_on_until_they_are_restarted(earlier: str, on_server: Any) -> None:
    """What they write is known to all, what is known is refused to them, and what they prune is left alone."""
    migrated(earlier, "head")

    async def old() -> None:
        with pytest.raises(asyncpg.UniqueViolationError):
            await as_old(earlier, inserted("e7", 51))
        assert await as_old(earlier, inserted("theirs", 51), "UPDATE positions SET value = 51 WHERE name = 'accepted'")

    async def work(store: Store) -> None:
        sent = await store.accept([pending(event("theirs")), pending(event("ours"))])
        assert (sent.duplicates, [item.seq for item in sent.events]) == ({0}, [52])
        for name in ("theirs", "ours", "e7"):
            with pytest.raises(asyncpg.UniqueViolationError):
                await as_old(earlier, inserted(name, 53))
        assert await as_old(earlier, _PRUNED_BEFORE) == "DELETE 0"
        assert len(await store.events_after(0, 100)) == 52

    sql(earlier, "INSERT INTO positions VALUES ('accepted', 50) ON CONFLICT (name) DO UPDATE SET value = 50")
    asyncio.run(old())
    on_server(work)


_PRUNED_BEFORE = """
    DELETE FROM events WHERE ctid = ANY(ARRAY(SELECT ctid FROM events WHERE at < 100 AND seq <= 50 LIMIT 5000))"""
"""As they said it: places of rows, which mean something else in each part."""


def test_who_goes_back_finds_one_table_again(earlier: str, on_server: Any) -> None:
    """With every event, each id once; and the way up from there is the same as before."""
    migrated(earlier, "head")
    on_server(lambda store: store.accept([pending(event("new"))]))
    before = sql(earlier, "SELECT seq, event_id, at, body FROM events ORDER BY seq")
    migrated(earlier, "0013")
    assert sql(earlier, "SELECT seq, event_id, at, body FROM events ORDER BY seq") == before
    assert sql(earlier, "SELECT relkind::text FROM pg_class WHERE relname = 'events'") == [("r",)]
    with pytest.raises(asyncpg.UniqueViolationError):
        asyncio.run(as_old(earlier, inserted("new", 52)))
    left = "SELECT relname FROM pg_class WHERE relname ~ '(event_ids|event_parts|_before|_rest|_p[0-9]+)$'"
    assert sql(earlier, f"{left} AND relkind IN ('r', 'p', 'v')") == []

    async def again(store: Store) -> None:
        assert (await store.accept([pending(event("new")), pending(event("e50"))])).duplicates == {0, 1}

    on_server(again)
