"""Keys in Redis that other programs read: written as a whole or in part, never read back as truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import islice

import redis.asyncio as redis

from sentinel.errors import OutsideError

__all__ = ["Key", "Redis", "RedisAway"]

_SECONDS = 3.0
_AT_ONCE = 500
_MARKER = "sentinel:change"
_CHANNEL = "sentinel:changes"

Key = tuple[bytes, int | None]
"""What is written, and after how many milliseconds it goes by itself; None: it stays."""


class RedisAway(OutsideError):
    """Redis can't be reached, or refuses."""

    def __init__(self, err: BaseException) -> None:
        super().__init__(f"Redis can't be reached ({type(err).__name__})", retryable=True)


class Redis:
    """A Redis server, and what we keep there."""

    def __init__(self, url: str) -> None:
        self._server = redis.Redis.from_url(
            url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS, health_check_interval=10, max_connections=4
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._server.aclose()

    async def marker(self) -> str | None:
        """Return what was marked last; None when it is empty. `RedisAway` when there is nobody to ask."""
        async with _asked():
            found = await self._server.get(_MARKER)
        return None if found is None else _text(found)

    async def write(self, keys: Mapping[str, Key], gone: Iterable[str], marker: str) -> None:
        """Write some keys, delete others, and then mark how far that goes, and tell whoever has subscribed."""
        async with _asked():
            pending, over = iter(keys.items()), iter(gone)
            while some := list(islice(pending, _AT_ONCE)):
                pipe = self._server.pipeline(transaction=False)
                for name, (value, milliseconds) in some:
                    pipe.set(name, value, px=milliseconds)
                await pipe.execute()
            while names := list(islice(over, _AT_ONCE)):
                await self._server.delete(*names)
            await self._server.set(_MARKER, marker)
            await self._server.publish(_CHANNEL, marker)

    async def names(self, prefixes: Iterable[str]) -> list[str]:
        """Return the keys that begin so, bit by bit: the server answers others meanwhile."""
        async with _asked():
            return [
                _text(name)
                for prefix in prefixes
                async for name in self._server.scan_iter(f"{prefix}*", count=_AT_ONCE)
            ]


def _text(found: bytes | str) -> str:
    return found if isinstance(found, str) else found.decode(errors="replace")


@asynccontextmanager
async def _asked() -> AsyncIterator[None]:
    try:
        yield
    except (redis.RedisError, OSError, TimeoutError, asyncio.IncompleteReadError) as err:
        raise RedisAway(err) from None  # its words may hold what was written
