"""Findings become one verdict."""

from __future__ import annotations

from itertools import permutations

import pytest

from sentinel.model import Finding, ScanAction, ScanThreat, Severity
from sentinel.scanning.fuse import THRESHOLD, OnError, judge, risk


def finding(
    confidence: float,
    category: str = "a",
    *,
    threat: ScanThreat = ScanThreat.INJECTION,
    source: str = "prompt",
    severity: Severity = Severity.HIGH,
) -> Finding:
    return Finding(
        category=category,
        message="",
        severity=severity,
        confidence=confidence,
        engine="e",
        span=(0, 1),
        rule_id="r",
        threat=threat,
        source=source,
    )


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], 0.0),
        ([finding(0.7)], 0.7),
        ([finding(0.7), finding(0.6), finding(0.7)], 0.7),
        ([finding(0.3), finding(0.3, "b")], 0.51),
        ([finding(0.5, "b"), finding(0.5), finding(0.5, "c")], 0.875),
        ([finding(1.0), finding(0.2, "b")], 1.0),
    ],
)
def test_categories_add_up_and_repetition_does_not(findings: list[Finding], expected: float) -> None:
    """The same thing said often weighs no more; different things weigh more together."""
    assert risk(findings) == pytest.approx(expected)


def test_rounding_does_not_show_the_order() -> None:
    """The product of the same doubts is the same number, bit for bit, in any order."""
    found = [finding(0.1), finding(0.2, "b"), finding(0.2, "c")]
    assert len({risk(order) for order in permutations(found)}) == 1


@pytest.mark.parametrize(
    ("findings", "safe", "threat", "action"),
    [
        ([], True, None, ScanAction.ALLOW),
        ([finding(0.3)], True, None, ScanAction.FLAG),
        ([finding(0.5)], False, ScanThreat.INJECTION, ScanAction.BLOCK),
        ([finding(0.6), finding(0.7, "b", threat=ScanThreat.JAILBREAK)], False, ScanThreat.JAILBREAK, ScanAction.BLOCK),
        ([finding(0.9, threat=ScanThreat.PII)], True, None, ScanAction.FLAG),
        ([finding(1.0, threat=ScanThreat.PII)], True, None, ScanAction.FLAG),
        ([finding(0.9, threat=ScanThreat.PII), finding(0.3, "b")], True, None, ScanAction.FLAG),
        ([finding(0.9, threat=ScanThreat.PII, source="response")], False, ScanThreat.PII, ScanAction.BLOCK),
        ([finding(0.9, threat=ScanThreat.SECRET)], False, ScanThreat.SECRET, ScanAction.BLOCK),
        ([finding(0.9, "p", threat=ScanThreat.PII), finding(0.6)], False, ScanThreat.INJECTION, ScanAction.BLOCK),
    ],
)
def test_verdicts(findings: list[Finding], safe: bool, threat: ScanThreat, action: ScanAction) -> None:
    """Unsafe from the threshold on; personal data in a prompt are flagged and blame nobody."""
    verdict = judge(findings, failed=False, on_error="flag")
    assert (verdict.is_safe, verdict.threat_type, verdict.action) == (safe, threat, action)
    assert (verdict.risk_score < THRESHOLD) is safe


def test_severity_decides_between_equals() -> None:
    """Of two equally sure findings the worse one names the threat."""
    mild = finding(0.8, "b", threat=ScanThreat.JAILBREAK, severity=Severity.LOW)
    grave = finding(0.8, threat=ScanThreat.EXTRACTION, severity=Severity.CRITICAL)
    assert judge([mild, grave], failed=False, on_error="flag").threat_type == ScanThreat.EXTRACTION


@pytest.mark.parametrize(
    ("on_error", "safe", "action"), [("flag", True, ScanAction.FLAG), ("block", False, ScanAction.BLOCK)]
)
def test_a_failure_is_never_silently_safe(on_error: OnError, safe: bool, action: ScanAction) -> None:
    """With nothing found but something broken the text is flagged or blocked, as asked."""
    verdict = judge([], failed=True, on_error=on_error)
    assert (verdict.is_safe, verdict.action, verdict.threat_type) == (safe, action, None)
    assert (verdict.risk_score < THRESHOLD) is safe
