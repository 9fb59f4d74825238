"""The last hour in figures."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Select, bindparam, func, not_, select, text

from sentinel.model import Micros
from sentinel.storage import tables
from sentinel.storage.dialect import Each, detail, gathered, words
from sentinel.storage.values import Standing, Summary, TopSource

__all__ = ["COUNT_EVENTS", "stood", "summed_up"]

_SUMMARY = {
    "violations": "SELECT severity, count(*) FROM security_violations WHERE created_at >= :since GROUP BY severity",
}
_ACCESSES = """
    SELECT count(*), count(CASE WHEN sensitive_data_accessed THEN 1 END), count(DISTINCT user_id)
    FROM data_access_log WHERE created_at >= :since"""
_FROM = " AND seq >= :first"
"""Where a table is in parts (`parts`), those before the time are not looked into."""


def _sources(*more: ColumnElement[bool]) -> Select[Any]:
    """The reason is in the event's body. An hour of events is read, by the index over time."""
    e = tables.events.c
    failures = func.count().label("failures")
    reasons = gathered(func.coalesce(detail(e.body, "failure_reason"), "other"))
    query = select(e.ip_address, failures, reasons)
    query = query.where(e.at >= bindparam("since"), not_(e.success), e.ip_address.is_not(None), *more)
    return query.group_by(e.ip_address).order_by(failures.desc(), e.ip_address).limit(10)


_QUERIES: dict[str, Each[Executable]] = {
    **{name: Each(text(query), text(query)) for name, query in _SUMMARY.items()},
    "data_access": Each(text(_ACCESSES), text(_ACCESSES + _FROM)),
    "sources": Each(_sources(), _sources(tables.events.c.seq >= bindparam("first"))),
}
_STANDING = {
    "open_violations": """
        SELECT severity, count(*) FROM security_violations
        WHERE created_at >= :hour_ago AND NOT resolved GROUP BY severity""",
    "signals": "SELECT severity, count(*) FROM signals WHERE last >= :hour_ago GROUP BY severity",
    "last_minute": """
        SELECT severity, count(*) FROM security_violations WHERE created_at >= :minute_ago GROUP BY severity""",
}
COUNT_EVENTS = words(
    "SELECT count(*) FROM (SELECT 1 FROM events WHERE at >= :since{first} LIMIT :most) AS counted",
    first=Each("", _FROM),
)
"""How many events there are since a time, counted up to so many."""


def stood(hour_ago: Micros, minute_ago: Micros, connection: Connection) -> Standing:
    """Return what health is judged by."""
    places = {"hour_ago": hour_ago, "minute_ago": minute_ago}
    counts = {
        name: {str(severity): int(number) for severity, number in connection.execute(text(query), places)}
        for name, query in _STANDING.items()
    }
    return Standing(**counts)


def summed_up(since: Micros, first: int, connection: Connection) -> Summary:
    """Return what happened since a time; no event of then has a number below `first`."""
    places = {"since": since, "first": first}
    rows = {name: connection.execute(query.on(connection), places).all() for name, query in _QUERIES.items()}
    [access] = rows["data_access"]
    return Summary(
        violations={row.severity: row[1] for row in rows["violations"]},
        accesses=access[0],
        sensitive_accesses=access[1],
        users=access[2],
        sources=[
            TopSource(address, failures, sorted(reasons.split(","))) for address, failures, reasons in rows["sources"]
        ],
    )
