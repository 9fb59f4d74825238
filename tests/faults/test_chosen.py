"""What people set over the API holds on every node, whichever judges."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.support.nodes import SOON, nodes, until_judging
from tests.support.postgres import Postgres
from tests.support.service import S, Service, eventually

from sentinel.model import iso


def put(node: Service, what: str, body: dict[str, Any]) -> None:
    answer = node.admin().put(f"{node.url}{S}/{what}", json=body)
    assert answer.status_code == 200, answer.text


def shown(node: Service, what: str, key: str, name: str) -> dict[str, Any]:
    return next(item for item in node.ask(f"{S}/{what}")["items"] if item[key] == name)


def test_what_is_set_on_one_node_holds_on_whichever_judges(postgres: Postgres, tmp_path: Path) -> None:
    """It is set where nobody judges, by two nodes in turn; the judge is killed, and a node that joins later judges."""
    url = postgres.database()
    rule, metric = "failed_logins_by_address", "rows"

    def fires(node: Service, address: str, number: int) -> bool:
        """Whether so many failed logins from an address make a signal of the rule."""
        now = time.time_ns() // 1000
        login = {"event_type": "authentication", "severity": "low", "ip_address": address, "user_id": "grace"}
        events = [login | {"timestamp": iso(now + n), "details": {"success": False}} for n in range(number)]
        assert node.client(node.ingest_token()).post(f"{node.url}{S}/events", json=events).status_code == 202
        node.drain()
        found = node.ask(f"{S}/signals?limit=500")["items"]
        return any((item["rule"], item["subject"]) == (rule, address) for item in found)

    with nodes(tmp_path, url, "one", "two") as both:
        judge = until_judging(*both)
        [other] = [node for node in both if node is not judge]
        put(other, "thresholds", {"rule": rule, "value": 4})
        put(judge, "baselines", {"metric": metric, "high": 0.97})
        for node in both:
            eventually(lambda n=node: shown(n, "thresholds", "rule", rule)["value"] == 4, seconds=SOON, what="it holds")
            eventually(
                lambda n=node: shown(n, "baselines", "metric", metric)["high"] == 0.97, seconds=SOON, what="it holds"
            )
        assert fires(other, "192.0.2.1", 4)
        judge.kill()
        with nodes(tmp_path, url, "third") as (third,):
            other.kill()
            assert until_judging(third) is third
            assert shown(third, "baselines", "metric", metric)["high"] == 0.97
            assert fires(third, "192.0.2.2", 4)
            put(third, "thresholds", {"rule": rule, "value": None})
            put(third, "baselines", {"metric": metric, "reset": True})
            judge.start()
            assert not shown(judge, "thresholds", "rule", rule)["adjusted"]
            assert not shown(judge, "baselines", "metric", metric)["adjusted"]
            assert not fires(judge, "192.0.2.3", 9)
