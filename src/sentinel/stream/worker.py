"""
The worker: accepted events -> signals -> incidents -> decisions -> store -> board, in order of acceptance.

Everything it writes is an upsert by an id that the events alone determine, so judging the same events again after a
crash changes nothing. The position is written with the outcome; where there is none, it is written now and then,
because a restart that repeats some events costs time, not truth.

The engine's windows are a cache over the event store: before a batch is judged, `_warm` replays what its windows reach
back to. A restart, an eviction and an import of old logs are the same case.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from sentinel.detection import Engine
from sentinel.detection.incidents import incidents_of
from sentinel.errors import OutsideError
from sentinel.model import (
    ActionStatus,
    Decision,
    EventType,
    Incident,
    Micros,
    Signal,
    StoredEvent,
    SubjectType,
)
from sentinel.observability import Log, Metrics
from sentinel.response.guardrails import GuardRails
from sentinel.response.policy import SHARED_BY_USERS, Declined, Facts, Policy, decide
from sentinel.storage import SYSTEM, Action, AuditEntry, Outcome, Store
from sentinel.stream.board import Board, ended

__all__ = ["Touched", "Worker"]

_BATCH = 500  # events judged between two turns of the event loop: about 10 ms
_DAY: Micros = 24 * 3600 * 1_000_000
_POSITION_EVERY = 5_000  # events without an outcome after which the position is written all the same
_FORGET_EVERY: Micros = 60 * 1_000_000
_RETAINED_LIMIT = 2_000_000  # window entries; beyond it old ones go, and come back from the store when needed
_RETRY_SECONDS = 1.0
_SETTLED_KEPT = 100_000  # signals, as they were when the policy was asked about them


class Touched(msgspec.Struct):
    """What processing the events of one origin has created or changed."""

    signals: set[str] = msgspec.field(default_factory=set)
    actions: set[str] = msgspec.field(default_factory=set)


class Worker:
    """Judges events in order of acceptance, one batch at a time."""

    def __init__(
        self,
        store: Store,
        board: Board,
        engine: Engine,
        policy: Policy,
        rails: GuardRails,
        *,
        clock: Callable[[], Micros],
        lateness: Micros,
        metrics: Metrics,
        log: Log,
        on_lost: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._board = board
        self._engine = engine
        self._policy = policy
        self._rails = rails
        self._clock = clock
        self._lateness = lateness
        self._metrics = metrics
        self._log = log
        self._on_lost = on_lost
        self._recent: deque[StoredEvent] = deque(maxlen=50_000)
        self._more = asyncio.Event()
        self._moved = asyncio.Condition()
        self._written = self.position = store.processed_seq
        self._forgot_at: Micros = 0
        self._settled: dict[tuple[object, ...], None] = {}
        self._settling: list[tuple[object, ...]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.followed: dict[str, Touched] = {}
        """Origins (imports) for which what they touch is kept."""
        self.failing: str | None = None
        """Why the last batch could not be written, while it can't."""

    # --- running

    def start(self) -> None:
        """Begin to judge accepted events and to end actions whose time is over."""
        self._tasks = [
            asyncio.create_task(self._judge_forever(), name="worker"),
            asyncio.create_task(self._expire_forever(), name="expiry"),
        ]

    async def stop(self) -> None:
        """End after the batch in hand; what is left is judged at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.failing is None and self.position > self._written:
            await self._store.apply(Outcome(position=self.position))

    @property
    def alive(self) -> bool:
        """Whether its tasks run."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    def offer(self, events: Iterable[StoredEvent]) -> None:
        """Hand over events that were just made durable; what does not fit is read from the store."""
        self._recent.extend(events)
        self._more.set()

    async def drained(self, seq: int) -> None:
        """Return once every event up to `seq` has been judged and its outcome is durable."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.position >= seq)

    async def _judge_forever(self) -> None:
        while True:
            batch = await self._next()
            if not batch:
                self._more.clear()
                if self.position < self._store.accepted_seq:
                    continue
                await self._more.wait()
                continue
            outcome = await self._persevere(lambda batch=batch: self._judge(batch))  # type: ignore[misc]
            await self._persevere(lambda outcome=outcome: self._write(outcome))  # type: ignore[misc]
            self.position = batch[-1].seq
            self._observe(batch)
            async with self._moved:
                self._moved.notify_all()
            self._forget_when_due(batch)
            await asyncio.sleep(0)

    async def _persevere(self, step: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Repeat a step until the store lets it through: an accepted event is never given up."""
        while True:
            try:
                result = await step()
            except OutsideError as err:
                if not err.retryable:
                    self._on_lost(err)
                    raise
                self.failing = str(err)
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as err:  # unknown: stop the process rather than skip what was accepted
                self._on_lost(err)
                raise
            else:
                self.failing = None
                return result

    async def _next(self) -> list[StoredEvent]:
        wanted = self.position + 1
        while self._recent and self._recent[0].seq < wanted:
            self._recent.popleft()
        if self._recent and self._recent[0].seq == wanted:
            return [self._recent.popleft() for _ in range(min(_BATCH, len(self._recent)))]
        if self.position < self._store.accepted_seq:
            return await self._store.events_after(self.position, _BATCH)
        return []

    # --- judging

    async def _judge(self, batch: Sequence[StoredEvent]) -> Outcome:
        outcome = Outcome(position=batch[-1].seq)
        self._settling.clear()
        timely = [event for event in batch if not event.late]
        if timely:
            await self._warm(timely, batch[0].seq - 1)
        for origin, events in groupby(timely, key=attrgetter("origin")):
            run = list(events)
            before = list(outcome.actions)
            signals = self._detect(run, outcome)
            outcome.signals += signals
            await self._respond(signals, run[0].effects, outcome)
            await self._release_shared(run, outcome)
            if touched := self.followed.get(origin):
                touched.signals.update(signal.id for signal in signals)
                touched.actions.update(action.id for action in outcome.actions if action not in before)
        return outcome

    async def _warm(self, events: Sequence[StoredEvent], upto: int) -> None:
        start = self._engine.needs(events)
        end = self._engine.warm_from
        if start >= end:
            return
        async for chunk in self._store.history(start, end, upto):
            self._engine.warm(chunk, end)
            await asyncio.sleep(0)
        self._engine.warm((), start)

    def _detect(self, events: list[StoredEvent], outcome: Outcome) -> list[Signal]:
        try:
            return self._engine.add(events)
        except Exception as err:  # noqa: BLE001 - an event that breaks a rule must not stop the others
            if len(events) == 1:
                outcome.dead.append((events[0].seq, type(err).__name__))
                self._metrics.dead_letters.inc()
                self._log.error(
                    "event can't be judged, kept as a dead letter", seq=events[0].seq, error=type(err).__name__
                )
                return []
        by_id: dict[str, Signal] = {}
        for event in events:
            by_id.update((signal.id, signal) for signal in self._detect([event], outcome))
        return list(by_id.values())

    async def _respond(self, signals: list[Signal], effects: bool, outcome: Outcome) -> None:
        by_subject: dict[tuple[str, SubjectType], dict[str, Signal]] = {}
        for signal in signals:
            by_subject.setdefault((signal.subject, signal.subject_type), {})[signal.id] = signal
        for (subject, subject_type), fresh in by_subject.items():
            known = {signal.id: signal for signal, _ in await self._store.signals_of(subject, subject_type)}
            for signal in fresh.values():
                if signal.id not in known:
                    self._announce(signal)
            # A batch may hold several runs about one subject: those before this one are not in the store yet.
            earlier = {s.id: s for s in outcome.signals if (s.subject, s.subject_type) == (subject, subject_type)}
            incidents = incidents_of((known | earlier | fresh).values())
            for nth, incident in enumerate(incidents):
                mine = [fresh[signal_id] for signal_id in incident.signals if signal_id in fresh]
                if not mine:
                    continue
                outcome.incidents.append(incident)
                for signal in mine:
                    outcome.incident_of[signal.id] = incident.id
                    await self._decide(signal, incident, nth, effects, outcome)

    async def _decide(self, signal: Signal, incident: Incident, earlier: int, effects: bool, outcome: Outcome) -> None:
        question = (signal.id, signal.severity, signal.may_act, effects)
        if question in self._settled:
            return  # an attack goes on: more of the same events change nothing that the policy looks at
        self._settling.append(question)
        await self._consult(signal, incident, earlier, effects, outcome)

    async def _consult(self, signal: Signal, incident: Incident, earlier: int, effects: bool, outcome: Outcome) -> None:
        """Ask the policy about a signal and do what it says."""
        facts = Facts(users_behind=await self._users_behind(signal), earlier_incidents=earlier)
        decision = decide(incident, signal, facts, self._policy, self._rails)
        now = self._clock()
        if isinstance(decision, Decision) and await self._held(decision, now):
            decision = decide(incident, signal, msgspec.structs.replace(facts, held=True), self._policy, self._rails)
        if isinstance(decision, Declined):
            self._decline(decision, signal, now, outcome)
        else:
            await self._take(decision, effects, now, outcome)

    async def _held(self, decision: Decision, now: Micros) -> bool:
        """Whether somebody undid what this rule did to this target within a day (decisions, D7)."""
        undone = await self._store.undone_since([decision.target], now - _DAY)
        return any(action.rule == decision.rule for action in undone)

    async def _take(self, decision: Decision, effects: bool, now: Micros, outcome: Outcome) -> None:
        """Turn a decision into the one action of its key."""
        pending = next((action for action in outcome.actions if action.key == decision.key), None)
        present = pending or await self._store.action_by_key(decision.key)
        if present and (present.effective or not effects):
            return
        start = now if effects else decision.at
        seconds = decision.duration_seconds
        action = Action(
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
        if pending:
            outcome.actions.remove(pending)
        outcome.actions.append(action)
        outcome.audit.append(
            AuditEntry(
                at=now,
                actor=SYSTEM,
                operation=f"{action.action_type}.create" if effects else f"{action.action_type}.would_create",
                target=action.target,
                details={"action": action.id, "rule": decision.rule, "signal": decision.signal_id},
            )
        )

    def _decline(self, declined: Declined, signal: Signal, now: Micros, outcome: Outcome) -> None:
        """Say that a rule of the policy would have acted and what stopped it."""
        if declined.stopped is None:
            return
        details = {"signal": signal.id, "reason": declined.reason}
        operation = f"{declined.stopped}.refused"
        outcome.audit.append(
            AuditEntry(at=now, actor=SYSTEM, operation=operation, target=signal.subject, details=details)
        )
        self._metrics.refused.labels(action_type=declined.stopped).inc()

    async def _users_behind(self, signal: Signal) -> int:
        if signal.subject_type is not SubjectType.IP:
            return 0
        return await self._store.users_behind(signal.subject, signal.first - _DAY, signal.last + _DAY, SHARED_BY_USERS)

    async def _release_shared(self, events: Sequence[StoredEvent], outcome: Outcome) -> None:
        """
        Turn blocks into rate limits where logins show that an address is shared.

        The proof can come after the block: out of order, or from a log whose service does not ask us. The rule that a
        shared address is never blocked (decisions, D3) must not depend on which came first.
        """
        addresses = {
            event.event.ip_address
            for event in events
            if event.event.event_type is EventType.AUTHENTICATION
            and event.event.details.get("success") is True
            and event.event.ip_address
        }
        if not addresses:
            return
        blocks = {action.id: action for action in await self._store.automatic_blocks(addresses)}
        blocks |= {
            a.id: a for a in outcome.actions if a.auto and a.target in addresses and a.status is ActionStatus.ACTIVE
        }
        signals = {
            signal.id: signal for signal in await self._store.signals_by_id(a.signal_id or "" for a in blocks.values())
        }
        signals |= {signal.id: signal for signal in outcome.signals}
        now = self._clock()
        for action in blocks.values():
            signal = signals.get(action.signal_id or "")
            if signal is None or await self._users_behind(signal) < SHARED_BY_USERS:
                continue
            outcome.actions = [other for other in outcome.actions if other.id != action.id]
            outcome.actions.append(ended(action, ActionStatus.REVOKED, now, SYSTEM))
            details = {"action": action.id, "reason": "several people log in from this address"}
            outcome.audit.append(
                AuditEntry(
                    at=now,
                    actor=SYSTEM,
                    operation=f"{action.action_type}.revoke",
                    target=action.target,
                    details=details,
                )
            )
            incidents = incidents_of([signal])
            await self._consult(signal, incidents[0], 0, action.effective, outcome)

    # --- writing

    async def _write(self, outcome: Outcome) -> Outcome:
        empty = not (outcome.signals or outcome.actions or outcome.audit or outcome.dead)
        if empty and outcome.position - self._written < _POSITION_EVERY:
            return outcome
        actions = await self._store.apply(outcome)
        self._written = outcome.position
        self._settled.update(dict.fromkeys(self._settling))
        while len(self._settled) > _SETTLED_KEPT:
            del self._settled[next(iter(self._settled))]
        await self._board.publish(actions)
        self._tell(actions)
        return outcome

    def _announce(self, signal: Signal) -> None:
        threat = signal.threat_type.value if signal.threat_type else "unnamed"
        self._log.warning(
            f"THREAT DETECTED: {threat} - {signal.title}", signal=signal.id, severity=signal.severity.value
        )
        self._metrics.threats.labels(threat_type=threat, severity=signal.severity.value, source="rule").inc()

    def _tell(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if not action.effective:
                continue
            auto = "true" if action.auto else "false"
            self._metrics.actions.labels(action_type=action.action_type, status=action.status, auto=auto).inc()
            if action.status is ActionStatus.ACTIVE:
                self._log.warning(f"Security action {action.action_type} executed on {action.target}", action=action.id)
            else:
                self._log.info(
                    f"Security action {action.action_type} on {action.target} {action.status}", action=action.id
                )

    def _observe(self, batch: Sequence[StoredEvent]) -> None:
        now = self._clock()
        live = [event for event in batch if event.received_at != event.at]  # an import's times tell nothing about us
        if live:
            self._metrics.decision_seconds.observe(max(0.0, (now - live[0].received_at) / 1_000_000))

    def _forget_when_due(self, batch: Sequence[StoredEvent]) -> None:
        """Drop windows that no live event can touch any more. What is needed again comes back from the store."""
        now = self._clock()
        if self._engine.retained > _RETAINED_LIMIT:
            self._engine.forget(self._engine.needs(batch))
        elif not self.followed and now - self._forgot_at > _FORGET_EVERY:
            self._forgot_at = now
            horizon = now - self._lateness - self._engine.reach
            if horizon > self._engine.warm_from:
                self._engine.forget(horizon)

    # --- actions that time or people end

    async def revoke(self, actions: Sequence[Action], by: str) -> list[Action]:
        """End actions at a person's word; returns them as stored."""
        now = self._clock()
        outcome = Outcome(position=0, actions=[ended(action, ActionStatus.REVOKED, now, by) for action in actions])
        outcome.audit = [
            AuditEntry(at=now, actor=by, operation=f"{a.action_type}.revoke", target=a.target, details={"action": a.id})
            for a in actions
        ]
        return await self._carry_out(outcome)

    async def create(self, action: Action, by: str) -> Action:
        """Put a person's action in force, or change one that is; returns it as stored."""
        entry = AuditEntry(
            at=self._clock(),
            actor=by,
            operation=f"{action.action_type}.create",
            target=action.target,
            details={"action": action.id, "reason": action.reason},
        )
        return (await self._carry_out(Outcome(position=0, actions=[action], audit=[entry])))[0]

    async def _carry_out(self, outcome: Outcome) -> list[Action]:
        stored = await self._store.apply(outcome)
        await self._board.publish(stored)
        self._tell(stored)
        return stored

    async def _expire_forever(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = self._clock()
            try:
                over = [a for a in await self._store.actions_run_out(now) if a.effective]
                if over:
                    outcome = Outcome(position=0, actions=[ended(a, ActionStatus.EXPIRED, now, SYSTEM) for a in over])
                    await self._carry_out(outcome)
            except OutsideError as err:
                if not err.retryable:
                    self._on_lost(err)
                    raise
                # Expiry is an absolute time that every enforcement point knows: the row can wait for room.
