"""The last hour in figures."""

from __future__ import annotations

from sqlalchemy import Connection, text

from sentinel.model import Micros
from sentinel.storage.values import Standing, Summary, TopSource

__all__ = ["COUNT_EVENTS", "stood", "summed_up"]

_SUMMARY = {
    "violations": "SELECT severity, count(*) FROM security_violations WHERE created_at >= :since GROUP BY severity",
    "data_access": """
        SELECT count(*), coalesce(sum(sensitive_data_accessed), 0), count(DISTINCT user_id)
        FROM data_access_log WHERE created_at >= :since""",
    # The reason is in the event's body, as JSON. An hour of events is read, by the index over time.
    "sources": """
        SELECT ip_address, count(*) AS failures,
               group_concat(DISTINCT coalesce(json_extract(CAST(body AS TEXT), '$.details.failure_reason'), 'other'))
        FROM events WHERE at >= :since AND success = 0 AND ip_address IS NOT NULL
        GROUP BY ip_address ORDER BY failures DESC, ip_address LIMIT 10""",
}

_STANDING = {
    "open_violations": """
        SELECT severity, count(*) FROM security_violations
        WHERE created_at >= :hour_ago AND NOT resolved GROUP BY severity""",
    "signals": "SELECT severity, count(*) FROM signals WHERE last >= :hour_ago GROUP BY severity",
    "last_minute": """
        SELECT severity, count(*) FROM security_violations WHERE created_at >= :minute_ago GROUP BY severity""",
}
COUNT_EVENTS = text("SELECT count(*) FROM (SELECT 1 FROM events WHERE at >= :since LIMIT :most)")
"""How many events there are since a time, counted up to so many."""


def stood(hour_ago: Micros, minute_ago: Micros, connection: Connection) -> Standing:
    """Return what health is judged by."""
    places = {"hour_ago": hour_ago, "minute_ago": minute_ago}
    counts = {
        name: {str(severity): int(number) for severity, number in connection.execute(text(query), places)}
        for name, query in _STANDING.items()
    }
    return Standing(**counts)


def summed_up(since: Micros, connection: Connection) -> Summary:
    """Return what happened since a time."""
    rows = {name: connection.execute(text(query), {"since": since}).all() for name, query in _SUMMARY.items()}
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
