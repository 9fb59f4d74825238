"""How the parts of the store reach the database, whichever it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Row, Select

from sentinel.storage.ports import Backend, Job
from sentinel.storage.values import StoreUnable

__all__ = ["Database", "whole"]

T = TypeVar("T")
P = ParamSpec("P")


def whole(write: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """
    Let a write run to its end also when whoever waits for it is cancelled.

    A cancelled statement would leave its transaction open in the connection's thread, and the database locked.
    """

    @wraps(write)
    async def uncancelled(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.shield(asyncio.ensure_future(write(*args, **kwargs)))

    return uncancelled


class Database:
    """A backend, as the parts of the store ask it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def trouble(self) -> str | None:
        """Why the last write was not possible; None when it was."""
        return self._backend.trouble

    @property
    def away(self) -> StoreUnable | None:
        """While no write can be tried at all, why."""
        return self._backend.away

    def when_away(self, told: Callable[[StoreUnable], None]) -> None:
        """Say who is told when that begins: those who wait then may wait long."""
        self._backend.on_away = told

    def when_news(self, told: Callable[[], None]) -> None:
        """Say who is told that another process has written; that may fail to come, so look now and then as well."""
        self._backend.on_news = told

    @property
    def ending(self) -> bool:
        """Whether nobody waits any more for a database that is away."""
        return self._backend.ending

    @property
    def node(self) -> str:
        """Name of this process, which no other one ever has."""
        return self._backend.node

    @property
    def shared(self) -> bool:
        """Whether other processes write to it, too."""
        return self._backend.shared

    @property
    def judging(self) -> bool:
        """Whether this process is the one that judges."""
        return self._backend.lease is not None

    async def take_lease(self) -> bool:
        """Return whether this process judges from now on, which it may while nobody else does."""
        return await self._backend.take_lease()

    async def give_lease_back(self) -> None:
        """Judge no more, so that another process may, at once."""
        await self._backend.give_lease_back()

    def stop_waiting(self) -> None:
        """Wait no longer for a database that is away: the process is to end."""
        self._backend.stop_waiting()

    async def close(self) -> None:
        """Let go of the database."""
        await self._backend.close()

    async def _write(self, job: Job[T], *, rows: int, judging: bool = False) -> T:
        return await self._backend.write(job, rows=rows, judging=judging)

    @whole
    async def _judged(self, job: Job[T]) -> T:
        """Write what only the node that judges may, by itself: to its end, also when whoever does it is cancelled."""
        return await self._write(job, rows=0, judging=True)

    async def _read(self, job: Job[T]) -> T:
        return await self._backend.read(job)

    async def _all(self, query: Select[Any], values: dict[str, Any] | None = None) -> Sequence[Row[Any]]:
        return await self._read(lambda connection: connection.execute(query, values).all())

    async def _number(self, query: Select[Any], values: dict[str, Any] | None = None) -> int:
        return await self._read(lambda connection: int(connection.scalar(query, values) or 0))
