"""
The engine gives the oracle's answer whatever the order, the batches, the repetitions, and the evictions in between.

Seeded by hand rather than by hypothesis: it would take minutes for as many streams.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.oracle import oracle, signal_id

from sentinel.detection import Engine, Rule, RuleSet, parse_rules, shipped_rules
from sentinel.detection.rule import Base
from sentinel.model import Event, EventType, Severity, Signal, StoredEvent

STREAMS = 300
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
OTHER = """
---
name: {name}
correlation: {{{correlation}}}
sentinel: {{suppress: {s}s}}
"""
VALUES = "type: value_count, rules: [failed, denied], group-by: [ip_address]"
WHO = "type: event_count, rules: [failed, denied], group-by: [who]"
STEPS = "rules: [failed, denied, odd], timespan: 10s"
CORRELATIONS = [
    ("values", 10, f"{VALUES}, timespan: 10s, condition: {{field: value, gte: 2}}"),
    ("values-short", 3, f"{VALUES}, timespan: 10s, condition: {{field: value, gt: 2}}"),
    ("values-long", 25, f"{VALUES}, timespan: 10s, condition: {{field: value, gte: 4}}"),
    ("sum", 20, "type: value_sum, rules: [failed], timespan: 20s, condition: {field: rows, gte: 9.5}"),
    ("sum-short", 7, f"{VALUES.replace('count', 'sum')}, timespan: 20s, condition: {{field: rows, gt: 6}}"),
    ("all-of", 10, f"type: temporal, {STEPS}"),
    ("two-of", 4, f"type: temporal, {STEPS}, group-by: [ip_address], condition: {{gte: 2}}"),
    ("ordered", 10, f"type: temporal_ordered, {STEPS}, group-by: [ip_address]"),
    ("ordered-short", 3, "type: temporal_ordered, rules: [odd, failed], group-by: [user_id], timespan: 7s"),
    (
        "alias",
        10,
        f"{WHO}, timespan: 10s, condition: {{gte: 2}}, aliases: {{who: {{failed: user_id, denied: details.owner}}}}",
    ),
    # Correlations over correlations, by the whole group and by a part of it.
    ("chain", 40, "type: event_count, rules: [values], group-by: [ip_address], timespan: 30s, condition: {gte: 2}"),
    ("chain-spread", 30, "type: value_count, rules: [pairs], timespan: 30s, condition: {field: ip_address, gte: 2}"),
    ("chain-chain", 60, "type: event_count, rules: [chain], timespan: 60s, condition: {gte: 2}"),
    ("chain-mixed", 9, "type: temporal_ordered, rules: [two-of, odd], group-by: [ip_address], timespan: 15s"),
    (
        "pairs",
        5,
        "type: event_count, rules: [failed], group-by: [ip_address, user_id], timespan: 5s, condition: {gt: 1}",
    ),
    # Judged on closing.
    ("few", 10, "type: event_count, rules: [failed], group-by: [ip_address], timespan: 10s, condition: {lt: 3}"),
    ("some", 3, "type: event_count, rules: [failed], timespan: 10s, condition: {gte: 2, lte: 4}"),
    ("never-two", 25, f"{VALUES}, timespan: 10s, condition: {{field: value, neq: 2}}"),
    ("one", 10, f"{VALUES}, timespan: 10s, condition: {{field: value, eq: 1}}"),
    ("little", 10, f"{VALUES.replace('count', 'sum')}, timespan: 10s, condition: {{field: rows, lte: 3}}"),
    ("mean", 10, f"{VALUES.replace('count', 'avg')}, timespan: 10s, condition: {{field: rows, gt: 1.5}}"),
    ("alone-of", 10, f"type: temporal, {STEPS}, group-by: [ip_address], condition: {{lt: 2}}"),
    ("chain-few", 60, "type: event_count, rules: [values-short], timespan: 30s, condition: {lt: 4}"),
    ("chain-closed", 30, "type: event_count, rules: [few], group-by: [ip_address], timespan: 30s, condition: {gte: 2}"),
]
ODD = """
---
name: odd
logsource: {product: sentinel}
detection: {odd: {odd: true}, condition: odd}
"""


def rules_without(*names: str) -> RuleSet:
    counts = "".join(COUNT.format(n=n, t=t, s=s, rules=r, fields=f) for n, t, s, r, f in SHAPES)
    others = [OTHER.format(name=name, s=s, correlation=text) for name, s, text in CORRELATIONS if name not in names]
    rules = parse_rules([("rules", BASES + ODD + counts + "".join(others))])
    assert not rules.refused, rules.refused
    return rules


RULES = rules_without()
PASSING = ["values-long", "sum", "two-of", "chain-mixed", "few", "chain-closed", "ordered", "alias", "mean", "pairs"]
PASSING += ["chain-spread"]
OTHERS = rules_without(*PASSING)
"""One of every type is missing, with what is chained to it."""
FEWER = parse_rules([("rules", BASES + COUNT.format(n=2, t=10, s=10, rules="[failed]", fields="[ip_address]"))])
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
        details={
            "success": dice.random() < 0.1,
            "granted": dice.random() < 0.4,
            "odd": dice.random() < 0.2,
            "value": dice.choice("abcd"),
            "owner": dice.choice(["erin", "grace"]),
            "rows": dice.choice([0, 1, 2, 3, 0.5, 0.1, -4, "2", "much"]),
        },
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
        self.evicts = True
        self.reloads = True
        self.reloaded = False
        self.alive = -(10**9) * SECOND
        """When windows were last closed."""

    def close(self, now: int, lateness: int) -> None:
        if self.dice.random() < 0.2:
            self.engine = Engine(RULES)
            start = self.engine.needs_to_close(self.alive, lateness)
            self.engine.warm([event for event in self.store if event.at >= start], start)
        self.alive = now
        self.signals |= {signal.id: signal for signal in self.engine.close(now, lateness)}

    def give(self, batch: list[StoredEvent]) -> None:
        needed, end = self.engine.needs(batch), self.engine.warm_from
        if self.reloads and self.dice.random() < 0.1:
            self.engine = self.engine.replaced(self.dice.choice([FEWER, RULES]))
            self.engine = self.engine.replaced(RULES)
            self.reloaded = True
        if self.reloaded:
            self.reloaded, needed, end = False, self.engine.needs(batch), self.engine.warm_from
            needed -= 1000 * SECOND  # windows that nothing has closed yet would be lost otherwise
        if needed < end:
            beyond = end if self.dice.random() < 0.5 else 10**18  # more does no harm
            history = [event for event in self.store if needed <= event.at < beyond]
            self.dice.shuffle(history)
            middle = self.dice.randrange(len(history) + 1)
            self.engine.warm(history[:middle], end)
            self.engine.warm(history[middle:], needed)
        self.signals |= {signal.id: signal for signal in self.engine.add(batch)}
        known = {event.seq for event in self.store}
        self.store += {event.seq: event for event in batch if event.seq not in known}.values()
        if self.evicts and self.dice.random() < 0.2:
            at = self.dice.choice(self.store).at + self.dice.randrange(-30, 30) * SECOND
            if self.dice.random() < 0.5:
                self.engine.forget(at)
            else:
                for _ in self.engine.forgetting(at):
                    pass

    def reload(self, rules: RuleSet) -> None:
        self.engine, self.reloaded = self.engine.replaced(rules), True

    def give_each(self, deliveries: list[StoredEvent]) -> None:
        while deliveries:
            size = self.dice.randrange(1, 30)
            batch, deliveries = deliveries[:size], deliveries[size:]
            self.give(batch)

    def give_all(self, deliveries: list[StoredEvent]) -> None:
        self.give_each(deliveries)
        self.signals |= {signal.id: signal for signal in self.engine.close(None)}

    def answer(self, rule: Rule) -> Answer:
        return {s.id: (s.first, s.last, s.count) for s in self.signals.values() if s.rule == rule.id}


def check(driver: Driver, events: list[StoredEvent], seed: int, rules: Sequence[Rule] = EMITTING) -> None:
    acting = [event for event in events if event.may_act]
    for rule in rules:
        got, expected = driver.answer(rule), oracle(rule, events)
        assert got == expected, f"seed {seed}, {rule.id}"
        rightful = {s.id for s in driver.signals.values() if s.rule == rule.id and s.may_act}
        assert rightful == oracle(rule, acting, events).keys() & expected.keys(), f"seed {seed}, {rule.id}, rights"


@pytest.mark.parametrize("chunk", range(10))
def test_engine_agrees_with_oracle(chunk: int) -> None:
    """Random streams, shuffled, cut into batches, evicted, replayed and reloaded, give exactly the defined signals."""
    for seed in range(chunk * STREAMS // 10, (chunk + 1) * STREAMS // 10):
        dice = random.Random(seed)
        events = some_events(dice)
        deliveries = events.copy()
        dice.shuffle(deliveries)
        driver = Driver(dice)
        driver.give_all(deliveries)
        check(driver, events, seed)


@pytest.mark.parametrize("chunk", range(4))
def test_two_reloads_in_the_middle_change_nothing(chunk: int) -> None:
    """
    Rules that stay give exactly the defined signals; rules that went and came back do from then on.

    Of those, a bucket that got an event since is told as all events define it, those from between included.
    """
    for seed in range(chunk * STREAMS // 10, (chunk + 1) * STREAMS // 10):
        dice = random.Random(seed)
        events = some_events(dice)
        deliveries = events + dice.choices(events, k=len(events) // 3)
        dice.shuffle(deliveries)
        first, second = sorted(dice.randrange(len(deliveries) + 1) for _ in range(2))
        driver = Driver(dice)
        driver.reloads = False
        driver.give_each(deliveries[:first])
        driver.reload(OTHERS)
        driver.give_each(deliveries[first:second])
        driver.reload(RULES)
        driver.signals = {key: signal for key, signal in driver.signals.items() if signal.rule not in PASSING}
        driver.give_all(deliveries[second:])
        passing = [rule for rule in EMITTING if rule.id in PASSING]
        check(driver, events, seed, [rule for rule in EMITTING if rule not in passing])
        for rule in passing:
            got, expected = driver.answer(rule), oracle(rule, events)
            assert got.items() <= expected.items(), f"seed {seed}, {rule.id}"
            owed = signals_with(rule, deliveries[second:]) if not rule.upstream else set()
            missing = [name for name in expected.keys() - got.keys() if name in owed]
            assert not missing, f"seed {seed}, {rule.id}"


def signals_with(rule: Rule, events: list[StoredEvent]) -> set[str]:
    """Return the ids that signals about these events have, if there are such."""
    places = {
        (group, rule.origin(event.at) // rule.suppress)
        for event in events
        for part in rule.parts
        if isinstance(part.source, Base) and not event.late and part.source.matches(event.event)
        if (group := part.group(event.event)) is not None and part.reading(event.event) is not None
    }
    return {signal_id(rule, group, bucket) for group, bucket in places}


def test_in_order_everything_is_exact() -> None:
    """Events that come in order, in whatever batches, give the last trigger of every kind of rule as well."""
    for seed in range(STREAMS // 10):
        dice = random.Random(seed)
        events = some_events(dice)
        driver = Driver(dice)
        driver.evicts = False
        driver.give_all(sorted(events, key=lambda event: event.at))
        check(driver, events, seed)


def test_a_busy_address_is_told_from_its_first_login_after_guessing() -> None:
    """Hundreds of logins in an hour, and a burst of failures out of order: which login was the first is still known."""
    guessing = parse_rules(shipped_rules())
    rule = next(rule for rule in guessing.rules if rule.title == "Login after guessing")
    for seed in range(5):
        dice = random.Random(seed)
        bursts = [dice.randrange(600) for _ in range(2)]
        times = [(dice.uniform(0, 600), True) for _ in range(700)]
        times += [(burst + n, False) for burst in bursts for n in range(12)]
        dice.shuffle(times)
        events = [
            StoredEvent(seq, at, at, False, login(f"e{seq}", at, success=success))
            for seq, (seconds, success) in enumerate(times, 1)
            for at in [round(seconds * SECOND)]
        ]
        engine = Engine(guessing)
        engine.warm((), -(10**12))
        found = {}
        for start in range(0, len(events), 50):
            found |= {one.id: (one.first, one.last, one.count) for one in engine.add(events[start : start + 50])}
        expected = oracle(rule, events)
        assert expected, f"seed {seed}"
        assert {name: found.get(name) for name in expected} == expected, f"seed {seed}"


def login(event_id: str, at: int, *, success: bool) -> Event:
    return Event(
        event_id=event_id,
        event_type=EventType.AUTHENTICATION,
        severity=Severity.LOW,
        timestamp=EPOCH + timedelta(microseconds=at),
        user_id="erin",
        ip_address="192.0.2.1",
        details={"success": success},
    )


def test_repetition_changes_nothing() -> None:
    """Events delivered again, past the store, are counted once."""
    for seed in range(STREAMS // 10):
        dice = random.Random(seed)
        events = some_events(dice)
        deliveries = events + dice.choices(events, k=len(events))
        dice.shuffle(deliveries)
        driver = Driver(dice)
        driver.give_all(deliveries)
        check(driver, events, seed)


def test_windows_close_by_the_clock_and_after_restarts() -> None:
    """With events as late as is allowed, windows closed as time goes on, and restarts, the answer is the definition."""
    lateness = 8 * SECOND
    for seed in range(STREAMS // 10):
        dice = random.Random(seed)
        events = [
            msgspec.structs.replace(event, received_at=event.at + dice.randrange(lateness + 1))
            for event in some_events(dice)
        ]
        deliveries = sorted(events, key=lambda event: event.received_at)
        driver = Driver(dice)
        while deliveries:
            size = dice.randrange(1, 30)
            batch, deliveries = deliveries[:size], deliveries[size:]
            driver.give(batch)
            driver.close(batch[-1].received_at, lateness)
        driver.close(deliveries_end(events) + 10**9, lateness)
        check(driver, events, seed)


def deliveries_end(events: list[StoredEvent]) -> int:
    return max(event.received_at for event in events)


def test_severity_is_the_rule_level_capped_by_the_sources() -> None:
    """A signal is as severe as its rule says, and no more than the best source among the bucket's events may say."""
    for seed in range(100):
        dice = random.Random(seed)
        events = some_events(dice)
        driver = Driver(dice)
        driver.give_all(dice.sample(events, k=len(events)))
        for rule in EMITTING:
            for signal in (s for s in driver.signals.values() if s.rule == rule.id):
                if rule.upstream or rule.on_close:
                    continue
                sources = [
                    e.max_severity.rank
                    for e in events
                    for part in rule.parts
                    if isinstance(part.source, Base) and part.source.matches(e.event)
                    if not e.late and e.at // rule.suppress == signal.bucket
                    if (group := part.group(e.event)) is not None and dict(group) == signal.group
                ]
                assert signal.severity.rank == min(rule.level.rank, max(sources)), f"seed {seed}, {rule.id}"
