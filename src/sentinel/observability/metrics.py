"""
The service's metrics, in a registry of their own.

Labels hold only values from closed lists: no user, address, session or free text. Every known label set starts at 0, so
that an alert sees the first increment (a series that is born at 1 has no rate).
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from sentinel.model import ActionStatus, ActionType, ScanResult, ScanThreat, Severity, ThreatType

__all__ = ["Metrics"]

_FINE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_REACTION = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """Counters, gauges and histograms, with their children made once."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._scans = Counter("sentinel_scan", "Scans by verdict.", ["result", "threat_type"], registry=registry)
        self._latency = Histogram(
            "sentinel_scan_latency_seconds", "Wall time of a scan.", buckets=_FINE, registry=registry
        )
        self._risk = Histogram(
            "sentinel_risk_score", "Risk given to scanned texts.", buckets=_TENTHS, registry=registry
        )
        self._blocked = Counter("sentinel_threats_blocked", "Scans whose text was not safe.", registry=registry)
        self.scan_errors = Counter("sentinel_scan_errors", "Scans that raised an error.", registry=registry)
        self.scan_events_lost = Counter(
            "sentinel_scan_events_unstored",
            "Scan verdicts given although their event could not be stored.",
            registry=registry,
        )
        self.events = Counter(
            "security_events", "Events offered, by what became of them.", ["result"], registry=registry
        )
        self.dropped = Counter(
            "security_events_dropped", "Accepted events that were lost: always 0.", registry=registry
        )
        self.dead_letters = Counter("security_dead_letters", "Events that no rule could judge.", registry=registry)
        self.threats = Counter(
            "security_threat_detections",
            "Signals, counted once.",
            ["threat_type", "severity", "source"],
            registry=registry,
        )
        self.actions = Counter(
            "security_response_actions",
            "Changes of state of actions.",
            ["action_type", "status", "auto"],
            registry=registry,
        )
        self.refused = Counter(
            "security_actions_refused",
            "Automatic actions that a guard rail or an undo stopped.",
            ["action_type"],
            registry=registry,
        )
        self.bad_tokens = Counter("security_api_refused", "Requests refused by status.", ["status"], registry=registry)
        self.decision_seconds = Histogram(
            "security_event_to_decision_seconds",
            "From durable acceptance to judged.",
            buckets=_REACTION,
            registry=registry,
        )
        self.enforced_seconds = Histogram(
            "security_decision_to_enforced_seconds",
            "From an action's start to the first question that shows it applied.",
            buckets=_REACTION,
            registry=registry,
        )
        self.queue_depth = Gauge("security_queue_depth", "Events accepted and not yet judged.", registry=registry)
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        self._scans.labels(result="allowed", threat_type="none")
        for scan_threat in ScanThreat:
            self._scans.labels(result="blocked", threat_type=scan_threat.value)
        for outcome in ("accepted", "duplicate", "conflict", "late", "rejected"):
            self.events.labels(result=outcome)
        for threat in (*ThreatType, "unnamed"):
            for severity in list(Severity)[1:]:
                self.threats.labels(threat_type=str(threat), severity=severity.value, source="rule")
        for action in ActionType:
            self.refused.labels(action_type=action.value)
            for status in ActionStatus:
                for auto in ("true", "false"):
                    self.actions.labels(action_type=action.value, status=status.value, auto=auto)
        for code in ("401", "403", "429"):
            self.bad_tokens.labels(status=code)

    def count_scan(self, result: ScanResult) -> None:
        """Count one finished scan."""
        threat = result.threat_type.value if result.threat_type else "none"
        self._scans.labels(result="allowed" if result.is_safe else "blocked", threat_type=threat).inc()
        self._latency.observe(result.latency_ms / 1000)
        self._risk.observe(result.risk_score)
        if not result.is_safe:
            self._blocked.inc()

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Read the queue's depth at each scrape."""
        self.queue_depth.set_function(depth)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type, as OpenMetrics where the scraper asks for it."""
        if "application/openmetrics-text" in accept:
            body: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return body, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self.registry), "text/plain; version=0.0.4; charset=utf-8"
