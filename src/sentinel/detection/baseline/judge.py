"""
Closed hours and days -> anomalies, and what is learnt from them.

Theory of operation. Each hour that closes is laid upon the day under way of everybody who was active in it, and each
metric is asked how surprising the day is so far, given the days before. At the end of a day what needs the whole day is
judged (first-seen values, because a roll-out must be told from a lone case; trends), then the day is learnt.

Three things keep models honest that know a person for a week or two:

- Spreads and rates are shrunk towards those of the organisation (empirical Bayes), by `_PRIOR_DAYS` days' worth.
- A model's surprise is corrected by how surprised it was on everybody's days before (`_Scale`): if days that it
  calls one in a thousand come every week, its surprise is stretched until they don't.
- A day that was called an anomaly is learnt clipped, and not counted among the surprises and rates, so an attack does
  not make the next one look usual; what goes on for `_ACCEPTED` of its days in a row is the new habit.

Everything here is a function of the closed hours in their order, and of entities in order of their names.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from sentinel.detection.baseline.cells import AMOUNTS, DAY, HOUR, Cell, ServiceCell, earliest
from sentinel.detection.baseline.habits import (
    HISTORY,
    Habit,
    Novelty,
    Organisation,
    Person,
    Rate,
    Service,
    Today,
    digest,
    squeezed,
)
from sentinel.detection.baseline.metrics import COUNTS, FIRST_SEEN, HEAVY, METRICS, SERVICE, USER, AnomalyType
from sentinel.detection.baseline.tails import (
    MOST,
    binomial_surprise,
    count_surprise,
    median,
    score_of,
    spread_of,
    student_surprise,
)
from sentinel.detection.baseline.tuning import Tuning
from sentinel.model import Micros, Severity

__all__ = ["Anomaly", "Judge"]

LEARNING_DAYS: Final = 7
ACTIVE_DAYS: Final = 5
"""Decisions, H1."""

_SOME = 3  # days of somebody after which the models are asked silently, to see how surprised they are
_PRIOR_DAYS = 6
_FLOOR = 20  # the least spread, in hundredths: a tenth more or less is never news
_PRIOR_SPREAD = 60
_PRIOR_PERSON_DAYS = 300
_FADES = 0.97  # a day: half after three weeks
_ACCEPTED = 5
_BINS = 120  # quarters of a nat
_ENOUGH_TIMES = 21
_LEAST_GAP: Micros = 900_000  # between machines' calls that are looked at; programs answer people faster than that
_EVEN = 0.1
_EVEN_CHANCE = 0.2
_FAST_KMH = 1000
_FAR_KM = 300
_SLACK_KM = 100  # coordinates of an address are those of its provider
_KNOWN_VALUES = 64
_KNOWN_JOURNEYS = 16
_SESSIONS = 8
_RESPONSES = 5
_SERVICE_RESPONSES = 20
_MANY, _MANY_SHARE, _MANY_ALONE = 3, 0.2, 5
_MOST_VALUES = 5_000
_MOST_NOVELTIES = 20_000
_MOST_ROLES = 200
_RARE_SHARE = 0.01
_TREND_DAYS = 3
_MILD = 1.0  # nats of a family that mean nothing
_TOLD_APART = 0.03

Offset = Callable[[str, Micros], int]
"""By name of a time zone and a time, its offset from UTC in seconds."""


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """Something unusual about an entity, with what it is compared with."""

    id: str
    entity: str
    entity_type: str
    metric: str
    type: AnomalyType
    method: str
    n: int
    """On how many observations the expectation rests."""
    expected: float | str
    observed: float | str
    score: float
    """In [0, 1]."""
    severity: Severity
    at: Micros
    reason: str
    rank: int
    """Of the severity that the events' senders may reach, the highest."""


class _Scale(msgspec.Struct, frozen=True):
    """How surprised a model has been: the surprise that one person-day in five exceeds, and the mean beyond."""

    start: float
    mean: float

    def corrected(self, surprise: float) -> float:
        """Return a surprise that comes as often as it says."""
        if surprise <= self.start:
            return min(surprise, _LN5)
        return min(surprise, _LN5 + (surprise - self.start) / self.mean)


_LN5 = math.log(5)
_AS_MODELLED = _Scale(_LN5, 1.0)


def scale_of(bins: Sequence[float]) -> _Scale:
    """
    Return how to correct a model from its surprises so far.

    Only the person-days between the most surprising fifth and the most surprising fiftieth are used: attacks are fewer
    than that. The mean excess of an exponential tail cut off there is .744 of the whole one's.
    """
    total = sum(bins)
    if total < 1:
        return _AS_MODELLED
    start, end = _quantile(bins, total, 0.8), _quantile(bins, total, 0.98)
    excess = weight = 0.0
    for number, count in enumerate(bins):
        middle = (number + 0.5) / 4
        if count and start < middle <= end:
            excess += count * (middle - start)
            weight += count
    measured = excess / weight / 0.744 if weight else 0.0
    mean = (weight * measured + _PRIOR_PERSON_DAYS * 0.18) / (weight + _PRIOR_PERSON_DAYS * 0.18)
    return _Scale(max(start, _LN5), max(mean, 1.0))


def _quantile(bins: Sequence[float], total: float, share: float) -> float:
    below = 0.0
    for number, count in enumerate(bins):
        below += count
        if below >= share * total:
            return (number + 1) / 4
    return len(bins) / 4


class Judge:
    """Judges closed hours and days against what the organisation and each entity have shown before."""

    def __init__(self, organisation: Organisation, tuning: Tuning, offset: Offset) -> None:
        self.organisation = organisation
        self.tuning = tuning
        self._offset = offset
        self._scales: dict[str, _Scale] = {}
        self._gathered = _Gathered()

    def _scale(self, metric: str) -> _Scale:
        scale = self._scales.get(metric)
        if scale is None:
            scale = self._scales[metric] = scale_of(self.organisation.surprises.get(metric, ()))
        return scale

    # --- an hour

    def service_hour(self, name: str, cell: ServiceCell, service: Service, hour: int) -> list[Anomaly]:
        """Judge an hour of a service, and add it to its day."""
        today = service.today
        today.day, today.last, today.rank, service.upto = hour // 24, cell.last, cell.rank, hour
        if cell.responses < _SERVICE_RESPONSES:
            return []
        slow = round(cell.slowness / cell.responses / 10)
        found: list[Anomaly] = []
        habit = service.habit
        if habit is not None and len(habit.peaks) >= _SOME:
            surprise, expected = _level(slow, habit.peaks, self._spread("service_response_time"))
            ready = len(habit.peaks) >= ACTIVE_DAYS and hour * HOUR - service.first >= LEARNING_DAYS * DAY
            expect, seen = math.exp(expected / 100), math.exp(slow / 100)
            self._weigh(
                found, today, name, "service_response_time", surprise, hour, cell.last, len(habit.peaks), expect, seen,
                f"answers took {seen:.0f} ms in the mean of an hour, up to {expect:.0f} ms are usual", ready=ready,
            )  # fmt: skip
        today.slow = max(today.slow, slow)
        return found

    def hour(self, name: str, cell: Cell, person: Person, hour: int, slow_services: frozenset[str]) -> list[Anomaly]:
        """Judge an hour of a user, and add it to the day."""
        today = self._begun(person, cell, hour)
        found: list[Anomaly] = []
        ready = person.days >= ACTIVE_DAYS and hour * HOUR - person.first >= LEARNING_DAYS * DAY
        asked = person.days >= _SOME
        for number, metric in enumerate(AMOUNTS):
            amount = cell.sums[number]
            if amount:
                today.sums[number] += amount
                today.peaks[number] = max(today.peaks[number], amount)
                if asked and metric in _HEAVY:
                    self._amount(found, name, person, metric, number, amount, hour, cell)
                elif asked:
                    self._count(found, name, person, metric, number, hour, cell, ready=ready)
        if cell.responses >= _RESPONSES:
            self._responses(found, name, person, hour, cell, slow_services)
        if asked:
            self._times(found, name, person, hour, cell, ready=ready)
            self._intervals(found, name, person, hour, cell, ready=ready)
        self._bits(person, hour, cell)
        self._travel(found, name, person, hour, cell, ready=ready)
        self._sessions(found, name, person, hour, cell, ready=ready)
        self._notice(name, person, cell)
        self._together(found, name, person, hour, ready=ready)
        return found

    def _begun(self, person: Person, cell: Cell, hour: int) -> Today:
        today = person.today
        if today.day != hour // 24:
            today = person.today = Today(day=hour // 24, sums=[0] * len(AMOUNTS), peaks=[0] * len(AMOUNTS))
            self._count_group("all")
        person.upto = hour
        person.first = min(person.first, cell.first)
        today.seen += cell.seen
        today.last = max(cell.last.values())
        today.rank = max(today.rank, cell.rank)
        groups = {f"role:{cell.role}"} if cell.role else set()
        groups |= {f"service:{service}" for service in sorted(cell.services)[:8]}
        for group in sorted(groups - set(today.groups)):
            today.groups.append(group)
            self._count_group(group)
        return today

    def _count_group(self, group: str) -> None:
        groups = self.organisation.groups
        groups[group] = groups.get(group, 0) + 1

    def _amount(
        self,
        found: list[Anomaly],
        name: str,
        person: Person,
        metric: str,
        number: int,
        amount: int,
        hour: int,
        cell: Cell,
    ) -> None:
        habit = person.habits.get(metric)
        if habit is None or len(habit.days) < _SOME:
            return
        ready = len(habit.days) >= ACTIVE_DAYS and hour // 24 - habit.since >= LEARNING_DAYS
        pooled, today = self._spread(metric), person.today
        by_hour, usual_hour = _heavy(amount, habit.peaks, pooled)
        by_day, usual_day = _heavy(today.sums[number], habit.days, pooled)
        surprise, expected, observed, over = (by_hour, usual_hour, amount, "an hour")
        if by_day > by_hour:
            surprise, expected, observed, over = (by_day, usual_day, today.sums[number], "the day so far")
        self._weigh(
            found, today, name, metric, surprise, hour, _last(cell, metric), len(habit.days), expected, observed,
            f"{observed:,} {METRICS[metric].tells} in {over}, {expected:,.0f} are usual", ready=ready,
        )  # fmt: skip

    def _count(
        self, found: list[Anomaly], name: str, person: Person, metric: str, number: int, hour: int, cell: Cell,
        *, ready: bool,
    ) -> None:  # fmt: skip
        place = number - len(HEAVY)
        observed = person.today.sums[number]
        mean, dispersion = self._rare(metric, sum(day[place] for day in person.counts), len(person.counts), 1)
        self._weigh(
            found, person.today, name, metric, count_surprise(observed, mean, dispersion), hour, _last(cell, metric),
            len(person.counts), round(mean, 2), observed,
            f"{observed:,} {METRICS[metric].tells} in a day, {mean:.2f} are usual", ready=ready,
        )  # fmt: skip

    def _rare(self, metric: str, total: int, days: int, over: int) -> tuple[float, float]:
        """Return the mean of a rare event over some days of a person, and its variance over its mean."""
        mean, square = self.organisation.means.get(metric, Rate()), self.organisation.squares.get(metric, Rate())
        all_days = mean.days + 20
        usual = (mean.hits + 1) / all_days
        spread = (square.hits + 1.5) / all_days - usual * usual
        dispersion = min(max(spread / usual, 1.2), 12.0)
        weight = _PRIOR_DAYS / 2
        return (total + weight * usual) / (days + weight) * over, dispersion

    def _responses(
        self, found: list[Anomaly], name: str, person: Person, hour: int, cell: Cell, slow_services: frozenset[str]
    ) -> None:
        slow = round(cell.slowness / cell.responses / 10)
        habit, today = person.habits.get("response_time"), person.today
        if habit is not None and len(habit.peaks) >= _SOME and not cell.services & slow_services:
            surprise, expected = _level(slow, habit.peaks, self._spread("response_time"))
            ready = len(habit.peaks) >= ACTIVE_DAYS and hour // 24 - habit.since >= LEARNING_DAYS
            usual, seen = math.exp(expected / 100), math.exp(slow / 100)
            self._weigh(
                found, today, name, "response_time", surprise, hour, today.last, len(habit.peaks), round(usual, 1),
                round(seen, 1), f"answers took {seen:.0f} ms in the mean of an hour, up to {usual:.0f} ms are usual",
                ready=ready,
            )  # fmt: skip
        today.slow = max(today.slow, slow)

    # --- when

    def _local(self, hour: int, cell: Cell) -> tuple[int, bool]:
        seconds = hour * 3600 + self._offset(cell.tz, hour * HOUR)
        return seconds // 3600 % 24, (seconds // 86_400 + 3) % 7 >= 5  # noqa: PLR2004 - the epoch was a Thursday

    def _bits(self, person: Person, hour: int, cell: Cell) -> None:
        clock, weekend = self._local(hour, cell)
        person.today.hours |= 1 << clock
        person.today.weekend = weekend

    def _times(
        self, found: list[Anomaly], name: str, person: Person, hour: int, cell: Cell, *, ready: bool
    ) -> None:
        clock, weekend = self._local(hour, cell)
        if person.today.hours >> clock & 1 or not person.hours:
            return
        chances = self._chances(person, weekend)
        chance = min(1.0, sum(other for other in chances if other <= chances[clock]))
        kind = "weekends" if weekend else "weekdays"
        zone = cell.tz or "UTC"
        self._weigh(
            found, person.today, name, "active_hour", -math.log(chance), hour, person.today.last,
            person.weekends if weekend else person.weekdays, f"{_usual(person.hours, weekend)}", f"{clock:02}:00 {zone}",
            f"active at {clock:02}:00 ({zone}), on {kind} {_usual(person.hours, weekend)} is usual", ready=ready,
        )  # fmt: skip

    def _chances(self, person: Person, weekend: bool) -> list[float]:
        """Return the chance of activity at each hour of such a day, shrunk towards that of the role."""
        start, days = (24, person.weekends) if weekend else (0, person.weekdays)
        own = person.hours[start : start + 24]
        role = next((group for group in person.today.groups if group.startswith("role:")), "")
        usual = self._role_chances("", start, [0.02] * 24, 10)
        if role:
            usual = self._role_chances(role, start, usual, 20)
        weight = _PRIOR_DAYS / 2
        near = [min(days, own[n] + 0.5 * max(own[n - 1], own[(n + 1) % 24])) for n in range(24)]
        return [(near[n] + weight * usual[n]) / (days + weight) for n in range(24)]

    def _role_chances(self, role: str, start: int, prior: list[float], weight: float) -> list[float]:
        counts = self.organisation.roles.get(role)
        if counts is None:
            return prior
        days = counts[49 if start else 48]
        return [(counts[start + n] + weight * prior[n]) / (days + weight) for n in range(24)]

    def _intervals(
        self, found: list[Anomaly], name: str, person: Person, hour: int, cell: Cell, *, ready: bool
    ) -> None:
        best = (0.0, 0, 0, 0.0, "")
        for kind, ticks in sorted(cell.ticks.items()):
            times = earliest(ticks)
            gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
            if len(gaps) < _ENOUGH_TIMES - 1:
                continue
            middle = median(gaps)
            if middle < _LEAST_GAP:
                continue
            even = sum(abs(gap - middle) <= _EVEN * middle for gap in gaps)
            chance = max(_EVEN_CHANCE, 0.1 + (max(person.regular) / 100 if person.regular else 0.0))
            if chance < 1:
                best = max(best, (binomial_surprise(even, len(gaps), chance), even, len(gaps), middle, kind))
        surprise, even, trials, middle, kind = best
        if not trials:
            return
        person.today.surprises["regular"] = max(person.today.surprises.get("regular", 0.0), 100 * even / trials)
        self._weigh(
            found, person.today, name, "regularity", surprise, hour, cell.last[kind], trials, 0.2,
            round(even / trials, 2),
            f"{even} of {trials} intervals between events ({kind}) are {middle / 1_000_000:.1f} s, as a program's are",
            ready=ready,
        )  # fmt: skip

    # --- where

    def _travel(
        self, found: list[Anomaly], name: str, person: Person, hour: int, cell: Cell, *, ready: bool
    ) -> None:
        if not cell.places:
            return
        stays = sorted((first, last, place) for place, (first, last) in cell.places.items())
        if person.place:
            latitude, longitude, at = person.place
            stays.insert(0, (at, at, (latitude, longitude)))
        worst: tuple[float, float, Micros, int] | None = None
        for number, here in enumerate(stays):
            for there in stays[number + 1 :]:
                away = distance(here[2], there[2])
                if away < _FAR_KM:
                    continue
                gap = max(60_000_000, min(abs(a - b) for a in here[:2] for b in there[:2]))
                speed = (away - _SLACK_KM) / (gap / HOUR)
                pair = digest(str(sorted((_coarse(here[2]), _coarse(there[2])))))
                if speed > _FAST_KMH and pair not in person.journeys and (worst is None or speed > worst[0]):
                    worst = (speed, away, max(here[0], there[0]), pair)
        last = max(stays, key=lambda stay: (stay[1], stay[2]))
        person.place = [*last[2], last[1]]
        if worst is None:
            return
        speed, away, at, pair = worst
        person.journeys = [*person.journeys[1 - _KNOWN_JOURNEYS :], pair]
        self._weigh(
            found, person.today, name, "travel", self._rarity("travel"), hour, at, len(stays), _FAST_KMH, round(speed),
            f"seen at two places {away:,.0f} km apart, {speed:,.0f} km/h at least", ready=ready,
        )  # fmt: skip

    def _sessions(
        self, found: list[Anomaly], name: str, person: Person, hour: int, cell: Cell, *, ready: bool
    ) -> None:
        known = {str(session[0]): session for session in person.sessions}
        for session, ways in sorted(cell.sessions.items()):
            key = f"{digest(session):x}"
            in_order = sorted(ways, key=lambda way: (ways[way][0], way))
            first = known.get(key)
            if first is None:
                first = known[key] = [key, *in_order[0]]
                person.sessions = [*person.sessions[1 - _SESSIONS :], first]
            _, program, network, country = first
            for way in in_order:
                changes = [
                    told
                    for told, before, now in (
                        ("program", program, way[0]), ("country", country, way[2]),
                    )
                    if before and now and before != now
                ]  # fmt: skip
                if changes:
                    surprise = self._rarity("session") + (1.2 if way[1] != network else 0.0)
                    self._weigh(
                        found, person.today, name, "session", surprise, hour, ways[way][0], len(in_order),
                        f"{program} {country}".strip(), f"{way[0]} {way[2]}".strip(),
                        f"a session went on with another {' and '.join(changes)}", ready=ready,
                    )  # fmt: skip
                    break

    def _notice(self, name: str, person: Person, cell: Cell) -> None:
        """Keep what is seen for the first time until the day is over."""
        organisation = self.organisation
        fields: dict[int, list[tuple[int, str]]] = {}
        for field, value in cell.values:
            fields.setdefault(field, []).append((digest(value), value))
        for field, values in sorted(fields.items()):
            known = person.known.setdefault(field, [])
            had = len(known)
            for value, tells in sorted(values):
                if value in known:
                    continue
                known.append(value)
                if person.days >= _SOME and len(organisation.novelties) < _MOST_NOVELTIES:
                    at = cell.last.get(_SHOWS.get(FIRST_SEEN[field], ""), 0) or max(cell.last.values())
                    groups = list(person.today.groups)
                    organisation.novelties.append(Novelty(name, field, value, at, groups, cell.rank, tells, had))
                else:
                    self._show(field, value)
            del known[:-_KNOWN_VALUES]

    def _show(self, field: int, value: int) -> None:
        shown = self.organisation.values.setdefault(field, {})
        shown[value] = shown.pop(value, 0) + 1
        if len(shown) > _MOST_VALUES:
            del shown[next(iter(shown))]

    # --- telling

    def _rarity(self, feature: str) -> float:
        """Return the surprise of what happens or does not, from how many person-days have shown it."""
        rate = self.organisation.rates.get(feature, Rate())
        prior = METRICS[feature].prior if feature in METRICS else METRICS[feature[:-1]].prior / 3
        return -math.log((rate.hits + prior * _PRIOR_PERSON_DAYS) / (rate.days + _PRIOR_PERSON_DAYS))

    def _spread(self, metric: str) -> float:
        rate = self.organisation.spreads.get(metric, Rate())
        return (rate.hits + 10 * _PRIOR_SPREAD) / (rate.days + 10)

    def _weigh(
        self,
        found: list[Anomaly],
        today: Today,
        entity: str,
        metric: str,
        surprise: float,
        hour: int,
        at: Micros,
        n: int,
        expected: float | str,
        observed: float | str,
        reason: str,
        *,
        ready: bool,
    ) -> None:
        """Remember a surprise, and tell of it if it is large, new, and not a learner's."""
        if surprise <= 0:
            return
        today.surprises[metric] = max(today.surprises.get(metric, 0.0), round(surprise, 3))
        limits, facts = self.tuning.of(metric), METRICS[metric]
        if not ready or not limits.enabled:
            return
        corrected = self._scale(metric).corrected(surprise) if metric not in _RATED else surprise
        score = round(score_of(corrected), 3)
        if score < limits.report or score < today.told.get(metric, 0.0) + _TOLD_APART:
            return
        today.told[metric] = score
        severity = (
            Severity.HIGH if score >= limits.high else Severity.MEDIUM if score >= limits.medium else Severity.LOW
        )
        found.append(
            Anomaly(
                id=_id(facts.entity, entity, metric, hour),
                entity=entity,
                entity_type=facts.entity,
                metric=metric,
                type=facts.type,
                method=facts.kind.value,
                n=n,
                expected=expected if isinstance(expected, str) else round(expected, 3),
                observed=observed,
                score=score,
                severity=severity,
                at=at,
                reason=reason,
                rank=today.rank,
            )
        )

    def _together(self, found: list[Anomaly], name: str, person: Person, hour: int, *, ready: bool) -> None:
        """Judge what several families of metrics say together."""
        families: dict[str, tuple[float, str]] = {}
        for metric, surprise in person.today.surprises.items():
            facts = METRICS.get(metric)
            if facts is None or not facts.family or not self.tuning.of(metric).enabled:
                continue
            corrected = surprise if metric in _RATED else self._scale(metric).corrected(surprise)
            families[facts.family] = max(families.get(facts.family, (0.0, "")), (corrected, metric))
        parts = sorted(((value - _MILD, metric) for value, metric in families.values() if value > _MILD), reverse=True)
        if len(parts) < 2:  # noqa: PLR2004 - one alone is judged by itself
            return
        total = sum(value for value, _ in parts)
        names = ", ".join(metric for _, metric in parts[:6])
        several = len(parts) > 2 or parts[1][0] > 2  # noqa: PLR2004 - else the first alone says it
        self._weigh(
            found, person.today, name, "behaviour", total, hour, person.today.last, person.days, "usual in each",
            names, f"unusual together: {names}", ready=ready and several,
        )  # fmt: skip

    # --- a day

    def rollouts(self, day: int) -> dict[tuple[int, int], bool]:
        """Return by field and value, of those first seen on the day that is over, whether many share it."""
        organisation = self.organisation
        users: dict[str, set[str]] = {}
        for novelty in organisation.novelties:
            for group in [*novelty.groups, "all"]:
                users.setdefault(_key(novelty, group), set()).add(novelty.entity)
        counts = {key: len(names) for key, names in users.items()}
        many = {}
        for novelty in organisation.novelties:
            at_once = False
            for group in [*novelty.groups, "all"]:
                key = _key(novelty, group)
                adopted = counts[key] + organisation.adopted.get(key, 0)
                members = max(organisation.groups.get(group, 0), 1)
                alone = _MANY_ALONE if group != "all" else 3 * _MANY_ALONE
                at_once |= adopted >= alone or (adopted >= _MANY and adopted >= _MANY_SHARE * members)
            many[novelty.field, novelty.value] = many.get((novelty.field, novelty.value), False) or at_once
        organisation.adopted = dict(sorted(counts.items(), key=lambda pair: -pair[1])[:_MOST_VALUES])
        return many

    def day(
        self, name: str, person: Person, day: int, novelties: Sequence[Novelty], many: Mapping[tuple[int, int], bool]
    ) -> list[Anomaly]:
        """Judge what needs a whole day of a user, then learn it."""
        found: list[Anomaly] = []
        hour = 24 * day + 23
        ready = person.days >= ACTIVE_DAYS and hour * HOUR - person.first >= LEARNING_DAYS * DAY
        whole = (hour + 1) * HOUR - self.organisation.first >= LEARNING_DAYS * DAY
        if person.days >= _SOME:
            self._first_seen(found, name, person, hour, novelties, many, ready=ready and whole)
            self._trends(found, name, person, hour, ready=ready)
            self._together(found, name, person, hour, ready=ready)
        self._gather(name, person, novelties)
        self._learn(person, day)
        return found

    def _first_seen(
        self,
        found: list[Anomaly],
        name: str,
        person: Person,
        hour: int,
        novelties: Sequence[Novelty],
        many: Mapping[tuple[int, int], bool],
        *,
        ready: bool,
    ) -> None:
        organisation, today = self.organisation, person.today
        people = max(organisation.groups.get("all", 1), 1)
        for novelty in novelties:
            if many[novelty.field, novelty.value]:
                continue
            field = FIRST_SEEN[novelty.field]
            metric = f"new_{field}"
            shown = organisation.values.get(novelty.field, {}).get(novelty.value, 0)
            rare = shown <= _RARE_SHARE * people
            feature = f"{metric}!" if rare else metric
            today.surprises[f"saw {feature}"] = 1.0
            if not novelty.known and field not in {"country"}:
                continue  # whoever never showed any has begun something; `activity` tells that
            elsewhere = "nobody else has" if not shown else f"{shown} others have"
            self._weigh(
                found, today, name, metric, self._rarity(feature), hour, novelty.at, novelty.known,
                f"one of {novelty.known} known", novelty.tells,
                f"{METRICS[metric].tells} for the first time: {novelty.tells}; {elsewhere}", ready=ready,
            )  # fmt: skip

    def _trends(self, found: list[Anomaly], name: str, person: Person, hour: int, *, ready: bool) -> None:
        today, number = person.today, AMOUNTS.index("rows")
        habit = person.habits.get("rows")
        if habit is not None and today.sums[number] and len(habit.days) >= ACTIVE_DAYS + _TREND_DAYS - 1:
            recent = [*habit.days[1 - _TREND_DAYS :], squeezed(today.sums[number])]
            before = habit.days[: 1 - _TREND_DAYS]
            middle = median(before)
            spread = _shrunk(before, middle, self._spread("rows")) * math.sqrt(1 / _TREND_DAYS + 0.1 + 1 / len(before))
            lift = sum(recent) / len(recent) - middle
            enough = ready and hour // 24 - habit.since >= LEARNING_DAYS and min(recent) > middle
            usual, seen = math.expm1(middle / 100), math.expm1((middle + lift) / 100)
            self._weigh(
                found, today, name, "rising_rows", student_surprise(lift / spread, len(before) + _PRIOR_DAYS - 1),
                hour, today.last, len(before), usual, round(seen),
                f"{seen:,.0f} rows a day over {_TREND_DAYS} days, {usual:,.0f} before", ready=enough,
            )  # fmt: skip
        place = COUNTS.index("refusals")
        now = today.sums[len(HEAVY) + place]
        if now and len(person.counts) >= ACTIVE_DAYS + 2:
            last = [day[place] for day in person.counts[-4:]]
            old = [day[place] for day in person.counts[:-4]] or [0]
            mean, dispersion = self._rare("refusals", sum(old), len(old), len(last) + 1)
            observed = sum(last) + now
            several = sum(map(bool, last)) >= 2  # noqa: PLR2004 - else the day alone says it
            self._weigh(
                found, today, name, "rising_refusals", count_surprise(observed, mean, dispersion), hour, today.last,
                len(old), round(mean, 2), observed,
                f"{observed} refused rights in {len(last) + 1} days, {mean:.1f} are usual", ready=ready and several,
            )  # fmt: skip

    # --- learning

    def _learn(self, person: Person, day: int) -> None:
        today = person.today
        for number, metric in enumerate(HEAVY):
            if today.sums[number]:
                habit = person.habits.get(metric)
                if habit is None:
                    habit = person.habits[metric] = Habit(since=day)
                clip = self._clips(habit, today, metric)
                habit.learn(
                    _clipped(squeezed(today.sums[number]), habit.days, self._spread(metric), clip=clip),
                    _clipped(squeezed(today.peaks[number]), habit.peaks, self._spread(metric), clip=clip),
                )
        if today.slow:
            habit = person.habits.get("response_time")
            if habit is None:
                habit = person.habits["response_time"] = Habit(since=day)
            clip = self._clips(habit, today, "response_time")
            slow = _clipped(today.slow, habit.peaks, self._spread("response_time"), clip=clip)
            habit.learn(slow, slow)
        counts = [min(today.sums[len(HEAVY) + place], 99) for place in range(len(COUNTS))]
        person.counts = [*person.counts[1 - HISTORY :], counts]
        person.regular = [*person.regular[1 - HISTORY :], round(today.surprises.get("regular", 0))]
        person.days += 1
        self._learn_hours(person, day)

    def _clips(self, habit: Habit, today: Today, metric: str) -> bool:
        flagged = today.told.get(metric, 0.0) >= self.tuning.of(metric).report
        habit.flagged = habit.flagged + 1 if flagged else 0
        return 0 < habit.flagged < _ACCEPTED

    def _learn_hours(self, person: Person, day: int) -> None:
        person.hours = person.hours or [0] * 48
        today = person.today
        since = person.weekdays + person.weekends
        first = person.first // DAY
        for other in range(max(day - 6, first + since), day + 1):  # days off count, too: nothing happened then
            if (other + 3) % 7 >= 5:  # noqa: PLR2004 - the epoch was a Thursday
                person.weekends += 1
            else:
                person.weekdays += 1
        odd = today.told.get("active_hour", 0.0) >= self.tuning.of("active_hour").medium
        start = 24 if today.weekend else 0
        if not odd:
            for clock in range(24):
                person.hours[start + clock] += today.hours >> clock & 1
        if person.weekdays + person.weekends >= 2 * 28:
            person.hours = [count // 2 for count in person.hours]
            person.weekdays, person.weekends = person.weekdays // 2, person.weekends // 2
            person.first = max(person.first, (day + 1 - person.weekdays - person.weekends) * DAY)

    def service_day(self, service: Service, day: int) -> None:
        """Learn a day of a service."""
        today = service.today
        if not today.slow:
            return
        if service.habit is None:
            service.habit = Habit(since=day)
        clip = self._clips(service.habit, today, "service_response_time")
        slow = _clipped(today.slow, service.habit.peaks, self._spread("service_response_time"), clip=clip)
        service.habit.learn(slow, slow)

    # --- what days tell about everybody

    def _gather(self, name: str, person: Person, novelties: Sequence[Novelty]) -> None:
        gathered, today = self._gathered, person.today
        for number, metric in enumerate(COUNTS, start=len(HEAVY)):
            count = 0 if self._told(today, metric, "report") else today.sums[number]
            gathered.add("means", metric, count, 1)
            gathered.add("squares", metric, count * count, 1)
        for metric, habit in person.habits.items():
            if len(habit.days) >= _SOME:
                gathered.add("spreads", metric, spread_of(habit.peaks, median(habit.peaks)), 1)
        role = next((group for group in today.groups if group.startswith("role:")), "")
        if not self._told(today, "active_hour", "medium"):
            for group in {role, ""}:
                gathered.hours(group, today.hours, weekend=today.weekend)
        for novelty in novelties:
            if not self._told(today, f"new_{FIRST_SEEN[novelty.field]}", "medium"):
                gathered.shown.append((novelty.field, novelty.value))
        if person.days < _SOME:
            return
        gathered.days += 1
        for metric, surprise in today.surprises.items():
            if metric.startswith("saw "):
                feature = metric[4:]
                if not self._told(today, feature.removesuffix("!"), "medium"):
                    gathered.add("rates", feature, 1, 0)
            elif metric in _RATED:
                if metric in {"travel", "session"} and not self._told(today, metric, "medium"):
                    gathered.add("rates", metric, 1, 0)
            elif metric in METRICS and not self._told(today, metric, "medium"):
                gathered.surprise(metric, surprise)

    def _told(self, today: Today, metric: str, level: str) -> bool:
        return today.told.get(metric, 0.0) >= getattr(self.tuning.of(metric), level)

    def finish(self, day: int) -> None:
        """Learn what the people's days, all given to `day` by now, tell about the organisation."""
        organisation, gathered = self.organisation, self._gathered
        for bins in organisation.surprises.values():
            bins[:] = [round(count * _FADES, 4) for count in bins]
        for metric in [name for name in METRICS if name not in _RATED and METRICS[name].entity == USER]:
            bins = organisation.surprises.setdefault(metric, [0.0] * _BINS)
            for number, count in gathered.surprises.get(metric, {}).items():
                bins[number] += count
            bins[0] += gathered.days - sum(gathered.surprises.get(metric, {}).values())
        for name in ("spreads", "means", "squares", "rates"):
            rates: dict[str, Rate] = getattr(organisation, name)
            for rate in rates.values():
                rate.hits, rate.days = round(rate.hits * _FADES, 4), round(rate.days * _FADES, 4)
            for feature, (hits, days) in sorted(gathered.rates.get(name, {}).items()):
                rate = rates.setdefault(feature, Rate())
                rate.hits, rate.days = rate.hits + hits, rate.days + days
        for feature in _FEATURES:
            organisation.rates.setdefault(feature, Rate()).days += gathered.days
        for role, counts in sorted(gathered.roles.items()):
            if role in organisation.roles or len(organisation.roles) < _MOST_ROLES:
                before = organisation.roles.setdefault(role, [0.0] * 50)
                before[:] = [round(a * _FADES + b, 4) for a, b in zip(before, counts, strict=True)]
        for field, value in gathered.shown:
            self._show(field, value)
        organisation.groups, organisation.novelties = {}, []
        self._scales, self._gathered = {}, _Gathered()


class _Gathered:
    """What the days of people tell about everybody, until all are in."""

    def __init__(self) -> None:
        self.days = 0
        self.surprises: dict[str, dict[int, int]] = {}
        self.rates: dict[str, dict[str, tuple[float, float]]] = {}
        self.roles: dict[str, list[float]] = {}
        self.shown: list[tuple[int, int]] = []

    def add(self, name: str, feature: str, hits: float, days: float) -> None:
        rates = self.rates.setdefault(name, {})
        before = rates.get(feature, (0.0, 0.0))
        rates[feature] = (before[0] + hits, before[1] + days)

    def surprise(self, metric: str, surprise: float) -> None:
        bins = self.surprises.setdefault(metric, {})
        number = min(int(surprise * 4), _BINS - 1)
        bins[number] = bins.get(number, 0) + 1

    def hours(self, role: str, bits: int, *, weekend: bool) -> None:
        counts = self.roles.setdefault(role, [0.0] * 50)
        start = 24 if weekend else 0
        for clock in range(24):
            counts[start + clock] += bits >> clock & 1
        counts[49 if weekend else 48] += 1


_HEAVY = frozenset(HEAVY)
_RATED = frozenset({"travel", "session", *(f"new_{name}" for name in FIRST_SEEN)})
_FEATURES = ("travel", "session", *(f"new_{n}" for n in FIRST_SEEN), *(f"new_{n}!" for n in FIRST_SEEN))
_SHOWS = {"tool": "tool_execution", "table": "data_access", "resource": "authorization"}
_SHOWN_BY = {
    "rows": "data_access", "sensitive_rows": "data_access", "accesses": "data_access", "tools": "tool_execution",
    "requests": "network_request", "bytes": "network_request", "login_failures": "authentication",
    "refusals": "authorization",
}  # fmt: skip


def _last(cell: Cell, metric: str) -> Micros:
    return cell.last.get(_SHOWN_BY.get(metric, ""), 0) or max(cell.last.values())


def _heavy(amount: int, days: Sequence[int], pooled: float) -> tuple[float, float]:
    """Return the surprise of an amount, and the usual one."""
    middle = median(days)
    spread = _shrunk(days, middle, pooled) * math.sqrt(1 + 1 / len(days))
    surprise = student_surprise((squeezed(amount) - middle) / spread, len(days) + _PRIOR_DAYS - 1)
    return surprise, round(math.expm1(middle / 100), 1)


def _shrunk(values: Sequence[float], middle: float, pooled: float) -> float:
    own = spread_of(values, middle)
    n = len(values)
    return max(float(_FLOOR), math.sqrt((n * own * own + _PRIOR_DAYS * pooled * pooled) / (n + _PRIOR_DAYS)))


def _level(value: int, peaks: Sequence[int], pooled: float) -> tuple[float, float]:
    """Return the surprise of a mean level by its z-score, and the usual one."""
    n, mean = len(peaks), sum(peaks) / len(peaks)
    variance = sum((peak - mean) ** 2 for peak in peaks)
    pooled = min(pooled, _PRIOR_SPREAD)
    spread = max(float(_FLOOR), math.sqrt((variance + _PRIOR_DAYS * pooled * pooled) / (n + _PRIOR_DAYS)))
    return student_surprise((value - mean) / spread / math.sqrt(1 + 1 / n), n + _PRIOR_DAYS - 1), mean


def _clipped(value: int, before: Sequence[int], pooled: float, *, clip: bool) -> int:
    if not clip or not before:
        return value
    middle = median(before)
    return min(value, round(middle + 2 * _shrunk(before, middle, pooled)))


def _usual(hours: Sequence[int], weekend: bool) -> str:
    mine = hours[24:] if weekend else hours[:24]
    most = max(mine, default=0)
    active = [clock for clock, count in enumerate(mine) if count and 3 * count >= most]
    return f"{active[0]:02}:00 to {(active[-1] + 1) % 24:02}:00" if active else "no hour"


def _key(novelty: Novelty, group: str) -> str:
    return f"{novelty.field} {novelty.value:x} {group}"


def _coarse(place: tuple[int, int]) -> tuple[int, int]:
    return (round(place[0] / 20), round(place[1] / 20))


def distance(here: tuple[int, int], there: tuple[int, int]) -> float:
    """Return kilometres between places in tenths of a degree (haversine)."""
    first, second = math.radians(here[0] / 10), math.radians(there[0] / 10)
    across = math.radians((there[1] - here[1]) / 10)
    half = math.sin((second - first) / 2) ** 2 + math.cos(first) * math.cos(second) * math.sin(across / 2) ** 2
    return 2 * 6371 * math.asin(min(1.0, math.sqrt(half)))


def _id(entity_type: str, entity: str, metric: str, hour: int) -> str:
    name = f"anomaly\0{entity_type}\0{entity}\0{metric}\0{hour}"
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
