"""Waking people: level after level until somebody takes the incident on."""

from __future__ import annotations

from typing import Any

import pytest
from tests.functional.conftest import Api, S

from sentinel.notify import Level, Plan

MINUTE = 60 * 1_000_000


class Phone:
    """A channel that keeps what it was told, or does not work."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.calls: list[str] = []

    def send(self, title: str, message: str) -> None:
        if self.broken:
            raise OSError("https://user:s3cret@pager.example")
        self.calls.append(f"{title}\n{message}")


class Office:
    """A monitor with three levels of people to tell, and a backup."""

    def __init__(self, api: Api, *, broken: bool = False) -> None:
        self.api = api
        self.team, self.bosses, self.board, self.backup = Phone(broken=broken), Phone(), Phone(), Phone()
        levels = (
            Level("team", 0, (self.team,)),
            Level("bosses", 900, (self.bosses,)),
            Level("board", 3600, (self.board,)),
        )
        api.monitor.escalation._plan = Plan(levels, self.backup)
        body = {"action_type": "alert_escalation", "target": "inc-1", "reason": "Data leaves", "severity": "critical"}
        assert api.ask("POST", f"{S}/manual-action", json=body).status_code == 200

    def wait(self, minutes: int = 0) -> list[int]:
        """Let so much time pass; returns how often each level was told so far."""
        self.api.now += minutes * MINUTE
        self.api.run(self.api.monitor.escalation.step())
        return [len(phone.calls) for phone in (self.team, self.bosses, self.board)]


@pytest.fixture
def office(api: Api) -> Office:
    return Office(api)


def test_each_level_is_told_once_when_its_time_has_come(office: Office) -> None:
    """Exactly one message for each level, however often one looks."""
    assert office.wait() == office.wait() == [1, 0, 0]
    assert office.wait(14) == [1, 0, 0]
    assert office.wait(1) == office.wait() == [1, 1, 0]
    assert office.wait(60) == [1, 1, 1]
    assert office.backup.calls == []
    [text] = office.team.calls
    assert text.startswith("CRITICAL: Data leaves [team]\n")
    assert "sentinel incidents ack inc-1" in text


def test_whoever_takes_it_on_ends_it(api: Api) -> None:
    """After the word of one person nobody else is woken."""
    api.send([api.failed_login(seconds=n) for n in range(10)])
    [incident] = api.get("/incidents")["items"]
    office = Office(api)
    body = {"action_type": "alert_escalation", "target": incident["id"], "reason": "x"}
    api.ask("POST", f"{S}/manual-action", json=body)
    assert office.wait() == [2, 0, 0]
    assert api.ask("POST", f"{S}/incidents/{incident['id']}/ack", "analyst").status_code == 200
    assert office.wait(30) == [2, 1, 0], "only the other one, which nobody took on"


def test_a_channel_that_fails_has_a_backup(api: Api) -> None:
    """Somebody is told all the same, it counts as told, and no secret of the channel reaches a log."""
    office = Office(api, broken=True)
    office.wait()
    assert len(office.backup.calls) == 1
    logs = "".join(path.read_text() for path in (api.settings.data_dir / "logs").iterdir())
    assert "did not take an alert" in logs
    assert "s3cret" not in logs


def test_when_nobody_can_be_reached_it_is_tried_again(api: Api) -> None:
    """An outage of the pager must not swallow the alert."""
    office = Office(api, broken=True)
    office.backup.broken = True
    office.wait()
    office.team.broken = False
    assert office.wait() == [1, 0, 0]


def test_a_restart_goes_on_where_it_was(make_api: Any, tmp_path: Any) -> None:
    """Who was told is in the store: no level hears it twice because a process ended."""
    first = Api(tmp_path / "same")
    office = Office(first)
    office.wait(20)
    first.close()
    second = Api(tmp_path / "same")
    second.now = first.now + MINUTE
    plan = office.api.monitor.escalation._plan
    second.monitor.escalation._plan = plan
    second.run(second.monitor.escalation.step())
    assert [len(phone.calls) for phone in (office.team, office.bosses, office.board)] == [1, 1, 0]
    second.close()


def test_telling_people_is_no_new_action(office: Office) -> None:
    """The call is counted once, when it came to be in force, however many levels are told of it."""
    office.wait(20)
    office.wait(60)
    labels = {"action_type": "alert_escalation", "status": "active", "auto": "false"}
    registry = office.api.monitor.metrics.registry
    assert registry.get_sample_value("security_response_actions_total", labels) == 1
