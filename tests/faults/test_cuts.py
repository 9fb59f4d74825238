"""Two nodes under load while Redis, PostgreSQL or the network between is away: blocks hold, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import httpx
import msgspec
import pytest
from tests.support.nodes import SOON, nodes, until_healthy, until_judging
from tests.support.postgres import Postgres, running
from tests.support.proxy import Wire, wire_to
from tests.support.redis import RedisServer
from tests.support.sender import Sender
from tests.support.service import S, Service, eventually
from tests.support.stored import Stored, undisturbed

from sentinel.enforcement.feed import Feed, now_micros
from sentinel.enforcement.snapshot import Snapshot

LONG = "SENTINEL_PROVE" in os.environ
CUT_SECONDS = 30 if LONG else 5
KNOWN = ("192.0.2.7", "2001:db8:ffff::7")
"""Blocked before anything fails."""


# --- what looks on


class Watcher:
    """Asks a node, and an enforcement point that follows it, whether what is known to be blocked is; all the time."""

    def __init__(self, node: Service) -> None:
        token = node.token("enforcer")
        self._url = f"{node.url}{S}/check-ip/"
        self._client = node.client(token)
        self._snapshot = Snapshot()
        self._feed = Feed(self._snapshot, node.url, token)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")
        self.asked = 0
        self.slowest = 0.0
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        self._feed.start()
        eventually(lambda: all(map(self._blocks, KNOWN)), seconds=SOON, what="the enforcement point knows them")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._feed.stop()

    def _blocks(self, address: str) -> bool:
        return self._snapshot.check(address, now_micros()) is not None

    def _run(self) -> None:
        while not self._stopping.is_set():
            for address in KNOWN:
                start = time.monotonic()
                if not self._blocks(address):
                    self.wrong.append(f"the enforcement point let {address} through")
                try:
                    answer = self._client.get(self._url + address)
                    if answer.status_code != 200 or not answer.json()["is_blocked"]:
                        self.wrong.append(f"{answer.status_code} {answer.text}")
                except httpx.HTTPError as err:
                    self.wrong.append(repr(err))
                self.slowest = max(self.slowest, time.monotonic() - start)
                self.asked += 1
            self._stopping.wait(0.05)


class _Hook(BaseHTTPRequestHandler):
    """Takes what people are told; keeps the incidents' names."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told += re.findall(r"sentinel incidents ack (\S+)", msgspec.json.decode(body)["message"])  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def webhook(folder: Path) -> Iterator[tuple[list[str], Path]]:
    """Give the incidents that people were told of, and the file that says to tell them by a webhook."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    server.told = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        (folder / "hook.url").write_text(f"webhook:http://127.0.0.1:{server.server_port}/\n")
        plan = folder / "plan.yml"
        plan.write_text(f"levels:\n  - {{name: team, after: 0m, channels: ['file:{folder / 'hook.url'}']}}\n")
        yield server.told, plan  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- what fails


class Site:
    """Two nodes, each with a wire of its own to PostgreSQL and one to Redis."""

    def __init__(
        self, both: list[Service], postgres: Postgres, redis: RedisServer, wires: dict[str, list[Wire]]
    ) -> None:
        self.both = both
        self.postgres = postgres
        self.redis = redis
        self._wires = wires
        self.faults = 0

    def wire_of(self, node: Service, what: str) -> Wire:
        return self._wires[what][self.both.index(node)]

    def until_noticed(self, *among: Service) -> None:
        def told() -> bool:
            return any(node.ask(f"{S}/health")["overall_status"] != "healthy" for node in among)

        eventually(told, seconds=SOON, what="health says so")

    def until_well(self) -> None:
        for node in self.both:
            eventually(
                lambda node=node: node.admin().get(f"{node.url}/readyz").status_code == 200,
                seconds=SOON,
                what="it takes events",
            )
            until_healthy(node)


Fault = Callable[[Site, Callable[..., None]], None]


def redis_killed(site: Site, go_on: Callable[..., None]) -> None:
    """It comes back empty, and again."""
    for _ in range(2 if LONG else 1):
        site.redis.kill()
        site.until_noticed(*site.both)
        go_on(*site.both)
        site.redis.start()
        site.until_well()
        site.faults += 1


def postgres_restarted(site: Site, go_on: Callable[..., None]) -> None:
    """As by a crash, and as by its administrator."""
    for mode in ("immediate", "fast") if LONG else ("immediate",):
        site.postgres.stop(mode)
        site.until_noticed(*site.both)
        site.postgres.start()
        site.until_well()
        site.faults += 1
        go_on(*site.both)


def redis_cut_off(site: Site, go_on: Callable[..., None]) -> None:
    """Nothing passes between the node that judges and Redis."""
    judge = until_judging(*site.both)
    with site.wire_of(judge, "redis").held_up():
        end = time.monotonic() + CUT_SECONDS
        site.until_noticed(judge)
        go_on(*site.both)
        time.sleep(max(0, end - time.monotonic()))
    site.until_well()
    site.faults += 1


def judge_cut_off(site: Site, go_on: Callable[..., None]) -> None:
    """Nothing passes between the node that judges and PostgreSQL."""
    _node_cut_off(site, until_judging(*site.both), go_on)


def other_cut_off(site: Site, go_on: Callable[..., None]) -> None:
    """Nothing passes between the other node and PostgreSQL."""
    judge = until_judging(*site.both)
    _node_cut_off(site, next(node for node in site.both if node is not judge), go_on)


def _node_cut_off(site: Site, node: Service, go_on: Callable[..., None]) -> None:
    with site.wire_of(node, "postgres").held_up():
        start = time.monotonic()
        site.until_noticed(node)
        if LONG:  # a judge of whom nothing is heard for 15 s is replaced
            go_on(*(each for each in site.both if each is not node))
        time.sleep(max(0, start + CUT_SECONDS - time.monotonic()))
    site.until_well()
    site.faults += 1
    go_on(*site.both)


FAULTS: list[Fault] = [redis_killed, redis_cut_off, postgres_restarted, judge_cut_off]
RUNS = [[fault] for fault in (*FAULTS, other_cut_off)] if LONG else [FAULTS]


# --- what holds


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, RedisServer]]:
    """Servers that these tests may end."""
    with running() as postgres, RedisServer(tmp_path_factory.mktemp("redis")) as redis:
        yield postgres, redis


@pytest.mark.parametrize("faults", RUNS, ids=lambda faults: ", ".join(fault.__name__ for fault in faults))
def test_blocks_hold_and_nothing_is_lost(
    faults: list[Fault],
    servers: tuple[Postgres, RedisServer],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Known blocks are in force all the time, health says what is wrong and is well again, people are told once."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    postgres, redis = servers
    database = postgres.database()
    with contextlib.ExitStack() as stack:
        told, plan = stack.enter_context(webhook(tmp_path))
        wires = {
            "postgres": [stack.enter_context(wire_to(postgres.port)) for _ in range(2)],
            "redis": [stack.enter_context(wire_to(redis.port)) for _ in range(2)],
        }
        both = []
        for n, name in enumerate(("one", "two")):
            settings = {
                "SENTINEL_REDIS_URL": redis.url.replace(str(redis.port), str(wires["redis"][n].port)),
                "SENTINEL_ESCALATION_FILE": str(plan),
            }
            url = database.replace(str(postgres.port), str(wires["postgres"][n].port))
            both += stack.enter_context(nodes(tmp_path, url, name, **settings))
        site = Site(both, postgres, redis, wires)
        for address in KNOWN:
            assert both[0].run("blocks", "add", address, "--reason", "r").returncode == 0
        watchers = [stack.enter_context(Watcher(node)) for node in both]
        with contextlib.ExitStack() as load:
            senders = [load.enter_context(Sender(node, seed + n, pause=0.2)) for n, node in enumerate(both)]
            called: list[str] = []

            def go_on(*among: Service) -> None:
                """Return when these nodes take events and orders, and somebody was told."""
                for node, sender in zip(both, senders, strict=True):
                    if node in among:
                        sender.wait_for(len(sender.owed) + 200, seconds=SOON)
                        called.append(f"inc-{len(called)}")
                        _call(node, called[-1])
                eventually(lambda: set(told) == set(called), seconds=SOON, what="people are told")

            go_on(*both)
            for fault in faults:
                fault(site, go_on)
        for node in both:
            node.drain()
        site.until_well()
        eventually(lambda: _in_force(both[0]) == _in_force(both[1]), seconds=SOON, what="the same is in force on both")
        blocked = _in_force(both[0])
        assert blocked > set(KNOWN)
        eventually(lambda: _in_redis(redis) == blocked, seconds=SOON, what="Redis has what is in force")
        assert until_judging(*both).run("audit", "verify").returncode == 0
        assert [watcher.wrong for watcher in watchers] == [[], []]
        assert [node.stop() for node in both] == [0, 0]
    stored = Stored(database)
    stored.check(
        offered=senders[0].offered | senders[1].offered,
        owed=senders[0].owed | senders[1].owed,
        changed_again=True,
    )
    calm = undisturbed(tmp_path, stored)
    assert sorted(stored.signals) == sorted(calm.signals)
    assert sorted(stored.incidents) == sorted(calm.incidents)
    mine = [row for row in stored.actions if row[2] not in {*KNOWN, *called}]
    assert sorted(mine) == sorted(calm.actions)
    # An attack from before to after a full hour has a decision in each; the calm run has both, too.
    known = Counter(row[2] for row in stored.actions if row[2] in KNOWN and row[3] == "active" and row[4])
    assert known == dict.fromkeys(KNOWN, 1), "a second block is in force"
    times = Counter(told)
    assert max(times.values()) <= 1 + site.faults
    figures = {
        "acknowledged": sum(len(sender.owed) for sender in senders),
        "faults": site.faults,
        "questions about blocks": sum(watcher.asked for watcher in watchers),
        "slowest answer in s": round(max(watcher.slowest for watcher in watchers), 2),
        "incidents told": len(times),
        "told again": sum(times.values()) - len(times),
    }
    for what, number in figures.items():
        record_property(what, number)


def _call(node: Service, incident: str) -> None:
    """Have people woken; ordered again it is the same call."""
    order = {"action_type": "alert_escalation", "target": incident, "reason": "r", "severity": "critical"}
    admin = node.admin()

    def taken() -> bool:
        answer = admin.post(f"{node.url}{S}/manual-action", json=order)
        assert answer.status_code in {200, 503}, answer.text
        return answer.status_code == 200

    eventually(taken, seconds=SOON, what="the order is taken")


def _in_force(node: Service) -> set[str]:
    return {block["ip_address"] for block in node.ask(f"{S}/active-blocks")["ip_blocks"]}


def _in_redis(redis: RedisServer) -> set[str]:
    return {name.removeprefix("ip_block:") for name in redis.client.scan_iter("ip_block:*")}
