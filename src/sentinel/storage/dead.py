"""Events that could not be judged, and how far whoever judges dares to go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from sentinel.model import StoredEvent
from sentinel.storage import tables
from sentinel.storage.database import Database, whole
from sentinel.storage.rows import to_event
from sentinel.storage.statements import STORED, UPSERT_POSITION

__all__ = ["DeadTables", "Trial"]


class Trial(NamedTuple):
    """
    What was being judged when somebody was last heard of who judges.

    `after`: sequence of the last event that was judged before. `upto`: of the last one that was tried with it; 0 when
    nobody was careful. `times`: how often these were tried; 0 when nobody judges, or who did has ended in order.
    """

    after: int = 0
    upto: int = 0
    times: int = 0


_NAMES = ("trial_after", "trial_upto", "trials")


class DeadTables(Database):
    """The part of the store that knows of events which could not be judged."""

    async def trial(self) -> Trial:
        """Return what was being judged."""
        p = tables.positions.c
        rows = await self._all(select(p.name, p.value).where(p.name.in_(_NAMES)))
        found = {row.name: row.value for row in rows}
        return Trial(*(found.get(name, 0) for name in _NAMES))

    @whole
    async def note_trial(self, trial: Trial) -> None:
        """Keep what is about to be judged, before it is: who does may not live to tell."""
        rows = [{"name": name, "value": value} for name, value in zip(_NAMES, trial, strict=True)]

        def written(connection: Connection) -> None:
            connection.execute(UPSERT_POSITION.on(connection), rows)

        await self._write(written, rows=len(rows), judging=True)

    async def dead_letters(
        self, limit: int, before: int | None = None, *, asked: bool = False
    ) -> list[tuple[StoredEvent, str]]:
        """
        Return up to `limit` events that could not be judged, with the reason, newest first, below `before`.

        The reason is empty where somebody has asked to judge the event again; with `asked` only these.
        """
        d = tables.dead_letters.c
        query = select(*STORED, d.reason).join(tables.dead_letters, d.seq == tables.events.c.seq)
        if before is not None:
            query = query.where(d.seq < before)
        if asked:
            query = query.where(d.reason == "")
        return [(to_event(row), row.reason) for row in await self._all(query.order_by(d.seq.desc()).limit(limit))]

    @whole
    async def judge_again(self, seqs: Sequence[int] | None) -> int:
        """Ask whoever judges to try these dead letters again, all without a list; returns how many there are."""
        d = tables.dead_letters
        asked = update(d).values(reason="") if seqs is None else update(d).where(d.c.seq.in_(seqs)).values(reason="")
        return await self._write(lambda connection: connection.execute(asked).rowcount, rows=1)
