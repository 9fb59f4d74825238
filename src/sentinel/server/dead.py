"""The routes of events that could not be judged: dead letters."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sentinel.app import Monitor
from sentinel.model import iso
from sentinel.server.authorize import token_of
from sentinel.server.problems import Problem, answer
from sentinel.server.values import Limit, Number, number_of

__all__ = ["add_dead_letters"]


def _whole(value: object) -> object:
    """JSON knows one kind of number: 7.0 is 7, and a text is none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Seq = Annotated[int, Field(strict=True, ge=1, le=10**15), BeforeValidator(_whole)]
_PATH = "/api/v1/security/dead-letters"


class ReplayOrder(BaseModel):
    """What judging dead letters again takes: which; without a list, all."""

    model_config = ConfigDict(extra="forbid")

    seqs: Annotated[list[_Seq], Field(min_length=1, max_length=500)] | None = None


def add_dead_letters(api: FastAPI, monitor: Monitor) -> None:
    """Add the routes to the application."""

    @api.get(_PATH)
    async def dead_letters(limit: Limit = 50, cursor: Number = None) -> Response:
        found = await monitor.store.dead_letters(limit, number_of(cursor))
        items = [
            {
                "seq": stored.seq,
                "reason": reason or None,
                "received_at": iso(stored.received_at),
                "event": msgspec.to_builtins(stored.event),
            }
            for stored, reason in found
        ]
        return answer({"items": items, "next_cursor": str(found[-1][0].seq) if len(found) == limit else None})

    @api.post(f"{_PATH}/replay")
    async def replay(order: ReplayOrder, request: Request) -> Response:
        number = await monitor.store.judge_again(order.seqs)
        if number == 0:
            raise Problem("not_found", "there are no such dead letters; GET /dead-letters lists them")
        which: dict[str, object] = {"number": number, "seqs": order.seqs}
        await monitor.note("deadletters.replay", "dead letters", which, token_of(request.scope))
        return answer({"success": True, "message": f"{number} events are judged again"})
