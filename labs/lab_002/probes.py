"""Questions to a learner's code, asked in its own process."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from sentinel import Scanner
from sentinel.core import BaseEngine
from sentinel.scanning.engines import Flags


def call(module: str, function: str, *args: Any) -> Any:
    """Return what one of the learner's functions returns."""
    return getattr(importlib.import_module(module), function)(*args)


def _engine() -> Any:
    return importlib.import_module("engine").PaymentDiversion()


_shipped = functools.cache(Scanner)


def _scanner(engine: Any) -> Scanner:
    return Scanner({**_shipped().engines, engine.id: engine}, _shipped().rules)


def engine_facts() -> dict[str, Any]:
    """Return whether the engine fits what the scanner needs, and how many examples it has."""
    engine = _engine()
    flags = sum(isinstance(example, Flags) for example in engine.EXAMPLES)
    return {
        "fits": isinstance(engine, BaseEngine),
        "id": engine.id,
        "flags": flags,
        "ignores": len(engine.EXAMPLES) - flags,
    }


def own_examples() -> list[str]:
    """Return the texts of the engine's own examples on which it is wrong."""
    engine = _engine()
    scanner = _scanner(engine)
    return [
        example.text
        for example in engine.EXAMPLES
        if bool(scanner.scan(example.text, engines=[engine.id]).findings) != isinstance(example, Flags)
    ]


def engine_findings(texts: list[str]) -> list[dict[str, Any]]:
    """Return for each text what the engine finds in it, and whether it failed."""
    engine = _engine()
    scanner = _scanner(engine)
    results = [scanner.scan(text, engines=[engine.id]) for text in texts]
    return [{"findings": result.findings, "failed": result.failed_engines} for result in results]


def judged(texts: list[str]) -> Any:
    """Return the learner's verdicts with the reference engine, so that exercise 4 does not hang on exercise 3."""
    path = Path(__file__).parent / "solution" / "engine.py"
    spec = importlib.util.spec_from_file_location("reference_engine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return importlib.import_module("evaluate").verdicts(module.PaymentDiversion(), texts)
