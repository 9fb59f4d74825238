"""Threats have their names in the field's taxonomies."""

from __future__ import annotations

from sentinel.model import ScanThreat
from sentinel.scanning.rulebook import load_rules
from sentinel.scanning.taxonomy import TAXONOMY


def test_every_threat_is_named() -> None:
    """A result can always be mapped to OWASP and ATLAS, if only to "none"."""
    assert set(TAXONOMY) == set(ScanThreat)


def test_rules_are_tagged_as_their_threat_is() -> None:
    """A rule's tags hold the names of its threat, so reports by rule and by threat agree."""
    wrong = [
        rule.id
        for rule in load_rules().rules
        if not {*TAXONOMY[rule.threat].owasp, *TAXONOMY[rule.threat].atlas} <= {*rule.tags}
    ]
    assert wrong == []
