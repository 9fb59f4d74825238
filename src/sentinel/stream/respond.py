"""
From signals to an outcome: incidents, the policy's decisions, and what becomes of earlier ones.

It reads the store and writes nothing; the worker writes the outcome. Asked again about the same signals it gives the
same outcome, so a batch may be repeated after a failed write or a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from sentinel.detection.incidents import incident_of
from sentinel.model import (
    IMPORT_ORIGIN,
    ActionStatus,
    ActionType,
    Decision,
    EventType,
    Incident,
    Micros,
    Signal,
    StoredEvent,
    SubjectType,
)
from sentinel.response import (
    SHARED_BY_USERS,
    Declined,
    Facts,
    GuardRails,
    Policy,
    decide,
    escalate,
    overrun,
    parse_target,
)
from sentinel.storage import SYSTEM, Action, AuditEntry, Outcome, Store, Suppression
from sentinel.stream.board import ended
from sentinel.stream.joining import Joiner, earlier_incidents

__all__ = ["Responder", "Run"]

_DAY: Micros = 24 * 3600 * 1_000_000
_MINUTE: Micros = 60 * 1_000_000
_SETTLED_KEPT = 100_000  # signals, as they were when the policy was asked about them

_Subject = tuple[str, SubjectType]


class Run(msgspec.Struct, frozen=True):
    """Neighbouring events of one origin, and the signals that they created or changed."""

    origin: str
    effects: bool
    events: list[StoredEvent]
    signals: list[Signal]

    @property
    def imported(self) -> bool:
        """Whether it comes from a log that an administrator imports: it is all received at once."""
        return self.origin.startswith(IMPORT_ORIGIN)


class Responder:
    """Turns the signals of a batch into an outcome."""

    def __init__(
        self, store: Store, policy: Policy, rails: GuardRails, clock: Callable[[], Micros], *, blast_radius: int
    ) -> None:
        self._store = store
        self._policy = policy
        self._rails = rails
        self._clock = clock
        self._blast_radius = blast_radius
        self.forget()

    def forget(self) -> None:
        """Remember nothing of what was asked and joined before."""
        self._settled: dict[tuple[object, ...], None] = {}
        self.joiner = Joiner(self._store)

    def take_policy(self, policy: Policy) -> None:
        """Decide by another policy from the next signal on; what was decided stays."""
        self._policy = policy

    async def respond(self, runs: Sequence[Run], position: int) -> Outcome:
        """Return what the signals of these runs lead to; `position` is that of the last event judged."""
        outcome = Outcome(position=position)
        latest = {signal.id: signal for run in runs for signal in run.signals}
        outcome.signals = list(latest.values())
        incidents = await self.joiner.join(latest, outcome)
        for run in runs:
            await self._decide(run, incidents, outcome)
        await self._release_shared([event for run in runs for event in run.events], outcome)
        return outcome

    def written(self, runs: Sequence[Run], outcome: Outcome) -> None:
        """Remember that the outcome of these runs is durable, so that the policy is not asked the same again."""
        self.joiner.written(outcome)
        for run in runs:
            self._settled.update((_question(signal, run.effects), None) for signal in run.signals)
        while len(self._settled) > _SETTLED_KEPT:
            del self._settled[next(iter(self._settled))]

    async def verdict(self, signal: Signal) -> Decision | Declined:
        """Return what the policy says of a stored signal as things are now; nothing is done."""
        now = self._clock()
        subject = (signal.subject, signal.subject_type)
        stored = (await self._store.signals_of([subject])).get(subject, [])
        mine = next((incident_id for found, incident_id in stored if found.id == signal.id), None)
        incident = await self._store.incident(mine) if mine else None
        earlier = 0 if incident is None else earlier_incidents(stored, incident.id)
        incident = incident or incident_of([signal])
        crowd = _Crowd(self._store, self._blast_radius, now, imported=False)
        (case,) = await self._looked_up([_Case(signal, earlier, incident)], crowd)
        return self._weigh(case, await self._known(now), crowd)

    # --- decisions

    async def _decide(self, run: Run, incidents: Mapping[str, tuple[int, Incident]], outcome: Outcome) -> None:
        """Ask the policy about each signal that it has not seen as it is now: more of the same changes nothing."""
        fresh = [signal for signal in run.signals if _question(signal, run.effects) not in self._settled]
        if not fresh:
            return
        now = self._clock()
        known = await self._known(now)
        crowd = _Crowd(self._store, self._blast_radius, now, imported=run.imported)
        decisions = []
        for case in await self._looked_up([_Case(signal, *incidents[signal.id]) for signal in fresh], crowd):
            verdict = self._weigh(case, known, crowd)
            if isinstance(verdict, Decision):
                decisions.append(verdict)
                crowd.note(verdict)
            elif verdict.stopped is not None:
                outcome.refused.append(verdict.stopped)
                outcome.audit.append(_declined(verdict, case.signal, now))
            call = case.call
            if call is not None and known.suppressed(case.signal) is None and not crowd.full(call):
                decisions.append(call)
                crowd.note(call)
        decisions += crowd.overruns.values()
        await self._take(decisions, run.effects, now, outcome)

    async def _looked_up(self, cases: Sequence[_Case], crowd: _Crowd) -> Sequence[_Case]:
        """Return the cases with what the policy wants of each, and what must be known of it, asked for all at once."""
        wanted = []
        for case in cases:
            facts = Facts(earlier_incidents=case.earlier)
            case.first = decide(case.incident, case.signal, facts, self._policy, self._rails)
            case.call = escalate(case.incident, case.signal, self._policy)
            wanted += [each for each in (case.first, case.call) if isinstance(each, Decision)]
        await crowd.look_up(wanted)
        acting = [case for case in cases if isinstance(case.first, Decision)]
        for case, users in zip(acting, await self._users_behind([case.signal for case in acting]), strict=True):
            case.users_behind = users
        return cases

    def _weigh(self, case: _Case, known: _Known, crowd: _Crowd) -> Decision | Declined:
        """Return what the policy says when it knows all."""
        first = case.first
        if not isinstance(first, Decision):
            assert first is not None, "looked up"
            return first  # none of the facts that follow makes the policy want more
        facts = Facts(
            earlier_incidents=case.earlier,
            users_behind=case.users_behind,
            suppressed=known.suppressed(case.signal),
            held=known.held(first),
            crowded=crowd.full(first),
        )
        return decide(case.incident, case.signal, facts, self._policy, self._rails)

    async def _known(self, now: Micros) -> _Known:
        return _Known(await self._store.undone_since(now - _DAY), await self._store.suppressions(now))

    async def _users_behind(self, signals: Iterable[Signal]) -> list[int]:
        """Return how many people signed in from the address of each signal, as far as that matters; else 0."""
        mine = list(signals)
        asked = [(s.subject, s.first - _DAY, s.last + _DAY) for s in mine if s.subject_type is SubjectType.IP]
        found = iter(await self._store.users_behind(asked, SHARED_BY_USERS))
        return [next(found) if signal.subject_type is SubjectType.IP else 0 for signal in mine]

    async def _take(self, decisions: Sequence[Decision], effects: bool, now: Micros, outcome: Outcome) -> None:
        """Turn decisions into actions, one for each key, which takes effect if any of its decisions does."""
        present = {action.key: action for action in await self._store.actions_by_key(d.key for d in decisions)}
        present |= {action.key: action for action in outcome.actions}
        for decision in decisions:
            known = present.get(decision.key)
            if known and (known.effective or not (effects and decision.effective)):
                continue
            action = _action(decision, now, effects=effects and decision.effective)
            present[decision.key] = action
            outcome.put(action)
            operation = "create" if action.effective else "would_create"
            details = {"action": action.id, "rule": decision.rule, "signal": decision.signal_id}
            outcome.audit.append(_entry(action, operation, now, details))

    # --- shared addresses

    async def _release_shared(self, events: Iterable[StoredEvent], outcome: Outcome) -> None:
        """
        Turn blocks into rate limits where logins show that an address is shared.

        The proof can come after the block: out of order, or from a log whose service does not ask us. The rule that a
        shared address is never blocked (decisions, D3) must not depend on which came first.
        """
        addresses = {event.event.ip_address for event in events if _is_login(event)} - {None}
        if not addresses:
            return
        stored = await self._store.automatic_blocks([address for address in addresses if address])
        fresh = [a for a in outcome.actions if a.auto and a.target in addresses and a.status is ActionStatus.ACTIVE]
        blocks = {action.id: action for action in [*stored, *fresh]}
        if not blocks:
            return
        signals = {s.id: s for s in await self._store.signals_by_id(a.signal_id or "" for a in blocks.values())}
        signals |= {signal.id: signal for signal in outcome.signals}
        now = self._clock()
        known = await self._known(now)
        crowd = _Crowd(self._store, self._blast_radius, now, imported=True)
        reasons = [signals[action.signal_id or ""] for action in blocks.values()]
        users_behind = await self._users_behind(reasons)
        for action, signal, users in zip(blocks.values(), reasons, users_behind, strict=True):
            if users < SHARED_BY_USERS:
                continue
            outcome.put(ended(action, ActionStatus.REVOKED, now, SYSTEM))
            reason = {"action": action.id, "reason": "several people log in from this address"}
            outcome.audit.append(_entry(action, "revoke", now, reason))
            (case,) = await self._looked_up([_Case(signal, 0, incident_of([signal]))], crowd)
            verdict = self._weigh(case, known, crowd)
            if isinstance(verdict, Decision):
                decided = msgspec.structs.replace(verdict, incident_id=action.incident_id)
                await self._take([decided], action.effective, now, outcome)


class _Case(msgspec.Struct):
    """A signal that the policy is asked about."""

    signal: Signal
    earlier: int
    """How many incidents its subject had before this one."""
    incident: Incident
    first: Decision | Declined | None = None
    """What the policy wants before it knows more."""
    call: Decision | None = None
    """Whom it wants to call."""
    users_behind: int = 0


class _Known:
    """What people have said lately."""

    def __init__(self, undone: Iterable[Action], suppressions: Iterable[Suppression]) -> None:
        self._undone = {
            (parse_target(action.action_type, action.target), action.rule) for action in undone if action.rule
        }
        self._suppressed = {(said.rule, said.subject, said.subject_type): said.reason for said in suppressions}

    def held(self, decision: Decision) -> bool:
        """Whether somebody undid an action of this rule on this target: held against the same rule (D7)."""
        return (parse_target(decision.action, decision.target), decision.rule) in self._undone

    def suppressed(self, signal: Signal) -> str | None:
        """Return why somebody said that the rule is wrong about this subject."""
        return self._suppressed.get((signal.rule, signal.subject, signal.subject_type))


class _Crowd:
    """
    How often each rule of the policy has taken each action in the last minute: the blast radius.

    A minute of our clock for what is live, whose time its sender chooses; of the log's for an import.
    """

    def __init__(self, store: Store, limit: int, now: Micros, *, imported: bool) -> None:
        self._store = store
        self._limit = limit
        self._now = now
        self._imported = imported
        self._fresh: dict[tuple[ActionType, str], set[str]] = {}
        self._stored: dict[tuple[ActionType, str, Micros], set[str]] = {}
        self.overruns: dict[str, Decision] = {}
        """By key, what tells people of each rule that was found to have acted often enough."""

    async def look_up(self, decisions: Iterable[Decision]) -> None:
        """Ask the store about the minutes before these decisions; it stays the same while a batch is decided."""
        asked = list(dict.fromkeys(minute for each in decisions if (minute := self._minute(each)) not in self._stored))
        minutes = [(action, rule, end - _MINUTE, end) for action, rule, end in asked]
        self._stored |= zip(asked, await self._store.actions_taken(minutes, event_time=self._imported), strict=True)

    def full(self, decision: Decision) -> bool:
        """Whether the rule of a decision looked up has acted often enough without it; then people are told, too."""
        taken = self._fresh.get((decision.action, decision.rule), set()) | self._stored[self._minute(decision)]
        if len(taken - {decision.key}) < self._limit:
            return False
        told = overrun(decision)
        self.overruns.setdefault(told.key, told)
        return True

    def _minute(self, decision: Decision) -> tuple[ActionType, str, Micros]:
        return decision.action, decision.rule, decision.at if self._imported else self._now

    def note(self, decision: Decision) -> None:
        """Count a decision of this batch."""
        self._fresh.setdefault((decision.action, decision.rule), set()).add(decision.key)


def _question(signal: Signal, effects: bool) -> tuple[object, ...]:
    """What the policy looks at that can still change for a signal."""
    return (signal.id, signal.severity, signal.may_act, effects)


def _is_login(event: StoredEvent) -> bool:
    return event.event.event_type is EventType.AUTHENTICATION and event.event.details.get("success") is True


def _action(decision: Decision, now: Micros, *, effects: bool) -> Action:
    """Return the action of a decision; its time counts from now, or in event time where it takes no effect."""
    start = now if effects else decision.at
    seconds = decision.duration_seconds
    return Action(
        id=f"act-{decision.key[:24]}",
        key=decision.key,
        action_type=decision.action,
        target=decision.target,
        reason=decision.reason,
        evidence=decision.evidence,
        severity=decision.severity,
        status=ActionStatus.ACTIVE,
        created_at=start,
        expiration=None if seconds is None else start + round(seconds * 1_000_000),
        auto=True,
        created_by=SYSTEM,
        rule=decision.rule,
        signal_id=decision.signal_id,
        incident_id=decision.incident_id,
        decided_at=decision.at,
        effective=effects,
    )


def _entry(action: Action, operation: str, now: Micros, details: dict[str, str]) -> AuditEntry:
    name = f"{action.action_type}.{operation}"
    return AuditEntry(at=now, actor=SYSTEM, operation=name, target=action.target, details=details)


def _declined(declined: Declined, signal: Signal, now: Micros) -> AuditEntry:
    """Say that a rule of the policy would have acted, and what stopped it."""
    details = {"signal": signal.id, "reason": declined.reason}
    operation = f"{declined.stopped}.refused"
    return AuditEntry(at=now, actor=SYSTEM, operation=operation, target=signal.subject, details=details)
