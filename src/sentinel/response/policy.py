"""From a signal to a decision: the policy file, and the pure function that applies it."""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable
from importlib import resources
from ipaddress import IPv6Network
from typing import TypeVar

import msgspec
import yaml

from sentinel.errors import ConfigError
from sentinel.model import ActionType, Decision, Incident, Micros, Scope, Severity, Signal, SubjectType, ThreatType
from sentinel.response.guardrails import GuardRails, Network, normalise, spelling
from sentinel.response.targets import Target, refusal

__all__ = [
    "DEFAULT_LIMIT",
    "SHARED_BY_USERS",
    "Declined",
    "Facts",
    "Policy",
    "PolicyRule",
    "decide",
    "default_policy",
    "escalate",
    "overrun",
    "parse_policy",
]

SHARED_BY_USERS = 3
"""So many people behind one address mean a shared one (NAT): it is limited, not blocked."""

DEFAULT_LIMIT = 10
"""Requests a minute that a rate limit lets through."""

DEFAULT_CONFIDENCE = 0.8
"""A signal must be this sure, in [0, 1], unless the rule says otherwise (the deployment guide's threshold)."""

_HOUR: Micros = 3_600_000_000
_OVERRUN_SECONDS = 24 * 3600
_SUBSCRIBER_PREFIX = 64
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")

_HELD = "until_released"
_HIGHEST_LIMIT = 1_000_000

_SUBJECTS: dict[ActionType, set[SubjectType]] = {
    ActionType.IP_BLOCK: {SubjectType.IP, SubjectType.NETWORK},
    ActionType.RATE_LIMIT: {SubjectType.IP, SubjectType.NETWORK, SubjectType.USER},
    ActionType.USER_SUSPEND: {SubjectType.USER},
    ActionType.ACCOUNT_LOCKOUT: {SubjectType.USER},
    ActionType.SERVICE_ISOLATION: {SubjectType.SERVICE},
    ActionType.THREAT_QUARANTINE: {SubjectType.SESSION, SubjectType.TOOL},
    ActionType.ALERT_ESCALATION: set(SubjectType),
}
"""Which subjects of a signal an action can be aimed at."""

_NO_LISTS = GuardRails()

Word = TypeVar("Word", bound=enum.Enum)


class PolicyRule(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the policy: which signals it answers, and how."""

    name: str
    subject_types: tuple[SubjectType, ...]
    threat_types: tuple[ThreatType, ...] = ()
    """Empty: every threat."""
    min_severity: Severity = Severity.INFO
    action: ActionType
    durations_seconds: tuple[int | None, ...]
    """By repeat level; the last one holds for every further level. None: held until a person releases it."""
    min_confidence: float = DEFAULT_CONFIDENCE
    """In [0, 1]."""
    limit: int = DEFAULT_LIMIT
    """Requests a minute, for a rate limit at a subject's first incident; tighter at each further one."""
    dry_run: bool = False
    """Decide and show, don't do."""

    @property
    def content_hash(self) -> str:
        """Hash of what the rule does; its name is not part of it."""
        return _hash(msgspec.json.encode(msgspec.structs.replace(self, name="")).decode())


class Policy(msgspec.Struct, frozen=True):
    """Rules in order; the first that matches decides. Those that escalate stand apart: they act on no subject."""

    rules: tuple[PolicyRule, ...]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows about the subject at the time of the signal."""

    users_behind: int = 0
    """Distinct users with a success from the address in the 24 h around the signal."""
    suppressed: str | None = None
    """Why a person said that the detection rule is wrong about the subject, while that holds."""
    held: bool = False
    """Somebody undid an action on the subject within 24 h."""
    earlier_incidents: int = 0
    """The repeat level: 0 for a subject's first incident."""
    crowded: bool = False
    """The rule has just taken this action as often as the blast radius allows."""


class Declined(msgspec.Struct, frozen=True):
    """No decision, and why not."""

    reason: str
    stopped: ActionType | None = None
    """What a rule of the policy asked for, when an undo or a guard rail prevented it."""


# --- deciding


def decide(
    incident: Incident, signal: Signal, facts: Facts, policy: Policy, rails: GuardRails = _NO_LISTS
) -> Decision | Declined:
    """
    Return what to do about a signal of an incident, or why nothing is done.

    The decision's key is the hash of (content of the policy rule, action, target, hour of the signal's first event).
    A late event can lower `signal.first` only within the signal's own bucket of suppression, so for every suppression
    time that divides an hour the order of arrival cannot change the key.
    """
    if not signal.may_act:
        return Declined("none of its events came from a source that may cause actions")
    misses = []
    for rule in policy.rules:
        if rule.action is ActionType.ALERT_ESCALATION:
            continue
        miss = _miss(rule, signal)
        if miss is None:
            return _apply(rule, incident, signal, facts, rails)
        misses.append(f"{rule.name}: {miss}")
    return Declined("; ".join(misses) or "the policy has no rules")


def escalate(incident: Incident, signal: Signal, policy: Policy) -> Decision | None:
    """
    Return the decision to wake people about an incident, or None.

    It restricts nobody, so it needs no guard rail, and a source that may cause no action may still cause this one.
    """
    for rule in policy.rules:
        if rule.action is ActionType.ALERT_ESCALATION and _miss(rule, signal) is None:
            reason = f"{signal.title}: {signal.count} events, {signal.severity.value}, about {signal.subject}"
            return _decision(rule, rule.action, Target(Scope.INCIDENT, incident.id), incident, signal, Facts(), reason)
    return None


def overrun(decision: Decision) -> Decision:
    """
    Return the decision to wake people because a rule would act more often than the blast radius allows.

    One for each rule and hour, about the incident where that began: so many at once is a large attack, a rule that is
    wrong, or somebody who forges evidence, and in each case a person must look.
    """
    assert decision.incident_id is not None, "the policy decides about incidents"
    reason = f"{decision.rule} asks for more {decision.action} than the blast radius allows; the rest is softened"
    return msgspec.structs.replace(
        decision,
        key=_hash("blast radius", decision.rule, str(decision.at // _HOUR)),
        action=ActionType.ALERT_ESCALATION,
        target=decision.incident_id,
        reason=reason,
        severity=Severity.CRITICAL,
        duration_seconds=_OVERRUN_SECONDS,
    )


def _miss(rule: PolicyRule, signal: Signal) -> str | None:
    """Return the first condition of the rule that the signal does not meet."""
    if signal.subject_type not in rule.subject_types:
        return f"not for a subject of type {signal.subject_type}"
    if rule.threat_types and signal.threat_type not in rule.threat_types:
        return f"not for the threat {signal.threat_type or 'none'}"
    if signal.severity.rank < rule.min_severity.rank:
        return f"severity {signal.severity.value} is below {rule.min_severity.value}"
    if signal.confidence < rule.min_confidence:
        return f"confidence {signal.confidence:.2f} is below {rule.min_confidence:.2f}"
    return None


def _apply(
    rule: PolicyRule, incident: Incident, signal: Signal, facts: Facts, rails: GuardRails
) -> Decision | Declined:
    softer = _softer(rule, facts)
    action = rule.action if softer is None else ActionType.RATE_LIMIT
    try:
        target = _target(signal, facts, rails)
    except ValueError as err:
        return Declined(f"{rule.name}: {err}", stopped=action)
    reason = f"{signal.title}: {signal.count} events from {signal.subject}"
    if softer is not None and rule.action is not ActionType.RATE_LIMIT:
        if target.scope not in _LIMITED:
            return Declined(f"{rule.name}: {softer}", stopped=rule.action)
        reason = f"{reason}; limited, not {_DONE[rule.action]}, because {softer}"
    return _decision(rule, action, target, incident, signal, facts, reason)


_LIMITED = {Scope.IP, Scope.USER}
_DONE = {
    ActionType.IP_BLOCK: "blocked",
    ActionType.USER_SUSPEND: "suspended",
    ActionType.ACCOUNT_LOCKOUT: "locked",
}


def _softer(rule: PolicyRule, facts: Facts) -> str | None:
    """Return why the action is softened to a rate limit, or None."""
    if rule.action is ActionType.IP_BLOCK and facts.users_behind >= SHARED_BY_USERS:
        return f"{facts.users_behind} users signed in from there within 24 h"
    if facts.crowded:
        return "this rule has acted as often as the blast radius allows"
    return None


def _decision(  # noqa: PLR0917 - every one of them goes into the row
    rule: PolicyRule,
    action: ActionType,
    target: Target,
    incident: Incident,
    signal: Signal,
    facts: Facts,
    reason: str,
) -> Decision:
    name = target.spelled(action)
    evidence = _evidence(signal, facts)
    if action is ActionType.RATE_LIMIT:
        evidence["limit"] = max(1, rule.limit // (1 + facts.earlier_incidents))
    level = min(facts.earlier_incidents, len(rule.durations_seconds) - 1)
    return Decision(
        key=_hash(rule.content_hash, action, name, str(signal.first // _HOUR)),
        action=action,
        target=name,
        reason=reason,
        severity=signal.severity,
        rule=rule.name,
        signal_id=signal.id,
        incident_id=incident.id,
        at=signal.last,
        duration_seconds=rule.durations_seconds[level],
        effective=not rule.dry_run,
        evidence=evidence,
    )


_SCOPE_OF = {
    SubjectType.IP: Scope.IP,
    SubjectType.NETWORK: Scope.IP,
    SubjectType.USER: Scope.USER,
    SubjectType.SESSION: Scope.SESSION,
    SubjectType.TOOL: Scope.TOOL,
    SubjectType.SERVICE: Scope.SERVICE,
}
_FAILURES_ALONE = {ThreatType.BRUTE_FORCE, ThreatType.CREDENTIAL_STUFFING}


def _target(signal: Signal, facts: Facts, rails: GuardRails) -> Target:
    """Return whom or what to act on; `ValueError` says why there is nobody."""
    if facts.held:
        raise ValueError("an undo within the last 24 h holds this subject")
    if facts.suppressed is not None:
        raise ValueError(f"suppressed by a person, who wrote: {facts.suppressed}")
    if len(signal.group) > 1:
        raise ValueError("the signal is about several fields together, so there is no one subject to act on")
    scope = _SCOPE_OF[signal.subject_type]
    if scope is Scope.USER and signal.threat_type in _FAILURES_ALONE:
        raise ValueError("anybody can fail to log in as this user, so automation does nothing to the user")
    name = spelling(_widened(normalise(signal.subject))) if scope is Scope.IP else signal.subject
    target = Target(scope, name)
    reason = refusal(target, rails)
    if reason is not None:
        raise ValueError(f"{name} may not be a target: {reason}")
    return target


def _widened(network: Network) -> Network:
    """One subscriber owns a whole IPv6 /64 and hops about in it, so an automatic action takes at least that."""
    if isinstance(network, IPv6Network) and network.prefixlen > _SUBSCRIBER_PREFIX:
        return network.supernet(new_prefix=_SUBSCRIBER_PREFIX)
    return network


def _evidence(signal: Signal, facts: Facts) -> dict[str, object]:
    return {
        "signal": signal.id,
        "detection_rule": signal.rule,
        "count": signal.count,
        "confidence": signal.confidence,
        "earlier_incidents": facts.earlier_incidents,
        "users_behind": facts.users_behind,
    }


def _hash(*parts: str) -> str:
    """Return 32 hex digits; JSON keeps ("a", "bc") and ("ab", "c") apart."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


# --- reading


def default_policy() -> Policy:
    """Return the packaged policy: an address or network with a signal of high or above is blocked for an hour."""
    file = resources.files("sentinel.response") / "policy.yml"
    return parse_policy(file.read_text(encoding="utf-8"), "policy.yml")


def parse_policy(text: str, where: str) -> Policy:
    """
    Return the policy that YAML text states; `where` is the file's name for messages.

    Raises:
        ConfigError: It is not YAML, or has an unknown key or a bad value; `where` is file:line.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as err:
        line = err.problem_mark.line + 1 if err.problem_mark else 1
        raise ConfigError(f"this is not YAML: {err.problem}", where=f"{where}:{line}") from None
    except yaml.YAMLError:
        raise ConfigError("this is not YAML; is it text in UTF-8?", where=where) from None
    if root is None:
        raise ConfigError("the policy is empty; write `rules: []` for one that never acts", where=f"{where}:1")
    return _Reader(where).policy(root)


class _Reader:
    """Turns YAML nodes into values; every complaint carries file:line."""

    def __init__(self, where: str) -> None:
        self._where = where

    def policy(self, node: yaml.Node) -> Policy:
        fields = self._mapping(node, required={"rules"})
        rules: dict[str, PolicyRule] = {}
        for item in self._sequence(fields["rules"]):
            rule = self._rule(item)
            if rule.name in rules:
                raise self._error(item, f"there are two rules named {rule.name}")
            rules[rule.name] = rule
        return Policy(tuple(rules.values()))

    def _rule(self, node: yaml.Node) -> PolicyRule:
        fields = self._mapping(
            node, required={"name", "match", "action", "duration"}, optional={"min_confidence", "limit", "dry_run"}
        )
        match = self._mapping(fields["match"], required={"subject_types"}, optional={"min_severity", "threat_types"})
        action = self._word(fields["action"], ActionType)
        return PolicyRule(
            name=self._text(fields["name"]),
            subject_types=self._subject_types(match["subject_types"], action),
            threat_types=self._words(match["threat_types"], ThreatType) if "threat_types" in match else (),
            min_severity=self._word(match["min_severity"], Severity) if "min_severity" in match else Severity.INFO,
            action=action,
            durations_seconds=self._durations(fields["duration"]),
            min_confidence=self._share(fields["min_confidence"]) if "min_confidence" in fields else DEFAULT_CONFIDENCE,
            limit=self._limit(fields["limit"]) if "limit" in fields else DEFAULT_LIMIT,
            dry_run=self._flag(fields["dry_run"]) if "dry_run" in fields else False,
        )

    def _subject_types(self, node: yaml.Node, action: ActionType) -> tuple[SubjectType, ...]:
        kinds = self._words(node, SubjectType)
        possible = _SUBJECTS[action]
        if not possible.issuperset(kinds):
            names = ", ".join(kind.value for kind in SubjectType if kind in possible)
            raise self._error(node, f"{action.value} can be aimed at {names} only")
        return kinds

    def _durations(self, node: yaml.Node) -> tuple[int | None, ...]:
        items = self._sequence(node) if isinstance(node, yaml.SequenceNode) else [node]
        if not items:
            raise self._error(node, "name at least one duration")
        return tuple(self._duration(item) for item in items)

    def _duration(self, node: yaml.Node) -> int | None:
        text = self._text(node)
        if text == _HELD:
            return None
        parts = _DURATION.fullmatch(text)
        if parts is None:
            raise self._error(node, f"a duration is a whole number and a unit: 30s, 15m, 4h or 7d; or {_HELD}")
        return int(parts[1]) * _SECONDS[parts[2]]

    def _limit(self, node: yaml.Node) -> int:
        text = self._text(node)
        if not (text.isascii() and text.isdigit() and 0 < int(text) <= _HIGHEST_LIMIT):
            raise self._error(node, f"a limit is a whole number of requests a minute from 1 to {_HIGHEST_LIMIT}")
        return int(text)

    def _flag(self, node: yaml.Node) -> bool:
        text = self._text(node)
        if text not in {"true", "false"}:
            raise self._error(node, "write true or false")
        return text == "true"

    def _share(self, node: yaml.Node) -> float:
        try:
            share = float(self._text(node))
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise self._error(node, "a confidence is a number from 0 to 1")
        return share

    def _words(self, node: yaml.Node, kind: type[Word]) -> tuple[Word, ...]:
        """Sorted and without repetition, so that the order in the file does not change the rule's hash."""
        words = {self._word(item, kind) for item in self._sequence(node)}
        if not words:
            raise self._error(node, "this list is empty, so the rule could never match")
        return tuple(sorted(words, key=lambda word: str(word.value)))

    def _word(self, node: yaml.Node, kind: type[Word]) -> Word:
        try:
            return kind(self._text(node))
        except ValueError:
            known = ", ".join(str(word.value) for word in kind)
            raise self._error(node, f"unknown word; write one of {known}") from None

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            raise self._error(node, "a single value belongs here")
        return str(node.value)

    def _sequence(self, node: yaml.Node) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self._error(node, "a list belongs here")
        return list(node.value)

    def _mapping(self, node: yaml.Node, *, required: set[str], optional: Iterable[str] = ()) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"keys and values belong here: {', '.join(sorted(required))}")
        known = required.union(optional)
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._text(key)
            if name not in known:
                raise self._error(key, f"unknown key {name}; known are {', '.join(sorted(known))}")
            if name in fields:
                raise self._error(key, f"the key {name} stands here twice")
            fields[name] = value
        missing = required - fields.keys()
        if missing:
            raise self._error(node, f"missing: {', '.join(sorted(missing))}")
        return fields

    def _error(self, node: yaml.Node, reason: str) -> ConfigError:
        return ConfigError(reason, where=f"{self._where}:{node.start_mark.line + 1}")
