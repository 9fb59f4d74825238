"""Each alert fires when it should, and stays silent when it should: by Prometheus' own tool, with few processes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.alert_cases import CASES, write_tests
from tests.deploy.programs import CONFIG, REPOSITORY, program

from sentinel.cli._checks.deployment import ALERTS as PROMISED

RULES = yaml.safe_load((CONFIG / "prometheus" / "security_rules.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})


def test_the_alerts_are_those_that_are_promised() -> None:
    """None is missing that `sentinel validate` asks others for, and each has its cases."""
    assert set(NAMES) == PROMISED
    assert CASES.keys() == set(NAMES)


def judged(files: list[Path]) -> tuple[dict[str, bool], str]:
    """Return which alerts' tests pass, and all that was printed."""
    done = subprocess.run(
        [program("promtool"), "test", "rules", *map(str, files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    said = done.stdout
    found = re.findall(r"^Unit Testing:\s+\S*/(\w+)\.yml\n\s+(SUCCESS|FAILED)", said, re.MULTILINE)
    return {alert: word == "SUCCESS" for alert, word in found}, said


def test_each_alert_fires_and_stays_silent_as_its_cases_say(tmp_path: Path) -> None:
    """The first sample of a new series, an idle system, counters that start over, two targets: see the cases."""
    passed, said = judged(write_tests(tmp_path))
    assert passed == dict.fromkeys(NAMES, True), said


@pytest.mark.parametrize("expression", ["vector(1)", "vector(1) == 0"])
def test_the_cases_notice_an_alert_that_always_or_never_fires(expression: str, tmp_path: Path) -> None:
    """Cases that pass whatever the expression says prove nothing; none may pass, and none fail for another reason."""
    passed, said = judged(write_tests(tmp_path, expression))
    assert passed == dict.fromkeys(NAMES, False)
    assert "error" not in said.lower().replace("errorbudgetburn", "").replace("scanerrorrate", "").replace(
        "networkerrorrate", ""
    )


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_each_alert_says_how_bad_it_is_and_where_the_runbook_lies(rule: dict[str, Any]) -> None:
    """Whoever is woken by it finds the page; the severity is one of the four words that routes know."""
    assert rule["labels"]["severity"] in {"low", "medium", "high", "critical", "{{ $labels.severity }}"}
    assert rule["labels"]["category"]
    assert rule["labels"]["origin"] == "sentinel"  # else it comes back as a claim, which raises the next alert
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    assert (REPOSITORY / rule["annotations"]["runbook_url"]).is_file()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_what_an_alert_tells_is_in_its_expression(rule: dict[str, Any]) -> None:
    """A label that the expression sums away would be an empty word in the message."""
    used = set(re.findall(r"\$labels\.(\w+)", str(rule["labels"]) + str(rule["annotations"])))
    kept = {name.strip() for names in re.findall(r"by \(([^)]*)\)", rule["expr"]) for name in names.split(",")}
    assert used <= kept | ({"slo"} if "slo:" in rule["expr"] else set())


def test_what_is_critical_is_out_within_two_minutes() -> None:
    """The guide's promise: for a minute at most, and Alertmanager waits ten seconds more."""
    waits = {rule["alert"]: rule.get("for", "0s") for rule in ALERTS if rule["labels"]["severity"] == "critical"}
    assert len(waits) >= 10
    assert set(waits.values()) <= {"0s", "30s", "1m"}
