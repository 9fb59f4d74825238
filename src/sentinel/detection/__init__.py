"""Detection: events -> signals -> incidents. Pure: what is remembered can be rebuilt from the events."""

from __future__ import annotations

from sentinel.detection.engine import Engine
from sentinel.detection.rule import Refusal, Rule, RuleSet
from sentinel.detection.sigma.parse import parse_rules, shipped_rules

__all__ = ["Engine", "Refusal", "Rule", "RuleSet", "parse_rules", "shipped_rules"]
