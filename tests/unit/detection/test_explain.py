"""Rules in words, and the commands that look at rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sentinel.cli import app
from sentinel.detection import parse_rules
from sentinel.detection.explain import explain

from .samples import FAILED

RULE = "name: c\ncorrelation: {{{}, rules: [failed], group-by: [ip_address], timespan: 90s}}"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("type: event_count, condition: {gte: 10}", "At least 10 finds in less than 90 seconds: failed."),
        ("type: value_count, condition: {gt: 3, field: f}", "More than 3 different values of f in the finds"),
        ("type: value_sum, condition: {gte: 2.5, field: f}", "A sum of f of at least 2.5 over the finds"),
        ("type: value_avg, condition: {lt: 2, field: f}", "in a window of 90 seconds: failed."),
        ("type: event_count, condition: {lt: 3}", "judged when the window has closed"),
        ("type: temporal", "Finds of at least 1 of the rules"),
        ("type: temporal_ordered", "in this order"),
        ("type: event_count, condition: {gte: 10}", "Counted for each ip_address on its own."),
    ],
)
def test_a_rule_is_explained(asked: str, words: str) -> None:
    """People see what a rule asks without knowing Sigma."""
    rules = parse_rules([("r", f"{FAILED}\n---\n{RULE.format(asked)}")])
    assert not rules.refused
    assert words in explain(rules.rules[1])


def test_lint_tells_what_is_refused(tmp_path: Path) -> None:
    """Every rule is loaded or refused with its place, in words and as JSON, and the exit code says which."""
    (tmp_path / "good.yml").write_text(FAILED)
    assert CliRunner().invoke(app, ["rules", "lint", str(tmp_path)]).exit_code == 0
    bad = tmp_path / "bad.yml"
    bad.write_text(FAILED.replace("name: failed", "name: bad").replace("success:", "success|odd:"))
    result = CliRunner().invoke(app, ["rules", "lint", str(tmp_path), "--json"])
    told = json.loads(result.stdout)
    assert (result.exit_code, told["files"], told["loaded"], told["warnings"]) == (1, 2, 1, [])
    assert [(row["file"], row["line"], row["rule"]) for row in told["refused"]] == [(str(bad), 4, "bad")]
    assert "bad.yml:4: refused" in CliRunner().invoke(app, ["rules", "lint", str(tmp_path)]).stdout


def test_the_shipped_rules_can_be_looked_at() -> None:
    """They are listed, explained, and their examples do what they show."""
    listed = json.loads(CliRunner().invoke(app, ["rules", "list", "--json"]).stdout)["items"]
    assert "failed_logins_by_address" in {row["rule"] for row in listed}
    explained = CliRunner().invoke(app, ["rules", "explain", "failed_logins_by_address"]).stdout
    assert "At least 10 finds in less than 1 minute" in explained
    played = CliRunner().invoke(app, ["rules", "test"])
    assert (played.exit_code, "0 failed" in played.stdout) == (0, True)
