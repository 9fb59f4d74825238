"""Which loaded rules can't fire as things are, because what they look at never comes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sentinel.detection.rule import Base, LogSource, Rule, RuleSet, fits, is_ours, sources_of
from sentinel.detection.sigma.fields import ABSENT, Getter, getter
from sentinel.detection.window import Kind
from sentinel.model import Event

__all__ = ["ENOUGH", "Coverage"]

ENOUGH = 1_000
"""Events of a log source, after which a field that none of them had counts as one that never comes."""


_MOST_SOURCES = 1_000


class _Sight(msgspec.Struct):
    """What the events of one log source have shown."""

    missing: dict[str, Getter]
    """Fields that some detection can't match without and no event had yet."""
    events: int = 0


class Coverage:
    """
    Watches events for the fields and log sources that rules wait for.

    A rule is blind while its log source is a foreign one that no event has named, or when a field that it can't match
    without was in none of the thousand or more events of its log source. Telling it of a part of the events is enough.
    """

    def __init__(self, rules: RuleSet) -> None:
        self._rules = [rule for rule in rules.rules if rule.emits]
        self._sights: dict[LogSource, _Sight] = {}
        for base in {base for rule in rules.rules for base in rule.bases}:
            sight = self._sights.setdefault(base.logsource, _Sight({}))
            sight.missing |= {field: getter(field) for field in base.asks.fields}
        self._unsettled = dict(self._sights)
        self._fitting: dict[tuple[LogSource, ...], list[LogSource]] = {}
        """What is wanted that events of some log sources meet; the same few come again and again."""

    def see(self, events: Iterable[Event]) -> None:
        """Take note of what these events show."""
        for event in events:
            if not self._unsettled:
                return
            for wanted in self._met_by(tuple(sources_of(event))):
                if wanted in self._unsettled:
                    self._note(wanted, event)

    def _met_by(self, sources: tuple[LogSource, ...]) -> list[LogSource]:
        if (found := self._fitting.get(sources)) is None:
            if len(self._fitting) == _MOST_SOURCES:
                self._fitting.clear()
            found = [wanted for wanted in self._sights if any(fits(wanted, source) for source in sources)]
            self._fitting[sources] = found
        return found

    def _note(self, source: LogSource, event: Event) -> None:
        sight = self._unsettled[source]
        sight.events += 1
        for field in [field for field, get in sight.missing.items() if get(event) is not ABSENT]:
            del sight.missing[field]
        if not sight.missing:
            del self._unsettled[source]

    def blind(self) -> dict[str, str]:
        """Return by rule why it can't fire; only rules that make signals are named."""
        told = {}
        for rule in self._rules:
            why = self._why(rule)
            if why is not None:
                told[rule.id] = why
        return told

    def _why(self, rule: Rule) -> str | None:
        """Of several steps as many must see as the condition asks for, of alternatives one."""
        reasons = [self._why_base(base) for base in rule.bases] + [self._why(found) for found in rule.upstream]
        steps = rule.kind in {Kind.TEMPORAL, Kind.TEMPORAL_ORDERED}
        enough = reasons.count(None) >= max(1, rule.threshold if steps else 1)
        return None if enough else next(reason for reason in reasons if reason is not None)

    def _why_base(self, base: Base) -> str | None:
        sight = self._sights[base.logsource]
        if not sight.events and not is_ours(base.logsource):
            return "no event has named its log source yet"
        missing = sorted(base.asks.fields & sight.missing.keys())
        if missing and sight.events >= ENOUGH:
            return f"no event of its log source had {', '.join(missing)} so far"
        return None
