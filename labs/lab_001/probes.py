"""Questions to a learner's code, asked in its own process."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import sys
import types
from pathlib import Path
from typing import Any

from sentinel import ThreatDetected
from sentinel.cli import run

_OURS = {"scan", "engine"}
"""The commands that a lab may run."""


def command(arguments: list[str], message: str) -> dict[str, Any]:
    """Return exit code and standard output of `sentinel ...`, with another text in message.txt."""
    if not arguments or arguments[0] not in _OURS:
        raise PermissionError(f"only these commands belong to this lab: {', '.join(sorted(_OURS))}")
    Path("message.txt").write_text(message, encoding="utf-8")
    before, sys.argv = sys.argv, ["sentinel", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = run()
    finally:
        sys.argv = before
    return {"code": code, "output": output.getvalue()}


def call(module: str, function: str, *args: Any) -> Any:
    """Return what one of the learner's functions returns."""
    return getattr(importlib.import_module(module), function)(*args)


async def guarded(function: str, prompt: str, answer: str) -> dict[str, Any]:
    """Return what a guarded function does with a model that gives this answer, and how often the model was asked."""
    asked: list[str] = []
    model = types.ModuleType("model")

    def given(text: str) -> str:
        asked.append(text)
        return answer

    async def agiven(text: str) -> str:
        return given(text)

    model.__dict__.update(answer=given, aanswer=agiven)
    sys.modules["model"] = model
    sys.modules.pop("guarded", None)
    try:
        returned = getattr(importlib.import_module("guarded"), function)(prompt)
        returned = await returned if inspect.isawaitable(returned) else returned
    except ThreatDetected as threat:
        return {"raised": str(threat.result.threat_type), "asked": len(asked)}
    return {"returned": returned, "asked": len(asked)}
