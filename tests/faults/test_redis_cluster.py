"""Keys in a cluster of Redis for programs that read them there: a master is lost, and what it held is written anew."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support.redis import PASSWORD, RedisMasters
from tests.support.service import S, Service, eventually

SOON = 60
ADDRESSES = [f"192.0.2.{n}" for n in range(1, 31)]


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisMasters]:
    with RedisMasters(tmp_path_factory.mktemp("masters")) as masters:
        yield masters


@pytest.fixture(scope="module")
def service(masters: RedisMasters, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service")) as service:
        service.settings["SENTINEL_REDIS_URL"] = masters.url
        service.start()
        yield service


def keys(masters: RedisMasters) -> set[str]:
    """Return the keys that say what is in force, on whichever master they are."""
    found = {name for master in masters.masters for name in master.client.scan_iter(count=1_000)}
    return {name for name in found if not name.startswith("sentinel:")}


def is_there(masters: RedisMasters, expected: set[str]) -> None:
    eventually(lambda: keys(masters) == expected, seconds=SOON, what="the keys are what is in force")


def status(service: Service) -> str:
    return str(service.ask(f"{S}/health")["overall_status"])


def test_a_master_that_is_lost_costs_nothing_that_lasts(masters: RedisMasters, service: Service) -> None:
    """What is in force stays so, health says what is wrong, and all keys are there again without a hand."""
    with service.admin() as client:
        for address in ADDRESSES:
            order = {"action_type": "ip_block", "target": address, "reason": "r", "duration_hours": 2}
            assert client.post(f"{service.url}{S}/manual-action", json=order).status_code == 200
    expected = {f"{name}:{address}" for address in ADDRESSES for name in ("ip_block", "security_action:ip_block")}
    is_there(masters, expected)
    assert all(len(list(master.client.scan_iter("ip_block:*"))) for master in masters.masters), "all of them have some"
    block = json.loads(masters.client.get(f"ip_block:{ADDRESSES[0]}") or "null")
    assert block["ip_address"] == ADDRESSES[0]

    eventually(lambda: status(service) == "healthy", seconds=SOON, what="health is well")
    masters.masters[1].kill()
    eventually(lambda: status(service) == "degraded", seconds=SOON, what="health says so")
    told = service.ask(f"{S}/health")["components"]["automated_response_service"]
    assert told["redis"].startswith("Redis can't be reached (")
    assert service.ask(f"{S}/check-ip/{ADDRESSES[0]}")["is_blocked"]
    assert service.run("blocks", "remove", ADDRESSES[0]).returncode == 0
    assert service.run("blocks", "add", "192.0.2.99", "--reason", "meanwhile").returncode == 0

    masters.start()
    expected -= {f"{name}:{ADDRESSES[0]}" for name in ("ip_block", "security_action:ip_block")}
    expected |= {f"{name}:192.0.2.99" for name in ("ip_block", "security_action:ip_block")}
    is_there(masters, expected)
    eventually(lambda: status(service) == "healthy", seconds=SOON, what="health is well again")
    assert PASSWORD not in service.said() + (service.folder / "logs" / "api.log").read_text()
