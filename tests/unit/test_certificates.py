"""What certificates say about themselves, and what our own authority puts into them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sentinel.certificates import State, examine, issue, make_ca
from sentinel.errors import ConfigError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CA = make_ca("ours", NOW)
LEAF = issue(CA, "sentinel", ["sentinel", "localhost", "127.0.0.1", "::1"], NOW)


def test_an_authority_holds_for_ten_years_and_a_certificate_for_one() -> None:
    """The lifetimes of the contract, and the names in the certificate."""
    assert (examine(CA.certificate, NOW).not_after - NOW).days == 3_650
    leaf = examine(LEAF.certificate, NOW, ca=CA.certificate, key=LEAF.key)
    assert ((leaf.not_after - NOW).days, leaf.state, leaf.problem) == (365, State.VALID, None)
    assert leaf.names == ("sentinel", "localhost", "127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("days_left", "state"),
    [(30, State.VALID), (29.9, State.EXPIRING), (7, State.EXPIRING), (6.9, State.CRITICAL), (0, State.EXPIRED)],
)
def test_age_is_told_in_steps(days_left: float, state: State) -> None:
    """Thirty days before the end is time to renew, seven are an alarm."""
    found = examine(LEAF.certificate, NOW + timedelta(days=365 - days_left), ca=CA.certificate, key=LEAF.key)
    assert (found.state, found.problem) == (state, None)


def test_what_does_not_belong_together_is_told() -> None:
    """Another key, another authority, a clock that is wrong: each is named, however young the certificate is."""
    other = make_ca("ours", NOW)
    for facts, word in (
        (examine(LEAF.certificate, NOW, key=CA.key), "key"),
        (examine(LEAF.certificate, NOW, key=b"nothing"), "can't be read"),
        (examine(LEAF.certificate, NOW, ca=other.certificate), "authority"),
        (examine(LEAF.certificate, NOW - timedelta(days=1)), "clock"),
    ):
        assert facts.state is State.INVALID
        assert word in str(facts.problem)


def test_nothing_outlives_its_authority() -> None:
    """A certificate ends with the authority at the latest, and one that is over signs nothing."""
    late = NOW + timedelta(days=3_600)
    assert examine(issue(CA, "x", ["x"], late).certificate, late).not_after == examine(CA.certificate, NOW).not_after
    with pytest.raises(ConfigError, match="expired"):
        issue(CA, "x", ["x"], NOW + timedelta(days=3_651))


@pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", LEAF.key])
def test_what_is_no_certificate_is_refused(text: bytes) -> None:
    """Junk, a cut file and a key in its place are mistakes of configuration, not crashes."""
    with pytest.raises(ConfigError):
        examine(text, NOW)
