"""
One field of a Sigma selection -> a predicate over events.

`name|modifier|modifier: value or list of values`. Several values are alternatives (`all`: all must hold), an array in
the event holds if any element does. What is not understood exactly is refused by name.

Source: the Sigma specification 2 (sigma-rules and modifiers appendix), and part G of the decisions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import re2

from sentinel.detection.sigma.fields import ABSENT, getter, number, strings, text
from sentinel.errors import RuleError
from sentinel.model import Event

__all__ = ["Predicate", "all_of", "any_of", "field_predicate"]

Predicate = Callable[[Event], bool]
Test = Callable[[object], bool]
"""A question about one scalar of an event."""

_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}
_TEXTUAL = ("equals", "contains", "startswith", "endswith")
_OPERATORS = {"contains", "startswith", "endswith", "re", "cidr", "exists", *_NUMERIC}
_RE_FLAGS = {"i", "m", "s"}
_COMBINING = {"all", "cased", "neq"}
# A backslash escapes * and ? and itself; before anything else it is a plain backslash.
_PIECE = re.compile(r"\\[\\*?]|[*?]|[^\\*?]+|\\")


@dataclass(frozen=True)
class _Asked:
    """The modifiers of one field, sorted out."""

    operator: str
    flags: frozenset[str]
    re_flags: str

    def __post_init__(self) -> None:
        if "cased" in self.flags and self.operator not in _TEXTUAL:
            raise RuleError(f"modifier 'cased' has no meaning with {self.operator!r}")
        if self.re_flags and self.operator != "re":
            raise RuleError(f"modifiers {', '.join(self.re_flags)} belong to 're'")
        if "neq" in self.flags and ("all" in self.flags or self.operator == "exists"):
            raise RuleError("modifier 'neq' can't be combined with 'all' or 'exists'; put 'not' into the condition")


def field_predicate(key: str, value: Any) -> Predicate:
    """
    Return the predicate for one entry of a selection; an empty field name means keywords.

    Raises:
        RuleError: A modifier or a value that is not supported.
    """
    name, *modifiers = key.split("|")
    asked = _asked(modifiers)
    if not name:
        return _keywords(asked, value)
    if asked.operator == "exists":
        return _exists(name, value)
    values = _values(value)
    tests = _tests(asked, values)
    if "all" in asked.flags:
        return all_of([_over_field(name, test, negated=False) for test in tests])
    return _over_field(name, _any(tests), negated="neq" in asked.flags)


def _asked(modifiers: Sequence[str]) -> _Asked:
    for modifier in modifiers:
        if modifier not in _OPERATORS | _RE_FLAGS | _COMBINING:
            raise RuleError(f"modifier {modifier!r} is not supported")
    operators = [modifier for modifier in modifiers if modifier in _OPERATORS]
    if len(operators) > 1 or len(set(modifiers)) < len(modifiers):
        raise RuleError(f"modifiers {'|'.join(modifiers)} exclude or repeat each other")
    flags = frozenset(modifiers) & _COMBINING
    return _Asked(operators[0] if operators else "equals", flags, "".join(m for m in modifiers if m in _RE_FLAGS))


def _values(value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise RuleError("an empty list of values can't match")
    if any(isinstance(each, dict | list) for each in values):
        raise RuleError("a value must be a text, a number, true, false or null")
    return values


def any_of(predicates: Sequence[Predicate]) -> Predicate:
    """Return whether one of them holds."""
    if len(predicates) == 1:
        return predicates[0]

    def matches(event: Event) -> bool:
        return any(predicate(event) for predicate in predicates)

    return matches


def all_of(predicates: Sequence[Predicate]) -> Predicate:
    """Return whether all of them hold."""
    if len(predicates) == 1:
        return predicates[0]

    def matches(event: Event) -> bool:
        return all(predicate(event) for predicate in predicates)

    return matches


def _exists(name: str, wanted: Any) -> Predicate:
    if not isinstance(wanted, bool):
        raise RuleError("'exists' takes true or false")
    get = getter(name)
    return lambda event: (get(event) is not ABSENT) is wanted


def _over_field(name: str, test: Test, *, negated: bool) -> Predicate:
    get = getter(name)

    def matches(event: Event) -> bool:
        value = get(event)
        # `neq` asks that the test holds for no element, so it is true where there is none.
        holds = any(map(test, value)) if isinstance(value, list) else test(value)
        return holds is not negated

    return matches


def _keywords(asked: _Asked, value: Any) -> Predicate:
    if asked.operator not in {*_TEXTUAL, "re"} or "neq" in asked.flags:
        raise RuleError("keywords are looked for in the whole event; this modifier needs a field")
    operator = "contains" if asked.operator == "equals" else asked.operator
    tests = _tests(_Asked(operator, asked.flags, asked.re_flags), _values(value))
    combine = all if "all" in asked.flags else any

    def matches(event: Event) -> bool:
        found = strings(event)
        return combine(any(map(test, found)) for test in tests)

    return matches


# --- tests of one scalar


def _tests(asked: _Asked, values: Sequence[Any]) -> list[Test]:
    if asked.operator in _TEXTUAL:
        return [_textual(asked.operator, value, cased="cased" in asked.flags) for value in values]
    if asked.operator == "re":
        return [_regex(value, asked.re_flags) for value in values]
    if asked.operator == "cidr":
        return [_cidr(value) for value in values]
    return [_numeric(asked.operator, value) for value in values]


def _any(tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def _textual(operator: str, value: Any, *, cased: bool) -> Test:
    if value is None:
        if operator != "equals":
            raise RuleError(f"null can't be combined with {operator!r}")
        return lambda found: found is None or found is ABSENT
    wanted = text(value)
    if wanted is None:
        raise RuleError("a value must be a text, a number, true, false or null")
    shape = _shape(wanted if cased else wanted.lower())
    if operator in {"contains", "endswith"}:
        shape = ["*", *shape]
    if operator in {"contains", "startswith"}:
        shape = [*shape, "*"]
    return _of_text(_shape_test(shape), cased=cased)


def _of_text(test: Callable[[str], bool], *, cased: bool) -> Test:
    def holds(value: object) -> bool:
        found = text(value)
        return found is not None and test(found)

    def holds_in_lower_case(value: object) -> bool:
        found = text(value)
        return found is not None and test(found.lower())

    return holds if cased else holds_in_lower_case


class _Literal(str):
    """A piece of a pattern that stands for itself."""

    __slots__ = ()


def _shape(pattern: str) -> list[str]:
    """Return the pattern as literals and the wildcards `*` and `?`, neighbouring literals joined."""
    shape: list[str] = []
    for piece in _PIECE.findall(pattern):
        if piece in {"*", "?"}:
            shape.append(piece)
            continue
        literal = piece[1:] if len(piece) > 1 and piece[0] == "\\" else piece
        if shape and isinstance(shape[-1], _Literal):
            literal = shape.pop() + literal
        shape.append(_Literal(literal))
    return shape


def _shape_test(shape: list[str]) -> Callable[[str], bool]:
    literal = next((piece for piece in shape if isinstance(piece, _Literal)), "")
    kinds = "".join("x" if isinstance(piece, _Literal) else piece for piece in shape)
    simple: dict[str, Callable[[str], bool]] = {
        "": lambda found: not found,
        "x": str(literal).__eq__,
        "x*": lambda found: found.startswith(literal),
        "*x": lambda found: found.endswith(literal),
        "*x*": lambda found: literal in found,
    }
    if kinds in simple:
        return simple[kinds]
    wild = {"*": ".*", "?": "."}
    body = "".join(re2.escape(str(piece)) if isinstance(piece, _Literal) else wild[piece] for piece in shape)
    return _searcher(rf"(?s)\A{body}\z")


def _regex(pattern: Any, flags: str) -> Test:
    if not isinstance(pattern, str):
        raise RuleError("'re' takes a text")
    return _of_text(_searcher(f"(?{flags}){pattern}" if flags else pattern), cased=True)


def _searcher(pattern: str) -> Callable[[str], bool]:
    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(pattern, options).search
    except re2.error as err:
        said = err.args[0].decode("utf-8", "replace") if isinstance(err.args[0], bytes) else err
        raise RuleError(f"RE2 has no such regular expression: {said}") from err
    except UnicodeEncodeError as err:
        raise RuleError("RE2 has no such regular expression: it holds a lone surrogate") from err

    def found(value: str) -> bool:
        # RE2 refuses lone surrogates; they come from logs with broken bytes and must not stop a rule.
        return search(value if value.isascii() else value.encode("utf-8", "replace").decode()) is not None

    return found


def _cidr(value: Any) -> Test:
    try:
        network = ip_network(str(value), strict=False)
    except ValueError as err:
        raise RuleError("'cidr' takes a network such as 192.0.2.0/24") from err

    def holds(found: object) -> bool:
        try:
            return isinstance(found, str) and ip_address(found) in network
        except ValueError:  # not an address
            return False

    return holds


def _numeric(operator: str, value: Any) -> Test:
    bound = number(value)
    if bound is None or isinstance(value, str):
        raise RuleError(f"{operator!r} takes a number")
    compare = _NUMERIC[operator]

    def holds(found: object) -> bool:
        value = number(found)
        return value is not None and compare(value, bound)

    return holds
