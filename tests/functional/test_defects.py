"""
Defects that monitors of this kind had before us, put as tests of ours.

Those that other files test anyway (blocks that nobody enforces, restarts that forget them, alerts that feed themselves)
are not repeated here.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.functional.conftest import Api, S

from sentinel.model import EventType, Severity
from sentinel.storage import StoreFull

BLOCK = {"action_type": "ip_block", "target": "203.0.113.9", "reason": "seen before"}


SENT = [kind for kind in EventType if kind is not EventType.ANOMALY]
"""Those that others may send; anomalies are ours alone."""


def order(api: Api, **fields: Any) -> Any:
    answer = api.ask("POST", f"{S}/manual-action", json=BLOCK | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["action"]


def shown(api: Api, metric: str, **labels: str) -> float | None:
    return api.monitor.metrics.registry.get_sample_value(metric, labels)


# --- words that one part writes and another does not know


def test_an_order_needs_no_severity_and_takes_each(api: Api) -> None:
    """The default is a severity that exists (medium), and every one that is shown can be sent."""
    assert order(api)["severity"] == "medium"
    for number, severity in enumerate(Severity):
        assert order(api, target=f"198.51.100.{number}", severity=severity.value)["severity"] == severity.value
    for foreign in ("HIGH", "warning", "page"):
        assert api.ask("POST", f"{S}/manual-action", json=BLOCK | {"severity": foreign}).status_code == 422


@pytest.mark.parametrize(
    ("action_type", "target"),
    [
        ("ip_block", "203.0.113.9"),
        ("user_suspend", "trudy"),
        ("account_lockout", "trudy"),
        ("rate_limit", "endpoint:/login"),
        ("service_isolation", "billing"),
        ("threat_quarantine", "session:s-1"),
        ("alert_escalation", "inc-1"),
    ],
)
def test_each_kind_of_action_outlives_a_restart(make_api: Any, action_type: str, target: str) -> None:
    """What is written can be read again: kind, severity, evidence, end; for ever stays for ever."""
    api = make_api()
    made = order(
        api,
        action_type=action_type,
        target=target,
        severity="high",
        evidence={"limit": 3, "n": [1]},
        duration_hours=None,
    )
    api.restart()
    api.now += 365 * 86_400_000_000
    [kept] = [item for items in api.get("/active-blocks").values() for item in items]
    assert kept.items() >= made.items()


def test_each_kind_of_event_is_found_by_its_word(api: Api) -> None:
    """The word that was sent is the word that is stored, shown and filtered by."""
    api.send([api.failed_login(event_type=kind.value) for kind in SENT])
    for kind in SENT:
        assert [item["event_type"] for item in api.get("/events", event_type=kind.value)["items"]] == [kind.value]


# --- no answer is not "not blocked"


@pytest.mark.parametrize(
    ("path", "held", "known"),
    [
        ("check-ip/203.0.113.9", "is_blocked", "block_info"),
        ("check-user/trudy", "is_suspended", "suspension_info"),
    ],
)
def test_a_store_that_fails_is_not_taken_for_no(api: Api, path: str, held: str, known: str) -> None:
    """Whoever asks while the store can't answer hears what is in force all the same, if not why."""
    order(api)
    order(api, action_type="user_suspend", target="trudy")

    async def full(*_: object) -> None:
        raise StoreFull

    api.monitor.store.actions_by_id = full  # type: ignore[assignment, method-assign]
    answer = api.ask("GET", f"{S}/{path}", "enforcer")
    assert (answer.status_code, answer.json()[held], answer.json()[known]) == (200, True, None)
    forwarded = api.ask("GET", f"{S}/authorize", "enforcer", headers={"X-Real-IP": "203.0.113.9"})
    assert forwarded.status_code == 403, "what is in force is known without the store"


def test_an_undo_reaches_everybody_and_is_written_down(api: Api) -> None:
    """Each enforcement point hears of it, our own answer changes, the row says so, and the audit log says who."""
    made = order(api)
    seq = {node: api.get("/decisions", "enforcer", node=node)["seq"] for node in ("a", "b")}
    assert api.ask("DELETE", f"{S}/action/ip_block/203.0.113.9").is_success
    for node, since in seq.items():
        [item] = api.get("/decisions", "enforcer", node=node, since=since)["items"]
        assert (item["id"], item["status"]) == (made["id"], "revoked")
    assert not api.get("/check-ip/203.0.113.9")["is_blocked"]
    [row] = api.get("/actions")["items"]
    assert row["status"] == "revoked"
    [entry] = api.get("/audit", limit=1)["items"]
    admin = next(
        token["id"] for token in api.get("/tokens")["items"] if token["role"] == "admin" and token["name"] == "admin"
    )
    assert (entry["operation"], entry["target"], entry["actor"]) == ("ip_block.revoke", "203.0.113.9", admin)


# --- what is no attack


def rows(api: Api, user: str, count: int, seconds: float) -> dict[str, Any]:
    details = {"table_name": "orders", "access_type": "select", "row_count": count, "sensitive": False}
    return api.failed_login(event_type="data_access", user_id=user, seconds=seconds, details=details)


def test_ordinary_work_is_no_attack(api: Api) -> None:
    """Successes are no failures, two failures in a second are no rate, and rows are counted for each user."""
    api.send([api.failed_login(seconds=n, details={"success": True}) for n in range(40)])
    api.send([api.failed_login("198.51.100.1", seconds=n) for n in range(2)])
    api.send([rows(api, f"clerk-{n}", 900, n) for n in range(30)])
    assert api.get("/signals")["items"] == []
    api.send([rows(api, "mallory", 6_000, n) for n in range(2)])
    assert {signal["subject"] for signal in api.get("/signals")["items"]} == {"mallory"}


def test_normal_logins_are_no_detections(api: Api) -> None:
    """The counter of detections counts detections, or its alert would ring at every login and feed on itself."""
    api.send([api.failed_login(f"198.51.100.{n}", user_id=f"u{n}", details={"success": True}) for n in range(50)])
    totals = [
        sample.value
        for family in api.monitor.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "security_threat_detections_total"
    ]
    assert totals
    assert sum(totals) == 0


def test_the_same_evidence_is_told_once(api: Api) -> None:
    """A signal is no event: looking again finds nothing new, and nothing of ours joins the group it is about."""
    api.send([api.failed_login(seconds=n) for n in range(10)])
    before = api.get("/signals")["items"]
    for _ in range(3):
        api.now += 30_000_000
        api.run(api.monitor.worker._close(api.now))
        api.run(asyncio.sleep(0.01))
    assert api.get("/signals")["items"] == before
    assert len(api.get("/events")["items"]) == 10
    assert (
        shown(api, "security_threat_detections_total", severity="high", source="rule", threat_type="brute_force") == 1
    )


# --- odd values


@pytest.mark.parametrize("odd", [None, "many", -1, 1e308, [], {}, True])
def test_odd_values_in_details_break_nothing(api: Api, odd: object) -> None:
    """A figure that is missing or is none, in any field that rules or metrics read: stored, judged, no dead letter."""
    names = (
        *("success", "row_count", "response_time_ms", "sensitive", "status_code", "bytes", "value", "limit", "role"),
        *("granted", "violation_type", "tool_name", "sandbox_violation", "unresolved_users", "failure_reason", "geo"),
    )
    api.send([api.failed_login(event_type=kind.value, details=dict.fromkeys(names, odd)) for kind in SENT])
    assert len(api.get("/events")["items"]) == len(SENT)
    assert shown(api, "security_dead_letters_total") == 0


def test_no_user_is_an_admin_by_his_number(api: Api) -> None:
    """Whom nothing may be done to is what the operator has listed, not whoever is called 1."""
    for name in ("1", "0", "admin", "root"):
        order(api, action_type="user_suspend", target=name)
        assert api.get(f"/check-user/{name}")["is_suspended"]


# --- metrics and logs


def test_what_senders_choose_is_no_label(api: Api) -> None:
    """However many users, addresses and services there are, the metrics stay as long as they were, and name none."""
    for kind in SENT:
        api.send([api.failed_login(f"198.51.100.{n}", event_type=kind.value, severity="high") for n in range(2)])
    before = len(api.ask("GET", "/metrics", "scraper").text.splitlines())
    for kind in SENT:
        api.send(
            [
                api.failed_login(
                    f"203.0.113.{n}",
                    event_type=kind.value,
                    severity="high",
                    user_id=f"CANARY-{n}",
                    session_id=f"CANARY-{n}",
                    details={"success": False, "failure_reason": f"CANARY-{n}", "violation_type": f"CANARY-{n}"},
                )
                for n in range(50)
            ]
        )
    after = api.ask("GET", "/metrics", "scraper").text
    assert "CANARY" not in after
    assert "203.0.113." not in after
    assert len(after.splitlines()) <= before + 100, "closed lists of words, and a few that come into being"


def test_an_alerts_text_is_in_no_log(api: Api) -> None:
    """Whatever another system puts into its alerts, ours does not spread it."""
    alert = {"status": "firing", "labels": {"alertname": "CANARY-1"}, "annotations": {"summary": "CANARY-2"}}
    body = {"version": "4", "alerts": [alert]}
    assert api.ask("POST", f"{S}/alerts/webhook", "ingest", json=body).status_code == 200
    assert api.ask("POST", f"{S}/alerts/webhook", "ingest", json=body | {"version": "CANARY-3"}).status_code == 422
    api.drain()
    assert "CANARY" not in "".join(path.read_text() for path in (api.settings.data_dir / "logs").iterdir())


def test_each_step_of_the_reaction_is_timed(api: Api) -> None:
    """From event to decision and from decision to enforcement: the figures by which promises are judged."""
    names = ("security_event_to_decision_seconds_count", "security_decision_to_enforced_seconds_count")
    seq = api.get("/decisions", "enforcer", node="n")["seq"]
    assert [shown(api, name) for name in names] == [0, 0]
    api.send([api.failed_login(seconds=n) for n in range(10)])
    seq = api.get("/decisions", "enforcer", node="n", since=seq)["seq"]
    api.get("/decisions", "enforcer", node="n", since=seq)
    judged, enforced = [shown(api, name) for name in names]
    assert judged
    assert enforced == 1


def test_a_node_that_claims_the_future_enforces_nothing(api: Api) -> None:
    """Shown as enforcing is who has applied a change, not who names a number that nobody has given out yet."""
    seq = api.get("/decisions", "enforcer", node="liar", since=10_000)["seq"]
    api.get("/decisions", "enforcer", node="honest")
    made = order(api)
    api.get("/decisions", "enforcer", node="liar", since=10_000)
    api.get("/decisions", "enforcer", node="honest", since=made["seq"])
    [item] = api.get("/active-blocks")["ip_blocks"]
    assert (seq, item["enforced_by"]) == (0, ["honest"])
