"""The trained model: text in, a score for each window out."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
from collections.abc import Iterator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import ConfigError
from sentinel.scanning.classify.features import (
    LATIN,
    MOST_CHARS,
    SCRIPTS,
    Features,
    FeaturesOfAll,
    Folded,
    Tables,
    features,
    features_of_all,
    fold,
    fold_all,
    main_script,
    window_starts,
)

__all__ = ["NgramModel", "Window"]

Ints = NDArray[Any]
Floats = NDArray[np.float64]

_NAMES = ("model.json", "ngram.npz")
_LEAST = -30.0
"""Lower logits are as good as none, and would overflow."""


class Window(NamedTuple):
    """A part of a text, in characters, and what the model thinks of it: 0.5 is the shipped threshold."""

    start: int
    end: int
    injection_score: float
    jailbreak_score: float
    script: int = LATIN
    """Of most of its letters, as an index into `SCRIPTS`."""
    judge: str = "ngram"
    """Whose scores these are."""

    @property
    def score(self) -> float:
        """The higher of the two."""
        return max(self.injection_score, self.jailbreak_score)


class NgramModel:
    """
    A linear model over hashed n-grams; immutable, shared by all threads.

    Args:
        tables: What each character becomes.
        weights: int8 of shape (2, 2**19): injection, jailbreak.
        scales: What one unit of `weights` is worth, by vector.
        biases: Likewise.
        thresholds: Of shape (2, number of scripts): the raw score that becomes 0.5.
        slopes: How fast scores grow around the threshold, by vector.
        version: Names the weights.
    """

    def __init__(
        self,
        tables: Tables,
        weights: Ints,
        *,
        scales: Sequence[float],
        biases: Sequence[float],
        thresholds: Floats,
        slopes: Sequence[float],
        version: str,
    ) -> None:
        self._tables = tables
        self._weights = _in_one(weights)
        self._scales = scales
        self._biases = biases
        self._thresholds = thresholds
        self._slopes = slopes
        self.version = version
        """Twelve hexadecimal digits that change when any weight does."""

    @classmethod
    @functools.cache
    def load(cls) -> NgramModel:
        """Return the shipped model; reads it once."""
        return cls.read(resources.files("sentinel.scanning.classify") / "weights")

    @classmethod
    def read(cls, folder: Traversable) -> NgramModel:
        """
        Return the model in a folder that `training/train.py` wrote.

        Raises:
            ConfigError: The weights aren't those that the description names; says which file.
        """
        description, packed = ((folder / name).read_bytes() for name in _NAMES)
        facts = json.loads(description)
        digest = hashlib.sha256(packed).hexdigest()
        if digest != facts["sha256"]:
            raise ConfigError("the weights aren't those that model.json names; install again", where=_NAMES[1])
        arrays = np.load(io.BytesIO(packed), allow_pickle=False)
        return cls(
            Tables(arrays["fold"].astype(np.uint32), arrays["shape"].astype(np.uint32), arrays["script"]),
            arrays["weights"],
            scales=facts["scales"],
            biases=facts["biases"],
            thresholds=np.array(facts["thresholds"]),
            slopes=facts["slopes"],
            version=hashlib.sha256(description).hexdigest()[:12],
        )

    def windows(self, text: str) -> Iterator[Window]:
        """Yield the windows of a text, in order, with their scores; they overlap by half."""
        folded = fold(text, self._tables)
        length, size = len(folded.chars), folded.window_size
        if length <= size:
            yield self._only_window(text, folded)
            return
        for starts, ends, raw, scripts in self._blocks(folded, size):
            logits = (raw - self._thresholds[:, scripts]) * np.array(self._slopes)[:, None]
            scores = 1.0 / (1.0 + np.exp(-np.maximum(logits, _LEAST)))
            firsts = np.maximum(folded.positions.take(starts), 0)
            stops = np.where(ends == length, len(text), folded.positions.take(ends - 1) + 1)
            yield from map(Window, firsts.tolist(), stops.tolist(), *scores.tolist(), scripts.tolist())

    def worst(self, texts: Sequence[str]) -> int:
        """Return the place of the most suspicious text, by its most suspicious window; the first of equals."""
        scores = [max(window.score for window in self.windows(text)) for text in texts]
        return scores.index(max(scores))

    def _only_window(self, text: str, folded: Folded) -> Window:
        """Return the window of a short text; arrays of one element would cost more than all else."""
        found = features(folded.chars, folded.shapes)
        total = int(np.add.reduce(self._weights.take(found.buckets)))
        return self._window(text, total, len(folded.chars), _main_script(folded))

    def only_windows(self, texts: Sequence[str]) -> list[Window | None]:
        """
        Return for each text its window if it has only one, else None: for many texts at less than for each alone.

        Args:
            texts: Together, with 8 for each of them, at most `MOST_CHARS` characters.
        """
        if not texts:
            return []
        folded = fold_all(texts, self._tables)
        found, lengths = features_of_all(folded), folded.ends - folded.starts
        totals = _window_sums(self._weights, found, folded.starts, folded.ends)
        scripts, sizes = folded.scripts_and_sizes()
        columns = (totals, lengths, scripts, lengths <= sizes)
        return [
            self._window(text, total, length, script) if is_only else None
            for text, total, length, script, is_only in zip(texts, *(one.tolist() for one in columns), strict=True)
        ]

    def _window(self, text: str, sums: int, length: int, script: int) -> Window:
        """Return the window that is all of a text, of whose weights these are the sums."""
        root = math.sqrt(length)
        logits = []
        for vector, total in enumerate(_apart(sums)):
            raw = total * self._scales[vector] / root + self._biases[vector]
            logits.append((raw - self._thresholds.item(vector, script)) * self._slopes[vector])
        injection, jailbreak = (1.0 / (1.0 + math.exp(-max(logit, _LEAST))) for logit in logits)
        return Window(0, len(text), injection, jailbreak, script)

    def _blocks(self, folded: Folded, size: int) -> Iterator[tuple[Ints, Ints, Floats, Ints]]:
        """Yield the starts, ends, raw scores and scripts of as many windows at a time as `features` takes."""
        all_starts = window_starts(len(folded.chars), size)
        at_once = (MOST_CHARS - size) // (size // 2)
        for first in range(0, len(all_starts), at_once):
            starts = all_starts[first : first + at_once]
            ends = starts + size
            block, froms, tos = slice(starts[0], ends[-1]), starts - starts[0], ends - starts[0]
            found = features(folded.chars[block], folded.shapes[block])
            sums = np.array(_apart(_window_sums(self._weights, found, froms, tos)))
            raw = sums * (np.array(self._scales) / math.sqrt(size))[:, None] + np.array(self._biases)[:, None]
            yield starts, ends, raw, _window_scripts(folded.scripts[block], froms, tos)


_HALF = 2**31
_BITS = 32


def _in_one(weights: Ints) -> Ints:
    """
    Return two vectors of weights as one: sums of its numbers hold both sums, at half the look-ups.

    Args:
        weights: int8, of shape (2, n).
    """
    low, high = weights.astype(np.int64)
    both: Ints = (high << _BITS) + low
    return both


def _apart(total: Any) -> tuple[Any, Any]:
    """Return what numbers of `_in_one` add up to, each vector's for itself; below 2**31, far from what a text has."""
    low = (total + _HALF) % (2 * _HALF) - _HALF
    return low, (total - low) >> _BITS


def _window_sums(weights: Ints, found: Features | FeaturesOfAll, starts: Ints, ends: Ints) -> Ints:
    of_chars = weights.take(found.grams).sum(axis=0)
    of_chars += np.bincount(found.word_at, weights.take(found.words), len(of_chars)).astype(np.int64)
    return _between(of_chars, starts, ends)


def _between(values: Ints, starts: Ints, ends: Ints) -> Ints:
    """Return the sums of the values from each start up to its end."""
    up_to = np.concatenate(([0], np.cumsum(values)))
    return up_to.take(ends) - up_to.take(starts)


def _main_script(folded: Folded) -> int:
    return LATIN if folded.is_latin else int(main_script(np.bincount(folded.scripts, minlength=len(SCRIPTS))))


def _window_scripts(scripts: Ints, starts: Ints, ends: Ints) -> Ints:
    if scripts.max() <= LATIN:
        return np.full(len(starts), LATIN)
    return main_script(np.array([_between(scripts == script, starts, ends) for script in range(len(SCRIPTS))]))
