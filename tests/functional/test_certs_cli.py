"""`sentinel certs`: what lands on disk, what is renewed, and what the exit codes say."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.service import SENTINEL


class Certs:
    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home / "certs"
        self("init")
        self("issue", "sentinel", "--san", "localhost", "--san", "127.0.0.1")

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [SENTINEL, "certs", *words]
        return subprocess.run(command, cwd=self.home, capture_output=True, text=True, timeout=60, check=False)

    def check(self) -> tuple[int, dict[str, Any]]:
        done = self("check", "--json")
        return done.returncode, {row["name"]: row for row in json.loads(done.stdout)["items"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


@pytest.fixture
def certs(made: Certs, tmp_path: Path) -> Certs:
    copy = object.__new__(Certs)
    copy.home, copy.folder = tmp_path, shutil.copytree(made.folder, tmp_path / "certs")
    return copy


def test_keys_are_for_their_owner_and_nothing_is_overwritten(certs: Certs) -> None:
    """Mode 600, and a second `init` or `issue` of the same name is a mistake."""
    assert {path.name: path.stat().st_mode & 0o777 for path in certs.folder.glob("*.key")} == {
        "ca.key": 0o600,
        "sentinel.key": 0o600,
    }
    before = {path: path.read_bytes() for path in certs.folder.iterdir()}
    assert certs("init").returncode == 2
    assert certs("issue", "sentinel").returncode == 2
    assert certs("issue", "../x").returncode == 2
    assert {path: path.read_bytes() for path in certs.folder.iterdir()} == before


def test_check_says_how_each_does_in_words_and_by_its_exit_code(certs: Certs) -> None:
    """0 while all is well, 3 within thirty days of an end, 1 within seven."""
    code, rows = certs.check()
    assert (code, {name: row["state"] for name, row in rows.items()}) == (0, {"ca": "valid", "sentinel": "valid"})
    certs("issue", "soon", "--days", "20")
    code, rows = certs.check()
    assert (code, rows["soon"]["state"], rows["soon"]["days_left"]) == (3, "expiring_soon", 19)
    certs("issue", "now", "--days", "5")
    code, rows = certs.check()
    assert (code, rows["now"]["state"]) == (1, "critical")


def test_rotate_renews_what_is_due_with_the_names_it_had(certs: Certs) -> None:
    """What still holds for long is left alone unless it is named; key and certificate are new."""
    certs("issue", "soon", "--san", "10.0.0.9", "--days", "20")
    old = {path.name: path.read_bytes() for path in certs.folder.iterdir()}
    assert certs("rotate").returncode == 0
    changed = {path.name for path in certs.folder.iterdir() if path.read_bytes() != old[path.name]}
    assert changed == {"soon.pem", "soon.key"}
    assert certs.check()[1]["soon"]["names"] == ["soon", "10.0.0.9"]
    certs("rotate", "sentinel")
    assert (certs.folder / "sentinel.key").read_bytes() != old["sentinel.key"]
    assert certs.check()[1]["sentinel"]["names"] == ["sentinel", "localhost", "127.0.0.1"]


def test_check_names_what_is_wrong(certs: Certs) -> None:
    """A key of another certificate, one that others may read, and a file that is none."""
    certs("issue", "other")
    shutil.copy(certs.folder / "other.key", certs.folder / "sentinel.key")
    (certs.folder / "other.key").chmod(0o644)
    (certs.folder / "junk.pem").write_text("nothing\n")
    assert certs.check()[1]["other"]["state"] == "valid", "nobody else gets into the folder"
    certs.folder.chmod(0o755)
    code, rows = certs.check()
    problems = {name: row["problem"] or "" for name, row in rows.items()}
    assert code == 1
    assert "another certificate" in problems["sentinel"]
    assert "chmod 600" in problems["other"]
    assert "no certificate" in problems["junk"]


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    """A typing mistake in the folder's name must not look like good news."""
    done = subprocess.run([SENTINEL, "certs", "check", "--dir", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, "certs init" in done.stderr) == (2, True)
