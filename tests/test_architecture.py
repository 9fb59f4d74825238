"""The tree of folders is the architecture, and a tool checks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {"PYTHONPATH": str(folder / "src"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_layers_hold(copy: Path) -> None:
    """Nothing reaches up, and every module at the top has its place."""
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("src/sentinel/model.py", "import sentinel.scanning.scanner"),
        ("src/sentinel/detection/incidents.py", "import sentinel.storage"),
        ("src/sentinel/scanning/fuse.py", "import httpx"),
        ("src/sentinel/newroom.py", "VALUE = 1"),
    ],
)
def test_a_deliberate_violation_fails(copy: Path, file: str, line: str) -> None:
    """An upward import, a pure room that does I/O, and a module that was given no place."""
    path = copy / file
    path.write_text(f"{path.read_text() if path.exists() else ''}\n{line}\n")
    done = lint(copy)
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout or "newroom" in done.stdout + done.stderr
