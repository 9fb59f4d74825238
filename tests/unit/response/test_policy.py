"""The policy: what becomes a decision, what does not, and what the file may say."""

import msgspec
import pytest

from sentinel.errors import ConfigError
from sentinel.model import ActionType, Decision, Incident, Severity, Signal, SubjectType, ThreatType
from sentinel.response.guardrails import GuardRails, normalise
from sentinel.response.policy import Declined, Facts, Policy, decide, default_policy, escalate, parse_policy

SECOND = 1_000_000
HOUR = 3600 * SECOND
T0 = 490_000 * HOUR

SIGNAL = Signal(
    id="s1",
    rule="ssh-brute-force",
    rule_hash="r1",
    title="Many failed logins",
    subject="203.0.113.9",
    subject_type=SubjectType.IP,
    group={"ip_address": "203.0.113.9"},
    severity=Severity.HIGH,
    threat_type=ThreatType.BRUTE_FORCE,
    confidence=0.9,
    bucket=1,
    first=T0,
    last=T0 + 30 * SECOND,
    count=12,
    may_act=True,
)
INCIDENT = Incident(
    id="i1",
    subject="203.0.113.9",
    subject_type=SubjectType.IP,
    severity=Severity.HIGH,
    confidence=0.9,
    first=T0,
    last=T0 + 30 * SECOND,
    size=1,
    threat_types=(ThreatType.BRUTE_FORCE,),
)
NOTHING_KNOWN = Facts()

RULE = """\
rules:
  - name: only-stuffing
    match:
      subject_types: [ip]
      threat_types: [credential_stuffing]
    action: ip_block
    duration: 30m
"""


def signal(**changes: object) -> Signal:
    return msgspec.structs.replace(SIGNAL, **changes)


def decided(about: Signal, facts: Facts = NOTHING_KNOWN, policy: Policy | None = None) -> Decision:
    answer = decide(INCIDENT, about, facts, policy or default_policy())
    assert isinstance(answer, Decision)
    return answer


def declined(about: Signal, facts: Facts = NOTHING_KNOWN, policy: Policy | None = None) -> Declined:
    answer = decide(INCIDENT, about, facts, policy or default_policy())
    assert isinstance(answer, Declined)
    return answer


def test_a_strong_signal_on_an_address_blocks_it_for_an_hour() -> None:
    """The default policy blocks, and its decision can be traced to signal, incident and policy rule."""
    decision = decided(SIGNAL)
    assert (decision.action, decision.target, decision.duration_seconds) == (ActionType.IP_BLOCK, "203.0.113.9", 3600)
    assert (decision.signal_id, decision.incident_id, decision.rule) == ("s1", "i1", "strong-signal-on-an-address")
    assert decision.at == SIGNAL.last
    assert decision.reason == "Many failed logins: 12 events from 203.0.113.9"


@pytest.mark.parametrize(
    ("subject", "kind", "target"),
    [
        ("203.0.113.9", SubjectType.IP, "203.0.113.9"),
        ("::ffff:203.0.113.9", SubjectType.IP, "203.0.113.9"),
        ("203.0.113.0/24", SubjectType.NETWORK, "203.0.113.0/24"),
        ("2001:db8:1:2::77", SubjectType.IP, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::/80", SubjectType.NETWORK, "2001:db8:1:2::/64"),
        ("2001:db8:1::/48", SubjectType.NETWORK, "2001:db8:1::/48"),
    ],
)
def test_the_target_is_canonical_and_takes_the_ipv6_subscriber(subject: str, kind: SubjectType, target: str) -> None:
    """An attacker who hops about in a /64 meets one block, not one for each address."""
    assert decided(signal(subject=subject, subject_type=kind)).target == target


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"may_act": False}, "may cause actions"),
        ({"severity": Severity.MEDIUM}, "severity medium is below high"),
        ({"confidence": 0.79}, "confidence 0.79 is below 0.80"),
        ({"subject": "grace.fox", "subject_type": SubjectType.USER}, "not for a subject of type user"),
        ({"subject": "127.0.0.1"}, "127.0.0.1 may not be a target: it is or contains an address that is loopback"),
        ({"subject": "::1"}, "may not be a target"),
        ({"subject": "203.0.113.9|ssh"}, "not an IP address"),
    ],
)
def test_what_is_not_acted_on_says_why(changes: dict[str, object], reason: str) -> None:
    """People ask why nothing happened; the answer names the condition that was not met."""
    assert reason in declined(signal(**changes)).reason


def test_protected_networks_are_never_targets() -> None:
    """The operator's lists stand above the policy, also when a /64 contains one protected address."""
    rails = GuardRails(allow_list=(normalise("2001:db8:1:2::1"),))
    answer = decide(INCIDENT, signal(subject="2001:db8:1:2::77"), NOTHING_KNOWN, default_policy(), rails)
    assert isinstance(answer, Declined)
    assert "allow-list" in answer.reason


def test_the_limits_of_the_policy_belong_to_it() -> None:
    """Exactly the least severity and the least confidence are enough."""
    assert decided(signal(severity=Severity.HIGH, confidence=0.8)).target == "203.0.113.9"


def test_an_undo_holds() -> None:
    """What somebody undid today is not done again by the next event."""
    assert "undo" in declined(SIGNAL, Facts(held=True)).reason


@pytest.mark.parametrize(
    ("changes", "facts", "stopped"),
    [
        ({}, Facts(held=True), ActionType.IP_BLOCK),
        ({}, Facts(held=True, users_behind=3), ActionType.RATE_LIMIT),
        ({"subject": "127.0.0.1"}, NOTHING_KNOWN, ActionType.IP_BLOCK),
        ({"severity": Severity.LOW}, Facts(held=True), None),
        ({"may_act": False}, NOTHING_KNOWN, None),
    ],
)
def test_what_was_stopped_is_told_from_what_was_not_asked_for(
    changes: dict[str, object], facts: Facts, stopped: ActionType | None
) -> None:
    """An action that an undo or a guard rail prevented is worth counting; a weak signal is not."""
    assert declined(signal(**changes), facts).stopped is stopped


@pytest.mark.parametrize(("users", "limited"), [(0, False), (2, False), (3, True), (40, True)])
def test_a_shared_address_is_limited_not_blocked(users: int, limited: bool) -> None:
    """Three people who signed in from an address keep working while its attacker is slowed down."""
    decision = decided(SIGNAL, Facts(users_behind=users))
    if limited:
        assert (decision.action, decision.target) == (ActionType.RATE_LIMIT, "ip:203.0.113.9")
        assert decision.evidence["limit"] == 10
        assert f"limited, not blocked, because {users} users" in decision.reason
    else:
        assert decision.action is ActionType.IP_BLOCK
        assert "limit" not in decision.evidence


@pytest.mark.parametrize(("earlier", "hours"), [(0, 1), (1, 4), (2, 24), (3, 168), (4, 168), (99, 168)])
def test_repeaters_are_blocked_for_longer(earlier: int, hours: int) -> None:
    """Each earlier incident takes the next duration of the list; the last one stays."""
    assert decided(SIGNAL, Facts(earlier_incidents=earlier)).duration_seconds == hours * 3600


def test_the_key_is_the_same_for_the_same_evidence() -> None:
    """Redelivery, a late event, another signal in the hour and more repeats lead to the same row, not to a second."""
    key = decided(SIGNAL).key
    assert decided(signal(first=T0 + 10, count=40, last=T0 + HOUR)).key == key
    assert decided(signal(id="s2", rule="other", severity=Severity.CRITICAL)).key == key
    assert decided(SIGNAL, Facts(earlier_incidents=2)).key == key


def test_the_key_tells_different_decisions_apart() -> None:
    """Another target, action, hour or policy is another decision."""
    other_policy = parse_policy(RULE.replace("credential_stuffing", "brute_force"), "p.yml")
    keys = {
        decided(SIGNAL).key,
        decided(signal(subject="203.0.113.10")).key,
        decided(signal(first=T0 - 1)).key,
        decided(SIGNAL, Facts(users_behind=3)).key,
        decided(SIGNAL, policy=other_policy).key,
    }
    assert len(keys) == 5


def test_a_rules_hash_is_about_what_it_does() -> None:
    """Renaming a rule, or writing its lists in another order, must not block everybody a second time."""
    one = parse_policy(RULE.replace("[ip]", "[ip, network]"), "p.yml").rules[0]
    same = parse_policy(RULE.replace("[ip]", "[network, ip, ip]").replace("only-stuffing", "other"), "p.yml").rules[0]
    other = parse_policy(RULE.replace("30m", "31m"), "p.yml").rules[0]
    assert one.content_hash == same.content_hash
    assert one.content_hash != other.content_hash


def test_the_first_rule_that_matches_decides() -> None:
    """Rules are tried in order; one that does not match leaves the signal to the next."""
    policy = parse_policy(RULE + default_rule(), "p.yml")
    assert decided(SIGNAL, policy=policy).rule == "everything"
    assert decided(signal(threat_type=ThreatType.CREDENTIAL_STUFFING), policy=policy).rule == "only-stuffing"
    reason = declined(signal(severity=Severity.LOW), policy=policy).reason
    assert reason == "only-stuffing: not for the threat brute_force; everything: severity low is below medium"


def default_rule() -> str:
    return """\
  - name: everything
    match: {subject_types: [ip, network], min_severity: medium}
    action: rate_limit
    duration: 7d
    min_confidence: .5
"""


def test_a_rule_may_limit_instead_of_block() -> None:
    """The action `rate_limit` gives a target of its own scope and a figure."""
    decision = decided(SIGNAL, policy=parse_policy("rules:\n" + default_rule(), "p.yml"))
    assert (decision.action, decision.target) == (ActionType.RATE_LIMIT, "ip:203.0.113.9")
    assert (decision.evidence["limit"], decision.duration_seconds) == (10, 7 * 86400)


def test_an_empty_list_of_rules_never_acts() -> None:
    """An operator may switch automatic actions off, and the product says that this is the reason."""
    assert declined(SIGNAL, policy=parse_policy("rules: []", "p.yml")).reason == "the policy has no rules"


@pytest.mark.parametrize(
    ("old", "new", "where", "reason"),
    [
        ("duration: 30m", "duration: 30m\n    colour: red", "p.yml:8", "unknown key colour"),
        ("duration: 30m", "duration: 30m\n    duration: 1h", "p.yml:8", "stands here twice"),
        ("duration: 30m", "duration: 0m", "p.yml:7", "30s, 15m, 4h or 7d"),
        ("duration: 30m", "duration: soon", "p.yml:7", "30s, 15m, 4h or 7d"),
        ("duration: 30m", "duration: []", "p.yml:7", "at least one duration"),
        ("duration: 30m", "duration: 30m\n    min_confidence: 1.2", "p.yml:8", "from 0 to 1"),
        ("duration: 30m", "duration: 30m\n    min_confidence: nan", "p.yml:8", "from 0 to 1"),
        ("duration: 30m", "duration: 30m\n    min_confidence: [1]", "p.yml:8", "a single value"),
        ("    action: ip_block\n", "", "p.yml:2", "missing: action"),
        ("ip_block", "explode", "p.yml:6", "write one of ip_block, user_suspend"),
        ("[ip]", "[user]", "p.yml:4", "can be aimed at ip, network only"),
        ("[ip]", "[]", "p.yml:4", "could never match"),
        ("[ip]", "ip", "p.yml:4", "a list belongs here"),
        ("credential_stuffing", "stuffing", "p.yml:5", "unknown word"),
        ("rules:", "rule:", "p.yml:1", "unknown key rule"),
        ("rules:\n", "rules: [\n", "p.yml:2", "not YAML"),
        (RULE, "", "p.yml:1", "rules: []"),
        (RULE, "- 1", "p.yml:1", "keys and values"),
        (RULE, "\x00", "p.yml", "not YAML"),
        (RULE, RULE + RULE.removeprefix("rules:\n"), "p.yml:8", "two rules named only-stuffing"),
    ],
)
def test_a_broken_policy_says_where(old: str, new: str, where: str, reason: str) -> None:
    """Whoever edits the file is sent to the line and told what belongs there."""
    with pytest.raises(ConfigError) as caught:
        parse_policy(RULE.replace(old, new, 1), "p.yml")
    assert caught.value.where == where
    assert reason in caught.value.reason


EVERY_ACTION = """\
rules:
  - {name: steal, match: {subject_types: [user], threat_types: [data_exfiltration]}, action: user_suspend, duration: 4h}
  - {name: lock, match: {subject_types: [user], min_severity: critical}, action: account_lockout, duration: 1h}
  - {name: slow, match: {subject_types: [user]}, action: rate_limit, limit: 40, duration: 1h}
  - {name: isolate, match: {subject_types: [service]}, action: service_isolation, duration: 10m}
  - {name: hold, match: {subject_types: [session, tool]}, action: threat_quarantine, duration: until_released}
  - {name: wake, match: {subject_types: [user, ip], min_severity: critical}, action: alert_escalation, duration: 24h}
"""


@pytest.mark.parametrize(
    ("subject", "kind", "threat", "action", "target", "seconds"),
    [
        ("ann", "user", "data_exfiltration", "user_suspend", "ann", 14_400),
        ("ann", "user", "insider_threat", "rate_limit", "user:ann", 3_600),
        ("billing", "service", "automated_attack", "service_isolation", "billing", 600),
        ("s-1", "session", "session_hijacking", "threat_quarantine", "session:s-1", None),
        ("mail", "tool", "suspicious_patterns", "threat_quarantine", "tool:mail", None),
    ],
)
def test_each_action_has_its_targets(  # noqa: PLR0917 - one column each
    subject: str, kind: str, threat: str, action: str, target: str, seconds: float | None
) -> None:
    """The policy can answer a signal about anything with what can be done to it."""
    about = signal(
        subject=subject, subject_type=SubjectType(kind), threat_type=ThreatType(threat), group={"any": subject}
    )
    decision = decided(about, policy=parse_policy(EVERY_ACTION, "p.yml"))
    assert (decision.action, decision.target, decision.duration_seconds) == (action, target, seconds)


@pytest.mark.parametrize("threat", [ThreatType.BRUTE_FORCE, ThreatType.CREDENTIAL_STUFFING])
def test_failed_logins_never_touch_the_user(threat: ThreatType) -> None:
    """Else anybody could lock anybody out by typing a wrong password in their name (decisions, D1)."""
    sprayed = signal(
        subject="ann", subject_type=SubjectType.USER, threat_type=threat, severity=Severity.CRITICAL, group={}
    )
    answer = declined(sprayed, policy=parse_policy(EVERY_ACTION, "p.yml"))
    assert (answer.stopped, "anybody can fail" in answer.reason) == (ActionType.ACCOUNT_LOCKOUT, True)


def test_a_signal_about_several_fields_has_no_one_target() -> None:
    """`ann|203.0.113.9` is no user's name."""
    both = signal(
        subject="ann|203.0.113.9",
        subject_type=SubjectType.USER,
        threat_type=ThreatType.DATA_EXFILTRATION,
        group={"user_id": "ann", "ip_address": "203.0.113.9"},
    )
    assert "several fields" in declined(both, policy=parse_policy(EVERY_ACTION, "p.yml")).reason


def test_protected_users_are_never_targets() -> None:
    """Who must be able to mend things keeps the way in."""
    stolen = signal(
        subject="root",
        subject_type=SubjectType.USER,
        threat_type=ThreatType.DATA_EXFILTRATION,
        group={"user_id": "root"},
    )
    rails = GuardRails(protected_users=frozenset({"root"}))
    answer = decide(INCIDENT, stolen, NOTHING_KNOWN, parse_policy(EVERY_ACTION, "p.yml"), rails)
    assert isinstance(answer, Declined)
    assert answer.stopped is ActionType.USER_SUSPEND


def test_beyond_the_blast_radius_actions_become_limits_or_nothing() -> None:
    """What acts on everybody at once is more likely wrong than right, and may be what an attacker wants."""
    crowd = Facts(crowded=True)
    assert (decided(SIGNAL, crowd).action, decided(SIGNAL, crowd).target) == (ActionType.RATE_LIMIT, "ip:203.0.113.9")
    policy = parse_policy(EVERY_ACTION, "p.yml")
    thief = signal(
        subject="ann", subject_type=SubjectType.USER, threat_type=ThreatType.DATA_EXFILTRATION, group={"user_id": "ann"}
    )
    assert decided(thief, crowd, policy).target == "user:ann"
    service = signal(subject="billing", subject_type=SubjectType.SERVICE, group={"service_name": "billing"})
    assert declined(service, crowd, policy).stopped is ActionType.SERVICE_ISOLATION


@pytest.mark.parametrize(("earlier", "limit"), [(0, 40), (1, 20), (3, 10), (100, 1)])
def test_a_limit_follows_the_subjects_risk(earlier: int, limit: int) -> None:
    """Each further incident leaves less."""
    about = signal(subject="ann", subject_type=SubjectType.USER, threat_type=ThreatType.INSIDER_THREAT, group={})
    decision = decided(about, Facts(earlier_incidents=earlier), parse_policy(EVERY_ACTION, "p.yml"))
    assert decision.evidence["limit"] == limit


def test_a_dry_run_decides_without_effect() -> None:
    """A new rule can be watched before it strikes."""
    policy = parse_policy(RULE.replace("credential_stuffing", "brute_force") + "    dry_run: true\n", "p.yml")
    assert not decided(SIGNAL, policy=policy).effective
    assert decided(SIGNAL).effective


def test_people_are_woken_beside_what_is_done() -> None:
    """An escalation is about the incident, stands beside the action, and needs no right to act."""
    policy = parse_policy(EVERY_ACTION, "p.yml")
    worst = signal(severity=Severity.CRITICAL, may_act=False)
    decision = escalate(INCIDENT, worst, policy)
    assert decision is not None
    assert (decision.action, decision.target, decision.rule) == (ActionType.ALERT_ESCALATION, "i1", "wake")
    assert escalate(INCIDENT, SIGNAL, policy) is None
