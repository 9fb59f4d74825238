"""The audit log of a real service: sealed while it runs, and judged by the command that people run."""

from __future__ import annotations

import asyncio
import json
import os
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
    assert sentinel.storage.verify_store(settings.store_place, settings.anchor_path, keys).status == "verified"


def test_a_new_key_takes_over_and_the_old_one_still_verifies_what_it_signed(service: Service, tmp_path: Path) -> None:
    """The new key seals at the start; both keys verify the whole, one alone does not, none says what it can't know."""
    service.start()
    service.run("token", "create", "--role", "viewer")
    service.stop()
    old, new = tmp_path / "old.key", service.folder / "audit.key"
    new.rename(old)
    new.write_bytes(os.urandom(32))
    (tmp_path / "sentinel.toml").write_text(f'audit_old_keys = ["{old}"]\n', encoding="utf-8")
    code, report = verify(service)
    assert (code, report["status"]) == (1, "tampered"), "the old key can't be the last one when there is a newer"
    service.start()
    assert verify(service)[0] == 0
    assert service.ask("/api/v1/security/audit/verify")["status"] == "verified"
    service.stop()
    assert verify(service, "--key", str(old), "--key", str(new))[0] == 0
    for keys in ([new], [old], [new, old]):
        code, report = verify(service, *(word for key in keys for word in ("--key", str(key))))
        assert (code, report["status"]) == (1, "tampered"), keys
    (tmp_path / "sentinel.toml").unlink()
    new.rename(tmp_path / "away.key")
    code, report = verify(service)
    assert (code, report["status"]) == (3, "consistent, signatures not checked")
    assert service.run("audit", "verify", "--key", str(tmp_path / "none.key")).returncode == 2


def test_an_anchor_whose_end_can_not_be_read_is_told(service: Service) -> None:
    """A line that a crash cut short and one that somebody damaged look the same, so it is said."""
    service.start()
    service.stop()
    anchor = service.folder / "anchors" / "checkpoints.jsonl"
    whole = anchor.read_bytes()
    anchor.write_bytes(whole + whole.splitlines()[-1][:40])
    code, report = verify(service)
    assert (code, "can't be read" in report["notes"][-1]) == (0, True)
    lines = whole.splitlines(keepends=True)
    anchor.write_bytes(b"".join([*lines[:-1], lines[-1][:-20]]))
    assert "can't be read" in verify(service)[1]["notes"][-1]
    service.start()
    service.stop()
    assert verify(service) == (0, verify(service)[1] | {"notes": []}), "the next line follows on the last whole one"
