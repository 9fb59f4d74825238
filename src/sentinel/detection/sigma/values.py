"""
One field of a Sigma selection -> a predicate over events.

`name|modifier|modifier: value or list of values`. Several values are alternatives (`all`: all must hold), an array in
the event holds if any element does. What is not understood exactly is refused by name.

A predicate is a formula over questions, each about one field. Whoever has many rules asks each question once for a
value and not again for each event; and a question also says, where it can, which texts it takes to be answered with
yes, so that only those are asked whose text is there.

Source: the Sigma specification 2 (sigma-rules and modifiers appendix), and part G of the decisions.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any, NamedTuple

import msgspec
import re2

from sentinel.detection.sigma.fields import ABSENT, Getter, getter, number, presence, scalars, strings, text
from sentinel.errors import RuleError
from sentinel.model import Event

__all__ = ["Answer", "Placeholders", "Predicate", "Question", "all_of", "any_of", "field_predicate", "negated"]

Placeholders = Mapping[str, Sequence[str]]
"""What `%name%` stands for under the modifier `expand`."""


Answer = bool | None
"""None: not known."""


class Question(msgspec.Struct, frozen=True, eq=False):
    """What a rule asks of one field; the answer depends on its value alone."""

    field: str
    """As the rule calls it; empty: any text of the event."""
    get: Getter
    holds: Callable[[Any], bool]
    """The answer, from what `get` returns; an array's is yes if any element's is."""
    literals: frozenset[str] | None = None
    """The field's text, or an element's, must be (`exact`) or contain one of these, in lower case; None: who knows."""
    exact: bool = False
    dear: bool = False
    """Not to be asked before all else is known to hold."""
    presence: bool = False
    """Whether only presence is asked for: then `get` returns the same for every value."""


class Predicate(msgspec.Struct, frozen=True, eq=False):
    """A formula over questions about an event."""

    decide: Callable[[Callable[[Question], Answer]], Answer]
    """What it comes to, from the answers to its questions; None when one that is not known makes the difference."""
    questions: tuple[Question, ...]
    need: frozenset[Question] | None = None
    """One of these, which have `literals`, must be answered with yes; None: who knows."""
    fields: frozenset[str] = frozenset()
    """It can't hold for an event that lacks one of these."""

    def holds(self, event: Event) -> bool:
        """Whether it holds for an event."""
        return self.decide(lambda question: question.holds(question.get(event))) is True


class _Test(NamedTuple):
    """A question about one scalar of an event, and the lower-case literal that it must be or contain."""

    holds: Callable[[object], bool]
    literal: str | None = None
    exact: bool = False


_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}
_TEXTUAL = ("equals", "contains", "startswith", "endswith")
_WITHIN = {"contains", "re"}
"""What these look for may stand anywhere within an object, as it does within the text that other systems keep of it."""
_OPERATORS = {"contains", "startswith", "endswith", "re", "cidr", "exists", *_NUMERIC}
_RE_FLAGS = {"i", "m", "s"}
_COMBINING = {"all", "cased", "neq", "fieldref"}
_TIMES: dict[str, Callable[[datetime], int]] = {
    "minute": lambda moment: moment.minute,
    "hour": lambda moment: moment.hour,
    "day": lambda moment: moment.day,
    "week": lambda moment: moment.isocalendar().week,
    "month": lambda moment: moment.month,
    "year": lambda moment: moment.year,
}
# A backslash escapes * and ? and itself; before anything else it is a plain backslash.
_PIECE = re.compile(r"\\[\\*?]|[*?]|[^\\*?]+|\\")
_PLACEHOLDER = re.compile(r"(?<!\\)%([^%\s]+)%")  # after a backslash % stands for itself
_DASH = re.compile(r"\B[-/]\b")
_DASHES = "-/\N{EN DASH}\N{EM DASH}\N{HORIZONTAL BAR}"
_MOST_VARIANTS = 1_000


@dataclass(frozen=True)
class _Asked:
    """The modifiers of one field, sorted out."""

    operator: str
    flags: frozenset[str] = frozenset()
    re_flags: str = ""
    transforms: tuple[str, ...] = ()
    time: str | None = None

    def __post_init__(self) -> None:
        if "cased" in self.flags and self.operator not in _TEXTUAL:
            raise RuleError(f"modifier 'cased' has no meaning with {self.operator!r}")
        if self.re_flags and self.operator != "re":
            raise RuleError(f"modifiers {', '.join(self.re_flags)} belong to 're'")
        if "neq" in self.flags and ("all" in self.flags or self.operator == "exists"):
            raise RuleError("modifier 'neq' can't be combined with 'all' or 'exists'; put 'not' into the condition")
        if self.transforms and self.operator not in {*_TEXTUAL, "re", "cidr"}:
            raise RuleError(f"modifier {self.transforms[0]!r} has no meaning with {self.operator!r}")
        if set(self.transforms) - {"expand"} and self.operator not in _TEXTUAL:
            raise RuleError(f"modifier {self.transforms[-1]!r} has no meaning with {self.operator!r}")
        if "fieldref" in self.flags and (self.operator not in _TEXTUAL or self.transforms or self.time):
            raise RuleError("modifier 'fieldref' compares texts of two fields; it takes no other kind of modifier")
        if self.time and (self.operator not in {"equals", *_NUMERIC} or self.transforms or "cased" in self.flags):
            raise RuleError(f"modifier {self.time!r} gives a number, which can only be compared")


def field_predicate(key: str, value: Any, placeholders: Placeholders | None = None) -> Predicate:
    """
    Return the predicate for one entry of a selection; an empty field name means keywords.

    Raises:
        RuleError: A modifier or a value that is not supported.
    """
    name, *modifiers = key.split("|")
    asked = _asked(modifiers)
    if not name:
        return _keywords(asked, value, placeholders or {})
    if asked.operator == "exists":
        return _exists(name, value)
    values = _values(value)
    if "fieldref" in asked.flags:
        return _over_other_field(name, asked, values)
    tests = _tests(asked, values, placeholders or {})
    dear = asked.time is not None or asked.operator in {"re", "cidr"}
    within = asked.operator in _WITHIN
    if "all" in asked.flags:
        return all_of([_over_field(name, [test], dear=dear, within=within) for test in tests])
    found = _over_field(name, tests, dear=dear, within=within)
    return negated(found) if "neq" in asked.flags else found


def _asked(modifiers: Sequence[str]) -> _Asked:
    known = _OPERATORS | _RE_FLAGS | _COMBINING | _TIMES.keys() | _TRANSFORMS.keys()
    for modifier in modifiers:
        if modifier not in known:
            raise RuleError(f"modifier {modifier!r} is not supported")
    operators = [modifier for modifier in modifiers if modifier in _OPERATORS]
    times = [modifier for modifier in modifiers if modifier in _TIMES]
    if len(operators) > 1 or len(times) > 1 or len(set(modifiers)) < len(modifiers):
        raise RuleError(f"modifiers {'|'.join(modifiers)} exclude or repeat each other")
    return _Asked(
        operators[0] if operators else "equals",
        frozenset(modifiers) & _COMBINING,
        "".join(m for m in modifiers if m in _RE_FLAGS),
        tuple(m for m in modifiers if m in _TRANSFORMS),
        times[0] if times else None,
    )


def _values(value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise RuleError("an empty list of values can't match")
    if any(isinstance(each, dict | list) for each in values):
        raise RuleError("a value must be a text, a number, true, false or null")
    return values


# --- predicates


def any_of(predicates: Sequence[Predicate]) -> Predicate:
    """Return whether one of them holds."""
    if len(predicates) == 1:
        return predicates[0]
    known = [predicate.need for predicate in predicates if predicate.need is not None]
    need = frozenset[Question]().union(*known) if len(known) == len(predicates) else None
    fields = frozenset.intersection(*(predicate.fields for predicate in predicates))
    return Predicate(_joined(predicates, decisive=True), _questions(predicates), need, fields)


def all_of(predicates: Sequence[Predicate]) -> Predicate:
    """Return whether all of them hold."""
    if len(predicates) == 1:
        return predicates[0]
    known = [predicate.need for predicate in predicates if predicate.need is not None]
    rarest = min(known, key=lambda need: (not all(question.exact for question in need), _texts_of(need)), default=None)
    fields = frozenset[str]().union(*(predicate.fields for predicate in predicates))
    return Predicate(_joined(predicates, decisive=False), _questions(predicates), rarest, fields)


def _joined(predicates: Sequence[Predicate], *, decisive: bool) -> Callable[[Callable[[Question], Answer]], Answer]:
    """Return the formula that one decisive part decides, whatever the others are (Kleene's logic of three values)."""
    formulas = [predicate.decide for predicate in predicates]

    def decide(answer: Callable[[Question], Answer]) -> Answer:
        joined: Answer = not decisive
        for formula in formulas:
            found = formula(answer)
            if found is decisive:
                return decisive
            if found is None:
                joined = None
        return joined

    return decide


def _questions(predicates: Sequence[Predicate]) -> tuple[Question, ...]:
    return tuple(question for predicate in predicates for question in predicate.questions)


def _texts_of(need: frozenset[Question]) -> int:
    return sum(len(question.literals or ()) for question in need)


def negated(predicate: Predicate) -> Predicate:
    """Return whether it does not hold."""
    formula = predicate.decide

    def decide(answer: Callable[[Question], Answer]) -> Answer:
        found = formula(answer)
        return None if found is None else not found

    return Predicate(decide, predicate.questions)


def _asking(question: Question, fields: Sequence[str] = ()) -> Predicate:
    """Return the predicate that holds if the answer is yes."""
    need = None if question.literals is None else frozenset({question})
    return Predicate(lambda answer: answer(question), (question,), need, frozenset(fields))


def _exists(name: str, wanted: Any) -> Predicate:
    if not isinstance(wanted, bool):
        raise RuleError("'exists' takes true or false")
    question = Question(name, presence(name), lambda value: (value is not ABSENT) is wanted, presence=True)
    return _asking(question, [name] if wanted else ())


def _over_field(name: str, tests: Sequence[_Test], *, dear: bool, within: bool) -> Predicate:
    test = _any(tests).holds

    def holds(value: Any) -> bool:
        if within and isinstance(value, dict | list):
            return any(map(test, scalars(value)))
        return any(map(test, value)) if isinstance(value, list) else test(value)

    question = Question(name, getter(name), holds, *_literals(tests), dear=dear)
    return _asking(question, () if test(ABSENT) else [name])


def _literals(tests: Sequence[_Test]) -> tuple[frozenset[str] | None, bool]:
    literals = frozenset(test.literal for test in tests if test.literal is not None)
    exact = all(test.exact for test in tests)
    if any(test.literal is None for test in tests) or ("" in literals and not exact):
        return None, False
    return literals, exact


def _over_other_field(name: str, asked: _Asked, values: Sequence[Any]) -> Predicate:
    """Compare the texts of two fields of the event; absence equals nothing, not even absence."""
    if not all(isinstance(value, str) and value for value in values):
        raise RuleError("'fieldref' takes names of fields")
    compare = _COMPARE_TEXTS[asked.operator]
    cased = "cased" in asked.flags

    def one(other: str) -> Predicate:
        get, get_other = getter(name), getter(other)

        def holds(values: tuple[Any, Any]) -> bool:
            mine, theirs = (_texts(value, cased=cased) for value in values)
            return any(compare(value, wanted) for value in mine for wanted in theirs)

        question = Question(name, lambda event: (get(event), get_other(event)), holds, dear=True)
        return _asking(question, [name, other])

    predicates = [one(value) for value in values]
    found = all_of(predicates) if "all" in asked.flags else any_of(predicates)
    return negated(found) if "neq" in asked.flags else found


_COMPARE_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "equals": str.__eq__,
    "contains": str.__contains__,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


def _texts(value: Any, *, cased: bool) -> list[str]:
    found = [text(each) for each in (value if isinstance(value, list) else [value])]
    return [each if cased else each.lower() for each in found if each is not None]


def _keywords(asked: _Asked, value: Any, placeholders: Placeholders) -> Predicate:
    if asked.operator not in {*_TEXTUAL, "re"} or asked.flags & {"neq", "fieldref"} or asked.time:
        raise RuleError("keywords are looked for in the whole event; this modifier needs a field")
    operator = "contains" if asked.operator == "equals" else asked.operator
    asked = _Asked(operator, asked.flags, asked.re_flags, asked.transforms)

    def one(tests: Sequence[_Test]) -> Predicate:
        test = _any(tests).holds
        literals, dear = _literals(tests), operator == "re"
        return _asking(Question("", strings, lambda values: any(map(test, values)), *literals, dear=dear))

    tests = _tests(asked, _values(value), placeholders)
    return all_of([one([test]) for test in tests]) if "all" in asked.flags else one(tests)


# --- what modifiers make of a value


def _expand(value: Any, placeholders: Placeholders) -> list[Any]:
    if not isinstance(value, str):
        raise RuleError("'expand' takes a text with %placeholders%")
    names = _PLACEHOLDER.findall(value)
    if not names:
        raise RuleError("'expand' takes a text with %placeholders%")
    for name in names:
        if name not in placeholders:
            raise RuleError(f"the placeholder %{name}% does not stand in placeholders.yml")
    pieces = [piece.replace(r"\%", "%") for piece in _PLACEHOLDER.split(value)[::2]]
    return [
        "".join(part for pair in zip(pieces, (*chosen, ""), strict=True) for part in pair)
        for chosen in product(*(placeholders[name] for name in names))
    ]


def _windash(value: Any, _: Placeholders) -> list[Any]:
    if not isinstance(value, str):
        raise RuleError("'windash' takes a text")
    pieces = _DASH.split(value)
    if len(_DASHES) ** (len(pieces) - 1) > _MOST_VARIANTS:
        raise RuleError("'windash' takes a text with at most four options")
    return [
        "".join(part for pair in zip(pieces, (*chosen, ""), strict=True) for part in pair)
        for chosen in product(_DASHES, repeat=len(pieces) - 1)
    ]


def _encoder(encoding: str, mark: bytes = b"") -> Callable[[Any, Placeholders], list[Any]]:
    return lambda value, _: [mark + _literal(value).encode(encoding)]


def _literal(value: Any) -> str:
    """Return a text without wildcards; what is encoded has none."""
    wanted = value if isinstance(value, str) else ""
    shape = _shape(wanted)
    if len(shape) != 1 or not isinstance(shape[0], _Literal):
        raise RuleError("only a text without wildcards can be encoded")
    return str(shape[0])


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else _literal(value).encode()


def _base64(value: Any, _: Placeholders) -> list[Any]:
    return [b64encode(_bytes(value)).decode()]


def _base64offset(value: Any, _: Placeholders) -> list[Any]:
    """
    Return what base64 text shows of the value at each of the three places where it can begin.

    Characters that also depend on what stands before or after are left out: of 8 bits, those that share a group of 6.
    """
    raw = _bytes(value)
    skipped, cut = (0, 2, 3), (None, -3, -2)
    found = [b64encode(b" " * shift + raw)[skipped[shift] : cut[(len(raw) + shift) % 3]].decode() for shift in range(3)]
    if not all(found):
        raise RuleError("'base64offset' takes a longer text")
    return found


_TRANSFORMS: dict[str, Callable[[Any, Placeholders], list[Any]]] = {
    "expand": _expand,
    "windash": _windash,
    "wide": _encoder("utf-16-le"),
    "utf16le": _encoder("utf-16-le"),
    "utf16be": _encoder("utf-16-be"),
    "utf16": _encoder("utf-16-le", b"\xff\xfe"),
    "base64": _base64,
    "base64offset": _base64offset,
}


def _variants(asked: _Asked, value: Any, placeholders: Placeholders) -> list[Any]:
    found = [value]
    for transform in asked.transforms:
        found = [variant for each in found for variant in _TRANSFORMS[transform](each, placeholders)]
        if len(found) > _MOST_VARIANTS:
            raise RuleError(f"{'|'.join(asked.transforms)} makes more than {_MOST_VARIANTS} texts of one")
    if any(isinstance(each, bytes) for each in found):
        raise RuleError(f"modifier {asked.transforms[-1]!r} must stand before base64 or base64offset")
    return found


# --- tests of one scalar


def _tests(asked: _Asked, values: Sequence[Any], placeholders: Placeholders) -> list[_Test]:
    """Return one test for each value, whatever its modifiers make of it."""
    return [_any([_test(asked, variant) for variant in _variants(asked, value, placeholders)]) for value in values]


def _test(asked: _Asked, value: Any) -> _Test:
    if asked.time:
        return _timely(asked.time, asked.operator, value)
    if asked.operator in _TEXTUAL:
        return _textual(asked.operator, value, cased="cased" in asked.flags)
    if asked.operator == "re":
        return _Test(_regex(value, asked.re_flags))
    if asked.operator == "cidr":
        return _Test(_cidr(value))
    return _Test(_numeric(asked.operator, value))


def _any(tests: Sequence[_Test]) -> _Test:
    if len(tests) == 1:
        return tests[0]
    asks = [test.holds for test in tests]
    # Variants of one value: the shortest speaks for none of the others, so there is no one literal to look for.
    return _Test(lambda value: any(ask(value) for ask in asks))


def _timely(part: str, operator: str, value: Any) -> _Test:
    if type(value) is not int:
        raise RuleError(f"{part!r} takes a whole number")
    take, compare = _TIMES[part], _NUMERIC.get(operator, float.__eq__)

    def holds(found: object) -> bool:
        moment = _moment(found)
        return moment is not None and compare(float(take(moment)), float(value))

    return _Test(holds)


def _moment(value: object) -> datetime | None:
    """Return a time in UTC; None for anything else. A text without a zone means UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:  # not a time
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:  # the year 0 or 10000 in UTC
        return None


def _textual(operator: str, value: Any, *, cased: bool) -> _Test:
    if value is None:
        if operator != "equals":
            raise RuleError(f"null can't be combined with {operator!r}")
        return _Test(lambda found: found is None or found is ABSENT)
    wanted = text(value)
    if wanted is None:
        raise RuleError("a value must be a text, a number, true, false or null")
    shape = _shape(wanted if cased else wanted.lower())
    if operator in {"contains", "endswith"}:
        shape = ["*", *shape]
    if operator in {"contains", "startswith"}:
        shape = [*shape, "*"]
    longest = max((str(piece) for piece in shape if isinstance(piece, _Literal)), key=len, default="")
    # Where case counts, only ASCII is sure to be found again in a lowered text.
    literal = None if cased and not longest.isascii() else longest.lower()
    exact = all(isinstance(piece, _Literal) for piece in shape)
    return _Test(_of_text(_shape_test(shape), cased=cased), literal, exact)


def _of_text(test: Callable[[str], bool], *, cased: bool) -> Callable[[object], bool]:
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


def _regex(pattern: Any, flags: str) -> Callable[[object], bool]:
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


def _cidr(value: Any) -> Callable[[object], bool]:
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


def _numeric(operator: str, value: Any) -> Callable[[object], bool]:
    bound = number(value)
    if bound is None or isinstance(value, str):
        raise RuleError(f"{operator!r} takes a number")
    compare = _NUMERIC[operator]

    def holds(found: object) -> bool:
        value = number(found)
        return value is not None and compare(value, bound)

    return holds
