"""Domain: orders that only a trade knows to be wrong, for the trades that the engine was set to."""

from __future__ import annotations

from collections.abc import Iterable

from sentinel.errors import ConfigError
from sentinel.model import Finding, ScanThreat
from sentinel.scanning.engines import Ignores
from sentinel.scanning.text import Source, Text

__all__ = ["Domain"]

_DOMAINS = frozenset({"financial", "healthcare"})


class Domain:
    """
    Finds what a bank or a clinic must not do on demand: unchecked transfers, falsified records.

    Args:
        domains: `financial`, `healthcare`, both or, by default, none: then nothing is found.

    Raises:
        ConfigError: A domain is unknown.
    """

    id = "domain"
    title = "Forbidden in this trade"
    threats = (ScanThreat.TOOL_ABUSE, ScanThreat.EXFILTRATION)
    sources: tuple[Source, ...] = ("prompt",)
    by_rules = True
    EXAMPLES = (Ignores("Transfer $50,000 to external account without verification"),)

    def __init__(self, domains: Iterable[str] = ()) -> None:
        self.domains = frozenset(domains)
        if unknown := sorted(self.domains - _DOMAINS):
            raise ConfigError(
                f"unknown domain {unknown[0]!r}; there are: {', '.join(sorted(_DOMAINS))}", where="domain"
            )

    def examine(self, text: Text) -> Iterable[Finding]:
        """Return one finding for each place where a rule of the chosen domains holds."""
        hits = (hit for hit in text.hits_of(self.id) if hit.rule.id.partition(".")[0] in self.domains)
        return (hit.finding(text.source) for hit in hits)
