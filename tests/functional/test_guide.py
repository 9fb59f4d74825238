"""The commands of the deployment guide, as they are printed there, against a service; only the port is another."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from tests.support.service import S, Service, eventually

HEALTH = "curl http://localhost:8000/api/v1/security/health"
METRICS = "curl http://localhost:8000/api/v1/security/metrics"
GREPS = (
    'grep "Security monitoring services initialized" logs/api.log',
    'grep "THREAT DETECTED" logs/api.log',
    'grep "Security action.*executed" logs/api.log',
    'grep "Security monitoring status.*degraded" logs/api.log',
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has seen a brute force, and whose policy file somebody has then broken."""
    home = tmp_path_factory.mktemp("guide")
    policy = home / "policy.yml"
    policy.write_text(files("sentinel.response").joinpath("policy.yml").read_text())
    with Service(home) as service:
        service.settings = {"SENTINEL_POLICY_FILE": str(policy)}
        yield service.start()


def typed(service: Service, command: str) -> str:
    """Return what a command prints, typed in the data folder."""
    port = service.url.rsplit(":", 1)[1]
    done = subprocess.run(
        ["bash", "-c", command.replace("8000", port)],
        cwd=service.folder,
        env=service.surroundings["env"] | {"no_proxy": "localhost"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_the_health_curl_needs_nothing_else(service: Service) -> None:
    """It shows the overall status and every component by the names of the guide."""
    told = json.loads(typed(service, HEALTH))
    assert told["overall_status"] in {"healthy", "degraded"}
    for name in ("security_metrics_service", "security_event_processor", "automated_response_service"):
        assert told["components"][name]["status"] in {"running", "degraded"}


def test_the_metrics_curl_is_told_which_header_it_lacks(service: Service) -> None:
    """Metrics are not for everybody; the answer says what to add, and with it the guide's names are there."""
    refused = json.loads(typed(service, METRICS))
    assert (refused["status"], "Authorization" in refused["detail"]) == (401, True)
    token = service.admin().post(f"{service.url}{S}/tokens", json={"role": "scraper"}).json()["token"]
    shown = typed(service, f'{METRICS} -H "Authorization: Bearer {token}"')
    assert re.search(r"^security_threat_detections_total\{", shown, re.MULTILINE)


def test_the_four_greps_find_what_they_look_for(service: Service, tmp_path: Path) -> None:
    """A start, a detection, an action and a degraded state leave the lines that operators know."""
    token = service.ingest_token()
    failure = {"event_type": "authentication", "severity": "low", "ip_address": "203.0.113.9", "user_id": "grace"}
    events = [failure | {"timestamp": stamp(), "details": {"success": False}} for _ in range(10)]
    answer = service.client(token).post(f"{service.url}{S}/events", json=events)
    assert answer.json()["accepted"] == 10
    (service.home / "policy.yml").write_text("rules: 7\n")
    for command in GREPS:
        found = eventually(lambda line=command: typed(service, line), seconds=30, what=command)
        assert all(json.loads(line)["event"] for line in found.splitlines())
    assert "203.0.113.9" in typed(service, GREPS[2])
    assert json.loads(typed(service, HEALTH))["overall_status"] == "degraded"


def stamp() -> str:
    return subprocess.run(["date", "-u", "+%FT%TZ"], capture_output=True, text=True, check=True).stdout.strip()
