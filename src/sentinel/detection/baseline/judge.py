"""
Closed hours and days -> anomalies.

Theory of operation. Each hour that closes is laid upon the day under way of everybody who was active in it, and each
metric is asked how surprising the day is so far, given the days before. At the end of a day what needs the whole day is
judged (first-seen values, because a roll-out must be told from a lone case; trends), then the day is learnt.

Three things keep models honest that know a person for a week or two:

- Spreads and rates are shrunk towards those of the organisation (empirical Bayes), by a few days' worth.
- A model's surprise is corrected by how surprised it was on everybody's days before (`scales`): if days that it calls
  one in a thousand come every week, its surprise is stretched until they don't.
- A day that was called an anomaly is learnt clipped, and not counted among the surprises and rates (`learning`), so an
  attack does not make the next one look usual; what goes on for five of its days in a row is the new habit.

Everything here is a function of the closed hours in their order, and of entities in order of their names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from sentinel.detection.baseline.anomaly import Anomaly, Case
from sentinel.detection.baseline.cells import AMOUNTS, HOUR, Cell, ServiceCell, earliest
from sentinel.detection.baseline.habits import (
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
from sentinel.detection.baseline.learning import (
    PRIOR_DAYS,
    SAW,
    SOME,
    Lessons,
    learn,
    learn_service,
    pooled_spread,
    show,
    shrunk,
    weekend,
)
from sentinel.detection.baseline.metrics import COUNTS, FIRST_SEEN, HEAVY, METRICS, RATED
from sentinel.detection.baseline.scales import Scale, scale_of
from sentinel.detection.baseline.tails import binomial_surprise, count_surprise, median, student_surprise
from sentinel.detection.baseline.tuning import Tuning
from sentinel.model import Micros

__all__ = ["ACTIVE_DAYS", "Judge", "usual_hours"]

ACTIVE_DAYS: Final = 5
"""Decisions, H1: on so many days an entity and metric must have been seen."""

_PRIOR_PERSON_DAYS = 300  # of the organisation, that the rates of the catalogue weigh
_TIMES = 21  # events of a kind in an hour, for twenty intervals
_LEAST_GAP: Micros = 900_000  # programs that answer people call each other faster than that
_EVEN = 0.1  # of the middle interval, within which another is called equal
_EVEN_CHANCE = 0.2
_FAST_KMH = 1000
_IMPOSSIBLE_KMH = 2000  # no airliner; below, coordinates or clocks may be wrong
_FAR_KM = 300
_SLACK_KM = 100  # the coordinates of an address are those of its provider
_KNOWN_VALUES = 64
_KNOWN_JOURNEYS = 16
_SESSIONS = 8
_RESPONSES = 5
_SERVICE_RESPONSES = 20
_MANY, _MANY_SHARE, _MANY_ALONE = 3, 0.2, 5
_MOST_ADOPTED = 5_000
_MOST_NOVELTIES = 20_000
_MOST_GROUPS = 20_000  # counted in a day; of others nobody knows how large they are
_RARE_SHARE = 0.01
_TREND_DAYS = 3
_REFUSAL_DAYS = 5
_MILD = 1.0  # nats of a family that mean nothing
_BOTH = 2.0  # nats that the second of two must have at least

_lessons = msgspec.msgpack.Decoder(Lessons)

Offset = Callable[[str, Micros], int]
"""By name of a time zone and a time, its offset from UTC in seconds."""


class Judge:
    """Judges closed hours and days against what the organisation and each entity have shown before."""

    def __init__(self, organisation: Organisation, tuning: Tuning, offset: Offset) -> None:
        self.organisation = organisation
        self.tuning = tuning
        self._offset = offset
        self._scales: dict[str, Scale] = {}
        self._lessons = _lessons.decode(organisation.lessons) if organisation.lessons else Lessons()

    def _correct(self, metric: str, surprise: float) -> float:
        if metric in RATED:
            return surprise
        scale = self._scales.get(metric)
        if scale is None:
            scale = self._scales[metric] = scale_of(self.organisation.surprises.get(metric, ()))
        return scale.corrected(surprise)

    def _case(self, name: str, hour: int, entity: Person | Service) -> Case:
        ready = not isinstance(entity, Person) or entity.days >= ACTIVE_DAYS
        return Case(name, hour, entity.today, ready, entity.first, self.tuning, self._correct)

    # --- an hour

    def service_hour(self, name: str, cell: ServiceCell, service: Service, hour: int) -> list[Anomaly]:
        """Judge an hour of a service, and add it to its day."""
        if service.today.day != hour // 24:
            service.today = Today(day=hour // 24, first=cell.first)
        today = service.today
        today.came(cell)
        case = self._case(name, hour, service)
        if cell.responses >= _SERVICE_RESPONSES:
            self._level(case, "service_response_time", _slowness(cell), service.habit, cell.last)
        return case.found

    def hour(self, name: str, cell: Cell, person: Person, hour: int, slow_services: frozenset[str]) -> list[Anomaly]:
        """
        Judge an hour of a user, and add it to the day.

        Args:
            name: Of the user.
            cell: The hour.
            person: What is remembered; changed.
            hour: Since 1970.
            slow_services: Those that were slow for everybody in this hour.
        """
        today = self._begin(person, cell, hour)
        case = self._case(name, hour, person)
        for number, amount in enumerate(cell.sums):
            if amount:
                today.sums[number] += amount
                today.peaks[number] = max(today.peaks[number], amount)
        if person.days >= SOME:
            self._amounts(case, cell, person)
            self._counts(case, cell, person)
            self._clock(case, cell, person)
            self._intervals(case, cell, person)
        if cell.responses >= _RESPONSES:
            habit = None if cell.services & slow_services else person.habits.get("response_time")
            self._level(case, "response_time", _slowness(cell), habit, today.last)
        clock, today.weekend = self._local(cell, hour)
        today.hours |= 1 << clock
        self._journeys(case, cell, person)
        self._sessions(case, cell, person)
        self._notice(case, cell, person)
        self._together(case, person)
        return case.found

    def _begin(self, person: Person, cell: Cell, hour: int) -> Today:
        groups = self.organisation.groups
        if person.today.day != hour // 24:
            person.today = Today(day=hour // 24, first=cell.first, sums=[0] * len(AMOUNTS), peaks=[0] * len(AMOUNTS))
            groups["all"] = groups.get("all", 0) + 1
        today = person.today
        person.first = min(person.first, cell.first)
        today.last = max(cell.last.values())
        today.came(cell)
        told = [f"role:{cell.role}"] if cell.role else []
        for group in sorted({*told, *(f"service:{service}" for service in cell.services)} - set(today.groups)):
            today.groups.append(group)
            if group in groups or len(groups) < _MOST_GROUPS:
                groups[group] = groups.get(group, 0) + 1
        return today

    # --- how much

    def _amounts(self, case: Case, cell: Cell, person: Person) -> None:
        for number, metric in enumerate(HEAVY):
            habit, amount = person.habits.get(metric), cell.sums[number]
            if not amount or habit is None or len(habit.days) < SOME:
                continue
            pooled = pooled_spread(self.organisation, metric)
            whole = case.today.sums[number]
            by_hour, by_day = _amount(amount, habit.peaks, pooled), _amount(whole, habit.days, pooled)
            (surprise, usual), observed, over = max((by_hour, amount, "an hour"), (by_day, whole, "the day so far"))
            case.weigh(
                metric,
                surprise,
                at=_last(cell, metric),
                n=len(habit.days),
                expected=usual,
                observed=observed,
                reason=f"{observed:,} {METRICS[metric].tells} in {over}, {usual:,.0f} are usual",
                ready=len(habit.days) >= ACTIVE_DAYS,
                since=habit.since,
            )

    def _counts(self, case: Case, cell: Cell, person: Person) -> None:
        for place, metric in enumerate(COUNTS):
            if not cell.sums[len(HEAVY) + place]:
                continue
            observed = case.today.sums[len(HEAVY) + place]
            mean, dispersion = self._rare(metric, [day[place] for day in person.counts], 1)
            case.weigh(
                metric,
                count_surprise(observed, mean, dispersion),
                at=_last(cell, metric),
                n=len(person.counts),
                expected=mean,
                observed=observed,
                reason=f"{observed:,} {METRICS[metric].tells} in a day, {mean:.2f} are usual",
            )

    def _rare(self, metric: str, days: Sequence[int], over: int) -> tuple[float, float]:
        """Return the mean of a rare event over so many days of a person, and its variance over its mean."""
        mean, square = self.organisation.means.get(metric, Rate()), self.organisation.squares.get(metric, Rate())
        person_days = mean.days + 20
        usual = (mean.hits + 1) / person_days
        variance = (square.hits + 1.5) / person_days - usual * usual
        weight = PRIOR_DAYS / 2
        return (sum(days) + weight * usual) / (len(days) + weight) * over, min(max(variance / usual, 1.2), 12.0)

    def _level(self, case: Case, metric: str, slow: int, habit: Habit | None, at: Micros) -> None:
        if habit is not None and len(habit.peaks) >= SOME:
            peaks = habit.peaks
            mean = sum(peaks) / len(peaks)
            pooled = pooled_spread(self.organisation, metric)
            variance = sum((peak - mean) ** 2 for peak in peaks) + PRIOR_DAYS * pooled * pooled
            spread = max(20.0, math.sqrt(variance / (len(peaks) + PRIOR_DAYS))) * math.sqrt(1 + 1 / len(peaks))
            usual, seen = math.exp(mean / 100), math.exp(slow / 100)
            case.weigh(
                metric,
                student_surprise((slow - mean) / spread, len(peaks) + PRIOR_DAYS - 1),
                at=at,
                n=len(peaks),
                expected=usual,
                observed=seen,
                reason=f"answers took {seen:,.0f} ms in the mean of an hour, up to {usual:,.0f} ms are usual",
                ready=len(peaks) >= ACTIVE_DAYS,
                since=habit.since,
            )
        case.today.slow = max(case.today.slow, slow)

    # --- when

    def _local(self, cell: Cell, hour: int) -> tuple[int, bool]:
        """Return the hour of an entity's own day, and whether that is on a weekend."""
        seconds = hour * 3600 + self._offset(cell.tz, hour * HOUR)
        return seconds // 3600 % 24, weekend(seconds // 86_400)

    def _clock(self, case: Case, cell: Cell, person: Person) -> None:
        clock, on_weekend = self._local(cell, case.hour)
        if case.today.hours >> clock & 1 or not person.hours:
            return
        chances = self._chances(person, on_weekend=on_weekend)
        chance = min(1.0, sum(other for other in chances if other <= chances[clock]))
        days = "weekends" if on_weekend else "weekdays"
        usual, zone = usual_hours(person.hours[24:] if on_weekend else person.hours[:24]), cell.tz or "UTC"
        case.weigh(
            "active_hour",
            -math.log(chance),
            at=case.today.last,
            n=person.weekends if on_weekend else person.weekdays,
            expected=usual,
            observed=f"{clock:02}:00",
            reason=f"active at {clock:02}:00 ({zone}); on {days} {usual} is usual",
        )

    def _chances(self, person: Person, *, on_weekend: bool) -> list[float]:
        """Return the chance of activity at each hour of such a day, shrunk towards that of the role."""
        start, days = (24, person.weekends) if on_weekend else (0, person.weekdays)
        own = person.hours[start : start + 24]
        usual = self._role_chances("", start, [0.02] * 24, 10)
        role = next((group for group in person.today.groups if group.startswith("role:")), None)
        if role:
            usual = self._role_chances(role, start, usual, 20)
        weight = PRIOR_DAYS / 2
        near = [min(days, own[n] + 0.5 * max(own[n - 1], own[(n + 1) % 24])) for n in range(24)]
        return [(near[n] + weight * usual[n]) / (days + weight) for n in range(24)]

    def _role_chances(self, role: str, start: int, prior: Sequence[float], weight: float) -> list[float]:
        counts = self.organisation.roles.get(role)
        if counts is None:
            return list(prior)
        days = counts[49 if start else 48]
        return [(counts[start + n] + weight * prior[n]) / (days + weight) for n in range(24)]

    def _intervals(self, case: Case, cell: Cell, person: Person) -> None:
        usual = 0.1 + max(person.regular, default=0) / 100
        best = (0.0, 0, 0, 0.0, "")
        for kind, ticks in sorted(cell.ticks.items()):
            if len(ticks) < _TIMES:
                continue
            times = earliest(ticks)
            gaps = [later - earlier for earlier, later in pairwise(times)]
            middle = median(gaps)
            if middle < _LEAST_GAP:
                continue
            even = sum(abs(gap - middle) <= _EVEN * middle for gap in gaps)
            case.today.even = max(case.today.even, round(100 * even / len(gaps)))
            if usual < 1:
                surprise = binomial_surprise(even, len(gaps), max(_EVEN_CHANCE, usual))
                best = max(best, (surprise, even, len(gaps), middle, kind))
        surprise, even, trials, middle, kind = best
        if trials:
            case.weigh(
                "regularity",
                surprise,
                at=cell.last[kind],
                n=trials,
                expected=max(_EVEN_CHANCE, usual),
                observed=even / trials,
                reason=f"{even} of {trials} intervals ({kind}) are {middle / 1_000_000:.1f} s long, as a program's are",
            )

    # --- where

    def _journeys(self, case: Case, cell: Cell, person: Person) -> None:
        if not cell.places:
            return
        stays = sorted((first, last, place) for place, (first, last) in cell.places.items())
        if person.place:
            latitude, longitude, at = person.place
            stays.insert(0, (at, at, (latitude, longitude)))
        too_fast = max((trip for trip in _trips(stays) if trip[3] not in person.journeys), default=None)
        last = max(stays, key=lambda stay: stay[1:])
        person.place = [*last[2], last[1]]
        if too_fast is not None:
            speed, away, at, pair = too_fast
            person.journeys = [*person.journeys[1 - _KNOWN_JOURNEYS :], pair]
            feature = "travel!" if speed > _IMPOSSIBLE_KMH else "travel"
            case.today.surprises[f"{SAW}{feature}"] = 1.0
            case.weigh(
                "travel",
                self._rarity(feature),
                at=at,
                n=len(stays),
                expected=_FAST_KMH,
                observed=round(speed),
                reason=f"seen at two places {away:,.0f} km apart, {speed:,.0f} km/h at least",
            )

    def _sessions(self, case: Case, cell: Cell, person: Person) -> None:
        known = {session[0]: session for session in person.sessions}
        for session, ways in sorted(cell.sessions.items()):
            key = f"{digest(session):x}"
            in_order = sorted(ways, key=lambda way: (ways[way][0], way))
            if key not in known:
                known[key] = [key, *in_order[0]]
                person.sessions = [*person.sessions[1 - _SESSIONS :], known[key]]
            _, program, network, country = known[key]
            for way in in_order:
                pairs = {"program": (program, way[0]), "country": (country, way[2])}
                changed = [what for what, (before, now) in pairs.items() if before and now and before != now]
                if changed:
                    case.today.surprises[f"{SAW}session"] = 1.0
                    case.weigh(
                        "session",
                        self._rarity("session") + (1.2 if way[1] != network else 0.0),
                        at=ways[way][0],
                        n=len(in_order),
                        expected=f"{program} {country}".strip(),
                        observed=f"{way[0]} {way[2]}".strip(),
                        reason=f"a session went on with another {' and '.join(changed)}",
                    )
                    break

    # --- for the first time

    def _notice(self, case: Case, cell: Cell, person: Person) -> None:
        """Keep what is seen for the first time until the day is over."""
        novelties = self.organisation.novelties
        for field, value, text in sorted((field, digest(text), text) for field, text in cell.values):
            known = person.known.setdefault(field, [])
            if value in known:
                continue
            if person.days >= SOME and len(novelties) < _MOST_NOVELTIES:
                at = cell.last.get(_SHOWN_BY.get(FIRST_SEEN[field], ""), case.today.last)
                groups = list(case.today.groups)
                novelties.append(Novelty(case.entity, field, value, at, groups, cell.rank, text, len(known)))
            else:
                show(self.organisation, field, value)
            known.append(value)
            del known[:-_KNOWN_VALUES]

    def rollouts(self) -> dict[tuple[int, int], bool]:
        """Return by field and value, of those first seen on the day that is over, whether many share it."""
        organisation = self.organisation
        counts = self._adopters()
        many: dict[tuple[int, int], bool] = {}
        for novelty in organisation.novelties:
            shared = any(
                _many(
                    counts[_key(novelty, group)] + organisation.adopted.get(_key(novelty, group), 0),
                    organisation.groups.get(group, _MOST_GROUPS),
                    _MANY_ALONE if group != "all" else 3 * _MANY_ALONE,
                )
                for group in (*novelty.groups, "all")
            )
            many[novelty.field, novelty.value] = many.get((novelty.field, novelty.value), False) or shared
        return many

    def _adopters(self) -> dict[str, int]:
        """Return how many of each group were first seen with each value on the day that is over."""
        users: dict[str, set[str]] = {}
        for novelty in self.organisation.novelties:
            for group in (*novelty.groups, "all"):
                users.setdefault(_key(novelty, group), set()).add(novelty.entity)
        return {key: len(names) for key, names in users.items()}

    def _first_seen(self, case: Case, novelties: Sequence[Novelty], many: Mapping[tuple[int, int], bool]) -> None:
        people = self.organisation.groups.get("all", 1)
        for novelty in novelties:
            if many[novelty.field, novelty.value]:
                continue
            field = FIRST_SEEN[novelty.field]
            metric, tells = f"new_{field}", METRICS[f"new_{field}"].tells
            shown = self.organisation.values.get(novelty.field, {}).get(novelty.value, 0)
            feature = f"{metric}!" if shown <= _RARE_SHARE * people else metric
            case.today.surprises[f"{SAW}{feature}"] = 1.0
            if not novelty.known:
                continue  # whoever never showed any has begun something new, and `new_activity` tells that
            others = "nobody else has shown it" if not shown else f"{shown} others have shown it"
            case.weigh(
                metric,
                self._rarity(feature),
                at=novelty.at,
                n=novelty.known,
                expected=f"one of {novelty.known} known",
                observed=novelty.tells,
                reason=f"{tells} for the first time: {novelty.tells}; {others}",
                since=self.organisation.first,
            )

    def _rarity(self, feature: str) -> float:
        """Return the surprise of what happens or does not, from how many person-days have shown it."""
        rate = self.organisation.rates.get(feature, Rate())
        prior = METRICS[feature.removesuffix("!")].prior * (1 / 3 if feature.endswith("!") else 1)
        return -math.log((rate.hits + prior * _PRIOR_PERSON_DAYS) / (rate.days + _PRIOR_PERSON_DAYS))

    # --- together, and over days

    def _together(self, case: Case, person: Person) -> None:
        """Judge what several families of metrics say together."""
        families: dict[str, tuple[float, str]] = {}
        for metric, surprise in case.today.surprises.items():
            facts = METRICS.get(metric)
            if facts is not None and facts.family and self.tuning.of(metric).enabled:
                corrected = (self._correct(metric, surprise), metric)
                families[facts.family] = max(families.get(facts.family, (0.0, "")), corrected)
        parts = sorted(((value - _MILD, metric) for value, metric in families.values() if value > _MILD), reverse=True)
        if len(parts) < 2:  # noqa: PLR2004 - one alone is judged by itself
            return
        names = ", ".join(metric for _, metric in parts[:6])
        case.weigh(
            "behaviour",
            sum(value for value, _ in parts),
            at=case.today.last,
            n=person.days,
            expected="usual in each",
            observed=names,
            reason=f"unusual together: {names}",
            ready=len(parts) > 2 or parts[1][0] + _MILD > _BOTH,  # noqa: PLR2004 - else the first alone says it
        )

    def _trends(self, case: Case, person: Person) -> None:
        rows, habit = case.today.sums[AMOUNTS.index("rows")], person.habits.get("rows")
        if habit is not None and rows and len(habit.days) >= ACTIVE_DAYS + _TREND_DAYS - 1:
            recent = [*habit.days[1 - _TREND_DAYS :], squeezed(rows)]
            before = habit.days[: 1 - _TREND_DAYS]
            middle, n = median(before), len(before)
            # Neighbouring days are alike, so three of them say less than three independent ones.
            width = math.sqrt(1 / _TREND_DAYS + 0.1 + 1 / n)
            spread = shrunk(before, middle, pooled_spread(self.organisation, "rows")) * width
            lift = sum(recent) / _TREND_DAYS - middle
            usual, seen = math.expm1(middle / 100), math.expm1((middle + lift) / 100)
            case.weigh(
                "rising_rows",
                student_surprise(lift / spread, n + PRIOR_DAYS - 1),
                at=case.today.last,
                n=n,
                expected=usual,
                observed=seen,
                reason=f"{seen:,.0f} rows a day over {_TREND_DAYS} days, {usual:,.0f} before",
                ready=min(recent) > middle,
                since=habit.since,
            )
        self._rising_refusals(case, person)

    def _rising_refusals(self, case: Case, person: Person) -> None:
        place = COUNTS.index("refusals")
        now, days = case.today.sums[len(HEAVY) + place], [day[place] for day in person.counts]
        if not now or len(days) < ACTIVE_DAYS + 2:
            return
        last, old = days[1 - _REFUSAL_DAYS :], days[: 1 - _REFUSAL_DAYS]
        mean, dispersion = self._rare("refusals", old, _REFUSAL_DAYS)
        observed = sum(last) + now
        case.weigh(
            "rising_refusals",
            count_surprise(observed, mean, dispersion),
            at=case.today.last,
            n=len(old),
            expected=mean,
            observed=observed,
            reason=f"{observed} refused rights in {_REFUSAL_DAYS} days, {mean:.1f} are usual",
            ready=sum(map(bool, last)) > 1,  # else the day alone says it
        )

    # --- a day

    def day(
        self, name: str, person: Person, day: int, novelties: Sequence[Novelty], many: Mapping[tuple[int, int], bool]
    ) -> list[Anomaly]:
        """
        Judge what needs a whole day of a user, then learn it.

        Args:
            name: Of the user.
            person: What is remembered; changed.
            day: Since 1970.
            novelties: What the user has shown for the first time.
            many: From `rollouts`.
        """
        hour = 24 * day + 23
        case = self._case(name, hour, person)
        if person.days >= SOME:
            self._first_seen(case, novelties, many)
            self._trends(case, person)
            self._together(case, person)
        self._lessons.gather(person, novelties, self.tuning, self.organisation.roles)
        learn(person, day, self.organisation, self.tuning)
        return case.found

    def service_day(self, service: Service) -> None:
        """Learn a day of a service."""
        learn_service(service, self.organisation, self.tuning)

    def pause_day(self) -> None:
        """Put what the people's days have told so far where it outlasts a restart."""
        self.organisation.lessons = msgspec.msgpack.encode(self._lessons)

    def finish_day(self) -> None:
        """Learn what the people's days, all given to `day` by now, tell about the organisation."""
        largest = sorted(self._adopters().items(), key=lambda pair: (-pair[1], pair[0]))
        self.organisation.adopted = dict(largest[:_MOST_ADOPTED])
        self._lessons.teach(self.organisation)
        self._lessons, self._scales = Lessons(), {}
        self.organisation.learnt, self.organisation.lessons = ("", ""), b""


_SHOWN_BY = {
    "tool": "tool_execution",
    "table": "data_access",
    "resource": "authorization",
    "rows": "data_access",
    "sensitive_rows": "data_access",
    "accesses": "data_access",
    "tools": "tool_execution",
    "requests": "network_request",
    "bytes": "network_request",
    "login_failures": "authentication",
    "refusals": "authorization",
}


def _last(cell: Cell, metric: str) -> Micros:
    """Return when the last event came that a metric is about."""
    return cell.last.get(_SHOWN_BY.get(metric, ""), 0) or max(cell.last.values())


def _amount(amount: int, days: Sequence[int], pooled: float) -> tuple[float, float]:
    """Return the surprise of an amount, and the usual one."""
    middle = median(days)
    spread = shrunk(days, middle, pooled) * math.sqrt(1 + 1 / len(days))
    surprise = student_surprise((squeezed(amount) - middle) / spread, len(days) + PRIOR_DAYS - 1)
    return surprise, math.expm1(middle / 100)


def _slowness(cell: Cell | ServiceCell) -> int:
    """Return the mean of the logarithm of milliseconds, in hundredths."""
    return round(cell.slowness / cell.responses / 10)


def usual_hours(counts: Sequence[int]) -> str:
    """Return from when to when most activity is, in words, from how many days had any at each hour."""
    most = max(counts, default=0)
    active = [clock for clock, count in enumerate(counts) if count and 3 * count >= most]
    return f"{active[0]:02}:00 to {active[-1] + 1:02}:00" if active else "no hour"


def _many(adopted: int, members: int, alone: int) -> bool:
    return adopted >= alone or (adopted >= _MANY and adopted >= _MANY_SHARE * members)


def _key(novelty: Novelty, group: str) -> str:
    return f"{novelty.field} {novelty.value:x} {group}"


_Place = tuple[int, int]


def _trips(stays: Sequence[tuple[Micros, Micros, _Place]]) -> Iterator[tuple[float, float, Micros, int]]:
    """Yield what nobody could have travelled: km/h at least, km, when, and what tells the pair of places."""
    for number, here in enumerate(stays):
        for there in stays[number + 1 :]:
            away = distance(here[2], there[2])
            if away >= _FAR_KM:
                gap = max(60_000_000, min(abs(a - b) for a in here[:2] for b in there[:2]))
                speed = (away - _SLACK_KM) / (gap / HOUR)
                if speed > _FAST_KMH:
                    pair = digest(str(sorted((_coarse(here[2]), _coarse(there[2])))))
                    yield speed, away, max(here[0], there[0]), pair


def _coarse(place: _Place) -> _Place:
    return (round(place[0] / 20), round(place[1] / 20))


def distance(here: _Place, there: _Place) -> float:
    """Return kilometres between places in tenths of a degree (haversine, a sphere of 6,371 km)."""
    first, second = math.radians(here[0] / 10), math.radians(there[0] / 10)
    across = math.radians((there[1] - here[1]) / 10)
    half = math.sin((second - first) / 2) ** 2 + math.cos(first) * math.cos(second) * math.sin(across / 2) ** 2
    return 2 * 6371 * math.asin(min(1.0, math.sqrt(half)))
