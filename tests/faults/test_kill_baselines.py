"""The service is killed while it finds anomalies, and in the end has found the same, each once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.days import days
from tests.support.service import S, Service, eventually


def test_kills_while_days_close_change_nothing_that_is_found(tmp_path: Path) -> None:
    """Once when all events are in, once at the first anomaly: killed, started, and given the whole log again."""
    events, _ = days(5, 10, 16, 4)
    log = tmp_path / "log.ndjson"
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    with Service(tmp_path / "calm") as calm:
        wanted = json.loads(calm.run(*_ingest(log)).stdout)["anomalies"]
    with Service(tmp_path / "killed") as service:
        for reached in (lambda health, _: health["queue"]["accepted_seq"] >= len(events), lambda _, found: found):
            service.start()
            with subprocess.Popen(service.command(*_ingest(log)), **_quietly(service)) as taking:
                _wait(service, reached)
                service.kill()
                assert taking.wait(60) != 0, "the import had come to its end before the kill"
        service.start()
        assert service.run(*_ingest(log)).returncode == 0
        found = service.ask(f"{S}/anomalies?limit=500")["items"]
    assert len(wanted) > 3
    assert sorted(found, key=_by_id) == sorted(wanted, key=_by_id)


def _wait(service: Service, reached: Callable[[Any, Any], object]) -> None:
    client = service.admin()

    def there() -> bool:
        health, found = (client.get(f"{service.url}{S}/{what}").json() for what in ("health", "anomalies"))
        return bool(reached(health, found["items"]))

    eventually(there, seconds=120, what="the moment to kill it")


def _ingest(log: Path) -> tuple[str, ...]:
    return "ingest", str(log), "--format", "json", "--json"


def _quietly(service: Service) -> dict[str, Any]:
    return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **service.surroundings}


def _by_id(row: dict[str, Any]) -> str:
    return str(row["id"])
