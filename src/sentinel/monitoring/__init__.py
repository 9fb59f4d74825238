"""
Watch what the scanner says, in your own process: log lines, metrics, alerts, a dashboard.

    >>> from sentinel import scan
    >>> from sentinel.monitoring import AlertManager
    >>> alerts = AlertManager(thresholds={"threat_rate": 0.3})
    >>> alerts.check_and_alert(scan("Hello, how are you?"))
    False

Importing it registers no metric and opens nothing. Nothing here keeps or writes a scanned text, and people appear as
keyed hashes.
"""

from sentinel.monitoring.alerts import AlertManager
from sentinel.monitoring.dashboard import SecurityDashboard
from sentinel.monitoring.feedback import FalsePositives
from sentinel.monitoring.scans import ScanLogger, instrument, scan_logger
from sentinel.notify import AppriseChannel, Channel, ConsoleChannel
from sentinel.observability import ScanMetrics

__all__ = [
    "AlertManager",
    "AppriseChannel",
    "Channel",
    "ConsoleChannel",
    "FalsePositives",
    "ScanLogger",
    "ScanMetrics",
    "SecurityDashboard",
    "instrument",
    "scan_logger",
]
