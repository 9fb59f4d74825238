"""
The anchor file: signed checkpoints of the audit chain, one JSON line each, only ever appended.

Where it protects. By default it lies in the data folder, which finds accidents and careless hands. Against somebody who
has taken the machine it must lie where the service can append and not rewrite: a file of another owner with the
append-only attribute, or a mount that keeps what was written (setting `audit_anchor`).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from sentinel.audit import GENESIS, Checkpoint, Entry, Kind, Report, key_id, seal, verify
from sentinel.errors import ConfigError
from sentinel.model import Micros
from sentinel.storage.ports import postgres_extra
from sentinel.storage.sql import Store
from sentinel.storage.statements import AUDIT_ENTRIES

__all__ = ["Notary", "append", "read_anchor", "verify_store"]

_SEAL_EVERY_ENTRIES = 1_000
_SEAL_EVERY: Micros = 60 * 1_000_000
_SETTLED: Micros = 2 * 1_000_000  # new entries are sealed this soon, so that a crash leaves few outside

_decode = msgspec.json.Decoder(Checkpoint).decode


def read_anchor(path: Path) -> tuple[list[Checkpoint], bool]:
    """
    Return the checkpoints in a file, oldest first, and whether its end can't be read; none when there is no file.

    A line that can't be read is left out: what it may have been, the next one names by its digest. A crash in the
    middle of writing leaves one, without harm. After the last one there is no next one.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return [], False
    except OSError as err:
        raise ConfigError(f"the anchor can't be read: {err.strerror}", where=str(path)) from err
    found = []
    broken = False
    for line in lines:
        try:
            found.append(_decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            broken = True
        else:
            broken = False
    return found, broken


def append(path: Path, checkpoint: Checkpoint) -> None:
    """Add a line durably; `OSError` when it can't be."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        # After a line that a crash cut short, this one must not become a part of it.
        cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, b"%b%b\n" % (b"\n" if cut else b"", msgspec.json.encode(checkpoint)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def verify_store(place: Path | str, anchor: Path, keys: list[bytes]) -> Report:
    """
    Return what a verification of a store finds, without writing to it; the service may run meanwhile.

    Args:
        place: The store's file, or the URL of a PostgreSQL database.
        anchor: File of checkpoints.
        keys: That signed them, oldest first.

    Raises:
        ConfigError: There is no store, or it can't be read.
    """
    checkpoints, broken = read_anchor(
        anchor
    )  # first: the log may grow meanwhile, and the anchor may not be ahead of it
    report = verify(_entries(place), checkpoints, keys)
    if not broken:
        return report
    note = (
        f"the end of the anchor, after checkpoint {len(checkpoints)}, can't be read: a crash left it in the middle of"
        " writing, or somebody damaged it; what it vouched for is not known"
    )
    return msgspec.structs.replace(report, notes=(*report.notes, note))


def _entries(place: Path | str) -> Iterator[Entry]:
    if isinstance(place, Path):
        return _entries_of_file(place)
    with postgres_extra():
        from sentinel.storage.postgres import entries_of  # noqa: PLC0415 - an extra

    return entries_of(place)


def _entries_of_file(path: Path) -> Iterator[Entry]:
    if not path.is_file():
        raise ConfigError("there is no store", where=str(path))
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            yield from map(Entry._make, connection.execute(AUDIT_ENTRIES))
        finally:
            connection.close()
    except sqlite3.Error as err:
        raise ConfigError(f"the store can't be read: {err}", where=str(path)) from err


class Notary:
    """Seals the audit chain of a store into an anchor, now and then."""

    def __init__(self, store: Store, path: Path, key: bytes, clock: Callable[[], Micros]) -> None:
        self._store = store
        self._path = path
        self._key = key
        self._clock = clock
        self._last: Checkpoint | None = None
        self._origin = ""
        self._writing = asyncio.Lock()
        self.trouble: str | None = None
        """Why the audit chain can't be trusted, or is not being sealed; None when all is well."""
        self._doubt: str | None = None

    async def begin(self) -> None:
        """Take up where the anchor ends, and see whether the log still holds what it saw last."""
        checkpoints, _ = await asyncio.to_thread(read_anchor, self._path)
        self._last = checkpoints[-1] if checkpoints else None
        self._origin = self._last.origin if self._last else uuid.uuid4().hex
        if self._last:
            root = await self._store.audit_hash(self._last.size) if self._last.size else GENESIS
            pruned = self._last.kind is Kind.PRUNED and self._last.size <= self._store.audited[0]
            if root != bytes.fromhex(self._last.root) and not pruned:
                self._doubt = "the audit log is not what its anchor saw; run `sentinel audit verify`"
        self.trouble = self._doubt
        if self._last and self._last.key_id != key_id(self._key):
            await self.seal()  # a new key begins at once, so that the one before can't go on unseen

    async def seal_when_due(self) -> None:
        """Write a checkpoint if entries wait for one, or a minute has passed."""
        now, size = self._clock(), self._store.audited[0]
        fresh = size - (self._last.size if self._last else 0)
        waited = now - self._last.time if self._last else _SEAL_EVERY
        if fresh >= _SEAL_EVERY_ENTRIES or waited >= _SEAL_EVERY or (fresh and waited >= _SETTLED):
            await self.seal()

    async def seal(self) -> None:
        """Write a checkpoint of the log as it stands; cancelled, it is written all the same."""
        await asyncio.shield(asyncio.ensure_future(self._seal(Kind.SEAL)))

    async def restored(self) -> None:
        """Say in the anchor that the log was brought back from a backup and is to be believed as it stands."""
        self._doubt = None
        await self._seal(Kind.RESTORED)

    async def pruned(self, size: int) -> None:
        """Say in the anchor that entries up to `size` go by rule; before they go, so that it is never found out."""
        root = await self._store.audit_hash(size)
        assert root is not None, "it is there until it is deleted"
        await self._seal(Kind.PRUNED, (size, root))

    async def _seal(self, kind: Kind, what: tuple[int, bytes] | None = None) -> None:
        async with self._writing:
            size, root = what or self._store.audited
            checkpoint = seal(
                self._key, origin=self._origin, size=size, root=root, time=self._clock(), before=self._last, kind=kind
            )
            try:
                await asyncio.to_thread(append, self._path, checkpoint)
            except OSError as err:
                self.trouble = f"the audit log can't be sealed: {err.strerror}"
            else:
                self._last = checkpoint
                self.trouble = self._doubt
