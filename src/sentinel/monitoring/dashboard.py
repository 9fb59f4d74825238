"""What the last days looked like, in figures that take the same room however many scans there were."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from sentinel.errors import ConfigError
from sentinel.model import ScanResult
from sentinel.observability import pseudonym

__all__ = ["SecurityDashboard"]

_HOUR_SECONDS = 3600
_TOP = 5
_MOST_USERS = 10_000
_BAR = 20


@dataclass(slots=True)
class _Hour:
    scans: int = 0
    blocked: int = 0
    risk: float = 0.0
    threats: Counter[str] = field(default_factory=Counter)


class SecurityDashboard:
    """
    Counts results by hour of UTC. Threads may share one.

    Memory is bounded by hours and threats: no result is kept, and of users only hashes under a key that ends with the
    process, at most 10,000.

    Args:
        max_hours: So many hours are remembered, the present one included; older ones are forgotten.
        clock: Seconds since 1970-01-01 UTC.

    Raises:
        ConfigError: `max_hours` is less than 1.
    """

    def __init__(
        self,
        max_hours: int = 168,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the caller's own process, nothing below decides by it
    ) -> None:
        if max_hours < 1:
            raise ConfigError("must be at least 1", where="max_hours")
        self._max_hours = max_hours
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._hours: dict[int, _Hour] = {}
        """By hours since 1970-01-01 UTC."""
        self._users: dict[str, int] = {}
        """The hour in which each pseudonym was last seen."""

    def record_event(self, result: ScanResult, user_id: str | None = None) -> None:
        """Count one result, and its user."""
        user = pseudonym(self._key, user_id)
        with self._lock:
            now = self._forget()
            hour = self._hours.setdefault(now, _Hour())
            hour.scans += 1
            hour.risk += result.risk_score
            if not result.is_safe:
                hour.blocked += 1
                hour.threats[str(result.threat_type or "none")] += 1
            if user is not None and (user in self._users or len(self._users) < _MOST_USERS):
                self._users[user] = now

    def _forget(self) -> int:
        """Drop what is too old; return the present hour."""
        now = int(self._clock() // _HOUR_SECONDS)
        if now not in self._hours:
            oldest = now - self._max_hours + 1
            self._hours = {hour: kept for hour, kept in self._hours.items() if hour >= oldest}
            self._users = {user: seen for user, seen in self._users.items() if seen >= oldest}
        return now

    def get_summary(self) -> dict[str, Any]:
        """
        Return the figures of the remembered hours.

        Returns:
            `total_scans`, `blocked`, `block_rate` (text such as "12.3%"), `top_threats` (the five most frequent, by
            number), `hourly_trend` (blocked scans by hour, keys such as 2026-01-31T14:00Z, in order; hours without one
            are left out), `avg_risk_score` in [0, 1], `unique_users` (at most 10,000 are told apart).
        """
        with self._lock:
            self._forget()
            hours = sorted(self._hours.items())
            users = len(self._users)
            scans = sum(hour.scans for _, hour in hours)
            blocked = sum(hour.blocked for _, hour in hours)
            threats = sum((hour.threats for _, hour in hours), Counter[str]())
            risk = sum(hour.risk for _, hour in hours)
            trend = {_name(number): hour.blocked for number, hour in hours if hour.blocked}
        return {
            "total_scans": scans,
            "blocked": blocked,
            "block_rate": f"{blocked / max(scans, 1):.1%}",
            "top_threats": dict(threats.most_common(_TOP)),
            "hourly_trend": trend,
            "avg_risk_score": risk / max(scans, 1),
            "unique_users": users,
        }

    def print_dashboard(self) -> None:
        """Print the summary to standard output."""
        summary = self.get_summary()
        figures = Table("figure", "value", title="Sentinel security dashboard")
        figures.add_row("scans", f"{summary['total_scans']:,}")
        figures.add_row("blocked", f"{summary['blocked']:,} ({summary['block_rate']})")
        figures.add_row("mean risk", f"{summary['avg_risk_score']:.2f}")
        for threat, count in summary["top_threats"].items():
            figures.add_row(threat, f"{count:,}")
        most = max(summary["hourly_trend"].values(), default=0)
        for hour, count in summary["hourly_trend"].items():
            figures.add_row(hour, f"{'#' * round(_BAR * count / most)} {count:,}")
        Console().print(figures)


def _name(hour: int) -> str:
    return f"{datetime.fromtimestamp(hour * _HOUR_SECONDS, UTC):%Y-%m-%dT%H:00Z}"
