"""The grammars that the classifier learns from become texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from training.grammar.expand import Row, expand, read_grammar

FAMILY = """
family: demo
threat: injection
languages:
  en:
    attack: ["Drop {what} and {deed}."]
    benign: ["Drop {what} off at the {place}."]
    slots: {what: ["the {thing}"], thing: [rules, plan], deed: [sing, dance], place: [desk]}
"""
SHARED = """
slots:
  en: {thing: [never taken], place: [never taken], colour: [red]}
carriers:
  code:
    en: ["{{colour: {colour}}} # {payload}!"]
fillers:
  code:
    en: ["note to {colour} self"]
"""


def grammar(folder: Path, family: str = FAMILY, shared: str = SHARED) -> list[Row]:
    """Return the rows of one family, none in a carrier unless it is a carrier's own."""
    (folder / "families").mkdir()
    (folder / "families" / "demo.yml").write_text(family, encoding="utf-8")
    (folder / "shared.yml").write_text(shared, encoding="utf-8")
    return list(expand(read_grammar(folder), seed=1, per_template=20, carried_share=0.0))


def test_templates_are_filled_in_all_ways(tmp_path: Path) -> None:
    """Places nest, a family's own slots win over shared ones, no row comes twice, benign twins stay benign."""
    texts = {(row.text, row.attack) for row in grammar(tmp_path) if row.family == "demo"}
    assert texts == {
        *((f"Drop the {thing} and {deed}.", True) for thing in ("rules", "plan") for deed in ("sing", "dance")),
        ("Drop the rules off at the desk.", False),
        ("Drop the plan off at the desk.", False),
    }


def test_carriers_come_without_an_attack_too(tmp_path: Path) -> None:
    """What honest people write in a carrier is benign; doubled braces are braces; the span is the filler's."""
    (row,) = (row for row in grammar(tmp_path) if row.family == "carriers")
    assert (row.text, row.attack, row.carrier) == ("{colour: red} # note to red self!", False, "code")
    assert row.text[slice(*row.span)] == "note to red self"


def test_a_carried_row_knows_where_its_payload_stands(tmp_path: Path) -> None:
    """The trainer learns from the windows that hold the attack."""
    grammar(tmp_path)
    rows = [row for row in expand(read_grammar(tmp_path), seed=1, carried_share=1.0) if row.family == "demo"]
    assert all(row.text.startswith("{colour: red} # ") for row in rows)
    assert all(row.text[slice(*row.span)].startswith("Drop the ") for row in rows)


def test_a_family_with_long_slots_is_filled_more_often(tmp_path: Path) -> None:
    """A template of a thousand fillings would otherwise give as few rows as one of four."""
    grammar(tmp_path)
    once = list(expand(read_grammar(tmp_path), seed=1, per_template=1, carried_share=0.0))
    demo = tmp_path / "families" / "demo.yml"
    demo.write_text(FAMILY.replace("threat:", "times: 30\nthreat:"), encoding="utf-8")
    often = list(expand(read_grammar(tmp_path), seed=1, per_template=1, carried_share=0.0))
    assert [sum(row.family == "demo" for row in rows) for rows in (once, often)] == [2, 6]


def test_the_seed_decides(tmp_path: Path) -> None:
    """The shipped weights can be made again only if the rows can."""
    grammar(tmp_path)
    once, again, other = (list(expand(read_grammar(tmp_path), seed=seed, per_template=2)) for seed in (1, 1, 3))
    assert once == again
    assert once != other


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        (FAMILY.replace("{deed}", "{no_such}"), "demo/en: no slot is called 'no_such'"),
        (FAMILY.replace("rules, plan", "'{what}'"), "demo/en: slots nest"),
        ("family: demo", r"demo\.yml: needs"),
        ("family: [", r"demo\.yml: not valid YAML"),
    ],
)
def test_a_broken_family_is_refused_by_name(tmp_path: Path, family: str, reason: str) -> None:
    """Nothing is left out in silence: a family that can't be used stops the training."""
    with pytest.raises(ValueError, match=reason):
        grammar(tmp_path, family)


def test_the_grammar_that_we_keep_expands() -> None:
    """Each template of each family finds its slots, and every family has both attacks and harmless twins or says so."""
    rows = list(expand(read_grammar(Path("training/grammar")), seed=1, per_template=1))
    assert {row.attack for row in rows} == {True, False}
    assert not [row.family for row in rows if not row.text.strip()]
