"""
Turns what `encoder_train.py` learnt into the folder that ships, and says what it finds in what was kept from it.

    python training/encoder_calibrate.py --data ../shared/data --work build/encoder --out build/encoder/shipped

`encoder_train.py` does this at its end; alone it needs no torch training, only its two files. Prints the recall and the
false alarms on the sets, families, languages and rules that stage 1 never saw, of the n-gram model that learnt without
them too, of the encoder, and of both together.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from encoder_data import HEADS, MINED, MOST_TOKENS, plain_tokenizer
from encoder_judge import (
    FALSE_ALARMS,
    NGRAM_RANGE,
    Calibration,
    Judged,
    aligned,
    by_text,
    calibrated,
    combined,
    judged,
    opened,
    tells,
)
from encoder_material import Material, gathered, held_out
from encoder_net import BASE, Encoder
from encoder_onnx import write_float, write_int8
from evaluate import area, wilson
from fit import Linear
from numpy.typing import NDArray
from rows import BENIGN, GRAMMAR, HARMFUL, WRITTEN, Example
from safetensors.torch import load_file
from samples import learn
from train import samples_of
from unicode_tables import unicode_tables

from sentinel.scanning.classify.ngram import NgramModel

Array = NDArray[Any]

FORMAT = 1
_ESCALATED = 0.2
"""Of benign texts of sets that nothing was learnt from, how many the n-gram model gives to the encoder."""
_MOST_PER_KEY, _MOST_BENIGN = 200, 600
"""Texts that are judged of each group and target, and of each set's benign ones, which say where the threshold lies."""
_FEWEST = 30


def finished(data: Path, work: Path, out: Path, *, seed: int, command: str) -> Iterator[str]:
    """
    Write `encoder.onnx`, `tokenizer.json` and `encoder.json`; yield the lines of a table.

    Args:
        data: With `train/`.
        work: Where `encoder_train.py` left `stage_1.safetensors`, `stage_2.safetensors` and `base/`.
        out: Where the folder that ships is written.
        seed: The same as in training.
        command: The one that made it, for the description.
    """
    out.mkdir(parents=True, exist_ok=True)
    tables, tokenizer = unicode_tables(), plain_tokenizer(work / "base" / "tokenizer.json")
    graphs = [_int8(work / f"stage_{stage}.safetensors") for stage in (1, 2)]
    material = gathered(data, seed=seed)
    without = _ngram_without(material, seed=seed)
    kept = [one for one, out_of in zip(material.first, held_out(material.first), strict=True) if out_of]
    kept = [one for one in kept if one.target != HARMFUL and not one.group.startswith(MINED)]
    known = [one for one, out_of in zip(material.reserve, held_out(material.reserve), strict=True) if not out_of]
    first, second = map(opened, graphs)
    found = judged(_some(kept, seed), tables, tokenizer, without, first, seed=seed)
    how = calibrated(found)
    before = judged(_some(known, seed), tables, tokenizer, without, first, seed=seed)
    after = judged(_some(known, seed), tables, tokenizer, _shipped_ngram(), second, seed=seed)
    ours = aligned(how, before, after)
    (out / "encoder.onnx").write_bytes(graphs[1].read_bytes())
    tokenizer.save(str(out / "tokenizer.json"))
    _describe(out, ours, _band(found), seed=seed, command=command)
    yield from _table(found, how)
    for name, judged_by, by in (("measured", before, how), ("shipped", after, ours)):
        share = (combined(judged_by, by).max(axis=1) >= 0).mean()
        yield f"benign texts in reserve, of sets that were learnt from, {name} models: {share:.4f} flagged"


def _int8(weights: Path) -> Path:
    """Return the 8-bit graph of weights, written beside them."""
    encoder = Encoder()
    encoder.load_state_dict(load_file(weights))
    exact, small = weights.with_suffix(".float.onnx"), weights.with_suffix(".onnx")
    write_float(encoder, exact, most_tokens=MOST_TOKENS)
    write_int8(exact, small)
    return small


def _ngram_without(material: Material, *, seed: int) -> Sequence[Linear]:
    """Return n-gram models that learnt by the shipped recipe, but nothing of what is kept for development."""
    examples = [one for one in material.first if not one.group.startswith((MINED, WRITTEN))]
    return learn(samples_of(examples, unicode_tables(), seed=seed), ~held_out(examples), seed=seed)


def _shipped_ngram() -> Sequence[Linear]:
    """Return the two vectors of the shipped model."""
    folder = Path("src/sentinel/scanning/classify/weights")
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    with np.load(folder / "ngram.npz", allow_pickle=False) as arrays:
        weights = arrays["weights"].astype(np.float32)
    return [Linear(*one) for one in zip(weights * np.array(facts["scales"])[:, None], facts["biases"], strict=True)]


def _some(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return at most so many texts of each group and target."""
    counts: dict[tuple[str, str], int] = {}
    taken = []
    for index in np.random.default_rng([seed, 3]).permutation(len(examples)):
        one = examples[index]
        key = (one.group, one.target)
        counts[key] = counts.get(key, 0) + 1
        tells = one.target == BENIGN and not one.group.startswith(GRAMMAR)
        if counts[key] <= (_MOST_BENIGN if tells else _MOST_PER_KEY):
            taken.append(one)
    return taken


def _band(found: Judged) -> float:
    """Return the n-gram model's score from which a window goes to the encoder."""
    worst = by_text(found.ngram, found.text).max(axis=1)[tells(found)]
    return round(float(1 / (1 + np.exp(-np.quantile(worst, 1 - _ESCALATED)))), 6)


def _describe(out: Path, how: Calibration, band: float, *, seed: int, command: str) -> None:
    digests = {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ("encoder.onnx", "tokenizer.json")
    }
    facts = {
        "format": FORMAT,
        "heads": list(HEADS),
        "max_tokens": MOST_TOKENS,
        "scripts": ["none", "latin"],
        "ngram_range": [-NGRAM_RANGE, NGRAM_RANGE],
        "combination": {
            head: {"ngram": round(float(n), 6), "encoder": round(float(e), 6), "bias": round(float(b), 6)}
            for head, n, e, b in zip(HEADS, *how, strict=True)
        },
        "band": {"from": band, "to": 1.0},
        "sha256": digests,
        "training": {
            "command": command,
            "seed": seed,
            "base": BASE,
            "false_alarms": FALSE_ALARMS,
            "ngram": NgramModel.load().version,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }
    (out / "encoder.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _table(found: Judged, how: Calibration) -> Iterator[str]:
    """Yield what n-grams, encoder and both find, each with the threshold that the same benign texts give it."""
    alone = [calibrated(found, share=share) for share in (1.0, 0.0)]
    margins = [combined(found, one).max(axis=1) for one in (*alone, how)]
    benign = found.targets == BENIGN
    foreign = benign & ~np.char.startswith(found.groups.astype(str), GRAMMAR)
    yield "| kept from training | | n | n-grams | encoder | both | AUC of both |"
    yield "|---|---|---|---|---|---|---|"
    for name, keys in (("", found.groups), ("language ", found.langs)):
        for key in np.unique(keys):
            for side, mask in (("attacks", ~benign), ("benign", benign)):
                here = mask & (keys == key)
                if here.sum() >= _FEWEST:
                    shares = [_share(int((one[here] >= 0).sum()), int(here.sum())) for one in margins]
                    auc = f"{area(margins[2][here], margins[2][foreign]):.3f}" if side == "attacks" else ""
                    yield f"| {name}{key} | {side} | {here.sum()} | {' | '.join(shares)} | {auc} |"


def _share(hits: int, n: int) -> str:
    low, high = wilson(hits, n)
    return f"{hits / n:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Finish what was trained."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--work", type=Path, default=Path("build/encoder"))
    options.add_argument("--out", type=Path, default=Path("build/encoder/shipped"))
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    command = f"python training/encoder_train.py --data ../shared/data --out build/encoder --seed {chosen.seed}"
    for line in finished(chosen.data, chosen.work, chosen.out, seed=chosen.seed, command=command):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
