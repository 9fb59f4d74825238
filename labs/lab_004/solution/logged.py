"""Exercise 1: one line of JSON a scan."""

import hmac
import secrets

import structlog

from sentinel import scan

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(),
    ]
)
log = structlog.get_logger("sentinel.security")

# In production: a secret that is kept, so that lines about one person join over restarts.
KEY = secrets.token_bytes(32)


def pseudonym(user_id):
    """Return 16 hex digits that stand for a person."""
    return hmac.digest(KEY, user_id.encode(), "sha256").hex()[:16]


def secure_scan(text, user_id, session_id):
    """Scan, log and return the result."""
    result = scan(text)
    fields = {
        "user_id": pseudonym(user_id),
        "session_id": session_id,
        "input_length": len(text),
        "risk_score": result.risk_score,
        "is_safe": result.is_safe,
        "threat_type": result.threat_type,
        "engines_triggered": result.triggered_engines,
        "latency_ms": result.latency_ms,
    }
    if result.is_safe:
        log.info("scan_completed", **fields)
    else:
        log.warning("security_threat_detected", **fields)
    return result
