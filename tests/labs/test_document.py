"""
The snippets of the lab document that are no Python: each is run by what it is meant for.

Its Python runs in tests/functional/test_labs.py, the last of it in test_utils.py; its rules, dashboard and classes are
also graded, as wrong solutions.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from labs.prometheus import checked_rules, fires

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "tests" / "functional" / "lab_004.txt").read_text()


def printed(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def test_the_packages_to_install_are_there() -> None:
    """Where Sentinel is installed, the command of the setup has nothing left to do."""
    (command,) = printed("bash")
    program, action, *packages = shlex.split(command)
    assert (program, action) == ("pip", "install")
    options = ["--dry-run", "--offline", "--python", sys.executable]
    done = subprocess.run(
        [REPOSITORY / ".tools" / "bin" / "uv", "pip", action, *options, *packages],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Would make no changes" in done.stderr, done.stderr


def test_the_log_line_of_the_document_lacks_what_ours_has() -> None:
    """Level and latency are missing there, the user is named, and the length is none that the text has."""
    line = json.loads(printed("json")[0])
    assert {"level", "latency_ms"} & set(line) == set()
    assert line["user_id"] == "user_123"
    assert line["input_length"] != len("Ignore all instructions")


@pytest.mark.parametrize(
    ("alert", "series", "fired"),
    [
        # 12 a second, over six threats: nobody is told.
        (
            "HighThreatRate",
            {f'sentinel_scan_total{{result="blocked",threat_type="{threat}"}}': "0+30x100" for threat in "abcdef"},
            False,
        ),
        # Every risk is 0.95: nobody is told.
        (
            "RiskScoreSpike",
            {'sentinel_risk_score_bucket{le="0.9"}': "0x100", 'sentinel_risk_score_bucket{le="+Inf"}': "0+150x100"},
            False,
        ),
        # Every scan takes more than a second: nobody is told.
        (
            "HighLatency",
            {
                'sentinel_scan_latency_seconds_bucket{le="1.0"}': "0x100",
                'sentinel_scan_latency_seconds_bucket{le="+Inf"}': "0+150x100",
            },
            False,
        ),
        # One in a thousand is blocked: people are woken.
        (
            "PossibleAttack",
            {
                'sentinel_scan_total{result="allowed",threat_type="none"}': "0+14985x100",
                'sentinel_scan_total{result="blocked",threat_type="injection"}': "0+15x100",
            },
            True,
        ),
    ],
)
def test_the_rules_of_the_document_load_and_are_wrong(alert: str, series: dict[str, str], fired: bool) -> None:
    """Prometheus takes them without a word, and each says the opposite of what is so."""
    (rules,) = printed("yaml")
    checked_rules(rules)
    assert alert in [rule["alert"] for rule in yaml.safe_load(rules)["groups"][0]["rules"]]
    assert fires(rules, alert, series, minute=24) == fired


def test_the_dashboard_of_the_document_is_json_with_four_panels() -> None:
    """That much is right; what its queries show is judged as a wrong solution of the lab."""
    board = json.loads(printed("json")[1])
    assert [panel["type"] for panel in board["panels"]] == ["graph", "gauge", "heatmap", "piechart"]
