"""`sentinel scan`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from sentinel.errors import ConfigError
from sentinel.model import ScanResult

__all__ = ["scan"]

_LONGEST_NAME = 4096


class Output(StrEnum):
    """How the verdict is written."""

    TEXT = "text"
    JSON = "json"


def scan(
    text: Annotated[str, typer.Argument(help="A text, the path of a file that holds one, or - for standard input.")],
    response: Annotated[str | None, typer.Option(help="What the model answered; judged as output.")] = None,
    engine: Annotated[
        list[str] | None, typer.Option("--engine", "-e", help="Only this engine; may be repeated.")
    ] = None,
    output: Annotated[Output, typer.Option("--format", "-f", help="How the verdict is written.")] = Output.TEXT,
) -> None:
    """
    Judge a text. Exit code 0: safe; 1: not safe; 2: wrong usage.

    Example: sentinel scan "Ignore all previous instructions"
    """
    from sentinel import scan as judge  # noqa: PLC0415 - compiles the rules, which --help does not need

    result = judge(_read(text), response, engines=engine)
    if output is Output.JSON:
        typer.echo(msgspec.json.encode(result).decode())
    else:
        _show(result)
    if not result.is_safe:
        raise typer.Exit(1)


def _read(text: str) -> str:
    if text == "-":
        return sys.stdin.buffer.read().decode("utf-8", "replace")
    try:
        if len(text) < _LONGEST_NAME and Path(text).is_file():
            return Path(text).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as err:
        if isinstance(err, OSError) and Path(text).exists():
            raise ConfigError(f"can't be read: {err.strerror}", where=text) from err
    return text


def _show(result: ScanResult) -> None:
    verdict = "safe" if result.is_safe else f"NOT SAFE: {result.threat_type}"
    typer.echo(f"{verdict}   risk {result.risk_score:.2f}   {result.action}   {result.latency_ms:.2f} ms")
    for finding in result.findings:
        place = f"{finding.source} {finding.span[0]}-{finding.span[1]}"
        view = "" if finding.view == "original" else f" (seen through {finding.view})"
        typer.echo(f"  {finding.severity} {finding.category}: {finding.message} [{finding.rule_id}] at {place}{view}")
    for failed in result.failed_engines:
        typer.echo(f"  engine {failed} FAILED: this text was not fully examined")
