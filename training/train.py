"""
Trains the classifier that Sentinel ships.

    python training/train.py --data ../shared/data --out src/sentinel/scanning/classify/weights --seed 1

Learns from `train/` of the data folder and from `training/grammar`; the same seed on the same machine and numpy gives
the same bytes. `benchmark/` of the data folder is never read here.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fit import Linear
from numpy.typing import NDArray
from rows import (
    BENIGN,
    GRAMMAR,
    Example,
    framed_examples,
    grammar_examples,
    set_examples,
    structural_examples,
)
from samples import Samples, learn, sampled, scores
from unicode_tables import unicode_tables

from sentinel.scanning.classify.features import SCRIPTS, Tables

Array = NDArray[Any]

GRAMMAR_FOLDER = Path(__file__).parent / "grammar"
ROWS_PER_SET = 1500
_ROWS_PER_TEMPLATE = 6
_WINDOWS_PER_TEXT = 5
_FOLDS = 3
HOST_CHARS = 300
"""Benign texts at least so long are hosts in which rows of the grammar are buried."""
_FALSE_POSITIVES = (0.004, 0.0025)
"""
Of benign texts that a model has not seen, what may reach 0.5 by each of the two vectors; of sets that it has not seen
it is more.
"""
_SUSPECTED = 2
"""So many times as many may reach 0.25."""
_FEWEST = 300
"""Scripts with fewer benign texts share the threshold of all."""
_HEAD = 0.99999
"""Weights beyond this share of all are cut to what int8 holds."""


def examples_of(data: Path, *, seed: int) -> list[Example]:
    """Return all examples to learn from: the sets of `data/train`, then the grammar's."""
    sets = list(set_examples(data / "train", most=ROWS_PER_SET, seed=seed))
    hosts = [example for example in sets if example.target == BENIGN and len(example.text) >= HOST_CHARS]
    ours = grammar_examples(GRAMMAR_FOLDER, hosts, seed=seed, per_template=_ROWS_PER_TEMPLATE)
    framed = framed_examples(GRAMMAR_FOLDER, sets, seed=seed)
    return [*sets, *ours, *framed, *structural_examples(sets, seed=seed)]


def samples_of(examples: Sequence[Example], tables: Tables, *, seed: int) -> Samples:
    """Return the windows that the shipped model learns from."""
    return sampled(examples, tables, most_windows=_WINDOWS_PER_TEXT, seed=seed)


def folds_of(samples: Samples, *, seed: int) -> Array:
    """Return the fold of each example: texts of the sets fall apart at random, families of the grammar as a whole."""
    rng = np.random.default_rng([seed, 5])
    fold_of = {group: int(rng.integers(_FOLDS)) for group in np.unique(samples.groups)}
    by_group = np.array([fold_of[group] for group in samples.groups])
    ours = np.char.startswith(samples.groups.astype(str), GRAMMAR)
    return np.where(ours, by_group, rng.integers(_FOLDS, size=len(by_group)))


def unseen_scores(samples: Samples, folds: Array, *, seed: int) -> Array:
    """Return each example's raw scores, of shape (2, examples), by models that learnt from the other folds."""
    found = np.zeros((2, len(folds)))
    for left_out in np.unique(folds):
        models = learn(samples, folds != left_out, seed=seed)
        found[:, folds == left_out] = scores(samples, models)[:, folds == left_out]
        _say(f"fold {left_out}")
    return found


def calibration(samples: Samples, unseen: Array) -> tuple[Array, Array]:
    """
    Return the raw scores that become 0.5, of shape (2, scripts), and the slopes around them, of shape (2,).

    Each vector has false positives of its own; the slope makes 0.25 what twice as many benign texts reach.
    """
    benign = (samples.targets == BENIGN) & ~np.char.startswith(samples.groups.astype(str), GRAMMAR)
    reached = _reached_by(unseen[:, benign], _FALSE_POSITIVES)
    thresholds = np.tile(reached[:, None], len(SCRIPTS))
    for script in range(1, len(SCRIPTS)):
        of_script = benign & (samples.scripts == script)
        if of_script.sum() >= _FEWEST:
            thresholds[:, script] = _reached_by(unseen[:, of_script], _FALSE_POSITIVES)
    suspected = _reached_by(unseen[:, benign], [_SUSPECTED * share for share in _FALSE_POSITIVES])
    return thresholds, np.log(3) / (reached - suspected)


def _reached_by(found: Array, shares: Sequence[float]) -> Array:
    return np.array([np.quantile(column, 1 - share) for column, share in zip(found, shares, strict=True)])


def packed(models: Sequence[Linear], tables: Tables) -> tuple[bytes, list[float]]:
    """Return the arrays as an npz of bytes, weights as int8, and what one unit of each vector is worth."""
    tops = [float(np.quantile(np.abs(model.weights), _HEAD)) for model in models]
    weights = [np.clip(np.round(m.weights / top * 127), -127, 127) for m, top in zip(models, tops, strict=True)]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        weights=np.array(weights, np.int8),
        fold=tables.fold.astype(np.uint16),
        shape=tables.shape.astype(np.uint8),
        script=tables.script,
    )
    return buffer.getvalue(), [top / 127 for top in tops]


def main() -> None:
    """Train, calibrate, write."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--out", type=Path, default=Path("src/sentinel/scanning/classify/weights"))
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    tables = unicode_tables()
    samples = samples_of(examples_of(chosen.data, seed=chosen.seed), tables, seed=chosen.seed)
    _say(f"{len(samples.groups)} texts, {len(samples.buckets)} windows")
    thresholds, slopes = calibration(
        samples, unseen_scores(samples, folds_of(samples, seed=chosen.seed), seed=chosen.seed)
    )
    models = learn(samples, np.ones(len(samples.groups), bool), seed=chosen.seed)
    content, scales = packed(models, tables)
    facts = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "seed": chosen.seed,
        "numpy": np.__version__,
        "texts": len(samples.groups),
        "windows": len(samples.buckets),
        "scales": scales,
        "biases": [model.bias for model in models],
        "thresholds": np.round(thresholds, 6).tolist(),
        "slopes": np.round(slopes, 6).tolist(),
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "ngram.npz").write_bytes(content)
    (chosen.out / "model.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
