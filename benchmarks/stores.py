"""
Measure what the store costs, in a file and in PostgreSQL: `python benchmarks/stores.py [--seconds 10] [--json]`.

The same load as `http` of service.py, on SQLite and on PostgreSQL in turn, each on a new store, so that what else the
machine does falls on both. The PostgreSQL server is one of its own on this machine, as the tests start it, with fsync
and Debian's defaults; its CPU is that of all its processes. Rates are of the best of the turns of each, CPU is of all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service import PROGRAMS, Service, http_ingest, started

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.postgres import Postgres, running  # the one place that knows how to start a server

SECONDS = 10.0
TURNS = 2


@contextmanager
def service_on(url: str | None) -> Iterator[Service]:
    """Run a service on a new folder and, where a URL is given, that database."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        where = () if url is None else (f"SENTINEL_DATABASE_URL={url}",)
        command = ("env", *where, PROGRAMS / "sentinel", "serve", "--port", "0", "--data-dir", data)
        with started(*command, until=data / "service.json"):
            yield Service(Path(name))


def cpu_seconds(pid: int) -> float:
    """Return the CPU that a process and those of its children that have ended took."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def server_cpu_seconds(server: Postgres) -> float:
    """Return the CPU that all processes of the server took."""
    return sum(cpu_seconds(pid) for pid in (server.pid, *server.children()))


def turn(seconds: float, server: Postgres | None) -> dict[str, Any]:
    with service_on(None if server is None else server.database()) as running_service:
        before = cpu_seconds(running_service.pid), 0.0 if server is None else server_cpu_seconds(server)
        taken = http_ingest(running_service, seconds)
        cpu = cpu_seconds(running_service.pid) - before[0]
        theirs = 0.0 if server is None else server_cpu_seconds(server) - before[1]
    return taken | {"cpu": cpu, "server_cpu": theirs}


def best(turns: list[dict[str, Any]]) -> dict[str, Any]:
    events = sum(one["events"] for one in turns)
    return {
        **{name: turns[0][name] for name in ("batch", "connections")},
        "events": events,
        **{name: max(one[name] for one in turns) for name in ("accepted_per_second", "judged_per_second")},
        "p50_ms": min(one["p50_ms"] for one in turns),
        "cpu_us_per_event": round(sum(one["cpu"] for one in turns) / events * 1e6, 1),
        "server_cpu_us_per_event": round(sum(one["server_cpu"] for one in turns) / events * 1e6, 1),
    }


def measure(seconds: float) -> dict[str, Any]:
    """Return the figures of either store."""
    taken: dict[str, list[dict[str, Any]]] = {"sqlite": [], "postgresql": []}
    with running() as server:
        for _ in range(TURNS):
            taken["sqlite"].append(turn(seconds, None))
            taken["postgresql"].append(turn(seconds, server))
    return {name: best(turns) for name, turns in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the store costs.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each turn sends")
    options = parser.parse_args()
    figures = measure(options.seconds)
    print(json.dumps(figures) if options.json else "\n".join(f"{name} {taken}" for name, taken in figures.items()))


if __name__ == "__main__":
    main()
