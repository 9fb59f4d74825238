"""The routes by which people see what was violated, and say that it is dealt with."""

from __future__ import annotations

from typing import Literal

import msgspec
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from sentinel.app import Monitor
from sentinel.model import Severity, iso
from sentinel.server.authorize import token_of
from sentinel.server.problems import Problem, answer
from sentinel.server.values import Limit, Number, Time, number_of, time_of
from sentinel.storage import Resolution, Violation

__all__ = ["add_violations"]

_S = "/api/v1/security"


class ResolutionOrder(BaseModel):
    """What resolving a violation takes."""

    model_config = ConfigDict(extra="forbid")

    notes: str = Field(min_length=1, max_length=1000)


def add_violations(api: FastAPI, monitor: Monitor) -> None:
    """Add the routes to the application."""

    @api.get(f"{_S}/violations")
    async def violations(  # noqa: PLR0917 - each filter is a query parameter of its own
        limit: Limit = 50,
        cursor: Number = None,
        since: Time = None,
        until: Time = None,
        violation_type: str | None = None,
        severity: Severity | None = None,
        user_id: str | None = None,
        ip_address: str | None = None,
        resolved: Literal["true", "false"] | None = None,
    ) -> Response:
        found = await monitor.store.list_violations(
            limit,
            number_of(cursor),
            time_of(since, "since"),
            time_of(until, "until"),
            violation_type=violation_type,
            severity=None if severity is None else severity.value,
            user_id=user_id,
            ip_address=ip_address,
            resolved=None if resolved is None else resolved == "true",
        )
        next_cursor = str(found[-1].seq) if len(found) == limit else None
        return answer({"items": list(map(_shown, found)), "next_cursor": next_cursor})

    @api.post(f"{_S}/violations/{{violation_id}}/resolve")
    async def resolve(violation_id: str, order: ResolutionOrder, request: Request) -> Response:
        if not await monitor.store.list_violations(1, id=violation_id):
            raise Problem("not_found", "no violation has this id; `sentinel violations list` shows them")
        by = token_of(request.scope).id
        await monitor.people.resolve(
            Resolution(violation_id=violation_id, notes=order.notes, at=monitor.clock(), by=by)
        )
        return answer({"success": True, "message": f"{violation_id} is resolved"})


def _shown(violation: Violation) -> dict[str, object]:
    shown: dict[str, object] = msgspec.to_builtins(violation)
    del shown["seq"]
    at = violation.resolved_at
    return shown | {"created_at": iso(violation.created_at), "resolved_at": None if at is None else iso(at)}
