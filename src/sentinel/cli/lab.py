"""
`sentinel lab`: learn by doing, and have it graded.

The labs stand in `labs/` of the checkout, not in the wheel; this file finds them and shows what they say.
"""

from __future__ import annotations

import importlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

import sentinel
from sentinel.cli._service import AsJson, console, fail
from sentinel.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(help="Learn Sentinel by doing; what you make is graded.", no_args_is_help=True)

_USAGE = 2
Labs = Annotated[
    Path | None,
    typer.Option(
        "--labs", envvar="SENTINEL_LABS", help="The folder `labs` of a checkout; by default that of this checkout."
    ),
]
Number = Annotated[str, typer.Argument(help="001 to 004.")]


@app.command("list")
def list_labs(labs: Labs = None, as_json: AsJson = False) -> None:
    """
    Show the labs, and how far you are with those started in this folder.

    Example: sentinel lab list
    """
    course = _course(labs)
    rows = []
    for number in course.NUMBERS:
        lab = course.lab(number)
        progress = _progress(course, Path(lab.id))
        rows.append(
            {
                "lab": number,
                "title": lab.title,
                "level": lab.level,
                "minutes": lab.minutes,
                "max": lab.max,
                "started": progress is not None,
                "points": progress.points if progress and progress.checked_at else None,
                "best": progress.best if progress and progress.checked_at else None,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("lab", "title", "level", *(Column(name, justify="right") for name in ("minutes", "points")))
    for row in rows:
        points = f"{row['points']} of {row['max']}" if row["points"] is not None else "begun" if row["started"] else ""
        table.add_row(row["lab"], row["title"], row["level"], str(row["minutes"]), points)
    console().print(table)


@app.command()
def start(
    number: Number,
    into: Annotated[
        Path | None, typer.Option(help="The folder to make.", show_default="lab-NUMBER in this folder")
    ] = None,
    labs: Labs = None,
) -> None:
    """
    Make a folder with the lab's text and the files to work on.

    Example: sentinel lab start 001
    """
    course = _course(labs)
    folder = into or Path(_lab(course, number).id)
    try:
        names = course.start(number, folder, datetime.now(UTC))
    except OSError as err:
        fail(err.strerror or str(err), _USAGE)
    typer.echo(f"{folder} is ready. Read {folder / 'README.md'}, work on {', '.join(names)}.")
    typer.echo(f"Then, in any order and as often as you like: cd {folder} && sentinel lab check {number}")


@app.command()
def check(
    number: Number,
    folder: Annotated[
        Path | None,
        typer.Argument(help="Where the lab was started.", show_default="this folder, or lab-NUMBER in it"),
    ] = None,
    labs: Labs = None,
    as_json: AsJson = False,
) -> None:
    """
    Run what you wrote, and grade what it does. Exit code 0: passed, 70 of 100 points; 1: not yet; 2: wrong usage.

    Your code runs in a process of its own, for a limited time, and reaches nothing but this machine.

    Example: sentinel lab check 001
    """
    course = _course(labs)
    lab = _lab(course, number)
    place = _started(course, lab.id, folder)
    try:
        grade = lab.grade(place)
    except importlib.import_module("labs.learner").Miss as miss:
        fail(str(miss), _USAGE)
    progress = course.record(grade, place, datetime.now(UTC))
    score = importlib.import_module("labs.utils")
    if as_json:
        typer.echo(json.dumps({name: getattr(progress, name) for name in progress.__dataclass_fields__}))
    else:
        for line in course.told(grade):
            typer.echo(line)
        score.print_score_box(f"Lab {number}: {lab.title}", grade.earned, lab.max)
    if not score.calculate_score(grade.earned, lab.max)["passed"]:
        raise typer.Exit(1)


@app.command()
def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Where labs were started.", show_default="this folder and each lab-NUMBER in it"),
    ] = None,
    student: Annotated[str, typer.Option(help="The name at the top.")] = "learner",
    labs: Labs = None,
    as_json: AsJson = False,
) -> None:
    """
    Write what the last checks said, as Markdown.

    Example: sentinel lab report > report.md
    """
    course = _course(labs)
    found = folders or [Path(), *sorted(Path().glob("lab-[0-9]*"))]
    try:
        text, document = course.report(found, student)
    except (LookupError, ValueError) as err:
        fail(str(err), _USAGE)
    typer.echo(json.dumps(document) if as_json else text, nl=as_json)


def _course(named: Path | None) -> Any:
    """
    Return the module that knows the labs.

    Only a folder that was named, or that of the checkout from which this very code runs: never one that happens to lie
    in the folder where somebody stands, since what is in it is run.
    """
    folder = Path(sentinel.__file__).parents[2] / "labs" if named is None else named
    if not (folder / "course.py").is_file() or folder.resolve().name != "labs":
        if named is not None:
            raise ConfigError("holds no labs; name the folder `labs` of a checkout", where=str(named))
        raise ConfigError(
            "the labs are not part of an installation; get the checkout, and name its folder `labs` by --labs or "
            "SENTINEL_LABS"
        )
    sys.path.insert(0, str(folder.resolve().parent))
    return importlib.import_module("labs.course")


def _lab(course: Any, number: str) -> Any:
    try:
        return course.lab(number)
    except LookupError as err:
        fail(str(err.args[0]), _USAGE)


def _progress(course: Any, folder: Path) -> Any:
    try:
        return course.progress_in(folder)
    except ValueError as err:
        fail(str(err), _USAGE)


def _started(course: Any, lab_id: str, named: Path | None) -> Path:
    """Return the folder in which a lab was started."""
    for folder in [Path(), Path(lab_id)] if named is None else [named]:
        progress = _progress(course, folder)
        if progress is not None and progress.lab == lab_id:
            return folder
    number = lab_id.removeprefix("lab-")
    where = "here" if named is None else f"in {named}"
    return fail(f"{lab_id} was not started {where}; begin with `sentinel lab start {number}`", _USAGE)
