"""Exercise 2: figures for Prometheus."""

import threading
import time
from collections import OrderedDict

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from sentinel import scan

SCANS = Counter("sentinel_scan", "Scans by verdict.", ["result", "threat_type"])
LATENCY = Histogram(
    "sentinel_scan_latency_seconds", "Wall time of a scan.", buckets=[0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0]
)
RISK = Histogram("sentinel_risk_score", "Risk of a text.", buckets=[tenth / 10 for tenth in range(1, 11)])
SESSIONS = Gauge("sentinel_active_sessions", "Different sessions of the last 15 minutes.")
ERRORS = Counter("sentinel_scan_errors", "Scans that raised an error.")

# A series that is born at 1 has no rate: the first of its kind would be missed.
SCANS.labels(result="allowed", threat_type="none")

_SESSION_SECONDS = 900
_MOST_SESSIONS = 100_000
_seen = OrderedDict()
_lock = threading.Lock()


def _forget():
    horizon = time.monotonic() - _SESSION_SECONDS
    while _seen and (len(_seen) > _MOST_SESSIONS or next(iter(_seen.values())) < horizon):
        _seen.popitem(last=False)


def _active():
    with _lock:
        _forget()
        return len(_seen)


SESSIONS.set_function(_active)


def instrumented_scan(text, session_id=None):
    """Scan, count and return the result."""
    began = time.perf_counter()
    try:
        result = scan(text)
    except Exception:
        ERRORS.inc()
        raise
    LATENCY.observe(time.perf_counter() - began)
    RISK.observe(result.risk_score)
    outcome = "allowed" if result.is_safe else "blocked"
    SCANS.labels(result=outcome, threat_type=result.threat_type or "none").inc()
    if session_id is not None:
        with _lock:
            _seen[session_id] = time.monotonic()
            _seen.move_to_end(session_id)
            _forget()
    return result


def start_exporter(port):
    """Show the figures at http://127.0.0.1:PORT/metrics, and go on."""
    start_http_server(port, addr="127.0.0.1")
