"""Upgrade, prune, back up, restore: what an operator does with a real data folder."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.functional.conftest import Api, S
from tests.support.service import Service, eventually

from sentinel.storage import verify_store

DAY = 24 * 3_600 * 1_000_000


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as service:
        yield service


def blocks(service: Service) -> list[str]:
    return [item["ip_address"] for item in service.ask(f"{S}/active-blocks")["ip_blocks"]]


def test_a_backup_of_a_running_service_comes_back(service: Service, tmp_path: Path) -> None:
    """Taken under way, restored after a loss: what was there then is there, and the anchor says what is gone."""
    service.start()
    service.run("blocks", "add", "203.0.113.1", "--reason", "before")
    target = tmp_path / "copy.db"
    assert service.run("db", "backup", str(target)).returncode == 0
    assert target.stat().st_mode & 0o077 == 0
    service.run("blocks", "add", "203.0.113.2", "--reason", "after")
    eventually(lambda: service.run("audit", "verify").returncode == 0, seconds=20, what="all is sealed")
    assert service.run("db", "restore", str(target)).returncode == 2, "not while the service runs"
    service.stop()
    done = service.run("db", "restore", str(target))
    assert (done.returncode, "kept as" in done.stderr) == (0, True)
    service.start()
    assert blocks(service) == ["203.0.113.1"]
    told = service.run("audit", "verify")
    assert (told.returncode, "restored from a backup" in told.stderr) == (0, True)
    service.run("blocks", "add", "203.0.113.3", "--reason", "goes on")
    assert sorted(blocks(service)) == ["203.0.113.1", "203.0.113.3"]


def test_a_data_folder_that_is_lost_comes_back_whole(service: Service, tmp_path: Path) -> None:
    """Backup, keys and anchor elsewhere, the folder destroyed: same counts, same blocks, and the chain verifies."""
    service.start()
    sender = service.client(service.ingest_token())
    now = datetime.now(UTC).isoformat()
    failure = {"event_type": "authentication", "severity": "low", "timestamp": now, "details": {"success": False}}
    events = [failure | {"ip_address": f"203.0.113.{n % 7}", "user_id": f"user{n % 5}"} for n in range(300)]
    assert sender.post(f"{service.url}{S}/events", json=events).json()["accepted"] == 300
    service.drain()
    service.run("blocks", "add", "grace", "--type", "user_suspend", "--reason", "by hand")

    def state() -> dict[str, Any]:
        lists = service.ask(f"{S}/active-blocks")
        found = {name: sorted((i["id"], i["target"], str(i["expiration"])) for i in lists[name]) for name in lists}
        return {
            "blocks": found,
            "incidents": sorted(item["id"] for item in service.ask(f"{S}/incidents?limit=500")["items"]),
            "signals": sorted(item["id"] for item in service.ask(f"{S}/signals?limit=500")["items"]),
            "events": sorted(
                item["event_id"]
                for item in service.ask(f"{S}/events?limit=500")["items"]
                if not str(item.get("service_name")).startswith("sentinel.")
            ),
        }

    eventually(lambda: service.run("audit", "verify").returncode == 0, seconds=20, what="all is sealed")
    before = state()
    assert len(before["events"]) == 300
    assert len(before["blocks"]["ip_blocks"]) == 7
    safe = tmp_path / "elsewhere"
    safe.mkdir()
    assert service.run("db", "backup", str(safe / "copy.db")).returncode == 0
    kept = ("token", "pseudonym.key", "audit.key", "anchors")
    for name in kept[:3]:
        shutil.copy(service.folder / name, safe)
    shutil.copytree(service.folder / "anchors", safe / "anchors")
    service.kill()
    shutil.rmtree(service.folder)
    service.folder.mkdir(mode=0o700)
    for name in kept[:3]:
        shutil.copy(safe / name, service.folder)
    shutil.copytree(safe / "anchors", service.folder / "anchors")
    assert service.run("db", "restore", str(safe / "copy.db")).returncode == 0
    service.start()
    assert state() == before
    told = service.run("audit", "verify")
    assert (told.returncode, told.stdout.startswith("verified")) == (0, True)


def test_enforcement_points_learn_of_a_restore(make_api: Any, tmp_path: Path) -> None:
    """A node that applied changes from after the backup must not keep them as if they were of now."""
    api = make_api()
    order = {"action_type": "ip_block", "target": "203.0.113.1", "reason": "x"}
    api.ask("POST", f"{S}/manual-action", json=order)
    seq = api.get("/decisions", "enforcer")["seq"]
    api.run(api.monitor.store.restored())
    assert api.get("/decisions", "enforcer", since=seq)["complete"]
    now = api.get("/decisions", "enforcer")["seq"]
    api.ask("POST", f"{S}/manual-action", json=order | {"target": "203.0.113.2"})
    later = api.get("/decisions", "enforcer", since=now)
    assert (later["complete"], [item["target"] for item in later["items"]]) == (False, ["203.0.113.2"])


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other", "newer"])
def test_what_is_no_whole_backup_is_refused_and_nothing_changes(service: Service, tmp_path: Path, damage: str) -> None:
    """A bad copy must show before it has replaced anything."""
    service.start()
    service.run("blocks", "add", "203.0.113.1", "--reason", "x")
    target = tmp_path / "copy.db"
    service.run("db", "backup", str(target))
    service.stop()
    content = bytearray(target.read_bytes())
    if damage == "empty":
        content = bytearray()
    elif damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[4096 * 2 : 4096 * 4] = os.urandom(4096 * 2)
    target.write_bytes(content)
    if damage == "other":
        target.unlink()
        sqlite3.connect(target).close()
    if damage == "newer":
        with sqlite3.connect(target) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
    before = (service.folder / "sentinel.db").read_bytes()
    done = service.run("db", "restore", str(target))
    assert (done.returncode, str(target) in done.stderr) == (2, True)
    assert (service.folder / "sentinel.db").read_bytes() == before


def test_a_backup_overwrites_nothing(service: Service, tmp_path: Path) -> None:
    """Yesterday's is worth more than a slip of the hand."""
    service.start()
    (tmp_path / "there.db").write_text("yesterday")
    done = service.run("db", "backup", str(tmp_path / "there.db"))
    assert (done.returncode, (tmp_path / "there.db").read_text()) == (2, "yesterday")
    assert service.run("db", "backup", str(tmp_path / "none" / "x.db")).returncode == 2


def test_upgrade_says_what_it_did(service: Service) -> None:
    """From nothing to the present schema, and then nothing more to do."""
    first = service.run("db", "upgrade").stdout
    again = service.run("db", "upgrade").stdout
    version = first.split()[-1]
    assert f"schema none -> {version}" in first
    assert f"schema {version} -> {version}" in again


def test_pruning_takes_what_is_old_and_nothing_else(make_api: Any) -> None:
    """Old events go; what is in force and the proof of what was there stay."""
    api: Api = make_api(retention_days=10, audit_retention_days=20)
    api.send([api.failed_login(seconds=n) for n in range(10)])
    api.ask("POST", f"{S}/manual-action", json={"action_type": "ip_block", "target": "203.0.113.77", "reason": "x"})
    forever = {"action_type": "ip_block", "target": "203.0.113.78", "reason": "x", "duration_hours": None}
    api.ask("POST", f"{S}/manual-action", json=forever)
    api.now += 11 * DAY
    api.send([api.failed_login("198.51.100.1")])
    eventually(lambda: len(api.get("/active-blocks")["ip_blocks"]) == 1, seconds=30, what="the others have expired")
    deleted = api.ask("POST", f"{S}/prune").json()["deleted"]
    assert (deleted["events"], deleted["signals"], deleted["incidents"], deleted["audit_trail"]) == (10, 1, 1, 0)
    assert [event["ip_address"] for event in api.get("/events")["items"]] == ["198.51.100.1"]
    assert [item["ip_address"] for item in api.get("/active-blocks")["ip_blocks"]] == ["203.0.113.78"]
    api.now += 10 * DAY
    api.ask("POST", f"{S}/manual-action", json=forever | {"target": "203.0.113.79"})
    assert api.ask("POST", f"{S}/prune").json()["deleted"]["audit_trail"] > 0
    settings = api.settings
    keys = [settings.audit_key_path.read_bytes()]
    report = verify_store(settings.store_place, settings.anchor_path, keys)
    assert (report.status, report.problems) == ("verified", ())
    assert "deleted by retention" in report.notes[0]


def test_the_log_goes_on_after_a_restart_behind_a_prune(tmp_path: Path) -> None:
    """Numbering and chain are taken up from what is left."""
    api = Api(tmp_path / "data", audit_retention_days=1)
    api.now += 2 * DAY
    order = {"action_type": "ip_block", "target": "203.0.113.1", "reason": "x"}
    api.ask("POST", f"{S}/manual-action", json=order)
    api.ask("POST", f"{S}/prune")
    size = api.monitor.store.audited[0]
    api.close()
    again = Api(tmp_path / "data", audit_retention_days=1)
    assert again.monitor.notary.trouble is None
    assert again.monitor.store.audited[0] >= size
    assert again.get("/audit/verify")["status"] == "verified"
    again.close()
