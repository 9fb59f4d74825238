"""
What `sentinel lab` does: show the labs, start one, check it, report.

The command line stands in the wheel and finds this folder; everything about labs is here.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labs.grading import Grade, Lab
from labs.utils import PASS_PERCENTAGE, LabScorer

__all__ = ["NUMBERS", "Progress", "lab", "progress_in", "record", "report", "start", "told"]

NUMBERS = ("001", "002", "003", "004")
PROGRESS = "progress.json"
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known about a learner's work on one lab: the last check, and the best one."""

    lab: str
    started_at: str
    """RFC 3339, UTC."""
    checked_at: str | None = None
    checks: int = 0
    best: int = 0
    points: int = 0
    max: int = 0
    criteria: tuple[dict[str, Any], ...] = ()


def lab(number: str) -> Lab:
    """
    Return a lab by its number.

    Raises:
        LookupError: There is none.
    """
    if number not in NUMBERS:
        raise LookupError(f"there is no lab {number!r}; there are {', '.join(NUMBERS)}")
    found: Lab = importlib.import_module(f"labs.lab_{number}.check").LAB
    return found


def start(number: str, into: Path, now: datetime) -> list[str]:
    """
    Make a learner's folder: the lab's text, the files to work on, and `labs.utils`.

    Args:
        number: Of the lab.
        into: The folder; may exist if it is empty.
        now: Aware.

    Returns:
        The names of the files to work on.

    Raises:
        LookupError: There is no such lab.
        FileExistsError: The folder holds something.
    """
    chosen = lab(number)
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise FileExistsError(f"{into} is there already; name another folder with --into")
    shutil.copytree(chosen.folder / "starter", into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    names = sorted(path.name for path in into.iterdir())
    shutil.copy(chosen.folder / "README.md", into)
    (into / "labs").mkdir()
    for name in ("__init__.py", "utils.py"):
        shutil.copy(_HERE / name, into / "labs")
    _save(into, Progress(chosen.id, started_at=_written(now)))
    return names


def record(grade: Grade, folder: Path, now: datetime) -> Progress:
    """Keep what came of a check in the learner's folder, and return it."""
    before = progress_in(folder)
    kept = before if before is not None and before.lab == grade.lab.id else None
    criteria = tuple(
        {
            "id": mark.criterion.id,
            "exercise": mark.criterion.exercise,
            "title": mark.criterion.title,
            "points": mark.criterion.points,
            "earned": mark.earned,
            "seen": mark.seen,
            "hint": mark.criterion.hint if mark.seen is not None else None,
        }
        for mark in grade.marks
    )
    progress = Progress(
        grade.lab.id,
        started_at=kept.started_at if kept else _written(now),
        checked_at=_written(now),
        checks=(kept.checks if kept else 0) + 1,
        best=max(kept.best if kept else 0, grade.earned),
        points=grade.earned,
        max=grade.lab.max,
        criteria=criteria,
    )
    _save(folder, progress)
    return progress


def progress_in(folder: Path) -> Progress | None:
    """
    Return what is kept in a folder; None where no lab was started.

    Raises:
        ValueError: The file was changed, and says nothing that can be read.
    """
    path = folder / PROGRESS
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Progress(**{**kept, "criteria": tuple(kept["criteria"])})
    except (ValueError, TypeError, LookupError):
        raise ValueError(f"{path} can't be read; delete it to begin anew") from None


def _save(folder: Path, progress: Progress) -> None:
    fields = {name: getattr(progress, name) for name in Progress.__dataclass_fields__}
    (folder / PROGRESS).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# --- what people read


def told(grade: Grade) -> Iterator[str]:
    """Yield the marks as lines of text; each that is missed says what was seen, and a hint."""
    for exercise, title in grade.lab.exercises.items():
        marks = grade.of(exercise)
        if not marks:
            continue
        yield f"{title}: {sum(mark.earned for mark in marks)} of {sum(mark.criterion.points for mark in marks)}"
        for mark in marks:
            yield f"  {'ok  ' if mark.seen is None else 'miss'} {mark.criterion.points:3} {mark.criterion.title}"
            if mark.seen is not None:
                yield f"           seen: {' '.join(mark.seen.split())}"
                yield f"           hint: {mark.criterion.hint}"
        yield ""


def report(folders: list[Path], student: str) -> tuple[str, dict[str, Any]]:
    """
    Return the report on the labs in some folders, as Markdown and as a JSON document.

    Args:
        folders: Those in which labs were started.
        student: Stands at the top.

    Raises:
        LookupError: No lab in them was checked yet.
        ValueError: A folder's progress can't be read, or the name is empty or too long.
    """
    found = [progress for folder in folders if (progress := progress_in(folder)) and progress.checked_at]
    if not found:
        raise LookupError("no lab was checked here yet; see `sentinel lab list`")
    scorer = LabScorer(student, elapsed_seconds=sum(map(_seconds, found)))
    for progress in found:
        for exercise in dict.fromkeys(criterion["exercise"] for criterion in progress.criteria):
            own = [criterion for criterion in progress.criteria if criterion["exercise"] == exercise]
            earned, most = (sum(criterion[key] for criterion in own) for key in ("earned", "points"))
            scorer.add_exercise(progress.lab, exercise, earned, most, details=own)
    missed = [
        f"- {progress.lab}, {criterion['exercise']}: {criterion['title']} ({criterion['points']} points)"
        for progress in found
        for criterion in progress.criteria
        if not criterion["earned"]
    ]
    text = scorer.generate_report() + ("\n## Missing\n\n" + "\n".join(missed) + "\n" if missed else "")
    labs = [
        {**scorer.get_lab_score(one.lab), "checked_at": one.checked_at, "checks": one.checks, "best": one.best}
        for one in found
    ]
    return text, {**scorer.get_total_score(), "pass_percentage": PASS_PERCENTAGE, "labs": labs}


def _seconds(progress: Progress) -> float:
    assert progress.checked_at is not None
    spent = datetime.fromisoformat(progress.checked_at) - datetime.fromisoformat(progress.started_at)
    return max(0.0, spent.total_seconds())
