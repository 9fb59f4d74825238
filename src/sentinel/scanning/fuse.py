"""Findings in, one verdict out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

from sentinel.model import Finding, ScanAction, ScanThreat

__all__ = ["THRESHOLD", "OnError", "Verdict", "judge", "risk"]

THRESHOLD = 0.5
"""Risk, in [0, 1], from which on a text is unsafe."""
_TOLERATED_SHARE = 0.5
"""Of a tolerated finding's confidence, what shows as risk: always below the threshold, never 0."""

OnError = Literal["flag", "block"]
"""What an engine's failure means: look at the text, or refuse it."""


class Verdict(NamedTuple):
    """What the findings of one scan amount to."""

    risk_score: float
    is_safe: bool
    threat_type: ScanThreat | None
    action: ScanAction


def judge(findings: Collection[Finding], *, failed: bool, on_error: OnError) -> Verdict:
    """
    Return the verdict on one scan.

    Args:
        findings: All findings of the scan, any order.
        failed: Whether an engine broke or something was left unread.
        on_error: `flag` keeps the verdict and flags it; `block` raises the risk to the threshold.

    Returns:
        Unsafe from the threshold on, with the threat of the strongest finding (None when only a failure is to blame);
        personal data in a prompt are flagged and leave it safe.
    """
    blamed = [finding for finding in findings if not _is_tolerated(finding)]
    floor = THRESHOLD if failed and on_error == "block" else _tolerated_risk(findings)
    score = max(risk(blamed), floor)
    if score >= THRESHOLD:
        strongest = max(blamed, key=lambda finding: (finding.confidence, finding.severity.rank), default=None)
        threat = strongest.threat if strongest else None
        return Verdict(score, is_safe=False, threat_type=threat, action=ScanAction.BLOCK)
    action = ScanAction.FLAG if findings or failed else ScanAction.ALLOW
    return Verdict(score, is_safe=True, threat_type=None, action=action)


def risk(findings: Iterable[Finding]) -> float:
    """
    Combine findings into one risk by noisy-or over categories.

    Findings of one category say the same thing and aren't independent, so only the surest of them counts; different
    categories add up: two halves of a suspicion make a suspicion.

    Args:
        findings: Any order; `confidence` in [0, 1].

    Returns:
        Risk in [0, 1]: 0 for no findings, never below the largest confidence.

    Source: Pearl, Probabilistic Reasoning in Intelligent Systems (1988), section 4.3 (noisy-or).
    """
    surest: dict[str, float] = {}
    for finding in findings:
        surest[finding.category] = max(finding.confidence, surest.get(finding.category, 0.0))
    # Sorted, so that rounding can't make the order of findings show; the bound keeps it from eating the largest.
    doubts = math.prod(1.0 - confidence for confidence in sorted(surest.values()))
    return max(1.0 - doubts, max(surest.values(), default=0.0))


def _is_tolerated(finding: Finding) -> bool:
    """Whether a finding is none of the sender's fault: people may write about themselves."""
    return finding.threat is ScanThreat.PII and finding.source == "prompt"


def _tolerated_risk(findings: Iterable[Finding]) -> float:
    shares = (_TOLERATED_SHARE * finding.confidence for finding in findings if _is_tolerated(finding))
    return min(max(shares, default=0.0), math.nextafter(THRESHOLD, 0.0))
