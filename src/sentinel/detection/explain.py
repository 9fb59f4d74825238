"""What a rule asks, in words."""

from __future__ import annotations

from sentinel.detection.rule import Part, Rule
from sentinel.detection.window import Condition, Kind

__all__ = ["explain"]

_WORDS = {"gt": "more than", "gte": "at least", "lt": "fewer than", "lte": "at most", "eq": "exactly", "neq": "not"}
_UNITS = ((604_800, "week"), (86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def explain(rule: Rule) -> str:
    """Return sentences that say when the rule makes a signal, about whom, and how often."""
    said = [_when(rule), _about(rule), f"At most one signal per {_time(rule.suppress)} and group."]
    if rule.on_close:
        said.append("More events can undo the condition, so it is judged when the window has closed.")
    if not rule.emits:
        said.append("It makes no signals of its own; it serves other rules.")
    threat = f", {rule.threat_type.value.replace('_', ' ')}" if rule.threat_type else ""
    said.append(f"Level {rule.level.value}{threat}, confidence {rule.confidence:g}.")
    return "\n".join(said)


def _when(rule: Rule) -> str:
    if rule.plain:
        return "Each event that its detection finds."
    names = ", ".join(_name(part) for part in rule.parts)
    within = f"in less than {_time(rule.timespan)}"
    if rule.on_close:
        within = f"in a window of {_time(rule.timespan)}"
    if rule.kind is Kind.TEMPORAL_ORDERED:
        return f"Finds of each of these rules, in this order, {within}: {names}."
    amount = _bounds(rule.condition)
    field = rule.parts[0].measured
    counted = {
        Kind.EVENT_COUNT: f"{amount} finds",
        Kind.VALUE_COUNT: f"{amount} different values of {field} in the finds",
        Kind.VALUE_SUM: f"a sum of {field} of {amount} over the finds",
        Kind.VALUE_AVG: f"an average {field} of {amount} over the finds",
        Kind.TEMPORAL: f"finds of {amount} of the rules",
    }[rule.kind]
    return f"{counted[0].upper()}{counted[1:]} {within}: {names}."


def _name(part: Part) -> str:
    return part.source.id if isinstance(part.source, Rule) else part.name


def _bounds(condition: Condition) -> str:
    return " and ".join(f"{_WORDS[name]} {float(bound):g}" for name, bound in condition.bounds)


def _about(rule: Rule) -> str:
    names = [name for name, _ in rule.group_by]
    if rule.plain:
        return f"About the first of these that the event has: {', '.join(names)}."
    return f"Counted for each {' and '.join(names)} on its own." if names else "Counted over everything."


def _time(micros: int) -> str:
    seconds = micros / 1_000_000
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0 or size == 1)
    number = seconds / size
    return f"{number:g} {unit}{'' if number == 1 else 's'}"
