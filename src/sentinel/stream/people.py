"""What people say of incidents, actions and scans, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sentinel.model import ActionStatus, ActionType, Incident, IncidentStatus, Micros, Signal
from sentinel.observability import Metrics
from sentinel.storage import Action, AuditEntry, Feedback, Note, Outcome, Resolution, Store, Suppression, Verdict
from sentinel.stream.board import ended
from sentinel.stream.orders import Orders

__all__ = ["People"]

_HOUR: Micros = 3_600 * 1_000_000
_PRECISION_OVER: Micros = 30 * 24 * _HOUR


class People:
    """Writes down what people say, and does what it asks for: all in one transaction, so that neither stands alone."""

    def __init__(self, store: Store, orders: Orders, metrics: Metrics, clock: Callable[[], Micros]) -> None:
        self._store = store
        self._orders = orders
        self._metrics = metrics
        self._clock = clock

    async def load(self) -> None:
        """Show what was said before this start."""
        said = await self._store.feedback_since(self._clock() - _PRECISION_OVER)
        right, wrong = said.get(Verdict.TRUE_POSITIVE, 0), said.get(Verdict.FALSE_POSITIVE, 0)
        if right + wrong:
            self._metrics.precision.set(right / (right + wrong))

    async def follow(
        self, incident_id: str, status: IncidentStatus | None, *, by: str, note: str, assignee: str | None, taker: str
    ) -> Incident | None:
        """
        Acknowledge or close an incident, so that nobody is woken about it any more, or only note something.

        Args:
            incident_id: Which.
            status: As it is to be; None when something is only noted.
            by: Who says so.
            note: What they say; it stays with the incident, and goes into the audit log.
            assignee: Who has it from now on; None leaves that as it is.
            taker: Who has it when it is acknowledged and nobody else has.

        Returns:
            The incident as it was; None when there is none, which may have become part of another a moment ago.
        """

        async def followed(turn: int) -> Incident | None:
            incident = await self._store.incident(incident_id)
            if incident is None:
                return None
            takes_on = status is IncidentStatus.ACKNOWLEDGED and incident.assignee is None
            has_it = assignee or taker if takes_on else assignee
            now = self._clock()
            what = "noted" if status is None else status.value
            calls = [] if status is None else await self._in_force([incident])
            calls = [action for action in calls if action.action_type is ActionType.ALERT_ESCALATION]
            details = {"note": note} | ({} if has_it is None else {"assignee": has_it})
            entry = AuditEntry(at=now, actor=by, operation=f"incident.{what}", target=incident.id, details=details)
            said = Outcome(position=0, audit=[entry], turn=turn)
            said.status_of = {} if status is None else {incident.id: status}
            said.assignee_of = {} if has_it is None else {incident.id: has_it}
            said.notes = [Note(incident_id=incident.id, at=now, by=by, what=what, note=note)]
            await self._orders.carry_out(_ended(calls, now, by), "revoke", by, said=said)
            return incident

        return await self._orders.alone(followed)  # a batch that joins it to another waits until this is done

    async def resolve(self, *resolutions: Resolution) -> None:
        """Keep somebody's word that violations are dealt with: from now on they do not count against health."""
        entries = [
            AuditEntry(
                at=resolution.at,
                actor=resolution.by,
                operation="violation.resolve",
                target=resolution.violation_id,
                details={"notes": resolution.notes},
            )
            for resolution in resolutions
        ]
        await self._store.apply(Outcome(position=0, resolutions=list(resolutions), audit=entries))

    async def resolve_claims(self, violation_ids: Sequence[str], *, by: str) -> None:
        """Resolve those of these violations that rest on what `by` claimed, and now takes back."""
        now = self._clock()
        still = await self._store.open_claims(violation_ids, by)
        said = [Resolution(violation_id=id_, notes="its sender says that it is over", at=now, by=by) for id_ in still]
        if said:
            await self.resolve(*said)

    async def judge(
        self, feedback: Feedback, actions: Sequence[Action], suppress_hours: float | None
    ) -> list[str] | None:
        """
        Keep a verdict; a false positive undoes the actions that it is about, and closes the incident.

        Args:
            feedback: What was said, by whom.
            actions: That it is about, beside those of the incident that it may be about.
            suppress_hours: For how long the detection rules are to do nothing about the subjects; None = not at all.

        Returns:
            Ids of the actions that were undone; None when the incident is not there.
        """

        async def judged(turn: int) -> tuple[list[Action], Feedback | None] | None:
            found = await self._store.incident(feedback.about) if feedback.kind == "incident" else None
            if feedback.kind == "incident" and found is None:
                return None
            incidents = [] if found is None else [found]
            before = await self._store.feedback_on(feedback.kind, feedback.about)
            concerned = {action.id: action for action in [*actions, *await self._in_force(incidents)]}
            said = Outcome(position=0, feedback=[feedback], audit=[_entry(feedback)], turn=turn)
            over: list[Action] = []
            if feedback.verdict is Verdict.FALSE_POSITIVE:
                over = [action for action in concerned.values() if _holds(action, feedback.at)]
                said.status_of = {incident.id: IncidentStatus.CLOSED for incident in incidents}
            if suppress_hours is not None:
                signals = await self._signals(incidents, concerned.values())
                said.suppressions = list(_suppressions(signals, feedback, suppress_hours))
            await self._orders.carry_out(_ended(over, feedback.at, feedback.by), "revoke", feedback.by, said=said)
            return over, before

        done = await self._orders.alone(judged)
        if done is None:
            return None
        over, before = done
        await self.load()
        if feedback.kind == "scan" and feedback.verdict is Verdict.FALSE_POSITIVE:
            self._count_scan(before)
        return [action.id for action in over]

    def _count_scan(self, before: Feedback | None) -> None:
        if before is None or before.verdict is not Verdict.FALSE_POSITIVE:
            self._metrics.scans.count_false_positive()

    async def _in_force(self, incidents: Iterable[Incident]) -> list[Action]:
        now = self._clock()
        return [a for incident in incidents for a in await self._store.actions_of(incident.id) if _holds(a, now)]

    async def _signals(self, incidents: Iterable[Incident], actions: Iterable[Action]) -> list[Signal]:
        members = await self._store.members_of(incident.id for incident in incidents)
        ids = {signal_id for mine in members.values() for signal_id in mine}
        return await self._store.signals_by_id(ids | {action.signal_id for action in actions if action.signal_id})


def _holds(action: Action, now: Micros) -> bool:
    return action.status is ActionStatus.ACTIVE and action.effective and action.ends() > now


def _ended(actions: Iterable[Action], now: Micros, by: str) -> list[Action]:
    return [ended(action, ActionStatus.REVOKED, now, by) for action in actions]


def _entry(feedback: Feedback) -> AuditEntry:
    details = {"kind": feedback.kind, "verdict": feedback.verdict.value, "reason": feedback.reason}
    return AuditEntry(
        at=feedback.at, actor=feedback.by, operation="feedback.create", target=feedback.about, details=details
    )


def _suppressions(signals: Iterable[Signal], feedback: Feedback, hours: float) -> Iterable[Suppression]:
    for rule, subject, subject_type in sorted({(s.rule, s.subject, s.subject_type) for s in signals}):
        yield Suppression(
            rule=rule,
            subject=subject,
            subject_type=subject_type,
            until=feedback.at + round(hours * _HOUR),
            reason=feedback.reason,
            at=feedback.at,
            by=feedback.by,
        )
