"""What people have set over the API and every node goes by: thresholds of rules, limits of baselines."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from sentinel.storage import tables
from sentinel.storage.database import Database, whole
from sentinel.storage.shared import take_turn
from sentinel.storage.statements import UPSERT_CHOSEN

__all__ = ["ChosenTables"]


class ChosenTables(Database):
    """The part of the store that keeps what was set, one row for each thing, so that two people lose neither's word."""

    async def chosen(self, kind: str) -> dict[str, str]:
        """Return by name what was set of a kind."""
        c = tables.chosen.c
        return {row.name: row.value for row in await self._all(select(c.name, c.value).where(c.kind == kind))}

    @whole
    async def choose(self, kind: str, values: dict[str, str | None]) -> None:
        """Keep what is set of a kind; None is nothing any more. Other nodes hear of it."""
        c = tables.chosen.c

        def written(connection: Connection) -> None:
            if self.shared:
                take_turn(connection, None)
            for name, value in values.items():
                if value is None:
                    connection.execute(delete(tables.chosen).where(c.kind == kind, c.name == name))
                else:
                    row = {"kind": kind, "name": name, "value": value}
                    connection.execute(UPSERT_CHOSEN.on(connection), row)

        await self._write(written, rows=len(values))
