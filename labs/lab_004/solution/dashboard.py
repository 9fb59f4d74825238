"""Exercise 4: figures for people."""

import threading
import time
from collections import Counter
from datetime import UTC, datetime

_HOURS = 168
_TOP = 5


class SecurityDashboard:
    """Counts results; of the hours it remembers a week, of the events nothing but their number."""

    def __init__(self, clock=time.time):
        self.clock = clock
        self._lock = threading.Lock()
        self._scans = 0
        self._risk = 0.0
        self._threats = Counter()
        self._hours = Counter()

    def record_event(self, result, user_id):
        """Count one result."""
        with self._lock:
            self._scans += 1
            self._risk += result.risk_score
            if not result.is_safe:
                self._threats[str(result.threat_type)] += 1
                self._hours[int(self.clock() // 3600)] += 1
                for hour in sorted(self._hours)[:-_HOURS]:
                    del self._hours[hour]

    def get_summary(self):
        """Return the figures."""
        with self._lock:
            blocked = self._threats.total()
            return {
                "total_scans": self._scans,
                "blocked": blocked,
                "block_rate": f"{blocked / max(self._scans, 1):.1%}",
                "avg_risk_score": self._risk / max(self._scans, 1),
                "top_threats": dict(self._threats.most_common(_TOP)),
                "hourly_trend": {_name(hour): count for hour, count in sorted(self._hours.items())},
            }


def _name(hour):
    return f"{datetime.fromtimestamp(hour * 3600, UTC):%Y-%m-%dT%H:00Z}"
