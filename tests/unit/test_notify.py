"""The plan of who is told when: what it may say, and what it means."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentinel.errors import ConfigError
from sentinel.notify import default_plan, parse_plan

PLAN = """\
levels:
  - {name: security team, after: 0m, channels: [console]}
  - {name: management, after: 15m, channels: [console, console]}
  - {name: executives, after: 1h, channels: [console]}
"""


@pytest.mark.parametrize(("waited", "levels"), [(0, 1), (899, 1), (900, 2), (3_599, 2), (3_600, 3), (1e9, 3)])
def test_levels_come_due_in_time(waited: float, levels: int) -> None:
    """Management hears of what the team has not taken on in a quarter of an hour, and not before."""
    assert parse_plan(PLAN, "p.yml").due(waited) == default_plan().due(waited) == levels


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (PLAN, "- [", "not YAML"),
        (PLAN, "levels: []", "one to 3"),
        (PLAN, "wake: everybody", "missing: levels; unknown: wake"),
        ("15m", "0m", "later than the one before"),
        ("15m", "soon", "level 2: after is a number and a unit"),
        ("[console, console]", "[]", "level 2: channels"),
        ("[console, console]", "[mailtos://user:s3cret@host]", "level 2: a channel is console"),
        ("[console, console]", "[file:/nowhere/url]", "can't be read"),
        ("name: management, ", "", "level 2: missing: name"),
    ],
)
def test_a_plan_that_makes_no_sense_says_where(old: str, new: str, reason: str) -> None:
    """A mistake shows at the start, not at three in the morning; and no secret of a URL is repeated."""
    with pytest.raises(ConfigError) as caught:
        parse_plan(PLAN.replace(old, new), "p.yml")
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise, on Python 3.11
def test_a_channels_secret_comes_from_a_file(tmp_path: Path) -> None:
    """The URL of a channel holds its secrets, so the plan only names where it lies."""
    (tmp_path / "chat.url").write_text("json://127.0.0.1:9/hook\n")
    plan = parse_plan(PLAN.replace("[console, console]", f"['file:{tmp_path / 'chat.url'}']"), "p.yml")
    assert type(plan.levels[1].channels[0]).__name__ == "AppriseChannel"
