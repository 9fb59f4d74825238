"""The last hour in figures."""

from __future__ import annotations

from sqlalchemy import Connection, text

from sentinel.model import Micros
from sentinel.storage.values import Summary, TopSource

__all__ = ["summed_up"]

# An event's details are in its body, as JSON. An hour of events is read, by the index over time.
_SUMMARY = {
    "violations": """
        SELECT severity, count(*) FROM events
        WHERE at >= :since AND event_type IN ('security_violation', 'threat_detection') GROUP BY severity""",
    "data_access": """
        SELECT count(*), coalesce(sum(json_extract(CAST(body AS TEXT), '$.details.sensitive') = 1), 0),
               count(DISTINCT user_id)
        FROM events WHERE at >= :since AND event_type = 'data_access'""",
    "sources": """
        SELECT ip_address, count(*) AS failures,
               group_concat(DISTINCT coalesce(json_extract(CAST(body AS TEXT), '$.details.failure_reason'), 'other'))
        FROM events WHERE at >= :since AND success = 0 AND ip_address IS NOT NULL
        GROUP BY ip_address ORDER BY failures DESC, ip_address LIMIT 10""",
}


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
