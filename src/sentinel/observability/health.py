"""
The health of those who are watched, as one number, and the service's own state, as metrics.

The score falls with what was violated and found, never with plain events: traffic alone is no illness. In a large
installation the same share of trouble is a larger number, so a second score divides by traffic.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Enum, Gauge

from sentinel.model import Severity

__all__ = ["STATUSES", "HealthMetrics", "health_scores"]

STATUSES = ("healthy", "degraded", "critical", "offline")
_SEVERITIES = [severity.value for severity in Severity if severity.rank]
_COST = {"critical": 10.0, "high": 5.0, "medium": 2.0, "low": 0.5}
_PER_EVENTS = 1_000
"""Up to so many events in the hour both scores are the same."""


def health_scores(counts: Mapping[str, int], events: int) -> tuple[float, float]:
    """
    Return the health score and the one normalised by traffic, both from 0 to 100.

    Args:
        counts: Open violations and signals of the last hour, by severity.
        events: Of the last hour, of any kind.

    Source: decisions F2; 100 - (10 critical + 5 high + 2 medium + 0.5 low), the second for 1,000 events of the hour.
    """
    cost = sum(_COST[severity] * counts.get(severity, 0) for severity in _COST)
    return max(0.0, 100 - cost), max(0.0, 100 - cost * _PER_EVENTS / max(events, _PER_EVENTS))


class HealthMetrics:
    """Gauges that are set from the store before each scrape, so that they fall as well as rise."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._score = Gauge(
            "security_health_score",
            "100 less 10, 5, 2 and 0.5 for each open violation and signal of the last hour by severity, at least 0.",
            registry=registry,
        )
        self._normalised = Gauge(
            "security_health_score_normalized",
            "The same for 1,000 events of the hour, where there were more.",
            registry=registry,
        )
        self._status = Enum(
            "security_monitoring_status",
            "Sentinel's own state, one gauge for each.",
            states=list(STATUSES),
            registry=registry,
        )
        self._rate = Gauge(
            "security_violation_rate_per_minute",
            "Violations of the last minute.",
            ["severity"],
            registry=registry,
        )
        self._score.set(100)
        self._normalised.set(100)
        for severity in _SEVERITIES:
            self._rate.labels(severity=severity)

    def show(self, scores: tuple[float, float], status: str, last_minute: Mapping[str, int]) -> None:
        """Set them: the two scores, one of `STATUSES`, and the violations of the last minute by severity."""
        self._score.set(scores[0])
        self._normalised.set(scores[1])
        self._status.state(status)
        for severity in _SEVERITIES:
            self._rate.labels(severity=severity).set(last_minute.get(severity, 0))
