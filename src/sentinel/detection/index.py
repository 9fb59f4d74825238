"""
Which rules an event may concern, found without asking every rule.

By log source first. Then each field is looked at once: the questions that all rules ask of it are answered together,
and the answers remembered with the value, because most fields have few. Equal answers for all fields mean equal rules,
so these are remembered too. An event like others before it costs one look-up for each field and one for the rules.

What is new is not asked everything either: a table finds the questions that need a field to *be* something, one RE2 set
those that need it to *contain* something, and of the rules only those are tried whose rarest question got a yes. Dear
questions (regular expressions, networks, times) are asked last, of events for which they alone make the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
import re2

from sentinel.detection.rule import Base, LogSource, sources_of
from sentinel.detection.sigma.fields import ABSENT, key_in_details, scalars, text
from sentinel.detection.sigma.values import Answer, Question
from sentinel.model import Event, EventType

__all__ = ["MOST_REMEMBERED", "Index"]

MOST_REMEMBERED: Final = 4_096
"""Values of one field, and combinations of answers for one log source, that are remembered; then it begins anew."""

_User = TypeVar("_User")
_MEMORY = 64 << 20  # bytes for RE2's automaton; the default is too small for some thousand literals
_LONGEST = 256  # characters of a value that is remembered
_NEVER_ALIKE = frozenset({list, dict, float})  # the first two can't be keys, and 0.0 equals -0.0 but reads otherwise

_Answers = frozenset[Question]
"""The questions answered with yes."""


class _Entry(msgspec.Struct, Generic[_User], frozen=True, eq=False):
    """A detection, and who wants to know of its matches."""

    base: Base
    users: Sequence[_User]


class _Containing:
    """Finds the questions whose literals a text contains."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self._questions: list[Question] = []
        options = re2.Options()
        options.literal, options.max_mem = True, _MEMORY
        self._set = re2.Set.SearchSet(options)
        for question in questions:
            for literal in question.literals or ():
                self._set.Add(_encoded(literal))
                self._questions.append(question)
        self._set.Compile()

    def find(self, value: str) -> Iterable[Question]:
        return [self._questions[number] for number in self._set.Match(_encoded(value)) or ()]


def _encoded(value: str) -> str | bytes:
    # Lone surrogates come from logs with broken bytes, and can't be told from a question mark in the rules either.
    return value if value.isascii() else value.encode("utf-8", "replace")


class _Field:
    """The questions that rules ask of one field."""

    def __init__(self, questions: Sequence[Question]) -> None:
        asked = questions[0]
        self.get = asked.get
        self.key = key_in_details(asked.field) if asked.field and not asked.presence else None
        """Where the value is in `details`, if that is all that `get` looks for."""
        self._always = [question for question in questions if question.literals is None]
        self._exact: dict[str, list[Question]] = {}
        for question in questions:
            for literal in question.literals or () if question.exact else ():
                self._exact.setdefault(literal, []).append(question)
        containing = [question for question in questions if question.literals is not None and not question.exact]
        self._containing = _Containing(containing) if containing else None
        self.known: dict[Any, _Answers] = {}
        """
        The questions answered with yes by a text, by absence, or by a (type, value), because 1 equals True and reads
        otherwise.
        """
        self._alike: dict[_Answers, _Answers] = {}
        """Equal answers are one object, so that comparing combinations of them compares no members."""

    def ask(self, key: Any, value: Any) -> _Answers:
        """Return the questions that a value answers with yes, and remember them unless it has no key."""
        asked = dict.fromkeys(self._always)
        for found in _texts(value):
            asked |= dict.fromkeys(self._exact.get(found, ()))
            if self._containing:
                asked |= dict.fromkeys(self._containing.find(found))
        answers = frozenset([question for question in asked if question.holds(value)])
        if (same := self._alike.get(answers)) is None:
            _remember(self._alike, answers, answers)
        else:
            answers = same
        if key is not None and not (type(value) is str and len(value) > _LONGEST):
            _remember(self.known, key, answers)
        return answers


def _remember(known: dict[Any, Any], key: Any, found: object) -> None:
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    known[key] = found


def _texts(value: Any) -> Iterable[str]:
    """Return the lower-case texts that tests would see in a field, each once."""
    if type(value) is str:
        return (value.lower(),)
    if isinstance(value, dict | list):
        return {found.lower() for each in scalars(value) if (found := text(each)) is not None}
    found = text(value)
    return () if found is None else (found.lower(),)


class _Found(msgspec.Struct, Generic[_User], frozen=True, eq=False):
    """The detections that equal answers lead to."""

    users: tuple[_User, ...]
    """Of those that certainly match."""
    open: tuple[_Entry[_User], ...]
    """Those for which dear questions make the difference."""


class _Plan(Generic[_User]):
    """The detections for one log source."""

    def __init__(self, entries: Iterable[_Entry[_User]]) -> None:
        self._always: list[_Entry[_User]] = []
        self._needing: dict[Question, list[_Entry[_User]]] = {}
        by_field: dict[tuple[str, bool], dict[Question, None]] = {}
        for entry in entries:
            asks = entry.base.asks
            for question in asks.questions:
                if not question.dear:
                    by_field.setdefault((question.field, question.presence), {})[question] = None
            for question in asks.need or ():
                self._needing.setdefault(question, []).append(entry)
            if asks.need is None:
                self._always.append(entry)
        fields = [_Field(list(questions)) for questions in by_field.values()]
        self._fields = [(field.key, field.get, field.known, field) for field in fields]
        self._known: dict[tuple[_Answers, ...], _Found[_User]] = {}

    def find(self, event: Event) -> tuple[_User, ...]:
        """Return the users of the detections that match."""
        answers = []
        details = event.details
        for name, get, known, field in self._fields:
            value = get(event) if name is None else details.get(name, ABSENT)
            kind = type(value)
            key = value if kind is str or value is ABSENT else None if kind in _NEVER_ALIKE else (kind, value)
            yes = known.get(key)
            answers.append(field.ask(key, value) if yes is None else yes)
        together = tuple(answers)
        found = self._known.get(together)
        if found is None:
            found = self._decide(frozenset[Question]().union(*answers))
            _remember(self._known, together, found)
        if not found.open:
            return found.users
        return _together([found.users, _users(entry for entry in found.open if entry.base.asks.holds(event))])

    def _decide(self, yes: _Answers) -> _Found[_User]:
        def answer(question: Question) -> Answer:
            return None if question.dear else question in yes

        candidates = dict.fromkeys(self._always)
        for question in yes:
            candidates |= dict.fromkeys(self._needing.get(question, ()))
        verdicts = {entry: entry.base.asks.decide(answer) for entry in candidates}
        sure = _users(entry for entry, verdict in verdicts.items() if verdict)
        return _Found(sure, tuple(entry for entry, verdict in verdicts.items() if verdict is None))


def _users(entries: Iterable[_Entry[_User]]) -> tuple[_User, ...]:
    return tuple(dict.fromkeys(user for entry in entries for user in entry.users))


def _together(found: Iterable[tuple[_User, ...]]) -> tuple[_User, ...]:
    return tuple(dict.fromkeys(user for users in found for user in users))


class Index(Generic[_User]):
    """Finds the users of the detections that match an event."""

    def __init__(self, users: Mapping[Base, Sequence[_User]]) -> None:
        self._by_source: dict[LogSource, list[_Entry[_User]]] = {}
        for base, found in users.items():
            self._by_source.setdefault(base.logsource, []).append(_Entry(base, found))
        # Which parts rules name, so that a few look-ups find all log sources that fit an event.
        self._masks = {tuple(part is not None for part in source) for source in self._by_source}
        services = {service for _, _, service in self._by_source}
        self._own: dict[tuple[str | None, str | None], _Plan[_User]] = {
            (kind, service): self._make_plan(("sentinel", kind, service))
            for kind in EventType
            for service in services | {None}
        }
        self._foreign: dict[frozenset[LogSource], _Plan[_User]] = {}
        self._known: dict[tuple[str, str | None], _Plan[_User]] = {}
        """For events that come from no other log, by type and by service as they spell it."""

    def find(self, event: Event) -> tuple[_User, ...]:
        """Return each user once, also when the event matches two of its detections."""
        if "logsource" not in event.details:
            plan = self._known.get((event.event_type, event.service_name))
            if plan is None:
                plan = self._own_plan(*sources_of(event))
                _remember(self._known, (event.event_type, event.service_name), plan)
            return plan.find(event)
        own, *foreign = sources_of(event)
        return _together([self._own_plan(own).find(event), *(self._plan(source).find(event) for source in foreign)])

    def _own_plan(self, source: LogSource) -> _Plan[_User]:
        _, kind, service = source
        return self._own.get((kind, service)) or self._own[kind, None]

    def _wanted(self, source: LogSource) -> frozenset[LogSource]:
        product, category, service = source
        wanted = {(product if p else None, category if c else None, service if s else None) for p, c, s in self._masks}
        return frozenset(wanted & self._by_source.keys())

    def _plan(self, source: LogSource) -> _Plan[_User]:
        """Return the plan for a foreign source; there are only as many as combinations of rules' sources."""
        wanted = self._wanted(source)
        plan = self._foreign.get(wanted)
        if plan is None:
            plan = self._foreign[wanted] = self._make_plan(source)
        return plan

    def _make_plan(self, source: LogSource) -> _Plan[_User]:
        return _Plan([entry for key in self._wanted(source) for entry in self._by_source[key]])
