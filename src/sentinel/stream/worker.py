"""
The worker: accepted events -> signals -> outcome -> store -> board, in order of acceptance.

Everything it writes is an upsert by an id that the events alone determine, so judging the same events again after a
crash changes nothing. The position is written with the outcome; where there is none, it is written now and then,
because a restart that repeats some events costs time, not truth.

An event that can't be judged is a dead letter: the rest goes on without it, and it can be tried again. Where judging
one ends the process, nobody can say which. So whoever follows a judge that ended like that, without getting any
further, writes down which events it tries before it does (`Trial`), and its follower tries fewer, until it is one.

The engine's windows are a cache over the event store: before a batch is judged, `_warm` replays what its windows reach
back to. A restart, an eviction and an import of old logs are the same case.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import chain, groupby
from operator import attrgetter

import msgspec

from sentinel.detection import Engine, RuleSet
from sentinel.detection.baseline import Tuning
from sentinel.detection.coverage import Coverage
from sentinel.errors import OutsideError
from sentinel.model import EventType, Micros, Signal, StoredEvent
from sentinel.observability import Log, Metrics
from sentinel.storage import Action, Outcome, Store, StoreUnable, Trial
from sentinel.stream.board import Board
from sentinel.stream.noticing import Noticing, split_rules
from sentinel.stream.orders import Orders
from sentinel.stream.respond import Responder, Run

__all__ = ["Touched", "Worker"]

_SLICE = 500  # events judged between two turns of the event loop: about 10 ms
_BATCH = 4_000  # events whose outcome is written together while so many wait: incidents are joined and asked about once
_LOG_BATCH = 8_000  # the same of a log while nothing else comes: then nobody waits for what it leads to
_RECENT = 50_000  # events kept at hand: some 60 MB
_POSITION_EVERY = 5_000  # events without an outcome after which the position is written all the same
_FORGET_EVERY: Micros = 60 * 1_000_000
_GROWN = 1.1  # by how much windows must have grown since the last eviction before the next is tried
_CAREFUL = 64  # events in a step where whoever judged last may have ended because of one of them
_TRIES = 3  # at one event alone, after which it is set aside unjudged; two kills from outside may meet one event
_MOST_DEAD = 1_000  # events in a row; where more than these can't be judged, it is not the events
_ENDED = "whoever judged it ended"
_AGAIN_SECONDS = 1.0
_AGAIN_AT_ONCE = 500  # dead letters that are tried again at a time
_LOOKED_AT = 10  # events of a batch that `coverage` is told of; all of them would cost more than some rules do
_RETRY_SECONDS = 1.0
_EXPIRY_SECONDS = 1.0
_CLOSE_SECONDS = 5.0
_BETWEEN_SECONDS = 0.01  # the same while hours and days are due: between two of them others have their turn
_NO_TIME: Micros = 0  # a log under way may hold more of any time, so hours close for want of room only
_IN_HAND: Micros = 30 * 1_000_000  # how long an event may take from its reception to the worker while that is idle


class Touched(msgspec.Struct):
    """What processing the events of one origin has created or changed."""

    signals: set[str] = msgspec.field(default_factory=set)
    actions: set[str] = msgspec.field(default_factory=set)
    anomalies: set[str] = msgspec.field(default_factory=set)
    """Ids of their events."""
    dead: int = 0
    """Events that could not be judged."""


class _Asked(msgspec.Struct, frozen=True):
    """What the rules say of a batch."""

    usual: Sequence[StoredEvent]
    """Its events that are not late, and no anomalies."""
    runs: list[Run]
    dead: list[tuple[int, str]]


class _Answering(msgspec.Struct, frozen=True):
    """A batch that the rules were asked about, and the task that makes its outcome durable."""

    batch: Sequence[StoredEvent]
    task: asyncio.Task[bool]


class Worker:
    """
    Judges events in order of acceptance, one batch at a time, between `start` and `stop`.

    Where several nodes share the database one of them judges; the others' workers stand by, and know from the store how
    far that one has come. Started again, a worker remembers nothing: what it needs comes from the store.
    """

    def __init__(
        self,
        store: Store,
        board: Board,
        orders: Orders,
        rules: RuleSet,
        responder: Responder,
        *,
        clock: Callable[[], Micros],
        lateness: Micros,
        tuning: Tuning,
        window_memory: int,
        metrics: Metrics,
        log: Log,
        on_lost: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._board = board
        self._orders = orders
        self._rules = rules
        self._responder = responder
        self._clock = clock
        self._lateness = lateness
        self._window_memory = window_memory
        self._metrics = metrics
        self._log = log
        self._on_lost = on_lost
        self._moved = asyncio.Condition()
        self._judging = asyncio.Lock()  # the engine's state is whole only between batches: see `_at_rest`
        self.judging = False
        """Whether it was started, and not stopped since."""
        self.followed: dict[str, Touched] = {}
        """Origins (imports) for which what they touch is kept."""
        self._begin(tuning)

    def _begin(self, tuning: Tuning) -> None:
        """Remember nothing."""
        usual, odd = split_rules(self._rules)
        self._engine = Engine(usual)
        self._responder.forget()
        self.noticing = Noticing(
            self._store,
            odd,
            tuning,
            clock=self._clock,
            restored=self._responder.joiner.see,
            metrics=self._metrics,
            log=self._log,
        )
        self.coverage = Coverage(self._rules)
        self._recent: deque[StoredEvent] = deque()  # without gaps
        self._more = asyncio.Event()
        self._stopping = asyncio.Event()
        self._written = self._position = self._taken = self._store.processed_seq  # `_taken`: by the rules
        self._answering: _Answering | None = None
        self._forgot_at: Micros = 0
        self._left = 0  # bytes after the last eviction
        self._trial = Trial()
        self._careful_upto = 0  # as far as steps are small, and noted before
        self._step_size = _BATCH
        self._dead = 0  # in a row
        self._left_out: set[int] = set()  # events that break when they are replayed
        self._noticed = 0  # the last anomaly's sequence number
        self._live = False  # whether events have come since the start that are no import
        self._closing_from: Micros | None = None  # when windows were last closed; None until a start has made that good
        self._tasks: list[asyncio.Task[None]] = []
        self._steps: set[asyncio.Task[bool]] = set()
        self._taught = self._position  # the last event that baselines and incidents have seen
        self._taking_up: asyncio.Task[None] | None = None
        self.settled = False
        """Whether what events from before the start join has been joined again."""
        self.failing: str | None = None
        """Why the last outcome could not be written, while it can't."""

    # --- running

    async def start(self) -> None:
        """Begin to judge accepted events and to end actions whose time is over, from where the store says."""
        self._begin(self.noticing.tuning)
        await self._look_back()
        await self.noticing.begin(self.position)
        self.judging = True
        self._tasks = [
            asyncio.create_task(self._judge_forever(), name="worker"),
            asyncio.create_task(self._expire_forever(), name="expiry"),
            asyncio.create_task(self._close_forever(), name="closing"),
            asyncio.create_task(self._judge_again_forever(), name="judging again"),
        ]
        self._taking_up = asyncio.create_task(self._take_up(), name="taking up")

    async def stop(self) -> None:
        """End after the batch in hand; what is left is judged at the next start."""
        self._stopping.set()
        self._more.set()
        if self._taking_up is not None:
            self._taking_up.cancel()
            await asyncio.gather(self._taking_up, return_exceptions=True)
        await asyncio.gather(*self._tasks, *self._steps, return_exceptions=True)
        await self.noticing.stop()
        with contextlib.suppress(StoreUnable):  # then the next start judges these events again, to the same end
            if self.failing is None and self.position > self._written:
                await self._store.apply(Outcome(position=self.position, judging=True))
            await self._store.note_trial(Trial())
        self.judging = False
        self._begin(self.noticing.tuning)

    @property
    def position(self) -> int:
        """The last event that is judged, with a durable outcome; as far as is known, where another node judges."""
        return self._position if self.judging else self._store.processed_seq

    async def heard(self) -> None:
        """Go on where other nodes have accepted or judged events meanwhile."""
        self._more.set()
        async with self._moved:
            self._moved.notify_all()

    async def tell_position(self) -> None:
        """Tell other nodes how far this one has come, where it judges."""
        if self.judging and self.position > self._written:
            async with self._at_rest():
                await self._store.apply(Outcome(position=self.position, judging=True))
                self._written = self.position

    @property
    def held(self) -> tuple[Callable[[], int], Callable[[], int]]:
        """What tells how many events the rules hold, and about how many bytes that takes."""
        return lambda: self._engine.retained + self.noticing.retained, lambda: self._memory

    @property
    def _memory(self) -> int:
        return self._engine.memory + self.noticing.memory

    @property
    def alive(self) -> bool:
        """Whether its tasks run."""
        failed = self._taking_up is not None and self._taking_up.done() and not self.settled
        return bool(self._tasks) and not failed and not any(task.done() for task in self._tasks)

    def offer(self, events: Sequence[StoredEvent]) -> None:
        """Hand over events that were just made durable; what does not fit is read from the store."""
        if not self.judging:
            return
        follows = not self._recent or (events and events[0].seq == self._recent[-1].seq + 1)
        if follows and len(self._recent) < _RECENT:
            self._recent.extend(events)
        self._more.set()

    async def reached(self, seq: int) -> None:
        """Return once every event up to `seq` has been judged and its outcome is durable."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.position >= seq)

    async def make_room(self) -> None:
        """
        Have hours close while too many are open; returns when there is room again, or nothing can be closed.

        Whoever sends old events of many users waits for this, and between two steps the events of others are judged.
        """
        more = True
        while more and self.noticing.crowded and not self._stopping.is_set():
            more = await self._step(lambda: _NO_TIME)

    async def drained(self, seq: int, until: Micros | None = None) -> None:
        """
        Return once `seq` is `reached` and the import's windows are judged.

        This ends an import, and with it every window that its events lie in (decisions, C8); where more may follow,
        only those that had closed at `until`, and beside live events those that have closed for these as well.
        """
        await self.reached(seq)

        def now() -> Micros | None:
            return self._clock() - _IN_HAND if self._live else until

        while await self._step(now, wait=True):
            pass  # others have their turn between two steps, and live events may begin to come
        await self.reached(self._noticed)
        await self._close(now(), list(self.followed) or [""])

    async def replace(self, rules: RuleSet) -> None:
        """
        Judge by other rules from the next batch on.

        Rules that have not changed keep their state. The others get theirs from the store, as far back as the windows
        that are open now need it, and further when the next events do.
        """
        try:
            async with self._at_rest():
                self._rules = rules
                usual, odd = split_rules(rules)
                self._engine, self.coverage = self._engine.replaced(usual), Coverage(rules)
                self.noticing.replace(odd)
                if self._closing_from is not None:
                    alive = self._closing_from
                    await self._persevere(lambda: self._replay_to_close(alive, self.position))
        except Exception as err:  # unknown: as in judging
            self._on_lost(err)
            raise

    async def _look_back(self) -> None:
        """Go in small steps where whoever judged last ended, other than in order, at the very events that come now."""
        last, after = await self._store.trial(), self.position
        self._trial = Trial(after, 0, 1)
        if last.times and last.after == after:
            unknown = after + _POSITION_EVERY + 2 * _LOG_BATCH  # further it can't have come without writing it down
            self._careful_upto = last.upto or min(unknown, self._store.accepted_seq)
            self._step_size = 1 if last.upto else _CAREFUL
            self._trial = last
            self._log.warning("whoever judged last ended here; going in small steps", after=after, times=last.times)
        await self._store.note_trial(self._trial)

    async def _judge_forever(self) -> None:
        try:
            if self._trial.upto == self.position + 1 and self._trial.times >= _TRIES:
                async with self._judging:
                    await self._bury(self._trial.upto, _ENDED)
            while batch := await self._next():
                async with self._judging:
                    await self._judge(batch)
                    if self._careful or self._taken >= self._store.accepted_seq:
                        await self._answered()
            async with self._at_rest():
                pass
        except Exception as err:  # unknown: stop the process rather than skip what was accepted
            if self._answering is not None:
                await asyncio.gather(self._answering.task, return_exceptions=True)
            if self._gives_up(err):
                return
            self._on_lost(err)
            raise

    async def _take_up(self) -> None:
        """Join what events from before this start join: they are seen again beside new ones, which need not wait."""
        try:
            await self.noticing.until_ready()
            async with self._at_rest():
                await self._persevere(lambda: self._settle([], [], self.position))
            await self._persevere(self._store.tell_settled)
            self.settled = not self._stopping.is_set()
        except Exception as err:  # unknown: as in judging
            if self._gives_up(err):
                return
            self._on_lost(err)
            raise

    def _gives_up(self, err: Exception) -> bool:
        """Whether it ends while the store is away: the next start judges what is left."""
        return self._store.ending and isinstance(err, StoreUnable)

    async def _next(self) -> list[StoredEvent]:
        """Return the next events after those that the rules have, waiting for them; none once it is to stop."""
        while self._taken >= self._store.accepted_seq and not self._stopping.is_set():
            self._more.clear()
            await self._more.wait()
        if self._stopping.is_set():
            return []
        wanted = self._taken + 1
        while self._recent and self._recent[0].seq < wanted:
            self._recent.popleft()
        most = self._step_size if self._careful else self.at_once
        if self._recent and self._recent[0].seq == wanted:
            return [self._recent.popleft() for _ in range(min(most, len(self._recent)))]
        return await self._store.events_after(self._taken, most)

    @contextlib.asynccontextmanager
    async def _at_rest(self) -> AsyncIterator[None]:
        """Keep the engine as it is after a batch whose outcome is durable."""
        async with self._judging:
            await self._answered()
            yield

    @property
    def at_once(self) -> int:
        """How many events are judged together while so many wait."""
        return _LOG_BATCH if self.followed and not self._live else _BATCH

    @property
    def _careful(self) -> bool:
        return self._position < self._careful_upto

    # --- judging

    async def _judge(self, batch: Sequence[StoredEvent]) -> None:
        """
        Ask the rules about events, and begin to make the outcome durable.

        The rules are asked while the outcome before is being written: waiting for the disk would cost half as much time
        again. What goes into an outcome is worked out when the one before it is durable, for it rests on that.
        """
        try:
            found = await self._ask(batch)
        except (OutsideError, MemoryError):
            raise
        except Exception as err:  # noqa: BLE001 - whatever one of the events breaks
            await self._answered()
            if await self._one_by_one(batch, err):
                await self._between(batch)
            return
        await self._answered()
        if found is None:
            return
        self._taken = batch[-1].seq
        self._answering = _Answering(batch, asyncio.create_task(self._answer(batch, found), name="answering"))
        await asyncio.sleep(0)  # it begins before the rules are asked again

    async def _answered(self) -> None:
        """Return once the outcome of the last batch is durable, and what is due after it is done."""
        if self._answering is None:
            return
        batch = self._answering.batch
        try:
            done = await asyncio.shield(self._answering.task)
            self._dead = 0
        except (OutsideError, MemoryError):
            raise
        except Exception as err:  # noqa: BLE001 - as in judging
            done = await self._one_by_one(batch, err)
        self._answering = None
        if done:
            await self._between(batch)

    async def _one_by_one(self, batch: Sequence[StoredEvent], err: Exception) -> bool:
        """
        Judge the events of a batch that broke something alone; one that breaks something alone is set aside.

        Returns:
            Whether all are judged, or set aside; else it is to stop.
        """
        if len(batch) == 1:
            self._dead += 1
            if self._dead > _MOST_DEAD:
                raise err
            return await self._bury(batch[0].seq, type(err).__name__, batch[0].origin)
        for event in batch:
            try:
                found = await self._ask([event])
                done = found is not None and await self._answer([event], found)
                self._dead = 0
            except (OutsideError, MemoryError):
                raise
            except Exception as alone:  # noqa: BLE001 - as in judging
                done = await self._one_by_one([event], alone)
            if not done:
                return False
        return True

    async def _bury(self, seq: int, reason: str, origin: str = "") -> bool:
        """Set aside the event that comes next; returns whether that is durable."""
        self._tell_dead(seq, reason)

        async def buried() -> None:
            await self._store.apply(Outcome(position=seq, dead=[(seq, reason)], judging=True))

        if not await self._persevere(buried):
            return False
        if touched := self.followed.get(origin):
            touched.dead += 1
        await self._reach(seq)
        return True

    def _tell_dead(self, seq: int, reason: str) -> None:
        self._metrics.dead_letters.inc()
        self._log.error("event can't be judged, kept as a dead letter", seq=seq, error=reason)

    async def _ask(self, batch: Sequence[StoredEvent]) -> _Asked | None:
        """Return what the rules say of events; None when it is to stop."""
        timely = [event for event in batch if not event.late]
        usual = [event for event in timely if event.event.event_type is not EventType.ANOMALY]
        if usual:
            await self._warm(usual, batch[0].seq - 1)
        if self._careful and not await self._note_trial(batch[-1].seq):
            return None
        dead: list[tuple[int, str]] = []
        runs = await self._runs(timely, dead)
        if self._engine.closes and not self.followed:
            signals = await self._closed(batch[-1].received_at, batch[0].seq - 1)
            runs += [Run("", effects=True, events=[], signals=signals)] if signals else []
        return _Asked(usual, runs, dead)

    async def _answer(self, batch: Sequence[StoredEvent], asked: _Asked) -> bool:
        """Respond to a batch; returns False when it is to stop and there was no room until then."""
        async for events in _in_turns([event for event in asked.usual if event.seq > self._taught]):
            self._taught = events[-1].seq  # once, also where a part of these is judged again
            self.noticing.add(events)
            self._responder.joiner.see(events)
        await self._add_noticed(asked.runs, batch[0].seq - 1)
        if not await self._persevere(lambda: self._settle(asked.runs, asked.dead, batch[-1].seq)):
            return False
        await self._reach(batch[-1].seq)
        return True

    async def _note_trial(self, upto: int) -> bool:
        after, last = self._position, self._trial
        times = last.times + 1 if (after, upto) == (last.after, last.upto) else 1
        self._trial = Trial(after, upto, times)
        return await self._persevere(lambda: self._store.note_trial(self._trial))

    async def _reach(self, position: int) -> None:
        self._position, self._taken = position, max(position, self._taken)
        async with self._moved:
            self._moved.notify_all()

    async def _runs(self, timely: Sequence[StoredEvent], dead: list[tuple[int, str]]) -> list[Run]:
        """Return what the rules say of events, but for those over anomalies."""
        runs = []
        for (origin, effects), group in groupby(timely, key=attrgetter("origin", "effects")):
            mine = list(group)
            found: dict[str, Signal] = {}
            async for events in _in_turns([e for e in mine if e.event.event_type is not EventType.ANOMALY]):
                found |= {signal.id: signal for signal in self._detect(events, dead)}
            runs.append(Run(origin, effects, mine, list(found.values())))
        return runs

    async def _add_noticed(self, runs: Iterable[Run], upto: int) -> None:
        """Add what the rules over anomalies say, `upto` being the last event judged before these."""
        for run in runs:
            run.signals.extend(await self.noticing.signals(run.events, upto))

    async def _judge_again_forever(self) -> None:
        """Judge dead letters again that somebody has asked for, on whichever node."""
        while not self._stopping.is_set():
            try:
                await self._judge_again()
            except OutsideError as err:
                if not err.retryable:
                    self._on_lost(err)
                    raise
            await self._pause(_AGAIN_SECONDS)

    async def _judge_again(self) -> None:
        letters = await self._store.dead_letters(_AGAIN_AT_ONCE, asked=True)
        if not letters:
            return
        async with self._at_rest():
            # What broke may have left something of itself there; what is needed comes back from the store, without it.
            self._engine, self._closing_from = Engine(split_rules(self._rules)[0]), None
            for event, _ in reversed(letters):
                # First the reason that holds if this ends the process: it must not be tried again and again.
                await self._say_dead(event.seq, _ENDED)
                reason = await self._revive(event)
                self._log.info("dead letter tried again", seq=event.seq, error=reason)
                if reason is not None:
                    await self._say_dead(event.seq, reason)

    async def _say_dead(self, seq: int, reason: str) -> None:
        await self._store.apply(Outcome(position=0, dead=[(seq, reason)], judging=True))

    async def _revive(self, event: StoredEvent) -> str | None:
        """Judge a dead letter as what follows the events judged so far; returns why it can't be."""
        dead: list[tuple[int, str]] = []
        try:
            if event.event.event_type is not EventType.ANOMALY:
                await self._warm([event], self.position)
            self._responder.joiner.see([event])
            runs = await self._runs([event], dead)
            await self._add_noticed(runs, self.position)
            if not dead:
                await self._settle(runs, [], self.position, revived=[event.seq])
        except (OutsideError, MemoryError):
            raise
        except Exception as err:  # noqa: BLE001 - whatever an event breaks
            return type(err).__name__
        return dead[0][1] if dead else None

    async def _between(self, batch: Sequence[StoredEvent]) -> None:
        """Do what is due between two batches."""
        self._observe(batch)
        if not self.followed or self.noticing.full:
            now = _NO_TIME if self.followed else batch[-1].received_at
            while await self._notice(now) and self.noticing.full:
                pass  # no event is taken in before there is room again
        await self._forget_when_due(batch)
        await asyncio.sleep(0)

    async def _step(self, now: Callable[[], Micros | None], *, wait: bool = False) -> bool:
        """`_notice` between two batches, to its end also when whoever asked for it is gone: half a step is none."""

        async def whole() -> bool:
            async with self._at_rest():
                return await self._notice(now(), wait=wait)

        step = asyncio.create_task(whole(), name="noticing")
        self._steps.add(step)
        step.add_done_callback(self._steps.discard)
        return await asyncio.shield(step)

    async def _notice(self, now: Micros | None, *, wait: bool = False) -> bool:
        """
        Judge an hour that has closed, or a part of a day, against the baselines; what is odd is judged like any event.

        Returns:
            Whether there was one: then more may be due.
        """
        more = False

        async def step() -> None:
            nonlocal more
            found, more = await self.noticing.close(now, self._lateness, wait=wait)
            if found:
                self._noticed = found[-1].seq
                self.offer(found)
            for stored in found:
                if touched := self.followed.get(stored.origin):
                    touched.anomalies.add(stored.event.event_id)

        return await self._persevere(step) and more

    async def _warm(self, events: Sequence[StoredEvent], upto: int) -> None:
        await self._replay(lambda: self._engine.needs(events), upto)

    async def _replay(self, needs: Callable[[], Micros], upto: int) -> None:
        """Bring back what the engine has forgotten from a time on, as far as it was judged."""
        while (start := needs()) < self._engine.warm_from and not await self._replayed(start, upto):
            pass

    async def _replayed(self, start: Micros, upto: int) -> bool:
        """Return whether it is brought back; else everything is forgotten, and what broke is left out from now on."""
        end = self._engine.warm_from
        async for chunk in self._store.history(start, end, upto):
            events = [event for event in chunk if event.seq not in self._left_out]
            try:
                self._engine.warm(events, end)
            except Exception:  # an event that was judged under other rules must not be what breaks at each that follows
                usual, _ = split_rules(self._rules)
                broken = {event.seq for event in events if _breaks(Engine(usual), event)}
                if not broken:
                    raise
                said = "judged events break when they are replayed, and are left out"
                self._log.error(said, number=len(broken), first=min(broken))
                self._left_out |= broken
                self._engine = Engine(usual)
                return False
            await asyncio.sleep(0)
        self._engine.warm((), start)
        return True

    async def _replay_to_close(self, alive: Micros, upto: int) -> None:
        await self._replay(lambda: self._engine.needs_to_close(alive, self._lateness), upto)

    async def _closed(self, now: Micros | None, upto: int) -> list[Signal]:
        """
        Return the signals of windows that have closed, when every event received before `now` has been judged.

        After a start, windows may have closed unjudged. Which, the events say: the last one judged was received when
        the worker last lived, so the windows that were open then are replayed, and judged again.
        """
        if self._closing_from is None:
            last = await self._store.events_after(upto - 1, 1) if upto else []
            self._closing_from = last[0].received_at if last else 0
            await self._replay_to_close(self._closing_from, upto)
        if now is not None:
            self._closing_from = now = max(self._closing_from, now)
        return self._engine.close(now, self._lateness)

    async def _close(self, now: Micros | None, origins: Iterable[str] = ("",)) -> None:
        """Judge the windows that have closed, and respond to their signals."""
        async with self._at_rest():
            if not self._engine.closes:
                return
            signals = await self._closed(now, self.position)
            if signals:
                runs = [Run(origin, effects=True, events=[], signals=signals) for origin in origins]
                await self._persevere(lambda: self._settle(runs, [], self.position))

    async def _close_forever(self) -> None:
        """Close windows while no event comes that would. A log under way may hold more of any time, so it waits."""
        more = False
        try:
            while not self._stopping.is_set():
                await self._pause(_BETWEEN_SECONDS if more else _CLOSE_SECONDS)
                if self.position >= self._store.accepted_seq and not self.followed and not self._stopping.is_set():
                    await self._close(self._clock() - _IN_HAND)
                    async with self._at_rest():
                        more = await self._notice(self._clock() - _IN_HAND)
        except Exception as err:  # unknown: as in judging
            if self._gives_up(err):
                return
            self._on_lost(err)
            raise

    def _detect(self, events: Sequence[StoredEvent], dead: list[tuple[int, str]]) -> list[Signal]:
        try:
            signals = self._engine.add(events)
        except Exception as err:  # noqa: BLE001 - an event that breaks a rule must not stop the others
            if len(events) == 1:
                dead.append((events[0].seq, type(err).__name__))
                self._tell_dead(*dead[-1])
                return []
        else:
            for reason, number in self._engine.ignored.items():
                self._metrics.ignored_inputs.labels(reason=reason).inc(number)
            self._engine.ignored.clear()
            return signals
        by_id: dict[str, Signal] = {}
        for event in events:
            by_id.update((signal.id, signal) for signal in self._detect([event], dead))
        return list(by_id.values())

    async def _persevere(self, step: Callable[[], Awaitable[None]]) -> bool:
        """
        Repeat a step until the store has room for it: an accepted event is never given up.

        Returns:
            False when it is to stop and there was no room until then; the next start judges the events again.
        """
        while not self._stopping.is_set():
            try:
                await step()
            except OutsideError as err:
                if not err.retryable:
                    raise
                self.failing = str(err)
                await self._pause(_RETRY_SECONDS)
            else:
                self.failing = None
                return True
        return False

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the word to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _settle(
        self, runs: Sequence[Run], dead: list[tuple[int, str]], position: int, revived: Sequence[int] = ()
    ) -> None:
        """Respond to signals and make the outcome durable, then effective."""

        async def settled(turn: int) -> tuple[Outcome, list[Action]] | None:
            outcome = await self._responder.respond(runs, position)
            outcome.dead, outcome.revived = dead, list(revived)
            outcome.turn, outcome.judging = turn, True
            nothing = not (outcome.signals or outcome.actions or outcome.audit or outcome.links or dead or revived)
            if nothing and not self._careful and position - self._written < _POSITION_EVERY:
                return None
            actions = await self._store.apply(outcome)
            self._written = position
            self._responder.written(runs, outcome)
            await self._board.publish(actions)
            return outcome, actions

        done = await self._orders.alone(settled)
        if done is None:
            return
        outcome, actions = done
        for action_type in outcome.refused:
            self._metrics.refused.labels(action_type=action_type).inc()
        self._orders.tell(outcome.new_signals, actions)
        broken = {seq for seq, _ in dead}
        for run in runs:
            if touched := self.followed.get(run.origin):
                mine = {signal.id for signal in run.signals}
                touched.signals |= mine
                touched.actions |= {action.id for action in actions if action.signal_id in mine}
                touched.dead += sum(event.seq in broken for event in run.events)

    def _observe(self, batch: Sequence[StoredEvent]) -> None:
        self.coverage.see(event.event for event in batch[:: 1 + len(batch) // _LOOKED_AT])
        now = self._clock()
        live = [event for event in batch if event.received_at != event.at]  # an import's times tell nothing about us
        if live:
            self._live = True
            self._metrics.decision_seconds.observe(max(0.0, (now - live[0].received_at) / 1_000_000))

    async def _forget_when_due(self, batch: Sequence[StoredEvent]) -> None:
        """Drop windows that no live event can touch any more. What is needed again comes back from the store."""
        now = self._clock()
        if self._memory > max(self._window_memory, _GROWN * self._left):
            await self._forget(min(event.at for event in batch))
            self._left = self._memory
            self._metrics.window_evictions.inc()
        elif not self.followed and now - self._forgot_at > _FORGET_EVERY:
            self._forgot_at = now
            await self._forget(now - self._lateness)

    def forget_incidents(self) -> None:
        """Ask the store anew what incidents there are: some of their signals were deleted."""
        self._responder.joiner.forget()

    async def _forget(self, expected: Micros) -> None:
        """Let go of what events from then on don't need, and let others have the loop in between."""
        for _ in chain(self._engine.forgetting(expected), self.noticing.forgetting(expected)):
            await asyncio.sleep(0)

    async def _expire_forever(self) -> None:
        """End what time has ended. Every enforcement point knows the time itself, so the row may wait for room."""
        while not self._stopping.is_set():
            try:
                await self._orders.expire()
            except OutsideError as err:
                if not err.retryable:
                    self._on_lost(err)
                    raise
            await self._pause(_EXPIRY_SECONDS)


def _breaks(engine: Engine, event: StoredEvent) -> bool:
    try:
        engine.warm([event], event.at)
    except Exception:  # noqa: BLE001 - whatever it is
        return True
    return False


async def _in_turns(events: Sequence[StoredEvent]) -> AsyncIterator[Sequence[StoredEvent]]:
    """Yield the events in slices, between which others have the loop."""
    for start in range(0, len(events), _SLICE):
        if start:
            await asyncio.sleep(0)
        yield events[start : start + _SLICE]
