"""Results as the scanner gives them, made by hand."""

from __future__ import annotations

from sentinel.model import ScanAction, ScanResult, ScanThreat


def result(*, safe: bool = True, risk: float | None = None, threat: ScanThreat | None = None) -> ScanResult:
    """Return a result; an unsafe one is an injection unless told otherwise."""
    return ScanResult(
        is_safe=safe,
        risk_score=(0.0 if safe else 0.9) if risk is None else risk,
        threat_type=None if safe else threat or ScanThreat.INJECTION,
        triggered_engines=[] if safe else ["injection"],
        findings=(),
        latency_ms=0.5,
        version="test",
        action=ScanAction.ALLOW if safe else ScanAction.BLOCK,
    )


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = 1_767_225_600.0) -> None:  # 2026-01-01T00:00:00Z
        self.now = now

    def __call__(self) -> float:
        return self.now
