"""The statements of the store. Made once: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Select, Table, and_, bindparam, case, func, or_, select, text, true, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as upsert_into

from sentinel.model import ActionStatus, ActionType, IncidentStatus, Signal
from sentinel.storage import tables

__all__ = [
    "AUDIT_ENTRIES",
    "AUTOMATIC_BLOCKS",
    "INSERTS",
    "INSERT_AUDIT",
    "KNOWN_EVENTS",
    "MOVE_ACTION",
    "MOVE_SIGNAL",
    "PROBE",
    "PRUNE",
    "PRUNED_AT_ONCE",
    "RESOLVE",
    "SIGNALS_BY_ID",
    "SIGNALS_OF",
    "SIGNALS_TOGETHER",
    "STORED",
    "UPSERT_ACTION",
    "UPSERT_FEEDBACK",
    "UPSERT_INCIDENT",
    "UPSERT_POSITION",
    "UPSERT_SIGNAL",
    "UPSERT_SUPPRESSION",
    "UPSERT_TOKEN",
    "USERS_BEHIND",
    "Bulk",
]

PRUNED_AT_ONCE = 5_000


class Bulk(NamedTuple):
    """A statement as text for many rows at once: SQLAlchemy takes longer to bind a row than SQLite to write it."""

    text: str
    places: tuple[str, ...]
    given: Mapping[str, Any]
    """Values that are the same for every row."""

    def bound(self, rows: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        """Return what the places of the statement get, for each row; JSON columns as text."""
        return [tuple(row[place] if place in row else self.given[place] for place in self.places) for row in rows]


def _bulk(statement: Any) -> Bulk:
    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    return Bulk(str(compiled), tuple(compiled.positiontup), compiled.params)


def _upsert(table: Table) -> Any:
    """Return the statement that writes whole rows, in place of those with the same primary key."""
    keys = [column.name for column in table.primary_key]
    names = [column.name for column in table.columns]
    statement = upsert_into(table).values({name: bindparam(name) for name in names})
    replaced = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=replaced)


def _incident_upsert() -> Any:
    """The status is people's, but what goes on after it was closed is open again."""
    i = tables.incidents.c
    names = [column.name for column in tables.incidents.columns]
    statement = upsert_into(tables.incidents).values({name: bindparam(name) for name in names})
    new = statement.excluded
    replaced = {name: new[name] for name in names if name not in {"id", "status", "assignee"}}
    goes_on = and_(i.status == IncidentStatus.CLOSED.value, new.last > i.last)
    status = case((goes_on, IncidentStatus.OPEN.value), else_=i.status)
    return statement.on_conflict_do_update(index_elements=["id"], set_=replaced | {"status": status})


def _signal_upsert() -> Any:
    """Only ever widen: another order of the same events must end in the same row."""
    s = tables.signals.c
    statement = upsert_into(tables.signals).values({name: bindparam(name) for name in Signal.__struct_fields__})
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={
            "first": func.min(s.first, new.first),
            "last": func.max(s.last, new.last),
            "count": func.max(s.count, new["count"]),
            "severity": new.severity,
            "may_act": or_(s.may_act, new.may_act),
        },
    )


def _automatic_blocks() -> Select[Any]:
    a = tables.actions.c
    # One bound value however many addresses: a statement with a place for each takes longer to build than to run.
    listed = select(func.json_each(bindparam("listed")).table_valued("value").c.value)
    return select(tables.actions).where(
        a.target.in_(listed),
        a.action_type == ActionType.IP_BLOCK.value,
        a.status == ActionStatus.ACTIVE.value,
        a.auto_created.is_(True),
    )


def _users_behind() -> Select[Any]:
    e = tables.events.c
    found = (
        select(e.user_id)
        .where(
            e.success == true(),  # not `IS 1`: then SQLite would not see that the partial index holds just these
            e.ip_address == bindparam("address"),
            e.at.between(bindparam("start"), bindparam("end")),
            e.user_id.is_not(None),
        )
        .distinct()
        .limit(bindparam("enough"))
    )
    return select(func.count()).select_from(found.subquery())


def _prune_statements() -> dict[str, str]:
    """Return by table the statement that deletes some of what is over."""
    over = {
        # What a quarantine rests on stays as long as it holds.
        "evidence_events": "action_id NOT IN (SELECT id FROM security_actions WHERE status = 'active')",
        "events": "at < :before AND seq <= :judged AND seq NOT IN (SELECT seq FROM evidence_events)",
        "signals": "last < :before",
        "incidents": "last < :before",
        "incident_notes": "at < :before",
        "links": "hour < :before / 3600000000",
        "security_actions": "created_at < :before AND (status != 'active' OR NOT effective)",
        "data_access_log": "created_at < :before AND seq <= :judged",
        "security_violations": "created_at < :before AND seq <= :judged",
        "audit_log": "created_at < :audited_before AND seq <= :judged",
        "evidence": "action_id NOT IN (SELECT id FROM security_actions)",
        "audit_trail": "seq <= :upto",
        "baselines": "day >= 0 AND day < :before / 86400000000",
    }
    return {
        name: f"DELETE FROM {name} WHERE rowid IN (SELECT rowid FROM {name} WHERE {which} LIMIT {PRUNED_AT_ONCE})"  # noqa: S608 - our own names
        for name, which in over.items()
    }


PRUNE = _prune_statements()

AUTOMATIC_BLOCKS = _automatic_blocks()
USERS_BEHIND = _users_behind()
UPSERT_SIGNAL = _bulk(_signal_upsert())
UPSERT_INCIDENT = _bulk(_incident_upsert())
RESOLVE = (
    update(tables.security_violations)
    .where(tables.security_violations.c.id == bindparam("violation_id"))
    .values(
        resolved=True, resolution_notes=bindparam("notes"), resolved_at=bindparam("at"), resolved_by=bindparam("by")
    )
)
UPSERT_FEEDBACK = _upsert(tables.feedback)
UPSERT_SUPPRESSION = _upsert(tables.suppressions)
UPSERT_ACTION = _upsert(tables.actions)
UPSERT_TOKEN = _upsert(tables.tokens)
UPSERT_POSITION = _upsert(tables.positions)
PROBE = text("INSERT INTO positions VALUES ('probe', 1) ON CONFLICT DO UPDATE SET value = value + 1")
MOVE_SIGNAL = _bulk(
    update(tables.signals).where(tables.signals.c.id == bindparam("of")).values(incident_id=bindparam("to"))
)
MOVE_ACTION = _bulk(
    update(tables.actions).where(tables.actions.c.signal_id == bindparam("of")).values(incident_id=bindparam("to"))
)

_SIGNAL_COLUMNS = ", ".join(f'signals."{column.name}"' for column in tables.signals.columns)
SIGNALS_OF = (
    f"SELECT {_SIGNAL_COLUMNS} FROM json_each(?) JOIN signals"  # noqa: S608 - our own names
    " ON subject = json_extract(json_each.value, '$[0]') AND subject_type = json_extract(json_each.value, '$[1]')"
    " ORDER BY signals.first, signals.id"
)
SIGNALS_BY_ID = (
    f"SELECT {_SIGNAL_COLUMNS} FROM json_each(?) JOIN signals ON signals.id = json_each.value"  # noqa: S608 - our own names
    " ORDER BY signals.first, signals.id"
)
SIGNALS_TOGETHER = (
    f"SELECT {_SIGNAL_COLUMNS} FROM json_each(?) AS asked JOIN incidents ON incidents.id = asked.value"  # noqa: S608 - our own names
    " JOIN json_each(incidents.signals) AS member JOIN signals ON signals.id = member.value"
    " ORDER BY signals.first, signals.id"
)
KNOWN_EVENTS = "SELECT event_id, body FROM events WHERE event_id IN (SELECT value FROM json_each(?))"
_AUDIT_COLUMNS = ", ".join(column.name for column in tables.audit.columns)
INSERT_AUDIT = f"INSERT INTO audit_trail ({_AUDIT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own names
AUDIT_ENTRIES = f"SELECT {_AUDIT_COLUMNS} FROM audit_trail ORDER BY seq"  # noqa: S608 - our own names
"""The audit trail as it is stored: rows of `audit.Entry`."""


def _inserts(table: Table) -> list[tuple[int, str]]:
    """Return statements by how many rows they write, the most first; few, so that each is compiled once."""
    columns = ", ".join(column.name for column in table.columns)
    one = f"({', '.join('?' * len(table.columns))})"
    return [
        (rows, f"INSERT INTO {table.name} ({columns}) VALUES {', '.join([one] * rows)}")  # noqa: S608 - our own names
        for rows in (256, 32, 4, 1)
    ]


INSERTS = {
    table.name: _inserts(table)
    for table in (tables.events, tables.audit_log, tables.security_violations, tables.data_access_log)
}
"""By table."""
STORED = [
    tables.events.c[name]
    for name in ("seq", "at", "received_at", "late", "body", "max_severity", "may_act", "effects", "origin")
]
