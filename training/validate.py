"""
Validates by leaving out whole sets, whole families of the grammar, whole languages, and all cases of a rule.

    python training/validate.py --data ../shared/data --by group

A random split says little about new sources, so nothing of a set, family, language or rule that is judged here was
learnt from. `--by rule` judges the sets whose rows are cases of rules of another project, and learns from those of its
other rules. Prints, at the thresholds of the shipped model, the recall on attacks and the false positives on benign
texts, with 95 % Wilson intervals, and the area under the curve against all benign texts of the sets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from evaluate import area, wilson
from numpy.typing import NDArray
from rows import BENIGN, GRAMMAR, INJECTION, JAILBREAK
from samples import Samples, learn, scores
from train import examples_of, samples_of
from unicode_tables import unicode_tables

Array = NDArray[Any]

WEIGHTS = Path("src/sentinel/scanning/classify/weights")
_FOLDS = 4
_FEWEST = 30
"""Fewer texts have no line of their own."""
_ATTACKS = (INJECTION, JAILBREAK)


def left_out(samples: Samples, keys: Array, *, seed: int) -> Array:
    """
    Return each example's raw scores, of shape (2, examples), by models that saw none with the same key.

    Examples whose key is empty are learnt from by all; their scores are nan.
    """
    names = np.unique(keys[keys != ""])
    fold_of = {key: at % _FOLDS for at, key in enumerate(np.random.default_rng(seed).permutation(names))} | {"": -1}
    folds = np.array([fold_of[key] for key in keys])
    found = np.full((2, len(keys)), np.nan)
    for fold in range(_FOLDS):
        judged = folds == fold
        found[:, judged] = scores(samples, learn(samples, ~judged, seed=seed))[:, judged]
    return found


def above_threshold(samples: Samples, raw: Array) -> Array:
    """Return how far each example is above the shipped model's threshold, by its surer vector."""
    facts = json.loads((WEIGHTS / "model.json").read_text(encoding="utf-8"))
    thresholds, slopes = np.array(facts["thresholds"]), np.array(facts["slopes"])
    margins: Array = ((raw - thresholds[:, samples.scripts]) * slopes[:, None]).max(axis=0)
    return margins


def lines(samples: Samples, keys: Array, above: Array) -> Iterator[str]:
    """Yield a line of the table for each key and side."""
    foreign_benign = (
        (samples.targets == BENIGN) & ~np.char.startswith(samples.groups.astype(str), GRAMMAR) & ~np.isnan(above)
    )
    for key in np.unique(keys[~np.isnan(above)]):
        for side, mask in (("attacks", np.isin(samples.targets, _ATTACKS)), ("benign", samples.targets == BENIGN)):
            found = above[mask & (keys == key)]
            if len(found) < _FEWEST:
                continue
            hits = int((found >= 0).sum())
            low, high = wilson(hits, len(found))
            auc = f"{area(found, above[foreign_benign]):.3f}" if side == "attacks" else ""
            yield f"| {key} | {side} | {len(found)} | {hits / len(found):.3f} [{low:.3f}, {high:.3f}] | {auc} |"


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--by", choices=("group", "language", "rule"), default="group")
    chosen = options.parse_args()
    samples = samples_of(examples_of(chosen.data, seed=chosen.seed), unicode_tables(), seed=chosen.seed)
    keys = {"group": samples.groups, "language": samples.langs, "rule": samples.rules}[chosen.by].astype(str)
    above = above_threshold(samples, left_out(samples, keys, seed=chosen.seed))
    if chosen.by == "rule":
        keys = np.where(keys == "", "", samples.groups.astype(str))
    sys.stdout.write(f"| left out {chosen.by} | | n | at the threshold | AUC |\n|---|---|---|---|---|\n")
    sys.stdout.writelines(f"{line}\n" for line in lines(samples, keys, above))


if __name__ == "__main__":
    main()
