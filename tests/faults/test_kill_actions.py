"""The service is killed while it decides, acts and undoes: no action is lost or doubled, and no undo is forgotten."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
from tests.support.service import S, Service, eventually

KILLS = 30 if "SENTINEL_PROVE" in os.environ else 8


class Orders:
    """Orders and undoes blocks, and sends attacks, for as long as it may; knows what was acknowledged."""

    def __init__(self, service: Service, token: str, number: int) -> None:
        self.client = httpx.Client(
            base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        )
        self.number = number
        self.ordered: set[str] = set()
        self.undone: set[str] = set()
        self.unsure: set[str] = set()
        """Asked for and not answered: either is right."""
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        self.client.close()

    def _run(self) -> None:
        for n in range(10_000):
            target = f"198.18.{self.number}.{n % 250 + 1}"
            self.unsure.add(target)
            try:
                self._order(target)
                if n % 3 == 0:
                    self._undo(target)
            except httpx.TransportError:
                return  # the service was killed

    def _order(self, target: str) -> None:
        body = {"action_type": "ip_block", "target": target, "reason": "test"}
        assert self.client.post(f"{S}/manual-action", json=body).status_code == 200
        self.ordered.add(target)
        self.undone.discard(target)
        self.unsure.discard(target)

    def _undo(self, target: str) -> None:
        self.unsure.add(target)
        assert self.client.delete(f"{S}/action/ip_block/{target}").status_code == 200
        self.undone.add(target)
        self.ordered.discard(target)
        self.unsure.discard(target)


def attack(address: str) -> list[dict[str, Any]]:
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)  # two hours give two decisions
    return [
        {
            "event_id": f"{address}-{n}",
            "event_type": "authentication",
            "severity": "low",
            "timestamp": (start + timedelta(seconds=n)).isoformat(),
            "ip_address": address,
            "user_id": "grace",
            "details": {"success": False},
        }
        for n in range(12)
    ]


def test_kills_across_decide_act_and_undo(tmp_path: Path) -> None:
    """Whatever was acknowledged holds after the restart: blocks, undone blocks, and blocks that events led to."""
    dice = random.Random(11)
    with Service(tmp_path) as service:
        service.start()
        admin = (service.folder / "token").read_text().strip()
        acting = service.run("token", "create", "--role", "ingest", "--may-cause-actions").stdout.strip()
        ordered, undone, unsure, attackers = set[str](), set[str](), set[str](), set[str]()
        for number in range(KILLS):
            address = f"203.0.113.{number + 1}"
            with Orders(service, admin, number) as orders:
                time.sleep(dice.uniform(0.05, 0.3))
                sent = httpx.post(
                    f"{service.url}{S}/events",
                    json=attack(address),
                    headers={"Authorization": f"Bearer {acting}"},
                    trust_env=False,
                    timeout=30,
                )
                assert sent.status_code == 202
                attackers.add(address)
                time.sleep(dice.uniform(0.0, 0.1))
                service.kill()
            ordered |= orders.ordered
            undone |= orders.undone
            unsure |= orders.unsure
            service.start()
        service.drain()
        blocked = Counter(item["ip_address"] for item in service.ask(f"{S}/active-blocks")["ip_blocks"])
        assert len(ordered) > KILLS, "it was busy"
        assert undone, "it was busy"
        assert (ordered | attackers) - unsure <= set(blocked)
        assert not (undone - unsure) & set(blocked)
        assert set(blocked) <= ordered | attackers | unsure | undone
        assert set(blocked.values()) == {1}
        rows = Counter(
            item["target"]
            for item in service.ask(f"{S}/actions")["items"]
            if item["auto"] and item["status"] == "active"
        )
        assert set(rows.values()) == {1}, "one automatic action for each attacker"
        eventually(lambda: service.run("audit", "verify").returncode == 0, seconds=20, what="the audit log is whole")
