"""
Keys in Redis that other programs read: written as a whole or in part, never read back as truth.

One server, or a cluster of them. Nothing is asked of several keys at once, so it does not matter which master of a
cluster has which. Each master has a marker of its own: one that came back empty is seen by that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisClusterException

from sentinel.errors import OutsideError

__all__ = ["Key", "Redis", "RedisAway"]

_SECONDS = 3.0
_AT_ONCE = 500
_CONNECTIONS = 4  # to each server
_MARKER = "sentinel:change"
_CHANNEL = "sentinel:changes"
_CLUSTER = "+cluster"
_DEFAULT_PORT = 6379
_SLOTS = 16_384

Key = tuple[bytes, int | None]
"""What is written, and after how many milliseconds it goes by itself; None: it stays."""


class RedisAway(OutsideError):
    """Redis can't be reached, or refuses."""

    def __init__(self, err: BaseException) -> None:
        super().__init__(f"Redis can't be reached ({type(err).__name__})", retryable=True)


class Redis:
    """
    A Redis server, or cluster, and what we keep there.

    Args:
        url: `redis://HOST:PORT/NUMBER`, or `redis+cluster://HOST:PORT,HOST:PORT` with some of a cluster's servers;
            `rediss` in place of `redis` for TLS.
    """

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = {
            "socket_timeout": _SECONDS,
            "socket_connect_timeout": _SECONDS,
            "health_check_interval": 10,
            "max_connections": _CONNECTIONS,
            "client_name": "sentinel",
        }
        scheme, _, rest = url.partition("://")
        if scheme.startswith("rediss"):
            options["ssl_check_hostname"] = True  # not every version does by itself
        self._server = (
            _cluster(scheme, rest, options) if scheme.endswith(_CLUSTER) else redis.Redis.from_url(url, **options)
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._server.aclose()

    async def marker(self) -> str | None:
        """Return what was marked last; None when a server is empty. `RedisAway` when there is nobody to ask."""
        async with _asked():
            found = {await self._server.get(name) for name in await self._markers()}
        only = found.pop()
        return None if found or only is None else _text(only)

    async def _markers(self) -> list[str]:
        """Return the names of the markers, of which each server that has keys has one."""
        server = self._server
        if not isinstance(server, RedisCluster):
            return [_MARKER]
        await server.initialize()
        masters, names = len(server.get_primaries()), dict[str, str]()
        for number in range(_SLOTS):
            name = f"{_MARKER}:{number}"
            node = server.get_node_from_key(name)
            if node is not None:
                names.setdefault(node.name, name)
            if len(names) == masters:
                break
        return list(names.values())

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
                pipe = self._server.pipeline(transaction=False)
                for name in names:  # each by itself: those of one command must be on one server
                    pipe.delete(name)
                await pipe.execute()
            for name in await self._markers():
                await self._server.set(name, marker)
            await self._server.publish(_CHANNEL, marker)

    async def names(self, prefixes: Iterable[str]) -> list[str]:
        """Return the keys that begin so, bit by bit: the server answers others meanwhile."""
        async with _asked():
            return [
                _text(name)
                for prefix in prefixes
                async for name in self._server.scan_iter(f"{prefix}*", count=_AT_ONCE)
            ]


def _cluster(scheme: str, rest: str, options: dict[str, Any]) -> RedisCluster:
    """Return a client that finds out by itself which servers there are, from those of them that are named."""
    plain = f"{scheme.removesuffix(_CLUSTER)}://"
    user, at, hosts = rest.partition("/")[0].partition("?")[0].rpartition("@")
    named = [urlsplit(f"//{host}") for host in hosts.split(",")]
    nodes = [ClusterNode(one.hostname or "", one.port or _DEFAULT_PORT) for one in named]
    query = rest.partition("?")[2]
    # Without the servers it is a URL as any, in which the client reads user, password and options.
    url = f"{plain}{user}{at}{hosts.split(',')[0]}{'?' * bool(query)}{query}"
    return RedisCluster.from_url(url, startup_nodes=nodes, retry=Retry(ExponentialBackoff(0.5, 0.05), 2), **options)


def _text(found: bytes | str) -> str:
    return found if isinstance(found, str) else found.decode(errors="replace")


@asynccontextmanager
async def _asked() -> AsyncIterator[None]:
    try:
        yield
    except (redis.RedisError, RedisClusterException, OSError, TimeoutError, asyncio.IncompleteReadError) as err:
        raise RedisAway(err) from None  # its words may hold what was written
