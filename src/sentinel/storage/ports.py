"""
What the store needs of a database, and who gives it: `sqlite` one file, `postgres` a server.

What the two say differently stands in `dialect`; how their errors are told apart, in their own files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from sentinel.storage.values import StoreUnable

__all__ = ["Backend", "Job"]

T = TypeVar("T")

Job = Callable[[Connection], T]
"""What is done on a connection, from its first statement to its last; it runs in a thread of the backend's."""


class Backend(Protocol):
    """One writer, and readers who see only what was committed."""

    trouble: str | None
    """Why the last write was not possible; None when it was."""
    away: StoreUnable | None
    """While no write can be tried at all, why; whoever has a sender waiting refuses at once."""
    on_away: Callable[[StoreUnable], None]
    """Told when that begins."""

    async def write(self, job: Job[T], *, rows: int) -> T:
        """
        Return what a job gives as one transaction, once it is committed and durable.

        Args:
            job: Reads and writes; it may be run once at most.
            rows: About how many rows it writes.

        Raises:
            StoreUnable: Nothing was written; the same call will work once the reason is gone.
            StoreLost: What is stored is unknown, or no longer ours to write; the process must stop.
        """
        ...

    async def read(self, job: Job[T]) -> T:
        """Return what a job reads."""
        ...

    async def close(self) -> None:
        """Let go of the database; what was committed stays."""
        ...
