"""Events -> signals."""

from __future__ import annotations

import msgspec
import pytest

from sentinel.detection import Engine, RuleSet, parse_rules
from sentinel.detection.few import group_with, key_of
from sentinel.model import EventType, Severity, Signal, StoredEvent, SubjectType, ThreatType

from .samples import FAILED, SECOND, count, failure

NOTHING_YET = 2**63 - 1


def engine(rules: RuleSet | None = None, since: float = -1e6) -> Engine:
    started = Engine(rules or count())
    started.warm((), round(since * SECOND))
    return started


def many(*texts: str) -> RuleSet:
    rules = parse_rules([("rules.yml", "\n---\n".join((FAILED, *texts)))])
    assert not rules.refused
    return rules


def correlation(name: str, fields: str, n: int = 2, extra: str = "", t: str = "10s") -> str:
    return f"""name: {name}
correlation: {{type: event_count, rules: [failed], group-by: {fields}, timespan: {t}, condition: {{gte: {n}}}}}
{extra}"""


def test_a_count_makes_one_signal_with_all_that_is_known() -> None:
    """Three failures in less than ten seconds are a signal about the address."""
    rules = count(more="sentinel: {threat_type: brute_force}")
    (signal,) = engine(rules).add([failure(1), failure(2), failure(3), failure(4)])
    assert signal == Signal(
        id=signal.id,
        rule="many",
        rule_hash=rules.rules[1].hash,
        title="Many failures",
        subject="192.0.2.1",
        subject_type=SubjectType.IP,
        group={"ip_address": "192.0.2.1"},
        severity=Severity.HIGH,
        threat_type=ThreatType.BRUTE_FORCE,
        confidence=0.9,
        bucket=0,
        first=3 * SECOND,
        last=4 * SECOND,
        count=4,
        may_act=False,
    )
    assert len(signal.id) == 32


def test_a_signal_grows_under_the_same_id() -> None:
    """Later events in the bucket change the signal, they don't make another."""
    judge = engine()
    (before,) = judge.add([failure(1), failure(2), failure(3)])
    (after,) = judge.add([failure(9)])
    assert (before.id, before.count, before.last) == (after.id, 3, 3 * SECOND)
    assert (after.count, after.last) == (4, 9 * SECOND)


def test_each_bucket_has_its_own_signal_in_order() -> None:
    """Signals come sorted by their first time."""
    signals = engine().add([failure(at) for at in (21, 22, 23, 1, 2, 3)])
    assert [(signal.bucket, signal.first) for signal in signals] == [(0, 3 * SECOND), (2, 23 * SECOND)]


def test_only_what_the_events_touch_is_returned() -> None:
    """A signal of another time is not repeated, one whose window the new event lies in is."""
    judge = engine()
    judge.add([failure(at) for at in (1, 2, 3)])
    assert judge.add([failure(21)]) == []
    assert [signal.bucket for signal in judge.add([failure(22), failure(23)])] == [2]


def test_late_events_take_no_part() -> None:
    """A late event counts nowhere, and needs nothing."""
    judge = engine()
    late = failure(3, late=True)
    assert judge.add([failure(1), failure(2), late]) == []
    assert judge.needs([late]) == NOTHING_YET


def test_repeated_events_bring_the_same_answer_again() -> None:
    """Whoever lost an answer gives the events again; nothing is counted twice."""
    judge = engine()
    events = [failure(at) for at in (1, 2, 3)]
    assert judge.add(events) == judge.add(events) != []


@pytest.mark.parametrize(
    ("fields", "details", "subject", "kind"),
    [
        ("[ip_address]", {}, "192.0.2.1", SubjectType.IP),
        ("[user_id]", {}, "erin", SubjectType.USER),
        ("[session_id]", {}, "s1", SubjectType.SESSION),
        ("[service_name]", {}, "web", SubjectType.SERVICE),
        ("[details.tool_name]", {"tool_name": "shell"}, "shell", SubjectType.TOOL),
        ("[table_name]", {"table_name": "orders"}, "orders", SubjectType.GLOBAL),
        ("[user_id, ip_address]", {}, "erin|192.0.2.1", SubjectType.USER),
        ("[table_name, ip_address]", {"table_name": "t"}, "t|192.0.2.1", SubjectType.IP),
        ("[]", {}, "global", SubjectType.GLOBAL),
    ],
)
def test_subjects(fields: str, details: dict[str, str], subject: str, kind: SubjectType) -> None:
    """The values in group-by order, and the kind of the first field that has one."""
    judge = engine(many(correlation("c", fields)))
    how = {"user_id": "erin", "session_id": "s1", "service_name": "web", "details": details}
    (signal,) = judge.add([failure(1, **how), failure(2, **how)])
    assert (signal.subject, signal.subject_type) == (subject, kind)


def test_an_ipv6_subscriber_is_one_network() -> None:
    """Addresses that change within a /64 are counted together."""
    judge = engine(many(correlation("c", "[ip_network]")))
    (signal,) = judge.add([failure(1, ip_address="2001:db8:1:2::a"), failure(2, ip_address="2001:db8:1:2::b")])
    assert (signal.subject, signal.subject_type) == ("2001:db8:1:2::/64", SubjectType.NETWORK)


def test_groups_are_counted_apart() -> None:
    """Failures from two addresses don't add up; their signals have different ids."""
    judge = engine(many(correlation("c", "[ip_address]")))
    assert judge.add([failure(1), failure(2, ip_address="192.0.2.2")]) == []
    one, two = judge.add([failure(3), failure(4, ip_address="192.0.2.2")])
    assert one.id != two.id


def test_values_can_not_be_joined_into_another_group() -> None:
    """Where one value ends and the next begins is part of the id."""
    judge = engine(many(correlation("c", "[user_id, session_id]", n=1)))
    pairs = [("a|session_id|b", "c"), ("a", "b|session_id|c")]
    signals = judge.add([failure(1, user, user_id=user, session_id=session) for user, session in pairs])
    assert len({signal.id for signal in signals}) == 2


def test_broken_text_still_makes_a_signal() -> None:
    """A lone surrogate from a damaged log doesn't stop the rule."""
    assert len(engine(many(correlation("c", "[user_id]", n=1))).add([failure(1, user_id="\ud800")])) == 1


def test_a_plain_detection_signals_each_match() -> None:
    """A rule that serves no correlation fires by itself, once an hour per subject."""
    judge = engine(many())
    hour, next_hour = judge.add([failure(1, user_id="erin"), failure(2, user_id="erin"), failure(3601, user_id="erin")])
    assert (hour.subject, hour.count, hour.first, hour.last) == ("erin", 2, 1 * SECOND, 2 * SECOND)
    assert (next_hour.bucket, next_hour.count) == (1, 1)


def test_a_rule_that_only_serves_is_silent() -> None:
    """The base of a correlation makes no signals of its own."""
    assert engine().add([failure(1)]) == []


def test_an_event_that_matches_two_rules_of_a_count_counts_once() -> None:
    """Overlapping detections don't double an event."""
    other = FAILED.replace("name: failed", "name: other").replace(", category: authentication", "")
    both = correlation("both", "[ip_address]").replace("[failed]", "[failed, other]")
    judge = engine(many(other, both))
    assert judge.add([failure(1)]) == []
    (signal,) = judge.add([failure(2)])
    assert signal.count == 2


def test_rules_for_a_service_see_only_that_service() -> None:
    """The index leads an event to rules for its type, its service, and for the log it was read from."""
    texts = [
        f"name: {name}\nlogsource: {source}\ndetection: {{s: {{success: false}}, condition: s}}"
        for name, source in [
            ("web", "{service: web}"),
            ("any", "{product: sentinel}"),
            ("scan", "{category: scan}"),
            ("sshd", "{product: linux, service: sshd}"),
        ]
    ]
    judge = engine(many(*texts))

    def met(event: StoredEvent) -> set[str]:
        return {signal.rule for signal in judge.add([event])}

    assert met(failure(1)) == {"failed", "any"}
    assert met(failure(2, service_name="Web")) == {"failed", "any", "web"}
    assert met(failure(3, service_name="mail")) == {"failed", "any"}
    assert met(failure(4, event_type=EventType.SCAN)) == {"any", "scan"}
    assert met(failure(5, details={"logsource": {"product": "Linux", "service": "sshd"}})) == {"failed", "any", "sshd"}


@pytest.mark.parametrize(
    ("acting", "may_act"),
    [
        ([1, 2, 3], True),
        ([1, 2, 3, 4], True),
        ([1, 2], False),
        ([], False),
        ([1, 2, 14], False),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_right_to_act_comes_from_acting_events_alone(acting: list[int], may_act: bool, backwards: bool) -> None:
    """Other events can neither complete a count that leads to an action nor prevent one."""
    events = [failure(at, may_act=at in acting) for at in range(1, 6)]
    judge = engine()
    signals = [judge.add([event]) for event in (reversed(events) if backwards else events)]
    assert [signal.may_act for signal in signals[-1]] == [may_act]


@pytest.mark.parametrize(
    ("sources", "severity"),
    [
        ([Severity.CRITICAL] * 3, Severity.HIGH),
        ([Severity.LOW, Severity.LOW, Severity.MEDIUM], Severity.MEDIUM),
        ([Severity.MEDIUM, Severity.LOW, Severity.LOW], Severity.MEDIUM),
        ([Severity.INFO] * 3, Severity.INFO),
    ],
)
def test_sources_cap_the_severity(sources: list[Severity], severity: Severity) -> None:
    """The rule's level, but no more than the best source of the bucket may say."""
    (signal,) = engine().add([failure(at, max_severity=source) for at, source in enumerate(sources)])
    assert signal.severity is severity


# --- the state as a cache ------------------------------------------------------------------------------------------


def test_a_new_engine_knows_nothing_and_says_so() -> None:
    """Before anything is replayed, events can't be judged; that is an error, not a wrong answer."""
    judge = Engine(count())
    assert (judge.warm_from, judge.retained, judge.reach) == (NOTHING_YET, 0, 20 * SECOND)
    with pytest.raises(ValueError, match="warm it first"):
        judge.add([failure(1)])


def test_an_engine_without_rules_needs_nothing() -> None:
    """No rules, no signals, no replay."""
    judge = Engine(parse_rules([]))
    assert (judge.needs([failure(1)]), judge.add([failure(1)])) == (NOTHING_YET, [])


def test_needs_is_the_bucket_and_the_window_before_it() -> None:
    """The earliest event's bucket begins at 20 s, and what triggers there can reach back 10 s."""
    assert Engine(count()).needs([failure(99), failure(25)]) == 10 * SECOND


def test_warming_up_adds_history_in_silence() -> None:
    """Events judged before count, but only new events make signals appear."""
    judge = Engine(count())
    judge.warm([failure(1), failure(2)], -10 * SECOND)
    assert (judge.warm_from, judge.retained) == (-10 * SECOND, 2)
    (signal,) = judge.add([failure(3)])
    assert signal.count == 3


def test_what_was_forgotten_comes_back_from_history() -> None:
    """After an eviction and a replay the answer is the one of an engine that forgot nothing."""
    events = [failure(at) for at in (1, 2, 3, 11, 12, 13, 31, 32, 33)]
    judge, witness = engine(), engine()
    judge.add(events)
    witness.add(events)
    judge.forget(35 * SECOND)
    assert judge.warm_from == 30 * SECOND  # where the bucket begins
    straggler = failure(4)
    judge.warm(events, judge.needs([straggler]))
    assert judge.add([straggler]) == witness.add([straggler]) != []
    assert judge.retained == witness.retained


def test_an_event_that_lacked_nothing_lacks_what_was_forgotten_since() -> None:
    """What was known to suffice is asked anew after an eviction, or a window would be judged without its events."""
    judge = engine()
    judge.warm([failure(1), failure(2)], -60 * SECOND)
    assert judge.needs([failure(4)]) == judge.needs([failure(5)]) == NOTHING_YET
    judge.forget(35 * SECOND)
    assert judge.needs([failure(5)]) < judge.warm_from


def test_much_is_forgotten_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever drives the engine can let others have the processor in between; the end is the same."""
    monkeypatch.setattr("sentinel.detection.engine._FORGOTTEN_AT_ONCE", 2)
    events = [failure(at + n / 10, ip_address=f"203.0.113.{at}") for at in range(1, 40) for n in range(9)]
    judge, witness = engine(), engine()
    judge.add(events)
    witness.add(events)
    steps = [judge.retained for _ in judge.forgetting(45 * SECOND)]
    witness.forget(30 * SECOND)
    assert len(steps) > 10, steps
    assert steps == sorted(steps, reverse=True)
    assert (judge.retained, judge.memory) == (witness.retained, witness.memory)
    assert judge.add([failure(41)]) == witness.add([failure(41)])


def test_forgetting_less_than_was_forgotten_changes_nothing() -> None:
    """`warm_from` only rises."""
    judge = engine()
    judge.forget(50 * SECOND)
    judge.forget(20 * SECOND)
    assert judge.warm_from == 50 * SECOND


def test_retained_counts_both_windows() -> None:
    """In windows, once events that may not act come in, those that may are kept a second time; both count."""
    judge = engine(many(correlation("c", "[ip_address]", n=9)))
    judge.add([failure(at / 10, may_act=True) for at in range(12)])
    assert judge.retained == 12
    judge.add([failure(3)])
    assert judge.retained == 25
    judge.forget(100 * SECOND)
    assert (judge.retained, judge.memory) == (0, 0)


def test_few_events_of_a_group_are_kept_once_for_all_rules() -> None:
    """Rules that count the same share what they keep of a group with few events; with more each has windows."""
    judge = engine(many(correlation("c", "[ip_address]", n=3), correlation("d", "[ip_address]", n=9)))
    judge.add([failure(at / 10) for at in range(8)])
    assert judge.retained == 8
    few = judge.memory
    assert [(signal.rule, signal.count) for signal in judge.add([failure(1)])] == [("c", 9), ("d", 9)]
    assert judge.retained > 2 * 6
    assert judge.memory > 2 * few


def test_each_rule_forgets_what_it_does_not_need() -> None:
    """A rule over a minute does not keep what one over an hour must."""
    texts = [correlation("c", "[ip_address]", n=3, t="1m"), correlation("d", "[user_id]", n=3, t="1h")]
    judge = engine(many(*texts))
    events = [failure(10, user_id="erin"), failure(3000, user_id="erin")]
    judge.add(events)
    for _ in judge.forgetting(3100 * SECOND):
        pass
    assert judge.retained == 3
    assert judge.needs([failure(3200)]) == NOTHING_YET
    needed = judge.needs([failure(20)])
    assert needed < 0
    judge.warm(events, needed)
    assert judge.retained == 4


@pytest.mark.parametrize("values", [["9"], ["a", "b"], ["1:a", ""], ["", "1:a"], ["3:a|b", "12"]])
def test_a_key_tells_its_group(values: list[str]) -> None:
    """Whatever the values hold, the key of a group leads back to it."""
    names = ["ip_address", "user_id"][: len(values)]
    group = tuple(zip(names, values, strict=True))
    assert group_with(key_of(group, plain=False), names) == group


def test_plain_detections_tell_users_from_addresses() -> None:
    """A user may be called like an address; they are two subjects."""
    judge = engine(parse_rules([("rules.yml", FAILED)]))
    found = judge.add([failure(1, ip_address=None, user_id="192.0.2.1"), failure(2)])
    assert [(signal.subject, signal.subject_type) for signal in found] == [
        ("192.0.2.1", SubjectType.USER),
        ("192.0.2.1", SubjectType.IP),
    ]


def test_memory_is_bounded_under_attack() -> None:
    """A million failures would be kept as 2 N a cell; so are five thousand."""
    judge = engine()
    judge.add([failure(at / 1000, event_id=f"{at:05}") for at in range(5000)])
    assert judge.retained == 6


# --- closing, chains, other rules -----------------------------------------------------------------------------------


FEW = """name: few
correlation: {type: event_count, rules: [failed], group-by: [ip_address], timespan: 10s, condition: {lt: 3}}
"""


@pytest.mark.parametrize(
    ("times", "now", "buckets"),
    [
        ([1, 2], 14, []),  # 10 s and 5 s of lateness are not over
        ([1, 2], 15, [0]),
        ([1, 2, 3], 15, []),
        ([1, 2, 12], 15, [0]),
        ([1, 12], 25, [0, 1]),
        ([1, 12], None, [0, 1]),
    ],
)
def test_windows_are_judged_when_they_have_closed(times: list[int], now: float | None, buckets: list[int]) -> None:
    """Too few in a window is only known when the window and the lateness are over, or nothing will follow."""
    judge = engine(many(FEW))
    assert judge.add([failure(at) for at in times]) == []
    closed = judge.close(None if now is None else round(now * SECOND), 5 * SECOND)
    assert [signal.bucket for signal in closed] == buckets
    assert judge.close(None if now is None else round(now * SECOND), 5 * SECOND) == []


def test_a_restart_judges_what_was_open_and_no_more() -> None:
    """The windows open when the service last lived are replayed; a part of a window is never judged."""
    events = [failure(at) for at in (1, 2, 3, 12)]
    judge = Engine(many(FEW))
    start = judge.needs_to_close(16 * SECOND, 5 * SECOND)
    assert start == 0
    judge.warm([event for event in events if event.at >= start], start)
    assert [signal.bucket for signal in judge.close(25 * SECOND, 5 * SECOND)] == [1]
    partial = Engine(many(FEW))
    partial.warm(events[1:], 2 * SECOND)
    assert [signal.bucket for signal in partial.close(None)] == [1]


def test_windows_that_are_open_outlive_forgetting() -> None:
    """What has not been judged can't be dropped, or nobody would ever know."""
    judge = engine(many(FEW))
    judge.add([failure(1)])
    judge.forget(1000 * SECOND)
    assert [signal.bucket for signal in judge.close(None)] == [0]


def test_without_effect_a_closed_window_may_not_act() -> None:
    """Nobody can say later which of its events would have had an effect."""
    judge = engine(many(FEW))
    judge.add([msgspec.structs.replace(failure(1, may_act=True), effects=False), failure(11, may_act=True)])
    assert [signal.may_act for signal in judge.close(None)] == [False, True]


CHAIN = """name: often
level: high
correlation: {type: event_count, rules: [c], group-by: [ip_address], timespan: 1m, condition: {gte: 2}}
"""


def test_a_correlation_counts_what_another_found() -> None:
    """Two buckets with a signal are two events, at the start of each; the inner rule is silent."""
    judge = engine(many(correlation("c", "[ip_address, user_id]"), CHAIN))
    first = [failure(at, user_id="erin", max_severity=Severity.LOW) for at in (1, 2)]
    assert judge.add(first) == []
    (signal,) = judge.add([failure(at, user_id="frank", max_severity=Severity.MEDIUM) for at in (21, 22)])
    assert (signal.rule, signal.first, signal.count, signal.severity) == ("often", 20 * SECOND, 2, Severity.MEDIUM)
    (raised,) = judge.add([failure(3, user_id="erin", max_severity=Severity.CRITICAL)])
    assert (raised.id, raised.count, raised.severity) == (signal.id, 2, Severity.HIGH)


def test_what_is_found_upstream_may_act_when_acting_events_find_it() -> None:
    """The right to act goes up the chain, also when it comes later."""
    judge = engine(many(correlation("c", "[ip_address]"), CHAIN))
    (signal,) = judge.add([failure(at, may_act=at > 20) for at in (1, 2, 21, 22)])
    assert not signal.may_act
    (signal,) = judge.add([failure(at, may_act=True) for at in (3, 4)])
    assert signal.may_act


def test_other_rules_leave_the_state_of_equal_ones_alone() -> None:
    """After a reload nothing is replayed for what has not changed; what is new must be warmed."""
    judge = engine(many(correlation("c", "[ip_address]", n=3)))
    events = [failure(1), failure(2)]
    judge.add(events)
    same = judge.replaced(many(correlation("c", "[ip_address]", n=3).replace("name: c", "title: T\nname: c")))
    (signal,) = same.add([failure(3)])
    assert (signal.title, signal.count) == ("T", 3)
    other = same.replaced(many(correlation("c", "[ip_address]", n=3), CHAIN, correlation("d", "[]", n=4)))
    assert other.warm_from == NOTHING_YET
    other.warm([*events, failure(3)], -1000 * SECOND)
    assert [(s.rule, s.count) for s in other.add([failure(4)])] == [("d", 4)]
    assert next((s.rule, s.count) for s in other.add([failure(at) for at in (21, 22, 23)])) == ("often", 2)
