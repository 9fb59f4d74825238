"""
The logs of events in PostgreSQL, in parts: ranges of numbers, each dropped as a whole when all in it is over.

`events`, `data_access_log` and `audit_log` are partitioned by the number of the event, which only grows: what is
written goes to the last part, and whoever follows by number reads one. A part is meant to take a certain time; how many
numbers that is follows from how fast they were given out before it. It is made before it is needed; should it be
missing, its events go to the part `rest`, and nothing is refused.

That an event's id is there once is kept by `event_ids`, over all parts: a row of id and number for each event, written
first (`dialect`). The part `before` is the table of an earlier version; its ids are in its own index.

`event_parts` tells of each part its numbers, when the first of them was given out, and, once all were, `latest`: no
event up to its end is of a later time. By that whoever asks for a time need not look into the parts before it.
A file (SQLite) has none of this.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Text, column, select, text
from sqlalchemy import table as named

from sentinel.model import Micros
from sentinel.storage import tables
from sentinel.storage.database import Database
from sentinel.storage.dialect import PARTED
from sentinel.storage.statements import PRUNED_AT_ONCE
from sentinel.storage.values import LeaseLost, StoreUnable

__all__ = ["PartedTables", "prove_numbers"]

_SMALLEST = 1_000_000  # numbers in a part
_STEP = 4  # how many times as large, or as small, the next one may be: a burst must not make one for years
_COUNTED_AT_ONCE = 1_000_000
_IDS_AT_ONCE = 20_000  # they lie in the order of their texts: the more at once, the less for each
_LOOK_SECONDS = 60.0
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
# Whoever waits for a table holds up all who come after; what could not be had is tried again later.
_SOON = text("SET LOCAL lock_timeout = '2s'")
_ACCEPTED = text("SELECT value FROM positions WHERE name = 'accepted' FOR UPDATE")
_PARTS = text("SELECT first, upto, began, latest FROM event_parts ORDER BY first")
_BEGUN = text(f"UPDATE event_parts SET began = {_NOW} WHERE first <= :accepted AND began IS NULL")  # noqa: S608 - our own words
_CLOSED = text("UPDATE event_parts SET latest = :latest WHERE first = :first")
_MADE = text("INSERT INTO event_parts VALUES (:first, :upto, NULL, NULL)")
_THERE = text(
    "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = to_regclass(:of)"
)
_GONE = text(
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'events\\_gone%' AND pg_table_is_visible(oid)"
)
_EVIDENCE = "FROM {0} WHERE seq IN (SELECT seq FROM evidence_events)"
_KEEP = f"INSERT INTO events SELECT * {_EVIDENCE}"
_KEEP_IDS = f"INSERT INTO event_ids SELECT event_id, seq {_EVIDENCE} ON CONFLICT DO NOTHING"
_FORGET_IDS = """
    DELETE FROM event_ids WHERE event_id = ANY(ARRAY(SELECT event_id FROM {0} WHERE seq > :after AND seq <= :upto))
    AND seq > :after AND seq <= :upto
    AND seq NOT IN (SELECT seq FROM events_rest WHERE seq > :after AND seq <= :upto)"""
_KNOWN = named("known_event_ids", column("event_id", Text), column("seq", BigInteger))
_NO_BEFORE = (
    "DROP TRIGGER known_before ON event_ids",
    "CREATE OR REPLACE VIEW known_event_ids AS SELECT event_id, seq FROM event_ids",
)


class Part(NamedTuple):
    """Some numbers, and what is known of the events that have them."""

    first: int
    upto: int
    began: Micros | None
    latest: Micros | None

    def of(self, table: str) -> str:
        """Return the name of this part of a table."""
        return f"{table}_p{self.first}" if self.first else f"{table}_before"


class PartedTables(Database):
    """The part of the store that makes and drops parts, and knows which of them a time can be in."""

    processed_seq: int
    accepted_seq: int
    _looked_at_parts = float("-inf")
    _over: tuple[Sequence[Micros], Sequence[int]] = ((), ())
    """`latest` and end of the parts that are closed, both growing. Those of a while ago are as true as those of now."""

    async def look_at_parts(self) -> None:
        """Take in which parts are closed, now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at_parts >= _LOOK_SECONDS:
            self._take_parts(await self._read(_parts))
            self._looked_at_parts = now

    def _take_parts(self, parts: Sequence[Part]) -> None:
        closed = [(part.latest, part.upto) for part in parts if part.latest is not None]
        self._over = ([latest for latest, _ in closed], [upto for _, upto in closed])

    def first_since(self, since: Micros) -> int:
        """Return a number before which no event is of this time or a later one; 1 when none is known."""
        latest, upto = self._over
        place = bisect_left(latest, since)
        return upto[place - 1] + 1 if place else 1

    def not_before(self, number: ColumnElement[int], since: Micros) -> list[ColumnElement[bool]]:
        """Return what else is true of the numbers of events since a time, where that spares a look into parts."""
        # `>=`: to PostgreSQL something may lie between a number and the next one, and in the part before.
        return [number >= self.first_since(since)] if self.shared else []

    def is_one_of(self, event_ids: Sequence[str]) -> ColumnElement[bool]:
        """Return what is true of the events with these ids."""
        e = tables.events.c
        if not self.shared:
            return e.event_id.in_(event_ids)
        return e.seq.in_(select(_KNOWN.c.seq).where(_KNOWN.c.event_id.in_(event_ids)))

    async def keep_parts(self, span: Micros) -> None:
        """
        See that there is a part for what is accepted next, which takes about a span of time, and close those before.

        Raises:
            StoreUnable: It can't be done now.
        """
        if not self.shared:
            return
        parts = await self._read(_parts)
        if _due(parts, self.accepted_seq):
            self._take_parts(await self._judged(partial(_kept_up, span)))

    async def prune_parted(self, table: str, before: Micros, span: Micros) -> int:
        """
        Delete from a table in parts what is older than a time, is judged, and no evidence.

        A part in which all is over is dropped. Of others rows are deleted in small transactions, unless the part will
        be dropped within `span`.

        Returns:
            How many rows are gone.
        """
        column, judged, rows = PARTED[table], self.processed_seq, 0
        if table == "events":
            for name in await self._read(_retired):
                await self._drop_retired(name)
        there = set(await self._read(lambda on: on.scalars(_THERE, {"of": table}).all()))
        for part in await self._read(_parts):
            name, closed = part.of(table), part.upto <= judged
            if name not in there:
                continue
            oldest, latest = await self._read(partial(_bounds, name, column))
            if closed and (latest is None or latest < before):
                try:
                    rows += await self._retire(table, part)
                except LeaseLost:
                    raise
                except StoreUnable:
                    continue  # somebody reads the table for long: the next time; the rest goes on
            elif oldest is not None and oldest < before and not (closed and latest and latest < before + span):
                rows += await self._delete(table, name, before)
        return rows + await self._delete(table, f"{table}_rest", before)

    async def _retire(self, table: str, part: Part) -> int:
        name, rows = part.of(table), 0
        numbers = await self._read(lambda on: on.execute(text(f"SELECT min(seq), max(seq) FROM {name}")).one())  # noqa: S608 - our own name
        for first in range(numbers[0] or 0, (numbers[1] or -1) + 1, _COUNTED_AT_ONCE):
            rows += await self._read(partial(_counted, name, first))

        def retired(connection: Connection) -> int:
            connection.execute(_SOON)
            connection.execute(_ACCEPTED)
            connection.execute(text(f"ALTER TABLE {table} DETACH PARTITION {name}"))
            if table != "events":
                connection.execute(text(f"DROP TABLE {name}"))
                return 0
            if not part.first:
                for statement in _NO_BEFORE:
                    connection.execute(text(statement))
            kept = connection.execute(text(_KEEP.format(name))).rowcount
            connection.execute(text(_KEEP_IDS.format(name)))
            connection.execute(text(f"ALTER TABLE {name} RENAME TO events_gone{part.first}"))
            return kept

        kept = await self._judged(retired)
        if table == "events":
            await self._drop_retired(f"events_gone{part.first}")
        return rows - kept

    async def _drop_retired(self, name: str) -> None:
        """Take the ids of events that are gone out of `event_ids`, bit by bit, and then drop them."""
        numbers = await self._read(lambda on: on.execute(text(f"SELECT min(seq), max(seq) FROM {name}")).one())  # noqa: S608 - our own name
        if name != "events_gone0":  # whose ids are in its own index
            for after in range((numbers[0] or 1) - 1, numbers[1] or 0, _IDS_AT_ONCE):
                upto = min(after + _IDS_AT_ONCE, numbers[1])  # above it are those that came again
                await self._judged(partial(_forgotten, name, after, upto))
        await self._judged(lambda on: on.execute(text(f"DROP TABLE {name}")))

    async def _delete(self, table: str, name: str, before: Micros) -> int:
        statement = text(_delete_of(table, name))
        places = {"before": before, "judged": self.processed_seq}
        rows = 0
        while True:
            gone = await self._judged(lambda on: int(on.scalar(statement, places) or 0))
            rows += gone
            if gone < PRUNED_AT_ONCE:
                return rows


def _parts(connection: Connection) -> list[Part]:
    return [Part(*row) for row in connection.execute(_PARTS)]


def _retired(connection: Connection) -> list[str]:
    return list(connection.scalars(_GONE))


def _bounds(name: str, column: str, connection: Connection) -> tuple[Micros | None, Micros | None]:
    oldest, latest = connection.execute(text(f"SELECT min({column}), max({column}) FROM {name}")).one()  # noqa: S608 - our own names
    return oldest, latest


def _forgotten(name: str, after: int, upto: int, connection: Connection) -> None:
    connection.execute(text(_FORGET_IDS.format(name)), {"after": after, "upto": upto})


def _counted(name: str, first: int, connection: Connection) -> int:
    which = text(f"SELECT count(*) FROM {name} WHERE seq >= :first AND seq < :end")  # noqa: S608 - our own name
    return int(connection.scalar(which, {"first": first, "end": first + _COUNTED_AT_ONCE}) or 0)


def _delete_of(table: str, name: str) -> str:
    kept = "AND seq NOT IN (SELECT seq FROM evidence_events)" if table == "events" else ""
    some = f"""
        DELETE FROM {name} WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {name} WHERE {PARTED[table]} < :before AND seq <= :judged {kept} LIMIT {PRUNED_AT_ONCE}
        )) RETURNING *"""  # noqa: S608 - our own names
    if table != "events":
        return f"WITH gone AS ({some}) SELECT count(*) FROM gone"  # noqa: S608 - our own names
    forgotten = "DELETE FROM event_ids WHERE event_id = ANY(ARRAY(SELECT event_id FROM gone))"
    return f"WITH gone AS ({some}), forgotten AS ({forgotten}) SELECT count(*) FROM gone"  # noqa: S608 - our own names


# --- parts to come


def _due(parts: Sequence[Part], accepted: int) -> bool:
    last = parts[-1]
    return last.upto - accepted < _size(last) or any(
        (part.first <= accepted and part.began is None) or (part.upto <= accepted and part.latest is None)
        for part in parts
    )


def _size(part: Part) -> int:
    return part.upto - part.first + 1 if part.first else 0


def _kept_up(span: Micros, connection: Connection) -> list[Part]:
    connection.execute(_SOON)
    accepted = int(connection.scalar(_ACCEPTED) or 0)  # nobody else gets numbers meanwhile
    connection.execute(_BEGUN, {"accepted": accepted})
    parts = _parts(connection)
    latest = 0
    for part in parts:
        if part.upto <= accepted and part.latest is None:
            latest = max(latest, _latest(part, connection))
            connection.execute(_CLOSED, {"latest": latest, "first": part.first})
        latest = part.latest or latest
    while parts[-1].upto - accepted < _size(parts[-1]):
        current = next((part for part in reversed(parts) if part.began is not None), parts[-1])
        now = int(connection.scalar(text(f"SELECT {_NOW}")) or 0)
        size = next_size(_size(parts[-1]), accepted - current.first, now - (current.began or now), span)
        first = max(parts[-1].upto, accepted) + 1
        _make(first, first + size - 1, connection)
        parts.append(Part(first, first + size - 1, None, None))
    return _parts(connection)


def next_size(last: int, numbers: int, elapsed: Micros, span: Micros) -> int:
    """
    Return how many numbers a part has to have.

    Args:
        last: How many the part before it has.
        numbers: How many were given out lately.
        elapsed: In how many microseconds that was.
        span: How many a part is to last.
    """
    wanted = numbers * span // elapsed if elapsed > 0 and numbers > 0 else last
    return max(_SMALLEST, min(wanted, last * _STEP), last // _STEP)


def _latest(part: Part, connection: Connection) -> Micros:
    """Return the latest time of an event up to the end of a part, as far as none before it tells."""
    own = connection.scalar(text(f"SELECT max(at) FROM {part.of('events')}"))  # noqa: S608 - our own name
    rest = connection.scalar(text("SELECT max(at) FROM events_rest WHERE seq <= :upto"), {"upto": part.upto})
    return max(own or 0, rest or 0)


def _make(first: int, upto: int, connection: Connection) -> None:
    part = Part(first, upto, None, None)
    for table in PARTED:
        # Made alone and then attached: only so do others go on writing to the table meanwhile.
        connection.execute(text(f"CREATE TABLE {part.of(table)} (LIKE {table} INCLUDING DEFAULTS)"))
        connection.execute(
            text(f"ALTER TABLE {table} ATTACH PARTITION {part.of(table)} FOR VALUES FROM ({first}) TO ({upto + 1})")
        )
    connection.execute(_MADE, {"first": first, "upto": upto})


# --- the table of an earlier version


def prove_numbers(connection: Connection) -> None:
    """
    Show, before a table of an earlier version becomes a part, that no number in it belongs elsewhere.

    It is read once for that, while others write to it; in the migration's own transaction everybody would wait. Its
    numbers may go on up to a fifth above those of now, which takes longer than reading it.
    """
    if connection.scalar(text("SELECT to_regclass('event_parts') IS NOT NULL OR to_regclass('events') IS NULL")):
        connection.rollback()
        return
    connection.execute(_SOON)
    last = int(connection.scalar(text("SELECT coalesce(max(seq), 0) FROM events")) or 0)
    upto = last + max(50_000, last // 5)
    connection.execute(text("DELETE FROM positions WHERE name = 'parted'"))
    connection.execute(text("INSERT INTO positions VALUES ('parted', :first)"), {"first": upto + 1})
    for table in PARTED:
        connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_numbers"))
        connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {table}_numbers CHECK (seq <= {upto}) NOT VALID"))
    connection.commit()
    for table in PARTED:
        connection.execute(text(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_numbers"))
        connection.commit()
