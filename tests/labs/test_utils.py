"""Points, grades, reports and boxes of `labs.utils`."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from labs.utils import LabScorer, calculate_score, print_score_box

DOCUMENT = Path(__file__).parents[1] / "functional" / "lab_004.txt"


@pytest.mark.parametrize(
    ("earned", "grade", "passed"),
    [
        (100, "A", True),
        (90, "A", True),
        (89.99, "B", True),
        (80, "B", True),
        (70, "C", True),
        (69.99, "D", False),
        (60, "D", False),
        (59.99, "F", False),
        (0, "F", False),
    ],
)
def test_grades_change_at_their_lines(earned: float, grade: str, passed: bool) -> None:
    """The line itself belongs to the better grade, and nothing is rounded up to it."""
    score = calculate_score(earned, 100)
    assert (score["grade"], score["passed"], score["percentage"]) == (grade, passed, earned)
    assert set(score) == {"earned", "max", "percentage", "grade", "description", "passed"}


@pytest.mark.parametrize(
    ("earned", "most"), [(-1, 10), (11, 10), (math.nan, 10), (1, math.inf), (True, 10), ("1", 10), (1, -1)]
)
def test_points_out_of_range_are_refused(earned: float, most: float) -> None:
    """No more than there is, no less than nothing, and numbers only."""
    scorer = LabScorer("ann")
    with pytest.raises(ValueError, match="must be"):
        calculate_score(earned, most)
    with pytest.raises(ValueError, match="must be"):
        scorer.add_exercise("lab-001", "scans", earned, most)
    assert scorer.get_total_score()["max_points"] == 0


def test_nothing_of_nothing_is_no_success() -> None:
    """A scorer without an exercise divides by nothing."""
    assert calculate_score(0, 0)["percentage"] == 0
    assert LabScorer("ann").get_total_score()["labs_completed"] == 0


def test_an_exercise_counts_once() -> None:
    """Trying again takes the place of the earlier try, in this lab only."""
    scorer = LabScorer("ann")
    for earned in (10, 25, 20):
        scorer.add_exercise("lab-004", "logging", earned, 25)
    scorer.add_exercise("lab-003", "logging", 5, 25)
    assert (scorer.get_total_score()["total_points"], scorer.get_total_score()["max_points"]) == (25, 50)
    assert scorer.get_lab_score("lab-004")["exercises"]["logging"]["earned"] == 20
    assert scorer.get_total_score()["labs_completed"] == 1


def test_the_duration_is_that_of_a_clock_that_never_goes_back() -> None:
    """Minutes, over a day too, and with what was spent before."""
    now = [1000.0]
    scorer = LabScorer("ann", elapsed_seconds=60, clock=lambda: now[0])
    now[0] += 26 * 3600
    assert scorer.get_total_score()["duration_minutes"] == 26 * 60 + 1


def test_the_reports_say_what_was_added(tmp_path: Path) -> None:
    """Markdown for people, where a name can't break the table, and JSON with the details."""
    scorer = LabScorer("ann | *bob*\n# chief")
    scorer.add_exercise("lab-001", "a|b", 7, 10, details={"seen": ["x"]})
    scorer.save_report(tmp_path / "report.md")
    scorer.export_json(tmp_path / "report.json")
    report = (tmp_path / "report.md").read_text()
    assert report.splitlines()[0] == "# Lab report: ann \\| *bob* # chief"
    assert "| a\\|b | 7 | 10 | C |" in report
    exported = json.loads((tmp_path / "report.json").read_text())
    assert exported["total_points"] == 7
    assert exported["labs"][0]["exercises"]["a|b"]["details"] == {"seen": ["x"]}
    with pytest.raises(TypeError):
        scorer.add_exercise("lab-001", "c", 1, 1, details=object())


@pytest.mark.parametrize("columns", [1, 2, 5, 11, 12, 13, 40, 200])
@pytest.mark.parametrize(
    "name", ["Lab 004: Production Monitoring", "演習四、本番環境の監視と警報", "x" * 300, "", "\x1b[2J\r\n"]
)
def test_the_box_fits(columns: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the width and the name: a frame of the terminal's width, and nothing lost but control codes."""
    from rich.cells import cell_len

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", output := io.StringIO())
    print_score_box(name, 87, 100)
    lines = output.getvalue().splitlines()
    if columns >= 12:  # else the terminal breaks the lines
        assert {cell_len(line) for line in lines} == {min(columns, 60)}
    told = re.sub(r"[^\w]", "", output.getvalue())
    assert "87of100points" in told
    assert re.sub(r"[^\w]|\x1b\[2J", "", name) in told
    assert "\x1b" not in output.getvalue()


def test_the_box_can_be_printed_in_any_encoding() -> None:
    """A terminal without box characters gets other ones, and no error."""
    code = "from labs.utils import print_score_box; print_score_box('Lab ü 演習 🚨', 20, 25)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={"PYTHONIOENCODING": "ascii", "COLUMNS": "40"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "20 of 25 points (80.0 %)" in done.stdout
    assert done.stdout.isascii()


def test_the_full_run_of_the_document_works_as_printed(tmp_path: Path) -> None:
    """The last snippet of lab 004, where `labs` stands beside it."""
    (tmp_path / "labs").symlink_to(Path(__file__).parents[2] / "labs")
    snippets = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    (snippet,) = [snippet for snippet in snippets if "LabScorer" in snippet]
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=tmp_path,
        env={"PYTHONUTF8": "1", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert "Lab 004: Production Monitoring" in done.stdout
    assert "87 of 100 points (87.0 %)" in done.stdout
    assert "B: passed" in done.stdout
