"""
Which rules an event may concern, found without asking every rule.

By log source first; then by what a rule must see: a table of texts for rules that need a field to *be* something, and
one RE2 set for all that need a field to *contain* something, so that two hundred rules cost one pass over the text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import re2

from sentinel.detection.rule import Base, LogSource, sources_of
from sentinel.detection.sigma.fields import Getter, getter, strings, text
from sentinel.model import Event, EventType

__all__ = ["Index"]

_User = TypeVar("_User")
_MEMORY = 64 << 20  # bytes for RE2's automaton; the default is too small for some thousand literals


class _Entry(msgspec.Struct, Generic[_User], frozen=True, eq=False):
    """A detection, and who wants to know of its matches."""

    base: Base
    users: Sequence[_User]


class _Containing(Generic[_User]):
    """Finds what a text contains."""

    def __init__(self, entries: Iterable[_Entry[_User]]) -> None:
        self._entries: list[_Entry[_User]] = []
        options = re2.Options()
        options.literal, options.max_mem = True, _MEMORY
        self._set = re2.Set.SearchSet(options)
        for entry in entries:
            assert entry.base.asks.need is not None
            for literal in entry.base.asks.need.literals:
                self._set.Add(_encoded(literal))
                self._entries.append(entry)
        self._set.Compile()

    def find(self, value: str) -> Iterable[_Entry[_User]]:
        return [self._entries[number] for number in self._set.Match(_encoded(value)) or ()]


def _encoded(value: str) -> str | bytes:
    # Lone surrogates come from logs with broken bytes, and can't be told from a question mark in the rules either.
    return value if value.isascii() else value.encode("utf-8", "replace")


class _Plan(Generic[_User]):
    """The detections for one log source, sorted by what they need."""

    def __init__(self, entries: Iterable[_Entry[_User]]) -> None:
        self._always: list[_Entry[_User]] = []
        exact: dict[str, dict[str, list[_Entry[_User]]]] = {}
        containing: dict[str, list[_Entry[_User]]] = {}
        for entry in entries:
            need = entry.base.asks.need
            if need is None:
                self._always.append(entry)
            elif need.exact:
                for literal in need.literals:
                    exact.setdefault(need.field, {}).setdefault(literal, []).append(entry)
            else:
                containing.setdefault(need.field, []).append(entry)
        self._exact: list[tuple[Getter, Mapping[str, Sequence[_Entry[_User]]]]]
        self._exact = [(_getter(field), table) for field, table in exact.items()]
        self._containing = [(_getter(field), _Containing(found)) for field, found in containing.items()]

    def find(self, event: Event) -> list[_Entry[_User]]:
        """Return the detections that match."""
        found = [entry for entry in self._always if entry.base.asks.holds(event)]
        for get, table in self._exact:
            for value in _texts(get(event)):
                found += [entry for entry in table.get(value, ()) if entry.base.asks.holds(event)]
        if self._containing:
            found += self._find_containing(event)
        return found

    def _find_containing(self, event: Event) -> list[_Entry[_User]]:
        candidates: dict[_Entry[_User], None] = {}
        for get, containing in self._containing:
            for value in _texts(get(event)):
                candidates |= dict.fromkeys(containing.find(value))
        return [entry for entry in candidates if entry.base.asks.holds(event)]


def _getter(field: str) -> Getter:
    return getter(field) if field else strings


def _texts(value: Any) -> Iterable[str]:
    """Return the lower-case texts that tests would see in a field, each once."""
    if type(value) is str:
        return (value.lower(),)
    if isinstance(value, list):
        return {found.lower() for each in value if (found := text(each)) is not None}
    found = text(value)
    return () if found is None else (found.lower(),)


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

    def find(self, event: Event) -> Collection[_User]:
        """Return each user once, also when the event matches two of its detections."""
        own, *foreign = sources_of(event)
        plan = self._own.get(own[1:]) or self._own[event.event_type, None]
        found = plan.find(event)
        for source in foreign:
            found += self._plan(source).find(event)
        if len(found) == 1:
            return found[0].users
        return dict.fromkeys(user for entry in found for user in entry.users)

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
