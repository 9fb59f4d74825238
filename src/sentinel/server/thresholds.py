"""GET and PUT /thresholds: the numbers in rules that people adjust without editing files."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from sentinel.app import THRESHOLD, Monitor
from sentinel.detection.rule import Rule
from sentinel.errors import ConfigError
from sentinel.rulefolder import read_thresholds
from sentinel.server.authorize import token_of
from sentinel.server.problems import Problem, answer

__all__ = ["add_thresholds"]

_PATH = "/api/v1/security/thresholds"
_MOST = 1e12


class ThresholdOrder(BaseModel):
    """What PUT /thresholds takes; `value` null brings the rule's own number back."""

    model_config = ConfigDict(extra="forbid")

    rule: Annotated[str, Field(min_length=1, max_length=256)]
    value: Annotated[float, Field(strict=True, gt=0, le=_MOST)] | None


def add_thresholds(api: FastAPI, monitor: Monitor) -> None:
    """Add the routes to the application."""

    @api.get(_PATH)
    async def thresholds() -> Response:
        try:
            chosen = read_thresholds(monitor.settings.thresholds_path)
        except ConfigError as err:
            raise Problem("not_ready", str(err)) from None
        items = [_row(rule, adjusted=rule.id in chosen) for rule in monitor.rules.rules if _adjustable(rule)]
        return answer({"items": items, "next_cursor": None})

    @api.put(_PATH)
    async def adjust(order: ThresholdOrder, request: Request) -> Response:
        rule = next((rule for rule in monitor.rules.rules if rule.id == order.rule and _adjustable(rule)), None)
        if rule is None:
            raise Problem("not_found", "no rule in force has this name and a threshold; GET /thresholds lists them")
        before = _row(rule, adjusted=False)["value"]
        async with monitor.choosing:
            path = monitor.settings.thresholds_path
            chosen = read_thresholds(path).get(order.rule)
            await monitor.rule_files.set_threshold(order.rule, order.value)
            if refused := monitor.rule_files.rejected:
                await monitor.rule_files.set_threshold(order.rule, chosen)
                raise Problem("invalid", f"the value was not taken: {refused[0].reason}")
            try:
                await monitor.keep_chosen(THRESHOLD, order.rule, read_thresholds(path).get(order.rule))
            except BaseException:
                await monitor.rule_files.set_threshold(order.rule, chosen)
                raise
        await monitor.note(
            "threshold.set", order.rule, {"before": before, "value": order.value}, token_of(request.scope)
        )
        now = next(rule for rule in monitor.rules.rules if rule.id == order.rule)
        return answer({"success": True, "threshold": _row(now, adjusted=order.value is not None)})


def _adjustable(rule: Rule) -> bool:
    return not rule.plain and rule.condition.rising


def _row(rule: Rule, *, adjusted: bool) -> dict[str, object]:
    [(bound, value)] = rule.condition.bounds
    return {
        "rule": rule.id,
        "title": rule.title,
        "counts": rule.kind.value,
        "bound": bound,
        "value": float(value),
        "timespan_seconds": rule.timespan / 1_000_000,
        "adjusted": adjusted,
    }
