"""
Incidents that people are called about go straight to Alertmanager too, for as long as the call is in force.

Prometheus needs a scrape and an evaluation to see that something is critical; this needs neither. Alertmanager forgets
an alert that is not repeated, so all that are in force are sent again every minute, and the end of each is sent once.
When it does not take a new one, the plan's backup channel gets that one instead, once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sentinel.errors import OutsideError
from sentinel.model import ActionType, Micros, iso
from sentinel.notify import Channel
from sentinel.observability import Log, Metrics
from sentinel.storage import Action, Store, StoreUnable
from sentinel.stream.deliver import deliver

__all__ = ["AlertmanagerPush"]

_LOOK_SECONDS = 2.0
_AGAIN: Micros = 60 * 1_000_000
_HOLDS: Micros = 4 * _AGAIN  # Alertmanager takes an alert as over when it is not repeated for so long
_SLICE = 500  # alerts in one request


class AlertmanagerPush:
    """
    Keeps Alertmanager informed; `run_forever` is its task.

    Args:
        store: Says which calls are in force.
        send: Hands alerts over, or raises `OutsideError`.
        backup: What is used when it does.
        clock: The service's.
        metrics: Counts what was sent, what failed, and what the backup got.
        log: Where a failure is told.
    """

    def __init__(
        self,
        store: Store,
        send: Callable[[Sequence[dict[str, Any]]], Awaitable[None]],
        backup: Channel,
        *,
        clock: Callable[[], Micros],
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._store = store
        self._send = send
        self._backup = backup
        self._clock = clock
        self._counts = metrics.pushes
        self._log = log
        self._known: dict[str, dict[str, Any]] = {}
        """By the action's id, the alerts that Alertmanager has taken and that are not over for it."""
        self._told: set[str] = set()
        """Actions in force that the backup channel has got."""
        self._sent_at: Micros = 0

    async def run_forever(self) -> None:
        """Look now and then; a store without room is tried again."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(StoreUnable):
                await self.step()

    async def step(self) -> None:
        """Send what is new, what is over, and once a minute everything."""
        now = self._clock()
        found = [a for a in await self._store.actions_in_force(now) if a.action_type is ActionType.ALERT_ESCALATION]
        calls = {action.id: self._alert_of(action) for action in found}
        self._told &= calls.keys()
        fresh, over = calls.keys() - self._known.keys(), self._known.keys() - calls.keys()
        if not (fresh or over or (calls and now - self._sent_at >= _AGAIN)):
            return
        due = [(key, calls[key] | {"endsAt": iso(now + _HOLDS)}) for key in sorted(calls, key=self._known.__contains__)]
        due += [(key, self._known[key] | {"endsAt": iso(now)}) for key in over]
        try:
            for start in range(0, len(due), _SLICE):
                part = due[start : start + _SLICE]
                await self._send([alert for _, alert in part])
                for key, _ in part:
                    self._known.pop(key, None)
                    if key in calls:
                        self._known[key] = calls[key]
        except OutsideError as err:
            self._counts.labels(result="failed").inc()
            await self._tell_backup({key: calls[key] for key in fresh - self._known.keys()}, str(err))
        else:
            self._counts.labels(result="sent").inc()
            self._sent_at = now

    def _alert_of(self, action: Action) -> dict[str, Any]:
        """Return the alert: by its labels Alertmanager knows it again, though the incident has another id meanwhile."""
        alert = _alert(action)
        known = self._known.get(action.id)
        return alert if known is None else alert | {"labels": known["labels"]}

    async def _tell_backup(self, calls: dict[str, dict[str, Any]], why: str) -> None:
        for key in calls.keys() - self._told:
            title = f"{calls[key]['labels']['severity'].upper()}: {calls[key]['annotations']['summary']}"
            message = f"{calls[key]['annotations']['description']}\nAlertmanager was not told: {why}."
            if await deliver(self._backup, title, message, f"{key}.alertmanager", self._log):
                self._told.add(key)
                self._counts.labels(result="backup").inc()


def _alert(action: Action) -> dict[str, Any]:
    """Return an alert in Alertmanager's form; the labels say nothing of a person, and tell our webhook whose it is."""
    incident = action.incident_id or action.target
    return {
        "labels": {
            "alertname": "SecurityIncident",
            "severity": action.severity.value,
            "category": "incident",
            "job": "sentinel",
            "incident": incident,
        },
        "annotations": {
            "summary": action.reason,
            "description": f"Look: sentinel incidents show {incident}. Take it on: sentinel incidents ack {incident}.",
        },
        "startsAt": iso(action.created_at),
    }
