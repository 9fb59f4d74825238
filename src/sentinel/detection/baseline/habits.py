"""
What is remembered of an entity and of the organisation: a few hundred numbers each, in one stored form.

A history holds at most `HISTORY` days, the latest last; amounts are hundredths of a natural logarithm (`squeezed`), for
an error below one per cent. Values that were seen are hashes: the store need not know them to know them again.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

import msgspec

from sentinel.detection.baseline.cells import Cell, ServiceCell
from sentinel.model import Micros

__all__ = ["HISTORY", "Habit", "Novelty", "Organisation", "Person", "Service", "Today", "digest", "squeezed"]

HISTORY: Final = 21
"""Days on which a metric was in use that are remembered: of somebody who works five days a week, four weeks."""


def squeezed(amount: float) -> int:
    """Return hundredths of ln(1 + amount)."""
    return round(100 * math.log1p(amount))


def digest(value: str) -> int:
    """Return a value as 48 bits: of a thousand values, two are alike once in half a billion."""
    return int.from_bytes(hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=6).digest(), "big")


class Habit(msgspec.Struct, array_like=True):
    """One metric of one entity."""

    since: Micros
    """The first event of the first day with it."""
    days: list[int] = []
    """Of each day with it the total."""
    peaks: list[int] = []
    """And its largest hour."""
    flagged: int = 0
    """For how many of its days in a row it was called an anomaly."""

    def learn(self, total: int, peak: int) -> None:
        """Add a day; the oldest goes when there are too many."""
        self.days = [*self.days[1 - HISTORY :], total]
        self.peaks = [*self.peaks[1 - HISTORY :], peak]


class Novelty(msgspec.Struct, array_like=True):
    """A value that somebody had never shown before this day."""

    entity: str
    field: int
    value: int
    at: Micros
    groups: list[str]
    rank: int
    tells: str
    """The value itself."""
    known: int = 0
    """Values of the field that the entity had shown before."""


class Today(msgspec.Struct, array_like=True):
    """The day under way."""

    day: int = -1
    first: Micros = 0
    sums: list[int] = []
    peaks: list[int] = []
    slow: int = 0
    """Largest mean of an hour, in hundredths."""
    hours: int = 0
    """The hours with activity, a bit each, by the entity's own clock."""
    even: int = 0
    """The largest share of equal intervals, in per cent."""
    surprises: dict[str, float] = {}
    """By metric, the largest so far, as the model has it; and what was seen for the first time."""
    told: dict[str, float] = {}
    """By metric, the largest score that was told of."""
    last: Micros = 0
    rank: int = 0
    groups: list[str] = []
    weekend: bool = False
    origin: str = ""
    effects: bool = True

    def came(self, cell: Cell | ServiceCell) -> None:
        """Add what the sources of an hour's events may lead to."""
        self.rank, self.origin = max(self.rank, cell.rank), cell.origin or self.origin
        self.effects = self.effects and cell.effects


class Person(msgspec.Struct, array_like=True):
    """What is remembered of one user."""

    first: Micros
    days: int = 0
    """On which the user was seen."""
    habits: dict[str, Habit] = {}
    counts: list[list[int]] = []
    """Of each day seen, the rare events by kind."""
    hours: list[int] = []
    """How many days had activity at each hour: 24 of weekdays, 24 of weekends."""
    counted: int = -1
    """The first day that `weekdays` and `weekends` do not count yet."""
    weekdays: int = 0
    weekends: int = 0
    known: dict[int, list[int]] = {}
    """By field, the values shown, the latest last."""
    place: list[int] = []
    """Where last: latitude and longitude in tenths of a degree, and when."""
    journeys: list[int] = []
    """Pairs of places between which the user was too fast before: a company's network, or a phone's."""
    sessions: list[list[int | str]] = []
    """The last sessions, with their first program, network and country."""
    regular: list[int] = []
    """Of each day the largest share of equal intervals, in per cent."""
    today: Today = msgspec.field(default_factory=Today)


class Service(msgspec.Struct, array_like=True):
    """What is remembered of one service."""

    first: Micros
    habit: Habit | None = None
    today: Today = msgspec.field(default_factory=Today)


class Rate(msgspec.Struct, array_like=True):
    """How many person-days showed something, and of how many; both fade."""

    hits: float = 0.0
    days: float = 0.0


class Organisation(msgspec.Struct, array_like=True):
    """What is remembered of all together."""

    first: Micros = -1
    closed: int = -1
    """Hours before this one take no more events."""
    day: int = -1
    """Of which hours are in, and that is not learnt yet; -1 between days."""
    surprises: dict[str, list[float]] = {}
    """By metric, how many person-days had so much surprise at most, in quarters."""
    spreads: dict[str, Rate] = {}
    """By metric, the spreads of the entities added up, and their number."""
    rates: dict[str, Rate] = {}
    means: dict[str, Rate] = {}
    """Of rare events, their sum over person-days."""
    squares: dict[str, Rate] = {}
    roles: dict[str, list[float]] = {}
    """By role, person-days with activity at each hour: 24 of weekdays, 24 of weekends; then the days of both."""
    values: dict[int, dict[int, int]] = {}
    """By field, how many users have shown a value."""
    novelties: list[Novelty] = []
    """Of the day under way."""
    adopted: dict[str, int] = {}
    """How many of a group were first seen with a value the day before, by a key of the three."""
    groups: dict[str, int] = {}
    """How many users of each group were seen on the day under way."""
    learnt: tuple[str, str] = ("", "")
    """While a day is learnt in parts, the last entity whose day is learnt."""
    lessons: bytes = b""
    """And what those days tell about everybody: `Lessons`."""
