"""The dashboard's figures, by hours of UTC, in bounded memory."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sentinel.errors import ConfigError
from sentinel.model import ScanThreat
from sentinel.monitoring import SecurityDashboard

from .results import Clock, result

HOUR = 3600.0


def test_the_summary_has_the_contracts_figures() -> None:
    """Totals, share as text, the most frequent threats first, blocked scans by hour, mean risk."""
    clock = Clock()
    dashboard = SecurityDashboard(clock=clock)
    for number in range(8):
        dashboard.record_event(result(safe=number % 4 != 0), f"user-{number}")
    clock.now += HOUR
    dashboard.record_event(result(safe=False, threat=ScanThreat.JAILBREAK), "user-0")
    assert dashboard.get_summary() == {
        "total_scans": 9,
        "blocked": 3,
        "block_rate": "33.3%",
        "top_threats": {"injection": 2, "jailbreak": 1},
        "hourly_trend": {"2026-01-01T00:00Z": 2, "2026-01-01T01:00Z": 1},
        "avg_risk_score": pytest.approx(0.3),
        "unique_users": 8,
    }


def test_nothing_recorded_is_no_error() -> None:
    """A dashboard that was just made divides by nothing."""
    summary = SecurityDashboard().get_summary()
    assert (summary["total_scans"], summary["block_rate"], summary["avg_risk_score"]) == (0, "0.0%", 0)


def test_the_same_hour_of_two_days_stays_apart() -> None:
    """L8: yesterday's noon is not today's."""
    clock = Clock()
    dashboard = SecurityDashboard(clock=clock)
    for _ in range(2):
        dashboard.record_event(result(safe=False))
        clock.now += 24 * HOUR
    assert dashboard.get_summary()["hourly_trend"] == {"2026-01-01T00:00Z": 1, "2026-01-02T00:00Z": 1}


def test_hours_are_those_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """L8: the zone of the machine does not move the hours."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        dashboard = SecurityDashboard(clock=Clock())
        dashboard.record_event(result(safe=False))
        assert list(dashboard.get_summary()["hourly_trend"]) == ["2026-01-01T00:00Z"]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_old_hours_are_forgotten_whole() -> None:
    """L8: memory is bounded; every figure is about the same hours, with scans since or without."""
    clock = Clock()
    dashboard = SecurityDashboard(max_hours=2, clock=clock)
    for user in range(5):
        dashboard.record_event(result(safe=False), f"user-{user}")
        clock.now += HOUR
    dashboard.record_event(result(), "late")
    summary = dashboard.get_summary()
    assert (summary["total_scans"], summary["blocked"], summary["unique_users"]) == (2, 1, 2)
    assert list(summary["hourly_trend"]) == ["2026-01-01T04:00Z"]
    clock.now += 10 * HOUR
    assert dashboard.get_summary()["total_scans"] == 0


def test_memory_does_not_grow_with_scans_or_users() -> None:
    """L8: a sender of invented users can't fill the memory."""
    dashboard = SecurityDashboard(clock=Clock())
    for user in range(10_500):
        dashboard.record_event(result(), str(user))
    assert dashboard.get_summary()["unique_users"] == 10_000
    assert dashboard.get_summary()["total_scans"] == 10_500


def test_only_five_threats_are_top() -> None:
    """The rest is noise."""
    dashboard = SecurityDashboard(clock=Clock())
    for rank, threat in enumerate(ScanThreat):
        for _ in range(rank + 1):
            dashboard.record_event(result(safe=False, threat=threat))
    assert list(dashboard.get_summary()["top_threats"]) == [threat.value for threat in list(ScanThreat)[:-6:-1]]


def test_users_are_not_kept_as_they_are() -> None:
    """L9: whoever looks into the memory of the dashboard finds hashes."""
    dashboard = SecurityDashboard()
    dashboard.record_event(result(), "grace.fox")
    assert "grace.fox" not in repr([vars(dashboard), dashboard.get_summary()])


def test_threads_share_one() -> None:
    """Eight threads at once lose no scan."""
    dashboard = SecurityDashboard(clock=Clock())
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(lambda: [dashboard.record_event(result()) for _ in range(1000)]) for _ in range(8)]:
            done.result()
    assert dashboard.get_summary()["total_scans"] == 8000


def test_it_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """People see the figures, threats and hours; an empty one can be printed too."""
    dashboard = SecurityDashboard(clock=Clock())
    dashboard.print_dashboard()
    dashboard.record_event(result(safe=False))
    dashboard.print_dashboard()
    printed = capsys.readouterr().out
    for told in ("1 (100.0%)", "injection", "2026-01-01T00:00Z", "0.90"):
        assert told in printed


def test_no_hours_at_all_are_refused() -> None:
    """A dashboard that forgets at once is a mistake."""
    with pytest.raises(ConfigError, match="max_hours"):
        SecurityDashboard(max_hours=0)
