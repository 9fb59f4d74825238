"""Prometheus' own tool judges what we give it. Without it these tests fail, by intention."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.deploy import programs

CONFIG = programs.CONFIG / "prometheus"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [programs.program("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_promtool_accepts_the_rules() -> None:
    """A rule file that does not parse would leave Prometheus without any alert."""
    checked = promtool("check", "rules", CONFIG / "security_rules.yml")
    assert checked.returncode == 0, checked.stderr


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    """The configuration works as a folder: put a token beside it, and it is complete."""
    copy = shutil.copytree(CONFIG, tmp_path / "prometheus")
    (copy / "scraper.token").write_text("sntl_scraper_\n")
    checked = promtool("check", "config", copy / "prometheus.yml")
    assert checked.returncode == 0, checked.stderr
