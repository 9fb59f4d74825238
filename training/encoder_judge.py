"""
Calibrates the encoder against the n-gram model on what was kept for development, and judges both.

Both models give a raw score for each window and head. Each is put on one scale by benign texts that it never saw, every
set counting alike: 0 is what a rare one reaches, and the distance to what a less rare one reaches is the unit. The
combined score is the mean of both on that scale, moved until no more than `FALSE_ALARMS` of the benign
texts reach it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from encoder_data import HEADS, Windows, windowed
from fit import Linear
from numpy.typing import NDArray
from rows import BENIGN, GRAMMAR, INJECTION, JAILBREAK, Example
from tokenizers import Tokenizer

from sentinel.scanning.classify.features import LATIN, Tables

__all__ = [
    "FALSE_ALARMS",
    "Calibration",
    "Judged",
    "aligned",
    "by_text",
    "calibrated",
    "combined",
    "judged",
    "opened",
    "tells",
]

Array = NDArray[Any]

WEIGHTS = Path("src/sentinel/scanning/classify/weights")
NGRAM_RANGE = 8.0
"""The n-gram model's calibrated score counts no further from its threshold than this, in logits."""
NGRAM_SHARE = 0.5
"""What the n-gram model counts for; the rest is the encoder's."""
FALSE_ALARMS = {INJECTION: 0.004, JAILBREAK: 0.0015}
"""
Of the benign texts of sets that nothing was learnt from, each set counting alike, by head. With more, harmless
sentences of our own tests are flagged, or more than a tenth of harmless prompts that are made to look like jailbreaks.
"""
_RARE, _LESS_RARE = 0.0025, 0.02
_WINDOWS_PER_TEXT = 5
_FEWEST = 30
ROLE_PROMPTS = frozenset({"a_lobe_agents", "a_prompt_libraries", "a_awesome_prompts"})
"""Sets of developers' own prompts; they aren't what is scanned, but hard all the same."""
_COMPARED = (0.5, 0.2, 0.08, 0.03, 0.012)
"""Shares of benign texts by which two models' scales are compared."""


class Judged(NamedTuple):
    """Windows of texts with both models' scores."""

    ngram: Array
    """Logits on the shipped scale, of shape (windows, heads), cut to `NGRAM_RANGE`."""
    encoder: Array
    """Raw, of the same shape."""
    text: Array
    """Index of the text that a window belongs to."""
    targets: Array
    """By text, as are `groups` and `langs`."""
    groups: Array
    langs: Array


class Calibration(NamedTuple):
    """How two scores become one, by head: `ngram * n + encoder * e + bias`, 0 at the threshold."""

    ngram: Array
    encoder: Array
    bias: Array


def judged(
    examples: Sequence[Example],
    tables: Tables,
    tokenizer: Tokenizer,
    models: Sequence[Linear],
    session: Any,
    *,
    seed: int,
) -> Judged:
    """Return both scores of at most five windows of each text that has any in Latin letters."""
    windows = windowed(examples, tables, tokenizer, most=_WINDOWS_PER_TEXT, seed=seed, keep_buckets=True)
    kept, text = np.unique(windows.example, return_inverse=True)
    targets, groups, langs = (
        np.array([getattr(examples[i], name) for i in kept]) for name in ("target", "group", "lang")
    )
    return Judged(ngram_scores(windows, models), encoder_scores(windows, session), text, targets, groups, langs)


def ngram_scores(windows: Windows, models: Sequence[Linear]) -> Array:
    """Return logits of linear models on the scale of the shipped one."""
    facts = json.loads((WEIGHTS / "model.json").read_text(encoding="utf-8"))
    thresholds, slopes = np.array(facts["thresholds"])[:, LATIN], np.array(facts["slopes"])
    roots = np.sqrt(windows.lengths)
    raw = np.array(
        [[model.weights.take(buckets).sum() for buckets in windows.buckets] / roots + model.bias for model in models]
    )
    return np.clip((raw.T - thresholds) * slopes, -NGRAM_RANGE, NGRAM_RANGE)


def opened(path: Path) -> Any:
    """Return a session of one thread over an ONNX file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def encoder_scores(windows: Windows, session: Any) -> Array:
    """Return raw scores, each window for itself as at run time, of shape (windows, heads)."""
    found = np.empty((len(windows.tokens), len(HEADS)), np.float32)
    for row, tokens in zip(found, windows.tokens, strict=True):
        ids = tokens.astype(np.int64)[None]
        row[:] = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
    return found


def by_text(scores: Array, text: Array) -> Array:
    """Return the highest of each text's windows; windows of a text stand together."""
    return np.maximum.reduceat(scores, np.flatnonzero(np.diff(text, prepend=-1)), axis=0)


def reached_by(scores: Array, groups: Array, shares: Sequence[float]) -> Array:
    """Return what such shares of the texts reach, by column, each group weighing alike."""
    sizes = defaultdict(int)
    for group in groups:
        sizes[group] += 1
    weights = np.array([1 / sizes[group] / len(sizes) for group in groups])
    found = []
    for column in scores.T:
        order = np.argsort(-column)
        above = np.cumsum(weights[order])
        found.append([column[order[min(np.searchsorted(above, share), len(order) - 1)]] for share in shares])
    return np.array(found)


def tells(found: Judged, *, with_roles: bool = False) -> Array:
    """
    Return which texts say what a benign one scores, by text.

    Not the grammar's twins, which are made to be hard, nor role prompts, which are developers' own, unless they are
    asked for, nor the few texts of a set of which only some languages are kept from training.
    """
    names, sizes = np.unique(found.groups[found.targets == BENIGN], return_counts=True)
    fit = [name for name, n in zip(names, sizes, strict=True) if n >= _FEWEST and not name.startswith(GRAMMAR)]
    telling: Array = (found.targets == BENIGN) & np.isin(found.groups, fit)
    return telling if with_roles else telling & ~np.isin(found.groups, list(ROLE_PROMPTS))


def calibrated(
    found: Judged,
    *,
    share: float = NGRAM_SHARE,
    false_alarms: Mapping[str, float] = FALSE_ALARMS,
) -> Calibration:
    """
    Return how the two scores become one.

    Args:
        found: With benign texts of sets that no model of these learnt from.
        share: See `NGRAM_SHARE`.
        false_alarms: See `FALSE_ALARMS`.
    """
    benign = tells(found)
    groups = found.groups[benign]
    factors, biases = [], np.zeros(len(HEADS))
    for scores, part in ((found.ngram, share), (found.encoder, 1 - share)):
        high, low = reached_by(by_text(scores, found.text)[benign], groups, (_RARE, _LESS_RARE)).T
        slope = part * np.log(_LESS_RARE / _RARE) / np.maximum(high - low, 1e-3)
        factors.append(slope)
        biases -= slope * high
    rough = Calibration(*factors, biases)
    return rough._replace(bias=biases - _thresholds(found, combined(found, rough), false_alarms))


def _thresholds(found: Judged, scores: Array, false_alarms: Mapping[str, float]) -> Array:
    """
    Return what a text must reach, by head, for no more alarms than that.

    People give parts to play as developers do, so role prompts count where personas are judged.
    """
    reached = []
    for head, column in zip(HEADS, scores.T, strict=True):
        telling = tells(found, with_roles=head == JAILBREAK)
        reached.append(reached_by(column[telling, None], found.groups[telling], (false_alarms[head],))[0, 0])
    return np.array(reached)


def combined(found: Judged, how: Calibration) -> Array:
    """Return the combined logits by text, of shape (texts, heads)."""
    return by_text(found.ngram * how.ngram + found.encoder * how.encoder + how.bias, found.text)


def aligned(how: Calibration, measured: Judged, shipped: Judged) -> Calibration:
    """
    Return the calibration of two models for two others of their kind, which learnt from more.

    What ships has seen the sets that say what an unseen one scores. So its scales are laid over those of the models
    that haven't, by benign texts which none of the four learnt from, of sets which all of them did.

    Args:
        how: Of the models that `measured` is by.
        measured: Scores of those benign texts.
        shipped: Scores of the same texts by the models that ship.
    """
    factors, bias = [], how.bias.copy()
    for factor, theirs, ours in (
        (how.ngram, measured.ngram, shipped.ngram),
        (how.encoder, measured.encoder, shipped.encoder),
    ):
        at = [reached_by(by_text(scores, measured.text), measured.groups, _COMPARED) for scores in (theirs, ours)]
        lines = [np.polyfit(ours_at, theirs_at, 1) for theirs_at, ours_at in zip(*at, strict=True)]
        slopes, shifts = np.array(lines).T
        factors.append(factor * slopes)
        bias += factor * shifts
    return Calibration(factors[0], factors[1], bias)
