"""Thresholds that people adjust while the service runs."""

from __future__ import annotations

from typing import Any

import pytest
from tests.functional.conftest import Api, S


def put(api: Api, rule: str, value: float | None) -> Any:
    return api.ask("PUT", f"{S}/thresholds", json={"rule": rule, "value": value})


def fast_guessing(api: Api) -> dict[str, Any]:
    """The contract's default: ten failures of an address within a minute (decisions, J3)."""
    api.send([api.failed_login("203.0.113.1", seconds=n) for n in range(10)])
    rule = api.get("/signals")["items"][-1]["rule"]
    return next(item for item in api.get("/thresholds", "viewer")["items"] if item["rule"] == rule)


def test_a_threshold_is_adjusted_and_brought_back(tmp_path: Any) -> None:
    """It holds at once and over a restart, is written down, and the rule's own number comes back."""
    api = Api(tmp_path / "data")
    found = fast_guessing(api)
    assert (found["bound"], found["value"], found["timespan_seconds"], found["adjusted"]) == ("gte", 10, 60, False)
    answer = put(api, found["rule"], 4)
    assert answer.status_code == 200, answer.text
    changed = answer.json()["threshold"]
    assert (changed["value"], changed["adjusted"]) == (4, True)
    api.now += 3_600 * 1_000_000
    api.send([api.failed_login("203.0.113.2", seconds=n) for n in range(4)])
    assert api.get("/check-ip/203.0.113.2")["is_blocked"]
    [entry] = [e for e in api.get("/audit")["items"] if e["operation"] == "threshold.set"]
    assert (entry["target"], entry["details"]) == (found["rule"], {"before": 10.0, "value": 4.0})
    now = api.now
    api.close()
    again = Api(tmp_path / "data")
    again.now = now + 3_600 * 1_000_000
    again.send([again.failed_login("203.0.113.3", seconds=n) for n in range(4)])
    assert again.get("/check-ip/203.0.113.3")["is_blocked"]
    assert put(again, found["rule"], None).json()["threshold"]["value"] == 10
    again.now += 3_600 * 1_000_000
    again.send([again.failed_login("203.0.113.4", seconds=n) for n in range(9)])
    assert not again.get("/check-ip/203.0.113.4")["is_blocked"]
    again.close()


@pytest.mark.parametrize("value", [0, -1, 1e300])
def test_a_value_that_makes_no_sense_is_refused(api: Api, value: float) -> None:
    """A rule that fires at nothing, or never, is no threshold."""
    rule = api.get("/thresholds")["items"][0]["rule"]
    before = api.get("/thresholds")
    assert put(api, rule, value).status_code == 422
    assert api.get("/thresholds") == before


def test_a_refused_value_leaves_the_one_that_somebody_chose(api: Api) -> None:
    """Half an event can't be counted to; what was chosen before stays chosen."""
    rule = api.get("/thresholds")["items"][0]["rule"]
    assert put(api, rule, 7).status_code == 200
    assert put(api, rule, 2.5).status_code == 422
    [kept] = [row for row in api.get("/thresholds")["items"] if row["rule"] == rule]
    assert (kept["value"], kept["adjusted"]) == (7, True)


def test_only_what_has_a_threshold_can_be_adjusted(api: Api) -> None:
    """An unknown name is a typing error, and says so."""
    assert put(api, "none", 5).status_code == 404
