"""Examples as windows of features, with the weights that they are learnt with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from fit import Linear, fit, windows_of
from numpy.typing import NDArray
from rows import BENIGN, DISGUISE, GRAMMAR, HARMFUL, INJECTION, JAILBREAK, Example

from sentinel.scanning.classify.features import SCRIPTS, Tables, fold, main_script

__all__ = ["FACTORS", "Samples", "learn", "sampled", "scores"]

Array = NDArray[Any]

_TARGETS = (INJECTION, JAILBREAK)
_EPOCHS = 4
_L2 = 1e-4
_GRAMMAR_SHARE = 0.6
"""Of the positives' weight, what our own grammar carries."""
_HARMFUL_SHARE = 0.03
"""Of the negatives' weight, what plain harmful questions carry: they aren't attacks on the model."""
_TWIN_SHARE = 0.35
"""Of the negatives' weight, what the grammar's benign twins carry."""
_DISGUISE_SHARE = 0.07
"""Of the negatives' weight, what harmless texts in disguise carry."""
FACTORS = {
    "a_neuralchemy": 0.3,
    "a_spikee_composed": 0.3,
    "a_composed_indirect": 0.3,
    "a_trigger_sentences": 2.0,
    f"{GRAMMAR}everyday_orders": 4.0,
    f"{GRAMMAR}ordinary_orders": 4.0,
    f"{GRAMMAR}suffix": 2.0,
    f"{GRAMMAR}long_scenes": 3.0,
    f"{GRAMMAR}scenes": 3.0,
}
"""Groups that weigh more or less than the root of their size: templated or noisy sets, hard benign texts,
and attacks of many kinds in one group."""


class Samples(NamedTuple):
    """Windows of all examples, one array entry each but for `buckets`."""

    buckets: list[Array]
    lengths: Array
    example: Array
    """Index of the example that a window belongs to."""
    hits: Array
    """1 in the attack (or anywhere in a text without a span), 0 clear of it, -1 between."""
    targets: Array
    """Names, of the example."""
    groups: Array
    rules: Array
    """Of other projects, which the examples are cases of; empty where they are of none."""
    langs: Array
    scripts: Array
    """Index into `SCRIPTS` of most letters of the example."""


def sampled(examples: Sequence[Example], tables: Tables, *, most_windows: int, seed: int) -> Samples:
    """Return the windows of the examples, at most `most_windows` of each."""
    rng = np.random.default_rng([seed, 11])
    buckets, lengths, owners, hits = [], [], [], []
    for index, example in enumerate(examples):
        for window in windows_of(example.text, example.span, tables, most_windows, rng):
            buckets.append(window.buckets)
            lengths.append(window.length)
            owners.append(index)
            hits.append(-1 if window.hit is None else int(window.hit))
    columns = zip(
        *((one.target, one.group, one.rule, one.lang, _script(one.text, tables)) for one in examples),
        strict=True,
    )
    return Samples(
        buckets, np.array(lengths), np.array(owners), np.array(hits), *(np.array(column) for column in columns)
    )


def _script(text: str, tables: Tables) -> int:
    scripts = fold(text, tables).scripts
    return int(main_script(np.bincount(scripts, minlength=len(SCRIPTS))))


def learn(samples: Samples, allowed: Array, *, seed: int) -> list[Linear]:
    """
    Return the two linear models, each the mean of one that learns from everything and one from the grammar's attacks.

    Args:
        samples: From `sampled`.
        allowed: By example, whether it may be learnt from.
        seed: Of the order.
    """
    ours = np.char.startswith(samples.groups.astype(str), GRAMMAR)
    foreign_attacks = ~ours & np.isin(samples.targets, _TARGETS)
    models = []
    for target in _TARGETS:
        both = [_learn_one(samples, usable, target, seed) for usable in (allowed, allowed & ~foreign_attacks)]
        models.append(Linear((both[0].weights + both[1].weights) / 2, (both[0].bias + both[1].bias) / 2))
    return models


def _learn_one(samples: Samples, usable: Array, target: str, seed: int) -> Linear:
    label = samples.targets[samples.example]
    clear = samples.hits == 0
    positive = (label == target) & (samples.hits == 1)
    negative = (label == BENIGN) | (label == HARMFUL) | clear
    taken = np.flatnonzero((positive | negative) & usable[samples.example])
    weights = _weights(samples, taken, positive)
    return fit(
        [samples.buckets[index] for index in taken],
        samples.lengths[taken],
        positive[taken].astype(np.float64),
        weights,
        seed=seed,
        epochs=_EPOCHS,
        l2=_L2,
    )


def _weights(samples: Samples, taken: Array, positive: Array) -> Array:
    """Return the windows' weights: groups weigh the root of their size, kinds have fixed shares."""
    owners = samples.example[taken]
    groups, ours = samples.groups[owners], np.char.startswith(samples.groups[owners].astype(str), GRAMMAR)
    sizes = Counter(zip(groups, positive[taken], strict=True))
    weights = np.array(
        [FACTORS.get(g, 1.0) / np.sqrt(sizes[g, p]) for g, p in zip(groups, positive[taken], strict=True)]
    )
    attack, harmful = positive[taken], samples.targets[owners] == HARMFUL
    disguised = np.char.startswith(groups.astype(str), DISGUISE)
    plain_benign = ~attack & ~harmful & ~disguised
    kinds = [
        (attack & ours, _GRAMMAR_SHARE),
        (attack & ~ours, 1 - _GRAMMAR_SHARE),
        (~attack & harmful, _HARMFUL_SHARE),
        (~attack & disguised, _DISGUISE_SHARE),
        (plain_benign & ours, _TWIN_SHARE),
        (plain_benign & ~ours, 1 - _TWIN_SHARE - _HARMFUL_SHARE - _DISGUISE_SHARE),
    ]
    for mask, share in kinds:
        if mask.any():
            weights[mask] *= share / weights[mask].sum()
    return weights / weights.mean()


def scores(samples: Samples, models: Iterable[Linear]) -> Array:
    """Return each example's highest raw score over its windows; of shape (models, examples)."""
    starts = np.flatnonzero(np.diff(samples.example, prepend=-1))
    raw = [
        np.array([weights.take(buckets).sum() for buckets in samples.buckets]) / np.sqrt(samples.lengths) + bias
        for weights, bias in models
    ]
    return np.array([np.maximum.reduceat(row, starts) for row in raw])
