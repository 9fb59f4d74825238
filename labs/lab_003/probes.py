"""Questions to a learner's code, asked in its own process."""

from __future__ import annotations

import importlib
from typing import Any

from sentinel import configure, scan


def call(module: str, function: str, *args: Any) -> Any:
    """Return what one of the learner's functions returns."""
    return getattr(importlib.import_module(module), function)(*args)


def names(module: str, function: str) -> list[str]:
    """Return which settings a function returns."""
    return sorted(call(module, function))


def under(module: str, function: str, texts: list[str]) -> list[dict[str, Any]]:
    """Return the verdicts on texts under the settings that a function returns."""
    configure(reset=True, **call(module, function))
    try:
        return [_judged(text) for text in texts]
    finally:
        configure(reset=True)


def _judged(text: str) -> dict[str, Any]:
    result = scan(text)
    return {
        "safe": result.is_safe,
        "action": result.action,
        "patterns": result.matched_patterns,
        "layers": result.triggered_layers,
        "asked": [engine for engine, _ in result.engine_seconds],
        "threat": result.threat_type,
        "reason": result.block_reason,
    }
