"""Alerts of other systems: who may send them, what becomes of them, and that they go round in no circle."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.functional.conftest import Api, S

PATH = f"{S}/alerts/webhook"
SECRET = b"a secret of sixteen and more"


def alert(name: str = "DiskFull", status: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "page", **labels},
        "annotations": {"summary": "no room on /var"},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"f-{name}",
    }


def body(*alerts: dict[str, Any]) -> bytes:
    """Return what Alertmanager sends."""
    return json.dumps(
        {"version": "4", "groupKey": "{}", "status": "firing", "alerts": alerts, "receiver": "r"}
    ).encode()


def send(api: Api, content: bytes, role: str | None = "ingest", **headers: str) -> httpx.Response:
    answer = api.ask("POST", PATH, role, content=content, headers={"Content-Type": "application/json", **headers})
    api.drain()
    return answer


def signature(content: bytes, at: int, secret: bytes = SECRET) -> dict[str, str]:
    digest = hmac.new(secret, f"{at}.".encode() + content, hashlib.sha256).hexdigest()
    return {"X-Sentinel-Timestamp": str(at), "X-Sentinel-Signature": f"sha256={digest}"}


@pytest.fixture
def signed(make_api: Any, tmp_path: Path) -> Api:
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    api: Api = make_api(webhook_secret_file=tmp_path / "secret")
    return api


def test_firing_and_resolved_are_each_taken_once(api: Api) -> None:
    """Alertmanager repeats itself for as long as an alert lasts; one event for each state is what happened."""
    for _ in range(3):
        answer = send(api, body(alert(), alert("HighLoad", severity="warning")))
    assert answer.json() == {"status": "received", "processed_alerts": 2, "duplicates": 2}
    assert send(api, body(alert(status="resolved"))).json()["duplicates"] == 0
    events = api.get("/events")["items"]
    assert [(e["details"]["alert"], e["details"]["status"], e["severity"]) for e in events] == [
        ("DiskFull", "resolved", "low"),
        ("HighLoad", "firing", "medium"),
        ("DiskFull", "firing", "critical"),
    ]
    assert {event["event_type"] for event in events} == {"threat_detection"}


def test_the_end_of_an_alert_resolves_its_violation(api: Api) -> None:
    """What is over counts against no health; only who said that it began can say so, and people's word stays."""

    def violations() -> dict[str, tuple[bool, str | None]]:
        items = api.get("/violations")["items"]
        return {each["violation_details"]["alert"]: (each["resolved"], each["resolution_notes"]) for each in items}

    names = ("DiskFull", "HighLoad", "Judged")
    send(api, body(*map(alert, names)))
    [judged] = [v["id"] for v in api.get("/violations")["items"] if v["violation_details"]["alert"] == "Judged"]
    api.ask("POST", f"{S}/violations/{judged}/resolve", "analyst", json={"notes": "a test of ours"})
    over = body(*(alert(name, "resolved") for name in names if name != "HighLoad"))
    send(api, over, "acting")
    assert violations() == {"DiskFull": (False, None), "HighLoad": (False, None), "Judged": (True, "a test of ours")}
    for _ in range(2):
        assert send(api, over).json()["processed_alerts"] == 2
    ended = (True, "its sender says that it is over")
    assert violations() == {"DiskFull": ended, "HighLoad": (False, None), "Judged": (True, "a test of ours")}
    assert api.get("/summary")["health"]["open_violations_last_hour"] == {"high": 1}
    operations = [entry["operation"] for entry in api.get("/audit")["items"]]
    assert operations.count("violation.resolve") == 2


def test_our_own_alerts_go_round_in_no_circle(api: Api) -> None:
    """An alert about our counts must not be counted, or it would keep itself alive (defect D15)."""
    for number in range(20):
        send(api, body(alert(f"SecurityViolations{number}", job="sentinel", severity="critical")))
    assert {event["event_type"] for event in api.get("/events")["items"]} == {"audit_log"}
    assert api.get("/signals")["items"] == []


def test_an_alert_is_a_claim_and_causes_nothing(api: Api) -> None:
    """Whoever may post alerts can't have anybody blocked by them, whatever their token may do (B6)."""
    for number in range(30):
        send(api, body(alert(f"Attack{number}", instance="203.0.113.9", severity="critical")), "acting")
    assert all(not items for items in api.get("/active-blocks").values())


def test_a_generic_alert_is_taken(api: Api) -> None:
    """Systems without Alertmanager send five fields; the same id of the same source is the same alert."""
    one = {"title": "Door open", "severity": "high", "description": "rack 4", "source": "building", "id": "7"}
    assert send(api, json.dumps(one).encode()).json()["processed_alerts"] == 1
    assert send(api, json.dumps(one).encode()).json()["duplicates"] == 1
    assert send(api, json.dumps(one | {"source": "other"}).encode()).json()["duplicates"] == 0
    [event, _] = api.get("/events")["items"]
    assert (event["severity"], event["details"]["alert"]) == ("high", "Door open")


def test_a_signature_stands_for_a_token(signed: Api) -> None:
    """A sender that can't keep a token signs; the signature is of this body, now, and holds once."""
    now = signed.now // 1_000_000
    content = body(alert())
    assert send(signed, content, None, **signature(content, now)).status_code == 200
    other = body(alert("Other"))
    refused = [
        (content, signature(content, now)),  # replayed
        (other, signature(content, now)),
        (other, signature(other, now, b"another secret than ours")),
        (other, signature(other, now - 301)),
        (other, signature(other, now + 301)),
        (other, signature(other, now) | {"X-Sentinel-Timestamp": str(now + 1)}),
        (other, signature(other, now) | {"X-Sentinel-Timestamp": "now"}),
        (other, {"X-Sentinel-Signature": "sha256="}),
        (other, {}),
    ]
    for content_, headers in refused:
        assert send(signed, content_, None, **headers).status_code == 401
    assert send(signed, other, None, **signature(other, now - 299)).status_code == 200


def test_without_a_secret_no_signature_opens(api: Api) -> None:
    """An unset secret must not mean that the empty one fits."""
    content = body(alert())
    assert send(api, content, None, **signature(content, api.now // 1_000_000, b"")).status_code == 401
    assert api.ask("POST", f"{S}/events", None, content=b"[]", headers={"X-Sentinel-Signature": "x"}).status_code == 401


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"[]", 422),
        (b"\xff", 422),
        (b"[" * 100_000, 422),
        (b'{"version": "3", "alerts": []}', 422),
        (b'{"version": "4", "alerts": [{"status": "firing"}]}', 422),
        (b'{"version": "4", "alerts": [{"status": "burning", "labels": {}}]}', 422),
        (b'{"title": "x"}', 422),
        (b'{"title": "x", "severity": "high", "more": 1}', 422),
        (b'{"title": "' + b"x" * 2_000_000 + b'", "severity": "high"}', 413),
        (body(*[alert(str(n)) for n in range(1001)]), 422),
    ],
)
def test_what_is_no_alert_is_refused(api: Api, content: bytes, status: int) -> None:
    """Junk gets an answer that says what is wrong, and leaves nothing behind."""
    answer = send(api, content)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert api.get("/events")["items"] == []
