"""Verdicts as SARIF 2.1.0, the form that code hosts and editors read (docs.oasis-open.org/sarif/sarif/v2.1.0)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sentinel.model import Finding, ScanResult, Severity

__all__ = ["sarif"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Severity.INFO: "note",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
_SECURITY_SEVERITY = {
    Severity.INFO: "0.0",
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.5",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}
"""Numbers on the scale of CVSS, by which code hosts sort."""


def sarif(judged: Iterable[tuple[str, str, ScanResult]], version: str) -> dict[str, Any]:
    """
    Return one SARIF log.

    Args:
        judged: Name, text and verdict of each; the text only serves to tell lines, and is not in the log.
        version: Of Sentinel.
    """
    everything = list(judged)
    rules: dict[str, Finding] = {}
    for _, _, result in everything:
        rules |= {finding.rule_id: finding for finding in result.findings}
    places = {rule: number for number, rule in enumerate(rules)}
    results = [
        _result(name, text, finding, places[finding.rule_id])
        for name, text, result in everything
        for finding in result.findings
    ]
    failures = [_failure(name, engine) for name, _, result in everything for engine in result.failed_engines]
    invocation: dict[str, Any] = {"executionSuccessful": not failures, "toolExecutionNotifications": failures}
    driver = {
        "name": "Sentinel",
        "semanticVersion": version,
        "rules": [_rule(rule, finding) for rule, finding in rules.items()],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "results": results,
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule_id: str, finding: Finding) -> dict[str, Any]:
    return {
        "id": rule_id,
        "shortDescription": {"text": finding.message},
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
        "properties": {
            "tags": ["security", finding.threat.value],
            "security-severity": _SECURITY_SEVERITY[finding.severity],
        },
    }


def _result(name: str, text: str, finding: Finding, rule_index: int) -> dict[str, Any]:
    # Only the prompt is a file; in the response a place has no line.
    place = {"artifactLocation": {"uri": quote(Path(name).as_posix())}}
    if finding.source == "prompt":
        place["region"] = _region(text, *finding.span)
    return {
        "ruleId": finding.rule_id,
        "ruleIndex": rule_index,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": place}],
        "properties": {
            "category": finding.category,
            "confidence": finding.confidence,
            "engine": finding.engine,
            "source": finding.source,
            "view": finding.view,
        },
    }


def _region(text: str, start: int, end: int) -> dict[str, Any]:
    """Lines and columns from 1; the end column is the one behind the last character."""
    return {
        "startLine": text.count("\n", 0, start) + 1,
        "startColumn": start - text.rfind("\n", 0, start),
        "endLine": text.count("\n", 0, end) + 1,
        "endColumn": end - text.rfind("\n", 0, end),
        "charOffset": start,
        "charLength": end - start,
    }


def _failure(name: str, engine: str) -> dict[str, Any]:
    return {
        "level": "error",
        "message": {"text": f"engine {engine} failed, so this text was not fully examined"},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": quote(Path(name).as_posix())}}}],
    }
