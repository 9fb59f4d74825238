"""The canary counts what a person would otherwise find out from customers."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from tests.functional.conftest import Api

from sentinel.model import ActionStatus
from sentinel.storage import StoreFull
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
    api.monitor.store._backend.trouble = "no room"
    api.run(api.monitor.canary.probe())
    assert counted(api)["ready", "failed"] == 1


# --- a block that blocks


def obeyed(api: Api) -> tuple[float, float]:
    text = api.ask("GET", "/metrics", "scraper").text
    found = dict(re.findall(r'^sentinel_canary_block_probes_total\{result="(\w+)"\} (\S+)$', text, re.MULTILINE))
    return float(found["ok"]), float(found["failed"])


def test_a_block_that_blocks_is_counted_as_such(api: Api) -> None:
    """Its address was refused while the block held, and neither before nor after."""
    assert obeyed(api) == (0, 0), "both series are there from the start"
    for _ in range(3):
        api.run(api.monitor.canary.probe())
    assert obeyed(api) == (3, 0)
    assert not api.get(f"/check-ip/{canary.ADDRESS}")["is_blocked"]


def test_the_canarys_block_is_nobodys(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it holds, and after: no list, bouncer, count, log or audit entry has it, and nobody is told."""
    put = api.monitor.canary._put

    async def only_ordered(status: ActionStatus) -> None:
        if status is ActionStatus.ACTIVE:
            await put(status)

    monkeypatch.setattr(api.monitor.canary, "_put", only_ordered)
    before = api.get("/audit")["items"]
    api.run(api.monitor.canary.probe())
    assert api.get(f"/check-ip/{canary.ADDRESS}")["is_blocked"], "it holds"
    assert [item for items in api.get("/active-blocks").values() for item in items] == []
    assert api.get("/actions")["items"] == []
    for path in ("/v1/decisions", "/v1/decisions/stream?startup=true"):
        assert "3fff" not in api.ask("GET", path, "enforcer").text
    assert api.get("/audit")["items"] == before
    value = api.monitor.metrics.registry.get_sample_value
    labels = {"action_type": "ip_block", "status": "active", "auto": "true"}
    assert value("security_response_actions_total", labels) in {None, 0}
    assert "3fff" not in (api.settings.data_dir / "logs" / "api.log").read_text(encoding="utf-8")
    api.now += 61_000_000
    assert not api.get(f"/check-ip/{canary.ADDRESS}")["is_blocked"], "what a crash leaves ends by itself"


@pytest.mark.parametrize("broken", ["the feed", "our own snapshot", "the end", "the store", "the decoding"])
def test_a_block_that_does_not_block_is_a_failed_probe(api: Api, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Wherever on the way it is lost, it is counted, and the next probe after the repair is well again."""
    board, store = api.monitor.board, api.monitor.store

    async def nothing(*_: Any) -> list[Any]:
        return []

    async def full(*_: Any) -> None:
        raise StoreFull

    with monkeypatch.context() as patch:
        if broken == "the feed":
            patch.setattr(store, "actions_since", nothing)
        elif broken == "our own snapshot":
            patch.setattr(board, "publish", nothing)
        elif broken == "the end":
            put = api.monitor.canary._put
            patch.setattr(api.monitor.canary, "_put", lambda _: put(ActionStatus.ACTIVE))
        elif broken == "the store":
            patch.setattr(store, "apply", full)
        else:
            patch.setattr(canary, "decode_changes", lambda _: ((), store.change_seq, False))
        api.run(api.monitor.canary.probe())
    assert obeyed(api) == (0, 1)
    api.run(board.load())
    if broken == "the end":
        api.now += 61_000_000
    api.run(api.monitor.canary.probe())
    assert obeyed(api) == (1, 1)
