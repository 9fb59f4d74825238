"""Actions of every kind, as people order, see and end them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from tests.functional.conftest import Api, S

from sentinel.model import Role, Severity

KINDS = [
    ("ip_block", "203.0.113.7", "ip_blocks"),
    ("user_suspend", "ann@example.org", "user_suspensions"),
    ("account_lockout", "ann", "account_lockouts"),
    ("rate_limit", "ip:203.0.113.7", "rate_limits"),
    ("rate_limit", "user:ann", "rate_limits"),
    ("rate_limit", "endpoint:/login", "rate_limits"),
    ("service_isolation", "billing", "service_isolations"),
    ("threat_quarantine", "session:s-1", "quarantines"),
    ("threat_quarantine", "document:a/b c", "quarantines"),
    ("threat_quarantine", "tool:mail", "quarantines"),
    ("alert_escalation", "inc-1", "escalations"),
]


def order(api: Api, action_type: str, target: str, **more: Any) -> Any:
    body = {"action_type": action_type, "target": target, "reason": "test", **more}
    return api.ask("POST", f"{S}/manual-action", json=body)


@pytest.mark.parametrize(("action_type", "target", "listed"), KINDS)
def test_each_kind_is_ordered_seen_and_ended(api: Api, action_type: str, target: str, listed: str) -> None:
    """One row however often it is ordered, visible in its list and to enforcement points, gone once ended."""
    assert order(api, action_type, target).json()["success"]
    again = order(api, action_type, target, duration_hours=48).json()
    [item] = api.get("/active-blocks")[listed]
    assert (item["id"], item["target"], item["status"]) == (again["action"]["id"], target, "active")
    [pushed] = api.get("/decisions", "enforcer")["items"]
    assert (pushed["action_type"], pushed["target"]) == (action_type, target)
    assert api.ask("DELETE", f"{S}/action/{action_type}/{quote(target, safe='')}").status_code == 200
    assert api.get("/active-blocks")[listed] == []
    assert api.ask("DELETE", f"{S}/action/{action_type}/{quote(target, safe='')}").status_code == 404


@pytest.mark.parametrize("action_type", ["user_suspend", "account_lockout"])
def test_check_user_tells_suspended_and_locked(api: Api, action_type: str) -> None:
    """Both mean that the user may not go on (decisions, D6); the name is compared in its one form."""
    name = "zoë/7"
    assert api.get(f"/check-user/{quote(name, safe='')}", "enforcer") == {
        "user_id": name,
        "is_suspended": False,
        "suspension_info": None,
    }
    order(api, action_type, name)
    told = api.get(f"/check-user/{quote('zoë/7', safe='')}", "viewer")
    assert (told["is_suspended"], told["suspension_info"]["action_type"]) == (True, action_type)
    assert not api.get("/check-user/zo", "viewer")["is_suspended"]


def test_protected_users_and_own_parts_are_refused(make_api: Any) -> None:
    """Whoever must be able to undo a mistake can't be locked out, nor can Sentinel isolate itself."""
    api = make_api(protected_users=("root-admin",))
    for action_type, target in (
        ("user_suspend", "root-admin"),
        ("account_lockout", "root-admin"),
        ("rate_limit", "user:root-admin"),
        ("service_isolation", "sentinel.canary"),
    ):
        assert order(api, action_type, target).status_code == 409
    assert order(api, "user_suspend", "root-admin2").status_code == 200


@pytest.mark.parametrize(
    ("action_type", "target"),
    [
        ("ip_block", "ann"),
        ("rate_limit", "session:x"),
        ("rate_limit", "user:"),
        ("threat_quarantine", "s-1"),
        ("threat_quarantine", "user:ann"),
        ("user_suspend", ""),
        ("user_suspend", "a\u0000b"),
        ("user_suspend", "a" * 257),
        ("service_isolation", "a\nb"),
        ("explode", "x"),
    ],
)
def test_what_is_no_target_is_refused(api: Api, action_type: str, target: str) -> None:
    """A typing error must not become a block on something else."""
    assert order(api, action_type, target).status_code == 422
    assert all(not items for items in api.get("/active-blocks").values())


def attackers(api: Api, first: int, count: int, *, seconds: float = 0) -> None:
    """Ten failed logins from each of so many addresses."""
    api.send(
        [
            api.failed_login(f"198.18.{number // 200}.{number % 200 + 1}", seconds=seconds + n, user_id=f"u{number}")
            for number in range(first, first + count)
            for n in range(10)
        ]
    )


def test_beyond_the_blast_radius_addresses_are_limited_and_earlier_blocks_stay(make_api: Any) -> None:
    """Many addresses at once: the first are blocked, the rest is slowed down; a minute later it is over."""
    api = make_api(blast_radius=5)
    attackers(api, 0, 4)
    attackers(api, 4, 8, seconds=1)
    blocks = api.get("/active-blocks")
    assert (len(blocks["ip_blocks"]), len(blocks["rate_limits"])) == (5, 7)
    assert "blast radius" in blocks["rate_limits"][0]["reason"]
    order(api, "ip_block", "203.0.113.200")
    assert len(api.get("/active-blocks")["ip_blocks"]) == 6
    api.now += 61_000_000
    attackers(api, 20, 2)
    assert len(api.get("/active-blocks")["ip_blocks"]) == 8


def exfiltration(api: Api, user: str, rows: int, **fields: Any) -> dict[str, Any]:
    details = {"table_name": "customers", "access_type": "export", "row_count": rows, "sensitive": True}
    return api.failed_login(event_type="data_access", user_id=user, details=details, **fields)


def trusted(api: Api) -> None:
    """From now on events come from a source whose word counts up to critical."""
    made = api.monitor.create_token(Role.INGEST, by="test", may_cause_actions=True, max_severity=Severity.CRITICAL)
    api.tokens["acting"] = api.run(made)[0]  # type: ignore[index]  # as in the fixture


def test_a_user_who_takes_much_sensitive_data_is_suspended(api: Api) -> None:
    """The contract's answer to exfiltration (decisions, D1), with people woken; another user is not touched."""
    api.send([exfiltration(api, "trudy", 20_000)])
    assert not api.get("/check-user/trudy")["is_suspended"], "this token reaches high at most"
    trusted(api)
    api.send([exfiltration(api, "mallory", 6_000), exfiltration(api, "mallory", 6_000)])
    assert api.get("/check-user/mallory")["is_suspended"]
    assert not api.get("/check-user/grace")["is_suspended"]
    blocks = api.get("/active-blocks")
    assert [item["user_id"] for item in blocks["user_suspensions"]] == ["mallory"]
    incidents = {incident["id"] for incident in api.get("/incidents")["items"]}
    assert {item["target"] for item in blocks["escalations"]} <= incidents
    assert api.ask("DELETE", f"{S}/action/user_suspend/mallory").status_code == 200
    api.send([exfiltration(api, "mallory", 20_000)])
    assert not api.get("/check-user/mallory")["is_suspended"]


def test_failed_logins_of_others_never_suspend_a_user(api: Api) -> None:
    """A thousand failures in somebody's name are no reason to lock that person out."""
    api.send([api.failed_login(f"198.18.1.{n % 200}", seconds=n / 20, user_id="grace") for n in range(1000)])
    assert not api.get("/check-user/grace")["is_suspended"]
    blocks = api.get("/active-blocks")
    assert blocks["user_suspensions"] == blocks["account_lockouts"] == []
    assert not [item for item in blocks["rate_limits"] if item["target"].startswith("user:")]
