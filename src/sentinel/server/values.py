"""Query parameters that several lists take."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from sentinel.model import Micros, micros_of_iso
from sentinel.server.problems import Problem

__all__ = ["Limit", "Number", "Time", "number_of", "time_of"]

Limit = Annotated[int, Query(ge=1, le=500)]
Number = Annotated[str | None, Query(pattern="^[0-9]{1,18}$")]
Time = Annotated[
    str | None, Query(max_length=64, json_schema_extra={"format": "date-time"}, examples=["2026-01-31T12:00:00Z"])
]


def time_of(text: str | None, name: str) -> Micros | None:
    """Return a query parameter as a time."""
    try:
        return None if text is None else micros_of_iso(text)
    except ValueError:
        raise Problem("invalid", f"{name} is a time such as 2026-01-31T12:00:00Z") from None


def number_of(cursor: str | None) -> int | None:
    """Return a cursor that is a number."""
    return None if cursor is None else int(cursor)
