"""The canary counts what a person would otherwise find out from customers."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from tests.functional.conftest import Api

from sentinel.stream import canary


def counted(api: Api) -> dict[tuple[str, str], float]:
    text = api.ask("GET", "/metrics", "scraper").text
    found = re.findall(r'^sentinel_canary_probes_total\{probe="(\w+)",result="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {(probe, result): float(value) for probe, result, value in found}


def test_a_healthy_service_is_counted_as_such(api: Api) -> None:
    """Every series is there from the start, so that an alert can tell 0 from absent."""
    assert counted(api) == {(probe, result): 0 for probe in ("ready", "event") for result in ("ok", "failed")}
    api.run(api.monitor.canary.probe())
    assert (counted(api)["ready", "ok"], counted(api)["event", "ok"]) == (1, 1)
    [event] = api.get("/events")["items"]
    assert event["service_name"] == "sentinel.canary"
    assert api.get("/signals")["items"] == []


def test_an_event_that_is_not_judged_in_time_is_a_failed_probe(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted is not enough: what nobody judges protects nobody."""

    async def never(_seq: int) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(canary, "_WITHIN_SECONDS", 0.1)
    monkeypatch.setattr(api.monitor.worker, "reached", never)
    api.run(api.monitor.canary.probe())
    assert (counted(api)["event", "ok"], counted(api)["event", "failed"]) == (0, 1)


def test_a_service_that_is_not_ready_is_a_failed_probe(api: Api, monkeypatch: Any) -> None:
    """The same reason that /readyz gives."""
    api.monitor.store.trouble = "no room"
    api.run(api.monitor.canary.probe())
    assert counted(api)["ready", "failed"] == 1
