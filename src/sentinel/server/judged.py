"""What only the node that judges can answer, where several nodes share a database."""

from __future__ import annotations

from sentinel.app import Monitor
from sentinel.server.problems import Problem

__all__ = ["only_where_judged"]


def only_where_judged(monitor: Monitor) -> None:
    """Refuse where another node judges, and name it: what is asked for concerns what that one has in memory."""
    if monitor.worker.judging:
        return
    judge = monitor.store.judge
    where = "no node judges at this moment" if judge is None else f"{judge.name} judges"
    raise Problem("elsewhere", f"ask the node that judges: {where}", headers={"Retry-After": "5"})
