"""Lists by time: where the next page begins."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query

from sentinel.model import Micros

__all__ = ["Place", "next_place", "place"]

Place = Annotated[str | None, Query(pattern="^[0-9]{1,18}\\.[0-9A-Za-z-]{1,64}$")]


def place(cursor: str | None) -> tuple[Micros, str] | None:
    """Return the time and the id that a cursor names."""
    if cursor is None:
        return None
    last, _, row_id = cursor.partition(".")
    return int(last), row_id


def next_place(found: list[Any], limit: int) -> str | None:
    """Return the cursor after these rows, by time and id; None when there are no more."""
    return f"{found[-1].last}.{found[-1].id}" if len(found) == limit else None
