"""
The engine gives the oracle's answer whatever the order, the batches, the repetitions, and the evictions in between.

Seeded by hand rather than by hypothesis: 2,000 streams of a hundred events would take it minutes.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from tests.oracle import oracle

from sentinel.detection import Engine, Rule, parse_rules
from sentinel.model import Event, EventType, Severity, Signal, StoredEvent

STREAMS = 2_000
SECOND = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

BASES = """
name: failed
logsource: {product: sentinel, category: authentication}
detection: {failed: {success: false}, condition: failed}
---
name: denied
logsource: {product: sentinel}
detection: {denied: {granted: false}, condition: denied}
---
name: alone
logsource: {product: sentinel, category: authentication}
detection: {odd: {odd: true}, condition: odd}
sentinel: {suppress: 7s}
"""
COUNT = """
---
name: count-{n}-{t}-{s}
correlation: {{type: event_count, rules: {rules}, group-by: {fields}, timespan: {t}s, condition: {{gte: {n}}}}}
sentinel: {{suppress: {s}s}}
"""
SHAPES = [
    (1, 5, 5, "[failed]", "[ip_address]"),
    (2, 10, 10, "[failed]", "[ip_address]"),
    (3, 10, 3, "[failed]", "[ip_address]"),  # S < T
    (3, 6, 60, "[failed]", "[user_id, ip_address]"),  # S a multiple of T
    (2, 10, 25, "[failed, denied]", "[ip_address]"),  # S > T, not a multiple
    (4, 20, 7, "[failed, denied]", "[]"),  # T not a multiple of S
]
RULES = parse_rules(
    [("rules", BASES + "".join(COUNT.format(n=n, t=t, s=s, rules=r, fields=f) for n, t, s, r, f in SHAPES))]
)
EMITTING = [rule for rule in RULES.rules if rule.emits]
TIME_EDGES = [0, 1, 3 * SECOND, 5 * SECOND, 6 * SECOND, 7 * SECOND, 10 * SECOND, 20 * SECOND, 25 * SECOND]

Answer = dict[str, tuple[int, int, int]]


def some_events(dice: random.Random) -> list[StoredEvent]:
    """Few groups, and times whose distances hit windows and buckets exactly, or miss them by a microsecond."""
    base = dice.choice([0, 1_700_000_000 * SECOND, -50 * SECOND])
    times = [base + dice.randrange(0, 80) * SECOND // 2 for _ in range(dice.randrange(1, 12))]
    events = []
    for seq in range(1, dice.randrange(2, 90)):
        at = dice.choice(times) + dice.choice([-1, 1]) * dice.choice(TIME_EDGES) + dice.choice([-1, 0, 0, 0, 0, 1])
        times.append(at)
        events.append(stored(dice, seq, at))
    return events


def stored(dice: random.Random, seq: int, at: int) -> StoredEvent:
    event = Event(
        event_id=f"{dice.randrange(10**6)}-{seq}",
        event_type=dice.choice([EventType.AUTHENTICATION, EventType.AUTHENTICATION, EventType.AUTHORIZATION]),
        severity=Severity.LOW,
        timestamp=EPOCH + timedelta(microseconds=at),
        ip_address=dice.choice(["192.0.2.1", "192.0.2.1", "192.0.2.2", None]),
        user_id=dice.choice(["erin", "frank"]),
        details={"success": dice.random() < 0.1, "granted": dice.random() < 0.4, "odd": dice.random() < 0.2},
    )
    late, may_act = dice.random() < 0.05, dice.random() < dice.choice([0.0, 0.5, 0.9, 1.0])
    return StoredEvent(seq, at, at, late, event, dice.choice(list(Severity)), may_act)


class Driver:
    """Plays the service: a store, and an engine whose state it drops and brings back as it likes."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.engine = Engine(RULES)
        self.store: list[StoredEvent] = []
        self.signals: dict[str, Signal] = {}

    def give(self, batch: list[StoredEvent]) -> None:
        needed, end = self.engine.needs(batch), self.engine.warm_from
        if needed < end:
            history = (
                [event for event in self.store if needed <= event.at < end] if self.dice.random() < 0.5 else self.store
            )
            self.dice.shuffle(history)
            middle = self.dice.randrange(len(history) + 1)
            self.engine.warm(history[:middle], end)
            self.engine.warm(history[middle:], needed)
        self.signals |= {signal.id: signal for signal in self.engine.add(batch)}
        known = {event.seq for event in self.store}
        self.store += [event for event in batch if event.seq not in known]
        if self.dice.random() < 0.2:
            self.engine.forget(self.dice.choice(self.store).at + self.dice.randrange(-30, 30) * SECOND)

    def give_all(self, deliveries: list[StoredEvent]) -> None:
        while deliveries:
            size = self.dice.randrange(1, 30)
            batch, deliveries = deliveries[:size], deliveries[size:]
            self.give(batch)

    def answer(self, rule: Rule) -> Answer:
        return {s.id: (s.first, s.last, s.count) for s in self.signals.values() if s.rule == rule.id}


@pytest.mark.parametrize("chunk", range(10))
def test_engine_agrees_with_oracle(chunk: int) -> None:
    """2,000 random streams, shuffled, cut into batches, evicted and replayed, give exactly the defined signals."""
    for seed in range(chunk * STREAMS // 10, (chunk + 1) * STREAMS // 10):
        dice = random.Random(seed)
        events = some_events(dice)
        deliveries = events.copy()
        dice.shuffle(deliveries)
        driver = Driver(dice)
        driver.give_all(deliveries)
        for rule in EMITTING:
            assert driver.answer(rule) == oracle(rule, events), f"seed {seed}, {rule.id}"
            rightful = {s.id for s in driver.signals.values() if s.rule == rule.id and s.may_act}
            assert rightful == oracle(rule, [e for e in events if e.may_act]).keys(), f"seed {seed}, {rule.id}, rights"


def test_repetition_changes_nothing_but_count() -> None:
    """Events delivered again, past the store, leave ids, times and rights alone; see `Window.insert` for `count`."""
    for seed in range(200):
        dice = random.Random(seed)
        events = some_events(dice)
        deliveries = events + dice.choices(events, k=len(events))
        dice.shuffle(deliveries)
        driver = Driver(dice)
        driver.give_all(deliveries)
        for rule in EMITTING:
            expected, got = oracle(rule, events), driver.answer(rule)
            assert {name: times[:2] for name, times in got.items()} == {n: t[:2] for n, t in expected.items()}, (
                f"seed {seed}"
            )
            assert all(got[name][2] >= count for name, (_, _, count) in expected.items()), f"seed {seed}"
            rightful = {s.id for s in driver.signals.values() if s.rule == rule.id and s.may_act}
            assert rightful == oracle(rule, [e for e in events if e.may_act]).keys(), f"seed {seed}, {rule.id}, rights"


def test_repetition_of_kept_events_is_exact() -> None:
    """While a window still holds an event, delivering it again doesn't count it again."""
    for seed in range(200):
        dice = random.Random(seed)
        events = some_events(dice)[:2]  # no cell drops anything: 2 N >= 2
        driver = Driver(dice)
        driver.give_all(events + dice.choices(events, k=10))
        for rule in EMITTING:
            assert driver.answer(rule) == oracle(rule, events), f"seed {seed}, {rule.id}"


def test_severity_is_the_rule_level_capped_by_the_sources() -> None:
    """A signal is as severe as its rule says, and no more than the best source among the bucket's events may say."""
    for seed in range(100):
        dice = random.Random(seed)
        events = some_events(dice)
        driver = Driver(dice)
        driver.give_all(dice.sample(events, k=len(events)))
        for rule in EMITTING:
            for signal in (s for s in driver.signals.values() if s.rule == rule.id):
                sources = [
                    e.max_severity.rank
                    for e in events
                    if not e.late and rule.matches(e.event) and e.at // rule.suppress == signal.bucket
                    if dict(rule.group(e.event) or ()) == signal.group and rule.group(e.event) is not None
                ]
                assert signal.severity.rank == min(rule.level.rank, max(sources)), f"seed {seed}, {rule.id}"
