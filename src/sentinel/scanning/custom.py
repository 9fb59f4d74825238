"""Patterns that a user brings: regular expressions by category, and intents named by their words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, permutations
from typing import Any, NamedTuple

import re2

from sentinel.errors import ConfigError
from sentinel.model import Finding, ScanThreat, Severity
from sentinel.scanning.engines import Flags, Ignores
from sentinel.scanning.text import Source, Text

__all__ = ["CustomEngine", "CustomPattern", "intent_patterns", "user_patterns"]

_CONFIDENCE = 0.9
_FINDINGS_PER_PATTERN = 100
"""Places of one pattern in one view; more say nothing new, and the answer stays small for any text."""
_MOST_WORDS = 4
"""Of an intent: its words may stand in any order, and each order is a pattern."""
_BETWEEN = 60
"""Characters that may stand between two words of an intent."""


class CustomPattern(NamedTuple):
    """One pattern, compiled, and what a place where it holds is called."""

    rule_id: str
    category: str
    message: str
    compiled: Any


class CustomEngine:
    """Finds the places where any of its patterns holds, in every reading of a text."""

    threats = (ScanThreat.CUSTOM,)
    by_rules = False
    EXAMPLES: tuple[Flags | Ignores, ...] = ()

    def __init__(self, engine: str, title: str, sources: tuple[Source, ...], patterns: Iterable[CustomPattern]) -> None:
        self.id = engine
        self.title = title
        self.sources = sources
        self._patterns = tuple(patterns)
        self._set = re2.Set.SearchSet()
        for pattern in self._patterns:
            self._set.Add(pattern.compiled.pattern)
        self._set.Compile()

    def examine(self, text: Text) -> Iterator[Finding]:
        """Yield one finding for each place where a pattern holds, the reading closest to the original first."""
        places: set[tuple[str, tuple[int, int]]] = set()
        for view in text.views:
            for index in sorted(self._set.Match(view.text) or ()):
                pattern = self._patterns[index]
                for match in islice(pattern.compiled.finditer(view.text), _FINDINGS_PER_PATTERN):
                    span = view.span(match.start(), match.end())
                    if (pattern.rule_id, span) not in places:
                        places.add((pattern.rule_id, span))
                        yield self._finding(pattern, span, view.name, text.source)

    def _finding(self, pattern: CustomPattern, span: tuple[int, int], view: str, source: str) -> Finding:
        return Finding(
            category=pattern.category,
            message=pattern.message,
            severity=Severity.MEDIUM,
            confidence=_CONFIDENCE,
            engine=self.id,
            span=span,
            rule_id=pattern.rule_id,
            threat=ScanThreat.CUSTOM,
            view=view,
            source=source,
        )


def user_patterns(by_category: Mapping[str, Iterable[str]]) -> list[CustomPattern]:
    """
    Return a user's regular expressions, which are RE2 and ignore case unless they say `(?-i)`.

    Raises:
        ConfigError: One does not compile, or matches the empty text; names its category and index.
    """
    return [
        CustomPattern(
            f"custom.{category}.{index}",
            category,
            f"Matches pattern {index} of the category.",
            _compiled(pattern, f"custom_patterns.{category}[{index}]"),
        )
        for category, patterns in by_category.items()
        for index, pattern in enumerate(patterns)
    ]


def intent_patterns(key: str, names: Iterable[str], category: str, message: str) -> list[CustomPattern]:
    """
    Return a pattern for each intent, named by its words: `wire_transfer` holds where a text has both close together.

    Args:
        key: The setting that they come from.
        names: Up to four words each, joined by `_`, `-` or a space; in a text they stand in any order and ending.
        category: Of the findings.
        message: Of the findings.

    Raises:
        ConfigError: A name has no word, or too many; names the key and the index.
    """
    return [
        CustomPattern(f"{category}.{name}", category, message, _compiled(_any_order(name, where), where))
        for index, name in enumerate(names)
        for where in [f"{key}[{index}]"]
    ]


def _any_order(name: str, where: str) -> str:
    words = re.findall(r"\w+", name.replace("_", " "))
    if not 1 <= len(words) <= _MOST_WORDS:
        raise ConfigError(f"an intent is named by one to {_MOST_WORDS} words", where=where)
    stems = [rf"\b{re2.escape(_stem(word))}\w*" for word in words]
    gap = rf"\b.{{0,{_BETWEEN}}}?"
    return "|".join(gap.join(order) for order in permutations(stems))


def _stem(word: str) -> str:
    """Return the beginning of a word that its other forms share: `closure` and `closing` begin with `clos`."""
    return word[: max(4, len(word) - 3)]


def _compiled(pattern: str, where: str) -> Any:
    options = re2.Options()
    # A pattern that doesn't compile raises; RE2 would also print it.
    options.log_errors = False
    try:
        compiled = re2.compile(f"(?i){pattern}", options)
    except re2.error as err:
        reason = err.args[0] if err.args else ""
        told = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise ConfigError(f"RE2 can't compile it: {told}", where=where) from None
    if compiled.search(""):
        raise ConfigError("it matches the empty text, and so everything", where=where)
    return compiled
