"""The labs grade what is there: reference solutions in full, wrong ones short by exactly their mistake."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs.course import NUMBERS, lab
from labs.grading import Grade, Lab
from labs.learner import Learner, Miss


def _sibling(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"labs_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wrong = _sibling("wrong")
ROUNDS = [(number, together) for number in NUMBERS for together in wrong.rounds(number)]


def solved(chosen: Lab, folder: Path) -> Path:
    """Make a learner's folder with the reference solution."""
    shutil.copytree(chosen.folder / "starter", folder)
    shutil.copytree(chosen.folder / "solution", folder, dirs_exist_ok=True)
    return folder


def missed(grade: Grade) -> dict[str, str]:
    return {mark.criterion.id: mark.seen for mark in grade.marks if mark.seen is not None}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_lab_is_worth_100_points(number: str) -> None:
    """And says of each criterion what it is, and how to get there."""
    chosen = lab(number)
    assert chosen.max == 100
    assert {criterion.exercise for criterion in chosen.criteria} == set(chosen.exercises)
    assert len({criterion.id for criterion in chosen.criteria}) == len(chosen.criteria)
    assert all(criterion.title and criterion.hint for criterion in chosen.criteria)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_text_gives_each_exercise_the_points_that_it_has(number: str) -> None:
    """The page says what the grading says."""
    chosen = lab(number)
    text = (chosen.folder / "README.md").read_text()
    for place, exercise in enumerate(chosen.exercises, 1):
        points = sum(criterion.points for criterion in chosen.criteria if criterion.exercise == exercise)
        assert f"## Exercise {place}: " in text
        assert f"({points} points)" in text.split(f"## Exercise {place}: ")[1].splitlines()[0]
    assert f"# Lab {number}: {chosen.title}\n" in text
    assert f"{chosen.level.capitalize()}, {chosen.minutes} minutes, 100 points.\n" in text


@pytest.mark.parametrize("number", NUMBERS)
def test_a_folder_as_it_came_has_no_points(number: str) -> None:
    """Nothing is earned by doing nothing."""
    assert lab(number).grade(lab(number).folder / "starter").earned == 0


@pytest.mark.parametrize("number", NUMBERS)
def test_the_reference_solution_has_all_points(number: str, tmp_path: Path) -> None:
    """100 of 100, so every lab can be solved as it stands."""
    chosen = lab(number)
    grade = chosen.grade(solved(chosen, tmp_path / "lab"))
    assert missed(grade) == {}
    assert grade.earned == 100


@pytest.mark.parametrize(
    ("number", "together"), ROUNDS, ids=[f"{number}-{index}" for index, (number, _) in enumerate(ROUNDS)]
)
def test_a_wrong_solution_loses_exactly_what_it_gets_wrong(number: str, together: list[Any], tmp_path: Path) -> None:
    """No more, and no less, than the points of the criteria that a mistake concerns."""
    chosen = lab(number)
    folder = solved(chosen, tmp_path / "lab")
    for one in together:
        text = (folder / one.file).read_text()
        assert not one.old or text.count(one.old) == 1, one
        (folder / one.file).write_text(text.replace(one.old, one.new) if one.old else one.new)
    grade = chosen.grade(folder)
    lost = frozenset[str]().union(*(one.lost for one in together))
    assert set(missed(grade)) == lost, missed(grade)
    assert grade.earned == 100 - sum(criterion.points for criterion in chosen.criteria if criterion.id in lost)


@pytest.mark.parametrize("number", NUMBERS)
def test_there_are_enough_wrong_solutions(number: str) -> None:
    """Five at least, and together they cost more than half of the criteria."""
    assert len(wrong.WRONG[number]) >= 5
    lost = frozenset[str]().union(*(one.lost for one in wrong.WRONG[number]))
    assert len(lost) * 2 >= len(lab(number).criteria)


OURS = {
    "alerting.py": "from sentinel.monitoring import AlertManager\n",
    "dashboard.py": "from sentinel.monitoring import SecurityDashboard\n",
    "measured.py": """
from prometheus_client import start_http_server
from sentinel import scan
from sentinel.monitoring import instrument
metrics = instrument()
def instrumented_scan(text, session_id=None):
    try:
        result = scan(text)
    except Exception:
        metrics.count_error()
        raise
    metrics.count(result, session_id=session_id)
    return result
def start_exporter(port):
    start_http_server(port, addr="127.0.0.1", registry=metrics.registry)
""",
}


def test_what_sentinel_ships_does_what_the_lab_asks(tmp_path: Path) -> None:
    """Our own alert rules, alerter, metrics and figures are a solution, too."""
    chosen = lab("004")
    folder = solved(chosen, tmp_path / "lab")
    for name, text in OURS.items():
        (folder / name).write_text(text)
    rules = yaml.safe_load((Path(__file__).parents[2] / "config" / "prometheus" / "security_rules.yml").read_text())
    # Those of the scanner; the others are no matter of the lab, and promtool would judge all of them each time.
    scanner = [group for group in rules["groups"] if group["name"] == "scanner"]
    (folder / "alerts.yml").write_text(yaml.safe_dump({"groups": scanner}))
    assert missed(chosen.grade(folder)) == {}


# --- what a learner's code may not do to whoever grades it


PROBES = """
import importlib
def run():
    return importlib.import_module("work").run()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "probes.py").write_text(PROBES)
    (tmp_path / "work").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import time\ndef run():\n    while True:\n        time.sleep(1)", "no answer within 2 seconds"),
        ("import os\ndef run():\n    os._exit(0)", "the code ended the process"),
        ("import sys\ndef run():\n    sys.exit('enough')", "SystemExit: enough (work.py, line 3)"),
        ("def run():\n    return object()", "TypeError"),
        ("def run():\n    return 'x' * 2_000_000", "broke off"),
        ("def run(:", "SyntaxError"),
        ("import subprocess\ndef run():\n    subprocess.run(['true'])", "a lab starts no other programs"),
        ("import socket\ndef run():\n    socket.create_connection(('192.0.2.1', 80), 1)", "nothing but this machine"),
        *(
            (f"import socket\ndef run():\n    socket.socket(2, 2).{call}", "nothing but this machine")
            for call in ("sendto(b'x', ('192.0.2.1', 9))", "sendmsg([b'x'], [], 0, ('192.0.2.1', 9))")
        ),
        ("import socket\ndef run():\n    socket.getaddrinfo('mail.test', 25)", "a lab looks up no names"),
    ],
)
def test_code_that_goes_wrong_is_told_and_ended(folder: Path, code: str, told: str) -> None:
    """An endless loop, an exit, an answer without end, other programs, other machines: all are a miss."""
    (folder / "work" / "work.py").write_text(code)
    patience = 2 if "while" in code else 30
    with (
        Learner(folder / "work", folder / "probes.py", patience_seconds=patience) as learner,
        pytest.raises(Miss, match=re.escape(told)),
    ):
        learner.ask("run")


def test_what_code_does_stays_in_its_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, the caller's environment and open ports stay apart; what is printed is kept, within bounds."""
    monkeypatch.setenv("SENTINEL_TOKEN", "hidden")
    (folder / "work" / "work.py").write_text(
        "import os, socket\n"
        "def run():\n"
        "    open('new.txt', 'w').close()\n"
        "    print('x' * 1_000_000)\n"
        "    server = socket.create_server(('', 0))\n"
        "    return [os.environ.get('SENTINEL_TOKEN'), server.getsockname()[0]]\n"
    )
    with Learner(folder / "work", folder / "probes.py") as learner:
        assert learner.ask("run") == [None, "127.0.0.1"]
        assert learner.exposed == ["0.0.0.0"]
        assert len(learner.printed("run")) == 2**18
    assert [path.name for path in (folder / "work").iterdir()] == ["work.py"]


def test_a_folder_that_is_no_lab_is_refused(folder: Path) -> None:
    """Nobody waits for the copy of a disk."""
    for number in range(501):
        (folder / "work" / f"{number}.txt").touch()
    with pytest.raises(Miss, match="holds more than 500 files"):
        Learner(folder / "work", folder / "probes.py")
