"""Incidents: what events join becomes one, with one subject, in order, above what is less urgent; and its export."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from tests.functional.conftest import Api, S

from sentinel.model import Micros, iso

MINUTE = 60
USER, SESSION, ADDRESS = "mallory", "sess-mallory", "203.0.113.77"


def event(api: Api, kind: str, seconds: float, details: dict[str, Any], **fields: Any) -> dict[str, Any]:
    at: Micros = api.now - 4 * 3600 * 1_000_000 + round(seconds * 1_000_000)
    return {"event_type": kind, "severity": "low", "timestamp": iso(at), "details": details, **fields}


def story(api: Api) -> list[dict[str, Any]]:
    """Injection, tool misuse, escalation, bulk read, exfiltration: one user, twenty minutes between the steps."""
    who = {"user_id": USER, "session_id": SESSION, "ip_address": ADDRESS}
    steps = [event(api, "scan", 60, {"is_safe": False, "threat_type": "injection"}, **who)]
    steps += [
        event(
            api, "tool_execution", 120, {"tool_name": "shell", "success": True, "sandbox_violation": "network"}, **who
        )
    ]
    steps += [
        event(api, "authorization", 1200 + 60 * n, {"resource": "admin", "action": "read", "granted": False}, **who)
        for n in range(5)
    ]
    steps += [
        event(api, "data_access", 2700 + n, {"table_name": "orders", "access_type": "select", "row_count": 1}, **who)
        for n in range(55)
    ]
    steps += [
        event(
            api,
            "data_access",
            4200 + 60 * n,
            {"access_type": "export", "row_count": 4000},
            **who,
        )
        for n in range(4)
    ]
    return steps


def others(api: Api) -> list[dict[str, Any]]:
    """200 users at work, and some trouble that has nothing to do with the story."""
    chance = random.Random(7)
    told = [
        event(
            api,
            chance.choice(("data_access", "tool_execution")),
            chance.uniform(0, 3 * 3600),
            {"table_name": "orders", "row_count": 3, "tool_name": "mail", "success": True},
            user_id=f"user{number:03}",
            session_id=f"s{number}",
            ip_address=f"198.51.100.{number}",
        )
        for number in range(200)
        for _ in range(3)
    ]
    told += [
        event(api, "authentication", 600 + n, {"success": False}, user_id="grace", ip_address="203.0.113.9")
        for n in range(12)
    ]
    told += [event(api, "audit_log", 900 + n, {"operation": "role_change"}, user_id="user007") for n in range(2)]
    told += [
        event(api, "authorization", 60 * n, {"resource": "x", "action": "y", "granted": False}, user_id="user008")
        for n in range(6)
    ]
    return told


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    api = Api(tmp_path_factory.mktemp("story") / "data", lateness=24 * 3600.0)
    events = [*story(api), *others(api)]
    random.Random(3).shuffle(events)
    for start in range(0, len(events), 40):
        assert api.send(events[start : start + 40]).status_code == 202
    yield api
    api.close()


def incidents(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/incidents", limit=500)["items"]
    return found


def mine(api: Api) -> dict[str, Any]:
    [only] = [one for one in incidents(api) if one["subject"] == USER]
    return only


def test_a_story_of_five_steps_is_one_incident(api: Api) -> None:
    """Whatever its signals are about (session, user), they stand in one incident about the user, in order of time."""
    one = mine(api)
    page = api.get(f"/incidents/{one['id']}")
    assert {signal["subject"] for signal in page["signals"]} >= {USER, SESSION}
    assert one["subject_type"] == "user"
    rules = [signal["rule"] for signal in page["signals"]]
    steps = ["injection_then_tool", "refused_rights_by_user", "data_accesses_by_user", "exfiltration_by_user"]
    assert [rules.index(step) for step in steps] == sorted(rules.index(step) for step in steps)
    told = [row["at"] for row in page["timeline"]]
    assert told == sorted(told)
    everything = [signal for each in incidents(api) for signal in each["signals"]]
    assert len(everything) == len(set(everything)), "a signal is in one incident"


def test_it_stands_above_all_others_in_rank(api: Api) -> None:
    """Several kinds of threat by one user outrank each single one; what to do first is said."""
    one = mine(api)
    assert len(incidents(api)) > 3
    assert all(other["rank"] < one["rank"] for other in incidents(api) if other["id"] != one["id"])
    page = api.get(f"/incidents/{one['id']}")
    assert page["suggestion"] == f"suspend {USER}, and find out where the data went"
    assert {fact["user_id"] for fact in page["evidence"]} == {USER}


def test_others_are_not_drawn_in(api: Api) -> None:
    """Nobody else's signals join it: no event carries both."""
    page = api.get(f"/incidents/{mine(api)['id']}")
    assert {signal["subject"] for signal in page["signals"]} <= {USER, SESSION, ADDRESS}
    assert {"203.0.113.9", "user007", "user008"} <= {one["subject"] for one in incidents(api)}


def test_who_takes_it_on_and_what_is_noted_stays_with_it(api: Api) -> None:
    """Acknowledged by somebody, with a note; both are shown, and in the audit log."""
    path = f"{S}/incidents/{mine(api)['id']}"
    assert api.ask("POST", f"{path}/ack", "analyst", json={"note": "on it", "assignee": "erin"}).status_code == 200
    assert api.ask("POST", f"{path}/note", "analyst", json={"note": "laptop stolen on Monday"}).status_code == 200
    page = api.get(path.removeprefix(S))
    assert (page["status"], page["assignee"]) == ("acknowledged", "erin")
    assert [(note["what"], note["note"]) for note in page["notes"]] == [
        ("acknowledged", "on it"),
        ("noted", "laptop stolen on Monday"),
    ]
    assert "incident.noted" in {entry["operation"] for entry in api.get("/audit")["items"]}
    assert api.ask("POST", f"{path}/note", "viewer", json={"note": "x"}).status_code == 403


def test_what_people_said_holds_for_the_incident_that_it_becomes_a_part_of(tmp_path: Any) -> None:
    """A session's incident that is somebody's in hand stays so when the user's earlier signal takes it in."""
    api = Api(tmp_path / "data", lateness=24 * 3600.0)
    try:
        events = story(api)
        api.send(events[:2])
        [first] = [one for one in incidents(api) if one["subject"] == SESSION or one["subject"] == USER]
        api.ask("POST", f"{S}/incidents/{first['id']}/ack", "analyst", json={"note": "mine", "assignee": "erin"})
        who = {"user_id": USER, "session_id": SESSION, "ip_address": ADDRESS}
        refused = {"resource": "admin", "action": "read", "granted": False}
        api.send([event(api, "authorization", -900 + 60 * n, refused, **who) for n in range(5)])
        one = mine(api)
        page = api.get(f"/incidents/{one['id']}")
        assert (page["assignee"], page["status"]) == ("erin", "acknowledged")
        assert [note["note"] for note in page["notes"]] == ["mine"]
        assert one["id"] != first["id"]
        assert len(incidents(api)) == 1
    finally:
        api.close()


# --- export. The part of OCSF 1.5.0 that an Incident Finding must keep (schema.ocsf.io), written down by hand.

OBJECT: dict[str, Any] = {"type": dict}
FINDING_INFO = {
    "required": {"uid": str},
    "optional": {
        "title": str, "types": list, "first_seen_time": int, "last_seen_time": int, "related_events_count": int,
        "analytic": dict,
    },
}  # fmt: skip
INCIDENT_FINDING = {
    "required": {
        "activity_id": {1, 2, 3}, "category_uid": {2}, "class_uid": {2005}, "type_uid": {200501, 200502, 200503},
        "severity_id": {0, 1, 2, 3, 4, 5, 6, 99}, "status_id": {1, 2, 3, 4, 5}, "time": int, "metadata": dict,
        "finding_info_list": list,
    },
    "optional": {
        "activity_name": str, "category_name": str, "class_name": str, "severity": str, "status": str, "desc": str,
        "message": str, "comment": str, "confidence_score": int, "priority_id": {0, 1, 2, 3, 4, 99}, "priority": str,
        "start_time": int, "end_time": int, "assignee": dict, "assignee_group": dict, "observables": list,
    },
    "at_least_one": {"assignee", "assignee_group"},
}  # fmt: skip


def breaches(value: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    known = schema["required"] | schema["optional"]
    told = [f"{name} is missing" for name in schema["required"] if name not in value]
    told += [f"{name} is unknown" for name in value if name not in known]
    if schema.get("at_least_one") and not schema["at_least_one"] & value.keys():
        told.append("neither of at_least_one")
    for name, each in value.items():
        kind = known.get(name)
        if isinstance(kind, set) and each not in kind:
            told.append(f"{name} is {each}")
        elif isinstance(kind, type) and not isinstance(each, kind):
            told.append(f"{name} is no {kind.__name__}")
    return told


def test_the_export_keeps_the_schema_of_an_incident_finding(api: Api) -> None:
    """Class, ids and their values, one finding for each signal, times in milliseconds, an assignee or a group."""
    one = mine(api)
    found = api.get(f"/exports/incidents/{one['id']}", "analyst", format="ocsf")
    assert breaches(found, INCIDENT_FINDING) == []
    assert found["type_uid"] == 100 * found["class_uid"] + found["activity_id"]
    assert {"version", "product"} <= found["metadata"].keys()
    assert found["metadata"]["uid"] == one["id"]
    assert {info["uid"] for info in found["finding_info_list"]} == set(one["signals"])
    assert [told for info in found["finding_info_list"] for told in breaches(info, FINDING_INFO)] == []
    assert found["start_time"] < found["end_time"] < found["time"] < 10**13
    assert breaches({**found, "class_uid": 1, "status_id": "x", "more": 1}, INCIDENT_FINDING) != []


@pytest.mark.parametrize("form", ["json", "ocsf"])
def test_an_export_carries_pseudonyms_unless_names_are_asked_for(api: Api, form: str) -> None:
    """A name is nowhere in it, in no text either; the same pseudonym stands for it each time."""
    path = f"{S}/exports/incidents/{mine(api)['id']}"
    masked = api.ask("GET", path, "analyst", params={"format": form}).text
    assert USER not in masked.replace(SESSION, "")
    assert USER in api.ask("GET", path, "analyst", params={"format": form, "names": True}).text
    assert api.ask("GET", path, "viewer").status_code == 403


GUESSED = ("grace.fox", "erin.moore", "o'neil")


@pytest.mark.parametrize("form", ["json", "ocsf"])
def test_an_export_about_an_address_names_nobody_who_was_seen_there(tmp_path: Any, form: str) -> None:
    """The evidence holds everybody whose account was tried, and a note may name them: none of them is the subject."""
    api = Api(tmp_path / "data")
    try:
        api.send([api.failed_login(seconds=n, user_id=GUESSED[n % 3]) for n in range(12)])
        [one] = [each for each in incidents(api) if each["subject"] == "203.0.113.9"]
        api.ask("POST", f"{S}/incidents/{one['id']}/note", "analyst", json={"note": "I asked grace.fox. She sleeps."})
        path = f"{S}/exports/incidents/{one['id']}"
        masked = api.ask("GET", path, "analyst", params={"format": form}).text
        assert [user for user in GUESSED if user in masked] == []
        assert "203.0.113.9" in masked
        assert "grace.fox. She" in api.ask("GET", path, "analyst", params={"format": form, "names": True}).text
    finally:
        api.close()


def differences(masked: Any, plain: Any, path: str = "") -> list[tuple[str, str]]:
    """Return where two answers of one form differ, and what stands there in the plain one."""
    if isinstance(plain, dict):
        return [each for key in plain for each in differences(masked[key], plain[key], f"{path}/{key}")]
    if isinstance(plain, list):
        return [each for one, two in zip(masked, plain, strict=True) for each in differences(one, two, path)]
    return [] if masked == plain else [(path, plain)]


@pytest.mark.parametrize(("user", "session", "address"), [("1", "s-1", "2001:db8::1"), ("2026", "2026-s", "10.2.26.1")])
@pytest.mark.parametrize("form", ["json", "ocsf"])
def test_a_pseudonym_stands_for_a_whole_name_alone(
    tmp_path: Any, user: str, session: str, address: str, form: str
) -> None:
    """Ids, times, addresses and other names stay what they are, whatever a user is called."""
    api = Api(tmp_path / "data")
    who = {"user_id": user, "session_id": session, "ip_address": address}
    try:
        refused = {"resource": "admin", "action": "read", "granted": False}
        events = [event(api, "authorization", 4 * 3600 + n, refused, event_id=f"{user}-{n}", **who) for n in range(5)]
        api.send([*events, event(api, "scan", 4 * 3600 + 6, {"is_safe": False, "threat_type": "injection"}, **who)])
        [one] = [each for each in incidents(api) if each["subject"] == user]
        path = f"{S}/exports/incidents/{one['id']}"
        plain = api.ask("GET", path, "analyst", params={"format": form, "names": True}).json()
        found = differences(api.ask("GET", path, "analyst", params={"format": form}).json(), plain)
    finally:
        api.close()
    named = {"json": {"/subject", "/evidence/user_id", "/suggestion"}, "ocsf": {"/desc", "/message"}}
    assert named[form] <= {where for where, _ in found}
    texts = [text for where, text in found if where not in {"/suggestion", "/desc", "/message"}]
    assert set(texts) <= {user, f"user:{user}"}
    assert not any(where.endswith(("id", "at", "first", "last", "uid")) and text != user for where, text in found)
