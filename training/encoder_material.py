"""
Gathers the encoder's examples and says which of them are kept for development.

Besides what the n-gram model learns from there are benign texts that it never saw: those that it takes for attacks are
hard examples to learn from ("mined"), the others say what a benign text scores ("reserve").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from encoder_data import MINED
from numpy.typing import NDArray
from rows import BENIGN, GRAMMAR, WRITTEN, Example, grammar_examples, set_examples, written_examples
from train import GRAMMAR_FOLDER, HOST_CHARS, ROWS_PER_SET, examples_of

from sentinel.scanning.classify.ngram import NgramModel

__all__ = ["Material", "gathered", "held_out", "mined"]

Array = NDArray[Any]

SECOND_GRAMMAR, THIRD_GRAMMAR = GRAMMAR_FOLDER / "second", GRAMMAR_FOLDER / "third"
_WRITTEN_FOLDER = "written"
_SETS_OUT = frozenset(
    {
        "a_verazuo_jailbreak",
        "a_gptfuzz_templates",
        "a_spikee_composed",
        "a_spikee_fp_benign",
        "a_garak",
        "a_lobe_agents",
        "a_prompt_libraries",
        "a_gpteacher",
        "a_taskmaster",
        "a_code_docs",
        "a_security101_ml",
        "a_presidio_pii",
    }
)
_FAMILIES_OUT = frozenset(
    f"{GRAMMAR}{name}"
    for name in (
        "persuasion",
        "judge",
        "smuggle",
        "memory",
        "games",
        "two_voices",
        "contracts",
        "thieving_code",
        "b_wicked_roles",
        "works_and_queries",
    )
)
_TOPICS_OUT = frozenset(
    f"{WRITTEN}_{name}"
    for name in (
        "agents_memory",
        "agents_toolresults",
        "documents_hiring",
        "documents_reviews",
        "prompts_authority",
        "prompts_german",
        "prompts_offtask",
        "scenes_letters",
        "scenes_personas",
        "scenes_simulators",
    )
)
_LANGUAGES_OUT = frozenset({"nl", "pl", "id"})
_ROWS_PER_TEMPLATE = 8
_POOL, _MINED, _RESERVE = 2500, 0.06, 500
"""Unused benign texts of each set: looked at for hard ones, which share of them is taken, and kept in reserve."""
_EVERY = 4
"""The encoder takes longer to look, so it looks at fewer of them."""


class Material(NamedTuple):
    """Everything the encoder learns from, and what its scores are measured on."""

    first: Sequence[Example]
    """What the n-gram model learns from, texts written one by one, and mined ones."""
    second: Sequence[Example]
    """Rows of the second grammar, and more texts written one by one."""
    last: Sequence[Example]
    """Texts written one by one for the last lesson of either stage."""
    reserve: Sequence[Example]
    """Benign texts that nothing learns from."""
    pool: Sequence[Example]
    """Unused benign texts among which the first stage looks for hard ones for the second."""


def gathered(data: Path, *, seed: int) -> Material:
    """Return the material of a data folder."""
    examples = examples_of(data, seed=seed)
    unused = set_examples(data / "train", most=_POOL + _RESERVE, seed=seed, skip=ROWS_PER_SET)
    benign = [one for one in unused if one.target == BENIGN]
    reserve, pool = [], []
    counts: dict[str, int] = {}
    for one in benign:
        counts[one.group] = counts.get(one.group, 0) + 1
        (reserve if counts[one.group] <= _RESERVE else pool).append(one)
    hosts = [one for one in examples if one.target == BENIGN and len(one.text) >= HOST_CHARS]
    hosts = [one for one in hosts if not one.group.startswith(GRAMMAR)]
    second = list(grammar_examples(SECOND_GRAMMAR, hosts, seed=seed, per_template=_ROWS_PER_TEMPLATE))
    written, more, last = (
        list(written_examples(folder / _WRITTEN_FOLDER, hosts, seed=seed))
        for folder in (GRAMMAR_FOLDER, SECOND_GRAMMAR, THIRD_GRAMMAR)
    )
    mined = list(_mined_by_ngrams(pool))
    taken = {one.text for one in mined}
    unmined = [one for one in pool if one.text not in taken][::_EVERY]
    return Material([*examples, *written, *mined], [*second, *more], last, reserve, unmined)


def _mined_by_ngrams(pool: Sequence[Example]) -> Iterator[Example]:
    """Yield those benign texts that the shipped n-gram model, which never saw them, thinks worst of."""
    model = NgramModel.load()
    worst = [max(max(w.injection_score, w.jailbreak_score) for w in model.windows(one.text)) for one in pool]
    return mined(pool, np.array(worst))


def mined(pool: Sequence[Example], worst: Array) -> Iterator[Example]:
    """Yield the texts with the highest scores, as a group of their own for each set."""
    for index in np.argsort(-worst, kind="stable")[: int(_MINED * len(pool))]:
        yield pool[index]._replace(group=f"{MINED}{pool[index].group}")


def held_out(examples: Sequence[Example]) -> Array:
    """
    Return which examples are kept for development: whole sets, families, topics, languages, every other agents' rule.

    The rules are those of another project, whose cases are a set's rows.
    """
    rules = {rule: at % 2 == 0 for at, rule in enumerate(sorted({one.rule for one in examples if one.rule}))}
    return np.array(
        [
            one.group.removeprefix(MINED) in _SETS_OUT
            or one.group in _FAMILIES_OUT
            or one.group in _TOPICS_OUT
            or one.lang in _LANGUAGES_OUT
            or rules.get(one.rule, False)
            for one in examples
        ]
    )
