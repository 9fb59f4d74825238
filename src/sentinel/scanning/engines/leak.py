"""Leak: the answer repeats texts that were to stay inside, such as the system prompt, or a canary planted in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from sentinel.errors import ConfigError
from sentinel.model import Finding, ScanThreat, Severity
from sentinel.scanning.engines import Ignores
from sentinel.scanning.taxonomy import TAXONOMY
from sentinel.scanning.text import Source, Text
from sentinel.scanning.view import View

__all__ = ["Leak"]

# One token is a word, or a character of a script that puts no spaces between words.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]|[^\W_]+")
_GRAM_TOKENS = 4
_LEAST_GRAMS = 5
"""So many overlapping four-word sequences, eight words in a row or several shorter pieces, aren't chance."""
_SURE_GRAMS = 25
_LEAST_CANARY_CHARS = 6

_Gram = tuple[str, ...]


class Leak:
    """
    Finds protected texts in answers by the sequences of four words that they share, in any case and punctuation.

    Args:
        protected_texts: Texts of at least eight words, such as the system prompt.
        canaries: Words planted in such texts, at least six characters, that occur nowhere else.

    Raises:
        ConfigError: A text or a canary is too short to be told from chance.
    """

    id = "leak"
    title = "Protected text in the answer"
    threats = (ScanThreat.EXTRACTION,)
    sources: tuple[Source, ...] = ("response",)
    by_rules = False
    EXAMPLES = (Ignores("You are a helpful assistant of the city library.", "response"),)

    def __init__(self, protected_texts: Iterable[str] = (), canaries: Iterable[str] = ()) -> None:
        self._grams = frozenset(gram for text in protected_texts for gram in _grams_to_protect(text))
        self._canaries = tuple(map(_checked_canary, canaries))

    def examine(self, text: Text) -> Iterator[Finding]:
        """Yield one finding for each canary and each passage that is protected, in any reading of the answer."""
        for view in text.views:
            text.check_time()
            folded = view.text.lower()
            for canary in self._canaries:
                if (at := folded.find(canary)) >= 0 and len(folded) == len(view.text):
                    yield _finding(view, (at, at + len(canary)), "leak.canary", 0.95)
            if self._grams:
                yield from self._overlap(view)

    def _overlap(self, view: View) -> Iterator[Finding]:
        words = [token.lower() for token in _TOKEN.findall(view.text)]
        shared = [at for at, gram in enumerate(_grams(words)) if gram in self._grams]
        if len(shared) < _LEAST_GRAMS:
            return
        tokens = list(_TOKEN.finditer(view.text))
        confidence = min(0.95, 0.6 + 0.35 * (len(shared) - _LEAST_GRAMS) / (_SURE_GRAMS - _LEAST_GRAMS))
        for first, last in _runs(shared):
            yield _finding(
                view, (tokens[first].start(), tokens[last + _GRAM_TOKENS - 1].end()), "leak.overlap", confidence
            )


def _grams(words: list[str]) -> Iterator[_Gram]:
    return zip(*(words[offset:] for offset in range(_GRAM_TOKENS)), strict=False)


def _grams_to_protect(text: str) -> list[_Gram]:
    grams = list(_grams([token.lower() for token in _TOKEN.findall(text)]))
    if len(grams) < _LEAST_GRAMS:
        raise ConfigError("a protected text has fewer than eight words, so it can't be told from chance", where="leak")
    return grams


def _checked_canary(canary: str) -> str:
    if len(canary) < _LEAST_CANARY_CHARS:
        raise ConfigError("a canary has fewer than six characters, so it may occur by chance", where="leak")
    return canary.lower()


def _runs(places: list[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of sorted places whose sequences overlap."""
    first = places[0]
    for place, following in pairwise(places):
        if following - place > _GRAM_TOKENS:
            yield first, place
            first = following
    yield first, places[-1]


def _finding(view: View, place: tuple[int, int], rule_id: str, confidence: float) -> Finding:
    names = TAXONOMY[ScanThreat.EXTRACTION]
    return Finding(
        category="prompt_leak",
        message="The answer repeats a protected text.",
        severity=Severity.CRITICAL,
        confidence=confidence,
        engine=Leak.id,
        span=view.span(*place),
        rule_id=rule_id,
        threat=ScanThreat.EXTRACTION,
        view=view.name,
        source="response",
        owasp=names.owasp,
        atlas=names.atlas,
    )
