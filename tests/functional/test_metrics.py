"""The metrics as a scraper sees them: fed by what was accepted, once, and at a port of their own where that is set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from tests.functional.conftest import Api, S
from tests.support.service import Service


def scraped(api: Api) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = api.ask("GET", "/metrics", "scraper").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(api: Api, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (series, present), value in scraped(api).items() if series == name and wanted <= set(present))


def event(api: Api, event_id: str, **details: Any) -> dict[str, Any]:
    return api.failed_login(event_id=event_id, service_name="shop", details={"success": False} | details)


def test_an_event_counts_once_however_often_it_is_sent(api: Api) -> None:
    """A sender that repeats after a time-out does not look like an attack; a refused event counts nowhere."""
    future = event(api, "three") | {"timestamp": "2031-01-01T00:00:00Z"}
    for _ in range(3):
        api.send([event(api, "one"), event(api, "two", failure_reason="mfa"), future])
    assert total(api, "security_auth_attempts_total", service="shop", status="failure") == 2
    assert total(api, "security_auth_failures_total", failure_reason="mfa") == 1
    assert total(api, "security_auth_failures_total") == 2


def test_a_normal_login_is_no_threat(api: Api) -> None:
    """The original counted every event as a threat, and its alerts then raised each other."""
    api.send([event(api, "one", success=True)])
    assert total(api, "security_auth_attempts_total", status="success") == 1
    assert total(api, "security_threat_detections_total") == 0
    assert total(api, "security_violations_total") == 0


def test_an_alert_of_our_own_that_comes_back_raises_no_figure_that_an_alert_stands_on(api: Api) -> None:
    """Sentinel's alerts return by the webhook: they are noted, and neither a violation nor an entry against the gap."""
    before = scraped(api)
    alert = {
        "status": "firing",
        "labels": {"alertname": "SecurityViolations", "job": "sentinel", "severity": "critical"},
        "startsAt": "2026-01-01T00:00:00Z",
        "fingerprint": "f",
    }
    body = json.dumps({"version": "4", "alerts": [alert, alert | {"fingerprint": "g"}]})
    answer = api.ask("POST", f"{S}/alerts/webhook", "ingest", content=body)
    assert answer.json()["processed_alerts"] == 2
    api.drain()
    grown = {name for (name, labels), value in scraped(api).items() if value > before.get((name, labels), 0)}
    assert "security_violations_total" not in grown
    assert total(api, "security_audit_log_entries_total", operation="alert") == 2
    assert total(api, "security_audit_log_entries_total") == 2


def test_a_port_of_its_own_has_the_metrics_for_the_same_tokens_and_nothing_else(tmp_path: Path) -> None:
    """Prometheus may reach the figures without reaching the API; whoever reaches the port still needs a token."""
    with Service(tmp_path) as service:
        (tmp_path / "sentinel.toml").write_text("metrics_port = 0\n")
        service.start()
        url = json.loads((service.folder / "service.json").read_text())["metrics_url"]
        assert url != service.url
        assert url.startswith("http://127.0.0.1:")
        admin = service.admin()
        order = {"role": "scraper"}
        scraper = service.client(admin.post(f"{service.url}{S}/tokens", json=order).json()["token"])
        for path in ("/metrics", f"{S}/metrics"):
            assert "security_auth_attempts_total" in scraper.get(url + path).text
            assert httpx.get(url + path, trust_env=False).status_code == 401
            assert admin.get(url + path).status_code == 403
        assert admin.get(f"{url}{S}/active-blocks").status_code == 404
        assert admin.get(f"{service.url}{S}/active-blocks").status_code == 200
        assert scraper.get(f"{service.url}/metrics").status_code == 200


def test_a_metrics_port_that_is_taken_stops_the_start_with_a_line(tmp_path: Path) -> None:
    """Two services must not look like one because the second gave up its port in silence."""
    with Service(tmp_path / "first") as first, Service(tmp_path / "second") as second:
        first.start()
        port = first.url.rpartition(":")[2]
        (tmp_path / "second" / "sentinel.toml").write_text(f"metrics_port = {port}\n")
        done = second.run("serve", "--port", "0")
        assert done.returncode == 2
        assert f"127.0.0.1:{port}" in done.stderr
        assert "metrics_port" in done.stderr
