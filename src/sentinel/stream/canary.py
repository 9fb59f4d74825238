"""
The canary: on schedule, an event of our own goes the way that every event goes, and whether it arrived is counted.

It tells an outage that nobody reports because nothing comes through any more.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from sentinel.errors import OutsideError
from sentinel.model import Event, EventType, Micros, Severity
from sentinel.observability import Metrics
from sentinel.stream.intake import Intake, Source
from sentinel.stream.worker import Worker

__all__ = ["SERVICE", "Canary"]

SERVICE = "sentinel.canary"
"""Name of the service that the canary's events come from."""

_EVERY_SECONDS = 60.0
_WITHIN_SECONDS = 5.0
_SOURCE = Source(origin=SERVICE, max_severity=Severity.LOW, may_act=False, lateness=None)


class Canary:
    """Probes the way of an event; `run_forever` is its task."""

    def __init__(
        self,
        intake: Intake,
        worker: Worker,
        *,
        ready: Callable[[], str | None],
        clock: Callable[[], Micros],
        metrics: Metrics,
    ) -> None:
        self._intake = intake
        self._worker = worker
        self._ready = ready
        self._clock = clock
        self._probes = metrics.canary

    async def run_forever(self) -> None:
        """Probe once a minute."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.probe()

    async def probe(self) -> None:
        """Probe once, and count what came of it."""
        self._count("ready", ok=self._ready() is None)
        try:
            async with asyncio.timeout(_WITHIN_SECONDS):
                receipt = await self._intake.accept([(1, self._event())], _SOURCE)
                await self._worker.reached(receipt.accepted[-1].seq)
        except TimeoutError:
            self._count("event", ok=False)
        except OutsideError as err:
            if not err.retryable:
                raise
            self._count("event", ok=False)
        else:
            self._count("event", ok=True)

    def _count(self, probe: str, *, ok: bool) -> None:
        self._probes.labels(probe=probe, result="ok" if ok else "failed").inc()

    def _event(self) -> Event:
        return Event(
            event_id=f"canary-{uuid.uuid4().hex}",
            event_type=EventType.SYSTEM_HEALTH,
            severity=Severity.LOW,
            timestamp=datetime.fromtimestamp(self._clock() / 1_000_000, UTC),
            service_name=SERVICE,
            details={"component": "bus", "status": "success"},
        )
