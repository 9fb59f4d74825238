"""
Points, grades and reports of the labs.

    >>> scorer = LabScorer(student_id="your_name")
    >>> scorer.add_exercise("lab-004", "logging", 22, 25)
    >>> scorer.get_total_score()["total_points"]
    22

This file adds up what it is told. `sentinel lab check` is what looks at logs, metrics, rules and code, and tells it.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

__all__ = ["PASS_PERCENTAGE", "LabScorer", "calculate_score", "print_score_box"]

PASS_PERCENTAGE = 70
_GRADES = ((90, "A", "excellent"), (80, "B", "good"), (70, "C", "solid"), (60, "D", "not there yet"))
_BOX_COLUMNS = 60
_NARROWEST_BOX = 12
"""Columns; where there are fewer, the lines stand without a frame, and the terminal breaks them."""
_LONGEST_NAME = 200


def calculate_score(earned: float, max: float) -> dict[str, Any]:  # noqa: A002 - the name is part of the interface
    """
    Return what points are worth.

    Args:
        earned: From 0 to `max`.
        max: Not below 0; of 0 points 0 % are earned.

    Returns:
        `earned`, `max`, `percentage` (not rounded), `grade` (A from 90 %, B 80, C 70, D 60, else F), `description`,
        `passed` (from 70 %).

    Raises:
        ValueError: A number is out of range or none.
    """
    _check_points("max", max, math.inf)
    _check_points("earned", earned, max)
    percentage = 100 * earned / max if max else 0.0
    grade, description = next(
        ((grade, told) for least, grade, told in _GRADES if percentage >= least), ("F", "begin again")
    )
    return {
        "earned": earned,
        "max": max,
        "percentage": percentage,
        "grade": grade,
        "description": description,
        "passed": percentage >= PASS_PERCENTAGE,
    }


def _check_points(name: str, value: object, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be from 0 to {most:g}")


class LabScorer:
    """
    Adds up exercises, each once: one that is added again takes the place of the earlier try.

    Args:
        student_id: Whose points they are; stands in the reports.
        elapsed_seconds: Time spent before now.
        clock: Seconds that never go back.

    Raises:
        ValueError: The name is empty or longer than 200 characters.
    """

    def __init__(
        self, student_id: str, *, elapsed_seconds: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.student_id = _name("student_id", student_id)
        self._clock = clock
        self._began = clock() - elapsed_seconds
        self._labs: dict[str, dict[str, dict[str, Any]]] = {}

    def add_exercise(
        self,
        lab_id: str,
        name: str,
        earned: float,
        max: float,  # noqa: A002 - the name is part of the interface
        details: Any = None,
    ) -> None:
        """
        Take in the points of an exercise.

        Args:
            lab_id: Such as `lab-004`.
            name: Of the exercise, within its lab.
            earned: From 0 to `max`.
            max: More than 0.
            details: Anything that JSON can hold; stands in the JSON report.

        Raises:
            ValueError: A number is out of range, or a name is empty or too long. Nothing is counted then.
            TypeError: JSON can't hold the details.
        """
        if not max:
            raise ValueError("max must be more than 0")
        score = calculate_score(earned, max)
        json.dumps(details)
        self._labs.setdefault(_name("lab_id", lab_id), {})[_name("name", name)] = {**score, "details": details}

    def get_lab_score(self, lab_id: str) -> dict[str, Any]:
        """Return `lab_id`, `exercises` by name, and the sum as `calculate_score` has it; 0 of 0 for an unknown lab."""
        exercises = self._labs.get(lab_id, {})
        return {"lab_id": lab_id, "exercises": dict(exercises), **_sum(exercises.values())}

    def get_total_score(self) -> dict[str, Any]:
        """Return `student_id, total_points, max_points, percentage, labs_completed, duration_minutes`.

        A lab is completed when it is passed: at least 70 % of the points of its exercises.
        """
        labs = [self.get_lab_score(lab_id) for lab_id in self._labs]
        total = _sum(labs)
        return {
            "student_id": self.student_id,
            "total_points": total["earned"],
            "max_points": total["max"],
            "percentage": total["percentage"],
            "labs_completed": sum(lab["passed"] for lab in labs),
            "duration_minutes": round((self._clock() - self._began) / 60, 1),
        }

    def generate_report(self) -> str:
        """Return the points as Markdown."""
        total = self.get_total_score()
        points = _points(total["total_points"], total["max_points"], total["percentage"])
        passed, minutes = total["labs_completed"], total["duration_minutes"]
        lines = [
            f"# Lab report: {_cell(self.student_id)}",
            "",
            f"{points}, labs passed: {passed}, minutes: {minutes:g}",
        ]
        for lab_id in sorted(self._labs):
            lab = self.get_lab_score(lab_id)
            lines += ["", f"## {_cell(lab_id)}", "", "| Exercise | Points | Of | Grade |", "| --- | --- | --- | --- |"]
            lines += [
                f"| {_cell(name)} | {score['earned']:g} | {score['max']:g} | {score['grade']} |"
                for name, score in lab["exercises"].items()
            ]
            verdict = "passed" if lab["passed"] else "not passed"
            lines.append(f"| Together | {lab['earned']:g} | {lab['max']:g} | {lab['grade']}, {verdict} |")
        return "\n".join(lines) + "\n"

    def export_json(self, path: str | Path) -> None:
        """Write the total and every lab's exercises to a file."""
        document = {**self.get_total_score(), "labs": [self.get_lab_score(lab_id) for lab_id in sorted(self._labs)]}
        Path(path).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def save_report(self, path: str | Path) -> None:
        """Write the Markdown report to a file."""
        Path(path).write_text(self.generate_report(), encoding="utf-8")


def _points(earned: float, most: float, percentage: float) -> str:
    return f"{earned:g} of {most:g} points ({percentage:.1f} %)"


def _sum(scores: Any) -> dict[str, Any]:
    scores = list(scores)
    return calculate_score(sum(score["earned"] for score in scores), sum(score["max"] for score in scores))


def _name(where: str, name: str) -> str:
    if not name.strip() or len(name) > _LONGEST_NAME:
        raise ValueError(f"{where} must be a text of 1 to {_LONGEST_NAME} characters")
    return name


def _cell(text: str) -> str:
    """Return a text as one cell of a Markdown table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


def print_score_box(name: str, earned: float, max: float) -> None:  # noqa: A002 - the name is part of the interface
    """
    Print points and grade in a box that fits the terminal and its encoding.

    Raises:
        ValueError: As `calculate_score`.
    """
    score = calculate_score(earned, max)
    verdict = "passed" if score["passed"] else f"not passed, {PASS_PERCENTAGE} % needed"
    lines = f"{_shown(name)}\n{_points(earned, max, score['percentage'])}\n{score['grade']}: {verdict}"
    console = Console(highlight=False)
    if console.width < _NARROWEST_BOX:
        sys.stdout.write(f"{lines}\n")
        return
    console.print(Panel(Text(lines, justify="center", overflow="fold"), width=min(console.width, _BOX_COLUMNS)))


def _shown(name: str) -> str:
    """Return a text without what a terminal would obey or its encoding lacks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    printable = "".join(character if character.isprintable() else " " for character in name)
    return printable.encode(encoding, "replace").decode(encoding, "replace")
