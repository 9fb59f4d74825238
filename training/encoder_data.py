"""
What the encoder learns from: windows of the n-gram model's examples as tokens, drawn by kind and source.

The encoder judges windows that the n-gram model has scored, so it learns from the very same windows: at most so many of
each text, those in the attack before others. Only windows in Latin letters: the base weights know hardly anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fit import windows_of
from numpy.typing import NDArray
from rows import BENIGN, DISGUISE, GRAMMAR, HARMFUL, INJECTION, JAILBREAK, WRITTEN, Example
from samples import FACTORS
from tokenizers import Tokenizer

from sentinel.scanning.classify.features import LATIN, Tables, fold, main_script

__all__ = [
    "HEADS",
    "LAST_SHARES",
    "MINED",
    "MOST_TOKENS",
    "PLAIN_SHARES",
    "SHARES",
    "TAUGHT_SHARES",
    "Batch",
    "Windows",
    "batches",
    "drawn",
    "padded",
    "plain_tokenizer",
    "windowed",
]

Array = NDArray[Any]

HEADS = (INJECTION, JAILBREAK)
"""What the outputs mean, in order; the same two targets as the n-gram model's."""
MOST_TOKENS = 80
"""Of a window, with the two marks at its ends; 330 characters of English prose are some 75."""
MINED = "mined:"
"""Groups of benign texts that a model took for attacks begin so."""
_SCRIPTS = 8
_KINDS = ("ours", "written", "foreign", "harmful", "disguised", "twins", "written twins", "mined", "benign")
"""Attacks of the grammar, those written one by one and those of the sets, then the kinds of benign windows."""
PLAIN_SHARES = dict(zip(_KINDS, (0.27, 0.0, 0.16, 0.03, 0.02, 0.23, 0.0, 0.07, 0.22), strict=True))
"""Of all draws, by kind: without texts that were written one by one."""
SHARES = tuple(
    dict(zip(_KINDS, shares, strict=True))
    for shares in (
        (0.22, 0.07, 0.16, 0.03, 0.02, 0.18, 0.09, 0.05, 0.18),
        (0.19, 0.12, 0.14, 0.03, 0.02, 0.15, 0.16, 0.03, 0.16),
    )
)
"""With them, by stage."""
TAUGHT_SHARES = dict(zip(_KINDS, (0.16, 0.10, 0.13, 0.03, 0.02, 0.13, 0.12, 0.07, 0.24), strict=True))
"""Of what two encoders teach a third one."""
LAST_SHARES = dict(zip(_KINDS, (0.13, 0.12, 0.12, 0.03, 0.02, 0.11, 0.24, 0.05, 0.18), strict=True))
"""Of its last lesson: more harmless texts that were written one by one."""
_FACTORS = {**FACTORS, "a_xsafety_attacks": 0.4}
_MOST_DRAWS = 4
"""Of one window, so that a small group isn't learnt by heart."""
_TOKENS_AT_ONCE, _TEXTS_AT_ONCE = 2400, 48
_SORTED_AT_ONCE = 2048
_SMOOTHING = 0.03
_UNKNOWN = -1


class Windows(NamedTuple):
    """Windows in Latin letters, one entry each."""

    tokens: list[Array]
    """uint16, with the marks at both ends."""
    buckets: list[Array]
    """What the n-gram model sees of them; empty where that wasn't asked for."""
    lengths: Array
    """In characters, folded."""
    labels: Array
    """int8, of shape (n, heads): 1, 0, or -1 where the text says nothing."""
    example: Array
    kinds: Array
    """Keys of `SHARES`."""
    groups: Array
    langs: Array


class Batch(NamedTuple):
    """Arrays of shape (texts, tokens) and (texts, heads)."""

    ids: Array
    mask: Array
    labels: Array
    known: Array


def plain_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer without the padding and cutting that its file asks for."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def windowed(
    examples: Sequence[Example], tables: Tables, tokenizer: Tokenizer, *, most: int, seed: int, keep_buckets: bool
) -> Windows:
    """Return the windows of the examples, at most `most` of each; those that lie half in an attack are left out."""
    rng = np.random.default_rng([seed, 11])
    texts, buckets, lengths, labels, owners, kinds = [], [], [], [], [], []
    for index, example in enumerate(examples):
        for window in windows_of(example.text, example.span, tables, most, rng):
            text = example.text[slice(*window.span)]
            if window.hit is None or not _is_latin(text, tables):
                continue
            attack = window.hit and example.target in HEADS
            texts.append(text)
            buckets.append(window.buckets if keep_buckets else window.buckets[:0])
            lengths.append(window.length)
            labels.append([_label(example.target, head, attack=attack) for head in HEADS])
            owners.append(index)
            kinds.append(_kind(example, attack=attack))
    tokens = [np.array(cut(one.ids), np.uint16) for one in tokenizer.encode_batch_fast(texts)]
    owner = np.array(owners)
    groups, langs = (np.array([getattr(one, name) for one in examples])[owner] for name in ("group", "lang"))
    return Windows(tokens, buckets, np.array(lengths), np.array(labels, np.int8), owner, np.array(kinds), groups, langs)


def cut(ids: Sequence[int]) -> list[int]:
    """Return the tokens that are judged of a window: too many are cut before the mark at the end."""
    return list(ids) if len(ids) <= MOST_TOKENS else [*ids[: MOST_TOKENS - 1], ids[-1]]


def _is_latin(text: str, tables: Tables) -> bool:
    scripts = np.bincount(fold(text, tables).scripts, minlength=_SCRIPTS)
    return int(main_script(scripts)) == LATIN


def _label(target: str, head: str, *, attack: bool) -> int:
    """Return 1 in an attack of the head's kind, -1 in one of the other kind, else 0."""
    return 0 if not attack else 1 if target == head else _UNKNOWN


def _kind(example: Example, *, attack: bool) -> str:
    ours, written = (example.group.startswith(kind) for kind in (GRAMMAR, WRITTEN))
    if attack:
        return "written" if written else "ours" if ours else "foreign"
    if written:
        return "written twins"
    if example.target == HARMFUL:
        return "harmful"
    if example.group.startswith(DISGUISE):
        return "disguised"
    if example.group.startswith(MINED):
        return "mined"
    # The rest of a text around an attack is as harmless as its twin, and has to be told from it.
    return "benign" if example.target == BENIGN and not ours else "twins"


def drawn(windows: Windows, usable: Array, draws: int, shares: Mapping[str, float], *, seed: int) -> Array:
    """
    Return indices of windows in the order in which they are learnt from.

    Kinds have fixed shares, groups within them weigh the root of their size, windows within a group alike.
    """
    rng = np.random.default_rng([seed, 23])
    expected = np.zeros(len(windows.kinds))
    for kind, share in shares.items():
        taken = np.flatnonzero(usable & (windows.kinds == kind))
        sizes = Counter(windows.groups[taken])
        weights = np.array([_FACTORS.get(g, 1.0) / np.sqrt(sizes[g]) for g in windows.groups[taken]])
        expected[taken] = np.minimum(weights / max(weights.sum(), 1e-9) * share * draws, _MOST_DRAWS)
    times = np.floor(expected + rng.random(len(expected))).astype(int)
    return rng.permutation(np.repeat(np.arange(len(times)), times))


def batches(windows: Windows, order: Array) -> Iterator[Batch]:
    """Yield the windows in batches of similar length; labels are smoothed a little."""
    for first in range(0, len(order), _SORTED_AT_ONCE):
        part = order[first : first + _SORTED_AT_ONCE]
        sizes = np.array([len(windows.tokens[index]) for index in part])
        part = part[np.argsort(sizes, kind="stable")]
        rng = np.random.default_rng(first)
        cuts = list(_cuts(np.sort(sizes)))
        for at in rng.permutation(len(cuts)):
            yield _batch(windows, part[slice(*cuts[at])])


def _cuts(sizes: Array) -> Iterator[tuple[int, int]]:
    """Yield beginnings and ends of batches, from the longest texts down to the shortest."""
    end = len(sizes)
    while end:
        begin = max(0, end - min(_TEXTS_AT_ONCE, _TOKENS_AT_ONCE // int(sizes[end - 1])))
        yield begin, end
        end = begin


def _batch(windows: Windows, indices: Array) -> Batch:
    ids, mask = padded([windows.tokens[index] for index in indices])
    labels = windows.labels[indices]
    return Batch(ids, mask, np.clip(labels, 0, 1) * (1 - 2 * _SMOOTHING) + _SMOOTHING, labels != _UNKNOWN)


def padded(tokens: Sequence[Array]) -> tuple[Array, Array]:
    """Return ids and mask, of shape (texts, longest)."""
    ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
    for row, one in zip(ids, tokens, strict=True):
        row[: len(one)] = one
    return ids, np.arange(ids.shape[1]) < np.array([len(one) for one in tokens])[:, None]
