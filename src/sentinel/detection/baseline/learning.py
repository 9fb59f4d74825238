"""What a day that is over teaches: about its entity, and about the organisation."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Final

import msgspec

from sentinel.detection.baseline.cells import DAY
from sentinel.detection.baseline.habits import (
    HISTORY,
    Habit,
    Novelty,
    Organisation,
    Person,
    Rate,
    Service,
    Today,
    squeezed,
)
from sentinel.detection.baseline.metrics import COUNTS, FIRST_SEEN, HEAVY, METRICS, RATED, USER
from sentinel.detection.baseline.scales import BINS, bin_of
from sentinel.detection.baseline.tails import median, spread_of
from sentinel.detection.baseline.tuning import Tuning

__all__ = ["PRIOR_DAYS", "SAW", "SOME", "Lessons", "learn", "learn_service", "pooled_spread", "show", "shrunk"]

SOME: Final = 3
"""Days of somebody after which the models are asked silently, to see how surprised they are."""
PRIOR_DAYS: Final = 6
"""Days of one's own that weigh as much as what is known of the others."""
SAW: Final = "saw "
"""How what was seen for the first time on a day is remembered among its surprises."""

_FLOOR = 20.0  # the least spread, in hundredths: a fifth more or less is never news
_PRIOR_SPREAD = 60.0
_FADES = 0.97  # a day: half after three weeks
_ACCEPTED = 5  # flagged days in a row, after which what was unusual is the new habit
_MOST_VALUES = 5_000
_MOST_ROLES = 200
_MOST_NEW_ROLES = 1_000  # looked at on one day; senders may invent any number
_SATURDAY = 5
_LONG = 56  # days, after which an hour's counts are halved, so that old habits fade
_FEATURES = ("travel", "travel!", "session", *(f"new_{n}" for n in FIRST_SEEN), *(f"new_{n}!" for n in FIRST_SEEN))


def weekend(day: int) -> bool:
    """Whether a day since 1970 is a Saturday or a Sunday; the epoch was a Thursday."""
    return (day + 3) % 7 >= _SATURDAY


def pooled_spread(organisation: Organisation, metric: str) -> float:
    """Return how far an entity's days lie from its middle, in the mean of all, in hundredths."""
    rate = organisation.spreads.get(metric, Rate())
    return (rate.hits + 10 * _PRIOR_SPREAD) / (rate.days + 10)


def shrunk(values: Sequence[float], middle: float, pooled: float) -> float:
    """Return the spread of some days, shrunk towards that of the organisation."""
    own, n = spread_of(values, middle), len(values)
    return max(_FLOOR, math.sqrt((n * own * own + PRIOR_DAYS * pooled * pooled) / (n + PRIOR_DAYS)))


def learn(person: Person, day: int, organisation: Organisation, tuning: Tuning) -> None:
    """Add the day to what is remembered of a user."""
    today = person.today
    days = {
        metric: (squeezed(today.sums[number]), squeezed(today.peaks[number]))
        for number, metric in enumerate(HEAVY)
        if today.sums[number]
    }
    if today.slow:
        days["response_time"] = (today.slow, today.slow)
    for metric, amounts in days.items():
        habit = person.habits.setdefault(metric, Habit(since=today.first))
        odd = _told(today, metric, tuning.of(metric).report)
        _extend(habit, amounts, pooled_spread(organisation, metric), odd=odd)
    rare = [min(count, 99) for count in today.sums[len(HEAVY) :]]
    person.counts = [*person.counts[1 - HISTORY :], rare]
    person.regular = [*person.regular[1 - HISTORY :], today.even]
    person.days += 1
    _learn_hours(person, day, odd=_told(today, "active_hour", tuning.of("active_hour").medium))


def learn_service(service: Service, organisation: Organisation, tuning: Tuning) -> None:
    """Add the day to what is remembered of a service."""
    slow, metric = service.today.slow, "service_response_time"
    if slow:
        service.habit = service.habit or Habit(since=service.today.first)
        odd = _told(service.today, metric, tuning.of(metric).report)
        _extend(service.habit, (slow, slow), pooled_spread(organisation, metric), odd=odd)


def _extend(habit: Habit, amounts: tuple[int, int], pooled: float, *, odd: bool) -> None:
    """Add a day's total and largest hour, clipped if the day was told of."""
    habit.flagged = habit.flagged + 1 if odd else 0
    total, peak = amounts
    if 0 < habit.flagged < _ACCEPTED:
        total, peak = _clipped(total, habit.days, pooled), _clipped(peak, habit.peaks, pooled)
    habit.learn(total, peak)


def _clipped(value: int, before: Sequence[int], pooled: float) -> int:
    if not before:
        return value
    middle = median(before)
    return min(value, round(middle + 2 * shrunk(before, middle, pooled)))


def _told(today: Today, metric: str, limit: float) -> bool:
    return today.told.get(metric, 0.0) >= limit


def _learn_hours(person: Person, day: int, *, odd: bool) -> None:
    person.hours = person.hours or [0] * 48
    today = person.today
    for passed in range(max(day - 13, person.counted, person.first // DAY), day + 1):  # days off say something, too
        if weekend(passed):
            person.weekends += 1
        else:
            person.weekdays += 1
    person.counted = day + 1
    start = 24 if today.weekend else 0
    if not odd:
        for clock in range(24):
            person.hours[start + clock] += today.hours >> clock & 1
    if person.weekdays + person.weekends >= _LONG:
        person.hours = [count // 2 for count in person.hours]
        person.weekdays, person.weekends = person.weekdays // 2, person.weekends // 2


def show(organisation: Organisation, field: int, value: int) -> None:
    """Count one more user who has shown a value."""
    shown = organisation.values.setdefault(field, {})
    shown[value] = shown.pop(value, 0) + 1
    if len(shown) > _MOST_VALUES:
        del shown[next(iter(shown))]


class Lessons(msgspec.Struct, array_like=True):
    """What the days of people tell about everybody; nobody is judged by it until all are in."""

    days: int = 0
    surprises: dict[str, dict[int, int]] = {}
    """By metric, how many days fell into each bin."""
    rates: dict[str, dict[str, tuple[float, float]]] = {}
    roles: dict[str, list[float]] = {}
    shown: list[tuple[int, int]] = []
    """Fields and values that somebody showed for the first time."""

    def gather(self, person: Person, novelties: Sequence[Novelty], tuning: Tuning, known_roles: Container[str]) -> None:
        """Take in a day of a user; what was called an anomaly is left out, or an attack would look usual."""
        today = person.today

        def loud(metric: str) -> bool:
            return _told(today, metric, tuning.of(metric).medium)

        for number, metric in enumerate(COUNTS, start=len(HEAVY)):
            count = 0 if _told(today, metric, tuning.of(metric).report) else today.sums[number]
            self._add("means", metric, count, 1)
            self._add("squares", metric, count * count, 1)
        for metric, habit in person.habits.items():
            if len(habit.days) >= SOME:
                self._add("spreads", metric, spread_of(habit.peaks, median(habit.peaks)), 1)
        if not loud("active_hour"):
            for role in {"", *(group for group in today.groups if group.startswith("role:"))}:
                if role in self.roles or role in known_roles or len(self.roles) < _MOST_NEW_ROLES:
                    self._add_hours(role, today)
        self.shown += [
            (novelty.field, novelty.value) for novelty in novelties if not loud(f"new_{FIRST_SEEN[novelty.field]}")
        ]
        if person.days >= SOME:
            self._gather_surprises(today.surprises, {metric for metric in today.told if loud(metric)})

    def _gather_surprises(self, surprises: Mapping[str, float], loud: set[str]) -> None:
        self.days += 1
        for metric, surprise in surprises.items():
            feature = metric.removeprefix(SAW)
            if feature.removesuffix("!") in loud:
                continue
            if feature != metric:
                self._add("rates", feature, 1, 0)
            elif metric not in RATED:
                bins = self.surprises.setdefault(metric, {})
                bins[bin_of(surprise)] = bins.get(bin_of(surprise), 0) + 1

    def _add(self, name: str, feature: str, hits: float, days: float) -> None:
        rates = self.rates.setdefault(name, {})
        before = rates.get(feature, (0.0, 0.0))
        rates[feature] = (before[0] + hits, before[1] + days)

    def _add_hours(self, role: str, today: Today) -> None:
        counts = self.roles.setdefault(role, [0.0] * 50)
        start = 24 if today.weekend else 0
        for clock in range(24):
            counts[start + clock] += today.hours >> clock & 1
        counts[49 if today.weekend else 48] += 1

    def teach(self, organisation: Organisation) -> None:
        """Add a whole day to what is remembered of all together; what is old fades."""
        for metric in [name for name, facts in METRICS.items() if name not in RATED and facts.entity == USER]:
            counts = self.surprises.get(metric, {})
            bins = [count * _FADES for count in organisation.surprises.get(metric, [0.0] * BINS)]
            bins[0] += self.days - sum(counts.values())
            for number, count in counts.items():
                bins[number] += count
            organisation.surprises[metric] = [round(count, 4) for count in bins]
        for name in ("spreads", "means", "squares", "rates"):
            _fade(getattr(organisation, name), self.rates.get(name, {}))
        for feature in _FEATURES:
            organisation.rates.setdefault(feature, Rate()).days += self.days
        for role, counts_by_hour in sorted(self.roles.items()):
            if role in organisation.roles or len(organisation.roles) < _MOST_ROLES:
                before = organisation.roles.get(role, [0.0] * 50)
                organisation.roles[role] = [
                    round(old * _FADES + new, 4) for old, new in zip(before, counts_by_hour, strict=True)
                ]
        for field, value in self.shown:
            show(organisation, field, value)
        organisation.groups, organisation.novelties = {}, []


def _fade(rates: dict[str, Rate], fresh: Mapping[str, tuple[float, float]]) -> None:
    for rate in rates.values():
        rate.hits, rate.days = round(rate.hits * _FADES, 4), round(rate.days * _FADES, 4)
    for feature, (hits, days) in sorted(fresh.items()):
        rate = rates.setdefault(feature, Rate())
        rate.hits, rate.days = rate.hits + hits, rate.days + days
