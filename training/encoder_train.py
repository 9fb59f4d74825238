"""
Trains the encoder that is the scanner's second look.

    python training/encoder_train.py --data ../shared/data --out build/encoder --seed 1

Two stages. The first one learns from all but what is kept for development, and is what development is measured on; the
second one goes on from there with everything and with the second grammar, and is what ships. `benchmark/` of the data
folder is never read here. Needs the packages of `training/requirements.txt`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoder_calibrate import finished
from encoder_data import Windows, batches, drawn, padded, plain_tokenizer, windowed
from encoder_material import gathered, held_out, mined
from encoder_net import Encoder, fetched_base
from numpy.typing import NDArray
from rows import Example
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.nn import functional
from unicode_tables import unicode_tables

Array = NDArray[Any]

_WINDOWS_PER_TEXT = 5
_DRAWS = (30_000, 30_000)
"""Windows seen in each stage."""
_RATES = (1.2e-4, 8e-5)
_HEAD_FACTOR = 10.0
"""The head begins with nothing, so it learns faster."""
_WARM_UP = 0.06
_DECAY = 0.01
_MOST_NORM = 1.0
_SAID_EVERY = 50
_KEPT_EVERY = 150
_THREADS = 2
_LOOKED_AT, _AT_ONCE = 2, 48
"""Windows of each unused text that are looked at for hard ones, and how many at once."""


def learn(encoder: Encoder, windows: Windows, order: Array, *, rate: float, out: Path) -> None:
    """Learn from the windows in that order; keep what was learnt so far in a file, now and then."""
    encoder.train()
    head = list(encoder.head.parameters())
    body = [one for name, one in encoder.named_parameters() if one.requires_grad and not name.startswith("head.")]
    groups = [{"params": body, "lr": rate}, {"params": head, "lr": rate * _HEAD_FACTOR}]
    optimizer = torch.optim.AdamW(groups, weight_decay=_DECAY)
    seen, total, begun = 0, 0.0, time.monotonic()
    rates = [group["lr"] for group in optimizer.param_groups]
    for step, batch in enumerate(batches(windows, order), 1):
        done = seen / len(order)
        for group, full in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = full * min(done / _WARM_UP + 0.01, 1 - done, 1.0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            raw = encoder(torch.from_numpy(batch.ids), torch.from_numpy(batch.mask))
        known = torch.from_numpy(batch.known).float()
        wanted = torch.from_numpy(batch.labels).float()
        losses = functional.binary_cross_entropy_with_logits(raw, wanted, known, reduction="sum")
        loss = losses / known.sum()
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


def main() -> None:
    """Gather, learn twice, write."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--out", type=Path, default=Path("build/encoder"))
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--stage", type=int, choices=(1, 2), help="only this one; 2 goes on from what 1 wrote")
    chosen = options.parse_args()
    torch.set_num_threads(_THREADS)
    base = fetched_base(chosen.out / "base")
    tokenizer = plain_tokenizer(base.tokenizer)
    material = gathered(chosen.data, seed=chosen.seed)
    files = [chosen.out / f"stage_{stage}.safetensors" for stage in (1, 2)]
    for stage in (1, 2) if chosen.stage is None else (chosen.stage,):
        # Each stage begins alike, so that the second one alone does what it does after the first.
        torch.manual_seed(chosen.seed)
        encoder = Encoder(base.weights)
        examples = material.first
        if stage == 2:  # noqa: PLR2004 - the second of two
            encoder.load_state_dict(load_file(files[0]))
            examples = [*examples, *material.second, *_mined_by(encoder, tokenizer, material.pool, seed=chosen.seed)]
        windows = windowed(
            examples, unicode_tables(), tokenizer, most=_WINDOWS_PER_TEXT, seed=chosen.seed, keep_buckets=False
        )
        usable = ~held_out(examples) if stage == 1 else np.ones(len(examples), bool)
        order = drawn(windows, usable[windows.example], _DRAWS[stage - 1], seed=chosen.seed + stage)
        _say(f"stage {stage}: {len(windows.tokens)} windows, {len(order)} draws")
        learn(encoder, windows, order, rate=_RATES[stage - 1], out=files[stage - 1])
    command = f"python training/encoder_train.py --data ../shared/data --out build/encoder --seed {chosen.seed}"
    if chosen.stage != 1:
        for line in finished(chosen.data, chosen.out, chosen.out / "shipped", seed=chosen.seed, command=command):
            sys.stdout.write(f"{line}\n")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
