"""The routes of baselines: anomalies, what is remembered of whom, how sensitive each metric is."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from sentinel.app import LIMITS, Monitor
from sentinel.baselinefile import read_changes, read_tuning, write_changes
from sentinel.detection.baseline.metrics import METRICS, SERVICE, USER
from sentinel.detection.baseline.told import anomaly_row
from sentinel.detection.baseline.tuning import Limits
from sentinel.detection.baseline.view import seen_entity
from sentinel.errors import ConfigError
from sentinel.server.authorize import token_of
from sentinel.server.problems import Problem, answer
from sentinel.server.values import Limit, Number, number_of

__all__ = ["add_baselines"]

_S = "/api/v1/security"

_Score = Annotated[float, Field(strict=True, ge=0, le=1)]


class LimitsOrder(BaseModel):
    """What PUT /baselines takes; what is not given stays, and `reset` brings the file's own back."""

    model_config = ConfigDict(extra="forbid")

    metric: Annotated[str, Field(min_length=1, max_length=64)]
    enabled: Annotated[bool, Field(strict=True)] | None = None
    report: _Score | None = None
    medium: _Score | None = None
    high: _Score | None = None
    reset: Annotated[bool, Field(strict=True)] = False


def add_baselines(api: FastAPI, monitor: Monitor) -> None:
    """Add the routes to the application."""
    store = monitor.store

    @api.get(f"{_S}/anomalies")
    async def anomalies(
        limit: Limit = 50, cursor: Number = None, entity: Annotated[str | None, Query(max_length=256)] = None
    ) -> Response:
        found = await store.anomalies(limit=limit, before=number_of(cursor), entity=entity)
        following = str(found[-1].seq) if len(found) == limit else None
        return answer({"items": [anomaly_row(stored) for stored in found], "next_cursor": following})

    @api.get(f"{_S}/baselines")
    async def limits() -> Response:
        return answer({"items": [_row(monitor, name) for name in METRICS], "next_cursor": None})

    @api.put(f"{_S}/baselines")
    async def adjust(order: LimitsOrder, request: Request) -> Response:
        if order.metric not in METRICS:
            raise Problem("not_found", "no metric has this name; GET /baselines lists them")
        path = monitor.settings.baselines_path
        given = order.model_dump(exclude={"metric", "reset"}, exclude_none=True)
        try:
            async with monitor.choosing:
                noticing = monitor.worker.noticing
                changes = read_changes(path)
                if order.reset:
                    changes.pop(order.metric, None)
                else:
                    changes[order.metric] = msgspec.structs.replace(noticing.tuning.of(order.metric), **given)
                await monitor.keep_chosen(LIMITS, order.metric, changes.get(order.metric))
                write_changes(path, changes)
                monitor.worker.noticing.tune(read_tuning(monitor.settings.baselines_file, path))
        except ConfigError as err:
            raise Problem("not_ready", str(err)) from None
        await monitor.note("baseline.set", order.metric, given | {"reset": order.reset}, token_of(request.scope))
        return answer({"success": True, "limits": _row(monitor, order.metric)})

    @api.get(f"{_S}/baselines/{{entity:path}}")
    async def baseline(
        entity: str, entity_type: Annotated[str, Query(pattern=f"^({USER}|{SERVICE})$")] = USER
    ) -> Response:
        noticing = monitor.worker.noticing
        record = await noticing.record((entity_type, entity))
        if record is None:
            raise Problem("not_found", f"nothing is remembered of such a {entity_type}: no hour with it has closed")
        now, first = monitor.clock(), noticing.organisation_first
        return answer(seen_entity(entity_type, entity, record, now, first))


def _row(monitor: Monitor, name: str) -> dict[str, object]:
    metric, limits = METRICS[name], monitor.worker.noticing.tuning.of(name)
    return {
        "metric": name,
        "method": metric.kind.value,
        "type": metric.type.value,
        "entity_type": metric.entity,
        "measures": metric.tells,
        **msgspec.to_builtins(limits),
        "adjusted": limits != Limits(),
    }
