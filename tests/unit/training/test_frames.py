"""Tests of the frames: scenes, parts to play and pretexts around harmless questions."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

TRAINING = Path(__file__).parents[3] / "training"
FRAMES = yaml.safe_load((TRAINING / "grammar" / "frames.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows() -> ModuleType:
    """Return `training/rows.py`, which runs as a script beside its modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TRAINING))
        return importlib.import_module("rows")


@pytest.fixture(scope="module")
def made(rows: ModuleType) -> list[Any]:
    """Return framed questions, with one task of others that has braces, and an attack that must not be framed."""
    task = rows.Example("Sort {b, a} for me.", rows.BENIGN, "a_bbh", "en")
    attack = rows.Example("FORBIDDEN", rows.INJECTION, "a_bbh", "en")
    return list(rows.framed_examples(TRAINING / "grammar", [task, attack], seed=3))


def test_every_language_has_framed_questions_and_all_are_harmless(rows: ModuleType, made: list[Any]) -> None:
    """A frame is taught as harmless, so nothing else may get into one."""
    assert {(one.lang, one.target) for one in made} == {(lang, rows.BENIGN) for lang in FRAMES["scenes"]}
    assert not any("FORBIDDEN" in one.text for one in made)


def test_tasks_of_others_come_through_unchanged(made: list[Any]) -> None:
    """Their braces are no places to fill, and each framed question has words around it."""
    tasks = [one.text for one in made if "Sort {b, a} for me." in one.text]
    assert tasks
    assert all(len(text) > len("Sort {b, a} for me.") for text in tasks)


def test_no_frame_or_question_stands_twice() -> None:
    """What stands twice weighs twice; only the bare question does so on purpose."""
    lists = [
        values
        for kind in ("scenes", "questions")
        for part in FRAMES[kind].values()
        for values in (part.get("frames", []), part.get("templates", []), *part.get("slots", {}).values())
    ]
    assert [value for values in lists for value, times in Counter(values).items() if times > 1] == ["{question}"]
