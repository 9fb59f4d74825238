"""Exercise 3: tell people, once."""

import threading
from collections import deque

_ENOUGH = 20


class AlertManager:
    """Watches the share of unsafe texts among the last 100."""

    def __init__(self, thresholds, window_size=100):
        self.threshold = thresholds["threat_rate"]
        self._unsafe = deque(maxlen=window_size)  # verdicts only: whole results hold more than is needed
        self._alerting = False
        self._lock = threading.Lock()

    def check_and_alert(self, result):
        """Take one more result, and send what follows from it."""
        with self._lock:
            self._unsafe.append(not result.is_safe)
            rate = sum(self._unsafe) / len(self._unsafe)
            is_high = rate > self.threshold and len(self._unsafe) >= _ENOUGH
            changed, self._alerting = is_high != self._alerting, is_high
        if changed:
            title = "High threat rate" if is_high else "Resolved: high threat rate"
            self.send_alert(title, f"{rate:.1%} of the last {len(self._unsafe)} texts are unsafe")

    def send_alert(self, title, message):
        """Tell somebody."""
        print(f"ALERT: {title}: {message}")
