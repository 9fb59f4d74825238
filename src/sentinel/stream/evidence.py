"""
Evidence: collects what each quarantine rests on, and tells whether it still is what was collected.

A quarantine takes effect first and its evidence is collected a moment later, by a task of its own: looking for events
may take a second, and the decisions on others must not wait for it. What is missing after a crash is collected at the
next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from sentinel.detection import RuleSet
from sentinel.detection.rule import Base, Rule
from sentinel.detection.sigma.fields import getter
from sentinel.ingest.events import encode
from sentinel.model import ActionStatus, ActionType, Event, Micros, Scope, Signal, StoredEvent, SubjectType, iso
from sentinel.response import parse_target
from sentinel.response.evidence import Bundle, Proof, event_hash, pack, seal_of, unpack
from sentinel.storage import SYSTEM, Action, AuditEntry, Outcome, Store, StoreUnable
from sentinel.storage import Evidence as Kept

__all__ = ["COLLECTED", "Evidence", "EvidenceReport", "EvidenceStatus"]

COLLECTED = "threat_quarantine.evidence"
"""The audit entry that holds a bundle's hash."""

_LOOK_SECONDS = 0.5
_MOST_EVENTS = 1_000
_MOST_SIGNALS = 100
_DAY: Micros = 24 * 3600 * 1_000_000
_network = getter("ip_network")
_SUBJECTS = {Scope.SESSION: SubjectType.SESSION, Scope.TOOL: SubjectType.TOOL}


class EvidenceStatus(enum.StrEnum):
    """What a verification found."""

    VERIFIED = "verified"
    TAMPERED = "tampered"
    UNSEALED = "consistent, without its audit entry"


class EvidenceReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the evidence of a quarantine is what was collected."""

    status: EvidenceStatus
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    """What is no tampering, but should be known."""


class Evidence:
    """The evidence of quarantines; `run_forever` is its task."""

    def __init__(self, store: Store, rules: Callable[[], RuleSet], clock: Callable[[], Micros]) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock
        self._looking = asyncio.Lock()
        self._seen: int | None = None
        """The last change that was looked at; None before the first look, which looks at all that is in force."""

    async def run_forever(self) -> None:
        """Look whenever something has changed; a store without room is tried again."""
        while True:
            with contextlib.suppress(StoreUnable):
                await self.step()
            await asyncio.sleep(_LOOK_SECONDS)

    async def step(self) -> None:
        """Collect what is missing."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        upto = self._store.change_seq
        if upto == self._seen:
            return
        changed = (
            await self._store.actions_in_force(self._clock())
            if self._seen is None
            else await self._store.actions_since(self._seen)
        )
        for action in changed:
            quarantined = action.action_type is ActionType.THREAT_QUARANTINE and action.status is ActionStatus.ACTIVE
            if quarantined and await self._store.evidence(action.id) is None:
                await self._collect(action)
        self._seen = upto

    # --- collecting

    async def _collect(self, action: Action) -> None:
        signals = await self._signals(action)
        events, complete = await self._events(signals)
        bundle = Bundle(
            action=_facts(action),
            signals=tuple(msgspec.to_builtins(signal) for signal in signals),
            events=tuple(map(_proof, events)),
            complete=complete and len(signals) < _MOST_SIGNALS,
            collected_at=iso(self._clock()),
        )
        text = pack(bundle)
        seal = seal_of(text)
        entry = AuditEntry(
            at=self._clock(),
            actor=SYSTEM,
            operation=COLLECTED,
            target=action.id,
            details={"sha256": seal, "events": len(events), "signals": len(signals)},
        )
        kept = Kept(action_id=action.id, bundle=text, sha256=seal, events=tuple(event.seq for event in events))
        await self._store.apply(Outcome(position=0, evidence=[kept], audit=[entry], judging=True))

    async def _signals(self, action: Action) -> list[Signal]:
        """Return the signals of the incident that led to it; for a person's order what was known of the target."""
        if action.incident_id and (together := await self._store.signals_in(action.incident_id)):
            return together[-_MOST_SIGNALS:]
        if action.signal_id:
            return await self._store.signals_by_id([action.signal_id])
        target = parse_target(action.action_type, action.target)
        if target.scope not in _SUBJECTS:
            return []
        subject = (target.name, _SUBJECTS[target.scope])
        known = (await self._store.signals_of([subject])).get(subject, [])
        since = action.created_at - _DAY
        return [signal for signal, _ in known if signal.last >= since][-_MOST_SIGNALS:]

    async def _events(self, signals: Iterable[Signal]) -> tuple[list[StoredEvent], bool]:
        """Return the events behind signals, the latest if there are too many; and whether none is known to lack."""
        rules = {rule.hash: rule for rule in self._rules().rules}
        found: dict[int, StoredEvent] = {}
        complete = True
        for signal in signals:
            rule = rules.get(signal.rule_hash)
            start, end = _time(signal, rule)
            networks = _networks(rule, signal.group)
            words = {_start_of(value) if name in networks else value for name, value in signal.group.items()}
            near = await self._store.events_naming(sorted(words or {signal.subject}), start, end, _MOST_EVENTS)
            behind = {
                one.seq: one
                for one in near
                if not one.late
                and _counts(rule, one.event, signal.group)
                and all(_network(one.event) == signal.group[name] for name in networks)
            }
            complete = complete and bool(behind) and len(near) < _MOST_EVENTS
            found |= behind
        latest = sorted(found)[-_MOST_EVENTS:]
        return [found[seq] for seq in latest], complete and len(latest) == len(found)

    # --- verifying

    async def verify(self, kept: Kept) -> EvidenceReport:
        """Return whether the evidence, the audit log's word on it and the events that it names agree."""
        problems: list[str] = []
        notes: list[str] = []
        if seal_of(kept.bundle) != kept.sha256:
            problems.append("the bundle is not the one that its hash was made of")
        sealed = [entry.details.get("sha256") for entry in await self._store.audited_about(COLLECTED, kept.action_id)]
        if sealed and sealed[0] != kept.sha256:
            problems.append("the hash is not the one in the audit log")
        if not sealed:
            notes.append("the audit log holds no entry on it any more, so the hash itself is not vouched for")
        try:
            bundle = unpack(kept.bundle)
        except msgspec.DecodeError:
            problems.append("the bundle can't be read")
        else:
            await self._compare(bundle, kept.action_id, problems, notes)
        status = EvidenceStatus.TAMPERED if problems else EvidenceStatus.VERIFIED
        return EvidenceReport(
            status=status if sealed or problems else EvidenceStatus.UNSEALED,
            problems=tuple(problems),
            notes=tuple(notes),
        )

    async def _compare(self, bundle: Bundle, action_id: str, problems: list[str], notes: list[str]) -> None:
        actions = await self._store.actions_by_id([action_id])
        if not actions:
            problems.append("the action is gone")
        elif _facts(actions[0]) != bundle.action:
            problems.append("the action is not what was decided")
        holds = any(action.status is ActionStatus.ACTIVE for action in actions)
        there = {one.seq: one for one in await self._store.events_by_seq(proof.seq for proof in bundle.events)}
        gone = 0
        for proof in bundle.events:
            if proof.seq not in there:
                gone += 1
            elif _proof(there[proof.seq]) != proof:
                problems.append(f"event {proof.event_id} is not what it was")
        if gone:
            told = f"{gone} of {len(bundle.events)} events are gone"
            (problems if holds else notes).append(told if holds else f"{told}, as retention allows once it is released")


def _facts(action: Action) -> dict[str, Any]:
    """Return what never changes of an action."""
    return {
        "id": action.id,
        "action_type": action.action_type.value,
        "target": action.target,
        "reason": action.reason,
        "severity": action.severity.value,
        "created_at": iso(action.created_at),
        "auto": action.auto,
        "created_by": action.created_by,
        "rule": action.rule,
        "signal_id": action.signal_id,
        "evidence": action.evidence,
    }


def _proof(stored: StoredEvent) -> Proof:
    event = stored.event
    return Proof(stored.seq, event.event_id, event.event_type.value, iso(stored.at), event_hash(encode(event)))


def _time(signal: Signal, rule: Rule | None) -> tuple[Micros, Micros]:
    """Return the time in which the events of a signal lie."""
    if rule is None:  # changed or removed since
        return signal.first - _DAY, signal.last
    return rule.needs(signal.first), signal.last + (rule.width if rule.on_close else 0)


def _networks(rule: Rule | None, group: Mapping[str, str]) -> set[str]:
    """Return which names of a group stand for the network of an address: it is derived and stands in no event."""
    fields = {name: field for part in (rule.parts if rule else ()) for name, field in part.fields}
    return {name for name in group if fields.get(name, name) == "ip_network"}


def _start_of(network: str) -> str:
    """Return what the addresses of an IPv6 network, a /64, all begin with: its groups before the first that is zero."""
    return "".join(f"{part}:" for part in itertools.takewhile(lambda part: part not in {"", "0"}, network.split(":")))


def _counts(rule: Rule | None, event: Event, group: Mapping[str, str]) -> bool:
    """Whether a rule counts the event for this group; what stands upstream is taken by its names alone."""
    if rule is None or rule.upstream:
        return True
    return any(
        isinstance(part.source, Base) and part.source.matches(event) and dict(part.group(event) or ()) == group
        for part in rule.parts
    )
