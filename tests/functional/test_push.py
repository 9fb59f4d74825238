"""Incidents that people are called about are pushed to Alertmanager, and to the backup when it does not take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.functional.conftest import Api, S

from sentinel.errors import ConfigError, OutsideError
from sentinel.model import ActionType, micros_of_iso
from sentinel.notify import Alertmanager
from sentinel.settings import load_settings
from sentinel.storage import Action
from sentinel.stream import AlertmanagerPush

MINUTE = 60 * 1_000_000


class Office:
    """An Alertmanager that can be out of order, and the backup beside it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.broken = False
        self.taken: list[list[dict[str, Any]]] = []
        self.calls: list[str] = []
        monitor = api.monitor
        self.push = AlertmanagerPush(
            monitor.store, self.take, self, clock=lambda: api.now, metrics=monitor.metrics, log=monitor.log
        )

    async def take(self, alerts: Sequence[dict[str, Any]]) -> None:
        if self.broken:
            raise OutsideError("no Alertmanager took the alerts: ConnectError", retryable=True)
        self.taken.append(list(alerts))

    def send(self, title: str, message: str) -> None:
        self.calls.append(f"{title}\n{message}")

    def call(self, incident: str = "inc-1") -> None:
        body = {"action_type": "alert_escalation", "target": incident, "reason": "Data leaves", "severity": "critical"}
        assert self.api.ask("POST", f"{S}/manual-action", json=body).status_code == 200

    def end(self, incident: str = "inc-1") -> None:
        orders = self.api.monitor.orders
        assert self.api.run(orders.end(ActionType.ALERT_ESCALATION, incident, "test"))

    def look(self, minutes: float = 0) -> list[list[dict[str, Any]]]:
        """Let so much time pass and look; returns what Alertmanager got by it."""
        self.api.now += round(minutes * MINUTE)
        before = len(self.taken)
        self.api.run(self.push.step())
        return self.taken[before:]


@pytest.fixture
def office(api: Api) -> Office:
    return Office(api)


def test_a_call_is_sent_at_once_repeated_while_it_lasts_and_its_end_is_sent_once(office: Office) -> None:
    """Alertmanager holds an alert only while somebody repeats it; it learns of the end without waiting for that."""
    assert office.look() == []
    office.call()
    [[alert]] = office.look()
    assert alert["labels"] == {
        "alertname": "SecurityIncident",
        "severity": "critical",
        "category": "incident",
        "job": "sentinel",
        "incident": "inc-1",
    }
    assert micros_of_iso(alert["endsAt"]) > office.api.now + MINUTE
    assert office.look() == office.look(0.5) == []
    [[again]] = office.look(0.5)
    assert again["labels"] == alert["labels"]
    assert micros_of_iso(again["endsAt"]) > micros_of_iso(alert["endsAt"])
    office.end()
    [[over]] = office.look()
    assert micros_of_iso(over["endsAt"]) == office.api.now
    assert office.look() == office.look(5) == []


def test_when_alertmanager_does_not_take_it_the_backup_gets_it_once(office: Office) -> None:
    """A call is not lost with Alertmanager, and not repeated every two seconds either."""
    office.broken = True
    office.call()
    for _ in range(3):
        assert office.look(0.1) == []
    [call] = office.calls
    assert call.startswith("CRITICAL: Data leaves\nLook: sentinel incidents show inc-1.")
    assert "Alertmanager was not told" in call
    office.broken = False
    [[alert]] = office.look(0.1)
    assert alert["labels"]["incident"] == "inc-1"
    office.broken = True
    assert office.look(2) == []
    assert len(office.calls) == 1  # Alertmanager has told of this one


def test_an_end_that_alertmanager_missed_is_sent_when_it_is_back(office: Office) -> None:
    """An alert that is over does not stay on the screen because Alertmanager was away at that moment."""
    office.call()
    office.look()
    office.broken = True
    office.end()
    assert office.look() == []
    office.broken = False
    [[over]] = office.look(0.1)
    assert micros_of_iso(over["endsAt"]) == office.api.now


def calls_in_force(office: Office, number: int) -> list[Action]:
    """That many calls, as the store would return them: one real one, under as many names."""
    office.call("inc-0")
    [action] = office.api.run(office.api.monitor.store.actions_in_force(office.api.now))
    return [msgspec.structs.replace(action, id=f"act-{n}", target=f"inc-{n}", incident_id=None) for n in range(number)]


def test_none_of_a_thousand_calls_is_left_out(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are in force: Alertmanager gets each of them, or the backup those that it did not get."""
    calls = calls_in_force(office, 1_001)

    async def in_force(_: object) -> list[Action]:
        return calls

    monkeypatch.setattr(office.api.monitor.store, "actions_in_force", in_force)
    got = office.look()
    assert {alert["labels"]["incident"] for part in got for alert in part} == {f"inc-{n}" for n in range(1_001)}
    assert max(map(len, got)) <= 500, "in requests that stay small"
    calls = [*calls, *(msgspec.structs.replace(calls[0], id=f"new-{n}", target=f"new-{n}") for n in range(2))]
    office.broken = True
    office.look()
    assert sorted(call.splitlines()[1].split()[4] for call in office.calls) == ["new-0.", "new-1."]
    office.broken = False
    assert {"new-0", "new-1"} <= {alert["labels"]["incident"] for alert in office.look()[0]}, "what is new goes first"


def test_advice_names_the_incident_that_it_became_a_part_of(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels stay, by which Alertmanager knows the alert; the commands to type are those of today."""
    [action] = calls_in_force(office, 1)
    now = [action]

    async def in_force(_: object) -> list[Action]:
        return now

    monkeypatch.setattr(office.api.monitor.store, "actions_in_force", in_force)
    office.look()
    now[0] = msgspec.structs.replace(action, incident_id="inc-9")
    [[again]] = office.look(1)
    assert again["labels"]["incident"] == "inc-0"
    assert "sentinel incidents ack inc-9" in again["annotations"]["description"]


def test_pushes_are_counted_by_what_came_of_them(office: Office) -> None:
    """A push that fails in silence is found out too late."""
    office.call()
    office.look()
    office.broken = True
    office.call("inc-2")
    office.look()

    def counted(result: str) -> float | None:
        registry = office.api.monitor.metrics.registry
        return registry.get_sample_value("sentinel_alertmanager_pushes_total", {"result": result})

    assert [counted(result) for result in ("sent", "failed", "backup")] == [1, 1, 1]


def test_an_alertmanager_that_does_not_answer_is_told_without_its_address(api: Api) -> None:
    """The log line names the kind of the failure, and nothing that was configured."""
    alertmanager = Alertmanager(["http://127.0.0.1:9"])
    with pytest.raises(OutsideError, match=r"^no Alertmanager took the alerts: ConnectError$"):
        api.run(alertmanager.send([{}]))


def test_a_token_that_can_not_be_read_is_no_reason_to_stop(api: Api, tmp_path: Path) -> None:
    """The file may come back; until then the backup is told."""
    with pytest.raises(OutsideError, match="alertmanager_token_file"):
        api.run(Alertmanager(["http://127.0.0.1:9"], tmp_path / "missing").send([{}]))


@pytest.mark.parametrize("url", ["127.0.0.1:9093", "ftp://host", "http://user:pass@host:9093", "http://host/?token=1"])
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    """Addresses are shown in settings and errors, so a password has no place there."""
    with pytest.raises(ConfigError, match="ALERTMANAGER_URLS"):
        load_settings({}, {"SENTINEL_ALERTMANAGER_URLS": url})
