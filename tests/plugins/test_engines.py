"""Every engine and every rule keeps what its examples promise; broken plugins stop the start."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path

import pytest

from sentinel import Scanner
from sentinel.errors import ConfigError
from sentinel.scanning.engines import Engine, Flags, Ignores, load_engines
from sentinel.scanning.rulebook import Rule, RuleBook, load_rules
from sentinel.scanning.text import read

SCANNER = Scanner()
EXAMPLES = [(engine, example) for engine in SCANNER.engines.values() for example in engine.EXAMPLES]
CALL_RULES = load_rules(resources.files("sentinel.scanning") / "rules" / "calls")
BOOKS = [SCANNER.rules, CALL_RULES]
FLAGS = [(book, rule, text) for book in BOOKS for rule in book.rules for text in rule.flags]
IGNORES = [(rule, text) for book in BOOKS for rule in book.rules for text in rule.ignores]

ENGINE = """
__all__ = ["Demo"]

class Demo:
    id = "demo"
    title = "Demo"
    threats = ()
    sources = ("prompt",)
    by_rules = False
    EXAMPLES = ()

    def examine(self, text):
        return ()
"""


@pytest.mark.parametrize(("engine", "example"), EXAMPLES, ids=lambda value: getattr(value, "id", None))
def test_examples_of_engines_hold(engine: Engine, example: Flags | Ignores) -> None:
    """An engine finds something in each text that it flags, and nothing in each that it ignores."""
    text = read(example.source, example.text, SCANNER.rules)
    findings = list(engine.examine(text)) if example.source in engine.sources else []
    assert bool(findings) is isinstance(example, Flags)
    assert {finding.threat for finding in findings} <= set(engine.threats)
    assert {finding.engine for finding in findings} <= {engine.id}


@pytest.mark.parametrize(
    "engine", [each for each in SCANNER.engines.values() if each.by_rules], ids=lambda each: each.id
)
def test_an_engine_by_rules_finds_nothing_where_none_of_them_holds(engine: Engine) -> None:
    """It isn't asked about such texts, so what it found in one would never be heard."""
    texts = {(source, example.text) for _, example in EXAMPLES for source in engine.sources}
    texts |= {(source, text) for _, _, text in FLAGS for source in engine.sources}
    read_texts = [read(source, text, SCANNER.rules) for source, text in sorted(texts)]
    silent = [text for text in read_texts if engine.id not in {hit.rule.engine for hit in text.hits}]
    assert len(silent) > 100
    assert [text.views[0].text for text in silent if list(engine.examine(text))] == []


@pytest.mark.parametrize(("book", "rule", "text"), FLAGS, ids=lambda value: getattr(value, "id", None))
def test_rules_hold_where_they_flag(book: RuleBook, rule: Rule, text: str) -> None:
    """Each `flags:` of a rule is hit by that rule through the whole book."""
    assert rule.id in {hit.rule.id for hit in read("prompt", text, book).hits}


@pytest.mark.parametrize(("rule", "text"), IGNORES, ids=lambda value: getattr(value, "id", None))
def test_rules_do_not_hold_where_they_ignore(rule: Rule, text: str) -> None:
    """Each `ignores:` of a rule passes it, in every reading."""
    assert list(read("prompt", text, RuleBook([rule])).hits) == []


def test_every_rule_belongs_to_an_engine_that_may_report_it() -> None:
    """A rule of no engine would never be heard, one of a foreign threat would break what the engine declares."""
    orphans = [
        rule.id
        for rule in load_rules().rules
        if rule.engine not in SCANNER.engines or rule.threat not in SCANNER.engines[rule.engine].threats
    ]
    assert orphans == []


def test_the_shipped_engines_fit_the_protocol() -> None:
    """They load in the same order everywhere."""
    assert list(SCANNER.engines) == sorted(SCANNER.engines)
    assert all(isinstance(engine, Engine) for engine in SCANNER.engines.values())


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Mapping[str, Engine]]]:
    """Give a function that makes a package of modules and loads its engines."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(**modules: str) -> Mapping[str, Engine]:
        folder = tmp_path / "demo_room"
        folder.mkdir()
        for name, code in {"__init__": "", **modules}.items():
            (folder / f"{name}.py").write_text(code, encoding="utf-8")
        return load_engines(importlib.import_module("demo_room"))

    yield load
    for name in [name for name in sys.modules if name.partition(".")[0] == "demo_room"]:
        del sys.modules[name]


def test_a_module_in_the_room_is_an_engine(room: Callable[..., Mapping[str, Engine]]) -> None:
    """Adding an engine is adding a file."""
    assert list(room(demo=ENGINE, other=ENGINE.replace('"demo"', '"other"'))) == ["demo", "other"]


@pytest.mark.parametrize(
    ("modules", "where", "reason"),
    [
        ({"a": ENGINE, "b": ENGINE}, "b.py", "'demo' is taken"),
        ({"a": "import no_such_module_at_all"}, "a.py", "can't be imported"),
        ({"a": "1 +"}, "a.py", "can't be imported"),
        ({"a": "__all__ = ['X', 'Y']"}, "a.py", "exactly one"),
        ({"a": "x = 1"}, "a.py", "exactly one"),
        ({"a": ENGINE.replace("def examine", "def inspect")}, "a.py", "lacks one of"),
        ({"a": ENGINE.replace("by_rules", "by_luck")}, "a.py", "lacks one of"),
    ],
)
def test_a_broken_plugin_stops_the_start(
    room: Callable[..., Mapping[str, Engine]], modules: dict[str, str], where: str, reason: str
) -> None:
    """It is never skipped in silence: the error names the file."""
    with pytest.raises(ConfigError, match=reason) as caught:
        room(**modules)
    assert caught.value.where == where
