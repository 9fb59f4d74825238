"""The `detection` of a Sigma rule -> one predicate over events: selections, joined by the condition."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from sentinel.detection.sigma.document import Map
from sentinel.detection.sigma.values import Placeholders, Predicate, all_of, any_of, field_predicate, negated
from sentinel.errors import RuleError

__all__ = ["detection_predicate"]

_TOKEN = re.compile(r"[()]|[^\s()]+")
_MOST_WORDS = 400  # deeper nesting than this could meet the interpreter's recursion limit while an event is judged
_WORDS = {"and", "or", "not", "of", "them", "(", ")"}


def detection_predicate(detection: Map, placeholders: Placeholders | None = None) -> Predicate:
    """
    Return the predicate that a `detection` mapping describes.

    Raises:
        LocatedError: Anything that is not understood exactly, with its line.
    """
    if "condition" not in detection:
        raise detection.error("condition", "'condition' is missing")
    if "timeframe" in detection:
        instead = _instead(str(detection["condition"]))
        raise detection.error("timeframe", f"'timeframe' belongs to the old aggregations; {instead}")
    selections = {
        name: _selection(detection, name, content, placeholders or {})
        for name, content in detection.items()
        if name != "condition"
    }
    conditions = detection["condition"]
    texts = conditions if isinstance(conditions, list) else [conditions]
    keywords = {name for name, content in detection.items() if _is_keywords(content)}
    try:
        return any_of([_Condition(text, selections, keywords).predicate() for text in texts])
    except RuleError as err:
        raise detection.error("condition", err.reason) from err


def _is_keywords(content: Any) -> bool:
    """Whether it is a list of several texts."""
    return isinstance(content, list) and len(content) > 1 and not any(isinstance(each, Map) for each in content)


def _selection(parent: Map, name: str, content: Any, placeholders: Placeholders) -> Predicate:
    if isinstance(content, Map) and content:
        return all_of([_entry(content, key, key, value, placeholders) for key, value in content.items()])
    if isinstance(content, list) and any(isinstance(each, list) for each in content):
        raise parent.error(name, f"{name}: a list of lists has no meaning")
    if isinstance(content, list) and any(isinstance(each, Map) for each in content):
        return any_of([_selection(parent, name, each, placeholders) for each in content])
    return _entry(parent, name, "", content, placeholders)


def _entry(at: Map, place: str, key: str, value: Any, placeholders: Placeholders) -> Predicate:
    try:
        return field_predicate(key, value, placeholders)
    except RuleError as err:
        raise at.error(place, f"{place}: {err.reason}") from err


def _instead(text: str) -> str:
    """Return which correlation says what an old aggregation said."""
    found = _PIPE.search(text)
    if found is None:
        return f"write a correlation of type {'temporal' if ' near ' in text else 'event_count'}"
    function, field, group, operator, bound = found.groups()
    kind = {"count": "value_count" if field else "event_count", "sum": "value_sum", "avg": "value_avg"}.get(function)
    if kind is None:
        return "write a correlation"
    parts = [f"type: {kind}", *([f"group-by: [{group}]"] if group else [])]
    condition = [*([f"field: {field}"] if field else []), f"{_BOUNDS.get(operator, 'gte')}: {bound}"]
    return f"write a correlation with {', '.join(parts)}, condition: {{{', '.join(condition)}}} and a timespan"


_PIPE = re.compile(r"\|\s*(\w+)\(\s*([\w.-]*)\s*\)\s*(?:by\s+([\w.-]+)\s*)?([<>=]+)\s*(\d+)")
_BOUNDS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "=": "eq", "==": "eq"}


class _Condition:
    """
    Recursive descent over the words of a condition.

        either = both ("or" both)*
        both   = one ("and" one)*
        one    = "not" one | "(" either ")" | ("1" | "all") "of" ("them" | pattern) | selection
    """

    def __init__(self, text: Any, selections: Mapping[str, Predicate], keywords: Collection[str]) -> None:
        if not isinstance(text, str):
            raise RuleError("a condition must be text")
        if "|" in text:
            raise RuleError(f"pipes are not supported; {_instead(text)}")
        self._words: list[str] = _TOKEN.findall(text)
        if len(self._words) > _MOST_WORDS:
            raise RuleError(f"a condition has at most {_MOST_WORDS} words")
        self._at = 0
        self._selections = selections
        self._keywords = keywords

    def predicate(self) -> Predicate:
        found = self._either()
        if self._at < len(self._words):
            raise RuleError(f"the condition is not understood from {self._words[self._at]!r} on")
        return found

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _take(self, word: str) -> bool:
        taken = self._peek().lower() == word
        self._at += taken
        return taken

    def _either(self) -> Predicate:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return any_of(parts)

    def _both(self) -> Predicate:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return all_of(parts)

    def _one(self) -> Predicate:
        if self._take("not"):
            return negated(self._one())
        if self._take("("):
            inside = self._either()
            if not self._take(")"):
                raise RuleError("a closing parenthesis is missing in the condition")
            return inside
        word = self._peek()
        self._at += 1
        return self._several(word) if self._take("of") else self._named(word)

    def _named(self, word: str) -> Predicate:
        if word in self._selections:
            return self._selections[word]
        if not word or word.lower() in _WORDS:
            raise RuleError(
                f"the condition has {word!r} where a selection must stand" if word else "the condition ends early"
            )
        raise RuleError(f"the condition names the selection {word!r}, which is not there")

    def _several(self, quantity: str) -> Predicate:
        if quantity not in {"1", "all"}:
            raise RuleError(f"'{quantity} of' is not supported; there are '1 of' and 'all of'")
        pattern = self._peek()
        self._at += 1
        if quantity == "all" and pattern in self._keywords:  # any item for Sigma 2; the rules that say so mean each
            raise RuleError(f"'all of {pattern}' is of Sigma 1; put the items of {pattern} below '|all:'")
        wanted = "*" if pattern == "them" else pattern
        # The specification leaves selections that begin with an underscore out of both forms.
        found = [p for name, p in self._selections.items() if fnmatchcase(name, wanted) and not name.startswith("_")]
        if not found:
            raise RuleError(f"'{quantity} of {pattern}' names no selection")
        return any_of(found) if quantity == "1" else all_of(found)
