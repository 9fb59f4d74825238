"""What Sentinel says about itself: log lines and metrics."""

from sentinel.observability.events import Names
from sentinel.observability.health import health_scores
from sentinel.observability.logging import DailyFile, Log, ScanLog, open_log, open_scan_log, pseudonym
from sentinel.observability.metrics import Metrics, ScanMetrics
from sentinel.observability.refusals import Refusals

__all__ = [
    "DailyFile",
    "Log",
    "Metrics",
    "Names",
    "Refusals",
    "ScanLog",
    "ScanMetrics",
    "health_scores",
    "open_log",
    "open_scan_log",
    "pseudonym",
]
