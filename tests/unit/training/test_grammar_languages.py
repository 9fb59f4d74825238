"""The grammars in many languages are whole: they expand, attacks have twins, and no text is both."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import yaml
from training.grammar.expand import Grammar, Row, expand, read_grammar

GRAMMAR = Path(__file__).parents[3] / "training" / "grammar"
FAMILIES = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((GRAMMAR / "families").glob("b_*.yml"))]
NAMES = [family["family"] for family in FAMILIES]
LANGUAGES = {lang for family in FAMILIES if family["family"] == "b_everyday" for lang in family["languages"]}


@cache
def rows() -> tuple[Row, ...]:
    """Return some rows of all families in many languages, without the carriers around them."""
    grammar = read_grammar(GRAMMAR)
    ours = Grammar([family for family in grammar.families if family["family"] in NAMES], grammar.slots, {}, {})
    return tuple(expand(ours, seed=1, per_template=2, carried_share=0.0))


def test_every_template_expands() -> None:
    """A slot that is missing or empty would stop the training."""
    assert {row.family for row in rows()} == set(NAMES)


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_attacks_have_at_least_as_many_twins(family: dict[str, dict[str, dict[str, list[str]]]]) -> None:
    """A language with more attacks than twins would be feared itself."""
    fewer = [lang for lang, part in family["languages"].items() if len(part["benign"]) < len(part["attack"])]
    assert fewer == []


def test_no_text_is_attack_and_twin() -> None:
    """A text on both sides teaches nothing."""
    attacks = {row.text for row in rows() if row.attack}
    assert [row.text for row in rows() if not row.attack and row.text in attacks] == []


def test_no_slot_offers_a_value_twice() -> None:
    """A value that stands twice weighs twice."""
    twice = [
        (family["family"], lang, slot, value)
        for family in FAMILIES
        for lang, part in family["languages"].items()
        for slot, values in part.get("slots", {}).items()
        for value, times in Counter(values).items()
        if times > 1
    ]
    assert twice == []


@pytest.mark.parametrize("family", [name for name in NAMES if name.startswith("b_plain")])
def test_plain_orders_are_taught_in_every_language(family: str) -> None:
    """What a language lacks here the classifier has never seen in it."""
    assert {row.lang for row in rows() if row.family == family and row.attack} >= LANGUAGES
