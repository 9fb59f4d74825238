"""The threshold up to which a text is unsafe: the score by which `calibrate` and `eval` rank texts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from sentinel._default import default_scanner
from sentinel.model import DEFAULT_DEPTH, Depth, Finding, ScanThreat
from sentinel.scanning.configure import Configuration, merged
from sentinel.scanning.engines.classifier import REPORTED, Classifier
from sentinel.scanning.fuse import Terms, calibrated, judge
from sentinel.scanning.scanner import Scanner

__all__ = ["MOVABLE", "Tipping"]

_OTHERS = {ScanThreat.PII, ScanThreat.SECRET, ScanThreat.CUSTOM}
"""Found by their form, with a certainty that has nothing to do with how people write."""
MOVABLE = tuple(threat for threat in ScanThreat if threat not in _OTHERS)
"""Those whose threshold is worth moving."""
_STEPS = 10_000
"""Thresholds are told apart to four digits."""


class Tipping:
    """
    Scans with the lowest threshold, once, and finds out from the findings what any other would have said.

    Args:
        depth: By default the shipped one. No text is spared a second look: what rules find at the lowest threshold,
            they might not at another.

    Raises:
        ConfigError: The depth is `full` and there is no encoder.
    """

    def __init__(self, depth: Depth = DEFAULT_DEPTH) -> None:
        thresholds = {threat.value: 1 / _STEPS for threat in MOVABLE}
        shipped = default_scanner()
        lowest = merged(Configuration(), {"thresholds": thresholds})
        self._scanner = Scanner(shipped.engines, shipped.rules, configuration=lowest, depth=depth, spares=False)

    def of(self, text: str) -> float:
        """
        Return the highest threshold, for all of `MOVABLE`, at which a text is unsafe, in [0, 1]; 0 for none.

        Raises:
            InputTooLong: The text is longer than 2 MiB.
        """
        result = self._scanner.scan(text)
        if result.is_safe:
            return 0.0
        first_safe = bisect_left(range(1, _STEPS + 1), True, key=lambda step: _is_safe(result.findings, step / _STEPS))
        return first_safe / _STEPS


def _is_safe(findings: tuple[Finding, ...], threshold: float) -> bool:
    terms = Terms(thresholds=dict.fromkeys(MOVABLE, threshold))
    return judge(list(_reported(findings, threshold)), terms=terms).is_safe


def _reported(findings: tuple[Finding, ...], threshold: float) -> Iterator[Finding]:
    """Yield what a scan with that threshold would have found: the model speaks of what comes near it only."""
    for finding in findings:
        if finding.engine != Classifier.id or calibrated(finding.confidence, threshold) >= REPORTED:
            yield finding
