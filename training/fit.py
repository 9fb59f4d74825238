"""Windows of hashed features, and logistic regression over them by AdaGrad; numpy alone, the same for the same seed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.scanning.classify.features import (
    BUCKET_BITS,
    MOST_CHARS,
    Features,
    Tables,
    features,
    fold,
    window_size,
    window_starts,
)

__all__ = ["Linear", "Window", "fit", "windows_of"]

Array = NDArray[Any]

_BATCH = 1024
_RATE = 0.05
_BIAS_RATE = 0.5
_TINY = 1e-8
_OVERLAP = 0.6
"""Of the attack or of the window, what must overlap for the window to count as an attack."""


class Window(NamedTuple):
    """A window of an example; `hit` says how it lies to the attack: True in it, False clear of it, None in between."""

    buckets: Array
    length: int
    hit: bool | None
    span: tuple[int, int]
    """Where it stands in the text, in characters."""


class Linear(NamedTuple):
    """A weight for each bucket, and a bias."""

    weights: Array
    bias: float


def windows_of(
    text: str, span: tuple[int, int] | None, tables: Tables, most: int, rng: np.random.Generator
) -> list[Window]:
    """
    Return at most `most` windows of a text, as at run time, those in the attack before others.

    Without a span all of the text is what its label says.
    """
    folded = fold(text[: MOST_CHARS - 2], tables)
    length, size = len(folded.chars), window_size(folded.scripts)
    starts = window_starts(length, size)
    first, last = np.searchsorted(folded.positions, span) if span else (0, length)
    ends = np.minimum(starts + size, length)
    common = np.minimum(ends, last) - np.maximum(starts, first)
    hits = common >= _OVERLAP * np.minimum(last - first, ends - starts)
    chosen = np.argsort(rng.random(len(starts)) - hits)[:most]
    found = features(folded.chars, folded.shapes)
    stops = np.where(ends == length, len(text), folded.positions[ends - 1] + 1)
    return [
        Window(
            _buckets(found, starts[at], ends[at]),
            int(ends[at] - starts[at]),
            _verdict(hits[at], common[at]),
            (max(int(folded.positions[starts[at]]), 0), int(stops[at])),
        )
        for at in np.sort(chosen)
    ]


def _buckets(found: Features, start: int, end: int) -> Array:
    inside = (found.word_at >= start) & (found.word_at < end)
    return np.concatenate((found.grams[:, start:end].ravel(), found.words[inside])).astype(np.int32)


def _verdict(hit: bool, common: int) -> bool | None:
    return True if hit else False if common <= 0 else None


def fit(
    windows: list[Array], lengths: Array, targets: Array, weights: Array, *, seed: int, epochs: int, l2: float
) -> Linear:
    """
    Return the logistic regression of targets on hashed counts divided by the root of the window's length.

    Args:
        windows: Buckets of each window, with repetitions.
        lengths: In characters.
        targets: 0 or 1.
        weights: Of the windows, mean about 1.
        seed: Of the order.
        epochs: Passes over all windows.
        l2: Penalty on squared weights, per window.
    """
    rng = np.random.default_rng(seed)
    w = np.zeros(2**BUCKET_BITS, np.float32)
    squares = np.full(2**BUCKET_BITS, _TINY, np.float32)
    norms = 1 / np.sqrt(lengths)
    bias, bias_squares = 0.0, _TINY
    total, count = np.zeros_like(w), 0
    for epoch in range(epochs):
        order = rng.permutation(len(windows))
        for first in range(0, len(order), _BATCH):
            batch = order[first : first + _BATCH]
            sizes = np.array([len(windows[index]) for index in batch])
            ids = np.concatenate([windows[index] for index in batch])
            starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
            logits = np.add.reduceat(w.take(ids), starts) * norms[batch] + bias
            errors = (1 / (1 + np.exp(-logits)) - targets[batch]) * weights[batch] / len(batch)
            gradient = np.bincount(ids, np.repeat(errors * norms[batch], sizes), len(w)).astype(np.float32)
            gradient += l2 * w
            squares += gradient * gradient
            w -= _RATE * gradient / np.sqrt(squares)
            bias_squares += errors.sum() ** 2
            bias -= _BIAS_RATE * float(errors.sum()) / np.sqrt(bias_squares)
        if epoch >= epochs // 2:
            total += w
            count += 1
    return Linear(total / count, bias)
