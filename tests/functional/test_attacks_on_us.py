"""Somebody tries to use us against others: to have the innocent blocked, or the guilty forgotten."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import httpx
import pytest
from tests.functional.conftest import Api, S

from sentinel.enforcement import SentinelMiddleware
from sentinel.model import Role, Severity
from sentinel.notify import Level, Plan

CROWD, RADIUS = (10_000, 100) if "SENTINEL_PROVE" in os.environ else (60, 10)
PROXY, ATTACKER, VICTIM = "10.0.0.1", "203.0.113.9", "198.51.100.50"
ADMIN = "root-admin"


def attack(api: Api, *addresses: str, seconds: float = 0, **fields: Any) -> list[dict[str, Any]]:
    """Ten failed logins from each of these addresses."""
    return [
        api.failed_login(address, seconds=seconds + n, user_id=f"u-{address}") | fields
        for address in addresses
        for n in range(10)
    ]


def addresses(count: int) -> list[str]:
    return [f"198.18.{number // 250}.{number % 250 + 1}" for number in range(count)]


def blocked(api: Api) -> set[str]:
    return {item["target"] for item in api.get("/active-blocks")["ip_blocks"]}


def order(api: Api, target: str) -> None:
    body = {"action_type": "ip_block", "target": target, "reason": "seen before"}
    assert api.ask("POST", f"{S}/manual-action", json=body).status_code == 200


# --- X-Forwarded-For


class Shop:
    """An application that reports what it sees; every login fails. Peers in `trusted` are believed."""

    def __init__(self, trusted: tuple[str, ...]) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        self._app = SentinelMiddleware(
            app, url="http://127.0.0.1:1", token="t", events_token="t", trusted_proxies=trusted
        )
        self._app.feed.start = lambda: None  # type: ignore[method-assign]  # blocks are not what is tried here
        self.reported: list[dict[str, Any]] = []
        assert self._app.reporter is not None
        self._app.reporter._client.send = self.reported.append  # type: ignore[method-assign, assignment]

    def visit(self, peer: str, forwarded: str) -> None:
        """One login, with this header, from this peer."""

        async def request() -> None:
            transport = httpx.ASGITransport(app=self._app, client=(peer, 1))  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                await client.get("/login", headers={"X-Forwarded-For": forwarded, "Authorization": "Basic YTpi"})

        asyncio.run(request())


@pytest.mark.parametrize(
    ("peer", "trusted", "forwarded", "struck"),
    [
        (ATTACKER, (), VICTIM, {ATTACKER}),
        (PROXY, (PROXY,), f"{VICTIM}, {ATTACKER}", {ATTACKER}),
        (PROXY, (PROXY,), f"{VICTIM}, {ATTACKER}, {PROXY}", {ATTACKER}),
        (PROXY, (PROXY,), "junk", set()),
        (PROXY, (PROXY,), f"::ffff:{PROXY}", set()),
        (PROXY, (PROXY,), "127.0.0.1", set()),
    ],
)
def test_a_forged_header_has_nobody_else_blocked(
    make_api: Any, peer: str, trusted: tuple[str, ...], forwarded: str, struck: set[str]
) -> None:
    """Whoever writes another address into X-Forwarded-For is blocked himself, or nobody is; the proxy never."""
    api, shop = make_api(trusted_proxies=(PROXY,)), Shop(trusted)
    for _ in range(12):
        shop.visit(peer, forwarded)
    now = api.failed_login()["timestamp"]
    assert api.send([event | {"timestamp": now} for event in shop.reported]).status_code == 202
    assert api.get("/signals")["items"] != []
    assert blocked(api) == struck


# --- forged events


def test_whoever_keeps_the_place_running_can_not_be_struck(make_api: Any) -> None:
    """Events that name the proxy, the allowed office or an admin do nothing to them, whoever sends them."""
    api = make_api(trusted_proxies=(PROXY,), allow_list=("192.0.2.0/24",), protected_users=(ADMIN,))
    made = api.monitor.create_token(Role.INGEST, by="test", may_cause_actions=True, max_severity=Severity.CRITICAL)
    api.tokens["acting"] = api.run(made)[0]
    stolen = {"table_name": "customers", "access_type": "export", "row_count": 90_000, "sensitive": True}
    forged = attack(api, PROXY, "192.0.2.7", f"::ffff:{PROXY}", severity="critical")
    forged += [api.failed_login(event_type="data_access", severity="critical", user_id=ADMIN, details=stolen)]
    api.send(forged)
    subjects = {signal["subject"] for signal in api.get("/signals")["items"]}
    assert {PROXY, "192.0.2.7", ADMIN} <= subjects, "the forged events looked like attacks"
    shown = api.get("/active-blocks")
    assert {name for name, items in shown.items() if items} <= {"escalations"}, "people may be told; nobody is struck"
    value = api.monitor.metrics.registry.get_sample_value
    assert value("security_actions_refused_total", {"action_type": "ip_block"}) >= 2
    assert value("security_actions_refused_total", {"action_type": "user_suspend"}) == 1


def test_a_sender_without_the_right_blocks_nobody_however_much_it_claims(api: Api) -> None:
    """A stolen token of an ordinary application is no weapon."""
    order(api, "203.0.113.200")
    api.send(attack(api, *addresses(60), severity="critical"), role="ingest")
    assert len(api.get("/signals", limit=500)["items"]) >= 60
    assert {name: len(items) for name, items in api.get("/active-blocks").items() if items} == {"ip_blocks": 1}


def test_every_refused_caller_is_counted(api: Api) -> None:
    """Whoever tries keys, roles or signatures is seen in figures, and leads to no event that rules could act on."""
    signed = {"X-Sentinel-Timestamp": str(api.now // 1_000_000), "X-Sentinel-Signature": "sha256=" + "0" * 64}
    tries: list[tuple[str, str, str | None, dict[str, str]]] = [
        ("GET", "/signals", None, {"Authorization": "Bearer junk"}),
        ("GET", "/signals", None, {}),
        ("POST", "/alerts/webhook", None, signed),
        ("GET", "/audit", "viewer", {}),
    ]
    for method, path, role, headers in tries:
        assert api.ask(method, S + path, role, headers=headers).status_code in {401, 403}
    value = api.monitor.metrics.registry.get_sample_value
    assert [value("security_api_refused_total", {"status": status}) for status in ("401", "403")] == [3, 1]
    assert api.get("/events")["items"] == []


# --- very many at once


class Pager:
    """A channel that keeps what it was told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def send(self, title: str, message: str) -> None:
        self.calls.append(f"{title}\n{message}")


def test_ten_thousand_addresses_at_once(make_api: Any) -> None:
    """A few are blocked and the rest slowed down; blocks from before stay, people are told once, and it ends."""
    api = make_api(blast_radius=RADIUS)
    pager = Pager()
    api.monitor.escalation._plan = Plan((Level("team", 0, (pager,)),), Pager())
    order(api, "203.0.113.200")
    crowd = addresses(CROWD)
    for start in range(0, CROWD, 1000):
        api.send(attack(api, *crowd[start : start + 1000]))
    shown = api.get("/active-blocks")
    assert len(blocked(api)) == RADIUS + 1
    assert "203.0.113.200" in blocked(api)
    assert len(shown["rate_limits"]) == CROWD - RADIUS
    [told] = shown["escalations"]
    assert (told["severity"], told["auto"]) == ("critical", True)
    for _ in range(3):
        api.run(api.monitor.escalation.step())
    [call] = pager.calls
    assert "strong-signal-on-an-address asks for more ip_block than the blast radius allows" in call

    order(api, "203.0.113.201")
    assert "203.0.113.201" in blocked(api), "people can always act"
    api.now += 61_000_000
    api.send(attack(api, "198.19.0.1"))
    assert "198.19.0.1" in blocked(api), "a minute later an attacker is blocked as ever"
    api.now += 3_600_000_000
    api.send(attack(api, *(f"198.19.1.{n}" for n in range(1, RADIUS + 2))))
    assert len(api.get("/active-blocks")["escalations"]) == 2, "an hour later it is worth another call"
