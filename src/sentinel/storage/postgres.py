"""
PostgreSQL as the store needs it: the same promises as a file of our own, kept by a server that may be away.

Durability. 202 means committed with `synchronous_commit=on` on a server that has `fsync` on; another one is refused.

Several processes. Each has a row in `nodes`. Numbers come from rows that a transaction holds until its end (`shared`),
so it does not matter who writes. Judging is for one process at a time: the one whose writing session holds an advisory
lock. What only it may write goes through that session, so it can't reach the database once the lock is lost. Taking the
lock counts the row `lease` one up: who comes back after its session broke, and has the lock again, sees by that whether
somebody else has judged meanwhile, and then has to begin anew. A judge of whom nothing is heard for too long, because
it was stopped or its machine vanished, has its session ended by one that could take over.

Away. A connection that broke before COMMIT was sent has written nothing: `StoreAway`, and the same call works later.
One that broke while COMMIT was under way may have written all of it, and only the server knows. Whoever waits for such
a write goes on waiting until the server can be asked: the lock is free only once the old connection has ended there,
and `commits` says what became of it. So nothing is numbered or judged twice because a server was restarted. PostgreSQL
has `pg_xact_status` for the question, but after a crash it may answer it for another transaction: identifiers that
were not yet written down are given out again.

News. Each transaction that takes numbers tells so by NOTIFY, and a connection of its own listens. What gets lost while
that is broken is found by whoever looks now and then.

Readers wait for a server that is away as well, those for a request no longer than `PATIENCE`. Where a network swallows
what is said, nothing tells that from a long query but somebody new who asks and gets no answer either.

asyncpg needs an event loop. It has one of its own in a thread, so that what it takes to write thousands of rows does
not hold up the other one. SQLAlchemy lets the same jobs run there that run in SQLite's threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Self, TypeVar

import asyncpg
from sqlalchemy import Connection, NullPool, TextClause, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sentinel.audit import Entry
from sentinel.errors import ConfigError
from sentinel.storage.dialect import NUL
from sentinel.storage.migrations import known_versions, migrate, newest_version
from sentinel.storage.parts import prove_numbers
from sentinel.storage.ports import PATIENCE, Job, State, place_of
from sentinel.storage.shared import BEGIN, CHANNEL
from sentinel.storage.statements import AUDIT_ENTRIES
from sentinel.storage.values import LeaseLost, Overtaken, StoreAway, StoreFull, StoreLost, StoreUnable

__all__ = ["PostgresServer", "entries_of", "look"]

T = TypeVar("T")

_OWNER = int.from_bytes(b"Sentinel")
"""Key of the advisory lock that each process shares; a version that can't share the database takes it for itself."""
_JUDGE = int.from_bytes(b"Sntl-jdg")
"""Key of the lock of the process that judges."""
_MIGRATION = int.from_bytes(b"Sntl-mig")
_READERS = 5
_CONNECT_SECONDS = 5.0
_WRITE_SECONDS = 60.0
_READ_SECONDS = 120.0
_OWN_SECONDS = 5.0  # how long the lock of a process that was just killed may outlive it
_RETRY_SECONDS = 0.25
_LISTEN_AGAIN_SECONDS = 1.0
_SILENT_SECONDS = 15.0  # after which a judge that still has its lock is taken for stuck; it is heard of every 2 s
_FORGOTTEN_SECONDS = 86_400
_OLDEST = 130_000  # server versions as PostgreSQL numbers them
_SETTINGS = {
    "lock_timeout": "10s",  # as long as SQLite waits for whoever keeps the file locked
    # A version that knows nothing of parts lacks it, and triggers do its share (migration 0014).
    "sentinel.parts": "1",
    "jit": "off",  # no statement of ours runs long enough to gain by it
    # Whoever is stopped in the middle of a transaction would hold up all others.
    "idle_in_transaction_session_timeout": "20s",
    # A connection whose other end vanished without a word ends there, and its lock with it.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_FULL = {"53100"}
_LOCK_TIMEOUT = "55P03"
_IDLE_TOO_LONG = "25P03"
_DEADLOCK = "40P01"
_JOINS = 10  # attempts, each of which costs at least the second after which the server looks for a deadlock
_SILENT = {"high": _JUDGE >> 32, "low": _JUDGE & 0xFFFFFFFF, "silent": round(_SILENT_SECONDS * 1_000_000)}
_DAMAGED = {"XX001", "XX002"}
_PASSING = ("08", "25006", "40", "53", "55", "57", "58")
"""Beginnings of SQLSTATEs that the same statement need not meet again (PostgreSQL's appendix A)."""

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_JOIN = text(f"INSERT INTO nodes VALUES (:node, :name, {_NOW}, {_NOW}, 0, 0, false)")  # noqa: S608 - our own words
_LEAVE = text("DELETE FROM nodes WHERE id = :node")
_FORGET = text(f"DELETE FROM nodes WHERE seen_at < {_NOW} - {_FORGOTTEN_SECONDS}::bigint * 1000000")  # noqa: S608 - our own words
_COUNT = text(f"UPDATE nodes SET commits = commits + 1, seen_at = {_NOW} WHERE id = :node AND commits = :before")  # noqa: S608 - our own words
_COMMITS = text("SELECT commits FROM nodes WHERE id = :node FOR UPDATE")
_LEASE = text("SELECT value FROM positions WHERE name = 'lease'")
_NEXT_LEASE = text("UPDATE positions SET value = value + 1 WHERE name = 'lease' RETURNING value")
_HAVE_LEASE = text("UPDATE nodes SET lease = :lease, settled = false WHERE id = :node")
_LOCK = text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK = text("SELECT pg_advisory_unlock(:key)")
_SHARE = text("SELECT pg_try_advisory_lock_shared(:key)")
_ONE_MIGRATES = text("SELECT pg_advisory_lock(:key)")
_MIGRATED = text("SELECT to_regclass('alembic_version') IS NOT NULL")
_VERSION = text("SELECT version_num FROM alembic_version")
_SHARED = text("SELECT to_regclass('nodes') IS NOT NULL")
_TAKE_NODES = text("LOCK TABLE nodes IN ACCESS EXCLUSIVE MODE")
_END_SILENT = text(f"""
    SELECT pg_terminate_backend(pid) FROM pg_locks, nodes
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = :high AND objid::bigint = :low
        AND lease > 0 AND lease = (SELECT value FROM positions WHERE name = 'lease')
        AND seen_at < {_NOW} - :silent""")  # noqa: S608 - our own words


class PostgresServer:
    """One PostgreSQL database: a connection that writes, some that read, and what its errors mean."""

    def __init__(self, url: str) -> None:
        self._place = place_of(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="store-postgres", daemon=True)
        self._thread.start()
        self.node = uuid.uuid4().hex
        self._node = {"node": self.node, "name": f"{socket.gethostname()}:{os.getpid()}"[:256]}
        self._session = f"sentinel {self.node}"
        self._listening: asyncio.Task[None] | None = None
        self._asking: asyncio.Future[None] | None = None
        self._connect = partial(_connect, url, self._session)
        self._writing = _engine(self._connect, poolclass=NullPool)
        self._reading = _engine(self._connect, pool_size=_READERS, max_overflow=0, isolation_level="AUTOCOMMIT")
        self._writer: AsyncConnection | None = None
        self._locked = False  # whether the writer's session has the judge's lock
        self._commits = 0
        self._lock = asyncio.Lock()
        self._lost: StoreLost | None = None
        self._told = asyncio.get_running_loop()
        self.shared = True
        self.on_news: Callable[[], None] = lambda: None
        self.lease: int | None = None
        self.ending = False
        self.trouble: str | None = None
        self.away: StoreUnable | None = None
        self.on_away: Callable[[StoreUnable], None] = lambda _: None

    @classmethod
    async def opened(cls, url: str) -> Self:
        """
        Return it, made or migrated to the present schema, and this process one of those that work on it.

        Raises:
            ConfigError: It can't be reached, is not fit, or an earlier version works on it; says which.
        """
        server = cls(url)
        try:
            await server._there(server._begin())
        except BaseException:
            await server._end()
            raise
        return server

    async def close(self) -> None:
        """Let go of the server, and of the locks."""
        self.ending = True
        async with self._lock:
            await self._end()

    def stop_waiting(self) -> None:
        """Wait for a server that is away no longer: the process is to end."""
        self.ending = True

    async def take_lease(self) -> bool:
        """Return whether this process judges from now on: nobody else does, or is stuck."""
        async with self._lock:
            return await self._there(self._judge_from_now())

    async def give_lease_back(self) -> None:
        """Judge no more, so that another process may, at once."""
        async with self._lock:
            self.lease = None
            await self._there(self._drop())  # the lock ends with the session; the next write opens another one

    async def write(self, job: Job[T], *, rows: int, judging: bool = False) -> T:
        """Return what a transaction gives, once it is known to be committed."""
        del rows
        if self.away is not None and self._lock.locked():
            raise self.away  # who is there waits for the server already
        async with self._lock:
            if self._lost:
                raise self._lost
            try:
                result = await self._there(self._transaction(job, judging=judging))
            except (LeaseLost, Overtaken):
                raise  # no trouble of the server's
            except StoreUnable as err:
                self.trouble = str(err)
                raise
            except StoreLost as err:
                self._lost = err
                raise
            self.trouble = self.away = None
            return result

    async def read(self, job: Job[T]) -> T:
        """Return what a job reads, as soon as there is somebody to ask."""
        patience = PATIENCE.get()
        if patience is not None and self.away is not None:
            raise self.away
        until = None if patience is None else asyncio.get_running_loop().time() + patience
        tries = 0
        while True:
            try:
                return await self._unless_silent(self._read(job), patience)
            except StoreAway as err:
                tries += 1
                if tries == 1 and self.away is None:
                    continue  # the connection had broken earlier, and nobody had used it since
                self._note_away(err)
                if self.ending or (until is not None and asyncio.get_running_loop().time() >= until):
                    raise
            await asyncio.sleep(_RETRY_SECONDS)

    async def _unless_silent(self, coroutine: Coroutine[Any, Any, T], patience: float | None) -> T:
        """Run something in the server's own loop; `StoreAway` if that takes longer and nobody else is answered."""
        asked = asyncio.ensure_future(self._there(coroutine))
        try:
            done, _ = await asyncio.wait({asked}, timeout=patience)
            if not done:
                if self._asking is None or self._asking.done():
                    self._asking = asyncio.ensure_future(self._there(self._answer()))
                try:
                    await asyncio.shield(self._asking)
                except StoreAway as err:
                    self._note_away(err)
                    raise
            return await asked
        finally:
            asked.cancel()

    async def _there(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something in the server's own loop, to its end: half a connection would be closed by nobody."""
        return await asyncio.shield(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop)))

    def _note_away(self, err: StoreUnable) -> None:
        self.trouble = str(err)
        if self.away is None:
            self.away = err
            self.on_away(err)

    async def _end(self) -> None:
        await self._there(self._let_go())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    # --- in the server's own loop

    async def _begin(self) -> None:
        try:
            writer = self._writer = await self._connected()
        except (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as err:
            raise ConfigError(f"can't be reached: {_told(err)}", where=self._place) from None
        await self._fit(writer)
        if not await self._have(writer, _SHARE, _OWNER, _OWN_SECONDS):
            raise ConfigError("another Sentinel, of an earlier version, has this database; stop it", where=self._place)
        try:
            await writer.execute(_ONE_MIGRATES, {"key": _MIGRATION})
            await self._join(writer)
            await writer.scalar(_UNLOCK, {"key": _MIGRATION})
            await writer.commit()
        except DBAPIError as err:
            raise ConfigError(f"can't be brought to this version's schema: {_told(err)}", where=self._place) from err
        self._listening = asyncio.create_task(self._listen_forever(), name="store-news")

    async def _join(self, writer: AsyncConnection) -> None:
        """
        Bring the schema up to date, and become one of the nodes.

        It takes rows that nodes at work take in another order. Of two that wait for each other the server ends one:
        this one then begins again, the other tells its senders to come again.
        """
        for left in reversed(range(_JOINS)):
            try:
                await writer.run_sync(prove_numbers)
                await self._make_way(writer)
                await writer.run_sync(migrate)
                for statement in (*BEGIN, _FORGET):
                    await writer.execute(statement)
                await writer.execute(_JOIN, self._node)
                await writer.commit()
            except DBAPIError as err:
                if not left or _state(err) != _DEADLOCK:
                    raise
                await writer.rollback()
            else:
                return

    async def _fit(self, writer: AsyncConnection) -> None:
        said = "SELECT current_setting('server_version_num')::int, current_setting('fsync'), pg_is_in_recovery(), "
        row = (await writer.execute(text(f"{said} current_setting('server_encoding')"))).one()
        await writer.commit()
        version, fsync, copy, encoding = row
        for unfit, why in (
            (
                version < _OLDEST,
                f"PostgreSQL {version // 10_000} is too old; take {_OLDEST // 10_000} or later",
            ),
            (fsync != "on", "202 means fsynced, but this server runs with fsync=off"),
            (copy, "this server is a standby, which can't be written to"),
            (encoding != "UTF8", f"the database's encoding is {encoding}; create one with ENCODING 'UTF8'"),
        ):
            if unfit:
                raise ConfigError(why, where=self._place)

    async def _make_way(self, writer: AsyncConnection) -> None:
        """
        See to it that a migration meets nobody halfway, neither a later version nor a transaction of a node that runs.

        Each of our transactions begins with its node's row. Where that table is taken first, those under way end, and
        the next wait at their beginning; a migration that meets one among its tables would make a deadlock of the two.
        """
        version = await writer.scalar(_VERSION) if await writer.scalar(_MIGRATED) else None
        if version is not None and version not in known_versions():
            raise ConfigError(
                f"is of a later version of Sentinel (schema {version}); nodes of this one go on, but none starts",
                where=self._place,
            )
        if version not in {None, newest_version()} and await writer.scalar(_SHARED):
            await writer.execute(_TAKE_NODES)

    async def _have(self, writer: AsyncConnection, lock: TextClause, key: int, seconds: float = 0.0) -> bool:
        """Take a lock for the session; returns whether it could be had within a time."""
        until = self._loop.time() + seconds
        while True:
            had = bool(await writer.scalar(lock, {"key": key}))
            await writer.commit()
            if had or self._loop.time() >= until:
                return had
            await asyncio.sleep(_RETRY_SECONDS)

    async def _answer(self) -> None:
        """Return once the server answers a new connection; `StoreAway` when it does not."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                (await self._connect()).terminate()
        except asyncpg.PostgresError:
            return  # it may have too many connections, but it speaks
        except (OSError, asyncpg.InterfaceError) as err:
            raise StoreAway(_told(err)) from err

    async def _connected(self) -> AsyncConnection:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await self._writing.connect()

    async def _let_go(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        # Who goes on although nobody waits any more gives the connection back first: later nobody would close it.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for patience in (_CONNECT_SECONDS, 1.0):
            if others:
                _, others = await asyncio.wait(others, timeout=patience)
            for task in others:
                task.cancel()
        if self._writer is not None:
            with contextlib.suppress(Exception):  # it may be broken; the row is forgotten after a day
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await self._writer.execute(_LEAVE, self._node)
                    await self._writer.commit()
        await self._drop()
        await self._reading.dispose()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    async def _listen_forever(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await self._connect()
                try:
                    await self._listen(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    async def _listen(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Pass news on until the connection breaks, which a silent one is asked for now and then."""
        broken = asyncio.Event()
        connection.add_termination_listener(lambda _: broken.set())
        await connection.add_listener(CHANNEL, self._heard)
        self._told.call_soon_threadsafe(self.on_news)  # what came before it listened
        while not broken.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(broken.wait(), _CONNECT_SECONDS)
            if not broken.is_set():
                await connection.execute("SELECT 1", timeout=_CONNECT_SECONDS)

    def _heard(self, _connection: object, _pid: int, _channel: str, whose: object) -> None:
        if whose != self._session:
            self._told.call_soon_threadsafe(self.on_news)

    async def _drop(self) -> None:
        writer, self._writer = self._writer, None
        self._locked = False
        if writer is not None:
            with contextlib.suppress(Exception):  # it may be broken in any way
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await writer.invalidate()
                    await writer.close()

    async def _transaction(self, job: Job[T], *, judging: bool) -> T:
        if self._writer is None:
            await self._take({self._commits})
        if judging:
            await self._judge_still()
        writer = self._writer
        assert writer is not None
        number = self._commits + 1
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                result = await writer.run_sync(partial(_counted, self.node, number, job))
        except BaseException as err:
            raise await self._undone(err) from err
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await writer.commit()
        except Exception as err:
            if not _broken(err):
                raise await self._undone(err) from err
            await self._drop()
            if not await self._did(number):
                raise StoreAway(_told(err)) from err
        self._commits = number
        return result

    async def _undone(self, err: BaseException) -> BaseException:
        """Undo a transaction that nobody began to commit; returns what its error means."""
        if _broken(err):
            await self._drop()
            away = StoreAway(_told(err))
            self._tell_away(away)
            return away
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                assert self._writer is not None
                await self._writer.rollback()
        except Exception:  # noqa: BLE001 - whatever it is, the next one comes on a new connection
            await self._drop()
        return _meaning(err)

    async def _take(self, expected: set[int]) -> None:
        """
        Connect for writing after a connection was lost.

        Args:
            expected: Counts of commits that this process can have left.
        """
        try:
            self._writer = writer = await self._connected()
            async with asyncio.timeout(_CONNECT_SECONDS):
                shares = await self._have(writer, _SHARE, _OWNER)
                # A transaction under way on our last connection holds the row until its end.
                found = await writer.scalar(_COMMITS, self._node)
                await writer.commit()
        except Exception as err:
            await self._drop()
            if not _broken(err) and _state(err) != _LOCK_TIMEOUT:
                raise
            away = StoreAway(_told(err))
            self._tell_away(away)
            raise away from err
        if not shares or found not in expected:
            await self._drop()
            raise StoreLost(
                "this process was forgotten, or overtaken, while it was away from PostgreSQL; start it again"
            )
        self._commits = found

    async def _judge_still(self) -> None:
        """
        Return when the writer's session has the judge's lock, and nobody else has had it since this process had it.

        Raises:
            LeaseLost: Somebody else had, or this process never was the judge.
            StoreAway: The server has not noticed yet that our last session ended.
        """
        writer = self._writer
        assert writer is not None
        if self._locked:
            return
        if self.lease is None:
            raise LeaseLost
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._locked = await self._have(writer, _LOCK, _JUDGE)
                last = await writer.scalar(_LEASE)
                if last != self.lease and self._locked:
                    await writer.scalar(_UNLOCK, {"key": _JUDGE})
                    self._locked = False
                await writer.commit()
        except Exception as err:
            raise await self._undone(err) from err
        if last != self.lease:
            self.lease = None
            raise LeaseLost
        if not self._locked:
            raise StoreAway("an earlier session of this process still has the judge's lock")

    async def _judge_from_now(self) -> bool:
        if self._writer is None:
            await self._take({self._commits})
        writer = self._writer
        assert writer is not None
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._locked = await self._have(writer, _LOCK, _JUDGE)
                if not self._locked:
                    await writer.execute(_END_SILENT, _SILENT)
                    await writer.commit()
                    return False
                # As every transaction of ours it begins with the node's row: else a migration, which has that table and
                # then comes to `positions`, and this one, which came the other way, would wait for each other.
                await writer.execute(_COMMITS, self._node)
                lease = int(await writer.scalar(_NEXT_LEASE) or 0)
                await writer.execute(_HAVE_LEASE, {"lease": lease, **self._node})
                await writer.commit()
        except Exception as err:
            away = await self._undone(err)
            await self._drop()  # and with it the lock: whether it was counted is not known
            raise away from err
        self.lease = lease
        return True

    async def _did(self, number: int) -> bool:
        """Return, once the server can be asked, whether it has committed a transaction that it did not answer to."""
        while True:
            try:
                await self._take({number - 1, number})
            except StoreAway:
                if self.ending:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return self._commits == number

    def _tell_away(self, away: StoreAway) -> None:
        self._told.call_soon_threadsafe(self._note_away, away)

    async def _read(self, job: Job[T]) -> T:
        try:
            async with asyncio.timeout(_READ_SECONDS), self._reading.connect() as connection:
                return await connection.run_sync(job)
        except Exception as err:
            if _state(err) == _DEADLOCK:  # with a migration; it goes on then
                return await self._read(job)
            if _broken(err):
                raise StoreAway(_told(err)) from err
            raise _meaning(err) from err


def _counted(node: str, number: int, job: Job[T], connection: Connection) -> T:
    if connection.execute(_COUNT, {"node": node, "before": number - 1}).rowcount != 1:
        raise StoreLost("this process was forgotten while it was away from PostgreSQL; start it again")
    return job(connection)


def _engine(connect: Callable[[], Awaitable[Any]], **options: Any) -> AsyncEngine:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, hide_parameters=True, **options)
    # Texts of any length, as in SQLite: lengths are bounded where texts come in. A second bound here could only refuse
    # an event that was taken.
    compiler: Any = engine.dialect.type_compiler_instance
    compiler.visit_VARCHAR = lambda _type, **_options: "TEXT"
    return engine


async def _connect(url: str, name: str = "sentinel") -> asyncpg.Connection[asyncpg.Record]:
    settings = _SETTINGS | {"application_name": name}
    connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS, server_settings=settings)
    try:
        await _prepare(connection)
    except BaseException:  # nobody else has it yet
        connection.terminate()
        raise
    return connection


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    for name in ("text", "varchar"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=_to_bytes, decoder=_from_bytes, format="binary"
        )
    # What is stricter may stay: remote_apply waits for a standby as well.
    weak = "current_setting('synchronous_commit') IN ('off', 'local')"
    await connection.execute(f"SELECT set_config('synchronous_commit', 'on', false) WHERE {weak}")


def _to_bytes(value: str) -> bytes:
    return (value.replace("\0", NUL) if "\0" in value else value).encode()


def _from_bytes(value: bytes) -> str:
    found = value.decode()
    return found.replace(NUL, "\0") if NUL in found else found


# --- what errors mean


def _cause(err: BaseException) -> BaseException:
    """Return the driver's own error."""
    while isinstance(err, DBAPIError) and err.orig is not None:
        err = err.orig
    inner = err.__cause__
    return inner if isinstance(inner, asyncpg.PostgresError | asyncpg.InterfaceError | OSError) else err


def _state(err: BaseException) -> str:
    return str(getattr(_cause(err), "sqlstate", None) or "")


def _broken(err: BaseException) -> bool:
    """Whether the connection is of no use any more."""
    cause = _cause(err)
    if isinstance(cause, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return True
    if isinstance(err, DBAPIError) and err.connection_invalidated:
        return True
    return _state(err).startswith(("08", "57P", _IDLE_TOO_LONG))


def _meaning(err: BaseException) -> BaseException:
    state = _state(err)
    if state in _FULL:
        return StoreFull()
    if state in _DAMAGED:
        return StoreLost(f"PostgreSQL's files are damaged ({state}); the process stops")
    if state.startswith(_PASSING) or isinstance(err, NoneFree):
        return StoreUnable(f"PostgreSQL refuses for now ({_told(err)})")
    return err


def _told(err: BaseException) -> str:
    """Return the kind of an error: its text may hold what was written."""
    cause, state = _cause(err), _state(err)
    if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ConnectionError):
        return cause.strerror
    return f"{type(cause).__name__}, {state}" if state else type(cause).__name__


# --- for those who look at a store without owning it


def look(url: str) -> State:
    """
    Return what a server says; it is only read.

    Raises:
        ConfigError: It can't be reached.
    """

    async def asked(connection: asyncpg.Connection[asyncpg.Record]) -> State:
        settings = {name: str(await connection.fetchval("SELECT current_setting($1)", name)) for name in _ASKED}
        there = {name: await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name) for name in _TABLES}
        schema = (
            await connection.fetchval("SELECT version_num FROM alembic_version") if there["alembic_version"] else None
        )
        last = await connection.fetchval("SELECT max(at) FROM audit_trail") if there["audit_trail"] else None
        return State(
            version=settings["server_version"],
            fsync=settings["fsync"] == "on",
            synchronous_commit=settings["synchronous_commit"],
            encoding=settings["server_encoding"],
            size=await connection.fetchval("SELECT pg_database_size(current_database())"),
            schema=schema,
            owned=await connection.fetchval(_HELD, _OWNER >> 32, _OWNER & 0xFFFFFFFF),
            last_audited=last,
        )

    with _alone(url) as (loop, connection):
        return loop.run_until_complete(asked(connection))


_ASKED = ("server_version", "fsync", "synchronous_commit", "server_encoding")
_TABLES = ("alembic_version", "audit_trail")
_HELD = """
    SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid = $1::bigint AND objid = $2::bigint)"""


def entries_of(url: str) -> Iterator[Entry]:
    """Yield the audit entries as they are at one moment; `ConfigError` when the server can't be reached."""
    with _alone(url) as (loop, connection):
        run = loop.run_until_complete
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        run(transaction.start())
        cursor = run(connection.cursor(AUDIT_ENTRIES))
        while rows := run(cursor.fetch(1000)):
            yield from (Entry(*row) for row in rows)


@contextlib.contextmanager
def _alone(url: str) -> Iterator[tuple[asyncio.AbstractEventLoop, asyncpg.Connection[asyncpg.Record]]]:
    """Give a connection and the loop to use it in, to a thread that has none."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        try:
            connection = loop.run_until_complete(_connect(url))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as err:
            raise ConfigError(f"can't be reached: {_told(err)}", where=place_of(url)) from None
        try:
            yield loop, connection
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as err:
            raise ConfigError(f"can't be read: {_told(err)}", where=place_of(url)) from err
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                loop.run_until_complete(connection.close(timeout=_CONNECT_SECONDS))
            loop.run_until_complete(asyncio.sleep(0))  # the socket is closed in the loop's next turn
