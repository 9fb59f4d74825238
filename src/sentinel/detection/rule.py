"""What a rule is once it is parsed: the values that the windows and the oracle work with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from sentinel.detection.sigma.fields import Getter, text
from sentinel.model import Event, Micros, Severity, ThreatType

__all__ = ["Base", "Examples", "Group", "LogSource", "Refusal", "Rule", "RuleSet", "Step", "sources_of"]

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
    asks: Callable[[Event], bool]

    def matches(self, event: Event) -> bool:
        """Whether the event comes from this log source and meets the condition."""
        return any(_fits(self.logsource, source) for source in sources_of(event)) and self.asks(event)


class Rule(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """
    A detection, or an event count over detections.

    The j-th matching event of a group triggers when it and the `threshold - 1` before it lie within less than
    `timespan`; a plain detection has the threshold 1.
    """

    id: str
    """What signals carry as `rule`: the Sigma `id`, else the `name`, else the `title`."""
    title: str
    hash: str
    """Of what the rule does: title, description, tags, comments, examples and place are not part of it."""
    level: Severity
    threat_type: ThreatType | None
    confidence: float
    """In [0, 1]."""
    bases: tuple[Base, ...]
    """An event matches when it matches any of them; it counts once."""
    threshold: int
    timespan: Micros
    suppress: Micros
    """Width of a bucket: at most one signal per group in each."""
    group_by: tuple[tuple[str, Getter], ...]
    plain: bool
    """A plain detection groups by the first of its fields that is present; a count needs them all."""
    emits: bool = True
    """False for what only serves a correlation."""
    examples: Examples = Examples()

    def matches(self, event: Event) -> bool:
        """Whether the event counts for this rule."""
        return any(base.matches(event) for base in self.bases)

    def group(self, event: Event) -> Group | None:
        """Return the group that a matching event belongs to; None if it lacks a field, and then takes no part."""
        found: list[tuple[str, str]] = []
        for name, get in self.group_by:
            value = text(get(event))
            if value is not None:
                found.append((name, value))
                if self.plain:
                    break
            elif not self.plain:
                return None
        return tuple(found)

    @property
    def cell(self) -> Micros:
        """Width of a sub-bucket: the largest divisor of `suppress` that is not above `timespan`."""
        parts = -(-self.suppress // self.timespan)
        while self.suppress % parts:
            parts += 1
        return self.suppress // parts


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


def _fits(wanted: LogSource, source: LogSource) -> bool:
    return all(want is None or want == have for want, have in zip(wanted, source, strict=True))
