"""Tests of sentinel.storage.redis: one suite for a server and for a cluster of three masters, with TLS and without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.redis import PASSWORD, RedisMasters, RedisMastersWithTls, RedisServer, RedisWithTls
from tests.support.service import eventually

from sentinel.certificates import make_ca
from sentinel.errors import ConfigError
from sentinel.settings import load_settings
from sentinel.storage.redis import Redis, RedisAway

KINDS = {
    "one": RedisServer,
    "tls": RedisWithTls,
    "cluster": RedisMasters,
    "cluster with tls": RedisMastersWithTls,
}


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What holds for one server must hold for a cluster."""
    with KINDS[request.param](tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> None:
    """Each test begins with servers that run and hold nothing."""
    for name in ("server", "masters", "tls"):
        if name in request.fixturenames:
            running = request.getfixturevalue(name)
            if isinstance(running, RedisMasters) or not running.runs:
                running.start()
            running.empty()


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisMasters]:
    with RedisMasters(tmp_path_factory.mktemp("masters")) as masters:
        yield masters


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisWithTls]:
    with RedisWithTls(tmp_path_factory.mktemp("tls")) as server:
        yield server


def on(url: str, work: Callable[[Redis], Awaitable[Any]]) -> Any:
    async def session() -> Any:
        redis = Redis(url)
        try:
            return await work(redis)
        finally:
            await redis.close()

    return asyncio.run(session())


MANY = {f"ip_block:2001:db8::{n:x}": (b"{}", None) for n in range(1_200)}


# --- one suite for all


def test_what_is_written_is_there_for_others(server: Any) -> None:
    """By name, with what is left of its time, on whichever server its name leads to; a name may hold anything."""
    keys = {
        "ip_block:192.0.2.1": (b"one", 60_000),
        "security_action:ip_block:192.0.2.1": (b"two", None),
        "user_suspend:{a} b\n*": (b"three", None),
    }

    async def work(redis: Redis) -> None:
        assert await redis.marker() is None
        await redis.write(keys, [], "n:1")
        assert await redis.marker() == "n:1"

    on(server.url, work)
    assert {name: server.client.get(name) for name in keys} == {
        name: value.decode() for name, (value, _) in keys.items()
    }
    assert 0 < server.client.pttl("ip_block:192.0.2.1") <= 60_000
    assert server.client.ttl("security_action:ip_block:192.0.2.1") == -1


def test_many_are_written_found_and_deleted(server: Any) -> None:
    """More than go in one turn; those with other names stay, and it is asked for bit by bit."""

    async def work(redis: Redis) -> None:
        await redis.write(MANY | {"other": (b"1", None)}, [], "n:1")
        assert set(await redis.names(["ip_block:", "user_suspend:"])) == MANY.keys()
        await redis.write({"ip_block:new": (b"1", None)}, [*MANY, "ip_block:none"], "n:2")
        assert await redis.names(["ip_block:"]) == ["ip_block:new"]
        assert await redis.marker() == "n:2"

    on(server.url, work)
    assert server.client.get("other") == "1"


def test_who_has_subscribed_is_told(server: Any) -> None:
    """After the keys are there, and by whichever server one asks."""
    one = server.masters[2].client if isinstance(server, RedisMasters) else server.client
    with one.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe("sentinel:changes")
        heard.get_message(timeout=10)

        def hears() -> bool:
            on(server.url, lambda redis: redis.write({}, [], "n:7"))
            told = heard.get_message(timeout=1)  # in a cluster what others published before may still be on its way
            return told is not None and told["data"] == "n:7"

        eventually(hears, seconds=60, what="it is told")


def test_servers_that_are_away_are_said_to_be_and_come_back_empty(server: Any) -> None:
    """Each question says so, without the password; the same client goes on when they are there again."""

    async def work(redis: Redis) -> None:
        await redis.write({"ip_block:a": (b"1", None)}, [], "n:1")
        server.kill()
        for ask in (redis.marker, lambda: redis.write({}, [], "n:2"), lambda: redis.names(["ip_block:"])):
            with pytest.raises(RedisAway, match="Redis can't be reached") as caught:
                await ask()
            assert PASSWORD not in str(caught.value)
        await asyncio.to_thread(server.start)
        assert await persevering(redis.marker) is None
        await persevering(lambda: redis.write({"ip_block:a": (b"2", None)}, [], "n:3"))
        assert await redis.marker() == "n:3"

    on(server.url, work)
    assert server.client.get("ip_block:a") == "2"


async def persevering(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until it is answered, as the one who keeps the keys does."""
    until = asyncio.get_running_loop().time() + 60
    while True:
        try:
            return await ask()
        except RedisAway:
            if asyncio.get_running_loop().time() > until:
                raise
            await asyncio.sleep(0.1)


def test_to_each_server_there_are_few_connections(server: Any) -> None:
    """Whoever plans for its places counts on it; they have our name there."""

    async def work(redis: Redis) -> list[int]:
        for turn in range(3):
            await redis.write(MANY, [], f"n:{turn}")
            await redis.names(["ip_block:"])
            await redis.write({}, MANY, f"n:{turn}")
        servers = server.masters if isinstance(server, RedisMasters) else [server]
        named = [[one["name"] for one in each.client.client_list()] for each in servers]
        return [names.count("sentinel") for names in named]

    taken = on(server.url, work)
    assert all(1 <= number <= 4 for number in taken), taken


# --- of a cluster


def test_the_keys_are_spread_over_all_masters(masters: RedisMasters) -> None:
    """And each has a marker of its own beside them."""
    on(masters.url, lambda redis: redis.write(MANY, [], "n:1"))
    for master in masters.masters:
        names = list(master.client.scan_iter(count=1_000))
        assert len([name for name in names if name.startswith("ip_block:")]) > 200
        assert len([name for name in names if name.startswith("sentinel:change:")]) == 1


@pytest.mark.parametrize("which", range(3))
def test_one_master_that_lost_its_keys_is_noticed(masters: RedisMasters, which: int) -> None:
    """The others still hold the marker; without one for each nobody would write its keys again."""

    async def work(redis: Redis) -> None:
        await redis.write(MANY, [], "n:1")
        masters.masters[which].empty()
        assert await redis.marker() is None
        await redis.write(MANY, [], "n:2")
        assert await redis.marker() == "n:2"

    on(masters.url, work)


def test_one_master_that_is_gone_is_said_and_comes_back(masters: RedisMasters) -> None:
    """Whichever of the servers in the URL it is, one of the others tells where the rest is."""

    async def work() -> None:
        redis = Redis(masters.url)
        await redis.write(MANY, [], "n:1")
        masters.masters[0].kill()
        with pytest.raises(RedisAway):
            await redis.marker()
        later = Redis(masters.url)
        with pytest.raises(RedisAway):
            await later.write(MANY, [], "n:2")
        await asyncio.to_thread(masters.start)
        for one in (redis, later):
            assert await persevering(one.marker) is None
        await later.write(MANY, [], "n:3")
        assert await redis.marker() == "n:3"
        assert len(await redis.names(["ip_block:"])) == len(MANY)
        for one in (redis, later):
            await one.close()

    asyncio.run(work())


# --- TLS


def test_a_server_that_can_not_prove_who_it_is_gets_nothing(tls: RedisWithTls) -> None:
    """Another name than the certificate's, no authority that is believed, no TLS: refused before the password."""
    assert on(tls.url, lambda redis: redis.marker()) is None
    before = tls.client.info("stats")["total_commands_processed"]
    for url in (
        tls.url.replace("@localhost", "@127.0.0.1"),
        tls.url.partition("?")[0],
        tls.url.replace("rediss://", "redis://").partition("?")[0],
    ):
        with pytest.raises(RedisAway):
            on(url, lambda redis: redis.marker())
    assert tls.client.info("stats")["total_commands_processed"] - before < 5, "somebody got in"


@pytest.mark.parametrize("server", ["tls", "cluster with tls"], indirect=True)
def test_servers_of_another_authority_get_nothing(server: Any, tmp_path: Path) -> None:
    """Of a cluster as of one: the authority in the URL is the only one that is believed."""
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(make_ca("ours", datetime.now(UTC)).certificate)
    assert on(server.url, lambda redis: redis.marker()) is None
    for url in (server.url.partition("=")[0] + f"={stranger}", server.url.partition("?")[0]):
        with pytest.raises(RedisAway):
            on(url, lambda redis: redis.marker())


def test_urls_are_told_from_others() -> None:
    """Before anybody starts with one that means something else; no password in what is said."""
    for url in ("redis://h", "rediss://h:1/2", "redis+cluster://u:p@h:1,i:2", "rediss+cluster://h?ssl_ca_certs=/f"):
        assert load_settings({"redis_url": url}).redis_url == url
    for url in ("http://h", "redis+sentinel://sesame@h", "redis://sesame@h/a"):
        with pytest.raises(ConfigError, match="redis-url") as caught:
            load_settings({"redis_url": url})
        assert "sesame" not in str(caught.value)
