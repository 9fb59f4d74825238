"""
What is in force now, and who enforces it.

Enforcement points ask for changes since the sequence they have; the question waits until there is something newer. The
`since` of a question is also its answer to "where is this enforced": a node that asks for what follows 17 has applied
17.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from sentinel.enforcement.snapshot import Block, Snapshot
from sentinel.model import ActionStatus, Micros, iso
from sentinel.observability import Metrics
from sentinel.response import DEFAULT_LIMIT
from sentinel.storage import Action, Store

__all__ = ["CANARY", "Board", "block_of", "shown"]

CANARY = "canary-block"
"""Id of the action by which the canary proves that a block blocks: nobody's block, so it is in no list and no count."""

_NODES = 1_000  # names are chosen by enforcement points: bounded
_UNSEEN = 10_000  # actions that nobody has enforced yet; older ones are no longer timed
_NODE_SILENT: Micros = 30 * 1_000_000  # a point that asked longer ago is not shown as enforcing


class Changes(msgspec.Struct, frozen=True):
    """What an enforcement point must apply to be up to date."""

    seq: int
    complete: bool
    """True: `items` is everything in force; False: what changed since."""
    items: list[dict[str, object]]


class Board:
    """The service's own snapshot, and the feed for everyone else's."""

    def __init__(self, store: Store, clock: Callable[[], Micros], metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._seconds = metrics.enforced_seconds
        self._unseen: deque[tuple[int, Micros]] = deque(maxlen=_UNSEEN)
        """Changes that no enforcement point has applied yet, and when they came to be in force."""
        self._changed = asyncio.Condition()
        self._pulling = asyncio.Lock()
        self._closed = False
        self._nodes: dict[str, tuple[int, Micros]] = {}
        self.snapshot = Snapshot()

    async def load(self) -> None:
        """Take what the store says is in force."""
        actions = await self._store.actions_in_force(self._clock())
        self.snapshot.apply(map(block_of, actions), self._store.change_seq, complete=True)

    async def publish(self, actions: Iterable[Action]) -> None:
        """Apply changes that the store has committed, and wake whoever waits for them."""
        blocks = [block_of(action) for action in actions if action.effective]
        if blocks and self._store.shared and blocks[0].seq != (self.snapshot.seq or 0) + 1:
            await self.catch_up()  # other nodes have made changes before these
        else:
            await self._apply(blocks)

    async def catch_up(self) -> None:
        """Apply what other nodes have changed, and this one, as far as the store knows."""
        async with self._pulling:
            since = self.snapshot.seq or 0
            if since >= self._store.change_seq:
                return
            if since < self._store.change_floor:
                await self.load()
            await self._apply([block_of(action) for action in await self._store.actions_since(since)])

    async def _apply(self, blocks: list[Block]) -> None:
        if not blocks:
            return
        self.snapshot.apply(blocks, blocks[-1].seq)
        now = self._clock()
        self._unseen.extend((block.seq, now) for block in blocks if _timed(block))
        async with self._changed:
            self._changed.notify_all()

    async def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()

    async def changes(self, since: int, *, wait: float, node: str | None) -> Changes:
        """
        Return what changed after `since`, waiting up to `wait` seconds for something to change.

        Args:
            since: The sequence that the asker has applied; 0, or one from the future, asks for everything.
            wait: Seconds.
            node: The asker's name, remembered with `since`; its first question is answered at once.
        """
        # Nobody has applied what is still to come: such a number is from another store, or made up.
        greeted = node is None or self._note(node, since if since <= self._store.change_seq else 0)
        if greeted and since == self._store.change_seq and not self._closed:
            await self._wait(wait)
        if since == 0 or not self._store.change_floor <= since <= self._store.change_seq:
            seq = self._store.change_seq
            return Changes(seq, True, [shown(a) for a in await self._store.actions_in_force(self._clock())])
        items = await self._store.actions_since(since)
        return Changes(max([since, *(action.change_seq for action in items)]), False, [shown(a) for a in items])

    def _note(self, node: str, since: int) -> bool:
        """Remember what a node has applied; returns whether it was known."""
        known = node in self._nodes
        if known or len(self._nodes) < _NODES:
            self._nodes[node] = (since, self._clock())
            self._time(since)
        return known

    def _time(self, applied: int) -> None:
        """Note how long the actions up to this change took to be enforced somewhere."""
        now = self._clock()
        while self._unseen and self._unseen[0][0] <= applied:
            _, start = self._unseen.popleft()
            self._seconds.observe(max(0, now - start) / 1_000_000)

    async def _wait(self, seconds: float) -> None:
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)

    def enforced_by(self, action: Action) -> list[str]:
        """Return the names of the enforcement points that have applied an action and asked lately."""
        if not action.change_seq:
            return []
        oldest = self._clock() - _NODE_SILENT
        return sorted(name for name, (seq, at) in self._nodes.items() if seq >= action.change_seq and at >= oldest)


def _timed(block: Block) -> bool:
    return block.status is ActionStatus.ACTIVE and block.id != CANARY


def block_of(action: Action) -> Block:
    """Return an action as enforcement points keep it."""
    limit = action.evidence.get("limit")
    return Block(
        id=action.id,
        seq=action.change_seq,
        action_type=action.action_type,
        target=action.target,
        status=action.status,
        expires=action.expiration,
        reason=action.reason,
        severity=action.severity,
        limit=limit if isinstance(limit, int) and limit >= 1 else DEFAULT_LIMIT,
    )


def shown(action: Action, enforced_by: list[str] | None = None) -> dict[str, object]:
    """Return the one object that stands for an action everywhere (decisions, D6)."""
    return {
        "id": action.id,
        "seq": action.change_seq,
        "action_type": action.action_type.value,
        "target": action.target,
        "reason": action.reason,
        "severity": action.severity.value,
        "status": action.status.value,
        "created_at": iso(action.created_at),
        "expiration": None if action.expiration is None else iso(action.expiration),
        "auto": action.auto,
        "incident_id": action.incident_id,
        "evidence": action.evidence,
        "created_by": action.created_by,
        "simulated": not action.effective,
        "enforced_by": enforced_by or [],
    }


def ended(action: Action, status: ActionStatus, now: Micros, by: str) -> Action:
    """Return an action as it is once it has ended."""
    return msgspec.structs.replace(action, status=status, revoked_at=now, revoked_by=by)
