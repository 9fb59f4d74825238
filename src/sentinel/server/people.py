"""The route by which people say whether Sentinel was right."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from sentinel.app import Monitor
from sentinel.model import EventType
from sentinel.server.authorize import token_of
from sentinel.server.incidents import no_incident
from sentinel.server.problems import Problem, answer
from sentinel.storage import Feedback, Verdict

__all__ = ["add_people"]

_S = "/api/v1/security"
_LONGEST_HOURS = 8_760

_Text = Annotated[str, Field(min_length=1, max_length=1000)]
_Id = Annotated[str, Field(min_length=1, max_length=128)]


_IDS = ("action_id", "incident_id", "scan_id")


def _one_of_the_ids(mine: str, *, suppressing: bool) -> Any:
    """Return the schema of a verdict on one kind of thing, with or without a suppression."""
    fields: dict[str, object] = {name: {"type": "string" if name == mine else "null"} for name in _IDS}
    more = {"verdict": {"const": "false_positive"}} if suppressing else {"suppress_hours": {"type": "null"}}
    return {"required": [mine], "properties": fields | more}


_FORMS: list[Any] = [_one_of_the_ids(mine, suppressing=False) for mine in _IDS]
_FORMS += [_one_of_the_ids(mine, suppressing=True) for mine in ("action_id", "incident_id")]


class FeedbackOrder(BaseModel):
    """What POST /feedback takes: one of the three ids, and the verdict; only what was done can be suppressed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"anyOf": _FORMS})

    action_id: _Id | None = None
    incident_id: _Id | None = None
    scan_id: _Id | None = None
    verdict: Verdict
    reason: _Text
    suppress_hours: Annotated[float, Field(strict=True, gt=0, le=_LONGEST_HOURS)] | None = None


def add_people(api: FastAPI, monitor: Monitor) -> None:
    """Add the routes to the application."""
    store = monitor.store

    @api.post(f"{_S}/feedback")
    async def feedback(order: FeedbackOrder, request: Request) -> Response:
        kind, about = _about(order)
        hours = order.suppress_hours
        if hours is not None and (kind == "scan" or order.verdict is Verdict.TRUE_POSITIVE):
            raise Problem("invalid", "suppress_hours belongs to a false positive on an action or an incident")
        actions = await store.actions_by_id([about]) if kind == "action" else []
        if kind == "action" and not actions:
            raise Problem("not_found", "no action has this id; `sentinel blocks list --all --json` shows them")
        if kind == "scan" and not await store.list_events(1, event_id=about, event_type=EventType.SCAN.value):
            raise Problem("not_found", "no stored scan has this id; POST /api/v1/scan returns it as `scan_id`")
        said = Feedback(
            kind=kind,
            about=about,
            verdict=order.verdict,
            reason=order.reason,
            at=monitor.clock(),
            by=token_of(request.scope).id,
        )
        undone = await monitor.people.judge(said, actions, hours)
        if undone is None:
            raise no_incident()
        return answer({"success": True, "undone": undone})


def _about(order: FeedbackOrder) -> tuple[Literal["action", "incident", "scan"], str]:
    ids = (("action", order.action_id), ("incident", order.incident_id), ("scan", order.scan_id))
    named = [(kind, value) for kind, value in ids if value is not None]
    if len(named) != 1:
        raise Problem("invalid", "name exactly one of action_id, incident_id and scan_id")
    return named[0]  # type: ignore[return-value]  # the kinds stand above
