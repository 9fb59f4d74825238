"""Several nodes on one PostgreSQL, and which of them judges."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from tests.support.postgres import Postgres
from tests.support.service import S, Service, eventually

__all__ = [
    "SOON",
    "lose_the_right",
    "nodes",
    "processor",
    "send",
    "until_healthy",
    "until_judging",
    "until_judging_worker",
]

SOON = 60


@contextlib.contextmanager
def nodes(
    home: Path, url: str, *names: str, kind: str = "serve", judge: str = "auto", **settings: str
) -> Iterator[list[Service]]:
    """Give services with a folder of their own each; the first that runs, and may, judges."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(Service(home / name, kind)) for name in names]
        for node in found:
            node.settings |= {"SENTINEL_DATABASE_URL": url, "SENTINEL_JUDGE": judge, **settings}
            node.launch()
        for node in found:
            node.until_ready()
        yield found


def processor(node: Service) -> dict[str, Any]:
    """Return what health says of who judges, and how far."""
    return dict(node.ask(f"{S}/health")["components"]["security_event_processor"])


def until_healthy(node: Service) -> None:
    eventually(lambda: node.ask(f"{S}/health")["overall_status"] == "healthy", seconds=SOON, what="it is healthy")


def until_judging(*among: Service) -> Service:
    """Return the one node among these that judges, once there is one."""

    def found() -> Service | None:
        return next((node for node in among if processor(node)["judging"]), None)

    return eventually(found, seconds=SOON, what="one of them judges")  # type: ignore[no-any-return]


def until_judging_worker(workers: Sequence[Service], scraper: str) -> Service:
    """Return the worker that judges, once one does, as its metrics say."""

    def judges(worker: Service) -> bool:
        with httpx.Client(headers={"Authorization": f"Bearer {scraper}"}, trust_env=False, timeout=30) as client:
            answer = client.get(f"{worker.url}/metrics")
        return "sentinel_judging 1.0\n" in answer.text and "security_health_score" not in answer.text

    return eventually(lambda: next(filter(judges, workers), None), seconds=SOON, what="one of them judges")  # type: ignore[no-any-return]


def send(node: Service, events: Sequence[dict[str, Any]]) -> None:
    """Return when all are accepted."""
    client = node.client(node.ingest_token())
    headers = {"Content-Type": "application/x-ndjson"}
    for start in range(0, len(events), 500):
        body = "\n".join(map(json.dumps, events[start : start + 500]))

        def taken(body: str = body) -> bool:
            answer = client.post(f"{node.url}{S}/events", content=body, headers=headers)
            assert answer.status_code in {202, 429, 503}, answer.text
            return answer.status_code == 202

        eventually(taken, seconds=600, what="they are accepted")


def lose_the_right(postgres: Postgres, judge: Service, other: Service) -> None:
    """Have the other one judge while this one lives: its session ends, as it does when a server is restarted."""
    session = f"""
        SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
        JOIN nodes ON application_name = 'sentinel ' || id AND name = '{processor(judge)["judge"]}'
        WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'"""

    def taken_over() -> bool:
        postgres.sql(session, urlsplit(other.settings["SENTINEL_DATABASE_URL"]).path[1:])
        return bool(processor(other)["judging"])

    eventually(taken_over, seconds=SOON, what="the other one judges")
