"""The statements of the store. Made once: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    TextClause,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    text,
    true,
    update,
)

from sentinel.model import ActionStatus, ActionType, IncidentStatus, Signal
from sentinel.storage import tables
from sentinel.storage.dialect import (
    FIRST,
    LISTED,
    SECOND,
    TEXTS,
    VALUE,
    Bulk,
    Each,
    delete_some,
    each,
    words,
)

__all__ = [
    "ACTIONS_DECIDED",
    "ACTIONS_MADE",
    "ALIVE",
    "AUDIT_ENTRIES",
    "AUTOMATIC_BLOCKS",
    "FORGET_ORPHANS",
    "JOIN_SIGNAL",
    "KNOWN_EVENTS",
    "MEMBERS",
    "MOVED",
    "PROBE",
    "PRUNE",
    "PRUNED_AT_ONCE",
    "RESOLVE",
    "SIGNALS_BY_ID",
    "SIGNALS_OF",
    "SIGNALS_TOGETHER",
    "STORED",
    "UPSERT_ACTION",
    "UPSERT_BASELINE",
    "UPSERT_CHOSEN",
    "UPSERT_DEAD",
    "UPSERT_FEEDBACK",
    "UPSERT_INCIDENT",
    "UPSERT_POSITION",
    "UPSERT_SIGNAL",
    "UPSERT_SUPPRESSION",
    "UPSERT_TOKEN",
    "USERS_BEHIND",
]

PRUNED_AT_ONCE = 5_000


Insert = Callable[[Table], Any]


def _upsert(table: Table) -> Each[Any]:
    """Return the statement that writes whole rows, in place of those with the same primary key."""
    keys = [column.name for column in table.primary_key]
    names = [column.name for column in table.columns]

    def made(insert: Insert) -> Any:
        statement = insert(table).values({name: bindparam(name) for name in names})
        replaced = {name: statement.excluded[name] for name in names if name not in keys}
        return statement.on_conflict_do_update(index_elements=keys, set_=replaced)

    return each(made)


def _incident_upsert(insert: Insert) -> Any:
    """The status is people's, but what goes on after it was closed is open again."""
    i = tables.incidents.c
    names = [column.name for column in tables.incidents.columns]
    statement = insert(tables.incidents).values({name: bindparam(name) for name in names})
    new = statement.excluded
    replaced = {name: new[name] for name in names if name not in {"id", "status", "assignee"}}
    goes_on = and_(i.status == IncidentStatus.CLOSED.value, new.last > i.last)
    status = case((goes_on, IncidentStatus.OPEN.value), else_=i.status)
    return statement.on_conflict_do_update(index_elements=["id"], set_=replaced | {"status": status})


def _signal_upsert(insert: Insert) -> Any:
    """Only ever widen: another order of the same events must end in the same row."""
    s = tables.signals.c
    statement = insert(tables.signals).values({name: bindparam(name) for name in Signal.__struct_fields__})
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={
            "first": case((new.first < s.first, new.first), else_=s.first),
            "last": _larger(new.last, s.last),
            "count": _larger(new["count"], s["count"]),
            "severity": new.severity,
            "may_act": or_(s.may_act, new.may_act),
        },
    )


def _larger(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one > other, one), else_=other)


def _automatic_blocks() -> Each[Select[Any]]:
    a = tables.actions.c
    query = select(tables.actions).where(
        a.action_type == ActionType.IP_BLOCK.value,
        a.status == ActionStatus.ACTIVE.value,
        a.auto_created.is_(True),
    )
    return Each(*(query.where(a.target.in_(texts)) for texts in TEXTS))


def _actions_taken(when: ColumnElement[int]) -> Select[Any]:
    a = tables.actions.c
    return select(a.decision_key).where(
        a.rule == bindparam("rule"),
        a.action_type == bindparam("action_type"),
        when > bindparam("start"),
        when <= bindparam("end"),
        a.effective.is_(True),
    )


def _users_behind(*more: ColumnElement[bool]) -> Select[Any]:
    e = tables.events.c
    found = (
        select(e.user_id)
        .where(
            e.success == true(),  # not `IS 1`: then SQLite would not see that the partial index holds just these
            e.ip_address == bindparam("address"),
            e.at.between(bindparam("start"), bindparam("end")),
            e.user_id.is_not(None),
            *more,
        )
        .distinct()
        .limit(bindparam("enough"))
    )
    return select(func.count()).select_from(found.subquery())


def _prune_statements() -> dict[str, Each[TextClause]]:
    """Return by table the statement that deletes some of what is over."""
    over = {
        # What a quarantine rests on stays as long as it holds.
        "evidence_events": "NOT EXISTS (SELECT 1 FROM security_actions WHERE id = action_id AND status = 'active')",
        "events": "at < :before AND seq <= :judged AND seq NOT IN (SELECT seq FROM evidence_events)",
        "signals": "last < :before",
        "incidents": "last < :before",
        "incident_notes": "at < :before",
        "dead_letters": "seq <= :judged AND NOT EXISTS (SELECT 1 FROM events WHERE events.seq = dead_letters.seq)",
        "links": "hour < :before / 3600000000",
        "security_actions": "created_at < :before AND (status != 'active' OR NOT effective)",
        "data_access_log": "created_at < :before AND seq <= :judged",
        "security_violations": "created_at < :before AND seq <= :judged",
        "audit_log": "created_at < :audited_before AND seq <= :judged",
        "evidence": "NOT EXISTS (SELECT 1 FROM security_actions WHERE id = action_id)",
        "audit_trail": "seq <= :upto",
        "baselines": "day >= 0 AND day < :before / 86400000000",
    }
    return {name: delete_some(name, which, PRUNED_AT_ONCE) for name, which in over.items()}


PRUNE = _prune_statements()

AUTOMATIC_BLOCKS = _automatic_blocks()
USERS_BEHIND = Each(_users_behind(), _users_behind(tables.events.c.seq >= bindparam("first")))
ACTIONS_MADE = _actions_taken(tables.actions.c.created_at)
ACTIONS_DECIDED = _actions_taken(tables.actions.c.decided_at)
UPSERT_SIGNAL = Bulk.of(each(_signal_upsert))
UPSERT_INCIDENT = Bulk.of(each(_incident_upsert))
RESOLVE = (
    update(tables.security_violations)
    .where(tables.security_violations.c.id == bindparam("violation_id"))
    .values(
        resolved=True, resolution_notes=bindparam("notes"), resolved_at=bindparam("at"), resolved_by=bindparam("by")
    )
)
UPSERT_BASELINE = _upsert(tables.baselines)
UPSERT_FEEDBACK = _upsert(tables.feedback)
UPSERT_SUPPRESSION = _upsert(tables.suppressions)
UPSERT_ACTION = _upsert(tables.actions)
UPSERT_TOKEN = _upsert(tables.tokens)
UPSERT_CHOSEN = _upsert(tables.chosen)
UPSERT_POSITION = _upsert(tables.positions)
PROBE = text("INSERT INTO positions VALUES ('probe', 1) ON CONFLICT (name) DO UPDATE SET value = positions.value + 1")
_JOIN_SIGNAL = update(tables.signals).where(tables.signals.c.id == bindparam("of")).values(incident_id=bindparam("to"))
JOIN_SIGNAL = Bulk.of(Each(_JOIN_SIGNAL, _JOIN_SIGNAL))
MOVED = [
    update(table).where(table.c.incident_id == bindparam("of")).values(incident_id=bindparam("to"))
    for table in (tables.signals, tables.actions, tables.notes)
]
"""What an incident has goes with it when it becomes a part of another."""
UPSERT_DEAD = _upsert(tables.dead_letters)

_SIGNAL_COLUMNS = ", ".join(f'signals."{column.name}"' for column in tables.signals.columns)
SIGNALS_OF = words(
    f"SELECT {_SIGNAL_COLUMNS} FROM {{listed}} JOIN signals ON subject = {{first}} AND subject_type = {{second}}"  # noqa: S608 - our own names
    " ORDER BY signals.first, signals.id",
    listed=LISTED,
    first=FIRST,
    second=SECOND,
)
SIGNALS_BY_ID = words(
    f"SELECT {_SIGNAL_COLUMNS} FROM {{listed}} JOIN signals ON signals.id = {{value}}"  # noqa: S608 - our own names
    " ORDER BY signals.first, signals.id",
    listed=LISTED,
    value=VALUE,
)
SIGNALS_TOGETHER = words(
    f"SELECT {_SIGNAL_COLUMNS} FROM {{listed}} JOIN signals ON signals.incident_id = {{value}}"  # noqa: S608 - our own names
    " ORDER BY signals.first, signals.id",
    listed=LISTED,
    value=VALUE,
)
MEMBERS = words(
    "SELECT signals.incident_id, signals.id FROM {listed} JOIN signals ON signals.incident_id = {value}"
    " ORDER BY signals.first, signals.id",
    listed=LISTED,
    value=VALUE,
)
KNOWN_EVENTS = words(
    "SELECT known.event_id, body FROM {events} WHERE known.event_id IN (SELECT {value} FROM {listed})",
    events=Each("events AS known", "known_event_ids AS known JOIN events USING (seq)"),
    listed=LISTED,
    value=VALUE,
)
FORGET_ORPHANS = text(
    f"DELETE FROM event_ids WHERE event_id IN (SELECT {VALUE.postgresql} FROM {LISTED.postgresql})"  # noqa: S608 - our own words
)
"""Forgets ids, in PostgreSQL, of which there is no event: it was in a part that was dropped a moment ago."""
_AUDIT_COLUMNS = ", ".join(column.name for column in tables.audit.columns)
AUDIT_ENTRIES = f"SELECT {_AUDIT_COLUMNS} FROM audit_trail ORDER BY seq"  # noqa: S608 - our own names
"""The audit trail as it is stored: rows of `audit.Entry`."""


STORED = [
    tables.events.c[name]
    for name in ("seq", "at", "received_at", "late", "body", "max_severity", "may_act", "effects", "origin")
]
ALIVE = tables.events.c.seq.not_in(select(tables.dead_letters.c.seq))
"""Leaves out what could not be judged: it would break what it is shown to again."""
