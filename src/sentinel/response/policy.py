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
from sentinel.model import ActionType, Decision, Incident, Micros, Severity, Signal, SubjectType, ThreatType
from sentinel.response.guardrails import GuardRails, Network, normalise, protected, spelling

__all__ = [
    "DEFAULT_LIMIT",
    "SHARED_BY_USERS",
    "Declined",
    "Facts",
    "Policy",
    "PolicyRule",
    "decide",
    "default_policy",
    "parse_policy",
]

SHARED_BY_USERS = 3
"""So many people behind one address mean a shared one (NAT): it is limited, not blocked."""

DEFAULT_LIMIT = 10
"""Requests a minute that a rate limit lets through."""

DEFAULT_CONFIDENCE = 0.8
"""A signal must be this sure, in [0, 1], unless the rule says otherwise (the deployment guide's threshold)."""

_HOUR: Micros = 3_600_000_000
_SUBSCRIBER_PREFIX = 64
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")

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
    durations_seconds: tuple[int, ...]
    """By repeat level; the last one holds for every further level."""
    min_confidence: float = DEFAULT_CONFIDENCE
    """In [0, 1]."""

    @property
    def content_hash(self) -> str:
        """Hash of what the rule does; its name is not part of it."""
        return _hash(msgspec.json.encode(msgspec.structs.replace(self, name="")).decode())


class Policy(msgspec.Struct, frozen=True):
    """Rules in order; the first that matches decides."""

    rules: tuple[PolicyRule, ...]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows about the subject at the time of the signal."""

    users_behind: int = 0
    """Distinct users with a success from the address in the 24 h around the signal."""
    held: bool = False
    """Somebody undid an action on the subject within 24 h."""
    earlier_incidents: int = 0
    """The repeat level: 0 for a subject's first incident."""


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
        miss = _miss(rule, signal)
        if miss is None:
            return _apply(rule, incident, signal, facts, rails)
        misses.append(f"{rule.name}: {miss}")
    return Declined("; ".join(misses) or "the policy has no rules")


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
    limited = rule.action is ActionType.RATE_LIMIT or facts.users_behind >= SHARED_BY_USERS
    action = ActionType.RATE_LIMIT if limited else ActionType.IP_BLOCK
    try:
        address = spelling(_target(signal, facts, rails))
    except ValueError as err:
        return Declined(f"{rule.name}: {err}", stopped=action)
    target = f"ip:{address}" if limited else address
    level = min(facts.earlier_incidents, len(rule.durations_seconds) - 1)
    return Decision(
        key=_hash(rule.content_hash, action, target, str(signal.first // _HOUR)),
        action=action,
        target=target,
        reason=_reason(rule, signal, facts),
        severity=signal.severity,
        rule=rule.name,
        signal_id=signal.id,
        incident_id=incident.id,
        at=signal.last,
        duration_seconds=float(rule.durations_seconds[level]),
        evidence=_evidence(signal, facts) | ({"limit": DEFAULT_LIMIT} if limited else {}),
    )


def _target(signal: Signal, facts: Facts, rails: GuardRails) -> Network:
    """Return the network to act on; `ValueError` says why there is none."""
    if facts.held:
        raise ValueError("an undo within the last 24 h holds this subject")
    network = _widened(normalise(signal.subject))
    refusal = protected(network, rails)
    if refusal is not None:
        raise ValueError(f"{spelling(network)} may not be a target: {refusal}")
    return network


def _widened(network: Network) -> Network:
    """One subscriber owns a whole IPv6 /64 and hops about in it, so an automatic action takes at least that."""
    if isinstance(network, IPv6Network) and network.prefixlen > _SUBSCRIBER_PREFIX:
        return network.supernet(new_prefix=_SUBSCRIBER_PREFIX)
    return network


def _reason(rule: PolicyRule, signal: Signal, facts: Facts) -> str:
    what = f"{signal.title}: {signal.count} events from {signal.subject}"
    if rule.action is ActionType.IP_BLOCK and facts.users_behind >= SHARED_BY_USERS:
        return f"{what}; limited, not blocked, because {facts.users_behind} users signed in from there within 24 h"
    return what


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
        fields = self._mapping(node, required={"name", "match", "action", "duration"}, optional={"min_confidence"})
        match = self._mapping(fields["match"], required={"subject_types"}, optional={"min_severity", "threat_types"})
        return PolicyRule(
            name=self._text(fields["name"]),
            subject_types=self._subject_types(match["subject_types"]),
            threat_types=self._words(match["threat_types"], ThreatType) if "threat_types" in match else (),
            min_severity=self._word(match["min_severity"], Severity) if "min_severity" in match else Severity.INFO,
            action=self._word(fields["action"], ActionType),
            durations_seconds=self._durations(fields["duration"]),
            min_confidence=self._share(fields["min_confidence"]) if "min_confidence" in fields else DEFAULT_CONFIDENCE,
        )

    def _subject_types(self, node: yaml.Node) -> tuple[SubjectType, ...]:
        kinds = self._words(node, SubjectType)
        if not {SubjectType.IP, SubjectType.NETWORK}.issuperset(kinds):
            raise self._error(node, "this action needs an address; write ip, network or both")
        return kinds

    def _durations(self, node: yaml.Node) -> tuple[int, ...]:
        items = self._sequence(node) if isinstance(node, yaml.SequenceNode) else [node]
        if not items:
            raise self._error(node, "name at least one duration")
        return tuple(self._duration(item) for item in items)

    def _duration(self, node: yaml.Node) -> int:
        parts = _DURATION.fullmatch(self._text(node))
        if parts is None:
            raise self._error(node, "a duration is a whole number and a unit: 30s, 15m, 4h or 7d")
        return int(parts[1]) * _SECONDS[parts[2]]

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
