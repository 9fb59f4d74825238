"""The same events give the same answers, however many workers judge, in whatever order they come, whoever is killed."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.nodes import nodes, processor, send, until_judging_worker
from tests.support.postgres import Postgres
from tests.support.service import Service
from tests.support.stored import Stored
from tests.support.streams import LATENESS, Events, auth_log, mixed, of_log

LONG = "SENTINEL_PROVE" in os.environ
LOG = os.environ.get("SENTINEL_PROVE_LOG")
"""An sshd log to take in place of one of ours."""
SIZE = 200_000 if LONG else 5_000
KILLS = 10 if LONG else 2
EVERY_SECONDS = 2.0
SETTINGS = {"SENTINEL_LATENESS": LATENESS}


class Form(NamedTuple):
    """A way in which a stream is judged; `kills`: one worker after the other is killed while events wait."""

    workers: int
    shuffled: bool = False
    kills: bool = False

    def __str__(self) -> str:
        return f"{self.workers} workers" + ", shuffled" * self.shuffled + ", kills" * self.kills


FORMS = [Form(1), Form(4), Form(4, shuffled=True), Form(4, kills=True)]
RUNS = [(name, form) for name in ("auth", "mixed") for form in FORMS]
if not LONG:
    RUNS = [("auth", Form(2, kills=True)), ("mixed", Form(4, shuffled=True, kills=True))]


@cache
def stream(name: str) -> Events:
    """Return the events of a stream in the order in which they were made; fewer where time is short."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    if name == "mixed":
        return mixed(seed, SIZE)
    if LONG and LOG:
        with Path(LOG).open(encoding="utf-8", errors="replace") as file:
            return of_log(file)
    return of_log(auth_log(seed, 1.0 if LONG else 0.05))


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Stored]:
    """What a stream leads to in one process on SQLite."""

    @cache
    def judged(name: str) -> Stored:
        with Service(tmp_path_factory.mktemp("embedded")) as service:
            service.settings |= SETTINGS
            service.start()
            send(service, stream(name))
            service.drain(600)
            assert service.stop() == 0
        return Stored(service.folder)

    return judged


def in_force(stored: Stored) -> list[tuple[object, ...]]:
    """
    Return the decisions that hold in the end.

    Those that were taken back are left out: a block ends when the logins of several people show that the address is
    shared, and where these were known before the attack was judged, there never was one.
    """
    return sorted(row for row in stored.actions if row[3] == "active")


@pytest.mark.parametrize(("name", "form"), RUNS, ids=str)
def test_a_stream_gives_the_answers_of_one_process(
    name: str,
    form: Form,
    *,
    embedded: Callable[[str], Stored],
    postgres: Postgres,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Signals, incidents and decisions depend on the events alone, not on who judges them or how often that changes."""
    calm = embedded(name)
    url = postgres.database()
    events = stream(name)
    sent = random.Random(1).sample(events, len(events)) if form.shuffled else events
    with contextlib.ExitStack() as stack:
        [front] = stack.enter_context(nodes(tmp_path, url, "front", judge="no", **SETTINGS))
        names = [f"worker{n}" for n in range(form.workers)]
        workers = stack.enter_context(nodes(tmp_path, url, *names, kind="worker", **SETTINGS))
        killed = 0
        if form.kills:
            killed = _send_and_kill(front, workers, sent)
        else:
            send(front, sent)
        front.drain(600)
        assert not processor(front)["judging"]
        assert [node.stop() for node in (front, *workers)] == [0] * (1 + form.workers)
    stored = Stored(url)
    taken = [row for row in stored.events if not row[1].startswith("canary-")]
    assert (stored.dead, len(taken)) == ([], len(events))
    figures = {"events": len(taken), "signals": len(stored.signals), "incidents": len(stored.incidents)}
    for what, number in {**figures, "decisions": len(in_force(stored)), "judges killed": killed}.items():
        record_property(what, number)
    assert all(figures.values()), "a stream without a signal proves nothing"
    assert sorted(stored.signals) == sorted(calm.signals)
    assert sorted(stored.incidents) == sorted(calm.incidents)
    assert in_force(stored) == in_force(calm)


def _send_and_kill(front: Service, workers: list[Service], events: Events) -> int:
    """Kill a worker every two seconds while events come, by turns whoever judges; returns how many judged."""
    scraper = front.token("scraper")
    judges, size = 0, len(events) // KILLS + 1
    with ThreadPoolExecutor(1) as pool:
        for number in range(KILLS):
            judge = until_judging_worker(workers, scraper)
            sending = pool.submit(send, front, events[number * size : (number + 1) * size])
            time.sleep(EVERY_SECONDS if LONG else random.uniform(0, 0.5))
            worker = judge if number % 2 else workers[number % len(workers)]
            judges += worker is judge
            worker.kill()
            worker.start()
            sending.result()
    return judges
