"""Several nodes tell people: once, whatever becomes of the receiver and of the node that tells."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from tests.support.nodes import SOON, lose_the_right, nodes, processor, until_judging
from tests.support.postgres import Postgres
from tests.support.receiver import Receiver, receiving
from tests.support.service import S, Service, eventually

from sentinel.model import iso

PLAN = """\
levels:
  - {{name: team, after: 0m, channels: ["file:{folder}/hook.url"]}}
backup: "file:{folder}/backup.url"
"""
HOOK, BACKUP, ALERTS = "/hook", "/backup", "/api/v2/alerts"
RULE = """\
title: Everything is taken out
name: taken_out
logsource: {product: sentinel, category: data_access}
detection:
    all: {table_name: taken_out}
    condition: all
level: critical
"""


class Office:
    """Two nodes, and who is told: people at one path, at another when that fails, and Alertmanager."""

    def __init__(self, both: list[Service], receiver: Receiver) -> None:
        self.both = both
        self.receiver = receiver

    def judge(self) -> tuple[Service, Service]:
        """Return the node that judges, and the other."""
        judge = until_judging(*self.both)
        return judge, next(node for node in self.both if node is not judge)

    def call(self, node: Service, target: str) -> None:
        """Have people called, as an incident would."""
        body = {"action_type": "alert_escalation", "target": target, "reason": f"About {target}!"}
        client = node.admin()

        def ordered() -> bool:
            answer = client.post(f"{node.url}{S}/manual-action", json=body)
            assert answer.status_code in {200, 503}, answer.text  # 503 where its session was ended
            return answer.status_code == 200

        eventually(ordered, seconds=SOON, what="people are to be called")

    def until_tried(self, target: str, times: int = 1) -> None:
        eventually(
            lambda: self.receiver.tries(f"About {target}!", HOOK, BACKUP) >= times,
            seconds=SOON,
            what="somebody was to be told",
        )

    def until_noted(self, node: Service, word: str) -> None:
        """Return when the call whose reason has a word in it counts as told."""

        def noted() -> bool:
            items = node.ask(f"{S}/actions")["items"]
            return any(word in item["reason"] and item["evidence"].get("level") == 1 for item in items)

        eventually(noted, seconds=SOON, what="it is noted that people were told")

    def told(self, target: str) -> list[str]:
        """Return the key of each message about a call that people got."""
        return self.receiver.keys(f"About {target}!", HOOK, BACKUP)


@pytest.fixture(scope="module")
def offices(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    home = tmp_path_factory.mktemp("office")
    with receiving() as receiver:
        (home / "hook.url").write_text(f"webhook:{receiver.url(HOOK)}\n")
        (home / "backup.url").write_text(f"webhook:{receiver.url(BACKUP)}\n")
        (home / "plan.yml").write_text(PLAN.format(folder=home))
        (home / "rules").mkdir()
        (home / "rules" / "rule.yml").write_text(RULE)
        settings = {
            "SENTINEL_ESCALATION_FILE": str(home / "plan.yml"),
            "SENTINEL_ALERTMANAGER_URLS": receiver.url(),
            "SENTINEL_RULES_DIR": str(home / "rules"),
        }
        with nodes(home, postgres.database(), "one", "two", **settings) as both:
            yield Office(both, receiver)


@pytest.fixture
def office(offices: Office) -> Iterator[Office]:
    """The same for each test: both nodes run, and the receiver takes what comes."""
    for node in offices.both:
        if not node.runs:  # another test failed
            node.start()
    yield offices
    offices.receiver.set("take")


def test_while_the_receiver_fails_it_is_tried_again_and_then_told_once(office: Office) -> None:
    """Also when another node goes on with it, and looks again: that it has, the next call shows."""
    office.receiver.set("refuse", HOOK, BACKUP)
    judge, other = office.judge()
    office.call(other, "outage")
    office.until_tried("outage", 4)  # both ways, twice at least
    judge.kill()
    until_judging(other)
    assert office.told("outage") == []
    office.receiver.set("take")
    office.until_noted(other, "About outage!")
    judge.start()
    office.call(judge, "later")
    office.until_noted(judge, "About later!")
    assert len(office.told("outage")) == len(office.told("later")) == 1


def test_killed_between_telling_and_noting_it_is_told_once_more_by_the_same_key(office: Office) -> None:
    """The receiver has the message, and no node knows: who honours the key is told once, who does not, twice."""
    office.receiver.set("silent", HOOK, BACKUP)
    judge, other = office.judge()
    office.call(other, "killed")
    office.until_tried("killed")
    judge.kill()
    office.receiver.set("take")
    office.until_noted(other, "About killed!")
    judge.start()
    assert len(office.told("killed")) == 2
    [key] = set(office.told("killed"))
    assert key.endswith('.level-1"')


def test_who_loses_the_right_to_judge_while_telling_tells_no_more(office: Office, postgres: Postgres) -> None:
    """Two nodes are at the same call then; the first may note nothing when it gets its answer, and goes on to none."""
    office.receiver.set("silent", HOOK, BACKUP)
    judge, other = office.judge()
    office.call(other, "overtaken")
    office.until_tried("overtaken")
    lose_the_right(postgres, judge, other)
    office.until_tried("overtaken", 2)
    both = office.told("overtaken")
    office.receiver.set("take")
    office.until_noted(other, "About overtaken!")
    eventually(lambda: not processor(judge)["judging"], seconds=SOON, what="this one stands by")
    office.call(judge, "afterwards")
    office.until_noted(judge, "About afterwards!")
    assert office.told("overtaken") == both
    assert len(set(both)) == 1
    assert len(office.told("afterwards")) == 1


def test_an_incident_is_told_once_however_often_its_events_are_judged(office: Office) -> None:
    """The node that tells is killed, the next one judges the open incident on, and more events belong to it."""
    office.receiver.set("silent", HOOK, BACKUP)
    judge, other = office.judge()
    client = other.client(other.token("ingest", max_severity="critical"))

    def happens(n: int) -> None:
        details = {"table_name": "taken_out"}
        event = {"event_id": f"out-{n}", "event_type": "data_access", "user_id": "mallory", "details": details}
        event |= {"severity": "low", "timestamp": iso(time.time_ns() // 1000)}
        assert client.post(f"{other.url}{S}/events", json=event).status_code == 202

    happens(1)
    wanted = ("Everything is taken out", HOOK, BACKUP)
    eventually(lambda: office.receiver.tries(*wanted), seconds=SOON, what="people are told of it")
    judge.kill()
    happens(2)
    office.receiver.set("take")
    other.drain()
    office.until_noted(other, wanted[0])
    judge.start()
    happens(3)
    other.drain()
    office.call(judge, "the end")
    office.until_noted(judge, "About the end!")
    keys = office.receiver.keys(*wanted)
    assert (len(keys), len(set(keys))) == (2, 1)
    told = [alert for item in office.receiver.came if item.path == ALERTS for alert in json.loads(item.text)]
    assert len({json.dumps(alert["labels"]) for alert in told if wanted[0] in json.dumps(alert)}) == 1


def test_with_alertmanager_away_the_backup_is_told_once_by_its_key(office: Office) -> None:
    """A node that takes over can't know what the backup was told; by the key the receiver does."""
    office.receiver.set("refuse", ALERTS)
    judge, other = office.judge()
    office.call(other, "unheard")
    eventually(lambda: office.receiver.keys("About unheard!", BACKUP), seconds=SOON, what="the backup is told")
    judge.kill()
    until_judging(other)
    office.call(other, "unheard too")
    eventually(lambda: office.receiver.keys("About unheard too!", BACKUP), seconds=SOON, what="and of the next call")
    judge.start()
    keys = office.receiver.keys("About unheard!", BACKUP)
    assert (len(keys) <= 2, len(set(keys))) == (True, 1)
