"""What incidents need of the store beside their signals: links between subjects, and what people say."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from sentinel.detection.links import Link, Node, link
from sentinel.model import Micros, SubjectType
from sentinel.storage import tables
from sentinel.storage.database import Database
from sentinel.storage.dialect import FIRST, LISTED, SECOND, Bulk, insert_missing, listed, words, write_rows
from sentinel.storage.statements import MOVED
from sentinel.storage.values import Note, Outcome

__all__ = ["IncidentTables", "write_incidents"]


class IncidentTables(Database):
    """The part of the store that joins incidents, and keeps what people note about them."""

    async def links_of(self, nodes: Iterable[Node], hours: range) -> list[Link]:
        """Return the stored links of some subjects in these hours."""
        asked = [(kind.value, name) for kind, name in nodes]
        if not asked:
            return []
        between = {"start": hours.start, "last": hours.stop - 1}
        rows = await self._read(lambda on: on.execute(_LINKS_OF.on(on), {"listed": listed(asked), **between}).all())
        return [link((SubjectType(a), one), (SubjectType(b), other), hour) for a, one, hour, b, other in rows]

    async def subjects_between(self, start: Micros, end: Micros, limit: int) -> list[Node]:
        """Return up to `limit` subjects that have signals in a time, whose last come latest, those at the end."""
        s = tables.signals.c
        query = select(s.subject_type, s.subject).where(s.last >= start, s.first <= end)
        latest = query.group_by(s.subject_type, s.subject).order_by(func.max(s.last).desc()).limit(limit)
        return [(SubjectType(row.subject_type), row.subject) for row in reversed(await self._all(latest))]

    async def notes_on(self, incident_id: str) -> list[Note]:
        """Return what people did about an incident and said of it, oldest first."""
        n = tables.notes.c
        rows = await self._all(select(tables.notes).where(n.incident_id == incident_id).order_by(n.at, n.id))
        return [msgspec.convert(row, Note, from_attributes=True) for row in rows]


def write_incidents(connection: Connection, outcome: Outcome) -> None:
    """Write how incidents were joined, and what people say of them."""
    if outcome.incidents_gone:
        # What people said of one that is part of another now holds for that one.
        renamed = [{"of": old, "to": new} for old, new in outcome.incidents_gone.items()]
        connection.execute(_TAKE_OVER, renamed)
        for moved in MOVED:
            connection.execute(moved, renamed)
        connection.execute(tables.incidents.delete().where(tables.incidents.c.id.in_(outcome.incidents_gone)))
    if outcome.links:
        rows = [_row(*pair, hour) for one, other, hour in outcome.links for pair in ((one, other), (other, one))]
        write_rows(connection, _INSERT_LINKS, rows)
    if outcome.status_of:
        statuses = [{"of": incident_id, "to": status.value} for incident_id, status in outcome.status_of.items()]
        connection.execute(_SET_STATUS, statuses)
    if outcome.assignee_of:
        connection.execute(_ASSIGN, [{"which": which, "who": who} for which, who in outcome.assignee_of.items()])
    if outcome.notes:
        connection.execute(insert(tables.notes), list(map(msgspec.to_builtins, outcome.notes)))


_INSERT_LINKS = Bulk.of(insert_missing(tables.links))
_LINKS_OF = words(
    """SELECT of_type, "of", hour, to_type, "to" FROM {listed} JOIN links"""
    """ ON of_type = {first} AND "of" = {second} AND hour BETWEEN :start AND :last""",
    listed=LISTED,
    first=FIRST,
    second=SECOND,
)


def _row(here: Node, there: Node, hour: int) -> dict[str, object]:
    return {"of_type": here[0].value, "of": here[1], "hour": hour, "to_type": there[0].value, "to": there[1]}


_i = tables.incidents.c
_SET_STATUS = update(tables.incidents).where(_i.id == bindparam("of")).values(status=bindparam("to"))
_ASSIGN = update(tables.incidents).where(_i.id == bindparam("which")).values(assignee=bindparam("who"))
_TAKE_OVER = text("""
    UPDATE incidents SET
        assignee = coalesce(assignee, (SELECT old.assignee FROM incidents AS old WHERE old.id = :of)),
        status = CASE WHEN status = 'open' AND EXISTS (
            SELECT 1 FROM incidents AS old WHERE old.id = :of AND old.status = 'acknowledged'
        ) THEN 'acknowledged' ELSE status END
    WHERE id = :to""")
