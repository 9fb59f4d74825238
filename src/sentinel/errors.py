"""
Every exception that Sentinel raises on purpose.

    SentinelError
    ├─ ConfigError        settings, unknown option, broken policy; says where
    │   └─ RuleError      a rule that can't be parsed or compiled
    ├─ ScanError          a text can't be scanned as asked
    │   └─ InputTooLong   the text is longer than the limit
    ├─ ThreatDetected     a guarded text is not safe; carries the result
    ├─ RejectedEvent      the sender's fault; carries the field and the reason
    └─ OutsideError       store, bus or action; says whether trying again helps

Messages say what, where and what to do next, and never contain scanned text or a secret.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ConfigError",
    "InputTooLong",
    "OutsideError",
    "RejectedEvent",
    "RuleError",
    "ScanError",
    "SentinelError",
    "ThreatDetected",
]


class SentinelError(Exception):
    """Base of all errors raised by Sentinel."""


class ConfigError(SentinelError):
    """Something that a person configured is wrong; `where` is a file:line or the name of a setting."""

    def __init__(self, reason: str, *, where: str | None = None) -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.reason = reason
        self.where = where


class RuleError(ConfigError):
    """A rule can't be parsed or compiled."""


class ScanError(SentinelError):
    """A text can't be scanned as asked."""


class InputTooLong(ScanError):
    """The text is longer than the limit; nothing was judged."""


class ThreatDetected(SentinelError):
    """A guarded text is not safe; `result` is the `ScanResult` that says why."""

    def __init__(self, result: Any) -> None:
        super().__init__(f"not safe: {result.block_reason or result.threat_type} (risk {result.risk_score:.2f})")
        self.result = result


class RejectedEvent(SentinelError):
    """An event is not acceptable; `field` names the offending field."""

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = reason
        self.field = field


class OutsideError(SentinelError):
    """Something outside the process failed; `retryable` says whether the same call may work later."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.retryable = retryable
