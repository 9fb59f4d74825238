"""Tests that the attack grammars written in English first are whole: places have fillings, attacks have twins."""

import string
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

GRAMMAR = Path(__file__).parents[3] / "training" / "grammar"
SHARED = yaml.safe_load((GRAMMAR / "shared.yml").read_text(encoding="utf-8"))
FAMILIES = sorted([*(GRAMMAR / "families").glob("[ac]_*.yml"), *(GRAMMAR / "second" / "families").glob("*.yml")])
TWINS = sorted([*(GRAMMAR / "twins").glob("*.yml"), *(GRAMMAR / "second" / "twins").glob("*.yml")])
PAYLOAD = "payload"


def places(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def unfilled(templates: list[str], slots: Mapping[str, list[str]]) -> set[str]:
    """Return the names that templates, or what fills them, ask for in vain."""
    asked: set[str] = set()
    waiting = list(templates)
    while waiting:
        new = set(places(waiting.pop())) - asked
        asked |= new
        waiting += [filling for name in new for filling in slots.get(name, [])]
    return asked - slots.keys()


def parts(path: Path) -> Iterator[tuple[str, Mapping[str, list[str]], list[str], list[str]]]:
    """Yield language, slots, attacks and twins of a family."""
    for lang, part in yaml.safe_load(path.read_text(encoding="utf-8"))["languages"].items():
        yield lang, {**SHARED["slots"].get(lang, {}), **part.get("slots", {})}, part.get("attack", []), part["benign"]


@pytest.mark.parametrize("path", FAMILIES, ids=lambda path: path.stem)
def test_every_place_of_a_family_has_a_filling(path: Path) -> None:
    """A template whose slot is missing would stop the training, so none is."""
    assert {lang: unfilled([*attack, *benign], slots) for lang, slots, attack, benign in parts(path)} == {
        lang: set() for lang, *_ in parts(path)
    }


@pytest.mark.parametrize("path", TWINS, ids=lambda path: path.stem)
def test_twins_hold_no_attacks(path: Path) -> None:
    """What stands among the twins is taught as harmless, without anybody looking at a label."""
    assert [lang for lang, _, attack, _ in parts(path) if attack] == []


@pytest.mark.parametrize("path", FAMILIES, ids=lambda path: path.stem)
def test_attacks_have_at_least_as_many_twins(path: Path) -> None:
    """A family with more attacks than harmless twins teaches the classifier to fear its words."""
    assert [lang for lang, _, attack, benign in parts(path) if len(benign) < len(attack)] == []


def test_no_template_stands_twice() -> None:
    """A template that stands twice weighs twice, and one that is attack and twin at once teaches nothing."""
    seen = Counter(
        (lang, " ".join(template.split()))
        for path in FAMILIES
        for lang, _, attack, benign in parts(path)
        for template in [*attack, *benign]
    )
    assert [template for template, times in seen.items() if times > 1] == []


def test_every_carrier_has_one_payload_and_honest_fillers() -> None:
    """A carrier seen only around attacks would itself become the sign of an attack."""
    for kind, by_lang in SHARED["carriers"].items():
        for lang, carriers in by_lang.items():
            assert [places(carrier).count(PAYLOAD) for carrier in carriers] == [1] * len(carriers), (kind, lang)
            assert SHARED["fillers"][kind][lang], (kind, lang)
            # A language without slots of its own uses the English ones.
            slots = {**SHARED["slots"]["en"], **SHARED["slots"].get(lang, {})}
            assert unfilled([*carriers, *SHARED["fillers"][kind][lang]], slots) <= {PAYLOAD}, (kind, lang)
