"""
What the store needs of a database, and who gives it: `sqlite` one file, `postgres` a server.

What the two say differently stands in `dialect`; how their errors are told apart, in their own files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from sqlalchemy import Connection

from sentinel.errors import ConfigError
from sentinel.storage.values import StoreUnable

__all__ = ["PATIENCE", "Backend", "Job", "State", "place_of", "postgres_extra"]

T = TypeVar("T")

Job = Callable[[Connection], T]
"""What is done on a connection, from its first statement to its last; it runs in a thread of the backend's."""

PATIENCE: ContextVar[float | None] = ContextVar("PATIENCE", default=None)
"""Seconds after which a reader gives up on a database that is away; None: it waits, as what runs by itself does."""


class State(NamedTuple):
    """What a server says of itself and of the store."""

    version: str
    fsync: bool
    synchronous_commit: str
    encoding: str
    size: int
    """Bytes."""
    schema: str | None
    """Version of the store's schema; None when there is no store yet."""
    owned: bool
    """Whether a Sentinel works on it."""
    last_audited: int | None
    """When the latest audit entry was written, in microseconds."""


def place_of(url: str) -> str:
    """Return where a database is, without who asks there and by which password."""
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def postgres_extra() -> Iterator[None]:
    """Say how to get what PostgreSQL needs, in place of Python's own words for a module that is missing."""
    try:
        yield
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"needs the postgres extra ({err.name} is missing): in a checkout, pip install '.[server,postgres]'",
            where="database_url",
        ) from err


class Backend(Protocol):
    """One writer, and readers who see only what was committed."""

    trouble: str | None
    """Why the last write was not possible; None when it was."""
    away: StoreUnable | None
    """While no write can be tried at all, why; whoever has a sender waiting refuses at once."""
    on_away: Callable[[StoreUnable], None]
    """Told when that begins."""
    ending: bool
    """Whether nobody waits any more for a database that is away."""
    node: str
    """Name of this process, which no other one ever has."""
    shared: bool
    """Whether other processes write to the database, too: then numbers come from there."""
    on_news: Callable[[], None]
    """Told, where the database is shared, that another process has written; not always, and not each time."""
    lease: int | None
    """Number of the time for which this process judges, counted over all of them; None while it does not."""

    async def write(self, job: Job[T], *, rows: int, judging: bool = False) -> T:
        """
        Return what a job gives as one transaction, once it is committed and durable.

        Args:
            job: Reads and writes; it may be run once at most.
            rows: About how many rows it writes.
            judging: Write only while no other process judges.

        Raises:
            StoreUnable: Nothing was written; the same call will work once the reason is gone.
            LeaseLost: Nothing was written, and nothing of the kind will be: another process judges.
            StoreLost: What is stored is unknown, or no longer ours to write; the process must stop.
        """
        ...

    async def read(self, job: Job[T]) -> T:
        """
        Return what a job reads; it may be run again where a connection broke.

        Raises:
            StoreUnable: The database is away, and whoever asks waits no longer.
        """
        ...

    async def take_lease(self) -> bool:
        """Return whether this process judges from now on, which it may while nobody else does; told in `lease`."""
        ...

    async def give_lease_back(self) -> None:
        """Judge no more, so that another process may, at once; what this one writes otherwise it goes on writing."""
        ...

    def stop_waiting(self) -> None:
        """Wait no longer for a database that is away: the process is to end."""
        ...

    async def close(self) -> None:
        """Let go of the database; what was committed stays."""
        ...
