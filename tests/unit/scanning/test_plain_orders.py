"""The rules know the plain orders in many languages, and their harmless neighbours; the classifier may add to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from sentinel import Scanner

ORDERS: Mapping[str, Mapping[str, Sequence[str]]] = yaml.safe_load(
    Path(__file__).with_name("plain_orders.yaml").read_text(encoding="utf-8")
)
SCANNER = Scanner()
CLASSIFIER = "classifier"


def holding(text: str) -> list[str]:
    """Return the ids of the rules that would each be enough to stop a text."""
    return [f.rule_id for f in SCANNER.scan(text).findings if f.engine != CLASSIFIER and f.confidence >= 0.5]


@pytest.mark.parametrize("lang", ORDERS)
def test_plain_orders_are_found_in_each_language(lang: str) -> None:
    """Whoever orders a model in plain words to drop, show or forget its rules is stopped, in any of the languages."""
    assert [text for text in ORDERS[lang]["attacks"] if not holding(text)] == []


@pytest.mark.parametrize("lang", ORDERS)
def test_their_harmless_neighbours_are_left_alone(lang: str) -> None:
    """The same verbs and nouns in mails, orders, lessons and manuals, and reminders *not* to forget, hold no rule."""
    assert {text: found for text in ORDERS[lang]["twins"] if (found := holding(text))} == {}


@pytest.mark.parametrize("lang", ORDERS)
def test_plain_orders_are_found_in_the_middle_of_a_text(lang: str) -> None:
    """An order is one between other sentences too."""
    around, order = ORDERS[lang]["twins"][0], ORDERS[lang]["attacks"][0]
    assert holding(f"{around}\n{order}\n{around}")
