"""
What people order and what time ends: actions put in force and ended, on whichever node somebody asks for it.

What is in force is read, and then changed. Between the two nobody else may change it: on this node there is a lock, and
where other nodes share the database, a change that was overtaken is worked out again from what is there now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from sentinel.model import ActionStatus, ActionType, Micros, Signal
from sentinel.observability import Log, Metrics
from sentinel.storage import SYSTEM, Action, AuditEntry, Outcome, Overtaken, Store
from sentinel.stream.board import Board, ended

__all__ = ["Orders"]

T = TypeVar("T")

_TRIES = 50  # each takes a few milliseconds, and a node that judges changes something some ten times a second
_TOLD = "escalate"  # a level of people was told: the action's state is what it was


class Orders:
    """Changes what is in force, one change at a time."""

    def __init__(self, store: Store, board: Board, *, clock: Callable[[], Micros], metrics: Metrics, log: Log) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self.acting = asyncio.Lock()
        """Held from reading what is in force to having changed it."""

    async def alone(self, step: Callable[[int], Awaitable[T]]) -> T:
        """
        Return what a step gives that reads what is in force and changes it, while nobody else does.

        Args:
            step: Gets the turn that its outcome must name; it is taken again where another node was faster.

        Raises:
            Overtaken: Other nodes were faster again and again.
        """
        async with self.acting:
            for _ in range(_TRIES):
                try:
                    return await step(self._store.turn)
                except Overtaken:
                    await self._store.look_around()
        raise Overtaken

    async def order(self, action: Action, by: str) -> Action:
        """
        Put a person's action in force; returns it as stored.

        Ordered again for the same target, it is the same row, with the longer of the two times (decisions, D4).
        """

        async def ordered(turn: int) -> Action:
            wanted = action
            same = await self._in_force(action.action_type, action.target)
            if same:
                present = max(same, key=Action.ends)
                wanted = msgspec.structs.replace(present, expiration=max(present, action, key=Action.ends).expiration)
            reason = {"action": wanted.id, "reason": wanted.reason}
            return (await self.carry_out([wanted], "create", by, reason, Outcome(position=0, turn=turn)))[0]

        return await self.alone(ordered)

    async def end(self, action_type: ActionType, target: str, by: str) -> list[Action]:
        """End everything of a type that is in force on a target, at a person's word; returns what has ended."""

        async def ends(turn: int) -> list[Action]:
            over = await self._in_force(action_type, target)
            now = self._clock()
            revoked = [ended(action, ActionStatus.REVOKED, now, by) for action in over]
            return await self.carry_out(revoked, "revoke", by, said=Outcome(position=0, turn=turn)) if revoked else []

        return await self.alone(ends)

    async def expire(self) -> None:
        """End what time has ended."""

        async def expired(turn: int) -> None:
            now = self._clock()
            over = [ended(a, ActionStatus.EXPIRED, now, SYSTEM) for a in await self._store.actions_run_out(now)]
            if over:
                said = Outcome(position=0, turn=turn, judging=True)
                await self.carry_out(over, "expire", SYSTEM, said=said)

        await self.alone(expired)

    async def _in_force(self, action_type: ActionType, target: str) -> list[Action]:
        actions = await self._store.actions_in_force(self._clock())
        return [action for action in actions if (action.action_type, action.target) == (action_type, target)]

    async def carry_out(
        self,
        actions: Sequence[Action],
        operation: str,
        by: str,
        details: dict[str, str] | None = None,
        said: Outcome | None = None,
    ) -> list[Action]:
        """
        Make changed actions durable, then effective; returns them as stored. Whoever calls does so in a step `alone`.

        Args:
            actions: As they are to be.
            operation: What was done, for the audit log; `escalate` changes no state, so it is not counted.
            by: Who did it.
            details: For the audit log; by default the action's id.
            said: What else is to be written with them, and the turn.
        """
        outcome = said or Outcome(position=0)
        now = self._clock()
        outcome.actions = list(actions)
        outcome.audit += [
            AuditEntry(
                at=now,
                actor=by,
                operation=f"{action.action_type}.{operation}",
                target=action.target,
                details=details or {"action": action.id},
            )
            for action in actions
        ]
        stored = await self._store.apply(outcome)
        await self._board.publish(stored)
        if operation != _TOLD:
            self.tell((), stored)
        return stored

    def tell(self, signals: Iterable[Signal], actions: Iterable[Action]) -> None:
        """Log and count what is new."""
        for signal in signals:
            threat = signal.threat_type.value if signal.threat_type else "unnamed"
            severity = signal.severity.value
            self._log.warning(f"THREAT DETECTED: {threat} - {signal.title}", signal=signal.id, severity=severity)
            self._metrics.threats.labels(threat_type=threat, severity=severity, source="rule").inc()
        for action in actions:
            if not action.effective:
                continue
            auto = "true" if action.auto else "false"
            self._metrics.actions.labels(action_type=action.action_type, status=action.status, auto=auto).inc()
            state = "executed" if action.status is ActionStatus.ACTIVE else action.status
            self._log.warning(f"Security action {action.action_type} {state} on {action.target}", action=action.id)
