"""
The canary: on schedule, an event and a block of our own go the way of all others, and what came of it is counted.

It tells an outage that nobody reports because nothing comes through any more, and blocks that don't block.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from sentinel.enforcement.feed import decode_changes
from sentinel.enforcement.snapshot import Snapshot
from sentinel.errors import OutsideError
from sentinel.model import ActionStatus, ActionType, Event, EventType, Micros, Severity
from sentinel.observability import Metrics
from sentinel.storage import Action, Outcome, Store
from sentinel.stream.board import CANARY, Board
from sentinel.stream.intake import Intake, Source
from sentinel.stream.orders import Orders
from sentinel.stream.worker import Worker

__all__ = ["ADDRESS", "SERVICE", "Canary"]

SERVICE = "sentinel.canary"
"""Name of the service that the canary's events come from."""
ADDRESS = "3fff:fff:ca:4a47::1"
"""Whom its block is aimed at: an address reserved for documentation (RFC 9637), from which nobody can come."""

_EVERY_SECONDS = 60.0
_WITHIN_SECONDS = 5.0
_HOLDS: Micros = 60 * 1_000_000  # a crash in the middle leaves a block that ends by itself
_SOURCE = Source(origin=SERVICE, max_severity=Severity.LOW, may_act=False, lateness=None)


class Canary:
    """Probes the way of an event and of a block; `run_forever` is its task."""

    def __init__(
        self,
        intake: Intake,
        worker: Worker,
        orders: Orders,
        board: Board,
        store: Store,
        *,
        ready: Callable[[], str | None],
        clock: Callable[[], Micros],
        metrics: Metrics,
    ) -> None:
        self._intake = intake
        self._worker = worker
        self._orders = orders
        self._board = board
        self._store = store
        self._ready = ready
        self._clock = clock
        self._probes = metrics.canary
        self._blocks = metrics.canary_blocks

    async def run_forever(self) -> None:
        """Probe once a minute."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.probe()

    async def probe(self) -> None:
        """Probe once, and count what came of it."""
        self._count("ready", ok=self._ready() is None)
        self._count("event", ok=await _in_time(self._event_arrives()))
        if not self._worker.judging:
            return  # it is one row for all nodes, so one of them may move it
        obeyed = await _in_time(self._block_blocks())
        self._blocks.labels(result="ok" if obeyed else "failed").inc()

    def _count(self, probe: str, *, ok: bool) -> None:
        self._probes.labels(probe=probe, result="ok" if ok else "failed").inc()

    # --- an event

    async def _event_arrives(self) -> bool:
        receipt = await self._intake.accept([(1, self._event())], _SOURCE)
        await self._worker.reached(receipt.accepted[-1].seq)
        return True

    def _event(self) -> Event:
        return Event(
            event_id=f"canary-{uuid.uuid4().hex}",
            event_type=EventType.SYSTEM_HEALTH,
            severity=Severity.LOW,
            timestamp=datetime.fromtimestamp(self._clock() / 1_000_000, UTC),
            service_name=SERVICE,
            details={"component": "bus", "status": "success"},
        )

    # --- a block

    async def _block_blocks(self) -> bool:
        """Return whether an enforcement point of our own refused the address while it was blocked, and only then."""
        point = Snapshot()
        point.apply((), self._store.change_seq, complete=True)  # what is in force for others is not its business
        before = await self._refuses(point)
        await self._put(ActionStatus.ACTIVE)
        during = await self._refuses(point)
        await self._put(ActionStatus.REVOKED)
        after = await self._refuses(point)
        return (before, during, after) == ((False, False), (True, True), (False, False))

    async def _put(self, status: ActionStatus) -> None:
        """
        Write the decision and make it known, as is done with every other.

        It is one row for ever, and in no log: two entries a minute about nobody would drown what people must read.
        """
        now = self._clock()
        action = Action(
            id=CANARY,
            key=CANARY,
            action_type=ActionType.IP_BLOCK,
            target=ADDRESS,
            reason="the canary proves that a block blocks",
            evidence={},
            severity=Severity.LOW,
            status=status,
            created_at=now,
            expiration=now + _HOLDS,
            auto=True,
            created_by=SERVICE,
            revoked_at=now if status is ActionStatus.REVOKED else None,
            revoked_by=SERVICE if status is ActionStatus.REVOKED else None,
        )
        async with self._orders.acting:
            await self._board.publish(await self._store.apply(Outcome(position=0, actions=[action])))

    async def _refuses(self, point: Snapshot) -> tuple[bool, bool]:
        """Return whether the enforcement point, up to date, refuses the address, and whether our own snapshot does."""
        changes = await self._board.changes(point.seq or 0, wait=0, node=None)
        blocks, seq, complete = decode_changes(msgspec.json.encode(changes))
        point.apply(blocks, seq, complete=complete)
        now = self._clock()
        return point.refusal(ADDRESS, (), now) is not None, self._board.snapshot.refusal(ADDRESS, (), now) is not None


async def _in_time(probe: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(_WITHIN_SECONDS):
            return await probe
    except TimeoutError:
        return False
    except OutsideError as err:
        if not err.retryable:
            raise
        return False
