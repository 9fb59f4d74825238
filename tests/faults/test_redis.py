"""Keys in Redis for programs that read them there: written from the store, and lost without harm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.postgres import Postgres
from tests.support.redis import PASSWORD, RedisServer
from tests.support.sender import Sender
from tests.support.service import S, Service, eventually

SOON = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def service(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service")) as service:
        service.settings["SENTINEL_REDIS_URL"] = server.url
        service.start()
        yield service


def keys(server: RedisServer) -> dict[str, Any]:
    names = [name for name in server.client.scan_iter() if not name.startswith("sentinel:")]
    return {name: json.loads(server.client.get(name) or "null") for name in names}


def until_there(server: RedisServer, *names: str) -> None:
    eventually(lambda: set(names) <= keys(server).keys(), seconds=SOON, what="these keys are there")


def until_gone(server: RedisServer, *names: str) -> None:
    eventually(lambda: keys(server).keys().isdisjoint(names), seconds=SOON, what="these keys are gone")


def status(service: Service) -> str:
    return str(service.ask(f"{S}/health")["overall_status"])


def test_what_is_in_force_can_be_read_there(service: Service, server: RedisServer) -> None:
    """As the guide names it, with the seconds that are left; ended by a person it is gone."""
    assert service.run("blocks", "add", "192.0.2.9", "--reason", "r", "--hours", "2").returncode == 0
    suspend = ("ann", "--type", "user_suspend")
    assert service.run("blocks", "add", *suspend, "--reason", "r", "--hours", "0").returncode == 0
    assert service.run("blocks", "add", "mail", "--type", "service_isolation", "--reason", "r").returncode == 0
    block = ("ip_block:192.0.2.9", "security_action:ip_block:192.0.2.9")
    others = ("user_suspend:ann", "security_action:user_suspend:ann", "security_action:service_isolation:mail")
    until_there(server, *block, *others)
    found = keys(server)
    told = service.ask(f"{S}/check-ip/192.0.2.9")["block_info"]
    assert {name: found[block[0]][name] for name in told} == told | {"enforced_by": []}
    assert (found[block[0]]["ip_address"], found["user_suspend:ann"]["user_id"]) == ("192.0.2.9", "ann")
    assert 7_000 < server.client.ttl(block[0]) <= 7_200
    assert server.client.ttl("user_suspend:ann") == -1
    assert service.run("blocks", "remove", *suspend).returncode == 0
    assert service.run("blocks", "remove", "mail", "--type", "service_isolation").returncode == 0
    until_gone(server, *others)
    assert block[0] in keys(server)
    assert service.run("blocks", "remove", "192.0.2.9").returncode == 0
    until_gone(server, *block)


def test_redis_that_was_killed_is_written_anew(service: Service, server: RedisServer) -> None:
    """Nothing is lost and nothing waits for it; health says so, is well again without a hand, and tells no password."""
    assert service.run("blocks", "add", "192.0.2.7", "--reason", "before").returncode == 0
    names = [f"{name}:192.0.2.7" for name in ("ip_block", "security_action:ip_block")]
    until_there(server, *names)
    with Sender(service, seed=3) as sender:
        for _ in range(2):
            owed = len(sender.owed)
            server.kill()
            eventually(lambda: status(service) == "degraded", seconds=SOON, what="health says so")
            told = service.ask(f"{S}/health")["components"]["automated_response_service"]
            assert told["redis"].startswith("Redis can't be reached (")
            assert service.ask(f"{S}/check-ip/192.0.2.7")["is_blocked"]
            sender.wait_for(owed + 50)
            server.start()
            until_there(server, *names)
            eventually(lambda: status(service) == "healthy", seconds=SOON, what="health is well again")
    assert sender.refusals == []
    service.drain()
    in_force = {block["ip_address"] for block in service.ask(f"{S}/active-blocks")["ip_blocks"]}
    eventually(
        lambda: {name[9:] for name in keys(server) if name.startswith("ip_block:")} == in_force,
        seconds=SOON,
        what="the keys are what is in force",
    )
    server.client.flushall()
    until_there(server, *names)
    assert PASSWORD not in service.said() + (service.folder / "logs" / "api.log").read_text()


def test_the_node_that_takes_over_goes_on_with_the_keys(
    server: RedisServer, postgres: Postgres, tmp_path: Path
) -> None:
    """What changed while none wrote is made good, and what should not be there goes."""
    server.client.flushall()
    url = postgres.database()
    with Service(tmp_path / "one") as one, Service(tmp_path / "two") as two:
        for node in (one, two):
            node.settings |= {"SENTINEL_REDIS_URL": server.url, "SENTINEL_DATABASE_URL": url}
            node.start()
        assert two.run("blocks", "add", "192.0.2.1", "--reason", "r").returncode == 0
        until_there(server, "ip_block:192.0.2.1")
        one.kill()
        server.client.set("ip_block:192.0.2.99", "{}")
        assert two.run("blocks", "remove", "192.0.2.1").returncode == 0
        assert two.run("blocks", "add", "192.0.2.2", "--reason", "r").returncode == 0
        until_there(server, "ip_block:192.0.2.2", "security_action:ip_block:192.0.2.2")
        until_gone(server, "ip_block:192.0.2.99", "ip_block:192.0.2.1", "security_action:ip_block:192.0.2.1")
        assert two.stop() == 0
