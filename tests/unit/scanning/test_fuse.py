"""Findings become one verdict."""

from __future__ import annotations

import math
from itertools import permutations

import pytest

from sentinel.model import Finding, ScanAction, ScanThreat, Severity
from sentinel.scanning.fuse import JUST_SAFE, THRESHOLD, OnError, Ruling, Terms, calibrated, judge, risk


def finding(
    confidence: float,
    category: str = "a",
    *,
    threat: ScanThreat = ScanThreat.INJECTION,
    source: str = "prompt",
    severity: Severity = Severity.HIGH,
    engine: str = "e",
) -> Finding:
    return Finding(
        category=category,
        message="",
        severity=severity,
        confidence=confidence,
        engine=engine,
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
        ([finding(0.4, engine="classifier"), finding(0.4, "b", engine="classifier")], 0.4),
        ([finding(0.4, engine="classifier"), finding(0.3, "b", engine="classifier"), finding(0.5, "b")], 0.7),
    ],
)
def test_categories_add_up_and_repetition_does_not(findings: list[Finding], expected: float) -> None:
    """The same thing said often, or by the model in two ways, weighs no more; different things weigh more together."""
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
    verdict = judge(findings)
    assert (verdict.is_safe, verdict.threat_type, verdict.action) == (safe, threat, action)
    assert (verdict.risk_score < THRESHOLD) is safe


def test_severity_decides_between_equals() -> None:
    """Of two equally sure findings the worse one names the threat."""
    mild = finding(0.8, "b", threat=ScanThreat.JAILBREAK, severity=Severity.LOW)
    grave = finding(0.8, threat=ScanThreat.EXTRACTION, severity=Severity.CRITICAL)
    assert judge([mild, grave]).threat_type == ScanThreat.EXTRACTION


@pytest.mark.parametrize(
    ("on_error", "safe", "action"), [("flag", True, ScanAction.FLAG), ("block", False, ScanAction.BLOCK)]
)
def test_a_failure_is_never_silently_safe(on_error: OnError, safe: bool, action: ScanAction) -> None:
    """With nothing found but something broken the text is flagged or blocked, as asked."""
    verdict = judge([], failed=True, terms=Terms(on_error=on_error))
    assert (verdict.is_safe, verdict.action, verdict.threat_type) == (safe, action, None)
    assert (verdict.risk_score < THRESHOLD) is safe
    assert verdict.block_reason == (None if safe else "an engine failed")


@pytest.mark.parametrize(
    ("score", "threshold", "expected"),
    [
        (0.3, 0.5, 0.3),
        (0.15, 0.3, 0.25),
        (0.3, 0.3, 0.5),
        (0.65, 0.3, 0.75),
        (0.6, 0.8, 0.375),
        (1.0, 0.8, 1.0),
        (0.0, 0.0, 0.5),
        (1.0, 0.0, 1.0),
        (1.0, 1.0, 0.5),
        (0.0, 1.0, 0.0),
        (math.nextafter(0.3, 0), 0.3, JUST_SAFE),
    ],
)
def test_any_threshold_becomes_one_half(score: float, threshold: float, expected: float) -> None:
    """A score at its threshold reads 0.5, one below it less, and the ends stay where they are."""
    assert calibrated(score, threshold) == pytest.approx(expected)
    assert (calibrated(score, threshold) >= THRESHOLD) is (score >= threshold)


@pytest.mark.parametrize(
    ("terms", "safe"),
    [
        (Terms(), True),
        (Terms(threshold=0.3), False),
        (Terms(thresholds={ScanThreat.INJECTION: 0.4}), False),
        (Terms(thresholds={ScanThreat.JAILBREAK: 0.1}), True),
        (Terms(threshold=0.3, thresholds={ScanThreat.INJECTION: 0.5}), True),
    ],
)
def test_a_threat_is_judged_by_its_own_threshold(terms: Terms, safe: bool) -> None:
    """A threshold of a threat takes the place of the general one, before findings are fused."""
    assert judge([finding(0.4)], terms=terms).is_safe is safe


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ({}, ScanAction.BLOCK),
        ({"mine": ScanAction.FLAG}, ScanAction.FLAG),
        ({"mine": ScanAction.LOG}, ScanAction.LOG),
        ({"other": ScanAction.LOG}, ScanAction.BLOCK),
    ],
)
def test_an_engine_leads_to_no_more_than_its_action(actions: dict[str, ScanAction], expected: ScanAction) -> None:
    """What a user's pattern leads to is for the user to say."""
    verdict = judge([finding(0.9, engine="mine")], terms=Terms(actions=actions))
    assert (verdict.action, verdict.is_blocked) == (expected, expected is ScanAction.BLOCK)
    assert (verdict.risk_score >= THRESHOLD) is verdict.is_blocked


def test_something_to_look_at_is_not_hidden_by_something_to_log() -> None:
    """Of two mild findings the one that asks for more decides."""
    found = [finding(0.9, engine="mine"), finding(0.2, "b")]
    assert judge(found, terms=Terms(actions={"mine": ScanAction.LOG})).action is ScanAction.FLAG


def test_personal_data_in_a_prompt_count_where_the_terms_say_so() -> None:
    """Who may not even receive personal data can have prompts with them refused."""
    found = [finding(0.9, threat=ScanThreat.PII)]
    assert judge(found, terms=Terms(pii_in_prompt="block")).threat_type is ScanThreat.PII


def test_the_reason_of_a_block_is_the_strongest_finding() -> None:
    """A person reads in one line why a text was refused."""
    assert judge([finding(0.6), finding(0.9, "forgery")]).block_reason == "forgery: "
    assert judge([finding(0.3)]).block_reason is None


@pytest.mark.parametrize(
    ("ruling", "action", "score"),
    [
        (Ruling(0.7, ScanAction.ALLOW), ScanAction.BLOCK, 0.7),
        (Ruling(0.2, ScanAction.ALLOW), ScanAction.ALLOW, 0.2),
        (Ruling(0.2, ScanAction.LOG), ScanAction.LOG, 0.2),
    ],
)
def test_a_ruling_takes_the_place_of_the_fused_risk(ruling: Ruling, action: ScanAction, score: float) -> None:
    """In a pipeline its rules decide, whatever the findings alone would amount to."""
    verdict = judge([finding(0.9)], ruling=ruling)
    assert (verdict.action, verdict.risk_score) == (action, score)


def test_a_ruling_does_not_hide_what_asks_to_be_looked_at() -> None:
    """Personal data in a prompt are flagged in a pipeline too, and so is a failure."""
    mild = Ruling(0.0, ScanAction.ALLOW)
    assert judge([finding(0.9, threat=ScanThreat.PII)], ruling=mild).action is ScanAction.FLAG
    assert judge([], failed=True, ruling=mild).action is ScanAction.FLAG
