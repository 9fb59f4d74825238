"""Copies of a store's file, made while the service runs or not, and the way back from one, while it does not."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from sentinel.errors import ConfigError
from sentinel.storage.migrations import known_versions
from sentinel.storage.ports import State, postgres_extra

__all__ = ["backup", "restore", "schema_version", "state_of"]

_NEEDED = {"events", "signals", "incidents", "security_actions", "tokens", "audit_trail", "positions"}
"""In every version; a backup of an older one has not yet what was added since."""


def backup(database: Path, target: Path) -> int:
    """
    Write a whole, consistent copy of a store to a new file; returns its size in bytes.

    Raises:
        ConfigError: There is no store, the target exists, or it can't be written.
    """
    if not database.is_file():
        raise ConfigError("there is no store", where=str(database))
    if target.exists():
        raise ConfigError("is there already; a backup overwrites nothing", where=str(target))
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(database, part)
        part.replace(target)
    except (OSError, sqlite3.Error) as err:
        part.unlink(missing_ok=True)
        raise ConfigError(f"can't be written: {err}", where=str(target)) from err
    return target.stat().st_size


def _copy(source: Path, target: Path) -> None:
    here, there = _opened(source), sqlite3.connect(target)
    try:
        here.backup(there, pages=10_000)
        there.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
    finally:
        here.close()
        there.close()
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def restore(source: Path, database: Path) -> Path | None:
    """
    Put a backup in place of a store; the caller holds the data folder's lock.

    Returns:
        Where the store that was there is kept now, if there was one.

    Raises:
        ConfigError: It is no whole backup of a store, or of a newer version; then nothing was changed.
    """
    _check(source)
    kept: Path | None = None
    part = database.with_name(f".{database.name}.part")
    try:
        part.unlink(missing_ok=True)  # were it a link, its target would be written over
        shutil.copyfile(source, part)
        part.chmod(0o600)
        if database.exists():
            kept = _aside(database)
        part.replace(database)
    except OSError as err:
        part.unlink(missing_ok=True)
        raise ConfigError(f"can't be put in place: {err.strerror}", where=str(database)) from err
    return kept


def _check(source: Path) -> None:
    try:
        connection = _opened(source)
    except sqlite3.Error as err:
        raise ConfigError(f"can't be read: {err}", where=str(source)) from err
    try:
        [state] = connection.execute("PRAGMA integrity_check(1)").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if state != "ok" or not tables >= _NEEDED:
            raise ConfigError("this is no whole backup of a store", where=str(source))
        version = _version(connection)
    except sqlite3.Error:
        raise ConfigError("this is no whole backup of a store", where=str(source)) from None
    finally:
        connection.close()
    if version not in known_versions():
        raise ConfigError("the backup is of a newer version of Sentinel; upgrade first", where=str(source))


def _aside(database: Path) -> Path:
    """Keep what was there, with its log: an operator may have chosen the wrong backup."""
    number = 1
    while (kept := database.with_name(f"{database.name}.before-restore-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm"):
        beside = database.with_name(database.name + suffix)
        if beside.exists():
            beside.replace(kept.with_name(kept.name + suffix))
    database.replace(kept)
    return kept


def schema_version(database: Path | str) -> str | None:
    """Return the version of the schema of a store, a file or at a URL; None when there is no store yet."""
    if isinstance(database, str):
        return state_of(database).schema
    if not database.is_file():
        return None
    connection = _opened(database)
    try:
        return _version(connection)
    except sqlite3.Error as err:
        raise ConfigError(f"can't be read: {err}", where=str(database)) from err
    finally:
        connection.close()


def state_of(url: str) -> State:
    """Return what a PostgreSQL server says of itself and of the store; `ConfigError` when it can't be reached."""
    with postgres_extra():
        from sentinel.storage.postgres import look  # noqa: PLC0415 - an extra

    return look(url)


def _version(connection: sqlite3.Connection) -> str:
    return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
