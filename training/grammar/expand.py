"""
Expands the grammars of `families/` and `twins/` into rows of text, by a seed.

A family is a YAML file of templates by language, `attack:` and `benign:`, with `{slot}` places that its `slots:` (or
those of `shared.yml`) fill; slots may nest, and `{{` stands for a brace. A family whose slots are long may say
`times: 3`, and each of its templates is filled three times as often. `shared.yml` also has carriers by kind and
language: mails, pages, code, tool results, tickets, each with one place for a `{payload}`; and fillers, what honest
people write in that place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

__all__ = ["Grammar", "Row", "Slots", "expand", "filled", "read_grammar"]

_PLACE = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MOST_DEPTH = 8
_FALLBACK = "en"
_PAYLOAD = "{payload}"


Slots = Mapping[str, Sequence[str]]


class Row(NamedTuple):
    """One expanded text."""

    text: str
    attack: bool
    threat: str
    family: str
    lang: str
    span: tuple[int, int]
    """Where the payload stands in the text: all of it, unless a carrier is around it."""
    carrier: str = ""
    """The kind of carrier, empty without one."""


class Grammar(NamedTuple):
    """All families and what they share."""

    families: Sequence[Mapping[str, Any]]
    slots: Mapping[str, Slots]
    """Shared slots by language."""
    carriers: Mapping[str, Slots]
    """By kind and language."""
    fillers: Mapping[str, Slots]
    """Likewise."""


def read_grammar(folder: Path, shared_file: Path | None = None) -> Grammar:
    """
    Return the grammar in a folder.

    Args:
        folder: With `families` and `twins`.
        shared_file: What they share; by default `shared.yml` in the folder.

    Raises:
        ValueError: A file isn't as this module's docstring says; names it.
    """
    families = [_family(path) for part in ("families", "twins") for path in sorted((folder / part).glob("*.yml"))]
    shared_file = shared_file or folder / "shared.yml"
    shared = yaml.safe_load(shared_file.read_text(encoding="utf-8")) if shared_file.exists() else {}
    return Grammar(families, shared.get("slots", {}), shared.get("carriers", {}), shared.get("fillers", {}))


def expand(grammar: Grammar, *, seed: int, per_template: int = 8, carried_share: float = 0.3) -> Iterator[Row]:
    """
    Yield rows, the same ones for the same grammar and seed.

    Args:
        grammar: From `read_grammar`.
        seed: Of all choices. A family's rows depend on its own file, the shared one and the seed alone.
        per_template: At most so many different rows of one template, times the family's `times`.
        carried_share: Of the rows, how many are put into a carrier, attacks and benign ones alike.

    Raises:
        ValueError: A place names a slot that isn't there, or slots nest in a circle; names family and language.
    """
    for family in grammar.families:
        rng = np.random.default_rng([seed, *family["family"].encode()])
        most = per_template * int(family.get("times", 1))
        for lang, part in family["languages"].items():
            slots = _slots_of(grammar, part, lang)
            where = f"{family['family']}/{lang}"
            for attack, template in _templates(part):
                for text in _fillings(template, slots, rng, most, where):
                    row = Row(text, attack, family["threat"], family["family"], lang, (0, len(text)))
                    yield _carried(row, grammar, slots, rng) if rng.random() < carried_share else row
    yield from _filled_carriers(grammar, np.random.default_rng([seed]), per_template)


def _family(path: Path) -> Mapping[str, Any]:
    try:
        family = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as err:
        raise ValueError(f"{path.name}: not valid YAML") from err
    if not isinstance(family, dict) or not {"family", "threat", "languages"} <= family.keys():
        raise ValueError(f"{path.name}: needs `family`, `threat` and `languages`")
    return family


def _templates(part: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    yield from ((True, str(template)) for template in part.get("attack") or ())
    yield from ((False, str(template)) for template in part.get("benign") or ())


def _slots_of(grammar: Grammar, part: Mapping[str, Any], lang: str) -> dict[str, Sequence[str]]:
    """Return the slots of a language, the family's own before the shared ones, English where there is no other."""
    return {**grammar.slots.get(_FALLBACK, {}), **grammar.slots.get(lang, {}), **(part.get("slots") or {})}


def _fillings(template: str, slots: Slots, rng: np.random.Generator, most: int, where: str) -> Iterator[str]:
    """Yield different fillings of a template, fewer than `most` if the choices run out."""
    yield from dict.fromkeys(filled(template, slots, rng, where) for _ in range(most))


def filled(template: str, slots: Slots, rng: np.random.Generator, where: str) -> str:
    """
    Return a template with its places filled, each anew.

    Raises:
        ValueError: A place names a slot that isn't there, or slots nest in a circle; names `where`.
    """
    for _ in range(_MOST_DEPTH):
        if not any(place[1] for place in _PLACE.finditer(template)):
            return template.replace("{{", "{").replace("}}", "}") if "{{" in template else template
        template = _PLACE.sub(lambda place: _chosen(place[1], slots, rng, where) if place[1] else place[0], template)
    raise ValueError(f"{where}: slots nest deeper than {_MOST_DEPTH}, perhaps in a circle")


def _chosen(name: str, slots: Slots, rng: np.random.Generator, where: str) -> str:
    if not slots.get(name):
        raise ValueError(f"{where}: no slot is called {name!r}")
    return str(_one_of(slots[name], rng))


def _one_of(values: Sequence[str], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]


def _carried(row: Row, grammar: Grammar, slots: Slots, rng: np.random.Generator) -> Row:
    """Return the row inside a carrier of its language, or of English if there is none."""
    fitting = {kind: by_lang.get(row.lang) or by_lang.get(_FALLBACK) for kind, by_lang in grammar.carriers.items()}
    kinds = [kind for kind, texts in fitting.items() if texts]
    if not kinds:
        return row
    kind = _one_of(kinds, rng)
    return _inside(row, kind, _one_of(fitting[kind] or (), rng), slots, rng)


def _inside(row: Row, kind: str, carrier: str, slots: Slots, rng: np.random.Generator) -> Row:
    where = f"carrier {kind}/{row.lang}"
    before, _, after = carrier.partition(_PAYLOAD)
    before, after = filled(before, slots, rng, where), filled(after, slots, rng, where)
    span = (len(before), len(before) + len(row.text))
    return row._replace(text=before + row.text + after, span=span, carrier=kind)


def _filled_carriers(grammar: Grammar, rng: np.random.Generator, per_carrier: int) -> Iterator[Row]:
    """Yield the carriers with what honest people write in them: the same places without an attack."""
    for kind, by_lang in grammar.carriers.items():
        for lang, carriers in by_lang.items():
            slots = _slots_of(grammar, {}, lang)
            fillers = grammar.fillers.get(kind, {}).get(lang) or ()
            for carrier in carriers if fillers else ():
                for filler in {_one_of(fillers, rng): None for _ in range(per_carrier)}:
                    text = filled(filler, slots, rng, f"filler {kind}/{lang}")
                    row = Row(text, attack=False, threat="", family="carriers", lang=lang, span=(0, len(text)))
                    yield _inside(row, kind, carrier, slots, rng)
