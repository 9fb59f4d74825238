"""Noticing what no rule names, through the whole service: imports, anomalies, signals, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.functional.conftest import Api, S
from tests.support.days import days, judge
from tests.support.service import eventually

from sentinel.app import Monitor
from sentinel.detection.baseline import Baselines
from sentinel.model import Role, iso, micros_of_iso
from sentinel.stream import Worker

SEED, LENGTH, USERS, PLANTED = 3, 12, 60, 12


def imported(api: Api, events: list[dict[str, Any]], part: int = 4_000, **order: Any) -> dict[str, Any]:
    """What importing events leads to, as `sentinel ingest --json` shows it."""
    begun = api.ask("POST", f"{S}/imports", json=order).json()["import_id"]
    for start in range(0, len(events), part):
        body = "\n".join(map(json.dumps, events[start : start + part]))
        headers = {"Content-Type": "application/x-ndjson"}
        taken = api.ask("POST", f"{S}/imports/{begun}/events", content=body, headers=headers)
        assert taken.json()["rejected"] == [], taken.text[:300]
    told: dict[str, Any] = api.ask("POST", f"{S}/imports/{begun}/finish").json()
    return told


class Seen:
    """One import of generated days."""

    def __init__(self, folder: Path) -> None:
        self.events, self.labels = days(SEED, LENGTH, USERS, PLANTED)
        self.api = Api(folder)
        self.output = imported(self.api, self.events)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    seen = Seen(tmp_path_factory.mktemp("days") / "data")
    yield seen
    seen.api.close()


def test_what_was_planted_is_found_and_few_others_are_accused(seen: Seen) -> None:
    """At least 80 % of it, benign user-days stay quiet, and nobody is accused who is still being learnt."""
    verdict = judge()["judge"](*judge()["days_of"](seen.events), seen.output, seen.labels)
    told = "\n".join(judge()["lines"](verdict))
    assert verdict.found.total() >= 0.8 * PLANTED, told
    assert verdict.spoiled_days <= 0.02 * verdict.user_days, told  # 60 people teach less than 200: see benchmarks
    assert verdict.learners == 0, told


def test_an_anomaly_says_what_it_is_compared_with(seen: Seen) -> None:
    """Each has the fields of the contract, a reason in words, and a score by which it is called severe."""
    assert {"volumetric", "temporal", "pattern_based", "behavioral"} <= {
        row["type"] for row in seen.output["anomalies"]
    }
    for row in seen.output["anomalies"]:
        wanted = {"id", "entity", "metric", "method", "n", "expected", "observed", "score", "severity", "at", "reason"}
        assert wanted <= row.keys()
        assert 0.7 <= row["score"] <= 1
        assert row["severity"] == ("high" if row["score"] >= 0.95 else "medium" if row["score"] >= 0.8 else "low")
        assert row["n"] >= 1


def test_anomalies_become_signals_only_by_rules(seen: Seen) -> None:
    """Medium and high ones do, with the threat that the rule names; low ones make none."""
    rules = {"unusual_data_volume": "data_exfiltration", "unusual_session": "session_hijacking"}
    signals = [signal for signal in seen.output["signals"] if signal["rule"].startswith("unusual_")]
    assert rules.items() <= {signal["rule"]: signal["threat_type"] for signal in signals}.items()
    loud = {row["entity"] for row in seen.output["anomalies"] if row["severity"] != "low"}
    assert {signal["subject"] for signal in signals} == loud
    assert {signal["severity"] for signal in signals} <= {"medium", "high"}


def test_shuffled_and_repeated_the_same_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another order, some events twice, days learnt three entities at a time: the same anomalies and signals."""
    in_order, _ = days(5, 10, 16, 4)
    shuffled = [*in_order, *in_order[:200]]
    random.Random(1).shuffle(shuffled)
    told = []
    for number, events in enumerate((in_order, shuffled)):
        monkeypatch.setattr("sentinel.stream.noticing._SLICE", (1_000, 3)[number])
        api = Api(tmp_path / str(number))
        output = imported(api, events)
        api.close()
        told.append((output["anomalies"], {signal["id"] for signal in output["signals"]}))
    assert len(told[0][0]) >= 3
    assert told[0] == told[1]


def test_what_imports_side_by_side_lead_to_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tells of its own, judged before its end for want of room or not; one without --act has no effects."""
    monkeypatch.setattr("sentinel.stream.noticing._MOST_OPEN", 20)
    api = Api(tmp_path / "data")
    events, labels = days(5, 10, 16, 4)
    odd = sorted({label["user"] for label in labels["anomalies"]})
    begun = [api.ask("POST", f"{S}/imports", json={"act": act}).json()["import_id"] for act in (True, False)]
    for start in range(0, len(events), 500):
        part = events[start : start + 500]
        for number, of in reversed([*enumerate(begun)]):
            mine = [event for event in part if (event.get("user_id") in odd[::2]) is (number == 1)]
            body = "\n".join(map(json.dumps, mine))
            headers = {"Content-Type": "application/x-ndjson"}
            api.ask("POST", f"{S}/imports/{of}/events", content=body, headers=headers)
    eventually(lambda: api.run(api.monitor.store.anomalies()), seconds=60, what="anomalies before the end")
    told = [api.ask("POST", f"{S}/imports/{of}/finish").json()["anomalies"] for of in begun]
    effects = {found.event.user_id: found.effects for found in api.run(api.monitor.store.anomalies())}
    api.close()
    assert all(told)
    assert {row["entity"] for row in told[1]} == set(odd[::2])
    assert effects == {row["entity"]: number == 0 for number in (0, 1) for row in told[number]}


def test_others_are_judged_while_a_day_of_an_import_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds few users, days are learnt one by one: the import waits for room, an event beside it does not."""
    monkeypatch.setattr("sentinel.stream.noticing._MOST_OPEN", 5)
    monkeypatch.setattr("sentinel.stream.noticing._SLICE", 1)
    monkeypatch.setattr("sentinel.server.imports._AHEAD", 0)
    api = Api(tmp_path / "data")
    times = [iso(api.now - hours * 3_600_000_000) for hours in (84, 60, 36, 12)]
    events = [
        api.failed_login(user_id=f"user-{number}", timestamp=at, details={"success": True})
        for at in times
        for number in range(100)
    ]
    begun = api.ask("POST", f"{S}/imports", json={}).json()["import_id"]
    body, one = "\n".join(map(json.dumps, events)), json.dumps(api.failed_login())

    async def beside() -> bool:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=api.app), base_url="http://test") as client:

            async def posted(path: str, content: str, token: Role) -> None:
                headers = {"Authorization": f"Bearer {api.tokens[token]}", "Content-Type": "application/x-ndjson"}
                (await client.post(f"{S}/{path}", content=content, headers=headers)).raise_for_status()

            importing = asyncio.create_task(posted(f"imports/{begun}/events", body, Role.ADMIN))
            await api.monitor.worker.reached(len(events))
            await posted("events", one, Role.INGEST)
            await api.monitor.worker.reached(len(events) + 1)
            waits = not importing.done()
            await importing
            return waits

    waits = api.run(beside())
    api.close()
    assert waits


def test_what_is_given_up_half_way_is_counted_once(make_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the end of an import may go away at any moment: what is known of all together is the same."""
    monkeypatch.setattr("sentinel.stream.noticing._AT_ONCE", 1)
    judge = Baselines.judge
    known = []
    for number, patience in enumerate((10_000, 2)):
        api = make_api()
        at = [iso(api.now - n * 2_000_000_000) for n in range(200)]
        login = {"details": {"success": True}}
        events = [api.failed_login(user_id=f"user-{n % 7}", timestamp=time, **login) for n, time in enumerate(at)]
        begun = api.ask("POST", f"{S}/imports", json={}).json()["import_id"]
        headers = {"Content-Type": "application/x-ndjson"}
        api.ask("POST", f"{S}/imports/{begun}/events", content="\n".join(map(json.dumps, events)), headers=headers)
        waiting: list[asyncio.Task[None]] = []

        def judged(*args: Any, waiting: list[asyncio.Task[None]] = waiting, patience: int = patience) -> Any:
            waiting.append(waiting[-1])  # one for each call
            if len(waiting) % patience == 0 and len(waiting) < 60:
                waiting[-1].cancel()
            return judge(*args)

        monkeypatch.setattr(Baselines, "judge", judged)

        async def drained(worker: Worker, waiting: list[asyncio.Task[None]] = waiting) -> int:
            times = 1
            while True:
                waiting.append(asyncio.create_task(worker.drained(200)))
                try:
                    await waiting[-1]
                except asyncio.CancelledError:
                    times += 1
                else:
                    return times

        assert (api.run(drained(api.monitor.worker)) > 10) is (number == 1)
        known.append(api.run(api.monitor.store.organisation_record()))
    assert known[0]
    assert known[1] == known[0]


def test_live_events_get_room_beside_an_import_without_end(make_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours wait for the end of an import, but not for ever: what memory can't hold closes the oldest."""
    monkeypatch.setattr("sentinel.stream.noticing._MOST_OPEN", 5)
    monkeypatch.setattr("sentinel.stream.noticing._FULL", 5)
    api = make_api(lateness=12 * 3600.0)
    api.ask("POST", f"{S}/imports", json={})
    events = [api.failed_login(user_id=f"user-{n}", seconds=-3600 * max(3, 13 - n)) for n in range(12)]
    body = "\n".join(map(json.dumps, events))
    api.ask("POST", f"{S}/events", "acting", content=body, headers={"Content-Type": "application/x-ndjson"})
    api.run(api.monitor.worker.reached(len(events)))
    eventually(lambda: not api.run(asyncio.sleep(0.01, api.monitor.worker.noticing.full)), seconds=60, what="room")


def test_what_can_not_be_learnt_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of hours that have closed, and of entities beyond those that an hour has room for, by reason."""
    monkeypatch.setattr("sentinel.detection.baseline.baselines.MOST_ENTITIES", 4)
    api = Api(tmp_path / "data")
    at = {"timestamp": iso(api.now - 86_400_000_000), "details": {"success": True}}
    imported(api, [api.failed_login(user_id=f"user-{number}", **at) for number in range(6)])
    imported(api, [api.failed_login(user_id=f"late-{number}", **at) for number in range(3)])
    count = api.monitor.metrics.registry.get_sample_value
    found = {
        reason: count("sentinel_baseline_events_ignored_total", {"reason": reason})
        for reason in ("closed_hour", "crowded_hour")
    }
    api.close()
    assert found == {"closed_hour": 3, "crowded_hour": 2}


def test_windows_over_anomalies_are_let_go(tmp_path: Path) -> None:
    """Days after them, a live event is enough."""
    api = Api(tmp_path / "data")
    events, _ = days(5, 10, 16, 4)
    imported(api, events)
    noticing = api.monitor.worker.noticing
    assert noticing.retained > 0
    api.now = max(micros_of_iso(event["timestamp"]) for event in events) + 10 * 86_400_000_000
    api.send([api.failed_login()])
    assert noticing.retained == 0
    api.close()


def test_importing_again_changes_nothing(seen: Seen) -> None:
    """Nothing is taken twice, no hour is opened again, and no anomaly is told again."""
    again = imported(seen.api, seen.events[:2_000])
    assert (again["anomalies"], again["signals"]) == ([], [])
    stored = seen.api.get("/events", event_type="anomaly", limit=500)["items"]
    assert len(stored) == len(seen.output["anomalies"])


def test_nobody_can_claim_an_anomaly(seen: Seen) -> None:
    """An event that calls itself an anomaly is refused; what others detected stays a claim, and no anomaly."""
    event = {"event_type": "anomaly", "severity": "high", "timestamp": "2026-01-01T00:00:00Z", "user_id": "eve"}
    refused = seen.api.send([event])
    assert refused.status_code == 422
    assert refused.json()["rejected"][0]["field"] == "event_type"


def test_what_is_usual_can_be_seen(seen: Seen) -> None:
    """Of a user: how many days are known, which metrics are ready, and what they expect; of a stranger: nothing."""
    planted = {label["user"] for label in seen.labels["anomalies"]}
    quiet = next(user for user in seen.labels["users"] if user not in planted and not user.startswith("svc"))
    page = seen.api.get(f"/baselines/{quiet}", "analyst")
    rows = {row["metric"]: row for row in page["metrics"]}
    assert page["entity"] == quiet
    assert rows["rows"]["n"] >= 1
    assert rows["rows"]["expected"]["day"] >= rows["rows"]["expected"]["hour"] > 0
    assert all((row["state"] == "ready") is (row["ready_from"] is None) for row in page["metrics"])
    assert seen.api.ask("GET", f"{S}/baselines/nobody", "analyst").status_code == 404
    assert seen.api.ask("GET", f"{S}/baselines/{quiet}", "viewer").status_code == 403


def test_limits_are_set_over_the_api_and_kept(make_api: Any) -> None:
    """From the next hour on, over a restart too; what makes no sense is refused; a reset brings the default back."""
    api = make_api()
    changed = api.ask("PUT", f"{S}/baselines", json={"metric": "rows", "medium": 0.9})
    assert changed.json()["limits"]["medium"] == 0.9
    assert api.monitor.worker.noticing.tuning.of("rows").medium == 0.9
    assert json.loads(api.settings.baselines_path.read_text())["rows"]["medium"] == 0.9
    assert api.ask("PUT", f"{S}/baselines", json={"metric": "row", "medium": 0.9}).status_code == 404
    assert api.ask("PUT", f"{S}/baselines", json={"metric": "rows", "medium": 9}).status_code == 422
    assert api.ask("PUT", f"{S}/baselines", "analyst", json={"metric": "rows"}).status_code == 403
    api.ask("PUT", f"{S}/baselines", json={"metric": "rows", "reset": True})
    [row] = [row for row in api.get("/baselines")["items"] if row["metric"] == "rows"]
    assert (row["medium"], row["adjusted"]) == (0.8, False)


def lived(folder: Path, restarts: bool) -> list[tuple[Any, ...]]:
    """What a service notices that is sent events as they happen."""
    events, _ = days(5, 10, 12, 3)
    api = Api(folder, lateness=12 * 3600.0)
    begin, step = micros_of_iso(events[0]["timestamp"]), 12 * 3600 * 1_000_000
    for number in range(10 * 2 + 3):
        api.now = begin + (number + 1) * step
        if restarts and number % 5 == 3:
            api.close()
            api = Api(folder, now=api.now, lateness=12 * 3600.0)
        part = [e for e in events if begin + number * step <= micros_of_iso(e["timestamp"]) < api.now]
        if part:
            assert api.send(part).status_code == 202
        api.drain()
    found = api.get("/anomalies", limit=500)["items"]
    api.close()
    assert len({row["id"] for row in found}) == len(found)
    return sorted((row["id"], row["observed"], row["score"]) for row in found)


def test_a_service_that_is_started_again_notices_the_same(tmp_path: Path) -> None:
    """Events sent as they happen, with and without stops in between: the same anomalies, none told twice."""
    straight = lived(tmp_path / "straight", restarts=False)
    assert len(straight) >= 3
    assert lived(tmp_path / "stopped", restarts=True) == straight


def test_health_tells_that_baselines_could_not_be_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When an event of an open hour can't be read again after a start, nothing is judged right any more: it stops."""
    api = Api(tmp_path / "data")
    api.send([api.failed_login(seconds=-1, details={"success": True})])
    api.run(api.monitor.close())
    with contextlib.closing(sqlite3.connect(api.settings.database_path)) as store, store:
        store.execute("UPDATE events SET body = '{'")
    lost: list[str] = []
    monkeypatch.setattr(Monitor, "_stop_at_once", lambda _, err: lost.append(type(err).__name__))
    api._open()
    with contextlib.suppress(msgspec.DecodeError):
        api.run(api.monitor.worker.noticing.until_ready())
    health = api.get("/health", None)
    ready = api.ask("GET", "/readyz", None)
    api.close()
    assert lost == ["DecodeError"]
    assert health["overall_status"] == "critical"
    assert health["components"]["security_event_processor"]["status"] == "stopped"
    assert ready.status_code == 503
