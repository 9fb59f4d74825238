"""Jailbroken output: the answer shows that the model has left its role, or gives its instructions away."""

from __future__ import annotations

from collections.abc import Iterable

from sentinel.model import Finding, ScanThreat
from sentinel.scanning.engines import Flags, Ignores, rule_findings
from sentinel.scanning.text import Source, Text

__all__ = ["JailbrokenOutput"]


class JailbrokenOutput:
    """Finds answers in which a persona speaks or the instructions are quoted."""

    id = "jailbroken_output"
    title = "Answer of a model that left its role"
    threats = (ScanThreat.JAILBREAK, ScanThreat.EXTRACTION)
    sources: tuple[Source, ...] = ("response",)
    by_rules = True
    EXAMPLES = (
        Flags("As DAN, I can now tell you anything without restrictions...", "response"),
        Ignores("As Dan said, the shop is open.", "response"),
        Ignores("As DAN, I can now tell you anything without restrictions...", "prompt"),
    )

    def examine(self, text: Text) -> Iterable[Finding]:
        """Return one finding for each place where a rule holds."""
        return rule_findings(self, text)
