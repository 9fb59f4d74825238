"""
Events -> anomalies, hour by hour.

Whoever drives this adds events as they are judged, asks `due` which hours have closed, brings the records of whom an
hour concerns, and keeps what comes back; all in one transaction for each step. Only open hours live in memory.

A day concerns everybody who was seen on it, so it may be closed in parts, in order of names, each a transaction of its
own: `pause` in place of `finish` after all but the last. What comes of it is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from sentinel.detection.baseline.anomaly import Anomaly
from sentinel.detection.baseline.cells import DAY, HOUR, READ, Cell, ServiceCell, feed, feed_service
from sentinel.detection.baseline.habits import Novelty, Organisation, Person, Service
from sentinel.detection.baseline.judge import Judge, Offset
from sentinel.detection.baseline.metrics import SERVICE, USER
from sentinel.detection.baseline.tuning import Tuning
from sentinel.model import Micros, StoredEvent

__all__ = ["Baselines", "Key", "Step"]

Key = tuple[str, str]
"""Type and name of an entity."""

_Kind = TypeVar("_Kind", Cell, ServiceCell)

MOST_ENTITIES = 50_000
"""Entities followed in one hour; of more, those that come first."""
OWN = "sentinel."
"""How the names of our own services begin, whose events teach nothing."""

_people = msgspec.msgpack.Decoder(Person)
_services = msgspec.msgpack.Decoder(Service)
_organisation = msgspec.msgpack.Decoder(Organisation)
_encode = msgspec.msgpack.Encoder().encode


class Step(msgspec.Struct, frozen=True):
    """An hour, or the end of a day after its last hour, that can be judged now."""

    number: int
    """Hours or days since 1970."""
    whole_day: bool

    @property
    def day(self) -> int:
        """The day since 1970."""
        return self.number if self.whole_day else self.number // 24


class Baselines:
    """The open hours, and the judgement of closed ones."""

    def __init__(self, offset: Offset, tuning: Tuning | None = None, organisation: bytes = b"") -> None:
        stored = _organisation.decode(organisation) if organisation else Organisation()
        self._judge = Judge(stored, tuning or Tuning(), offset)
        self._hours: dict[int, dict[Key, Cell | ServiceCell]] = {}
        self._slow: set[str] = set()
        """Services that the hour in hand found slow: its users' answers are explained by that."""
        self._many: dict[tuple[int, int], bool] | None = None
        self._novel: dict[str, list[Novelty]] = {}
        self.ignored: Counter[str] = Counter()
        """Events that teach nothing, since somebody last looked, by reason: a `closed_hour`, a `crowded_hour`."""

    @property
    def organisation(self) -> Organisation:
        """What is remembered of all together."""
        return self._judge.organisation

    def tune(self, tuning: Tuning) -> None:
        """Judge by other limits from the next hour on."""
        self._judge.tuning = tuning

    @property
    def open_from(self) -> Micros:
        """Events before this time can't be added any more; those from it on are in memory only."""
        return max(self.organisation.closed, 0) * HOUR

    def add(self, events: Iterable[StoredEvent]) -> None:
        """Take in events that are not late, in any order, each once."""
        closed, hours = self.organisation.closed, self._hours
        for stored in events:
            event = stored.event
            if event.event_type not in READ or stored.late:
                continue
            hour = stored.at // HOUR
            if hour < closed:
                self.ignored["closed_hour"] += 1
                continue
            cells = hours.get(hour)
            if cells is None:
                cells = hours[hour] = {}
            service = event.service_name
            if event.user_id is not None and not (service and service.startswith(OWN)):
                cell = self._cell(cells, (USER, event.user_id), Cell)
                if cell is not None:
                    feed(stored, cell)
            if service and "response_time_ms" in event.details:
                service_cell = self._cell(cells, (SERVICE, service), ServiceCell)
                if service_cell is not None:
                    feed_service(stored, service_cell)

    def _cell(self, cells: dict[Key, Cell | ServiceCell], key: Key, kind: type[_Kind]) -> _Kind | None:
        cell = cells.get(key)
        if cell is None:
            if len(cells) >= MOST_ENTITIES:
                self.ignored["crowded_hour"] += 1
                return None
            cell = cells[key] = kind()
        return cell  # type: ignore[return-value]  # the key says which

    @property
    def open(self) -> int:
        """How many entities are in memory, one for each hour that is open."""
        return sum(map(len, self._hours.values()))

    def due(self, now: Micros | None, lateness: Micros = 0, *, relieve: bool = False) -> Step | None:
        """
        Return the next step: judge it with `judge`, and ask again.

        Args:
            now: Every event received before this time has been added. None: nothing will follow.
            lateness: How old an event may be when it is received, in microseconds.
            relieve: Too much is open: the oldest hour is due in any case, unless it is the last.
        """
        organisation = self.organisation
        if organisation.learnt != ("", ""):
            return Step(organisation.day, whole_day=True)
        following = min(self._hours, default=None)
        early = following is not None and now is not None and (following + 1) * HOUR + lateness > now
        if early and not (relieve and len(self._hours) > 2):  # noqa: PLR2004 - an hour and the one that begins
            following = None
        begun = organisation.day  # of which hours are in, and that is not learnt yet
        if begun >= 0:
            over = following is not None and following // 24 > begun
            past = now is not None and (begun + 1) * DAY + lateness <= now
            whole = organisation.closed >= 24 * (begun + 1)
            if over or (following is None and (past or (now is None and whole))):
                return Step(begun, whole_day=True)
        if following is None:
            return None
        if organisation.first < 0:
            organisation.first = following * HOUR
        return Step(following, whole_day=False)

    def concerned(self, step: Step) -> list[Key] | None:
        """Return whose records an hour needs, in order; None for a day: those who were seen on it."""
        return None if step.whole_day else sorted(self._hours.get(step.number, ()))

    def judge(
        self, step: Step, keys: Sequence[Key], records: Mapping[Key, bytes]
    ) -> tuple[list[Anomaly], dict[Key, bytes]]:
        """Return the anomalies of some of whom a step concerns, and their records as they are then; keys in order."""
        if step.whole_day:
            return self._judge_day(step.number, keys, records)
        cells = self._hours[step.number]
        found: list[Anomaly] = []
        kept: dict[Key, bytes] = {}
        for key in keys:  # services come before users: "service" < "user"
            cell, record = cells[key], records.get(key)
            if isinstance(cell, ServiceCell):
                service = _services.decode(record) if record else Service(first=cell.first)
                odd = self._judge.service_hour(key[1], cell, service, step.number)
                self._slow |= {anomaly.entity for anomaly in odd}
                found += odd
                kept[key] = _encode(service)
            elif record or cell.ticks:  # names that only failed logins show are anybody's invention
                person = _people.decode(record) if record else Person(first=cell.first)
                found += self._judge.hour(key[1], cell, person, step.number, frozenset(self._slow))
                kept[key] = _encode(person)
        return found, kept

    def _judge_day(
        self, day: int, keys: Sequence[Key], records: Mapping[Key, bytes]
    ) -> tuple[list[Anomaly], dict[Key, bytes]]:
        if self._many is None:
            self._end_hours(day)
            self._many = self._judge.rollouts()
            self._novel = {}
            for novelty in self.organisation.novelties:
                self._novel.setdefault(novelty.entity, []).append(novelty)
        found: list[Anomaly] = []
        kept: dict[Key, bytes] = {}
        for key in keys:
            if key[0] == SERVICE:
                service = _services.decode(records[key])
                self._judge.service_day(service)
                kept[key] = _encode(service)
            else:
                person = _people.decode(records[key])
                found += self._judge.day(key[1], person, day, self._novel.get(key[1], ()), self._many)
                kept[key] = _encode(person)
        return found, kept

    def _end_hours(self, day: int) -> None:
        """Take no more events of a day: its last hours may be empty, and not closed for all that is known."""
        self.organisation.closed = max(self.organisation.closed, 24 * (day + 1))

    def pause(self, upto: Key) -> bytes:
        """Count a day as judged up to an entity, and no further; returns the record of the organisation."""
        self.organisation.learnt = upto
        self._judge.pause_day()
        return _encode(self.organisation)

    def finish(self, step: Step) -> bytes:
        """Count a step as judged; returns the record of the organisation as it is then."""
        organisation = self.organisation
        if step.whole_day:
            self._end_hours(step.number)
            self._judge.finish_day()
            organisation.day, self._many = -1, None
        else:
            self._hours.pop(step.number, None)
            self._slow = set()
            organisation.closed, organisation.day = step.number + 1, step.number // 24
        return _encode(organisation)
