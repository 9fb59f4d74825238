"""
Trains the encoder that is the scanner's second look.

    python training/encoder_train.py --data ../shared/data --out build/encoder --seed 1

Two encoders learn from labels: one of six layers from the grammar and the sets, one of four from texts that were
written one by one as well. A third one, of four layers, learns to say what these two say on average, and in a last
lesson, from more texts that were written one by one, not to leave the side that their label is on; it is what ships.
Each has two stages: the first one learns from all but what is kept for development, and is what development is measured
on; the second one goes on from there with everything. `benchmark/` of the data folder is never read here. Needs the
packages of `training/requirements.txt`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from encoder_calibrate import finished
from encoder_data import (
    LAST_SHARES,
    PLAIN_SHARES,
    SHARES,
    TAUGHT_SHARES,
    Batch,
    Windows,
    batches,
    drawn,
    padded,
    plain_tokenizer,
    windowed,
)
from encoder_material import Material, gathered, held_out, mined
from encoder_net import LAYERS, Base, Encoder, fetched_base
from numpy.typing import NDArray
from rows import WRITTEN, Example
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from unicode_tables import unicode_tables

Array = NDArray[Any]

_WINDOWS_PER_TEXT = 5
_RATES = (1.2e-4, 8e-5)
_HEAD_FACTOR = 10.0
"""The head begins with nothing, so it learns faster."""
_TAUGHT_DRAWS = (16_000, 24_000)
"""Windows that the teachers speak of in each stage."""
_LAST_DRAWS = 12_000
"""Windows of the last lesson of each stage."""
_TAUGHT_RATE, _LAST_RATE, _TAUGHT_HEAD_FACTOR = 7e-5, 4e-5, 3.0
_SURE = 8.0
"""Beyond this score on either side nothing is to be learnt from a teacher."""
_ON_ITS_SIDE = 1.0
"""In the last lesson what is learnt of a window lies so far on the side of its label, whatever the teachers say."""
_EVEN = 0.5
_WARM_UP, _TAUGHT_WARM_UP = (0.06, 0.01), (0.05, 0.02)
_DECAY = 0.01
_MOST_NORM = 1.0
_SAID_EVERY = 50
_KEPT_EVERY = 150
_THREADS = 2
_LAST = 2
"""The second stage."""
_LOOKED_AT, _AT_ONCE = 2, 48
"""Windows of each unused text that are looked at for hard ones, and how many at once."""


class Recipe(NamedTuple):
    """How an encoder learns from labels."""

    name: str
    layers: int
    draws: tuple[int, int]
    """Windows that are asked for in each stage."""
    shares: tuple[Mapping[str, float], ...]
    """Of the kinds of windows, by stage."""


_TEACHERS = (
    Recipe("six_layers", 6, (30_000, 30_000), (PLAIN_SHARES, PLAIN_SHARES)),
    Recipe("four_layers", LAYERS, (180_000, 120_000), SHARES),
)
"""The last one is what the third encoder begins as."""


def learn(encoder: Encoder, windows: Windows, order: Array, *, rate: float, out: Path) -> None:
    """Learn from the labels of windows in that order; keep what was learnt so far in a file, now and then."""

    def loss(raw: Tensor, batch: Batch) -> Tensor:
        known, wanted = torch.from_numpy(batch.known).float(), torch.from_numpy(batch.labels).float()
        return functional.binary_cross_entropy_with_logits(raw, wanted, known, reduction="sum") / known.sum()

    _learn(encoder, windows, order, loss, rates=(rate, rate * _HEAD_FACTOR), warm_up=_WARM_UP, out=out)


def taught(
    encoder: Encoder,
    teachers: Sequence[Encoder],
    windows: Windows,
    order: Array,
    *,
    rate: float,
    by_label: bool,
    out: Path,
) -> None:
    """Learn to say of windows, in that order, what the teachers say on average, corrected by labels or not."""

    def loss(raw: Tensor, batch: Batch) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            said = [one(torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)) for one in teachers]
        wanted = torch.stack([one.clamp(-_SURE, _SURE) for one in said]).mean(0)
        return functional.smooth_l1_loss(raw, _corrected(wanted, batch) if by_label else wanted)

    _learn(encoder, windows, order, loss, rates=(rate, rate * _TAUGHT_HEAD_FACTOR), warm_up=_TAUGHT_WARM_UP, out=out)


def _corrected(wanted: Tensor, batch: Batch) -> Tensor:
    """Return what is to be learnt, on the side of the label where there is one."""
    known, attack = torch.from_numpy(batch.known), torch.from_numpy(batch.labels > _EVEN)
    wanted = torch.where(known & attack, wanted.clamp(min=_ON_ITS_SIDE), wanted)
    return torch.where(known & ~attack, wanted.clamp(max=-_ON_ITS_SIDE), wanted)


def _learn(
    encoder: Encoder,
    windows: Windows,
    order: Array,
    loss_of: Callable[[Tensor, Batch], Tensor],
    *,
    rates: tuple[float, float],
    warm_up: tuple[float, float],
    out: Path,
) -> None:
    """
    Make a loss small.

    Args:
        encoder: What learns.
        windows: All there are.
        order: Of those that are learnt from.
        loss_of: Of raw scores and their batch.
        rates: Of the layers, and of the head.
        warm_up: The share of the way in which the rates grow, and what they begin with besides.
        out: Where it is kept.
    """
    encoder.train()
    head = list(encoder.head.parameters())
    body = [one for name, one in encoder.named_parameters() if one.requires_grad and not name.startswith("head.")]
    groups = [{"params": part, "lr": rate} for part, rate in zip((body, head), rates, strict=True)]
    optimizer = torch.optim.AdamW(groups, weight_decay=_DECAY)
    seen, total, begun = 0, 0.0, time.monotonic()
    for step, batch in enumerate(batches(windows, order), 1):
        done = seen / len(order)
        for group, full in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = full * min(done / warm_up[0] + warm_up[1], 1 - done, 1.0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            raw = encoder(torch.from_numpy(batch.ids), torch.from_numpy(batch.mask))
        loss = loss_of(raw, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), _MOST_NORM)
        optimizer.step()
        seen += len(batch.ids)
        total += float(loss.detach())
        if step % _SAID_EVERY == 0:
            _say(f"{seen} of {len(order)} loss {total / _SAID_EVERY:.3f} {seen / (time.monotonic() - begun):.1f}/s")
            total = 0.0
        if step % _KEPT_EVERY == 0:
            save_file(encoder.state_dict(), out)
    encoder.eval()
    save_file(encoder.state_dict(), out)


def _mined_by(encoder: Encoder, tokenizer: Tokenizer, pool: Sequence[Example], *, seed: int) -> list[Example]:
    """Return those unused benign texts that the encoder thinks worst of, by the first windows of each."""
    encoder.eval()
    windows = windowed(pool, unicode_tables(), tokenizer, most=_LOOKED_AT, seed=seed, keep_buckets=False)
    worst = np.full(len(pool), -np.inf)
    order = np.argsort([len(tokens) for tokens in windows.tokens], kind="stable")
    for part in np.array_split(order, max(len(order) // _AT_ONCE, 1)):
        ids, mask = padded([windows.tokens[index] for index in part])
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            raw = encoder(torch.from_numpy(ids), torch.from_numpy(mask)).max(1).values.numpy()
        np.maximum.at(worst, windows.example[part], raw)
    found = list(mined(pool, worst))
    _say(f"{len(found)} hard texts of {len(pool)}")
    return found


def _train(recipe: Recipe, stage: int, material: Material, base: Base, out: Path, *, seed: int) -> None:
    """Learn from labels as the recipe says; the second stage goes on from the first one's file."""
    # Each stage begins alike, so that the second one alone does what it does after the first.
    torch.manual_seed(seed)
    encoder, tokenizer = Encoder(base.weights, layers=recipe.layers), plain_tokenizer(base.tokenizer)
    examples = list(material.first)
    if stage == _LAST:
        encoder.load_state_dict(load_file(_file(out, 1, recipe)))
        examples += [*material.second, *_mined_by(encoder, tokenizer, material.pool, seed=seed)]
    shares = recipe.shares[stage - 1]
    if not shares["written"]:
        examples = [one for one in examples if not one.group.startswith(WRITTEN)]
    windows, order = _drawn(examples, tokenizer, stage, recipe.draws[stage - 1], shares, seed=seed)
    learn(encoder, windows, order, rate=_RATES[stage - 1], out=_file(out, stage, recipe))


def _teach(stage: int, material: Material, base: Base, out: Path, *, seed: int) -> None:
    """Have the teachers of this stage teach what ships."""
    torch.manual_seed(seed)
    encoders = [Encoder(layers=recipe.layers) for recipe in (*_TEACHERS, _TEACHERS[-1])]
    for encoder, recipe in zip(encoders, (*_TEACHERS, _TEACHERS[-1]), strict=True):
        encoder.load_state_dict(load_file(_file(out, stage, recipe)))
        encoder.eval()
    tokenizer, pupil = plain_tokenizer(base.tokenizer), encoders[-1]
    examples = [*material.first, *material.pool, *(material.second if stage == _LAST else ())]
    windows, order = _drawn(examples, tokenizer, stage, _TAUGHT_DRAWS[stage - 1], TAUGHT_SHARES, seed=seed, turn=29)
    at = _file(out, stage)
    taught(pupil, encoders[:-1], windows, order, rate=_TAUGHT_RATE, by_label=False, out=at)
    windows, order = _drawn([*examples, *material.last], tokenizer, stage, _LAST_DRAWS, LAST_SHARES, seed=seed, turn=60)
    taught(pupil, encoders[:-1], windows, order, rate=_LAST_RATE, by_label=True, out=at)


def _drawn(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    stage: int,
    draws: int,
    shares: Mapping[str, float],
    *,
    seed: int,
    turn: int = 0,
) -> tuple[Windows, Array]:
    """Return windows and the order in which they are learnt from; in the first stage, without what is kept from it."""
    windows = windowed(examples, unicode_tables(), tokenizer, most=_WINDOWS_PER_TEXT, seed=seed, keep_buckets=False)
    usable = np.ones(len(examples), bool) if stage == _LAST else ~held_out(examples)
    order = drawn(windows, usable[windows.example], draws, shares, seed=seed + turn + stage)
    _say(f"stage {stage}: {len(windows.tokens)} windows, {len(order)} draws")
    return windows, order


def _file(folder: Path, stage: int, recipe: Recipe | None = None) -> Path:
    """Return where the weights are kept, of a teacher or of what ships."""
    return folder / f"{'' if recipe is None else f'{recipe.name}_'}stage_{stage}.safetensors"


def main() -> None:
    """Gather, train two, have them teach a third one, write."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--out", type=Path, default=Path("build/encoder"))
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--stage", type=int, choices=(1, 2), help="only this one; 2 goes on from what 1 wrote")
    chosen = options.parse_args()
    torch.set_num_threads(_THREADS)
    base = fetched_base(chosen.out / "base")
    material = gathered(chosen.data, seed=chosen.seed)
    for stage in (1, _LAST) if chosen.stage is None else (chosen.stage,):
        for recipe in _TEACHERS:
            _say(recipe.name)
            _train(recipe, stage, material, base, chosen.out, seed=chosen.seed)
        _teach(stage, material, base, chosen.out, seed=chosen.seed)
    command = f"python training/encoder_train.py --data ../shared/data --out build/encoder --seed {chosen.seed}"
    if chosen.stage != 1:
        for line in finished(chosen.data, chosen.out, chosen.out / "shipped", seed=chosen.seed, command=command):
            sys.stdout.write(f"{line}\n")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
