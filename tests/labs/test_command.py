"""`sentinel lab`, as somebody uses it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from labs.course import NUMBERS, lab

from sentinel.cli import run

REPOSITORY = Path(__file__).parents[2]


class Done(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `sentinel lab ...` in a folder."""

    def sentinel_lab(*arguments: str, folder: Path) -> Done:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["sentinel", "lab", *arguments])
        return Done(run(), *capsys.readouterr())

    return sentinel_lab


def installed(*arguments: str | Path, folder: Path) -> Done:
    """Run it as a program of its own."""
    program = Path(sys.executable).with_name("sentinel")
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(
        [program, "lab", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which lab 001 was started, checked as it came, solved, and checked again."""
    folder = tmp_path_factory.mktemp("work")
    started = installed("start", "001", folder=folder)
    assert started.code == 0, started.err
    first = installed("check", "001", folder=folder)
    assert first.code == 1, first.err
    (folder / "first.txt").write_text(first.out)
    shutil.copytree(lab("001").folder / "solution", folder / "lab-001", dirs_exist_ok=True)
    second = installed("check", "001", "--json", folder=folder / "lab-001")
    assert second.code == 0, second.err
    (folder / "second.json").write_text(second.out)
    return folder


def test_the_list_says_what_there_is(work: Path, command: Command, tmp_path: Path) -> None:
    """Every lab, and the points of those checked in this folder."""
    rows = json.loads(command("list", "--json", folder=work).out)
    assert [row["lab"] for row in rows] == list(NUMBERS)
    assert (rows[0]["started"], rows[0]["points"], rows[0]["best"], rows[0]["max"]) == (True, 100, 100, 100)
    shown = command("list", folder=tmp_path).out
    assert all(lab(number).title in shown for number in NUMBERS)


def test_a_started_folder_holds_what_the_lab_needs_and_no_solution(work: Path) -> None:
    """The text, the files to work on, and `labs.utils`, which runs there."""
    names = {path.name for path in (work / "lab-001").iterdir()}
    assert {"README.md", "labs", "progress.json", "first_scans.py"} <= names
    assert {path.name for path in (work / "lab-001" / "labs").iterdir()} == {"__init__.py", "utils.py"}
    code = "from labs.utils import LabScorer; import labs; print(labs.__file__)"
    place = work / "lab-001"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(place / "labs" / "__init__.py")


def test_a_check_says_what_is_missing_and_how_to_get_there(work: Path) -> None:
    """What was seen, and a hint, under each criterion that is missed."""
    told = (work / "first.txt").read_text()
    assert "miss   8 judge() tells attacks from harmless texts" in told
    assert "seen: NotImplementedError:" in told
    assert "hint: is_safe of the result is the verdict." in told
    assert "F: not passed" in told


def test_progress_is_kept(work: Path) -> None:
    """In the learner's folder: the last check, how many there were, and the best."""
    kept = json.loads((work / "lab-001" / "progress.json").read_text())
    assert kept == json.loads((work / "second.json").read_text())
    assert (kept["lab"], kept["checks"], kept["points"], kept["best"]) == ("lab-001", 2, 100, 100)
    assert {criterion["earned"] for criterion in kept["criteria"]} > {5}


def test_the_report_is_markdown_or_json(work: Path, command: Command) -> None:
    """Both say the same."""
    text = command("report", "--student", "Ann", folder=work).out
    assert text.startswith("# Lab report: Ann\n\n100 of 100 points (100.0 %), labs passed: 1")
    document = json.loads(command("report", "--json", folder=work).out)
    assert (document["total_points"], document["labs_completed"]) == (100, 1)
    assert document["labs"][0]["exercises"]["scans"]["details"][0]["id"] == "verdicts"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("start", "009"), "there is no lab '009'; there are 001"),
        (("check", "001"), "lab-001 was not started here; begin with `sentinel lab start 001`"),
        (("report",), "no lab was checked here yet"),
        (("list", "--labs", "."), ".: holds no labs; name the folder `labs` of a checkout"),
        (("start", "001", "--into", "."), ". is there already"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: tuple[str, ...], told: str, command: Command, tmp_path: Path) -> None:
    """Exit code 2, and what to do."""
    (tmp_path / "mine.txt").touch()
    done = command(*arguments, folder=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert len(done.err.splitlines()) == 1


def test_labs_of_another_place_are_used_only_when_named(tmp_path: Path) -> None:
    """A folder `labs` that lies where somebody stands is not run; one that is named is."""
    (tmp_path / "labs").mkdir()
    (tmp_path / "labs" / "__init__.py").touch()
    (tmp_path / "labs" / "course.py").write_text("raise SystemExit('not ours')\n")
    assert installed("list", folder=tmp_path).code == 0
    assert "not ours" in installed("list", "--labs", tmp_path / "labs", folder=tmp_path).err


def test_a_spoilt_progress_file_is_told(command: Command, tmp_path: Path) -> None:
    """It is a file in the learner's hands."""
    assert command("start", "001", folder=tmp_path).code == 0
    (tmp_path / "lab-001" / "progress.json").write_text("{}")
    done = command("check", "001", folder=tmp_path)
    assert done.code == 2
    assert "progress.json can't be read; delete it to begin anew" in done.err
