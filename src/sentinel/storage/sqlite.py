"""
SQLite as the store needs it: what a 202 promises is kept here.

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
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from sentinel.storage.migrations import migrate
from sentinel.storage.ports import Job
from sentinel.storage.values import StoreBusy, StoreFull, StoreLost, StoreUnable

__all__ = ["SqliteFile"]

T = TypeVar("T")

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LOST = {"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"}
_CHECKPOINT_ROWS = 20_000
_CHECKPOINT_COMMITS = 400
_READERS = 4


class SqliteFile:
    """One SQLite file: a thread that writes, some that read, and what its errors mean."""

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
        self._full = False  # there was no room for the last write
        self.trouble: str | None = None
        self.away: StoreUnable | None = None  # a file is there, or lost
        self.ending = False
        self.node = uuid.uuid4().hex
        self.shared = False  # a lock keeps the data folder for one process
        self.lease: int | None = 0
        self.on_news: Callable[[], None] = lambda: None
        self.on_away: Callable[[StoreUnable], None] = lambda _: None

    @classmethod
    async def opened(cls, path: Path) -> Self:
        """Return it, made or migrated to the present schema, its log made durable."""
        await asyncio.to_thread(_prepare, path)
        engine = create_engine(f"sqlite:///{path}", pool_size=_READERS + 1)
        event.listen(engine, "connect", _set_pragmas)
        file = cls(path, engine, engine.connect())
        if await file._in_writer(_made_ready) != _SYNCHRONOUS_FULL:
            raise StoreLost("202 means fsynced, but SQLite does not run with synchronous=FULL")
        return file

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

    def stop_waiting(self) -> None:
        """Do nothing: nobody waits for a file."""
        self.ending = True

    async def take_lease(self) -> bool:
        """Nobody else could judge."""
        return True

    async def give_lease_back(self) -> None:
        """Do nothing: there is nobody to take it."""

    async def write(self, job: Job[T], *, rows: int, judging: bool = False) -> T:
        """Return what a transaction gives, once it is committed."""
        del judging

        def transaction(writer: Connection) -> T:
            with writer.begin():
                return job(writer)

        async with self._lock:
            if self._lost:
                raise self._lost
            result = await self._judged(transaction)
            self.trouble, self._full = None, False
            await self._checkpoint_when_due(rows)
            return result

    async def _in_writer(self, job: Job[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, job, self._writer)

    async def _judged(self, job: Job[T]) -> T:
        """Run a job in the writer's thread; raises what its error means, and remembers it."""
        try:
            return await self._in_writer(job)
        except (DBAPIError, sqlite3.Error) as err:
            judged = _meaning(err, self._path)
            if isinstance(judged, StoreLost) and self._full and _errorname(err) not in _LOST:
                judged = StoreFull()  # room came between the error and the look for its cause: once it may explain both
                self._full = False
            else:
                self._full = isinstance(judged, StoreFull)
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

    async def read(self, job: Job[T]) -> T:
        """Return what a job reads, in a reader's thread."""

        def reading() -> T:
            with self._engine.connect() as connection:
                return job(connection)

        return await asyncio.get_running_loop().run_in_executor(self._reading, reading)


# --- in the writer's thread


def _made_ready(writer: Connection) -> int:
    """Return what `synchronous` is."""
    mode = int(writer.scalar(text("PRAGMA synchronous")) or 0)
    writer.rollback()
    return mode


def _checkpoint(mode: str, writer: Connection) -> bool:
    """Move the log into the database file; returns whether that could be done with all of it."""
    _, frames, moved = writer.execute(text(f"PRAGMA wal_checkpoint({mode})")).one()
    writer.rollback()
    return bool(frames == moved)


# --- files


_SYNCHRONOUS_FULL = 2


def _set_pragmas(connection: Any, _record: object = None) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "wal_autocheckpoint=0",
        "busy_timeout=10000",
        "cache_size=-2048",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _prepare(path: Path) -> None:
    """Make what the log holds durable before anything reads it, then bring the schema up to date."""
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _set_pragmas)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            # By itself Python's driver commits each CREATE TABLE; a kill in between would leave half a schema for ever.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            migrate(connection)
    except DBAPIError as err:
        raise _meaning(err, path) from err
    finally:
        engine.dispose()
    path.chmod(0o600)


def _meaning(err: DBAPIError | sqlite3.Error, path: Path) -> StoreUnable | StoreLost | DBAPIError | sqlite3.Error:
    """Tell what heals by itself from a disk that can't be trusted any more."""
    name = _errorname(err)
    if name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and name not in _LOST and _no_room(path)):
        return StoreFull()
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreBusy()
    if name.startswith(("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreLost(f"writing to the store failed ({name}); the process stops, start it again")
    return err


def _errorname(err: DBAPIError | sqlite3.Error) -> str:
    return getattr(err.orig if isinstance(err, DBAPIError) else err, "sqlite_errorname", "")


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
