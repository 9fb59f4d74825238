"""The judge of every way to compute signals: sort everything, apply the definition. Slow, and easy to believe."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from sentinel.detection import Rule
from sentinel.detection.rule import Base, Group
from sentinel.model import StoredEvent


class Entry(NamedTuple):
    """Something that a rule counts: an event, or a bucket of the rule upstream at its start."""

    at: int
    name: str
    shows: frozenset[Any]
    """Values, steps, or the one amount."""


def oracle(
    rule: Rule, events: Sequence[StoredEvent], among: Sequence[StoredEvent] | None = None
) -> dict[str, tuple[int, int, int]]:
    """
    Return {signal id: (first, last, count)} of one rule over a set of events.

    `among`: all events, of which `events` may act. What is found upstream may act when they alone would have found it,
    too; a closed window may be found by them that all events together don't give.
    """
    signals = {}
    for (group, bucket), (triggers, count) in buckets(rule, events, among).items():
        signals[signal_id(rule, group, bucket)] = (min(triggers), max(triggers), count)
    return signals


def needs_closing(rule: Rule) -> bool:
    """Whether its signals wait for the end of a window, its own or one of a rule that it counts."""
    return rule.on_close or any(map(needs_closing, rule.upstream))


def signal_id(rule: Rule, group: Group, bucket: int) -> str:
    """Return the hash of what a signal is."""
    text = [rule.hash, *(part for pair in group for part in pair), str(bucket)]
    name = b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in text)
    return hashlib.blake2b(name, digest_size=16).hexdigest()


def buckets(
    rule: Rule, events: Sequence[StoredEvent], among: Sequence[StoredEvent] | None
) -> dict[tuple[Group, int], tuple[list[int], int]]:
    """Return by group and bucket the times of the events that trigger, and how many events there are."""
    found = {}
    for group, entries in groups(rule, events, among).items():
        triggers = defaultdict(list)
        for at, bucket in (closed if rule.on_close else rising)(rule, entries):
            triggers[bucket].append(at)
        for bucket, times in triggers.items():
            inside = sum(entry.at // rule.suppress == bucket for entry in entries)
            found[group, bucket] = (times, len(times) if rule.on_close else inside)
    return found


def groups(rule: Rule, events: Sequence[StoredEvent], among: Sequence[StoredEvent] | None) -> dict[Group, list[Entry]]:
    found: dict[Group, dict[tuple[int, str], set[Any]]] = defaultdict(dict)
    for part in rule.parts:
        if isinstance(part.source, Base):
            for stored in events:
                if not stored.late and part.source.matches(stored.event):
                    group, shows = part.group(stored.event), part.reading(stored.event)
                    if group is not None and shows is not None:
                        found[group].setdefault((stored.at, stored.event.event_id), set()).update(shows)
        else:
            upstream = buckets(part.source, events, among).keys()
            for key, bucket in upstream if among is None else upstream & buckets(part.source, among, None).keys():
                group, shows = part.regroup(dict(key))
                if shows is not None:
                    name = f"{part.source.hash} {key}"
                    found[group].setdefault((bucket * part.source.suppress, name), set()).update(shows)
    return {
        group: sorted((Entry(*key, frozenset(shows)) for key, shows in entries.items()), key=lambda e: e[:2])
        for group, entries in found.items()
    }


def rising(rule: Rule, entries: list[Entry]) -> Iterable[tuple[int, int]]:
    """Each event that triggers when it comes."""
    for j, entry in enumerate(entries):
        window = [e for e in entries[: j + 1] if e.at > entry.at - rule.timespan]
        if rule.kind == "event_count":
            holds = len(window) >= rule.threshold
        elif rule.kind == "value_sum":
            cell = 60 * entry.at // rule.timespan
            near = [e for e in entries if cell - 59 <= 60 * e.at // rule.timespan <= cell]
            holds = rule.condition.holds(sum(max(amount, 0) for e in near for amount in e.shows))
        elif rule.kind == "temporal_ordered":
            last = len(rule.parts) - 1
            near = [e for e in entries if entry.at - rule.timespan < e.at <= entry.at]
            holds = last in entry.shows and chain(near, last - 1, entry.at, {entry.name})
        else:
            holds = len({value for e in window for value in e.shows}) >= rule.threshold
        if holds:
            yield entry.at, entry.at // rule.suppress


def chain(entries: list[Entry], step: int, until: int, used: set[str]) -> bool:
    """Whether the steps up to this one lie in order until then, in events that are not used yet."""
    return step < 0 or any(
        chain(entries, step - 1, entry.at, used | {entry.name})
        for entry in entries
        if step in entry.shows and entry.at <= until and entry.name not in used
    )


def closed(rule: Rule, entries: list[Entry]) -> Iterable[tuple[int, int]]:
    """Each event of a tumbling window that meets the condition as a whole; the window's start says the bucket."""
    for number in {entry.at // rule.timespan for entry in entries}:
        window = [entry for entry in entries if entry.at // rule.timespan == number]
        shown = [value for entry in window for value in entry.shows]
        if rule.kind == "event_count":
            value: int | Fraction | None = len(window)
        elif rule.kind == "value_sum":
            value = sum(max(amount, 0) for amount in shown)
        elif rule.kind == "value_avg":
            value = Fraction(sum(shown), len(shown)) if shown else None
        else:
            value = len(set(shown))
        if value is not None and rule.condition.holds(value):
            for entry in window:
                yield entry.at, number * rule.timespan // rule.suppress
