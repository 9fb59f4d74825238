"""
What is unusual: baselines fed by judged events, and the rules over what they notice.

An hour closes in three steps: its entities' records are read, anomalies become accepted events like any others, and
then the records are kept, with the hour counted as closed. A crash in between repeats the hour from the same records to
the same anomalies, whose ids the store knows. After a start the events of open hours are added again.

A day closes in parts: it concerns everybody who was seen on it, too many for memory, and for events to wait for.

Rules over anomalies have an engine of their own: an anomaly is an hour old and more when it is noticed, and the other
windows need not reach back to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from sentinel.detection import Engine, RuleSet
from sentinel.detection.baseline import Anomaly, Baselines, Step, Tuning
from sentinel.detection.baseline.baselines import Key
from sentinel.detection.baseline.cells import DAY
from sentinel.detection.baseline.told import anomaly_event
from sentinel.model import EventType, Micros, Severity, Signal, StoredEvent
from sentinel.observability import Log, Metrics
from sentinel.storage import Pending, Store

__all__ = ["NOTICED", "Noticing", "split_rules"]

NOTICED = "sentinel.baseline"
"""Origin of anomalies that no import led to."""

_SLICE = 2_000  # entities whose day is learnt in one transaction: some 200 ms
_AT_ONCE = 100  # entities judged between two turns of the event loop: about 10 ms
_MOST_OPEN = 60_000  # users and hours in memory, some 3 kB each; beyond, the oldest hours close early
_FULL = 2 * _MOST_OPEN  # beyond, no event is taken in before there is room
_NOTICED_WITHIN: Micros = 2 * DAY  # after what it tells of, an anomaly is found, unless events lay waiting
_SEVERITIES = tuple(Severity)


class _Unsaved(msgspec.Struct):
    """A step that is judged and not durable yet."""

    day: int
    offered: list[Pending]
    records: dict[Key, bytes]
    organisation: bytes


class Noticing:
    """Learns what is usual, accepts what is not as events, and judges these by rules."""

    def __init__(
        self,
        store: Store,
        rules: RuleSet,
        tuning: Tuning,
        *,
        clock: Callable[[], Micros],
        restored: Callable[[Sequence[StoredEvent]], None],
        metrics: Metrics,
        log: Log,
    ) -> None:
        """
        Begin with nothing remembered; `begin` is to follow.

        Args:
            store: Where records are kept.
            rules: Those over anomalies.
            tuning: From which scores on an anomaly is told of.
            clock: When what is noticed is accepted.
            restored: Is shown the events of open hours after a start, too.
            metrics: What is counted.
            log: What is told.
        """
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self.tuning = tuning
        self._baselines = Baselines(offset, tuning)
        self._engine = Engine(rules)
        self._mixed = _is_mixed(rules)
        self._task: asyncio.Task[None] | None = None
        self._unsaved: _Unsaved | None = None
        self._early: list[StoredEvent] = []
        self._restored = restored

    # --- starting and stopping

    async def begin(self, upto: int) -> None:
        """Take up what is remembered, and begin to add the events of open hours that were judged up to `upto`."""
        self._baselines = Baselines(offset, self.tuning, await self._store.organisation_record())
        self._task = asyncio.create_task(self._restore(upto), name="baselines")

    async def _restore(self, upto: int) -> None:
        async for events in self._store.untaught_events(self._baselines.open_from, upto):
            self.add(events)
            self._restored(events)
            await asyncio.sleep(0)

    @property
    def ready(self) -> bool:
        """Whether the events of open hours have been added again."""
        task = self._task
        return task is not None and task.done() and not task.cancelled() and task.exception() is None

    async def until_ready(self) -> None:
        """Return once it is `ready`; raises what that failed by."""
        assert self._task is not None, "begun"
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        """End; what is open is added again at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def tune(self, tuning: Tuning) -> None:
        """Judge by other limits from the next hour on."""
        self.tuning = tuning
        self._baselines.tune(tuning)

    def replace(self, rules: RuleSet) -> None:
        """Judge anomalies by other rules from the next one on."""
        self._engine, self._mixed = self._engine.replaced(rules), _is_mixed(rules)

    # --- learning

    def add(self, events: Sequence[StoredEvent]) -> None:
        """Take in events that have been judged, each once."""
        self._baselines.add(events)
        for reason, number in self._baselines.ignored.items():
            self._metrics.baseline_ignored.labels(reason=reason).inc(number)
        self._baselines.ignored.clear()

    @property
    def crowded(self) -> bool:
        """Whether more is open than memory should hold."""
        return self._baselines.open > _MOST_OPEN

    @property
    def full(self) -> bool:
        """Whether more is open than memory may hold."""
        return self._baselines.open > _FULL

    async def close(
        self, now: Micros | None, lateness: Micros, *, wait: bool = False
    ) -> tuple[list[StoredEvent], bool]:
        """
        Judge the next hour that has closed, or a part of a day; returns the anomalies, as accepted.

        Args:
            now: Every event received before this time has been added; None closes everything.
            lateness: How old an event may be when it is received.
            wait: For the events of open hours after a start; else nothing closes until they are in.

        Returns:
            The anomalies, and whether there was anything to judge: then there may be more.

        Raises:
            StoreUnable, StoreLost: Nothing is lost; call again.
        """
        if not self.ready:
            if not wait:
                return [], False
            await self.until_ready()
        if self._unsaved is None:  # else the store had no room for the one before
            step = self._baselines.due(now, lateness, relieve=self.crowded)
            if step is None:
                return [], False
            await self._judge(step)
        return await self._flush(), True

    async def _judge(self, step: Step) -> None:
        keys = self._baselines.concerned(step)
        partly = False
        if keys is None:
            learnt = self._baselines.organisation.learnt
            keys = await self._store.baseline_entities(step.number, learnt, _SLICE)
            partly = len(keys) == _SLICE
        records = await self._store.baseline_records(keys)  # all before the first is judged: reading may fail
        anomalies: list[Anomaly] = []
        kept: dict[Key, bytes] = {}
        for start in range(0, len(keys), _AT_ONCE):
            odd, mine = self._baselines.judge(step, keys[start : start + _AT_ONCE], records)
            anomalies += odd
            kept |= mine
            await asyncio.sleep(0)
        organisation = self._baselines.pause(keys[-1]) if partly else self._baselines.finish(step)
        self._unsaved = _Unsaved(step.day, list(map(self._pending, anomalies)), kept, organisation)

    def _pending(self, anomaly: Anomaly) -> Pending:
        return Pending(
            event=anomaly_event(anomaly),
            at=anomaly.at,
            received_at=anomaly.at if anomaly.origin else self._clock(),
            late=False,
            origin=anomaly.origin or NOTICED,
            # How bad it is called caps what rules make of it, and so does what its senders may reach.
            max_severity=min(anomaly.severity, _SEVERITIES[anomaly.rank], key=lambda severity: severity.rank),
            may_act=False,  # what is only unusual restricts nobody by itself
            effects=anomaly.effects,
        )

    async def _flush(self) -> list[StoredEvent]:
        """Make a judged step durable: first the anomalies, whose ids make that safe to repeat."""
        unsaved = self._unsaved
        if unsaved is None:
            return []
        accepted: list[StoredEvent] = []
        if unsaved.offered:
            accepted = (await self._store.accept(unsaved.offered, judging=True)).events
            unsaved.offered = []
            self._early += accepted
        await self._store.save_baselines(unsaved.day, unsaved.records, unsaved.organisation)
        self._unsaved = None
        found, self._early = self._early, []
        for stored in found:
            details = stored.event.details
            self._metrics.anomaly_scores.labels(detection_type=details["type"]).observe(details["score"])
            self._log.info("anomaly", metric=details["metric"], severity=stored.event.severity.value)
        return found

    async def record(self, key: Key) -> bytes | None:
        """Return what is remembered of an entity."""
        return (await self._store.baseline_records([key])).get(key)

    @property
    def organisation_first(self) -> Micros:
        """When the first hour began that taught anything; -1 before."""
        return self._baselines.organisation.first

    # --- rules

    async def signals(self, events: Sequence[StoredEvent], upto: int) -> list[Signal]:
        """Return the signals of the rules over anomalies; `upto` is the last event judged before these."""
        wanted = events if self._mixed else [e for e in events if e.event.event_type is EventType.ANOMALY]
        if not wanted or not self._engine.counters:
            return []
        start, end = self._engine.needs(wanted), self._engine.warm_from
        if start < end:
            async for chunk in self._history(start, end, upto):
                self._engine.warm(chunk, end)
            self._engine.warm((), start)
        return self._engine.add(wanted)

    async def _history(self, start: Micros, end: Micros, upto: int) -> AsyncIterator[list[StoredEvent]]:
        if self._mixed:
            async for chunk in self._store.history(start, end, upto):
                yield chunk
        else:
            yield await self._store.anomalies(since=start, until=end, upto=upto)

    @property
    def retained(self) -> int:
        """How many anomalies the rules hold, each as often as it is held."""
        return self._engine.retained

    @property
    def memory(self) -> int:
        """About how many bytes that takes."""
        return self._engine.memory

    def forgetting(self, expected: Micros) -> Iterator[None]:
        """Let go of what no rule over anomalies needs when events from a time on come; it comes back when one does."""
        return self._engine.forgetting(expected - _NOTICED_WITHIN)


def split_rules(rules: RuleSet) -> tuple[RuleSet, RuleSet]:
    """Return the rules that look at no anomalies, and those that do, with what they refer to."""
    odd = {rule for rule in rules.rules if rule.over_anomalies}
    needed = odd.union(*(rule.closure for rule in odd))
    return (
        msgspec.structs.replace(rules, rules=tuple(rule for rule in rules.rules if rule not in odd)),
        msgspec.structs.replace(rules, rules=tuple(rule for rule in rules.rules if rule in needed)),
    )


def _is_mixed(rules: RuleSet) -> bool:
    return any(base.logsource[1] != EventType.ANOMALY for rule in rules.rules for base in rule.bases)


@lru_cache(maxsize=4096)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # what a sender calls a zone need not be one
        return None


def offset(name: str, at: Micros) -> int:
    """Return the offset of a zone from UTC at a time, in seconds; 0 for a name that is none."""
    zone = _zone(name) if name else None
    if zone is None:
        return 0
    told = datetime.fromtimestamp(at / 1_000_000, zone).utcoffset()
    return 0 if told is None else told // timedelta(seconds=1)
