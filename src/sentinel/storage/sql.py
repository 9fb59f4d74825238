"""
The store on SQLite: what a 202 promises is kept here.

Durability. The file runs in WAL mode with `synchronous=FULL`, so a commit returns after fsync. Three things follow
from how SQLite treats errors (docs/adr/0003-what-202-means.md):

- SQLite ignores errors of its automatic checkpoints, a failed fsync of the database file among them. Automatic
  checkpoints are off and ours are explicit, so no error goes unseen.
- After a failed fsync the page cache looks committed although the disk may not be. `StoreLost` is raised and every
  later write refused; the process must stop. The next start moves the whole log into the database file with an fsync
  of its own before anything is read, so what looks committed then is.
- Room running out (SQLITE_FULL, or a write error that a probe in the same folder explains) only rolls back:
  `StoreFull`.

One connection writes, in a thread of its own; readers use others, and see only what was committed. A transaction is
handed over whole, and runs there from its first statement to its commit: handing over each statement costs more than
running it. SQLite gives Python's lock away at each step of a statement and must wait for it again while the loop is
busy, so many rows are written in one step.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from itertools import chain
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec
from alembic import command
from alembic.config import Config
from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    case,
    create_engine,
    event,
    func,
    insert,
    or_,
    select,
    text,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert_into
from sqlalchemy.exc import DBAPIError

from sentinel.access import Token
from sentinel.audit import GENESIS, link
from sentinel.model import (
    ActionStatus,
    ActionType,
    Event,
    EventType,
    Incident,
    IncidentStatus,
    Micros,
    Role,
    Severity,
    Signal,
    StoredEvent,
    SubjectType,
    ThreatType,
)
from sentinel.storage import tables
from sentinel.storage.values import (
    SYSTEM,
    Accepted,
    Action,
    AuditEntry,
    Feedback,
    Outcome,
    Pending,
    StoreBusy,
    StoreFull,
    StoreLost,
    StoreUnable,
    Summary,
    Suppression,
    TopSource,
    Verdict,
)

__all__ = ["AUDIT_ENTRIES", "Store"]

T = TypeVar("T")
P = ParamSpec("P")

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LOST = {"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"}
_IN_CHUNK = 500  # SQLite's default limit of bound values is far above; short statements stay in its cache
_CHECKPOINT_ROWS = 20_000
_CHECKPOINT_COMMITS = 400
_READERS = 4

_encode = msgspec.json.Encoder().encode
_decode_event = msgspec.json.Decoder(Event).decode
_severity = {severity.value: severity for severity in Severity}


def _whole(write: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """
    Let a write run to its end also when whoever waits for it is cancelled.

    A cancelled statement would leave its transaction open in the connection's thread, and the database locked.
    """

    @wraps(write)
    async def uncancelled(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.shield(asyncio.ensure_future(write(*args, **kwargs)))

    return uncancelled


class Store:
    """One data folder's SQLite file. Made by `open`; `close` at the end."""

    def __init__(self, path: Path, engine: Engine, writer: Connection) -> None:
        self._path = path
        self._engine = engine
        self._writer = writer
        self._lock = asyncio.Lock()
        self._writing = ThreadPoolExecutor(1, "store-writer")
        self._reading = ThreadPoolExecutor(_READERS, "store-reader")
        self._lost: StoreLost | None = None
        self._rows_since_checkpoint = 0
        self._commits_since_checkpoint = 0
        self.trouble: str | None = None
        """Why the last write was not possible; None when it was."""
        self.accepted_seq = 0
        self.processed_seq = 0
        self.change_seq = 0
        self.change_floor = 0
        """Who has applied changes only up to below this needs everything: the store was brought back from a backup."""
        self.audited = (0, GENESIS)
        """Sequence and hash of the last audit entry."""

    @classmethod
    async def open(cls, path: Path) -> Store:
        """
        Return the store in `path`, made or migrated to the present schema, its log made durable.

        Raises:
            StoreUnable, StoreLost: as `accept`; the next start begins where this one did.
        """
        await asyncio.to_thread(_prepare, path)
        engine = create_engine(f"sqlite:///{path}", pool_size=_READERS + 1)
        event.listen(engine, "connect", _set_pragmas)
        store = cls(path, engine, engine.connect())
        if await store._in_writer(_synchronous) != _SYNCHRONOUS_FULL:
            raise StoreLost("202 means fsynced, but SQLite does not run with synchronous=FULL")
        store.accepted_seq = await store._number(select(func.max(tables.events.c.seq)))
        p = tables.positions.c
        store.change_floor = await store._number(select(p.value).where(p.name == _FLOOR))
        changed = await store._number(select(func.max(tables.actions.c.change_seq)))
        store.change_seq = max(changed, store.change_floor)
        store.processed_seq = await store._number(
            select(tables.positions.c.value).where(tables.positions.c.name == "processed")
        )
        for row in await store._all(select(tables.audit).order_by(tables.audit.c.seq.desc()).limit(1)):
            store.audited = (row.seq, row.hash)
        return store

    async def close(self) -> None:
        """Move the log into the database file and let go of it."""
        async with self._lock:
            try:
                if self._lost is None:
                    await self._judged(partial(_checkpoint, "TRUNCATE"))
            except StoreUnable:
                pass  # the log stays; the next start moves it
            finally:
                await self._in_writer(lambda writer: writer.close())
                self._writing.shutdown()
                self._reading.shutdown()
                self._engine.dispose()

    # --- events

    @_whole
    async def accept(self, offered: Sequence[Pending]) -> Accepted:
        """
        Make events durable in one transaction.

        Args:
            offered: In the order in which they were received; the first of equal ids wins, also against stored ones.

        Raises:
            StoreUnable: No room, or the database is locked; nothing was written.
            StoreLost: A write failed; the process must stop.
        """
        first = self.accepted_seq + 1
        fresh, duplicates, conflicts = await self._write(partial(_insert_new, first, offered), rows=len(offered))
        self.accepted_seq += len(fresh)
        stored = [
            StoredEvent(
                first + n,
                item.at,
                item.received_at,
                item.late,
                item.event,
                item.max_severity,
                item.may_act,
                item.effects,
                item.origin,
            )
            for n, item in enumerate(fresh)
        ]
        return Accepted(stored, duplicates, conflicts)

    async def events_after(self, seq: int, limit: int) -> list[StoredEvent]:
        """Return up to `limit` events accepted after `seq`, in order of acceptance."""
        query = select(*_STORED).where(tables.events.c.seq > seq).order_by(tables.events.c.seq).limit(limit)
        return [_stored(row) for row in await self._all(query)]

    async def history(
        self, start: Micros, end: Micros, upto: int, chunk: int = 2000
    ) -> AsyncIterator[list[StoredEvent]]:
        """Yield, in chunks, the events that are not late, with start <= at < end and seq <= upto."""
        e = tables.events.c
        after = 0
        while True:
            query = select(*_STORED).where(e.at >= start, e.at < end, e.seq > after, e.seq <= upto, e.late.is_(False))
            rows = await self._all(query.order_by(e.seq).limit(chunk))
            if not rows:
                return
            yield [_stored(row) for row in rows]
            after = rows[-1].seq

    async def list_events(
        self,
        limit: int,
        before: int | None = None,
        since: Micros | None = None,
        until: Micros | None = None,
        **equal: str | None,
    ) -> list[StoredEvent]:
        """Return up to `limit` events, newest first, accepted before seq `before`, by time and equal fields."""
        e = tables.events.c
        query = select(*_STORED).order_by(e.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(e.seq < before)
        if since is not None:
            query = query.where(e.at >= since)
        if until is not None:
            query = query.where(e.at < until)
        for name, value in equal.items():
            if value is not None:
                query = query.where(e[name] == value)
        return [_stored(row) for row in await self._all(query)]

    async def summary(self, since: Micros) -> Summary:
        """Return what happened since a time, in figures."""

        def read() -> Summary:
            with self._engine.connect() as connection:
                rows = {
                    name: connection.execute(text(query), {"since": since}).all() for name, query in _SUMMARY.items()
                }
            [access] = rows["data_access"]
            return Summary(
                violations={row.severity: row[1] for row in rows["violations"]},
                accesses=access[0],
                sensitive_accesses=access[1],
                users=access[2],
                sources=[
                    TopSource(address, failures, sorted(reasons.split(",")))
                    for address, failures, reasons in rows["sources"]
                ],
            )

        return await asyncio.get_running_loop().run_in_executor(self._reading, read)

    async def users_behind(self, address: str, start: Micros, end: Micros, enough: int) -> int:
        """Return how many distinct users logged in from an address in [start, end], counted up to `enough`."""
        values = {"address": address, "start": start, "end": end, "enough": enough}
        return await self._number(_USERS_BEHIND, values)

    # --- signals and incidents

    @_whole
    async def apply(self, outcome: Outcome) -> list[Action]:
        """
        Write what processing a batch led to, and the position reached, in one transaction.

        Returns:
            The actions as stored, with their change_seq.

        Raises:
            StoreUnable, StoreLost: as `accept`.
        """
        change_seq = self.change_seq
        numbered: list[Action] = []
        for action in outcome.actions:
            change_seq += action.effective
            numbered.append(msgspec.structs.replace(action, change_seq=change_seq) if action.effective else action)

        def written(connection: Connection) -> tuple[int, bytes]:
            _write_outcome(connection, outcome, numbered)
            if outcome.position > self.processed_seq:
                connection.execute(_UPSERT_POSITION, {"name": "processed", "value": outcome.position})
            return _chain(connection, self.audited, outcome.audit)

        audited = await self._write(written, rows=len(outcome.signals))
        self.audited = audited
        self.processed_seq = max(self.processed_seq, outcome.position)
        self.change_seq = change_seq
        return numbered

    async def signals_by_id(self, ids: Iterable[str]) -> list[Signal]:
        """Return the signals with these ids, earliest first."""
        found: list[Signal] = []
        for chunk in _chunks(list(ids)):
            query = select(tables.signals).where(tables.signals.c.id.in_(chunk))
            found += [_signal(row) for row in await self._all(query)]
        return sorted(found, key=lambda signal: (signal.first, signal.id))

    async def signals_of(
        self, subjects: Iterable[tuple[str, SubjectType]]
    ) -> dict[tuple[str, SubjectType], list[tuple[Signal, str | None]]]:
        """Return by subject its signals, earliest first, each with the id of the incident that it is in."""
        s = tables.signals.c
        found: dict[tuple[str, SubjectType], list[tuple[Signal, str | None]]] = {}
        for chunk in _chunks([(subject, kind.value) for subject, kind in subjects]):
            query = select(tables.signals).where(tuple_(s.subject, s.subject_type).in_(chunk)).order_by(s.first, s.id)
            for row in await self._all(query):
                key = (row.subject, SubjectType(row.subject_type))
                found.setdefault(key, []).append((_signal(row), row.incident_id))
        return found

    async def list_signals(self, limit: int, before: tuple[Micros, str] | None = None) -> list[Signal]:
        """Return up to `limit` signals, the latest first, below the (last, id) of `before`."""
        return [_signal(row) for row in await self._all(_newest(tables.signals, limit, before))]

    async def list_incidents(self, limit: int, before: tuple[Micros, str] | None = None) -> list[Incident]:
        """Return up to `limit` incidents, the latest first, below the (last, id) of `before`."""
        return [_incident(row) for row in await self._all(_newest(tables.incidents, limit, before))]

    async def incident(self, incident_id: str) -> Incident | None:
        """Return the incident with this id."""
        rows = await self._all(select(tables.incidents).where(tables.incidents.c.id == incident_id))
        return _incident(rows[0]) if rows else None

    # --- what people say

    async def feedback_since(self, since: Micros) -> dict[Verdict, int]:
        """Return how many verdicts on actions and incidents of each kind were given after `since`."""
        f = tables.feedback.c
        query = select(f.verdict, func.count().label("n")).where(f.at > since, f.kind != "scan").group_by(f.verdict)
        return {Verdict(row.verdict): row.n for row in await self._all(query)}

    async def feedback_on(self, kind: str, about: str) -> Feedback | None:
        """Return what was said last about something."""
        f = tables.feedback.c
        rows = await self._all(select(tables.feedback).where(f.kind == kind, f.about == about))
        return msgspec.convert(rows[0], Feedback, from_attributes=True) if rows else None

    async def suppressions(self, now: Micros) -> list[Suppression]:
        """Return the suppressions that hold at `now`."""
        rows = await self._all(select(tables.suppressions).where(tables.suppressions.c.until > now))
        return [msgspec.convert(row, Suppression, from_attributes=True) for row in rows]

    # --- actions

    async def actions_of(self, incident_id: str) -> list[Action]:
        """Return the actions that an incident led to, oldest first."""
        a = tables.actions.c
        query = select(tables.actions).where(a.incident_id == incident_id).order_by(a.created_at, a.id)
        return [_action(row) for row in await self._all(query)]

    async def actions_since(self, change_seq: int) -> list[Action]:
        """Return the effective actions changed after `change_seq`, in order of change."""
        a = tables.actions.c
        query = select(tables.actions).where(a.change_seq > change_seq).order_by(a.change_seq)
        return [_action(row) for row in await self._all(query)]

    async def actions_in_force(self, now: Micros) -> list[Action]:
        """Return the effective actions in force at `now`, the latest change last."""
        a = tables.actions.c
        query = select(tables.actions).where(
            a.status == ActionStatus.ACTIVE.value,
            a.effective.is_(True),
            or_(a.expiration.is_(None), a.expiration > now),
        )
        return [_action(row) for row in await self._all(query.order_by(a.change_seq))]

    async def actions_run_out(self, now: Micros) -> list[Action]:
        """Return the effective actions that are still called active although their time is over."""
        a = tables.actions.c
        query = select(tables.actions).where(
            a.status == ActionStatus.ACTIVE.value, a.expiration <= now, a.effective.is_(True)
        )
        return [_action(row) for row in await self._all(query)]

    async def list_actions(self, limit: int = 10_000) -> list[Action]:
        """Return actions in every state, newest first."""
        query = select(tables.actions).order_by(tables.actions.c.created_at.desc(), tables.actions.c.id).limit(limit)
        return [_action(row) for row in await self._all(query)]

    async def automatic_blocks(self, targets: Iterable[str]) -> list[Action]:
        """Return the automatic blocks on these addresses that nobody has ended, effective or not."""
        return [_action(row) for row in await self._all(_AUTOMATIC_BLOCKS, {"listed": _encode(list(targets)).decode()})]

    async def actions_by_key(self, keys: Iterable[str]) -> list[Action]:
        """Return the actions of these decision keys."""
        found: list[Action] = []
        for chunk in _chunks(list(keys)):
            query = select(tables.actions).where(tables.actions.c.decision_key.in_(chunk))
            found += [_action(row) for row in await self._all(query)]
        return found

    async def actions_by_id(self, ids: Iterable[str]) -> list[Action]:
        """Return the actions with these ids, oldest first."""
        found: list[Action] = []
        for chunk in _chunks(list(ids)):
            query = select(tables.actions).where(tables.actions.c.id.in_(chunk))
            found += [_action(row) for row in await self._all(query)]
        return sorted(found, key=lambda action: (action.created_at, action.id))

    async def undone_since(self, since: Micros) -> list[Action]:
        """Return the actions that a person undid after `since`."""
        a = tables.actions.c
        query = select(tables.actions).where(
            a.status == ActionStatus.REVOKED.value, a.revoked_at > since, a.revoked_by != SYSTEM
        )
        return [_action(row) for row in await self._all(query)]

    async def actions_taken(
        self, action_type: ActionType, rule: str, start: Micros, end: Micros, *, event_time: bool
    ) -> set[str]:
        """Return the keys of a policy rule's effective actions of a type made, or decided, in (start, end]."""
        a = tables.actions.c
        when = a.decided_at if event_time else a.created_at
        query = select(a.decision_key).where(
            a.rule == rule, a.action_type == action_type.value, when > start, when <= end, a.effective.is_(True)
        )
        return {row.decision_key for row in await self._all(query)}

    # --- tokens, audit, health

    async def tokens(self) -> list[Token]:
        """Return every token, revoked ones too."""
        return [_token(row) for row in await self._all(select(tables.tokens).order_by(tables.tokens.c.created_at))]

    @_whole
    async def save_token(self, token: Token, entry: AuditEntry) -> None:
        """Write a token, new or changed, with its audit entry."""

        def written(connection: Connection) -> tuple[int, bytes]:
            connection.execute(_UPSERT_TOKEN, _token_row(token))
            return _chain(connection, self.audited, [entry])

        self.audited = await self._write(written, rows=1)

    async def list_audit(self, limit: int, before: int | None = None) -> list[tuple[int, AuditEntry]]:
        """Return up to `limit` audit entries with their sequence, newest first, below seq `before`."""
        a = tables.audit.c
        query = select(tables.audit).order_by(a.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(a.seq < before)
        return [(row.seq, _audit_entry(row)) for row in await self._all(query)]

    async def audit_hash(self, seq: int) -> bytes | None:
        """Return the hash of an audit entry, None when there is no such entry."""
        rows = await self._all(select(tables.audit.c.hash).where(tables.audit.c.seq == seq))
        return rows[0].hash if rows else None

    @_whole
    async def restored(self) -> None:
        """Number changes from far above on, so that no enforcement point takes one of before for one of now."""
        floor = self.change_seq + _FAR

        def written(connection: Connection) -> None:
            connection.execute(_UPSERT_POSITION, {"name": _FLOOR, "value": floor})

        await self._write(written, rows=1)
        self.change_floor = self.change_seq = floor

    async def audit_before(self, at: Micros) -> int:
        """Return the sequence of the last audit entry before a time that may be pruned; the last one of all stays."""
        a = tables.audit.c
        return await self._number(select(func.max(a.seq)).where(a.at < at, a.seq < self.audited[0]))

    async def prune(self, before: Micros, audit_upto: int) -> dict[str, int]:
        """
        Delete what is older than a time, but nothing that is not judged yet or still in force.

        Args:
            before: Of events, signals, incidents and ended actions.
            audit_upto: Sequence of the last audit entry to go.

        Returns:
            Rows deleted, by table.
        """
        places = {"before": before, "judged": self.processed_seq, "upto": audit_upto}
        deleted = {}
        for name, statement in _PRUNE.items():
            deleted[name] = await self._prune(statement, places)
        return deleted

    async def _prune(self, statement: str, places: dict[str, int]) -> int:
        """Delete in small transactions, so that events go on being accepted between them."""
        rows = 0
        while True:
            gone = await self._write(lambda connection: connection.execute(text(statement), places).rowcount, rows=0)
            rows += gone
            if gone < _PRUNED_AT_ONCE:
                return rows

    @_whole
    async def probe(self) -> None:
        """Write one row durably: raises as `accept` does, and clears `trouble` when there is room again."""
        await self._write(lambda connection: connection.execute(_PROBE), rows=1)

    # --- inside

    async def _write(self, job: Callable[[Connection], T], *, rows: int) -> T:
        """Return what a transaction gives, once it is committed."""

        def transaction(writer: Connection) -> T:
            with writer.begin():
                return job(writer)

        async with self._lock:
            if self._lost:
                raise self._lost
            result = await self._judged(transaction)
            self.trouble = None
            await self._checkpoint_when_due(rows)
            return result

    async def _in_writer(self, job: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, job, self._writer)

    async def _judged(self, job: Callable[[Connection], T]) -> T:
        """Run a job in the writer's thread; raises what its error means, and remembers it."""
        try:
            return await self._in_writer(job)
        except (DBAPIError, sqlite3.Error) as err:
            judged = _meaning(err, self._path)
            if isinstance(judged, StoreUnable):
                self.trouble = str(judged)
            elif isinstance(judged, StoreLost):
                self._lost = judged
            raise judged from err

    async def _checkpoint_when_due(self, rows: int) -> None:
        self._rows_since_checkpoint += rows
        self._commits_since_checkpoint += 1
        if self._rows_since_checkpoint < _CHECKPOINT_ROWS and self._commits_since_checkpoint < _CHECKPOINT_COMMITS:
            return
        whole = False
        with contextlib.suppress(StoreUnable):  # what was committed is safe in the log; `trouble` says it
            whole = await self._judged(partial(_checkpoint, "PASSIVE"))
        # Somebody who reads keeps a part of the log from being moved, and the rest of it from being used again: soon
        # they have read, so it is tried again soon.
        self._rows_since_checkpoint = 0 if whole else _CHECKPOINT_ROWS * 9 // 10
        self._commits_since_checkpoint = 0 if whole else _CHECKPOINT_COMMITS * 9 // 10

    async def _all(self, query: Select[Any], values: dict[str, Any] | None = None) -> Sequence[Row[Any]]:
        def rows() -> Sequence[Row[Any]]:
            with self._engine.connect() as connection:
                return connection.execute(query, values).all()

        return await asyncio.get_running_loop().run_in_executor(self._reading, rows)

    async def _number(self, query: Select[Any], values: dict[str, Any] | None = None) -> int:
        def number() -> int:
            with self._engine.connect() as connection:
                return int(connection.scalar(query, values) or 0)

        return await asyncio.get_running_loop().run_in_executor(self._reading, number)


# --- in the writer's thread


def _synchronous(writer: Connection) -> int:
    mode = int(writer.scalar(text("PRAGMA synchronous")) or 0)
    writer.rollback()
    return mode


def _checkpoint(mode: str, writer: Connection) -> bool:
    """Move the log into the database file; returns whether that could be done with all of it."""
    _, frames, moved = writer.execute(text(f"PRAGMA wal_checkpoint({mode})")).one()
    writer.rollback()
    return bool(frames == moved)


def _insert_new(
    first: int, offered: Sequence[Pending], connection: Connection
) -> tuple[Sequence[Pending], frozenset[int], frozenset[int]]:
    """Write events, numbered from `first`; returns the new ones, and the places of duplicates and conflicts."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    try:
        _insert_events(driver, first, offered)
    except sqlite3.IntegrityError:  # nearly always all are new: looking each of them up first would cost more
        driver.rollback()
        fresh, duplicates, conflicts = _told_apart(connection, offered)
        _insert_events(driver, first, fresh)
        return fresh, duplicates, conflicts
    return offered, frozenset(), frozenset()


def _insert_events(driver: sqlite3.Connection, first: int, items: Sequence[Pending]) -> None:
    rows = [_event_row(first + n, item) for n, item in enumerate(items)]
    done = 0
    for size, statement in _INSERT_EVENTS:
        while len(rows) - done >= size:
            driver.execute(statement, list(chain.from_iterable(rows[done : done + size])))
            done += size


def _told_apart(
    connection: Connection, offered: Sequence[Pending]
) -> tuple[list[Pending], frozenset[int], frozenset[int]]:
    ids = _encode([item.event.event_id for item in offered]).decode()
    known = {row.event_id: _decode_event(row.body) for row in connection.exec_driver_sql(_KNOWN_EVENTS, (ids,))}
    fresh: list[Pending] = []
    duplicates: set[int] = set()
    conflicts: set[int] = set()
    for position, item in enumerate(offered):
        earlier = known.get(item.event.event_id)
        if earlier is None:
            known[item.event.event_id] = item.event
            fresh.append(item)
            continue
        duplicates.add(position)
        if earlier != item.event:
            conflicts.add(position)
    return fresh, frozenset(duplicates), frozenset(conflicts)


def _write_outcome(connection: Connection, outcome: Outcome, actions: Sequence[Action]) -> None:
    if outcome.signals:
        connection.execute(_UPSERT_SIGNAL, list(map(msgspec.to_builtins, outcome.signals)))
    if outcome.incidents:
        connection.execute(_UPSERT_INCIDENT, list(map(msgspec.to_builtins, outcome.incidents)))
    if outcome.incident_of:
        moved = [{"of": signal_id, "to": incident_id} for signal_id, incident_id in outcome.incident_of.items()]
        connection.execute(_MOVE_SIGNAL, moved)
        connection.execute(_MOVE_ACTION, moved)
    if outcome.incidents_gone:
        connection.execute(tables.incidents.delete().where(tables.incidents.c.id.in_(outcome.incidents_gone)))
    if actions:
        connection.execute(_UPSERT_ACTION, list(map(_action_row, actions)))
    if outcome.status_of:
        statuses = [{"of": incident_id, "to": status.value} for incident_id, status in outcome.status_of.items()]
        connection.execute(_SET_STATUS, statuses)
    if outcome.feedback:
        connection.execute(_UPSERT_FEEDBACK, list(map(msgspec.to_builtins, outcome.feedback)))
    if outcome.suppressions:
        connection.execute(_UPSERT_SUPPRESSION, list(map(msgspec.to_builtins, outcome.suppressions)))
    if outcome.dead:
        rows = [{"seq": seq, "reason": reason} for seq, reason in outcome.dead]
        connection.execute(insert(tables.dead_letters).prefix_with("OR IGNORE"), rows)


def _chain(connection: Connection, audited: tuple[int, bytes], entries: Sequence[AuditEntry]) -> tuple[int, bytes]:
    """Write audit entries, each sealed to the one before; returns the last one's sequence and hash."""
    size, root = audited
    rows = []
    for entry in entries:
        size += 1
        fields = (size, entry.at, entry.actor, entry.operation, entry.target, _encode(entry.details).decode())
        root = link(root, fields)
        rows.append((*fields, root))
    if rows:
        connection.exec_driver_sql(_INSERT_AUDIT, rows)
    return size, root


# --- files


_SYNCHRONOUS_FULL = 2


def _set_pragmas(connection: Any, _record: object = None) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "wal_autocheckpoint=0",
        "busy_timeout=10000",
        "cache_size=-8192",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _prepare(path: Path) -> None:
    """Make what the log holds durable before anything reads it, then bring the schema up to date."""
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _set_pragmas)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            # By itself Python's driver commits each CREATE TABLE; a kill in between would leave half a schema for ever.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            command.upgrade(config, "head")
    except DBAPIError as err:
        raise _meaning(err, path) from err
    finally:
        engine.dispose()
    path.chmod(0o600)


def _meaning(err: DBAPIError | sqlite3.Error, path: Path) -> StoreUnable | StoreLost | DBAPIError | sqlite3.Error:
    """Tell what heals by itself from a disk that can't be trusted any more."""
    name = getattr(err.orig if isinstance(err, DBAPIError) else err, "sqlite_errorname", "")
    if name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and name not in _LOST and _no_room(path)):
        return StoreFull()
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreBusy()
    if name.startswith(("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreLost(f"writing to the store failed ({name}); the process stops, start it again")
    return err


def _no_room(path: Path) -> bool:
    """Ask the file system itself: SQLite reports EDQUOT and EFBIG as plain write errors."""
    log = path.with_name(path.name + "-wal")
    probe = path.with_name("room.probe")
    try:
        offset = max(log.stat().st_size, path.stat().st_size)
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, bytes(65_536), offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink()
    except OSError as err:
        return err.errno in _NO_ROOM
    return False


def _chunks(items: list[T]) -> Iterable[list[T]]:
    return (items[n : n + _IN_CHUNK] for n in range(0, len(items), _IN_CHUNK))


def _newest(table: Any, limit: int, before: tuple[Micros, str] | None) -> Select[Any]:
    c = table.c
    query = select(table).order_by(c.last.desc(), c.id.desc()).limit(limit)
    if before is not None:
        last, row_id = before
        query = query.where(or_(c.last < last, and_(c.last == last, c.id < row_id)))
    return query


def _upsert(table: Table) -> Any:
    """Return the statement that writes whole rows, in place of those with the same primary key."""
    keys = [column.name for column in table.primary_key]
    names = [column.name for column in table.columns]
    statement = upsert_into(table).values({name: bindparam(name) for name in names})
    replaced = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=replaced)


def _incident_upsert() -> Any:
    """The status is people's, but what goes on after it was closed is open again."""
    i = tables.incidents.c
    names = [column.name for column in tables.incidents.columns]
    statement = upsert_into(tables.incidents).values({name: bindparam(name) for name in names})
    new = statement.excluded
    replaced = {name: new[name] for name in names if name not in {"id", "status"}}
    goes_on = and_(i.status == IncidentStatus.CLOSED.value, new.last > i.last)
    status = case((goes_on, IncidentStatus.OPEN.value), else_=i.status)
    return statement.on_conflict_do_update(index_elements=["id"], set_=replaced | {"status": status})


def _signal_upsert() -> Any:
    """Only ever widen: another order of the same events must end in the same row."""
    s = tables.signals.c
    statement = upsert_into(tables.signals).values({name: bindparam(name) for name in Signal.__struct_fields__})
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={
            "first": func.min(s.first, new.first),
            "last": func.max(s.last, new.last),
            "count": func.max(s.count, new["count"]),
            "severity": new.severity,
            "may_act": or_(s.may_act, new.may_act),
        },
    )


def _automatic_blocks() -> Select[Any]:
    a = tables.actions.c
    # One bound value however many addresses: a statement with a place for each takes longer to build than to run.
    listed = select(func.json_each(bindparam("listed")).table_valued("value").c.value)
    return select(tables.actions).where(
        a.target.in_(listed),
        a.action_type == ActionType.IP_BLOCK.value,
        a.status == ActionStatus.ACTIVE.value,
        a.auto_created.is_(True),
    )


def _users_behind() -> Select[Any]:
    e = tables.events.c
    found = (
        select(e.user_id)
        .where(
            e.success == true(),  # not `IS 1`: then SQLite would not see that the partial index holds just these
            e.ip_address == bindparam("address"),
            e.at.between(bindparam("start"), bindparam("end")),
            e.user_id.is_not(None),
        )
        .distinct()
        .limit(bindparam("enough"))
    )
    return select(func.count()).select_from(found.subquery())


# An event's details are in its body, as JSON. An hour of events is read, by the index over time.
_SUMMARY = {
    "violations": """
        SELECT severity, count(*) FROM events
        WHERE at >= :since AND event_type IN ('security_violation', 'threat_detection') GROUP BY severity""",
    "data_access": """
        SELECT count(*), coalesce(sum(json_extract(CAST(body AS TEXT), '$.details.sensitive') = 1), 0),
               count(DISTINCT user_id)
        FROM events WHERE at >= :since AND event_type = 'data_access'""",
    "sources": """
        SELECT ip_address, count(*) AS failures,
               group_concat(DISTINCT coalesce(json_extract(CAST(body AS TEXT), '$.details.failure_reason'), 'other'))
        FROM events WHERE at >= :since AND success = 0 AND ip_address IS NOT NULL
        GROUP BY ip_address ORDER BY failures DESC, ip_address LIMIT 10""",
}

_FLOOR = "change_floor"
_FAR = 1_000_000_000
_PRUNED_AT_ONCE = 5_000


def _prune_statements() -> dict[str, str]:
    """Return by table the statement that deletes some of what is over."""
    over = {
        "events": "at < :before AND seq <= :judged",
        "signals": "last < :before",
        "incidents": "last < :before",
        "security_actions": "created_at < :before AND (status != 'active' OR NOT effective)",
        "audit_trail": "seq <= :upto",
    }
    return {
        name: f"DELETE FROM {name} WHERE rowid IN (SELECT rowid FROM {name} WHERE {which} LIMIT {_PRUNED_AT_ONCE})"  # noqa: S608 - our own names
        for name, which in over.items()
    }


_PRUNE = _prune_statements()

# Made once: building a statement takes longer than running it.
_AUTOMATIC_BLOCKS = _automatic_blocks()
_USERS_BEHIND = _users_behind()
_UPSERT_SIGNAL = _signal_upsert()
_UPSERT_INCIDENT = _incident_upsert()
_SET_STATUS = update(tables.incidents).where(tables.incidents.c.id == bindparam("of")).values(status=bindparam("to"))
_UPSERT_FEEDBACK = _upsert(tables.feedback)
_UPSERT_SUPPRESSION = _upsert(tables.suppressions)
_UPSERT_ACTION = _upsert(tables.actions)
_UPSERT_TOKEN = _upsert(tables.tokens)
_UPSERT_POSITION = _upsert(tables.positions)
_PROBE = text("INSERT INTO positions VALUES ('probe', 1) ON CONFLICT DO UPDATE SET value = value + 1")
_MOVE_SIGNAL = update(tables.signals).where(tables.signals.c.id == bindparam("of")).values(incident_id=bindparam("to"))
_MOVE_ACTION = (
    update(tables.actions).where(tables.actions.c.signal_id == bindparam("of")).values(incident_id=bindparam("to"))
)

_KNOWN_EVENTS = "SELECT event_id, body FROM events WHERE event_id IN (SELECT value FROM json_each(?))"
_AUDIT_COLUMNS = ", ".join(column.name for column in tables.audit.columns)
_INSERT_AUDIT = f"INSERT INTO audit_trail ({_AUDIT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own names
AUDIT_ENTRIES = f"SELECT {_AUDIT_COLUMNS} FROM audit_trail ORDER BY seq"  # noqa: S608 - our own names
"""The audit trail as it is stored: rows of `audit.Entry`."""
_COLUMNS = [column.name for column in tables.events.columns]


def _insert_statement(rows: int) -> str:
    one = f"({', '.join('?' * len(_COLUMNS))})"
    return f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES {', '.join([one] * rows)}"  # noqa: S608 - our own names


_INSERT_EVENTS = [(rows, _insert_statement(rows)) for rows in (256, 32, 4, 1)]
"""By how many rows it writes; few, so that each is compiled once."""
_STORED = [
    tables.events.c[name]
    for name in ("seq", "at", "received_at", "late", "body", "max_severity", "may_act", "effects", "origin")
]


def _event_row(seq: int, item: Pending) -> tuple[Any, ...]:
    event_ = item.event
    success = event_.details.get("success") if event_.event_type is EventType.AUTHENTICATION else None
    return (
        seq,
        event_.event_id,
        item.at,
        item.received_at,
        item.late,
        event_.event_type.value,
        event_.severity.value,
        event_.user_id,
        event_.ip_address,
        success if isinstance(success, bool) else None,
        item.origin,
        item.max_severity.value,
        item.may_act,
        item.effects,
        _encode(event_),
    )


def _stored(row: Row[Any]) -> StoredEvent:
    return StoredEvent(
        row.seq,
        row.at,
        row.received_at,
        bool(row.late),
        _decode_event(row.body),
        _severity[row.max_severity],
        bool(row.may_act),
        bool(row.effects),
        row.origin,
    )


def _signal(row: Row[Any]) -> Signal:
    return Signal(
        id=row.id,
        rule=row.rule,
        rule_hash=row.rule_hash,
        title=row.title,
        subject=row.subject,
        subject_type=SubjectType(row.subject_type),
        group=row.group,
        severity=_severity[row.severity],
        threat_type=ThreatType(row.threat_type) if row.threat_type else None,
        confidence=row.confidence,
        bucket=row.bucket,
        first=row.first,
        last=row.last,
        count=row._mapping["count"],  # `count` is a method of rows  # noqa: SLF001
        may_act=row.may_act,
    )


def _incident(row: Row[Any]) -> Incident:
    return Incident(
        id=row.id,
        subject=row.subject,
        subject_type=SubjectType(row.subject_type),
        severity=_severity[row.severity],
        confidence=row.confidence,
        status=IncidentStatus(row.status),
        first=row.first,
        last=row.last,
        signals=tuple(row.signals),
        threat_types=tuple(ThreatType(name) for name in row.threat_types),
    )


def _action_row(action: Action) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(action)
    row["decision_key"] = row.pop("key")
    row["auto_created"] = row.pop("auto")
    return row


def _action(row: Row[Any]) -> Action:
    return Action(
        id=row.id,
        key=row.decision_key,
        action_type=ActionType(row.action_type),
        target=row.target,
        reason=row.reason,
        evidence=row.evidence,
        severity=_severity[row.severity],
        status=ActionStatus(row.status),
        created_at=row.created_at,
        expiration=row.expiration,
        auto=row.auto_created,
        created_by=row.created_by,
        rule=row.rule,
        signal_id=row.signal_id,
        incident_id=row.incident_id,
        decided_at=row.decided_at,
        effective=row.effective,
        change_seq=row.change_seq,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
    )


def _audit_entry(row: Row[Any]) -> AuditEntry:
    details = msgspec.json.decode(row.details)
    return AuditEntry(at=row.at, actor=row.actor, operation=row.operation, target=row.target, details=details)


def _token_row(token: Token) -> dict[str, Any]:
    return {
        **{name: getattr(token, name) for name in token.__struct_fields__},
        "role": token.role.value,
        "max_severity": token.max_severity.value,
    }


def _token(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        hash=row.hash,
        max_severity=_severity[row.max_severity],
        may_cause_actions=row.may_cause_actions,
        created_at=row.created_at,
        expires_at=row.expires_at,
        source_cidr=row.source_cidr,
        revoked_at=row.revoked_at,
    )
