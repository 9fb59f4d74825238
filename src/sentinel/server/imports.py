"""
Imports: a log that somebody sends in one go, with what it led to told at the end.

Nothing in an import is late unless it says so, decisions are computed in event time, and none takes effect unless the
import is told to act (decisions, A8 and C1).
"""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec

from sentinel.app import Monitor
from sentinel.detection.baseline.told import anomaly_row
from sentinel.ingest.events import Parsed
from sentinel.model import IMPORT_ORIGIN, ActionStatus, Micros, Severity, Signal, iso
from sentinel.server.bodies import parse_events, receipt_body, sent_events
from sentinel.server.judged import only_where_judged
from sentinel.server.problems import Problem
from sentinel.storage import Action
from sentinel.stream import Source
from sentinel.stream.worker import Touched

__all__ = ["ImportOrder", "Imports", "signal_row"]

_LIMIT = 16
_LONGEST_LATENESS = 315_360_000  # ten years in seconds
_IDLE: Micros = 3600 * 1_000_000
_AHEAD = 1.25  # as often as many events as are judged at once an import may be ahead: more would only fill the memory


class ImportOrder(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /imports takes."""

    act: bool = False
    lateness_seconds: Annotated[float, msgspec.Meta(ge=0, le=_LONGEST_LATENESS)] | None = None
    replay: bool = False
    """Believe the `received_at` of its events; late is then what the service would have found late."""
    final: bool = True
    """Nothing will follow: its end closes every window."""


class _Run(msgspec.Struct):
    source: Source
    touched: Touched
    used_at: Micros
    final: bool
    last_seq: int = 0


class Imports:
    """The imports under way. They live in memory: after a restart the log is sent again, which changes nothing."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._runs: dict[str, _Run] = {}

    def begin(self, order: ImportOrder) -> str:
        """Return the id of a new import."""
        only_where_judged(self._monitor)
        now = self._monitor.clock()
        for import_id in [import_id for import_id, run in self._runs.items() if now - run.used_at > _IDLE]:
            self._end(import_id)
        if len(self._runs) >= _LIMIT:
            raise Problem("overloaded", f"{_LIMIT} imports are under way", headers={"Retry-After": "60"})
        import_id = f"{IMPORT_ORIGIN}{uuid.uuid4().hex[:16]}"
        seconds = order.lateness_seconds
        if seconds is None and order.replay:
            seconds = self._monitor.settings.lateness
        source = Source(
            origin=import_id,
            max_severity=Severity.CRITICAL,
            may_act=True,
            effects=order.act,
            lateness=None if seconds is None else round(seconds * 1_000_000),
            live=False,
            replay=order.replay,
        )
        self._runs[import_id] = _Run(source, Touched(), now, order.final)
        self._monitor.worker.followed[import_id] = self._runs[import_id].touched
        return import_id

    async def take(self, import_id: str, body: bytes) -> dict[str, object]:
        """Return what became of one part of the log, as NDJSON events."""
        self._run(import_id)  # known before the part is read
        return await self.take_parsed(import_id, parse_events(body, "application/x-ndjson"))

    async def take_parsed(self, import_id: str, parsed: Parsed) -> dict[str, object]:
        """Return what became of one part of the log, once it is durable and the parts well before it are judged."""
        run = self._run(import_id)
        receipt = await sent_events(self._monitor, parsed, run.source)
        if receipt.accepted:
            run.last_seq = receipt.accepted[-1].seq
            await self._monitor.worker.reached(run.last_seq - round(_AHEAD * self._monitor.worker.at_once))
            await self._monitor.worker.make_room()
        return receipt_body(receipt, parsed.rejected)

    async def finish(self, import_id: str) -> dict[str, object]:
        """Return what the import created or changed, once all of it is judged."""
        run = self._run(import_id)
        await self._monitor.worker.drained(run.last_seq, None if run.final else run.source.latest)
        signals = await self._monitor.store.signals_by_id(run.touched.signals)
        actions = await self._monitor.store.actions_by_id(run.touched.actions)
        anomalies = await self._monitor.store.anomalies(ids=run.touched.anomalies)
        self._end(import_id)
        return {
            "signals": [signal_row(signal) for signal in signals],
            "dead_letters": run.touched.dead,
            "anomalies": [anomaly_row(stored) for stored in sorted(anomalies, key=lambda a: (a.at, a.event.event_id))],
            # What this run itself took back again (a block on an address that proved shared) is not its result.
            "decisions": [_decision_row(action) for action in actions if action.status is not ActionStatus.REVOKED],
        }

    def _run(self, import_id: str) -> _Run:
        run = self._runs.get(import_id)
        if run is None:
            raise Problem(
                "not_found", "no such import; after a restart begin it again: what is known is not taken twice"
            )
        run.used_at = self._monitor.clock()
        return run

    def _end(self, import_id: str) -> None:
        self._runs.pop(import_id, None)
        self._monitor.worker.followed.pop(import_id, None)


def signal_row(signal: Signal) -> dict[str, object]:
    """Return a signal as every list shows it (decisions, A5)."""
    return {
        "id": signal.id,
        "rule": signal.rule,
        "title": signal.title,
        "subject": signal.subject,
        "subject_type": signal.subject_type.value,
        "group": signal.group,
        "severity": signal.severity.value,
        "threat_type": signal.threat_type.value if signal.threat_type else None,
        "confidence": signal.confidence,
        "bucket": signal.bucket,
        "first": iso(signal.first),
        "last": iso(signal.last),
        "count": signal.count,
    }


def _decision_row(action: Action) -> dict[str, object]:
    address = action.target.removeprefix("ip:")
    return {
        "id": action.id,
        "action": action.action_type.value,
        "scope": "network" if "/" in address else "ip",
        "value": address,
        "rule": action.rule,
        "at": iso(action.decided_at if action.decided_at is not None else action.created_at),
        "expires": None if action.expiration is None else iso(action.expiration),
        "reason": action.reason,
        "effective": action.effective,
    }
