"""Several nodes on one PostgreSQL, and which of them judges."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.postgres import Postgres
from tests.support.service import S, Service, eventually

__all__ = ["SOON", "lose_the_right", "nodes", "processor", "until_healthy", "until_judging"]

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
