"""
The way in: offered events become durable, or are refused with a reason.

Group commit: while one transaction is being fsynced, the next one gathers whoever waits. There is no timer; a lone
request is written at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from sentinel.errors import OutsideError, RejectedEvent
from sentinel.ingest.events import Rejected
from sentinel.model import Event, Micros, Severity, StoredEvent, micros, micros_of_iso
from sentinel.storage import Pending, Store, StoreUnable
from sentinel.stream.shares import Shares
from sentinel.stream.worker import Worker

__all__ = ["Intake", "Overloaded", "Receipt", "Source"]

_AHEAD: Micros = 5 * 60 * 1_000_000  # decisions B and architecture 4: more than this in the future is refused
_GROUP = 5_000  # events in one transaction at most: about 0.1 s of writing


class Overloaded(OutsideError):
    """More events wait for processing than the queue has room for, or this source its share; try again in a moment."""

    def __init__(self) -> None:
        super().__init__("more of your events wait than your share of the queue allows", retryable=True)


class Source(msgspec.Struct, kw_only=True):
    """Who sends events, and what they may lead to."""

    origin: str
    """Id of the token or of the import."""
    max_severity: Severity
    may_act: bool
    effects: bool = True
    lateness: Micros | None
    """None: nothing is late (an import, unless it says otherwise)."""
    live: bool = True
    """False for an import: what was received when is told by the events' own times (decisions, C1)."""
    latest: Micros = 0
    """Of an import: the largest time before the present line."""
    replay: bool = False
    """Of an import: its events say themselves when they were received."""


class Receipt(msgspec.Struct, frozen=True):
    """What became of the events offered; the new ones are durable."""

    accepted: list[StoredEvent]
    duplicates: int
    conflicts: int
    late: int
    rejected: list[Rejected]


class _Waiting(msgspec.Struct):
    origin: str
    pending: list[Pending]
    done: asyncio.Future[tuple[list[StoredEvent], int, int]]


class Intake:
    """Accepts events from many senders into one store."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], Micros],
        queue_limit: int,
        worker: Worker,
        on_accepted: Callable[[Sequence[StoredEvent]], None],
        on_lost: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_accepted = on_accepted
        self._shares = Shares(queue_limit)
        self._worker = worker
        self._on_lost = on_lost
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._in_hand: list[_Waiting] = []
        self._offered = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """Events offered or accepted, and not yet processed."""
        return self._offered + self._store.accepted_seq - self._worker.position

    def start(self) -> None:
        """Begin to commit what is offered."""
        self._store.when_away(self._refuse)
        self._task = asyncio.create_task(self._commit_forever(), name="intake")

    async def stop(self) -> None:
        """Commit what was offered, then end."""
        await self._waiting.join()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def has_room(self, origin: str, number: int) -> bool:
        """Whether a source may add so many events now: `accept` asks it too, but whoever asks before need not read."""
        return self._shares.allow(origin, number, waiting=self.depth, judged=self._worker.position)

    async def accept(self, events: Sequence[tuple[int, Event]], source: Source) -> Receipt:
        """
        Return once every acceptable event is durable.

        Args:
            events: With their line numbers, in the order received.
            source: Who sends them.

        Raises:
            Overloaded: Too many of this source's wait; nothing was taken.
            StoreUnable, StoreLost: The store could not write; nothing was taken.
        """
        if self._store.away is not None:
            raise self._store.away
        if not self.has_room(source.origin, len(events)):
            raise Overloaded
        now = self._clock()
        pending: list[Pending] = []
        rejected: list[Rejected] = []
        for line, event in events:
            at = micros(event.timestamp)
            if at > now + _AHEAD:
                reason = "lies more than 5 minutes in the future; check the sender's clock"
                rejected.append(Rejected(line, event.event_id, "timestamp", reason))
                continue
            try:
                pending.append(_pending(event, at, source, now))
            except RejectedEvent as err:
                rejected.append(Rejected(line, event.event_id, err.field, err.reason))
        if not pending:
            return Receipt([], 0, 0, 0, rejected)
        waiting = _Waiting(source.origin, pending, asyncio.get_running_loop().create_future())
        self._offered += len(pending)
        self._shares.offer(source.origin, len(pending))
        self._waiting.put_nowait(waiting)
        accepted, duplicates, conflicts = await waiting.done
        return Receipt(accepted, duplicates, conflicts, sum(event.late for event in accepted), rejected)

    async def _commit_forever(self) -> None:
        while True:
            group = self._in_hand = [await self._waiting.get()]
            size = len(group[0].pending)
            while size < _GROUP and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
                size += len(group[-1].pending)
            try:
                await self._commit(group)
            except StoreUnable as err:
                for waiting in group:
                    self._shares.settle(waiting.origin, len(waiting.pending), ())
                    if not waiting.done.done():
                        waiting.done.set_exception(err)
            except Exception as err:  # noqa: BLE001 - lost, or unknown: nobody may be told that events are safe
                self._on_lost(err)
            finally:
                self._in_hand = []
                self._offered -= size
                for _ in group:
                    self._waiting.task_done()

    def _refuse(self, err: StoreUnable) -> None:
        """
        Tell all who wait that the store is away, rather than nothing until it is back.

        What the store has in hand may be kept all the same: whoever sends it again is told that it is there.
        """
        queued = [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
        for waiting in queued:
            self._shares.settle(waiting.origin, len(waiting.pending), ())
            self._offered -= len(waiting.pending)
            self._waiting.task_done()
        for waiting in (*self._in_hand, *queued):
            if not waiting.done.done():
                waiting.done.set_exception(err)

    async def _commit(self, group: list[_Waiting]) -> None:
        result = await self._store.accept([pending for waiting in group for pending in waiting.pending])
        self._worker.offer(result.events)
        self._on_accepted(result.events)
        fresh = iter(result.events)
        position = 0
        for waiting in group:
            span = range(position, position + len(waiting.pending))
            position = span.stop
            duplicates = sum(n in result.duplicates for n in span)
            conflicts = sum(n in result.conflicts for n in span)
            accepted = [next(fresh) for _ in range(len(span) - duplicates)]
            self._shares.settle(waiting.origin, len(span), accepted)
            if not waiting.done.done():  # whoever waited may have gone away
                waiting.done.set_result((accepted, duplicates, conflicts))


def _pending(event: Event, at: Micros, source: Source, now: Micros) -> Pending:
    if source.live:
        received_at = known = now
    else:
        told = _received_at(event) if source.replay else None
        received_at, known = (at, source.latest) if told is None else (told, told)
        source.latest = max(source.latest, received_at)
    late = source.lateness is not None and known - at > source.lateness
    return Pending(
        event=event,
        at=at,
        received_at=received_at,
        late=late,
        origin=source.origin,
        max_severity=source.max_severity,
        may_act=source.may_act,
        effects=source.effects,
    )


def _received_at(event: Event) -> Micros | None:
    """Return when an event says that it was received; our events have it beside their own fields."""
    extra = event.details.get("extra")
    told = (extra if isinstance(extra, dict) else event.details).get("received_at")
    if told is None:
        return None
    try:
        return micros_of_iso(str(told))
    except ValueError:
        raise RejectedEvent("is no time such as 2026-01-31T12:00:00Z", field="received_at") from None
