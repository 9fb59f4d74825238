"""
Attacks that have a structure rather than a wording: gibberish suffixes.

Optimised suffixes are strings of word pieces, joined without sense, full of brackets and half-closed markup; they push
a model off its course whatever the question before them. There is no vocabulary to learn, so pieces are cut from
benign texts of all kinds, and the same texts stay benign. Floods of one repeated token were tried too and dropped: a
model that learnt them refused harmless repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

__all__ = ["suffixed"]

_SIGN_LINE = r"""
]({ ** !-- ." \! =\ {\ ]; </ --> (( $$ ?\ \\ "@ ~~ ]{ }; [[ (\ !! || \_ )</ _{ ^{ '] `` :) == ...] %} `, // \n (' <<
"""
_SIGNS = _SIGN_LINE.split()
_FEWEST_PIECES, _MOST_PIECES = 10, 26
_SIGN_SHARE, _GLUED_SHARE, _CAPITAL_SHARE = 0.3, 0.35, 0.15


def suffixed(questions: Sequence[str], texts: Sequence[str], n: int, rng: np.random.Generator) -> Iterator[str]:
    """Yield `n` questions, each with a gibberish suffix made of pieces of the texts."""
    for _ in range(n):
        yield f"{_one(questions, rng)} {_gibberish(texts, rng)}"


def _one(values: Sequence[str], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]


def _gibberish(texts: Sequence[str], rng: np.random.Generator) -> str:
    pieces = [_piece(texts, rng) for _ in range(int(rng.integers(_FEWEST_PIECES, _MOST_PIECES)))]
    return "".join(piece if rng.random() < _GLUED_SHARE else f"{piece} " for piece in pieces)


def _piece(texts: Sequence[str], rng: np.random.Generator) -> str:
    if rng.random() < _SIGN_SHARE:
        return _one(_SIGNS, rng)
    word = _one(_one(texts, rng).split() or ["the"], rng)
    start = int(rng.integers(max(len(word) - 2, 1)))
    piece = word[start : start + int(rng.integers(2, 8))] if rng.random() < 0.5 else word[:12]  # noqa: PLR2004 - either way
    changes: list[Callable[[str], str]] = [str.capitalize, str.upper]
    return changes[int(rng.integers(2))](piece) if rng.random() < _CAPITAL_SHARE else piece
