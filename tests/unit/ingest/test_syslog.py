"""The head of syslog lines: years that stamps lack, and ids of lines."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest

from sentinel.ingest import syslog
from sentinel.ingest.syslog import Calendar, Ordinals, event_id, first_year

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def times(*stamps: str, tz: tzinfo = UTC, year: int | None = None) -> list[str | None]:
    calendar = Calendar(tz=tz, year=year, now=NOW)
    return [moment and moment.strftime("%Y-%m-%d %H:%M") for moment in map(calendar.moment, stamps)]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (["Nov 22 11:00:00"], ["2026-11-22 11:00"]),
        (["Nov 23 02:00:00"], ["2026-11-23 02:00"]),
        (["Nov 23 02:00:01"], ["2025-11-23 02:00"]),
        (["Jan  1 00:00:00"], ["2026-01-01 00:00"]),
        (["Feb 29 00:00:00"], ["2024-02-29 00:00"]),
        (["Dec 31 23:59:59", "Jan  1 00:00:00"], ["2025-12-31 23:59", "2026-01-01 00:00"]),
        (
            ["Dec 31 23:59:59", "Jan 01 00:00:00", "Dec 31 23:59:58"],
            ["2025-12-31 23:59", "2026-01-01 00:00", "2025-12-31 23:59"],
        ),
        (["Nov 22 11:00:00", "Nov 20 11:00:00"], ["2026-11-22 11:00", "2026-11-20 11:00"]),
        (["Feb 30 00:00:00", "Foo  1 00:00:00", "Jan  1 25:00:00"], [None, None, None]),
    ],
)
def test_a_stream_takes_the_nearest_year(stamps: list[str], expected: list[str | None]) -> None:
    """The first line gets the latest year that is at most 14 h ahead, each next one the nearest."""
    assert times(*stamps) == expected


def test_a_given_year_is_the_first_lines() -> None:
    """With a year given, the log begins in it and goes on into the next."""
    assert times("Dec 31 23:00:00", "Jan  1 01:00:00", year=2019) == ["2019-12-31 23:00", "2020-01-01 01:00"]


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2026-03-01T10:00:00.123456+01:00", "2026-03-01 09:00"),
        ("2026-03-01T10:00:00Z", "2026-03-01 10:00"),
        ("2026-03-01T10:00:00", "2026-03-01 08:00"),
        ("2026-03-32T10:00:00Z", None),
        ("0001-01-01T00:00:00+02:00", None),
    ],
)
def test_stamps_with_a_year_are_taken_as_they_are(stamp: str, expected: str | None) -> None:
    """RFC 3339 stamps keep their zone; the given one is for those without."""
    assert times(stamp, tz=timezone(timedelta(hours=2))) == [expected]


def test_summer_time_is_followed() -> None:
    """A zone with summer time shifts each line by what held on its day."""
    assert times("Jan 10 12:00:00", "Jul 10 12:00:00", tz=ZoneInfo("Europe/Rome")) == [
        "2026-01-10 11:00",
        "2026-07-10 10:00",
    ]


@pytest.mark.parametrize(
    ("stamps", "year"),
    [
        ([], None),
        (["-- no stamp --"], None),
        (["2026-03-01T10:00:00Z host sshd: x"], None),
        (["Mar  1 10:00:00"], 2026),
        (["Dec 31 23:00:00", "Jan  1 01:00:00"], 2025),
        (["Dec 24 10:00:00", "Dec 31 10:00:00"], 2025),
        ([f"{day} 10:00:00" for day in ("Jun  1", "Oct  1", "Feb  1", "Jun  1", "Oct  1", "Jan  1")], 2024),
        (["Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:58", "Jan  1 00:00:01"], 2025),
        (["Feb 28 10:00:00", "Feb 29 10:00:00", "Mar  1 10:00:00"], 2024),
        (["Feb 29 10:00:00", "Dec 30 10:00:00", "Jan  2 10:00:00"], 2024),
        ([f"{day} 10:00:00" for day in ("Feb 29", "Jun  1", "Nov  1", "Feb 29")], 2023),
    ],
)
def test_the_first_year_of_a_file_fits_its_last_line(stamps: list[str], year: int | None) -> None:
    """Counting the turns of the year gives the year in which a file began."""
    lines = [f"{stamp} host sshd[1]: x" for stamp in stamps]
    assert first_year(lines, tz=UTC, now=NOW) == year


@pytest.mark.parametrize("end", ["Jan  1 0", "Jan  1 boots", "- "])
def test_a_last_line_that_is_cut_off_does_not_cost_the_year(end: str) -> None:
    """A log is read while it is being written."""
    lines = ["Dec 31 23:00:00 host sshd[1]: x", "Jan  1 01:00:00 host sshd[1]: x", end]
    assert first_year(lines, tz=UTC, now=NOW) == 2025


def test_equal_lines_are_numbered() -> None:
    """Two equal lines stay two, and other lines don't disturb their numbers."""
    ordinals = Ordinals()
    assert [ordinals.next(line) for line in "abaab"] == [0, 0, 1, 2, 1]


def test_numbering_remembers_a_bounded_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are numbered right over at least the stated distance, and older ones are forgotten."""
    monkeypatch.setattr(syslog, "_REMEMBERED", 3)
    ordinals = Ordinals()
    assert [ordinals.next(line) for line in "abcdaefghia"] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_ids_differ_in_every_part() -> None:
    """Format, line, ordinal and copy all count, and nothing else does."""
    stamp = "Jan  2 03:04:05"
    ids = [event_id(log, stamp, line, n) for log, line, n in (("sshd", "a", 0), ("nginx", "a", 0), ("sshd", "b", 0))]
    ids += [event_id("sshd", stamp, "a", 1), event_id("sshd", stamp, "a", 0, 1), event_id("sshd", stamp, "a", 0)]
    assert len(set(ids)) == 5
    assert all("-Jan2030405-" in each for each in ids), "neighbours in the log are neighbours in the index"
