"""
What all syslog files share: the head of a line, the year that it lacks, and an id for each event read from it.

Traditional syslog stamps ("Jan  2 03:04:05") have no year. The last line of a file gets the latest year that is not in
the future, and every other line the year nearest to its neighbour's: December before January is the year before.
`first_year` works this out for a file in one cheap pass over the dates. A stream has no last line, so there the first
line gets the latest year that is not in the future. "In the future" allows for 14 hours, because most hosts log local
time, which at UTC+14 is that far ahead when read as UTC; without it such a log would fall back by a whole year.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

try:  # the same function; with hashlib comes OpenSSL, a sixth of what the process that reads a log takes
    from _blake2 import blake2b
except ImportError:  # a Python built in another way
    from hashlib import blake2b

__all__ = ["HEAD", "Calendar", "Ordinals", "event_id", "first_year"]

_STAMP = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
_DATED = re.compile(_STAMP)
HEAD: Final = re.compile(
    rf"({_STAMP}|\d{{4}}-\d\d-\d\dT\S{{8,32}}) (?P<host>\S+) (?P<program>[^\s\[\]:]+)(?:\[\d+\])?: (?P<message>.*)",
    re.DOTALL,
)
"""Stamp (group 1; RFC 3339 in newer rsyslog), host, program, message."""

_AHEAD = timedelta(hours=14)

# A place in the year: 32 for each month, and the day. Both spellings of the first nine days occur.
_PLACES = {
    f"{calendar.month_abbr[month]} {spelling}": month * 32 + day
    for month in range(1, 13)
    for day in range(1, 32)
    for spelling in (f"{day:2d}", f"{day:02d}")
}
_HALF_YEAR = 6 * 32
_LEAP_DAY = _PLACES["Feb 29"]

_OTHER = re.compile(r"[^0-9A-Za-z]")
_REMEMBERED = 1 << 15


class Calendar:
    """Turns the stamps of one source, in their order, into times."""

    def __init__(self, *, tz: tzinfo, year: int | None, now: datetime) -> None:
        """
        Set the calendar before the first line.

        Args:
            tz: Zone of stamps that name none.
            year: Of the first line; None for the latest that is not in the future.
            now: Aware; what "future" means.
        """
        self._tz = tz
        self._year = year
        self._now = now
        self._place: int | None = None
        self._stamp = ""
        self._moment: datetime | None = None

    def foresee(self, lines: Iterable[str]) -> None:
        """Set the year of the first line by those of a whole log, unless it was told."""
        if self._year is None:
            self._year = first_year(lines, tz=self._tz, now=self._now)

    def moment(self, stamp: str) -> datetime | None:
        """Return the time in UTC, or None for a date or time that does not exist."""
        if stamp != self._stamp:  # many lines share a second
            self._stamp = stamp
            self._moment = _rfc3339(stamp, self._tz) if stamp[0].isdigit() else self._yearless(stamp)
        return self._moment

    def _yearless(self, stamp: str) -> datetime | None:
        place = _PLACES.get(stamp[:6])
        if place is None:
            return None
        if self._year is None:
            self._year = _latest_year(stamp, self._tz, self._now)
        elif self._place is not None:
            self._year += _turn(self._place, place)
        if self._year is None:
            return None
        self._place = place
        return _dated(stamp, self._year, self._tz)


def first_year(lines: Iterable[str], *, tz: tzinfo, now: datetime) -> int | None:
    """
    Return the year of a file's first line: the one that gives the last line the latest year not in the future.

    A 29 February among the lines leaves only years in which that day exists.

    Args:
        lines: The whole file; only their stamps are looked at.
        tz: Zone of the stamps.
        now: Aware.

    Returns:
        None when no line has a stamp without a year.
    """
    turns, place, last, latest = 0, None, "", ""
    day: str | tuple[()] = ()
    leap_days: set[int] = set()
    for line in lines:
        if line.startswith(day):  # as nearly every line does; only the last of them is worth a second look
            latest = line
            continue
        here = _PLACES.get(line[:6])
        if here is None or not _DATED.match(line):
            continue
        last = latest = line
        day = line[:7]
        if here != place:
            turns += 0 if place is None else _turn(place, here)
            place = here
            if here == _LEAP_DAY:
                leap_days.add(turns)
    if _DATED.match(latest):  # it may be cut off in the middle of its stamp
        last = latest
    year = _latest_year(last, tz, now, {turn - turns for turn in leap_days}) or _latest_year(last, tz, now)
    return None if year is None else year - turns


def _turn(before: int, after: int) -> int:
    """Years between neighbouring lines, taking the nearest: 1 from December to January, -1 back, else 0."""
    return (after - before < -_HALF_YEAR) - (after - before > _HALF_YEAR)


def _latest_year(stamp: str, tz: tzinfo, now: datetime, leaps: Collection[int] = ()) -> int | None:
    """The latest year that dates the stamp before the limit and is a leap year at each distance in `leaps`."""
    limit = now + _AHEAD
    for year in range(limit.year + 1, limit.year - 9, -1):  # leap days are up to eight years apart
        moment = _dated(stamp, year, tz)
        if moment and moment <= limit and all(calendar.isleap(year + leap) for leap in leaps):
            return year
    return None


def _dated(stamp: str, year: int, tz: tzinfo) -> datetime | None:
    place = _PLACES.get(stamp[:6], 0)
    try:
        moment = datetime(
            year, place // 32, place % 32, int(stamp[7:9]), int(stamp[10:12]), int(stamp[13:15]), tzinfo=tz
        )
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _rfc3339(stamp: str, tz: tzinfo) -> datetime | None:
    try:
        moment = datetime.fromisoformat(stamp)
        return (moment if moment.tzinfo else moment.replace(tzinfo=tz)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class Ordinals:
    """
    Numbers equal lines of one source from 0.

    Remembers the last 32,768 to 65,536 lines, so that a stream that is followed for months stays small. Equal lines
    carry the same second, so those that are further apart are a repeated copy.
    """

    def __init__(self) -> None:
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}

    def next(self, line: str) -> int:
        """Return how many equal lines came before."""
        key = hash(line)
        ordinal = self._young.get(key, self._old.get(key, -1)) + 1
        self._young[key] = ordinal
        if len(self._young) == _REMEMBERED:
            self._old, self._young = self._young, {}
        return ordinal


def event_id(log_format: str, stamp: str, line: str, ordinal: int, copy: int = 0) -> str:
    """
    Return the id of an event read from a line: the same line read again gives the same id.

    The stamp stands before the hash, so that neighbours in a log are neighbours in the index of ids, too: at random
    places they would cost as much again as all else that is written of them.

    Args:
        log_format: Of the log, such as `sshd`.
        stamp: The line's time as it is written there; its year may be unknown.
        line: Without its line ending.
        ordinal: Among the equal lines of the source, from 0.
        copy: Among the events that the one line stands for, from 0.
    """
    digest = blake2b(f"{log_format}\0{ordinal}\0{copy}\0{line}".encode(), digest_size=16)
    return f"{log_format}-{_digits(stamp)}-{digest.hexdigest()}"


@lru_cache(maxsize=16)  # many lines share a second
def _digits(stamp: str) -> str:
    """Return a time's letters and digits, down to the second or a little further."""
    return _OTHER.sub("", stamp)[:16]
