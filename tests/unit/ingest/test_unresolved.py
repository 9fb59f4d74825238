"""Who failed from an address and never signed in: slow guessing against people's mistakes."""

from datetime import UTC, datetime, timedelta

import pytest

from sentinel.ingest.sshd import Reader
from sentinel.ingest.unresolved import MOST_USERS, REMEMBERED, SETTLING, Unresolved

START = datetime(2026, 3, 1, tzinfo=UTC)
HERE = "198.51.100.7"


def after(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def test_other_users_that_never_signed_in_are_counted() -> None:
    """One name every half an hour is seen at the fourth; one name again and again never."""
    guesses, client = Unresolved(), Unresolved()
    assert [guesses.failed(HERE, f"user{n}", after(n / 2)) for n in range(5)] == [0, 1, 2, 3, 4]
    assert [client.failed(HERE, "anna", after(n / 2)) for n in range(5)] == [0, 1, 1, 1, 1]


def test_a_success_takes_back_its_own_users_failures_only() -> None:
    """A whole office may fail if each one signs in; one valid account clears nobody else's failures."""
    office, attacker = Unresolved(), Unresolved()
    for n in range(20):
        assert office.failed(HERE, f"user{n}", after(n / 4)) == 0
        office.succeeded(HERE, f"user{n}")
        told = attacker.failed(HERE, f"user{n}", after(n / 4))
        attacker.succeeded(HERE, "mine")
    assert told == MOST_USERS


@pytest.mark.parametrize(
    ("age", "counted"),
    [
        (SETTLING - timedelta(seconds=1), 0),
        (SETTLING, 1),
        (REMEMBERED - timedelta(seconds=1), 1),
        (REMEMBERED, 0),
    ],
)
def test_a_failure_counts_between_its_settling_and_its_end(age: timedelta, counted: int) -> None:
    """Whoever is still typing is not counted, and nobody for ever."""
    unresolved = Unresolved()
    unresolved.failed(HERE, "anna", START)
    assert unresolved.failed(HERE, "ben", START + age) == counted


@pytest.mark.parametrize(
    ("first", "second", "counted"),
    [
        (HERE, "198.51.100.8", 0),
        ("2001:db8:1:2::a", "2001:db8:1:2:ffff::b", 1),
        ("2001:db8:1:2::a", "2001:db8:1:3::a", 0),
    ],
)
def test_addresses_are_told_apart_and_subscribers_are_not(first: str, second: str, counted: int) -> None:
    """Hopping about in a /64 hides nothing; another address is another matter."""
    unresolved = Unresolved()
    unresolved.failed(first, "anna", START)
    assert unresolved.failed(second, "ben", after(1)) == counted


def test_memory_is_bounded() -> None:
    """A flood of names and of addresses is forgotten from its old end, and those that go on are kept."""
    unresolved = Unresolved()
    for n in range(100):
        unresolved.failed(HERE, f"user{n}", START)
    for n in range(70_000):
        if n % 30_000 == 0:
            assert unresolved.failed(HERE, "again", after(1)) == MOST_USERS
        unresolved.failed(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "root", START)
    assert unresolved.failed("10.0.0.0", "ben", after(1)) == 0
    assert unresolved.failed("10.1.0.0", "ben", after(1)) == 1


def test_the_events_of_a_log_say_it() -> None:
    """Each failure tells the count at its place in the log; a success and the first failures tell nothing."""
    lines = [
        f"Mar  1 0{hour}:00:00 host sshd[1]: {what} password for {user} from {HERE} port 1 ssh2"
        for hour, what, user in [
            (0, "Failed", "anna"),
            (1, "Failed", "ben"),
            (2, "Accepted", "anna"),
            (3, "Failed", "carla"),
            (4, "Failed", "dora"),
        ]
    ]
    events = Reader(now=datetime(2026, 11, 22, tzinfo=UTC)).read(lines)
    assert [event.details.get("unresolved_users") for event in events] == [None, 1, None, 1, 2]
