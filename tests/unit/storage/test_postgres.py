"""Tests of sentinel.storage.postgres: what a 202 promises when the database is somebody else's process."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests.support.postgres import Postgres
from tests.support.proxy import Wire, wire_to
from tests.support.service import eventually
from tests.support.stored import read
from tests.unit.storage.test_sql import action, event, pending

from sentinel.audit import Entry, Status, verify
from sentinel.errors import ConfigError
from sentinel.storage import PATIENCE, AuditEntry, LeaseLost, Outcome, Overtaken, Store, StoreUnable, state_of
from sentinel.storage import postgres as postgres_storage
from sentinel.storage.statements import AUDIT_ENTRIES
from sentinel.storage.tables import metadata
from sentinel.storage.values import StoreAway, StoreLost

SOON = 30


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
def wire(postgres: Postgres) -> Iterator[Wire]:
    with wire_to(postgres.port) as wire:
        yield wire


@pytest.fixture
def through(wire: Wire, url: str) -> str:
    """The same database, by way of the wire."""
    return url.replace(f":{urlsplit(url).port}/", f":{wire.port}/")


def on(place: str, work: Callable[[Store], Awaitable[Any]]) -> Any:
    async def session() -> Any:
        store = await Store.open(place)
        try:
            return await asyncio.wait_for(work(store), SOON)
        finally:
            store.stop_waiting()
            await store.close()

    return asyncio.run(session())


async def persevering(write: Callable[[], Awaitable[Any]]) -> Any:
    """Try again until the store is back, as all that writes does."""
    while True:
        try:
            return await write()
        except LeaseLost:
            raise
        except StoreUnable:
            await asyncio.sleep(0.05)


async def until(holds: Callable[[], Any]) -> None:
    await asyncio.to_thread(eventually, holds, seconds=SOON, what="the wire is cut")


async def until_lease(store: Store) -> None:
    for _ in range(20 * SOON):
        if await persevering(store.take_lease):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("nobody else judges, and it can't")


def names(url: str) -> list[str]:
    return [row[0] for row in read(url, "SELECT event_id FROM events ORDER BY seq")]


# --- who may own it


def test_a_start_that_meets_nodes_at_work_crosswise_is_made_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends one of two that wait for each other; where that is the one that starts, it begins again."""
    migrate, ended = postgres_storage.migrate, iter(range(2))

    def crosswise(connection: Any) -> None:
        migrate(connection)
        if next(ended, None) is not None:
            connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'crosswise' USING ERRCODE = '40P01'; END $$")

    monkeypatch.setattr(postgres_storage, "migrate", crosswise)

    async def accepts(store: Store) -> None:
        assert (await store.accept([pending(event("e", 1))])).events

    on(url, accepts)
    assert next(ended, None) is None


def test_an_earlier_version_and_this_one_keep_each_other_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the numbers in memory; both would give the same ones to different events. No password in what is said."""
    monkeypatch.setattr("sentinel.storage.postgres._OWN_SECONDS", 0.1)
    lock = f"SELECT pg_try_advisory_lock({int.from_bytes(b'Sentinel')})"

    async def first() -> None:
        earlier = await asyncpg.connect(url)
        assert await earlier.fetchval(lock)
        with pytest.raises(ConfigError, match="another Sentinel, of an earlier version, has this database") as caught:
            await Store.open(url)
        assert "sesame" not in str(caught.value)
        await earlier.close()

    async def second(_: Store) -> None:
        assert await asyncio.to_thread(read, url, lock) == [(False,)]
        assert (await asyncio.to_thread(state_of, url)).owned

    asyncio.run(first())
    on(url, second)
    assert not state_of(url).owned


def test_processes_that_share_a_database_number_without_gaps(url: str) -> None:
    """Events, changes and audit entries, at once from three: each number once, and each event's id once."""

    async def busy(store: Store, name: str) -> None:
        for n in range(20):
            mine, ours = pending(event(f"{name}{n}")), pending(event(f"shared{n}"))
            await store.accept([mine, ours])
            entry = AuditEntry(at=n, actor=name, operation="note", target="-")
            await store.apply(Outcome(position=0, actions=[action(f"{name}{n}", change_seq=0)], audit=[entry]))

    async def several() -> None:
        stores = [await Store.open(url) for _ in range(3)]
        await asyncio.gather(*(busy(store, name) for store, name in zip(stores, "abc", strict=True)))
        for store in stores:
            await store.look_around()
            assert (store.accepted_seq, store.change_seq, store.audited[0]) == (80, 60, 60)
            await store.close()

    asyncio.run(several())
    assert [row[0] for row in read(url, "SELECT seq FROM events ORDER BY seq")] == list(range(1, 81))
    assert [row[0] for row in read(url, "SELECT change_seq FROM security_actions ORDER BY 1")] == list(range(1, 61))
    hashed = verify((Entry(*row) for row in read(url, AUDIT_ENTRIES)), [], [])
    assert hashed.status is Status.UNANCHORED


def test_a_change_that_was_overtaken_is_refused(url: str) -> None:
    """What it rests on may not be so any more; nothing of it is written, and read again it can be."""

    async def several(store: Store) -> None:
        other = await Store.open(url)
        seen = store.turn
        await other.apply(Outcome(position=0, actions=[action("theirs", change_seq=0)]))
        with pytest.raises(Overtaken):
            await store.apply(Outcome(position=0, actions=[action("ours", change_seq=0)], turn=seen))
        assert store.trouble is None
        await store.look_around()
        stored = await store.apply(Outcome(position=0, actions=[action("ours", change_seq=0)], turn=store.turn))
        assert [one.change_seq for one in stored] == [2]
        await other.close()

    on(url, several)


def test_what_one_process_writes_the_others_are_told_of(url: str) -> None:
    """So that nobody need ask all the time; who wrote it is told nothing, and a connection that broke is made again."""

    async def several(store: Store) -> None:
        other, heard, own = await Store.open(url), asyncio.Event(), asyncio.Event()

        async def accepts() -> None:
            await other.accept([pending(event("a"))])

        async def changes() -> None:
            await other.apply(Outcome(position=0, dead=[(1, "r")]))

        await until_told(other, own, lambda: store.accept([pending(event("b"))]))
        own.clear()
        for write in (accepts, changes):
            await until_told(store, heard, write)
        assert not own.is_set()
        await asyncio.to_thread(read, url, _END_LISTENERS)
        await until_told(store, heard, accepts)
        await other.close()

    on(url, several)


_END_LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^(LISTEN|SELECT 1$)'"


async def until_told(store: Store, heard: asyncio.Event, write: Callable[[], Awaitable[Any]]) -> None:
    """Write until it is heard: whoever has just begun to listen missed what came before."""
    heard.clear()
    store.when_news(heard.set)
    for _ in range(20 * SOON):
        await persevering(write)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(heard.wait(), 0.05)
            return
    raise AssertionError("nothing is heard")


# --- who judges


def test_one_judges_and_another_takes_over_when_it_is_gone(url: str) -> None:
    """What only the judge may write is refused to all others, and to whoever was the judge before."""
    outcome = Outcome(position=1, judging=True)

    async def several(store: Store) -> None:
        await store.accept([pending(event("a"))])
        first, second = await Store.open(url), await Store.open(url)
        assert await first.take_lease()
        assert not await second.take_lease()
        await first.apply(outcome)
        with pytest.raises(LeaseLost):
            await second.apply(outcome)
        with pytest.raises(LeaseLost):
            await second.accept([pending(event("b"))], judging=True)
        await second.look_around()
        assert second.judge is not None
        assert (second.processed_seq, second.judge.settled) == (1, False)
        await first.tell_settled()
        await second.look_around()
        assert second.judge.settled
        await first.close()
        await until_lease(second)
        await second.apply(outcome)
        await second.look_around()
        assert not second.judge.settled
        await second.close()

    on(url, several)


def test_a_judge_whose_session_broke_goes_on_unless_another_has_judged(wire: Wire, through: str, url: str) -> None:
    """A server that was restarted costs nothing; one that was cut off must not write what it worked out before."""
    outcome = Outcome(position=0, judging=True, dead=[(1, "reason")])

    async def cut_off(store: Store) -> None:
        assert await store.take_lease()
        wire.cut()
        wire.mend()
        await persevering(lambda: store.apply(outcome))
        assert store.judging
        wire.cut()
        other = await Store.open(url)
        await until_lease(other)
        wire.mend()
        await persevering(lambda: store.accept([pending(event("a"))]))  # anybody may
        with pytest.raises(LeaseLost):
            await store.apply(outcome)
        assert not store.judging
        assert not await store.take_lease()
        await other.apply(outcome)
        await other.close()
        await until_lease(store)

    on(through, cut_off)


def test_a_judge_of_whom_nothing_is_heard_is_replaced(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was stopped, or hangs, and its session lives on: who stands by ends that."""
    monkeypatch.setitem(__import__("sentinel.storage.postgres", fromlist=["_SILENT"])._SILENT, "silent", 500_000)

    async def several(store: Store) -> None:
        silent = await Store.open(url)
        assert await silent.take_lease()
        await until_lease(store)
        with pytest.raises(LeaseLost):
            await persevering(lambda: silent.apply(Outcome(position=1, judging=True)))
        await silent.close()

    on(url, several)


def test_who_was_forgotten_stops(url: str) -> None:
    """After a day away nobody knows any more what became of its last commit."""

    async def forgotten(store: Store) -> None:
        await asyncio.to_thread(read, url, "DELETE FROM nodes")
        for _ in range(2):
            with pytest.raises(StoreLost, match="forgotten"):
                await store.accept([pending(event("a"))])

    on(url, forgotten)
    assert names(url) == []


@pytest.mark.parametrize(
    ("setting", "says"), [("fsync = off", "fsync=off"), ("default_transaction_read_only = on", "schema")]
)
def test_a_server_that_can_not_keep_the_promise_is_refused(
    postgres: Postgres, url: str, setting: str, says: str
) -> None:
    """202 means fsynced; who runs PostgreSQL without that learns it at the start, not after a power cut."""
    name, value = setting.split(" = ")
    postgres.sql(f"ALTER SYSTEM SET {setting}", "postgres")
    try:
        postgres.sql("SELECT pg_reload_conf()", "postgres")
        eventually(lambda: postgres.sql(f"SHOW {name}", "postgres") == [[value]], seconds=30, what="it is taken up")
        with pytest.raises(ConfigError, match=says):
            on(url, lambda store: store.probe())
    finally:
        postgres.sql(f"ALTER SYSTEM RESET {name}", "postgres")
        postgres.sql("SELECT pg_reload_conf()", "postgres")


def test_every_write_is_synchronous(postgres: Postgres, url: str) -> None:
    """A server that promises less by default promises it to others."""
    postgres.sql(f"ALTER DATABASE {urlsplit(url).path[1:]} SET synchronous_commit = off", "postgres")

    async def asked(store: Store) -> str:
        return str(await store._write(lambda on: on.exec_driver_sql("SHOW synchronous_commit").scalar(), rows=0))

    assert on(url, asked) == "on"


def test_an_address_where_nobody_listens_is_said(wire: Wire, through: str) -> None:
    """At the start, with the place and without the password."""
    wire.close()
    with pytest.raises(ConfigError, match=f"postgresql://127.0.0.1:{wire.port}/s.*can't be reached") as caught:
        on(through, lambda store: store.probe())
    assert "sesame" not in str(caught.value)


# --- connections that break


@pytest.mark.parametrize("heard", [True, False])
def test_an_answer_to_commit_that_got_lost_is_found_out(wire: Wire, through: str, url: str, heard: bool) -> None:
    """Committed or not: whoever waits is told what became of it, and no number is given twice or left out."""

    async def doubted(store: Store) -> None:
        await store.accept([pending(event("a"))])
        told: list[StoreUnable] = []
        store.when_away(told.append)
        wire.cut_at(b"COMMIT", pass_on=heard)
        writing = asyncio.create_task(store.accept([pending(event("b"))]))
        await until(lambda: told)
        assert not writing.done(), "nobody can know yet"
        with pytest.raises(StoreAway):  # who comes now is not kept waiting
            await store.probe()
        assert store.trouble is not None
        wire.mend()
        if heard:
            assert [item.seq for item in (await writing).events] == [2]
        else:
            with pytest.raises(StoreAway):
                await writing
        again = await persevering(lambda: store.accept([pending(event("b")), pending(event("c"))]))
        assert again.duplicates == ({0} if heard else frozenset())
        assert (store.trouble, store.away) == (None, None)

    on(through, doubted)
    assert wire.cuts == 1
    assert read(url, "SELECT seq, event_id FROM events ORDER BY seq") == [(1, "a"), (2, "b"), (3, "c")]


def test_an_outcome_that_got_lost_at_commit_is_written_once(wire: Wire, through: str, url: str) -> None:
    """Changes stay without gaps and the audit chain without a doubled entry, whatever became of the first try."""

    async def doubted(store: Store) -> None:
        for number, heard in enumerate((True, False, True)):
            wire.cut_at(b"COMMIT", pass_on=heard)
            outcome = Outcome(position=number + 1, actions=[action(f"a{number}", change_seq=0)])
            writing = asyncio.create_task(persevering(lambda outcome=outcome: store.apply(outcome)))
            await until(lambda number=number: wire.cuts > number)
            wire.mend()
            assert [a.change_seq for a in await writing] == [number + 1]

    on(through, doubted)
    assert read(url, "SELECT id, change_seq FROM security_actions ORDER BY change_seq") == [
        ("a0", 1),
        ("a1", 2),
        ("a2", 3),
    ]


def test_who_ends_while_in_doubt_ends(wire: Wire, through: str, url: str) -> None:
    """A process that is asked to end does not wait for a server; its next start finds what was committed."""

    async def doubted(store: Store) -> None:
        wire.cut_at(b"COMMIT", pass_on=True)
        writing = asyncio.create_task(store.accept([pending(event("a"))]))
        await until(lambda: wire.cuts)
        store.stop_waiting()
        with pytest.raises(StoreAway):
            await writing

    on(through, doubted)
    assert on(url, lambda store: store.accept([pending(event("a")), pending(event("b"))])).duplicates == {0}
    assert read(url, "SELECT seq, event_id FROM events ORDER BY seq") == [(1, "a"), (2, "b")]


def test_connections_that_the_server_ends_are_made_again(postgres: Postgres, url: str) -> None:
    """Readers notice nothing; a writer whose transaction was not begun notices nothing either after one refusal."""
    name = urlsplit(url).path[1:]

    async def ended(store: Store) -> None:
        await store.accept([pending(event("a"))])
        await store.events_after(0, 10)
        sessions = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        await asyncio.to_thread(postgres.sql, sessions, "postgres")
        assert [item.event.event_id for item in await store.events_after(0, 10)] == ["a"]
        await persevering(lambda: store.accept([pending(event("b"))]))

    on(url, ended)
    assert names(url) == ["a", "b"]


def test_who_reads_for_a_request_does_not_wait_for_ever(wire: Wire, through: str) -> None:
    """And what runs by itself does wait, and goes on where it was."""

    async def away(store: Store) -> None:
        await store.accept([pending(event("a"))])
        wire.cut()
        waiting = asyncio.create_task(store.events_after(0, 10))
        PATIENCE.set(0.3)
        with pytest.raises(StoreAway, match="PostgreSQL can't be reached"):
            await store.events_after(0, 10)
        assert not waiting.done()
        wire.mend()
        assert [item.event.event_id for item in await waiting] == ["a"]

    on(through, away)


def test_a_network_that_swallows_everything_is_told_from_a_long_query(wire: Wire, through: str, url: str) -> None:
    """Who reads for a request gives up where nobody else is answered either, and waits where others are."""

    async def asked(store: Store) -> None:
        await store.accept([pending(event("a"))])
        waiting = asyncio.create_task(store.events_after(0, 10))
        PATIENCE.set(0.1)
        other = await asyncpg.connect(url)
        async with other.transaction():
            await other.execute("LOCK TABLE events")
            long = asyncio.create_task(store.events_after(0, 10))
            await asyncio.sleep(0.5)
            assert not long.done()
        assert [item.event.event_id for item in await long] == ["a"]
        await other.close()
        with wire.held_up():
            with pytest.raises(StoreAway, match="PostgreSQL can't be reached"):
                await store.events_after(0, 10)
            assert store.trouble is not None
            with pytest.raises(StoreAway):  # at once
                await store.events_after(0, 10)
        assert [item.event.event_id for item in await waiting] == ["a"]
        await persevering(store.probe)
        assert store.trouble is None

    on(through, asked)


def test_a_lock_that_somebody_else_keeps_is_pushed_back_not_fatal(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person in psql has locked a table: senders are told to come again."""
    monkeypatch.setitem(__import__("sentinel.storage.postgres", fromlist=["_SETTINGS"])._SETTINGS, "lock_timeout", "50")

    async def locked(store: Store) -> None:
        await store.probe()
        other = await asyncpg.connect(url)
        async with other.transaction():
            await other.execute("LOCK TABLE events")
            with pytest.raises(StoreUnable, match="55P03"):
                await store.accept([pending(event("a"))])
            assert store.trouble is not None
        await other.close()
        await store.accept([pending(event("a"))])
        assert store.trouble is None

    on(url, locked)


def test_a_connection_that_is_broken_off_while_it_is_made_is_closed(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would take one of the server's few places for as long as the process lives."""

    async def breaks_off(_: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr("sentinel.storage.postgres._prepare", breaks_off)
    sessions = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{urlsplit(url).path[1:]}'"

    async def tried() -> None:
        with pytest.raises(asyncio.CancelledError):
            await Store.open(url)
        await asyncio.to_thread(
            eventually, lambda: postgres.sql(sessions, "postgres") == [["0"]], seconds=SOON, what="it is closed"
        )

    asyncio.run(tried())


def test_a_process_takes_seven_connections_and_no_more(postgres: Postgres, url: str) -> None:
    """However many ask at once: who plans for a server's places counts on it. One more would be refused here."""
    name = urlsplit(url).path[1:]
    postgres.sql(f"ALTER ROLE {name} CONNECTION LIMIT 7", "postgres")

    async def busy(store: Store) -> None:
        for turn in range(3):
            writes = [store.accept([pending(event(f"{turn}-{n}"))]) for n in range(20)]
            await asyncio.gather(*(store.events_after(0, 100) for _ in range(100)), *writes)
        assert len(await store.events_after(0, 100)) == 60
        taken = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
        await asyncio.to_thread(
            eventually, lambda: postgres.sql(taken, "postgres") == [["7"]], seconds=SOON, what="all are in use"
        )

    on(url, busy)


# --- its schema


def test_the_migrations_make_the_tables_that_the_code_means(url: str) -> None:
    """Tables, columns and indexes, partial ones too, by Alembic's own comparison."""

    async def compared(store: Store) -> list[Any]:
        def differences(connection: Any) -> list[Any]:
            found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": False}), metadata)
            return [each for each in found if not _only_there(each)]

        return await store._read(differences)

    assert on(url, compared) == []
    short = "SELECT table_name, column_name FROM information_schema.columns WHERE character_maximum_length IS NOT NULL"
    assert {row[0] for row in read(url, f"{short} AND table_schema = 'public'")} <= {"alembic_version"}


_COMPUTED = {"created_by_user_id", "created_by_session_id", "execution_details", "success", "error_message"}
_PARTS = re.compile(r"(events|data_access_log|audit_log)_(p\d+|rest|before)|event_ids|event_parts")


def _only_there(difference: Any) -> bool:
    """Whether it is what PostgreSQL has beside the tables that the code means: columns it computes, and parts."""
    kind, *rest = difference
    match kind:
        case "remove_column":
            return rest[1] == "security_actions" and rest[2].name in _COMPUTED
        case "remove_table":
            return _PARTS.fullmatch(rest[0].name) is not None
        case "remove_index":
            return _PARTS.fullmatch(rest[0].table.name) is not None
        case "add_constraint":  # an event's id is unique over all parts by `event_ids`
            return [column.name for column in rest[0].columns] == ["event_id"]
    return False
