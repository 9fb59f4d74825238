"""The boards: made by the script beside them, in forms that Grafana knows, with queries of metrics that exist."""

from __future__ import annotations

import json
import re
import runpy
from typing import Any

import pytest
import yaml
from tests.deploy.programs import CONFIG

from sentinel.cli._checks.deployment import BOARDS as PROMISED
from sentinel.observability import Metrics

SCRIPT = runpy.run_path(str(CONFIG / "grafana" / "boards.py"))
PROVISIONING = CONFIG / "grafana" / "provisioning"
FILES = sorted((PROVISIONING / "dashboards").rglob("*.json"))
BOARDS: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in FILES}
RULES = yaml.safe_load((CONFIG / "prometheus" / "security_rules.yml").read_text())
RECORDED = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
RETIRED = {"graph", "singlestat", "table-old", "heatmap-old", "grafana-piechart-panel"}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "text"]


def names(expression: str) -> set[str]:
    """Return the metrics that an expression is about."""
    return set(re.findall(r"\b(?:security|sentinel|slo)[_:][\w:]+", expression))


def exposed() -> set[str]:
    metrics = Metrics(lambda: 0.0)
    metrics.told.certificates.tell("shop", 0.0)
    found = set()
    for family in metrics.registry.collect():
        found |= {sample.name for sample in family.samples} | {family.name}
        if family.type == "histogram":
            found |= {f"{family.name}{end}" for end in ("_bucket", "_count", "_sum")}
    return found


@pytest.mark.parametrize("name", SCRIPT["BOARDS"])
def test_a_boards_file_is_what_the_script_makes(name: str) -> None:
    """A board changed by hand would be lost with the next change; run `python config/grafana/boards.py`."""
    assert (PROVISIONING / "dashboards" / name).read_text() == SCRIPT["rendered"](name)


def test_the_boards_are_those_of_the_contract_in_their_folders() -> None:
    """People link to them by uid; a board in no provisioned folder would not be shown."""
    assert BOARDS.keys() == PROMISED
    assert {board["uid"] for board in BOARDS.values()} == PROMISED
    providers = yaml.safe_load((PROVISIONING / "dashboards" / "dashboards.yml").read_text())["providers"]
    shown = {provider["folder"]: provider["options"]["path"].rpartition("/")[2] for provider in providers}
    assert shown == {"Security": "security", "System": "system"}
    assert {path.parent.name for path in FILES} == set(shown.values())
    assert (PROVISIONING / "dashboards" / "system" / "system-health-dashboard.json").is_file()


def test_every_query_asks_the_data_source_that_is_provisioned() -> None:
    """In the original the boards named a uid that provisioning did not set: every panel was empty."""
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    for board in BOARDS.values():
        for panel in panels(board):
            for part in (panel, *panel["targets"]):
                assert part["datasource"] == {"type": "prometheus", "uid": source["uid"]}, panel["title"]


@pytest.mark.parametrize("uid", sorted(PROMISED))
def test_panels_have_forms_that_grafana_still_draws_and_don_t_overlap(uid: str) -> None:
    """No retired kind; each has a title, says what it shows and has a place of its own."""
    board = BOARDS[uid]
    taken: set[tuple[int, int]] = set()
    assert board["schemaVersion"] >= 39
    for panel in board["panels"]:
        assert panel["type"] not in RETIRED
        assert panel["title"]
        assert panel.get("description") or panel["type"] == "text"
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_metric_that_a_rule_or_a_board_names_is_exposed() -> None:
    """A name that is spelt wrong gives no error in Prometheus, only silence."""
    there = exposed() | RECORDED
    rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    queries = [target["expr"] for board in BOARDS.values() for panel in panels(board) for target in panel["targets"]]
    for expression in rules + queries:
        assert names(expression) - there == set(), expression
