"""What baselines need of the store: records of entities, the events of open hours, anomalies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from sqlalchemy import Connection, and_, select, tuple_

from sentinel.model import EventType, Micros, StoredEvent
from sentinel.storage import tables
from sentinel.storage.database import whole
from sentinel.storage.dialect import detail
from sentinel.storage.parts import PartedTables
from sentinel.storage.rows import to_event
from sentinel.storage.statements import ALIVE, STORED, UPSERT_BASELINE

__all__ = ["BaselineTables"]

_Key = tuple[str, str]

_ORGANISATION = ("organisation", "")
_IN_CHUNK = 500
_ROWS = 1000


class BaselineTables(PartedTables):
    """The part of the store that baselines use; each write is one transaction."""

    async def baseline_records(self, keys: Sequence[_Key]) -> dict[_Key, bytes]:
        """Return the records of these entities (type, name), as far as there are any."""
        b = tables.baselines.c
        names: dict[str, list[str]] = {}
        for entity_type, entity in keys:
            names.setdefault(entity_type, []).append(entity)
        found: dict[_Key, bytes] = {}
        for entity_type, mine in names.items():
            for start in range(0, len(mine), _IN_CHUNK):
                # Not pairs: with (entity_type, entity) IN (...) SQLite reads the whole table.
                query = select(b.entity, b.record).where(
                    b.entity_type == entity_type, b.entity.in_(mine[start : start + _IN_CHUNK])
                )
                found |= {(entity_type, row.entity): row.record for row in await self._all(query)}
        return found

    async def baseline_entities(self, day: int, after: _Key, limit: int) -> list[_Key]:
        """Return the entities after this one, in order, whose last day with an event is this day; `limit` at most."""
        b = tables.baselines.c
        query = select(b.entity_type, b.entity).where(b.day == day, tuple_(b.entity_type, b.entity) > tuple_(*after))
        query = query.order_by(b.entity_type, b.entity).limit(limit)
        return [(row.entity_type, row.entity) for row in await self._all(query)]

    async def organisation_record(self) -> bytes:
        """Return what is remembered of all together; empty at first."""
        return (await self.baseline_records([_ORGANISATION])).get(_ORGANISATION, b"")

    @whole
    async def save_baselines(self, day: int, records: Mapping[_Key, bytes], organisation: bytes) -> None:
        """Keep the records of entities that were judged, with the day that they were judged for."""
        rows = [_row(key, day, record) for key, record in records.items()]
        rows.append(_row(_ORGANISATION, -1, organisation))

        def written(connection: Connection) -> None:
            for start in range(0, len(rows), _ROWS):
                connection.execute(UPSERT_BASELINE.on(connection), rows[start : start + _ROWS])

        await self._write(written, rows=len(rows), judging=True)

    async def untaught_events(self, start: Micros, upto: int, chunk: int = 2000) -> AsyncIterator[list[StoredEvent]]:
        """Yield the events from a time on, accepted since there are baselines, up to `upto`; no late or dead ones."""
        e, p = tables.events.c, tables.positions.c
        after = max(self.first_since(start) - 1, await self._number(select(p.value).where(p.name == "baselines")))
        while True:
            query = select(*STORED).where(e.at >= start, e.seq >= after + 1, e.seq <= upto, e.late.is_(False), ALIVE)
            rows = await self._all(query.order_by(e.seq).limit(chunk))
            if not rows:
                return
            yield [to_event(row) for row in rows]
            after = rows[-1].seq

    async def anomalies(
        self,
        *,
        limit: int | None = None,
        before: int | None = None,
        since: Micros | None = None,
        until: Micros | None = None,
        upto: int | None = None,
        user_id: str | None = None,
        entity: str | None = None,
        ids: Iterable[str] | None = None,
    ) -> list[StoredEvent]:
        """Return anomalies, the newest first, accepted before `before`, in [since, until), of one user, by event id.

        With `upto`, those that were judged up to it: no dead ones.
        """
        e = tables.events.c
        query = select(*STORED).where(e.event_type == EventType.ANOMALY.value).order_by(e.seq.desc())
        for condition in (
            None if before is None else e.seq < before,
            None if since is None else e.at >= since,
            None if until is None else e.at < until,
            None if upto is None else and_(e.seq <= upto, ALIVE),
            None if user_id is None else e.user_id == user_id,
            None if entity is None else detail(e.body, "entity") == entity,
        ):
            if condition is not None:
                query = query.where(condition)
        if since is not None:
            query = query.where(*self.not_before(e.seq, since))
        if ids is not None:
            listed = list(ids)
            found: list[StoredEvent] = []
            for first in range(0, len(listed), _IN_CHUNK):
                some = query.where(self.is_one_of(listed[first : first + _IN_CHUNK]))
                found += [to_event(row) for row in await self._all(some)]
            return found
        return [to_event(row) for row in await self._all(query.limit(limit))]


def _row(key: _Key, day: int, record: bytes) -> dict[str, object]:
    return {"entity_type": key[0], "entity": key[1], "day": day, "record": record}
