"""What each threat is called by OWASP and MITRE."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from sentinel.model import ScanThreat

__all__ = ["TAXONOMY", "Names"]


class Names(NamedTuple):
    """A threat's ids; empty where the taxonomy has none."""

    owasp: tuple[str, ...] = ()
    """OWASP Top 10 for LLM applications, 2025 edition."""
    atlas: tuple[str, ...] = ()
    """MITRE ATLAS techniques."""


TAXONOMY: Mapping[ScanThreat, Names] = MappingProxyType(
    {
        ScanThreat.INJECTION: Names(("LLM01:2025",), ("AML.T0051.000",)),
        ScanThreat.JAILBREAK: Names(("LLM01:2025",), ("AML.T0054",)),
        ScanThreat.EXTRACTION: Names(("LLM07:2025",), ("AML.T0056",)),
        ScanThreat.INDIRECT_INJECTION: Names(("LLM01:2025",), ("AML.T0051.001",)),
        ScanThreat.PII: Names(("LLM02:2025",), ("AML.T0057",)),
        ScanThreat.SECRET: Names(("LLM02:2025",), ("AML.T0055",)),
        ScanThreat.EXFILTRATION: Names(("LLM02:2025",), ("AML.T0057",)),
        ScanThreat.TOOL_ABUSE: Names(("LLM06:2025",), ("AML.T0053",)),
        ScanThreat.OBFUSCATION: Names(("LLM01:2025",), ("AML.T0068",)),
        ScanThreat.TOXICITY: Names(atlas=("AML.T0048",)),
        ScanThreat.CUSTOM: Names(),
    }
)
