"""The audit log of a real service: sealed while it runs, and judged by the command that people run."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from tests.support.service import Service, eventually

import sentinel.storage
from sentinel.app import Monitor
from sentinel.settings import Settings


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as service:
        yield service


def verify(service: Service, *words: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the report of `sentinel audit verify`."""
    done = service.run("audit", "verify", "--json", *words)
    return done.returncode, json.loads(done.stdout)


def rewrite(service: Service, statement: str) -> None:
    """Do what somebody with a shell on the machine can do."""
    with sqlite3.connect(service.folder / "sentinel.db") as connection:
        connection.execute(statement)
    connection.close()


def test_the_log_is_sealed_while_the_service_runs_and_after_a_kill(service: Service) -> None:
    """Entries are under the anchor within seconds; a kill -9 is no false alarm, and sealing goes on after it."""
    service.start()
    for _ in range(3):
        assert service.run("token", "create", "--role", "viewer").returncode == 0
    eventually(lambda: verify(service)[1]["anchored"] == 4, seconds=30, what="every entry is sealed")
    assert verify(service) == (0, {"status": "verified", "size": 4, "anchored": 4, "problems": [], "notes": []})
    service.kill()
    assert verify(service)[0] == 0
    service.start()
    assert service.run("token", "create", "--role", "viewer").returncode == 0
    eventually(lambda: verify(service)[1]["anchored"] == 5, seconds=30, what="sealing goes on")


def test_tampering_is_told_by_the_command_and_by_health(service: Service, tmp_path: Path) -> None:
    """Exit code 1 and the place; the service says that its log can't be trusted; a kept copy says what was there."""
    service.start()
    for _ in range(3):
        service.run("token", "create", "--role", "viewer")
    service.stop()
    shutil.copytree(service.folder, tmp_path / "kept")
    rewrite(service, "DELETE FROM audit_trail WHERE seq > 2")
    code, report = verify(service)
    assert (code, report["status"], report["size"]) == (1, "tampered", 2)
    assert "cut off" in report["problems"][0]
    code, report = verify(service, "--anchor", str(tmp_path / "nowhere"))
    assert (code, report["status"]) == (3, "consistent, without an anchor")
    service.start()
    assert service.ask("/api/v1/security/health")["overall_status"] == "degraded"
    assert service.ask("/api/v1/security/audit/verify")["status"] == "tampered"


def test_a_log_from_before_the_chain_is_sealed_as_it_stands(tmp_path: Path) -> None:
    """An upgrade keeps what was written, and can vouch for it from then on."""
    folder = tmp_path / "old"
    folder.mkdir()
    engine = create_engine(f"sqlite:///{folder / 'sentinel.db'}")
    config = Config()
    config.set_main_option("script_location", str(Path(sentinel.storage.__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO audit_trail (at, actor, operation, target, details) VALUES (5, 'ann', 'x.create', 'y', '{}')"
        )
    engine.dispose()

    async def upgraded() -> list[Any]:
        monitor = await Monitor.open(Settings(data_dir=folder))
        entries = await monitor.store.list_audit(10)
        await monitor.close()
        return entries

    entries = asyncio.run(upgraded())
    assert (entries[-1][0], entries[-1][1].actor, entries[-1][1].details) == (1, "ann", {})
    settings = Settings(data_dir=folder)
    keys = [settings.audit_key_path.read_bytes()]
    assert sentinel.storage.verify_file(settings.database_path, settings.anchor_path, keys).status == "verified"
