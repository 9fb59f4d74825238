"""The whole application on PostgreSQL, and what its operator's commands say of it."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.functional.conftest import Api, S
from tests.support.postgres import Postgres
from tests.support.service import Service, eventually
from tests.support.stored import Stored, read
from tests.support.traffic import Traffic

from sentinel.model import iso


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
def service(tmp_path: Path, url: str) -> Iterator[Service]:
    with Service(tmp_path) as service:
        service.settings["SENTINEL_DATABASE_URL"] = url
        yield service


@pytest.fixture
def on_postgres(tmp_path: Path, url: str) -> Iterator[Api]:
    api = Api(tmp_path / "data", database_url=url)
    yield api
    api.close()


def test_the_answers_are_those_of_the_definition_whatever_the_order(make_api: Any, postgres: Postgres) -> None:
    """A stream that is shuffled, repeated and interrupted: signals as the oracle has them, on both stores alike."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    url = postgres.database()
    answers = []
    for place in ({}, {"database_url": url}):
        dice = random.Random(seed)
        api = make_api(**place)
        events = [
            event | {"timestamp": iso(api.now - 60_000_000 + 100_000 * n)}
            for n, event in enumerate(Traffic(seed).batch(600))
        ]
        deliveries = events + dice.choices(events, k=100)
        dice.shuffle(deliveries)
        while deliveries:
            size = dice.randrange(1, 120)
            assert api.send(deliveries[:size]).status_code == 202
            deliveries = deliveries[size:]
            if dice.random() < 0.2:
                api.restart()
        answers.append(
            {name: api.get(f"/{name}", limit=500)["items"] for name in ("signals", "incidents", "violations")}
        )
        stored = Stored(url if place else api.settings.data_dir)
        stored.check_signals()
        assert stored.signals, "a stream without a signal proves nothing"
        assert [row[0] for row in stored.changes] == list(range(1, len(stored.changes) + 1))
    assert answers[0] == answers[1]


def test_what_an_operator_asks_is_answered(service: Service, url: str, tmp_path: Path) -> None:
    """Schema, doctor and audit say what is so, also while the service runs; no password in any of it."""
    told = [service.run("db", "upgrade"), service.run("doctor")]
    assert f"postgresql://127.0.0.1:{urlsplit(url).port}{urlsplit(url).path}: schema none -> " in told[0].stdout
    assert "it is empty" not in told[1].stdout
    service.start()
    service.run("blocks", "add", "203.0.113.9", "--reason", "r")
    told += [service.run("audit", "verify"), service.run("doctor", "--bundle", str(tmp_path / "b.tgz"))]
    assert told[2].returncode == 0
    assert "verified: " in told[2].stdout
    assert "on, synchronous_commit on" in told[3].stdout
    verified = service.ask(f"{S}/audit/verify")
    assert verified["status"] == "verified"
    shutil.unpack_archive(tmp_path / "b.tgz", tmp_path / "b", "gztar")
    bundle = "".join(path.read_text() for path in (tmp_path / "b").rglob("*.json"))
    assert json.loads((tmp_path / "b" / "sentinel-doctor" / "settings.json").read_text())["database_url"] == "set"
    assert urlsplit(url).path not in bundle
    for text in (bundle, *(one.stdout + one.stderr for one in told)):
        assert "sesame" not in text


def test_the_commands_for_the_file_say_that_there_is_none(service: Service, tmp_path: Path) -> None:
    """Whoever backs up a file that holds nothing would find out too late."""
    for words in (("backup", str(tmp_path / "copy.db")), ("restore", __file__)):
        told = service.run("db", *words)
        assert told.returncode == 2
        assert "PostgreSQL has the store: back it up with its own tools" in told.stderr
    assert not (tmp_path / "copy.db").exists()


def test_a_database_brought_back_from_a_backup_is_said_to_be_one(
    service: Service, postgres: Postgres, url: str
) -> None:
    """By pg_dump's like: enforcement points take everything anew, and the anchor tells what is gone."""
    name = urlsplit(url).path[1:]

    def point() -> httpx.Client:
        return service.client(service.token("enforcer"))

    service.start()
    service.run("blocks", "add", "203.0.113.1", "--reason", "before")
    assert service.stop() == 0
    postgres.sql(f"CREATE DATABASE {name}_backup TEMPLATE {name}", "postgres")
    service.start()
    service.run("blocks", "add", "203.0.113.2", "--reason", "after")
    before = point().get(f"{service.url}{S}/decisions").json()["seq"]
    assert service.stop() == 0
    postgres.sql(f"DROP DATABASE {name}", "postgres")
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE {name}_backup OWNER {name}", "postgres")
    told = service.run("db", "restored")
    assert (told.returncode, told.stdout.startswith("restored: the audit log ends at entry ")) == (0, True)
    service.start()
    changes = point().get(f"{service.url}{S}/decisions?since={before}").json()
    assert changes["complete"]
    assert [item["target"] for item in changes["items"]] == ["203.0.113.1"]
    verified = service.run("audit", "verify")
    assert (verified.returncode, "restored from a backup" in verified.stderr) == (0, True)


def test_the_node_that_judges_makes_parts_ahead(service: Service, url: str) -> None:
    """Without a hand, and before the first one is full."""
    service.start()
    client = service.client(service.ingest_token())
    event = {
        "event_id": "a",
        "event_type": "authentication",
        "severity": "low",
        "timestamp": iso(time.time_ns() // 1000),
    }
    assert client.post(f"{service.url}{S}/events", json=[event]).status_code == 202
    parts = "SELECT first, upto FROM event_parts ORDER BY first"
    eventually(lambda: len(read(url, parts)) > 1, seconds=60, what="there is a second part")
    (first, end), (second, _) = read(url, parts)
    assert (first, second) == (1, end + 1)
    assert read(url, f"SELECT to_regclass('events_p{second}') IS NOT NULL") == [(True,)]


def test_what_is_pruned_is_pruned_there_too(on_postgres: Api) -> None:
    """Old events go in small transactions, and numbering goes on."""
    api = on_postgres
    api.send([api.failed_login(user_id=f"user{n}") for n in range(30)])
    api.now += 91 * 24 * 3_600 * 1_000_000
    assert api.ask("POST", f"{S}/prune").json()["deleted"]["events"] == 30
    answer = api.send([api.failed_login()])
    assert answer.json()["accepted"] == 1
    assert len(api.get("/events")["items"]) == 1
    assert api.monitor.store.accepted_seq == 31
