"""Findings in, one verdict out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from sentinel.model import Finding, ScanAction, ScanThreat

__all__ = ["JUST_SAFE", "THRESHOLD", "OnError", "Ruling", "Terms", "Verdict", "calibrated", "judge", "risk"]

THRESHOLD = 0.5
"""Risk, in [0, 1], from which on a text is unsafe."""
JUST_SAFE = math.nextafter(THRESHOLD, 0.0)
"""The highest risk of a safe text."""
_MODEL = "classifier"
"""The engine whose findings name a threat only in the rough."""
_TOLERATED_SHARE = 0.5
"""Of a tolerated finding's confidence, what shows as risk: always below the threshold, never 0."""

OnError = Literal["flag", "block"]
"""What an engine's failure means: look at the text, or refuse it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms findings become a verdict."""

    threshold: float = THRESHOLD
    """The confidence, in [0, 1], from which on a finding alone makes a text unsafe."""
    thresholds: Mapping[ScanThreat, float] = field(default_factory=dict)
    """Likewise, for the threats that have one of their own."""
    pii_in_prompt: Literal["flag", "block"] = "flag"
    """Whether people may write about themselves; likewise for documents and tools, which serve them."""
    actions: Mapping[str, ScanAction] = field(default_factory=dict)
    """Engines whose findings lead to something milder than `block`, by id."""
    on_error: OnError = "flag"


class Ruling(NamedTuple):
    """What a pipeline's rules make of the findings."""

    risk: float
    action: ScanAction
    """Where the text is safe."""


class Verdict(NamedTuple):
    """What the findings of one scan amount to."""

    risk_score: float
    is_safe: bool
    threat_type: ScanThreat | None
    action: ScanAction
    is_blocked: bool
    block_reason: str | None


_NOTHING = Verdict(0.0, is_safe=True, threat_type=None, action=ScanAction.ALLOW, is_blocked=False, block_reason=None)


def judge(
    findings: Collection[Finding], *, failed: bool = False, terms: Terms | None = None, ruling: Ruling | None = None
) -> Verdict:
    """
    Return the verdict on one scan.

    Args:
        findings: All findings of the scan, any order.
        failed: Whether an engine broke or something was left unread.
        terms: By default those of `Terms()`.
        ruling: What a pipeline decided; by default the risk of the findings decides.

    Returns:
        Unsafe from the threshold on, with the threat of the strongest finding (None when only a failure is to blame).
        Personal data in a prompt, and other findings that the terms tolerate, show in the risk and leave it safe.
    """
    if not (findings or failed):
        return _NOTHING
    terms = terms or Terms()
    refused = failed and terms.on_error == "block"
    found = risk(findings, terms) if ruling is None else ruling.risk
    score = max(found, _tolerated_risk(findings, terms), THRESHOLD if refused else 0.0)
    if score < THRESHOLD:
        action = ScanAction.FLAG if failed else _mild(findings, terms, ruling)
        return Verdict(score, is_safe=True, threat_type=None, action=action, is_blocked=False, block_reason=None)
    blamed = [finding for finding in findings if _effect(finding, terms) is ScanAction.BLOCK]
    strongest = max(blamed, key=lambda one: _telling(one, terms), default=None)
    return Verdict(
        score,
        is_safe=False,
        threat_type=strongest.threat if strongest else None,
        action=ScanAction.BLOCK,
        is_blocked=True,
        block_reason=f"{strongest.category}: {strongest.message}" if strongest else "an engine failed",
    )


def _telling(finding: Finding, terms: Terms) -> tuple[bool, bool, float, int]:
    """Return how much a finding says about what is wrong: the model is sure that, rules are sure what."""
    sure = _tuned(finding, terms) >= THRESHOLD
    return sure, finding.engine != _MODEL, _tuned(finding, terms), finding.severity.rank


def risk(findings: Iterable[Finding], terms: Terms | None = None) -> float:
    """
    Combine the findings that may make a text unsafe into one risk by noisy-or over categories.

    Findings of one category say the same thing and aren't independent, so only the surest of them counts; different
    categories add up: two halves of a suspicion make a suspicion. The model is one judge, whatever it calls what it
    saw and wherever: of its findings too only the surest counts.

    Args:
        findings: Any order; `confidence` in [0, 1].
        terms: By default those of `Terms()`.

    Returns:
        Risk in [0, 1]: 0 for no findings, never below the largest confidence as the terms weigh it.

    Source: Pearl, Probabilistic Reasoning in Intelligent Systems (1988), section 4.3 (noisy-or).
    """
    terms = terms or Terms()
    surest: dict[str, float] = {}
    for confidence, category in _claims(findings, terms):
        surest[category] = max(confidence, surest.get(category, 0.0))
    # Sorted, so that rounding can't make the order of findings show; the bound keeps it from eating the largest.
    doubts = math.prod(1.0 - confidence for confidence in sorted(surest.values()))
    return max(1.0 - doubts, max(surest.values(), default=0.0))


def _claims(findings: Iterable[Finding], terms: Terms) -> Iterator[tuple[float, str]]:
    """Yield the confidence and the category of each finding that may make a text unsafe; of the model's, one."""
    of_model: list[tuple[float, str]] = []
    for finding in findings:
        if _effect(finding, terms) is ScanAction.BLOCK:
            claim = _tuned(finding, terms), finding.category
            if finding.engine == _MODEL:
                of_model.append(claim)
            else:
                yield claim
    if of_model:
        yield max(of_model)


def calibrated(score: float, threshold: float) -> float:
    """
    Return a score on the scale on which its threshold is 0.5.

    Args:
        score: In [0, 1].
        threshold: In [0, 1], on the score's own scale.

    Returns:
        In [0, 1], in two straight lines: 0.5 and more exactly where `score` >= `threshold`; 1 for 1, unless the
        threshold is 1 too.
    """
    if threshold == THRESHOLD:
        return score
    if score >= threshold and threshold < 1:
        return 1 - (1 - THRESHOLD) * (1 - score) / (1 - threshold)
    return THRESHOLD if score >= threshold else min(THRESHOLD * score / threshold, JUST_SAFE)


def _tuned(finding: Finding, terms: Terms) -> float:
    return calibrated(finding.confidence, terms.thresholds.get(finding.threat, terms.threshold))


def _effect(finding: Finding, terms: Terms) -> ScanAction:
    """Return what a finding may lead to at most."""
    if finding.threat is ScanThreat.PII and finding.source != "response" and terms.pii_in_prompt == "flag":
        return ScanAction.FLAG
    return terms.actions.get(finding.engine, ScanAction.BLOCK)


def _mild(findings: Iterable[Finding], terms: Terms, ruling: Ruling | None) -> ScanAction:
    """Return what becomes of a safe text: flagged, or only logged if nothing was found that asks for more."""
    effects = {_effect(finding, terms) for finding in findings}
    asked = effects if ruling is None else {ruling.action, *effects - {ScanAction.BLOCK}}
    if asked & {ScanAction.FLAG, ScanAction.BLOCK}:
        return ScanAction.FLAG
    return ScanAction.LOG if ScanAction.LOG in asked else ScanAction.ALLOW


def _tolerated_risk(findings: Iterable[Finding], terms: Terms) -> float:
    shares = (
        _TOLERATED_SHARE * finding.confidence for finding in findings if _effect(finding, terms) is not ScanAction.BLOCK
    )
    return min(max(shares, default=0.0), JUST_SAFE)
