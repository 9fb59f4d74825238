"""
Measure several nodes on one PostgreSQL: `python benchmarks/nodes.py [--seconds 10] [--json]`.

Events: the load of `http` of service.py on one process with SQLite, on a node that takes requests beside one worker and
beside two, in turn, each on a new store. All of it shares this machine. Rates are the best of the turns of each.

Blocks: from the order to one node until another one refuses the address, which is asked all the time; first as it is,
then with one that listens where nobody speaks, so that only looking now and then is left.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from service import PROGRAMS, Client, S, Service, http_ingest, percentiles, started
from stores import cpu_seconds, server_cpu_seconds

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.postgres import Postgres, running  # the one place that knows how to start a server

SECONDS = 10.0
TURNS = 2
BLOCKS = 300
BLOCKS_BY_PULL = 60
DEAF = """
import sys, sentinel.storage.postgres, sentinel.cli
sentinel.storage.postgres.CHANNEL = "another"
sys.exit(sentinel.cli.run())"""


@contextmanager
def node(url: str, *words: str, judge: str = "auto", deaf: bool = False) -> Iterator[Path]:
    """Run a node on a new folder, if need be one that hears no news; gives its folder's place."""
    program = (sys.executable, "-c", DEAF) if deaf else (PROGRAMS / "sentinel",)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        where = (f"SENTINEL_DATABASE_URL={url}", f"SENTINEL_JUDGE={judge}")
        with started("env", *where, *program, *words, "--data-dir", data, until=data / "service.json"):
            yield Path(name)


# --- events


@contextmanager
def embedded() -> Iterator[tuple[Service, list[int]]]:
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        with started(PROGRAMS / "sentinel", "serve", "--port", "0", "--data-dir", data, until=data / "service.json"):
            yield Service(Path(name)), []


@contextmanager
def front_and(workers: int, url: str) -> Iterator[tuple[Service, list[int]]]:
    with ExitStack() as stack:
        folders = [
            stack.enter_context(node(url, "worker", "--metrics-port", "0")) / "data" / "service.json"
            for _ in range(workers)
        ]
        front = Service(stack.enter_context(node(url, "serve", "--port", "0", judge="no")))
        yield front, [int(json.loads(place.read_text())["pid"]) for place in folders]


def turn(seconds: float, workers: int, server: Postgres) -> dict[str, Any]:
    with embedded() if not workers else front_and(workers, server.database()) as (front, pids):
        before = cpu_seconds(front.pid), sum(map(cpu_seconds, pids)), server_cpu_seconds(server)
        taken = http_ingest(front, seconds)
        return taken | {
            "front_cpu": cpu_seconds(front.pid) - before[0],
            "workers_cpu": sum(map(cpu_seconds, pids)) - before[1],
            "server_cpu": server_cpu_seconds(server) - before[2],
        }


def best(turns: list[dict[str, Any]]) -> dict[str, Any]:
    events = sum(one["events"] for one in turns)
    rates = {name: max(one[name] for one in turns) for name in ("accepted_per_second", "judged_per_second")}
    costs = {
        f"{name}_us_per_event": round(sum(one[name] for one in turns) / events * 1e6, 1)
        for name in ("front_cpu", "workers_cpu", "server_cpu")
    }
    return {"events": events, **rates, **costs}


# --- blocks


def block_to_refusal(number: int, one: Service, two: Service) -> dict[str, float]:
    took = []
    with (
        Client(one.port, (one.data / "token").read_text().strip()) as here,
        Client(two.port, (two.data / "token").read_text().strip()) as there,
    ):
        for n in range(number):
            address = f"203.0.{113 + n // 250}.{n % 250 + 1}"
            order = {"action_type": "ip_block", "target": address, "reason": "r"}
            start = time.perf_counter()
            here.ask("POST", f"{S}/manual-action", json.dumps(order).encode(), Content_Type="application/json")
            while not json.loads(there.ask("GET", f"{S}/check-ip/{address}")[1])["is_blocked"]:
                pass
            took.append(time.perf_counter() - start)
    return percentiles(took) | {"most_ms": round(max(took) * 1000, 1)}


def blocks(server: Postgres) -> dict[str, Any]:
    taken = {}
    for name, number, deaf in (("pushed", BLOCKS, False), ("pulled", BLOCKS_BY_PULL, True)):
        url = server.database()
        with node(url, "serve", "--port", "0") as one, node(url, "serve", "--port", "0", deaf=deaf) as two:
            time.sleep(2)  # for both to listen
            taken[name] = {"blocks": number, **block_to_refusal(number, Service(one), Service(two))}
    return taken


def measure(seconds: float) -> dict[str, Any]:
    """Return the figures of both parts."""
    forms = {"embedded": 0, "one_worker": 1, "two_workers": 2}
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in forms}
    with running() as server:
        reaction = blocks(server)
        for _ in range(TURNS):
            for name, workers in forms.items():
                taken[name].append(turn(seconds, workers, server))
        return {"blocks": reaction, "events": {name: best(turns) for name, turns in taken.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure several nodes.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each turn sends")
    options = parser.parse_args()
    figures = measure(options.seconds)
    if options.json:
        print(json.dumps(figures))
        return
    for part, found in figures.items():
        for name, taken in found.items():
            print(part, name, taken)


if __name__ == "__main__":
    main()
