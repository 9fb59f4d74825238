"""Limits come from a file that says where it is wrong."""

from __future__ import annotations

import pytest

from sentinel.detection.baseline import Tuning, parse_tuning
from sentinel.errors import ConfigError
from sentinel.model import Severity


def test_what_is_not_said_has_the_default() -> None:
    """A metric has its own limits, else the file's default, else ours."""
    tuning = parse_tuning(
        "default: {medium: 0.9}\nmetrics:\n  rows: {high: 0.99}\n  travel: {enabled: false}\n", "b.yml"
    )
    assert (tuning.of("rows").medium, tuning.of("rows").high) == (0.9, 0.99)
    assert (tuning.of("tools").medium, tuning.of("tools").high) == (0.9, 0.95)
    assert not tuning.of("travel").enabled
    assert parse_tuning("", "b.yml") == Tuning()


def test_a_score_is_called_by_the_limits() -> None:
    """Low below medium, high from high on."""
    limits = Tuning().of("rows")
    assert [limits.severity(score) for score in (0.7, 0.8, 0.95)] == [Severity.LOW, Severity.MEDIUM, Severity.HIGH]


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        ("metrics:\n  row: {}\n", "b.yml:2", "did you mean 'rows'"),
        ("metrics:\n  rows: {medium: 2}\n", "b.yml:2", "`medium` is a score from 0 to 1"),
        ("metrics:\n  rows:\n    enabled: perhaps\n", "b.yml:3", "`enabled` is true or false"),
        ("default: [1]\n", "b.yml:1", "expected names with values"),
        ("default: {high: 1}\ndefault: {high: 1}\n", "b.yml:2", "stands there twice"),
        ("default: {\n", "b.yml:2", "not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, where: str, reason: str) -> None:
    """File, line and the word that is wrong."""
    with pytest.raises(ConfigError, match=reason.replace("`", ".")) as error:
        parse_tuning(text, "b.yml")
    assert error.value.where == where
