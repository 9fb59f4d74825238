"""`sentinel ingest`: a log becomes events, and is told what they led to."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TextIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sentinel.cli._service import DataDir, ask, console, fail, on_service
from sentinel.errors import ConfigError
from sentinel.ingest.events import encode
from sentinel.ingest.sshd import Reader
from sentinel.ingest.syslog import first_year
from sentinel.model import Event
from sentinel.settings import parse_duration

__all__ = ["ingest"]

_PART = 2_000  # events in one request
_PATIENCE_SECONDS = 300.0  # how long "no room" and "overloaded" are waited out


class Format(StrEnum):
    """The logs that can be read."""

    SSHD = "sshd"


def ingest(  # noqa: PLR0917 - typer makes an option of each
    file: Annotated[str, typer.Argument(help="The log, or - for standard input.")],
    log_format: Annotated[Format, typer.Option("--format", help="What kind of log it is.")],
    act: Annotated[bool, typer.Option("--act", help="Let what is decided take effect, from now on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    tz: Annotated[str, typer.Option(help="Zone of times that name none.")] = "UTC",
    year: Annotated[int | None, typer.Option(help="Year of the first line, where the log has none.")] = None,
    lateness: Annotated[
        str | None, typer.Option(help="Lines older than the newest before them by more are late; default none is.")
    ] = None,
    rules: Annotated[
        list[str] | None, typer.Option("--rules", help="Folder with Sigma rules, or `default`; may be repeated.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Read a log, keep its events, and tell what they led to.

    Taking the same log again changes nothing: each line is one event, known by what it says. Without --act decisions
    are computed and shown, and none takes effect.

    Example: sentinel ingest /var/log/auth.log --format sshd --act
    """
    assert log_format is Format.SSHD
    zone, late = _zone(tz), _lateness(lateness)
    started = time.monotonic()
    with _opened(file) as stream:
        now = datetime.now(UTC)
        if year is None and stream.seekable():
            year = first_year(stream, tz=zone, now=now)
            stream.seek(0)
        reader = Reader(tz=zone, year=year, now=now)
        summary = on_service(
            lambda client, running: _send(
                client, reader, stream, act=act, lateness=late, refuse=running and bool(rules)
            ),
            {"data_dir": data_dir, "rules_dir": rules},
        )
    summary = {
        "lines": reader.lines,
        "events": summary.pop("events"),
        "rejected": summary.pop("rejected"),
        "duplicates": summary.pop("duplicates"),
        "ignored_lines": reader.ignored,
        "unknown_lines": reader.unknown,
        "seconds": round(time.monotonic() - started, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        **summary,
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _show(summary, act=act)
    if reader.lines and not summary["events"] and not summary["duplicates"]:
        raise typer.Exit(1)


def _opened(file: str) -> TextIO:
    if file == "-":
        return open(sys.stdin.fileno(), encoding="utf-8", errors="replace", closefd=False)
    try:
        return Path(file).open(encoding="utf-8", errors="replace", newline="\n")
    except OSError as err:
        raise ConfigError(f"can't be read: {err.strerror}", where=file) from err


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise ConfigError("no such time zone; write it like Europe/Berlin or UTC", where="--tz") from err


def _lateness(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as err:
        raise ConfigError(str(err), where="--lateness") from err


async def _send(
    client: httpx.AsyncClient, reader: Reader, stream: TextIO, *, act: bool, lateness: float | None, refuse: bool
) -> dict[str, Any]:
    if refuse:
        raise ConfigError("the running service has its own rules; stop it, or start it with these", where="--rules")
    for row in (await ask(client, "GET", "/rules"))["refused"]:
        sys.stderr.write(f"sentinel: rule refused: {row['file']}:{row['line']}: {row['reason']}\n")
    begun = await ask(client, "POST", "/imports", json={"act": act, "lateness_seconds": lateness})
    path = f"/imports/{begun['import_id']}"
    counts = {"events": 0, "rejected": 0, "duplicates": 0}
    with _progress() as progress:
        task = progress.add_task("reading", total=None)
        for part in _parts(reader.read(stream), _PART):
            receipt = await _patiently(client, f"{path}/events", b"\n".join(map(encode, part)))
            counts["events"] += receipt["accepted"]
            counts["duplicates"] += receipt["duplicates"]
            counts["rejected"] += len(receipt["rejected"])
            progress.update(task, description=f"{reader.lines:,} lines, {counts['events']:,} events")
        progress.update(task, description=f"{reader.lines:,} lines, judging")
        result: dict[str, Any] = await ask(client, "POST", f"{path}/finish")
        return counts | result


def _parts(events: Iterable[Event], size: int) -> Iterator[list[Event]]:
    rest = iter(events)
    while part := list(islice(rest, size)):
        yield part


async def _patiently(client: httpx.AsyncClient, path: str, body: bytes) -> Any:
    """Send one part; where the service says "later", wait as long as it asks and send the same part again."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        answer = await client.post(
            f"/api/v1/security{path}", content=body, headers={"Content-Type": "application/x-ndjson"}
        )
        if answer.is_success:
            return answer.json()
        if answer.status_code not in {429, 503} or time.monotonic() > deadline:
            fail(f"{answer.json()['detail']} (the log may be sent again: nothing is taken twice)", 1)
        sys.stderr.write(f"sentinel: {answer.json()['detail']}; trying again\n")
        await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))


def _progress() -> Progress:
    talk = console(stderr=True)
    return Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=talk, disable=not talk.is_terminal)


def _show(summary: dict[str, Any], *, act: bool) -> None:
    out = console()
    out.print(
        f"{summary['lines']:,} lines, {summary['events']:,} new events, {summary['duplicates']:,} known before, "
        f"{summary['rejected']:,} rejected, {summary['unknown_lines']:,} lines not understood; {summary['seconds']} s"
    )
    signals = Table("subject", "severity", "threat", "rule", "first", "last", "events", title="Signals")
    for row in summary["signals"]:
        times = (row["first"], row["last"], str(row["count"]))
        signals.add_row(row["subject"], row["severity"], row["threat_type"] or "", row["title"], *times)
    decisions = Table(
        "action", "on", "until", "why", title="Decisions" if act else "Decisions, not in effect (no --act)"
    )
    for row in summary["decisions"]:
        decisions.add_row(row["action"], row["value"], row["expires"] or "revoked", row["reason"])
    if summary["signals"]:
        out.print(signals)
    if summary["decisions"]:
        out.print(decisions)
