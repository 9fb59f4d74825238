"""GET /evidence/{action_id}: what a quarantine rests on, and whether it still is what was collected."""

from __future__ import annotations

import msgspec
from fastapi import FastAPI, Request, Response

from sentinel.app import Monitor
from sentinel.response.evidence import unpack
from sentinel.server.authorize import token_of
from sentinel.server.problems import Problem, answer

__all__ = ["add_evidence"]


def add_evidence(api: FastAPI, monitor: Monitor) -> None:
    """Add the route to the application."""

    @api.get("/api/v1/security/evidence/{action_id}")
    async def evidence(action_id: str, request: Request) -> Response:
        await monitor.evidence.step()  # the quarantine may have begun this very moment
        kept = await monitor.store.evidence(action_id)
        if kept is None:
            raise Problem("not_found", "no evidence is kept under this id; quarantines have it, soon after they begin")
        report = await monitor.evidence.verify(kept)
        # Who has seen evidence belongs to it.
        await monitor.note("evidence.read", action_id, {"status": report.status.value}, token_of(request.scope))
        try:
            bundle = unpack(kept.bundle)
        except msgspec.DecodeError:
            bundle = None
        told = {"action_id": action_id, "sha256": kept.sha256, **msgspec.to_builtins(report), "bundle": bundle}
        return answer(told)
