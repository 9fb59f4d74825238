"""`sentinel demo`: one run of the real thing, and what it says of itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.service import SENTINEL, eventually

from sentinel.cli._demo.measure import Criterion, Measured
from sentinel.cli._demo.visitors import PEOPLE


class Run:
    """One demo, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        # Settings of whoever runs it must not reach the service of the demo.
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
        environment |= {"TMPDIR": str(self.temporary), "SENTINEL_ALLOW_LIST": "0.0.0.0/0", "http_proxy": "127.0.0.1:1"}
        done = subprocess.run(
            [SENTINEL, "demo", "--json"], cwd=folder, env=environment, capture_output=True, timeout=240, check=False
        )
        self.code, self.talk = done.returncode, done.stderr.decode()
        assert done.stdout, self.talk
        self.told: dict[str, Any] = json.loads(done.stdout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("demo"))


def test_every_attacker_is_refused_by_what_fits(run: Run) -> None:
    """The guesser's address is blocked, the campaigner limited, the copier suspended; each by an action in force."""
    assert [(attack["subject"], attack["refused_with"]) for attack in run.told["attacks"]] == [
        ("203.0.113.9", 403),
        ("mallory", 429),
        ("trent.wells", 403),
    ]
    in_force = {(action["action_type"], action["target"]) for action in run.told["actions"] if action["enforced_by"]}
    assert in_force >= {
        ("ip_block", "203.0.113.9"),
        ("rate_limit", "user:mallory"),
        ("user_suspend", "trent.wells"),
    }
    assert [action for action in run.told["actions"] if action["created_by"] != "sentinel"] == []


def test_people_at_work_notice_nothing(run: Run) -> None:
    """They were there, and nobody was refused, blocked or made an incident of."""
    people = run.told["people"]
    assert people["requests"] > 2 * len(PEOPLE)
    assert (people["refused"], people["texts_refused"]) == (0, 0)
    assert {incident["subject"] for incident in run.told["incidents"]} & set(PEOPLE) == set()


def test_each_criterion_is_measured_or_says_that_it_is_not(run: Run) -> None:
    """Four figures and two plain words; the exit code says whether a promise was broken."""
    criteria = {criterion["name"]: criterion for criterion in run.told["criteria"]}
    measured = {name for name, criterion in criteria.items() if criterion["measured"] is not None}
    assert measured == {"events processed", "false positives", "action taken", "critical alert delivered"}
    for name in criteria.keys() - measured:
        assert "not measured here" in criteria[name]["told"]
        assert criteria[name]["met"] is None
    assert run.told["ok"] is all(criterion["met"] is not False for criterion in criteria.values())
    assert run.code == (0 if run.told["ok"] else 1)
    assert criteria["critical alert delivered"]["measured"] > 0


def test_it_talks_in_plain_text_where_nobody_looks_and_leaves_nothing_behind(run: Run) -> None:
    """Standard output is one document, standard error has no escape codes, and the data folder is gone."""
    assert "refused with 403" in run.talk
    assert "\x1b" not in run.talk
    assert "Traceback" not in run.talk
    assert list(run.temporary.iterdir()) == []


def test_a_demo_that_is_ended_takes_its_service_along(tmp_path: Path) -> None:
    """Whoever closes the terminal finds neither a process nor a folder later."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([SENTINEL, "demo"], env=environment, stdout=subprocess.DEVNULL, cwd=tmp_path) as process:

        def served() -> int | None:
            found = list(tmp_path.glob("sentinel-demo-*/data/service.json"))
            return int(json.loads(found[0].read_text())["pid"]) if found else None

        service = eventually(served, seconds=120, what="the demo's service runs")
        process.terminate()
        assert process.wait(60) == 143
    eventually(lambda: not Path(f"/proc/{service}").exists(), seconds=30, what="the service has ended")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("measured", "met"), [(4.9, True), (5.0, False), (None, False)])
def test_a_promise_is_broken_when_the_figure_is_missing_or_too_large(measured: float | None, met: bool) -> None:
    """An attacker whom nobody refused is no good time."""
    criterion = Criterion("events processed", "within 5 s", limit=5.0, measured=measured)
    assert criterion.met is met
    assert Measured(1, [], [], (criterion,)).met is met
