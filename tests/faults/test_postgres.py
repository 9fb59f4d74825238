"""The service on PostgreSQL: it is killed, the server is ended and comes back, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.postgres import Postgres, running
from tests.support.sender import Sender
from tests.support.service import S, Service, eventually
from tests.support.stored import Stored, undisturbed

LONG = "SENTINEL_PROVE" in os.environ
ROUNDS = 12 if LONG else 1
ENOUGH = 20_000 if LONG else 10_000


@pytest.fixture(scope="module")
def ours() -> Iterator[Postgres]:
    """A server that these tests may end: others have one of their own."""
    with running() as server:
        yield server


@pytest.fixture
def server(ours: Postgres) -> Postgres:
    """The same, running."""
    if not ours.runs:
        ours.start()
    return ours


def test_kills_and_restarts_under_load_lose_nothing_and_change_no_answer(server: Postgres, tmp_path: Path) -> None:
    """What was acknowledged is there once, and led to what it leads to on SQLite where nothing ever fails."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    dice = random.Random(seed)
    url = server.database()
    with Service(tmp_path / "disturbed") as service:
        service.settings["SENTINEL_DATABASE_URL"] = url
        service.start()
        with Sender(service, seed, largest=1_000, pause=0.0) as sender:
            for _ in range(ROUNDS):
                for mode in ("immediate", "fast"):
                    _ended_and_back(server, sender, mode, dice)
                _killed(service, sender, dice)
                _killed_while_the_server_is_away(service, server, sender)
            sender.wait_for(max(ENOUGH, len(sender.owed) + 1), seconds=180)
        service.drain()
        until(service, "healthy")
        assert service.run("audit", "verify").returncode == 0
        assert service.stop() == 0
    assert sender.refusals, "nobody was pushed back"
    assert {answer.status_code for answer in sender.refusals} <= {503, 429}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in sender.refusals)
    assert sender.cut_off >= 1
    stored = Stored(url)
    stored.check(offered=sender.offered, owed=sender.owed)
    calm = undisturbed(tmp_path, stored)
    assert sorted(stored.signals) == sorted(calm.signals)
    assert sorted(stored.incidents) == sorted(calm.incidents)
    assert sorted(stored.actions) == sorted(calm.actions)


def until(service: Service, status: str) -> None:
    eventually(lambda: service.ask(f"{S}/health")["overall_status"] == status, seconds=60, what=f"it is {status}")


def test_two_nodes_outlive_restarts_of_the_server(server: Postgres, tmp_path: Path) -> None:
    """One of them judges afterwards, nothing acknowledged is lost, and what it led to is what it leads to on SQLite."""
    url = server.database()
    with Service(tmp_path / "one") as one, Service(tmp_path / "two") as two:
        for node in (one, two):
            node.settings["SENTINEL_DATABASE_URL"] = url
            node.start()
        with Sender(one, 1, largest=500, pause=0.0) as first, Sender(two, 2, largest=500, pause=0.0) as second:
            for mode in ("immediate", "fast"):
                for sender in (first, second):
                    sender.wait_for(len(sender.owed) + 300, seconds=120)
                server.stop(mode)
                for node in (one, two):
                    eventually(lambda node=node: not _ready(node), seconds=60, what="it notices")
                server.start()
                for sender in (first, second):
                    sender.wait_for(len(sender.owed) + 100, seconds=120)
        for node in (one, two):
            eventually(lambda node=node: _ready(node), seconds=60, what="it is ready")
            node.drain()
            until(node, "healthy")
        assert [node.stop() for node in (one, two)] == [0, 0]
    stored = Stored(url)
    stored.check(offered=first.offered | second.offered, owed=first.owed | second.owed)
    calm = undisturbed(tmp_path, stored)
    assert sorted(stored.signals) == sorted(calm.signals)
    assert sorted(stored.incidents) == sorted(calm.incidents)
    assert sorted(stored.actions) == sorted(calm.actions)


def test_while_the_server_is_away_it_says_so_and_blocks_hold(server: Postgres, tmp_path: Path) -> None:
    """Senders are pushed back, health is critical, enforcement goes on, and all is well again without a hand."""
    blocked = f"{S}/check-ip/203.0.113.9"
    with Service(tmp_path) as service:
        service.settings["SENTINEL_DATABASE_URL"] = server.database()
        service.start()
        assert service.run("blocks", "add", "203.0.113.9", "--reason", "r").returncode == 0
        sender = Sender(service, seed=1)
        assert sender.send(_batch("before"))
        scraper = service.client(service.token("scraper"))
        server.stop()
        eventually(lambda: not _ready(service), seconds=60, what="it notices")
        until(service, "critical")
        assert service.ask(blocked)["is_blocked"]
        assert not sender.send(_batch("meanwhile"))
        assert [(answer.status_code, answer.headers["Retry-After"]) for answer in sender.refusals] == [(503, "5")]
        assert "PostgreSQL can't be reached" in sender.refusals[0].json()["detail"]
        assert "sesame" not in sender.refusals[0].text + service.said()

        assert 'status="critical"} 1' in scraper.get(f"{service.url}/metrics").text
        server.start()
        eventually(lambda: _ready(service), seconds=60, what="it is healthy again")
        until(service, "healthy")
        assert sender.send(_batch("after"))
        assert sender.send(_batch("meanwhile"))
        service.drain()
        assert service.ask(blocked)["is_blocked"]
        assert service.stop() == 0


def test_it_ends_and_starts_as_it_should_while_the_server_is_away(server: Postgres, tmp_path: Path) -> None:
    """Asked to end it ends; a start without a server is refused with the place, and works later."""
    with Service(tmp_path) as service:
        service.settings["SENTINEL_DATABASE_URL"] = server.database()
        service.start()
        sender = Sender(service, seed=2)
        assert sender.send(_batch("before"))
        server.stop()
        try:
            eventually(lambda: not _ready(service), seconds=60, what="it notices")
            assert service.stop() == 0
            service.launch()
            assert service.ended(60) == 2
            assert f"postgresql://127.0.0.1:{server.port}/" in service.said()
            assert "can't be reached" in service.said()
            assert "sesame" not in service.said()
            assert service.run("audit", "verify").returncode == 2
        finally:
            server.start()
        service.start()
        service.drain()
        assert service.stop() == 0


def _batch(name: str) -> list[dict[str, object]]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {"event_type": "authentication", "severity": "low", "timestamp": now, "details": {"success": True}}
    return [{"event_id": f"{name}-{n}", **event} for n in range(5)]


def _ready(service: Service) -> bool:
    return bool(service.admin().get(f"{service.url}/readyz").status_code == 200)


def _ended_and_back(server: Postgres, sender: Sender, mode: str, dice: random.Random) -> None:
    """End the server at any moment of a request, and bring it back when senders were pushed back."""
    sender.wait_for(len(sender.owed) + 500, seconds=120)
    assert sender.in_flight.wait(10)
    time.sleep(dice.uniform(0, 0.05))
    server.stop(mode)
    refused = len(sender.refusals)
    eventually(lambda: len(sender.refusals) > refused, seconds=60, what="a sender is pushed back")
    server.start()
    sender.wait_for(len(sender.owed) + 1, seconds=120)


def _killed(service: Service, sender: Sender, dice: random.Random) -> None:
    sender.wait_for(len(sender.owed) + 500, seconds=120)
    assert sender.in_flight.wait(10)
    time.sleep(dice.uniform(0, 0.05))
    service.kill()
    service.start()


def _killed_while_the_server_is_away(service: Service, server: Postgres, sender: Sender) -> None:
    """Both are gone: what was under way is known to nobody but the server's files."""
    sender.wait_for(len(sender.owed) + 100, seconds=120)
    assert sender.in_flight.wait(10)
    server.stop()
    service.kill()
    server.start()
    service.start()
