"""`sentinel scan`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from sentinel.cli._files import Skipped, read_text, text_files
from sentinel.cli._progress import progress
from sentinel.cli._sarif import sarif
from sentinel.cli._service import AsDepth
from sentinel.errors import ConfigError
from sentinel.model import DEFAULT_DEPTH, Depth, ScanResult

__all__ = ["scan"]

_LONGEST_NAME = 4096
_STDIN = "-"


class Output(StrEnum):
    """How the verdict is written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def scan(
    text: Annotated[str, typer.Argument(help="A text, the path of a file or folder, or - for standard input.")],
    response: Annotated[str | None, typer.Option(help="What the model answered; judged as output.")] = None,
    engine: Annotated[
        list[str] | None, typer.Option("--engine", "-e", help="Only this engine; may be repeated.")
    ] = None,
    output: Annotated[
        Output, typer.Option("--format", "-f", help="How the verdict is written; sarif is SARIF 2.1.0.")
    ] = Output.TEXT,
    depth: AsDepth = DEFAULT_DEPTH,
) -> None:
    """
    Judge a text, a file or every text file of a folder. Exit code 0: safe; 1: not safe; 2: wrong usage.

    Example: sentinel scan "Ignore all previous instructions"
    """
    folder = _folder(text)
    if folder is not None:
        judged, skipped = _scan_folder(folder, response, engine, depth)
        _write_many(judged, skipped, output)
    else:
        content = _read(text)
        judged = [(_name(text), content, _scan(content, response, engine, depth))]
        _write_one(judged, output)
    if not all(result.is_safe for _, _, result in judged):
        raise typer.Exit(1)


_Judged = tuple[str, str, ScanResult]
"""Name, text and verdict."""


def _scan(text: str, response: str | None, engines: list[str] | None, depth: Depth) -> ScanResult:
    from sentinel import scan as judge  # noqa: PLC0415 - compiles the rules, which --help does not need

    return judge(text, response, engines=engines, depth=depth)


def _exists(text: str) -> Path | None:
    """Return the path that a text may be, where there is something."""
    try:
        path = Path(text)
        return path if len(text) < _LONGEST_NAME and path.exists() else None
    except (OSError, ValueError):  # no name that a file could have
        return None


def _folder(text: str) -> Path | None:
    path = _exists(text) if text != _STDIN else None
    return path if path is not None and path.is_dir() else None


def _name(text: str) -> str:
    return text if _exists(text) else "stdin" if text == _STDIN else "text"


def _read(text: str) -> str:
    if text == _STDIN:
        return sys.stdin.buffer.read().decode("utf-8", "replace")
    path = _exists(text)
    if path is None:
        return text
    content = read_text(path)
    if isinstance(content, Skipped):
        raise ConfigError(content.reason, where=text)
    return content


def _scan_folder(
    folder: Path, response: str | None, engines: list[str] | None, depth: Depth
) -> tuple[list[_Judged], list[Skipped]]:
    judged: list[_Judged] = []
    skipped: list[Skipped] = []
    for path in progress(text_files(folder), "files"):
        content = read_text(path)
        if isinstance(content, Skipped):
            skipped.append(content)
            sys.stderr.write(f"sentinel: {path}: {content.reason}; not scanned\n")
        else:
            result = _scan(content, response, engines, depth)
            # Only the places of findings need the text again; a folder's texts together may not fit into memory.
            judged.append((str(path), content if result.findings else "", result))
    return judged, skipped


def _write_one(judged: list[_Judged], output: Output) -> None:
    (_, _, result) = judged[0]
    if output is Output.TEXT:
        for line in _lines(result):
            typer.echo(line)
    else:
        _write_document(_sarif(judged) if output is Output.SARIF else result)


def _write_many(judged: list[_Judged], skipped: list[Skipped], output: Output) -> None:
    if output is Output.SARIF:
        _write_document(_sarif(judged))
    elif output is Output.JSON:
        results = [{"path": name, **msgspec.structs.asdict(result)} for name, _, result in judged]
        _write_document({"results": results, "skipped": [{"path": str(path), "reason": why} for path, why in skipped]})
    else:
        for name, _, result in judged:
            if not result.is_safe or result.findings or result.failed_engines:
                first, *others = _lines(result)
                typer.echo("\n".join([f"{name}: {first}", *others]))
        unsafe = sum(not result.is_safe for _, _, result in judged)
        typer.echo(f"{len(judged)} files scanned, {unsafe} not safe, {len(skipped)} skipped")


def _write_document(document: object) -> None:
    typer.echo(msgspec.json.encode(document).decode())


def _sarif(judged: list[_Judged]) -> dict[str, Any]:
    from sentinel import __version__  # noqa: PLC0415 - read from the installed distribution

    return sarif(judged, __version__)


def _lines(result: ScanResult) -> Iterator[str]:
    verdict = "safe" if result.is_safe else f"NOT SAFE: {result.threat_type}"
    yield f"{verdict}   risk {result.risk_score:.2f}   {result.action}   {result.latency_ms:.2f} ms"
    for finding in result.findings:
        place = f"{finding.source} {finding.span[0]}-{finding.span[1]}"
        view = "" if finding.view == "original" else f" (seen through {finding.view})"
        yield f"  {finding.severity} {finding.category}: {finding.message} [{finding.rule_id}] at {place}{view}"
    for failed in result.failed_engines:
        yield f"  engine {failed} FAILED: this text was not fully examined"
