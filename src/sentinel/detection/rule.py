"""What a rule is once it is parsed: the values that the windows and the oracle work with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any

import msgspec

from sentinel.detection.sigma.fields import ABSENT, Getter, number, text
from sentinel.detection.sigma.values import Predicate
from sentinel.detection.window import Amount, Condition, Kind, Reading, Shape
from sentinel.model import Event, EventType, Micros, Severity, SubjectType, ThreatType

__all__ = [
    "Base",
    "Examples",
    "Group",
    "LogSource",
    "Part",
    "Refusal",
    "Rule",
    "RuleSet",
    "Step",
    "fits",
    "is_ours",
    "sources_of",
]

_CELLS_OF_STEPS = 60

Group = tuple[tuple[str, str], ...]
"""Fields and their values, in the order of group-by; empty for a rule without one."""

LogSource = tuple[str | None, str | None, str | None]
"""Product, category, service, in lower case; in a rule None = any."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`times` equal events, `every` so often; the next step of an example goes on where this one ended."""

    event: dict[str, Any]
    times: int = 1
    every: str = "1s"


class Examples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Runs of events that make a rule fire, and runs that must leave it silent."""

    fires: tuple[tuple[Step, ...], ...] = ()
    silent: tuple[tuple[Step, ...], ...] = ()


class Base(msgspec.Struct, frozen=True, eq=False):
    """One `detection`: which events it looks at, and what it asks of them."""

    logsource: LogSource
    asks: Predicate

    def matches(self, event: Event) -> bool:
        """Whether the event comes from this log source and meets the condition."""
        return any(fits(self.logsource, source) for source in sources_of(event)) and self.asks.holds(event)


class Part(msgspec.Struct, frozen=True, eq=False):
    """One of the rules that a rule is about, and what is read from what it finds."""

    source: Base | Rule
    """A detection finds events; a correlation finds groups in buckets of time."""
    fields: tuple[tuple[str, str], ...]
    """What the group calls a field, and what it is called in the source (an alias may stand between)."""
    getters: tuple[Getter, ...]
    """For the fields; empty for a correlation, which has nothing but its group."""
    plain: bool
    """A plain detection groups by the first of its fields that is present; a correlation needs them all."""
    read: Callable[[object], Reading | None]
    """What is counted, from the value of `measured` or, for steps, of nothing; None: the event takes no part."""
    measured: str | None = None
    measure: Getter | None = None
    name: str = ""
    """How the rule calls it; empty for a detection by itself."""

    def group(self, event: Event) -> Group | None:
        """Return the group that a matching event belongs to; None if it lacks a field, and then takes no part."""
        found: list[tuple[str, str]] = []
        for (name, _), get in zip(self.fields, self.getters, strict=True):
            value = text(get(event))
            if value is not None:
                found.append((name, value))
                if self.plain:
                    break
            elif not self.plain:
                return None
        return tuple(found)

    def reading(self, event: Event) -> Reading | None:
        """Return what is counted of a matching event; None if it lacks the field, and then takes no part."""
        return self.read(None if self.measure is None else self.measure(event))

    def regroup(self, key: Mapping[str, str]) -> tuple[Group, Reading | None]:
        """Return the group, and what is counted, of what a correlation found about a group of its own."""
        group = tuple((name, key[field]) for name, field in self.fields)
        return group, self.read(None if self.measured is None else key[self.measured])


class Rule(msgspec.Struct, frozen=True, kw_only=True, eq=False, dict=True):
    """A detection, or a correlation over detections and other correlations."""

    id: str
    """What signals carry as `rule`: the Sigma `id`, else the `name`, else the `title`."""
    title: str
    hash: str
    """Of what the rule does: title, description, tags, comments, examples and place are not part of it."""
    level: Severity
    threat_type: ThreatType | None
    confidence: float
    """In [0, 1]."""
    kind: Kind
    parts: tuple[Part, ...]
    """An event matches when it matches any of them; it counts once."""
    condition: Condition
    timespan: Micros
    suppress: Micros
    """Width of a bucket: at most one signal per group in each."""
    group_by: tuple[tuple[str, SubjectType], ...]
    plain: bool
    """Whether it is a detection by itself."""
    emits: bool = True
    """False for what only serves a correlation."""
    examples: Examples = Examples()

    def matches(self, event: Event) -> bool:
        """Whether one of the rule's detections finds the event."""
        return any(base.matches(event) for base in self.bases)

    @property
    def bases(self) -> tuple[Base, ...]:
        """The detections among its parts."""
        return tuple(part.source for part in self.parts if isinstance(part.source, Base))

    @property
    def upstream(self) -> tuple[Rule, ...]:
        """The correlations among its parts."""
        return tuple(part.source for part in self.parts if isinstance(part.source, Rule))

    @property
    def closure(self) -> set[Rule]:
        """Itself, the correlations among its parts, and all that these rest on."""
        return {self}.union(*(rule.closure for rule in self.upstream))

    @property
    def over_anomalies(self) -> bool:
        """Whether an anomaly can be among what it is judged by."""
        return any(base.logsource[1] == EventType.ANOMALY for rule in self.closure for base in rule.bases)

    @cached_property
    def on_close(self) -> bool:
        """Whether more events can undo the condition, so that a window is judged only when it has closed."""
        return self.kind is Kind.VALUE_AVG or not self.condition.rising

    @property
    def threshold(self) -> int:
        """The least whole number that fires; 0 for a rule that is judged on closing."""
        return 0 if self.on_close else self.condition.least

    @property
    def cell(self) -> Micros:
        """
        Width of a sub-bucket: the largest divisor of `suppress` that is not above `timespan`.

        For steps in order, a 60th of that. What stands upstream is found at the start of its bucket, so no cell has
        such a start within it, as far as that leaves cells of a reasonable width.
        """
        if self.kind is not Kind.TEMPORAL_ORDERED:
            return _divisor(self.suppress, self.timespan)
        most = max(1, self.timespan // _CELLS_OF_STEPS)
        shared = _divisor(math.gcd(self.suppress, *(rule.suppress for rule in self.upstream)), most)
        return shared if shared * _CELLS_OF_STEPS >= most else _divisor(self.suppress, most)

    @cached_property
    def shape(self) -> Shape:
        """What its windows need at hand."""
        cell = 0 if self.on_close else self.cell
        steps = len(self.parts)
        return Shape(self.kind, self.condition, self.timespan, self.suppress, cell, max(self.threshold, 1), steps)

    # How far the rule looks back. A correlation finds a group at the start of its bucket, so what stands upstream
    # widens everything.

    def origin(self, at: Micros) -> Micros:
        """Return where the bucket begins that an event at this time belongs to."""
        if self.on_close:
            at = at // self.timespan * self.timespan
        return at // self.suppress * self.suppress

    def needs(self, at: Micros) -> Micros:
        """Return from where on events are needed to judge one at this time: its whole bucket, and T before that."""
        return self.origin(self.earliest(at)) - self.margin - self.depth

    def earliest(self, at: Micros) -> Micros:
        """Return the earliest time that an event at this time can have for the rule."""
        return min([at, *(rule.origin(rule.earliest(at)) for rule in self.upstream)])

    @cached_property
    def width(self) -> Micros:
        """How far before an event its bucket can begin."""
        return self.suppress + (self.timespan if self.on_close else 0)

    @cached_property
    def margin(self) -> Micros:
        """How far before a bucket its windows can begin."""
        return 0 if self.on_close else self.timespan

    @cached_property
    def depth(self) -> Micros:
        """How far back events are needed to know what stands upstream at one time."""
        return max((rule.depth + rule.width + rule.margin for rule in self.upstream), default=0)

    @cached_property
    def reach(self) -> Micros:
        """How far before an event its judgement can reach, at most."""
        lag = max((rule.reach - rule.depth - rule.margin for rule in self.upstream), default=0)
        return lag + self.width + self.margin + self.depth

    @cached_property
    def settling(self) -> Micros:
        """How long after the end of a closed window what stands upstream can still add to it."""
        return max((rule.settling + rule.width for rule in self.upstream), default=0)


def read_nothing(_: object) -> Reading:
    """Count the event alone."""
    return ()


def read_value(value: object) -> Reading | None:
    """Count the value's text form."""
    found = text(value)
    return None if found is None else (found,)


def read_amount(value: object) -> Reading | None:
    """Add the number; what is there and no number adds nothing."""
    if value is ABSENT:
        return None
    found = _exact(value)
    return () if found is None else (found,)


def read_number(value: object) -> Reading | None:
    """Take the number into an average, true as 1 and false as 0; what is there and no number is left out of it."""
    return (int(value),) if isinstance(value, bool) else read_amount(value)


def _exact(value: object) -> Amount | None:
    found = number(value)
    if found is None or isinstance(found, int):
        return found
    return Fraction(found) if math.isfinite(found) else None


class Refusal(msgspec.Struct, frozen=True):
    """A rule that was not loaded, and why."""

    file: str
    line: int
    """From 1."""
    rule: str | None
    """Its `id`, `name` or `title`, as far as it has one."""
    reason: str


class RuleSet(msgspec.Struct, frozen=True, eq=False):
    """All rules that are judged together."""

    rules: tuple[Rule, ...]
    refused: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    """Each begins with `file:line`."""
    version: str
    """Hash over the rules' own hashes."""


def sources_of(event: Event) -> list[LogSource]:
    """
    Return the log sources that an event comes from.

    Every event is one of ours (`product: sentinel`, the event type as category); one that was read from a foreign log
    says in `details.logsource` what it was there, and meets the rules for both.
    """
    service = event.service_name
    own: LogSource = ("sentinel", event.event_type, service.lower() if service else None)
    foreign = event.details.get("logsource")
    if not isinstance(foreign, dict):
        return [own]
    product, category, service = (text(foreign.get(key)) for key in ("product", "category", "service"))
    return [own, (_lower(product), _lower(category), _lower(service))]


def _lower(value: str | None) -> str | None:
    return None if value is None else value.lower()


def is_ours(wanted: LogSource) -> bool:
    """Whether events of ours can meet it, and not only those of which `details.logsource` says more."""
    product, category, _ = wanted
    return product in {None, "sentinel"} and (category is None or category in set(EventType))


def fits(wanted: LogSource, source: LogSource) -> bool:
    """Whether a log source has every part that is wanted."""
    return all(want is None or want == have for want, have in zip(wanted, source, strict=True))


def _divisor(whole: Micros, most: Micros) -> Micros:
    """Return the largest divisor that is not above `most`."""
    parts = -(-whole // most)
    while whole % parts:
        parts += 1
    return whole // parts
