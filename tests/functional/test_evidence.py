"""The evidence of a quarantine: complete, kept while it holds, and worthless to whoever changes it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.functional.conftest import Api, S
from tests.support.service import Service, eventually

from sentinel.response.evidence import Bundle, pack, seal_of, unpack

DAY = 24 * 3_600 * 1_000_000
POLICY = """
rules:
  - name: stolen-session
    match: {subject_types: [session], min_severity: medium}
    action: threat_quarantine
    duration: until_released
"""


def visit(api: Api, session: str, address: str, seconds: float) -> dict[str, Any]:
    fields = {"event_type": "network_request", "session_id": session, "details": {"method": "GET"}}
    return api.failed_login(address, seconds, event_id=f"{session}-{address}-{seconds}", **fields)


@pytest.fixture
def stolen(make_api: Any, tmp_path: Path) -> Api:
    """A monitor that has quarantined the session s-1, which came from two addresses."""
    policy = tmp_path / "policy.yml"
    policy.write_text(POLICY, encoding="utf-8")
    api: Api = make_api(policy_file=policy)
    visits = [
        ("s-1", "203.0.113.9", 0),
        ("s-12", "203.0.113.9", 1),
        ("s-1", "198.51.100.7", 2),
        ("s-2", "192.0.2.1", 3),
    ]
    api.send([visit(api, *each) for each in visits])
    body = {"prompt": "What's the CANARY?", "session_id": "s-1"}
    assert api.ask("POST", "/api/v1/scan", "ingest", json=body).status_code == 200
    api.drain()
    api.run(api.monitor.evidence.step())
    return api


def quarantine(api: Api) -> dict[str, Any]:
    [item] = api.get("/active-blocks")["quarantines"]
    return dict(item)


def evidence(api: Api) -> dict[str, Any]:
    return dict(api.get(f"/evidence/{quarantine(api)['id']}"))


def test_it_names_what_the_decision_rested_on(stolen: Api) -> None:
    """The signal, and exactly the events that it counted, each with the hash of what it held; no text."""
    told = evidence(stolen)
    bundle = told["bundle"]
    assert (told["status"], told["problems"]) == ("verified", [])
    assert (bundle["action"]["target"], bundle["action"]["rule"]) == ("session:s-1", "stolen-session")
    assert [signal["rule"] for signal in bundle["signals"]] == ["session_from_two_addresses"]
    assert [proof["event_id"] for proof in bundle["events"]] == ["s-1-203.0.113.9-0", "s-1-198.51.100.7-2"]
    assert (bundle["complete"], len({proof["sha256"] for proof in bundle["events"]})) == (True, 2)
    assert "CANARY" not in json.dumps(told)
    sealed = [entry for entry in stolen.get("/audit")["items"] if entry["operation"] == "threat_quarantine.evidence"]
    assert [entry["details"]["sha256"] for entry in sealed] == [told["sha256"]]


def guesses(api: Api, network: str) -> list[dict[str, Any]]:
    """Ten failed logins from as many addresses of a /64."""
    return [
        api.failed_login(f"{network}{n + 1:x}", n, event_id=f"guess-{network}-{n}", user_id=f"user{n}")
        for n in range(10)
    ]


@pytest.mark.parametrize("network", ["2001:db8:1:2::", "2001:db8::"])
def test_what_an_ipv6_network_did_is_in_it(make_api: Any, tmp_path: Path, network: str) -> None:
    """No event names the network that a signal is about; those of its addresses, and of no other's, are found."""
    policy = tmp_path / "policy.yml"
    policy.write_text(POLICY, encoding="utf-8")
    api: Api = make_api(policy_file=policy)
    api.send([*guesses(api, network), *guesses(api, "2001:db8:0:7::"), *guesses(api, "2001:db8:1:1::")])
    api.send([visit(api, "s-1", f"{network}1", 20), visit(api, "s-1", "198.51.100.7", 21)])
    api.run(api.monitor.evidence.step())
    bundle = evidence(api)["bundle"]
    assert "failed_logins_by_network" in {signal["rule"] for signal in bundle["signals"]}
    guessed = {proof["event_id"] for proof in bundle["events"] if proof["event_id"].startswith("guess")}
    assert (guessed, bundle["complete"]) == ({f"guess-{network}-{n}" for n in range(10)}, True)


def test_a_signal_whose_events_are_gone_makes_it_incomplete(stolen: Api) -> None:
    """Evidence that lacks what its signals counted does not say that all of it is there."""
    with sqlite3.connect(stolen.settings.database_path) as store:
        for table in ("evidence", "evidence_events", "events"):
            store.execute(f"DELETE FROM {table}")
    store.close()
    stolen.restart()
    stolen.run(stolen.monitor.evidence.step())
    bundle = evidence(stolen)["bundle"]
    assert (len(bundle["signals"]), bundle["events"], bundle["complete"]) == (1, [], False)


def test_who_reads_it_is_written_down(stolen: Api) -> None:
    """Evidence that people handled says who they were."""
    stolen.get(f"/evidence/{quarantine(stolen)['id']}", "analyst")
    [entry] = stolen.get("/audit", limit=1)["items"]
    analyst = next(token["id"] for token in stolen.get("/tokens")["items"] if token["role"] == "analyst")
    assert (entry["operation"], entry["target"], entry["actor"]) == ("evidence.read", quarantine(stolen)["id"], analyst)


def test_it_is_collected_once_and_also_after_a_crash_in_between(stolen: Api, make_api: Any) -> None:
    """A second look changes nothing; what a crash left without evidence gets it at the next start."""
    first = evidence(stolen)["sha256"]
    stolen.run(stolen.monitor.evidence.step())
    assert evidence(stolen)["sha256"] == first
    order = {"action_type": "threat_quarantine", "target": "tool:mail", "reason": "sends on its own"}
    assert stolen.ask("POST", f"{S}/manual-action", json=order).status_code == 200
    with sqlite3.connect(stolen.settings.database_path) as store:
        store.execute("DELETE FROM evidence")
        store.execute("DELETE FROM evidence_events")
    store.close()
    stolen.restart()
    stolen.run(stolen.monitor.evidence.step())
    for item in stolen.get("/active-blocks")["quarantines"]:
        assert stolen.get(f"/evidence/{item['id']}")["bundle"]["action"]["target"] == item["target"]


def test_pruning_spares_it_until_the_release(stolen: Api) -> None:
    """A year later the events are there and verify; once it is released they go as all others do."""
    held = quarantine(stolen)["id"]
    stolen.now += 365 * DAY
    assert stolen.ask("POST", f"{S}/prune").json()["deleted"]["events"] == 2, "those of the other sessions"
    kept = {event["event_id"] for event in stolen.get("/events")["items"]}
    assert {"s-1-203.0.113.9-0", "s-1-198.51.100.7-2"} <= kept
    assert evidence(stolen)["status"] == "verified"
    assert stolen.ask("DELETE", f"{S}/action/threat_quarantine/session:s-1").status_code == 200
    assert stolen.get(f"/evidence/{held}")["status"] == "verified"
    assert stolen.ask("POST", f"{S}/prune").json()["deleted"]["events"] == 2
    assert stolen.ask("GET", f"{S}/evidence/{held}").status_code == 404


def edited(store: sqlite3.Connection, *, sealed_anew: bool) -> None:
    """Make the bundle say that less was seen."""
    bundle = unpack(store.execute("SELECT bundle FROM evidence").fetchone()[0])
    text = pack(Bundle(**{name: getattr(bundle, name) for name in bundle.__struct_fields__} | {"signals": ()}))
    store.execute("UPDATE evidence SET bundle = ?", (text,))
    if sealed_anew:
        store.execute("UPDATE evidence SET sha256 = ?", (seal_of(text),))


TAMPERINGS = {
    "the bundle": lambda store: edited(store, sealed_anew=False),
    "the bundle and its hash": lambda store: edited(store, sealed_anew=True),
    "no bundle at all": lambda store: store.execute("UPDATE evidence SET bundle = X'00'"),
    "an event": lambda store: store.execute(
        "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), '198.51.100.7', '198.51.100.8') AS BLOB)"
    ),
    "an event that is gone": lambda store: store.execute("DELETE FROM events WHERE event_id LIKE 's-1-%'"),
    "why it was decided": lambda store: store.execute("UPDATE security_actions SET reason = 'a slip'"),
    "the action": lambda store: store.execute("UPDATE security_actions SET target = 'session:s-2'"),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_is_found(stolen: Api, what: str) -> None:
    """Whoever may write the store can change the bundle, its hash, an event or the action, and none unseen."""
    held = quarantine(stolen)["id"]
    with sqlite3.connect(stolen.settings.database_path) as store:
        TAMPERINGS[what](store)
    store.close()
    told = stolen.get(f"/evidence/{held}")
    assert (told["status"], bool(told["problems"])) == ("tampered", True)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("evidence") / "home") as running:
        yield running.start()


def test_it_is_exported_and_verified_by_command(service: Service, tmp_path: Path) -> None:
    """What was taken away is checked later against its hash and the service: 0 for the truth, 1 for a changed file."""
    service.run("blocks", "add", "session:s-9", "--type", "threat_quarantine", "--reason", "odd", "--hours", "0")
    [held] = service.ask(f"{S}/active-blocks")["quarantines"]
    there = eventually(
        lambda: (done := service.run("evidence", "verify", held["id"], "--json")).returncode == 0 and done,
        seconds=30,
        what="the evidence is collected",
    )
    assert json.loads(there.stdout)["status"] == "verified"
    target = tmp_path / "evidence.json"
    assert service.run("evidence", "export", held["id"], "-o", str(target)).returncode == 0
    assert service.run("evidence", "export", held["id"], "-o", str(target)).returncode == 2, "nothing is overwritten"
    assert service.run("evidence", "verify", str(target)).returncode == 0
    exported = json.loads(target.read_text(encoding="utf-8"))
    exported["bundle"]["action"]["reason"] = "a slip"
    target.write_text(json.dumps(exported), encoding="utf-8")
    told = service.run("evidence", "verify", str(target))
    assert (told.returncode, "tampered: the file's bundle" in told.stdout) == (1, True)
    target.write_text("{}", encoding="utf-8")
    assert service.run("evidence", "verify", str(target)).returncode == 2
    assert service.run("evidence", "verify", "act-none").returncode == 1
