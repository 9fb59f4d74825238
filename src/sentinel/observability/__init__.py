"""What Sentinel says about itself: log lines and metrics."""

from sentinel.observability.logging import Log, open_log, pseudonym
from sentinel.observability.metrics import Metrics

__all__ = ["Log", "Metrics", "open_log", "pseudonym"]
