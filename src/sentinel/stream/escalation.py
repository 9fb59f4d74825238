"""
Waking people: an escalation in force is told to one level after the other until somebody acknowledges the incident.

Which levels have been told is in the action itself (`evidence.level`), so a restart goes on where it was. Telling comes
before writing that it was told: a crash in between tells twice, with the same key, rather than never.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from sentinel.model import ActionType, Micros, iso
from sentinel.notify import Level, Plan
from sentinel.observability import Log, Metrics
from sentinel.storage import SYSTEM, Action, Outcome, Store, StoreUnable
from sentinel.stream.deliver import deliver
from sentinel.stream.orders import Orders

__all__ = ["Escalation"]

_LOOK_SECONDS = 2.0


class Escalation:
    """Follows the escalations in force; `run_forever` is its task."""

    def __init__(
        self, store: Store, orders: Orders, plan: Plan, *, clock: Callable[[], Micros], metrics: Metrics, log: Log
    ) -> None:
        self._store = store
        self._orders = orders
        self._plan = plan
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._looking = asyncio.Lock()

    async def run_forever(self) -> None:
        """Look now and then; a store without room is tried again."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(StoreUnable):
                await self.step()

    async def step(self) -> None:
        """Tell whoever is due about each escalation in force; two looks at once would tell them twice."""
        async with self._looking:
            now = self._clock()
            for action in await self._store.actions_in_force(now, ActionType.ALERT_ESCALATION):
                told = _told(action)
                due = self._plan.due((now - action.created_at) / 1_000_000)
                if due > told and await self._tell_levels(range(told, due), action):
                    await self._note(action, due)

    async def _tell_levels(self, numbers: range, action: Action) -> bool:
        """Return whether somebody was reached."""
        title, message = await self._message(action)
        reached = []
        for number in numbers:
            level = self._plan.levels[number]
            key = f"{action.id}.level-{number + 1}"
            reached.append(await self._tell(level, f"{title} [{level.name}]", message, key))
        return any(reached)

    async def _tell(self, level: Level, title: str, message: str, key: str) -> bool:
        took = [await deliver(channel, title, message, key, self._log) for channel in level.channels]
        if not any(took):
            took = [await deliver(self._plan.backup, title, message, key, self._log)]
        result = "told" if any(took) else "failed"
        self._metrics.escalations.labels(level=level.name, result=result).inc()
        return any(took)

    async def _message(self, action: Action) -> tuple[str, str]:
        """Return what people read: how bad, what, who, what was done about it, and what to do. Never scanned text."""
        incident_id = action.incident_id or action.target  # an incident is renamed when an earlier signal joins it
        title = f"{action.severity.value.upper()}: {action.reason}"
        done = [
            f"{other.action_type} on {other.target}, {other.status.value}"
            + (f" until {iso(other.expiration)}" if other.expiration else "")
            for other in await self._store.actions_of(incident_id)
            if other.id != action.id and other.effective
        ]
        lines = [
            f"Since {iso(action.decided_at or action.created_at)}.",
            f"Done: {'; '.join(done) or 'nothing was done automatically'}.",
            f"Look: sentinel incidents show {incident_id}",
            f"Take it on: sentinel incidents ack {incident_id}",
        ]
        return title, "\n".join(lines)

    async def _note(self, action: Action, level: int) -> None:
        async def noted(turn: int) -> None:
            [present] = await self._store.actions_by_id([action.id])
            if present.status is not action.status:
                return  # somebody acknowledged it meanwhile
            evidence = {**present.evidence, "level": level}
            changed = msgspec.structs.replace(present, evidence=evidence)
            said = Outcome(position=0, turn=turn, judging=True)
            await self._orders.carry_out([changed], "escalate", SYSTEM, {"level": str(level)}, said)

        await self._orders.alone(noted)


def _told(action: Action) -> int:
    level = action.evidence.get("level", 0)
    return level if isinstance(level, int) else 0
