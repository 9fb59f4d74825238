"""Violations, the health score and the service's own state: that they rise, fall and come back."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.functional.conftest import Api, S
from tests.support.service import Service, eventually

from sentinel.model import iso

HOUR = 3_600 * 1_000_000
LEVELS = ("low", "medium", "high", "critical")


def violation(api: Api, severity: str = "high", seconds: float = 0, **details: Any) -> dict[str, Any]:
    about = {"violation_type": "odd", "blocked": True} | details
    return api.failed_login(
        event_type="security_violation", severity=severity, seconds=seconds, details=about, ip_address="203.0.113.5"
    )


def scraped(api: Api) -> dict[str, Any]:
    """Return the metrics of health as a scraper reads them."""
    text = api.ask("GET", "/metrics", "scraper").text
    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in {"security_health_score", "security_health_score_normalized"}:
                found[sample.name] = sample.value
            elif sample.name in {"security_monitoring_status", "security_violation_rate_per_minute"}:
                [label] = sample.labels.values()
                found.setdefault(sample.name, {})[label] = sample.value
    return found


def status(api: Api) -> str:
    """Return the state, of which there is exactly one in the metrics, the same as health says."""
    states = scraped(api)["security_monitoring_status"]
    assert sorted(states) == ["critical", "degraded", "healthy", "offline"]
    [state] = [name for name, value in states.items() if value]
    assert api.get("/health", None)["overall_status"] == state
    return str(state)


def test_the_score_falls_with_violations_and_signals_and_comes_back(api: Api) -> None:
    """By the contract's weights, never under 0; plain events cost nothing, and after an hour all is forgotten."""
    assert scraped(api) == {
        "security_health_score": 100,
        "security_health_score_normalized": 100,
        "security_monitoring_status": {"healthy": 1, "degraded": 0, "critical": 0, "offline": 0},
        "security_violation_rate_per_minute": dict.fromkeys(LEVELS, 0),
    }
    request = {"method": "GET", "status_code": 200}
    api.send([api.failed_login(event_type="network_request", details=request) for _ in range(50)])
    assert scraped(api)["security_health_score"] == 100
    for severity in LEVELS:  # this sender may go up to high
        api.send([violation(api, severity) | {"user_id": severity, "ip_address": None}])
    now = scraped(api)
    assert now["security_health_score"] == 100 - 0.5 - 2 - 5 - 5
    assert now["security_violation_rate_per_minute"] == {"low": 1, "medium": 1, "high": 2, "critical": 0}
    api.send([api.failed_login(seconds=n / 10) for n in range(10)])  # a signal, high
    assert scraped(api)["security_health_score"] == 100 - 12.5 - 5
    assert api.get("/health")["health"]["signals_last_hour"] == {"high": 1}
    api.now += 61 * 1_000_000
    assert scraped(api)["security_violation_rate_per_minute"] == dict.fromkeys(LEVELS, 0)
    api.send([violation(api) for _ in range(20)])
    assert scraped(api)["security_health_score"] == 0
    api.now += HOUR + 1
    assert scraped(api)["security_health_score"] == 100


def test_the_second_score_divides_by_traffic(api: Api) -> None:
    """The same trouble in four times a thousand events is a quarter of it."""
    api.send([violation(api) for _ in range(2)])
    assert scraped(api)["security_health_score_normalized"] == 90
    api.send([api.failed_login(event_type="scan", details={"is_safe": True}) for _ in range(3_998)])
    now = scraped(api)
    assert (now["security_health_score"], now["security_health_score_normalized"]) == (90, 97.5)


def test_a_violation_is_resolved_by_people(api: Api) -> None:
    """It stays to be seen, with who said what, and no longer counts; the audit log knows it."""
    api.send([violation(api), violation(api, "medium", 1, violation_type="escape")])
    [second, first] = api.get("/violations", "viewer")["items"]
    assert (first["violation_type"], first["severity"], first["resolved"]) == ("odd", "high", False)
    path = f"{S}/violations/{first['id']}/resolve"
    assert api.ask("POST", path, "viewer", json={"notes": "x"}).status_code == 403
    assert api.ask("POST", path, "analyst", json={"notes": ""}).status_code == 422
    assert api.ask("POST", f"{S}/violations/none/resolve", "analyst", json={"notes": "x"}).status_code == 404
    assert api.ask("POST", path, "analyst", json={"notes": "the policy was wrong"}).status_code == 200
    assert [item["id"] for item in api.get("/violations", resolved="false")["items"]] == [second["id"]]
    [resolved] = api.get("/violations", resolved="true")["items"]
    assert (resolved["id"], resolved["resolution_notes"]) == (first["id"], "the policy was wrong")
    assert resolved["resolved_at"] == "2026-01-01T00:00:00Z"
    assert scraped(api)["security_health_score"] == 98
    assert api.get("/summary")["violations_last_hour"] == {"low": 0, "medium": 1, "high": 1, "critical": 0}
    entry = api.get("/audit")["items"][0]
    assert (entry["operation"], entry["target"]) == ("violation.resolve", first["id"])
    assert (entry["actor"], entry["details"]) == (resolved["resolved_by"], {"notes": "the policy was wrong"})


def test_violations_are_listed_by_what_is_asked(api: Api) -> None:
    """Filters and pages as in every list."""
    api.send([violation(api, severity, seconds=n) for n, severity in enumerate(["low", "high", "high"])])
    assert len(api.get("/violations", severity="high", ip_address="203.0.113.5")["items"]) == 2
    assert api.get("/violations", user_id="nobody")["items"] == []
    page = api.get("/violations", limit=2)
    rest = api.get("/violations", limit=2, cursor=page["next_cursor"])
    assert [len(page["items"]), len(rest["items"]), rest["next_cursor"]] == [2, 1, None]
    assert len(api.get("/violations", since="2026-01-01T00:00:01Z", until="2026-01-01T00:00:02Z")["items"]) == 1
    for bad in ({"severity": "worse"}, {"since": "yesterday"}, {"cursor": "x"}):
        assert api.ask("GET", f"{S}/violations", params=bad).status_code == 422


def test_who_has_a_token_sees_the_details(api: Api) -> None:
    """Strangers get the words alone; with a token each component says what it works on."""
    api.send([violation(api)])
    strangers = api.get("/health", None)
    assert set(strangers) == {"timestamp", "overall_status", "components"}
    assert all(set(component) == {"status"} for component in strangers["components"].values())
    told = api.get("/health", "viewer")
    processor = told["components"]["security_event_processor"]
    assert (processor["accepted_seq"], processor["processed_seq"], processor["reason"]) == (1, 1, None)
    assert told["components"]["threat_detection_service"]["rules"] == len(api.monitor.rules.rules)
    assert told["health"] == {
        "score": 95,
        "score_normalized": 95,
        "open_violations_last_hour": {"high": 1},
        "signals_last_hour": {},
        "events_last_hour": 1,
    }
    assert api.ask("GET", f"{S}/health", None, headers={"Authorization": "Bearer junk"}).status_code == 401


@pytest.fixture
def strained(tmp_path: Path, make_api: Any, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A service with a policy file of its own, little patience with locks, and frequent checks."""
    monkeypatch.setattr("sentinel.app._CHECK_SECONDS", 0.1)
    policy = tmp_path / "policy.yml"
    policy.write_text("rules: []\n")
    api: Api = make_api(policy_file=policy)
    api.monitor.store._backend._writer.exec_driver_sql("PRAGMA busy_timeout=50")
    api.monitor.store._backend._writer.rollback()
    return api


def test_healthy_to_degraded_and_back(strained: Api) -> None:
    """A policy that can't be read leaves the last one in force, and says so until it is mended."""
    policy = strained.settings.policy_file
    assert policy is not None
    assert status(strained) == "healthy"
    policy.write_text("rules: {")
    strained.monitor.policy_file.look()
    assert status(strained) == "degraded"
    assert strained.get("/health")["components"]["automated_response_service"]["policy_rejected"] is not None
    policy.write_text("rules: []\n# mended\n")
    strained.monitor.policy_file.look()
    assert status(strained) == "healthy"


def test_degraded_to_critical_and_back_step_by_step(strained: Api) -> None:
    """The worse of two troubles shows; when it is over, the other still does, and each turn has its line in the log."""
    policy = strained.settings.policy_file
    assert policy is not None
    policy.write_text("rules: {")
    eventually_stated(strained, "degraded")
    other = sqlite3.connect(strained.settings.database_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    eventually_stated(strained, "critical")
    assert "locked" in strained.get("/health")["components"]["security_event_processor"]["reason"]
    other.execute("COMMIT")
    other.close()
    eventually_stated(strained, "degraded")
    policy.write_text("rules: []\n# mended\n")
    eventually_stated(strained, "healthy")
    log = (strained.settings.data_dir / "logs" / "api.log").read_text()
    turns = [
        line.split("Security monitoring status: ")[1].split('"')[0] for line in log.splitlines() if "status:" in line
    ]
    assert turns == ["degraded", "critical", "degraded", "healthy"]


def eventually_stated(api: Api, wanted: str) -> None:
    """Wait until the service's own check has come by: it writes a row, and logs what has changed."""

    def checked() -> bool:
        api.run(_turn(api))
        return api.monitor._told_status == wanted and status(api) == wanted

    eventually(checked, seconds=30, what=f"it is {wanted}")


async def _turn(api: Api) -> None:
    """Let the service's tasks run for a moment: this test's loop runs only while something is asked."""
    await asyncio.sleep(0.05)


def test_a_worker_that_died_is_critical(api: Api) -> None:
    """Nobody judges any more: that is no shade of degraded, and nothing hides it."""
    assert status(api) == "healthy"
    for task in api.monitor.worker._tasks:
        task.cancel()
    eventually(lambda: api.run(_turn(api)) or status(api) == "critical", seconds=30, what="it is critical")
    assert api.get("/health", None)["components"]["security_event_processor"]["status"] == "stopped"


def test_violations_from_the_command_line(tmp_path: Path) -> None:
    """What the API lists, a person at a shell lists and resolves as well."""
    with Service(tmp_path) as service:
        service.start()
        token = service.run("token", "create", "--role", "ingest").stdout.strip()
        event = {
            "event_type": "authorization",
            "severity": "medium",
            "timestamp": iso(time.time_ns() // 1000),
            "user_id": "ann",
            "details": {"granted": False, "resource": "payroll", "action": "read", "violation_type": "role"},
        }
        assert service.client(token).post(f"{service.url}{S}/events", json=event).status_code == 202
        listed = service.run("violations", "list", "--open")
        assert ("role" in listed.stdout, "ann" in listed.stdout, "open" in listed.stdout) == (True, True, True)
        [item] = json.loads(service.run("violations", "list", "--json").stdout)
        done = service.run("violations", "resolve", item["id"], "--notes", "was a test")
        assert (done.returncode, "is resolved" in done.stdout) == (0, True)
        assert service.run("violations", "list", "--open").stdout.strip() == "no violations"
