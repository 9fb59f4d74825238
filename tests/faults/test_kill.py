"""The service is killed again and again while it takes events, and loses nothing that it acknowledged."""

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.support.sender import Sender
from tests.support.service import S, Service, eventually
from tests.support.stored import Stored, undisturbed

from sentinel.model import iso

KILLS = 20
ENOUGH = 10_000


def test_twenty_kills_at_random_moments_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Whoever got a 202 finds the event once, with the signals and blocks of a service that was never killed."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    dice = random.Random(seed)
    with Service(tmp_path / "killed") as service:
        service.start()
        with Sender(service, seed) as sender:
            for number in range(KILLS):
                [_while_it_runs, _with_a_request_in_flight, _while_it_starts][number % 3](service, sender, dice)
            sender.wait_for(max(ENOUGH, len(sender.owed) + 1))
        service.drain()
        _passes_end_to_end(service, sender)
        assert service.stop() == 0
    assert sender.cut_off >= 1
    assert sender.duplicates >= 1
    stored = Stored(service.folder)
    stored.check(offered=sender.offered, owed=sender.owed)
    calm = undisturbed(tmp_path, stored)
    assert sorted(stored.signals) == sorted(calm.signals)
    assert sorted(stored.incidents) == sorted(calm.incidents)
    assert sorted(stored.actions) == sorted(calm.actions)


def test_stopping_under_load_loses_nothing_and_takes_no_longer_than_ten_seconds(tmp_path: Path) -> None:
    """A new version is put in place while senders send: they are answered or cut off, and the store is in order."""
    with Service(tmp_path) as service:
        service.start()
        with Sender(service, seed=7, pause=0.0) as sender:
            for owed in (2_000, 6_000, ENOUGH):
                sender.wait_for(owed)
                assert service.stop() == 0
                service.start()
        service.drain()
        assert service.stop() == 0
    Stored(service.folder).check(offered=sender.offered, owed=sender.owed)


def _while_it_runs(service: Service, sender: Sender, dice: random.Random) -> None:
    time.sleep(dice.uniform(0.05, 0.8))
    service.kill()
    service.start()


def _with_a_request_in_flight(service: Service, sender: Sender, dice: random.Random) -> None:
    """Kill at any point between the first byte of a request and a little after its answer."""
    sender.wait_for(len(sender.owed) + 1)
    assert sender.in_flight.wait(10)
    time.sleep(dice.uniform(0, 0.02))
    service.kill()
    service.start()


def _while_it_starts(service: Service, sender: Sender, dice: random.Random) -> None:
    """Kill twice: what the first one left is being put in order when the second one comes."""
    service.kill()
    service.launch()
    time.sleep(dice.uniform(0.3, 1.5))
    service.kill()
    service.start()


def _passes_end_to_end(service: Service, sender: Sender) -> None:
    """Fail unless a new attack is blocked."""
    address = "192.0.2.77"
    guess = {"event_type": "authentication", "severity": "low", "ip_address": address, "details": {"success": False}}
    now = iso(time.time_ns() // 1000)
    events = [{"event_id": f"fresh-{n}", "timestamp": now, **guess} for n in range(10)]
    sender.offered.update((str(event["event_id"]), event) for event in events)
    assert sender.send(events)
    blocked = f"{S}/check-ip/{address}"
    eventually(lambda: service.ask(blocked)["is_blocked"], seconds=30, what="a fresh attack is blocked")
