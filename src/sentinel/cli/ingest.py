"""`sentinel ingest`: logs become events, and it is told what these led to."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
import msgspec
import typer

from sentinel.cli._service import AsJson, DataDir, ask, console, fail, on_service
from sentinel.errors import ConfigError
from sentinel.ingest.apart import Apart
from sentinel.ingest.events import Parsed, encode
from sentinel.ingest.files import Tail, bounded, file_lines, oldest_first, read_files
from sentinel.ingest.lines import LineReader
from sentinel.ingest.logs import Log, LogFormat
from sentinel.ingest.parts import parts_of
from sentinel.settings import parse_duration

if TYPE_CHECKING:  # the server extra, and slow to import
    from sentinel.app import Monitor

__all__ = ["ingest", "log_of"]

_PART = 2_000  # events in one request
_WORTH_A_PROCESS = 4 << 20  # bytes of a log, from which on starting another process costs less than it saves
_PATIENCE_SECONDS = 300.0  # how long "no room" and "overloaded" are waited out
_LOOK_SECONDS = 0.5  # between two looks at a file that is followed
_AWAY_SECONDS = 2.0  # between two attempts to reach a service that went away
_YOUNG = 100_000  # objects made since the last look for cycles
_SOURCE_KEYS = ("product", "service", "category")


class _Order(msgspec.Struct, frozen=True):
    """How the service is to take the events."""

    act: bool
    lateness: float | None
    own_rules: bool
    replay: bool
    final: bool
    """Nothing will follow: the end closes every window."""


def ingest(  # noqa: PLR0917 - typer makes an option of each
    files: Annotated[list[str], typer.Argument(help="The log and its rotated parts, or - for standard input.")],
    log_format: Annotated[LogFormat, typer.Option("--format", help="What kind of log it is.")],
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what is written later; implies --act.")] = False,
    act: Annotated[bool, typer.Option("--act", help="Let what is decided take effect, from now on.")] = False,
    as_json: AsJson = False,
    tz: Annotated[str, typer.Option(help="Zone of times that name none.")] = "UTC",
    year: Annotated[int | None, typer.Option(help="Year of the first line, where the log has none.")] = None,
    lateness: Annotated[
        str | None, typer.Option(help="Lines older than the newest before them by more are late; default none is.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Events say themselves when they were `received_at`: judge lateness by it.")
    ] = False,
    final: Annotated[
        bool | None,
        typer.Option(
            "--final/--no-final",
            help="Nothing follows: judge every open window at the end. Default for files; not for - and --follow.",
        ),
    ] = None,
    logsource: Annotated[
        str | None, typer.Option(help="What foreign JSON is, for the rules: product=aws,service=cloudtrail.")
    ] = None,
    time_field: Annotated[str, typer.Option(help="Where foreign JSON has its time.")] = "timestamp",
    rules: Annotated[
        list[str] | None, typer.Option("--rules", help="Folder with Sigma rules, or `default`; may be repeated.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Read a log, keep its events, and tell what they led to.

    Taking the same log again changes nothing: each line is one event, known by what it says. Without --act decisions
    are computed and shown, and none takes effect.

    Example: sentinel ingest /var/log/auth.log* --format sshd --act
    """
    started = time.monotonic()
    paths = _paths(files, follow=follow)
    order = _Order(
        act=act or follow,
        lateness=_lateness(lateness),
        own_rules=bool(rules),
        replay=_replay(replay, log_format),
        final=_final(final, follow=follow, files=bool(paths)),
    )
    log = log_of(log_format, tz=tz, year=year, logsource=logsource, time_field=time_field)
    reader = log.reader()
    flags: dict[str, object] = {"data_dir": data_dir, "rules_dir": rules}
    peak_kilobytes = 0
    if follow:
        reader.foresee(file_lines(paths[0]))
        result = on_service(lambda client, inside: _follow(client, inside, reader, paths[0], order), flags)
    else:
        with _reading(log, reader, paths) as (parts, peak):
            result = on_service(lambda client, inside: _take(client, inside, reader, parts, order), flags)
            peak_kilobytes = peak()
    peak_kilobytes += resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _tell(_summary(reader, result, started, peak_kilobytes), reader, as_json=as_json, act=order.act)


def log_of(log_format: LogFormat, *, tz: str, year: int | None, logsource: str | None, time_field: str) -> Log:
    """Return the log that the command line describes."""
    return Log(
        format=log_format,
        now=datetime.now(UTC),
        tz=_zone(tz),
        year=year,
        logsource=_source(logsource, log_format),
        time_field=time_field,
    )


def _summary(reader: LineReader, result: dict[str, Any], started: float, peak_kilobytes: int) -> dict[str, Any]:
    return {
        "lines": reader.lines,
        "events": result.pop("events"),
        "rejected": result.pop("rejected"),
        "duplicates": result.pop("duplicates"),
        "ignored_lines": reader.ignored,
        "unknown_lines": reader.unknown,
        "seconds": round(time.monotonic() - started, 3),
        "peak_rss_mb": round(peak_kilobytes / 1024, 1),
        **result,
    }


def _tell(summary: dict[str, Any], reader: LineReader, *, as_json: bool, act: bool) -> None:
    if reader.unknown:
        first = ", ".join(map(str, reader.unknown_at))
        sys.stderr.write(f"sentinel: {reader.unknown:,} lines were not understood, the first at line {first}\n")
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _show(summary, act=act)
    if reader.lines and not summary["events"] and not summary["duplicates"]:
        raise typer.Exit(1)


# --- what the command line says


def _paths(files: list[str], *, follow: bool) -> list[Path]:
    """The files, oldest first; none for standard input."""
    if files == ["-"] and not follow:
        return []
    if "-" in files:
        raise ConfigError("standard input stands alone, and can't be followed", where="FILES")
    if follow and len(files) > 1:
        raise ConfigError("one file is followed at a time; read its rotated parts before", where="--follow")
    return oldest_first(map(Path, files))


def _source(text: str | None, log_format: LogFormat) -> dict[str, str]:
    if text is None:
        return {}
    if log_format is not LogFormat.JSON:
        raise ConfigError("only JSON needs to be told what it is", where="--logsource")
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    if not all(parts.values()) or not parts.keys() <= set(_SOURCE_KEYS):
        raise ConfigError(
            f"write it like product=aws,service=cloudtrail; known are {', '.join(_SOURCE_KEYS)}", where="--logsource"
        )
    return parts


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise ConfigError("no such time zone; write it like Europe/Berlin or UTC", where="--tz") from err


def _replay(asked: bool, log_format: LogFormat) -> bool:
    if asked and log_format is not LogFormat.JSON:
        raise ConfigError("only JSON can say when it was received", where="--replay")
    return asked


def _final(asked: bool | None, *, follow: bool, files: bool) -> bool:
    if asked and follow:
        raise ConfigError("what is followed has no end", where="--final")
    return (files and not follow) if asked is None else asked


def _lateness(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as err:
        raise ConfigError(str(err), where="--lateness") from err


# --- to the service


class _Forgotten(Exception):
    """The service does not know the import any more: it was started anew."""


class _Later(Exception):
    """There is no room now; the same part will be taken later."""

    def __init__(self, detail: str, seconds: float) -> None:
        super().__init__(detail)
        self.seconds = seconds


class _Imports(Protocol):
    """Takes logs, part by part."""

    async def begin(self, order: _Order) -> str:
        """Return the id of a new import."""

    async def take(self, import_id: str, part: Parsed) -> Any:
        """Return what became of a part; `_Later` when there is no room for it."""

    async def finish(self, import_id: str) -> dict[str, Any]:
        """Return what the import led to."""


def _imports(client: httpx.AsyncClient, inside: Monitor | None) -> _Imports:
    return _Sent(client) if inside is None else _HandedOver(inside)


class _Sent:
    """Imports of the service that runs."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def begin(self, order: _Order) -> str:
        asked = {"act": order.act, "lateness_seconds": order.lateness, "replay": order.replay, "final": order.final}
        return str((await ask(self._client, "POST", "/imports", json=asked))["import_id"])

    async def take(self, import_id: str, part: Parsed) -> Any:
        answer = await self._client.post(
            f"/api/v1/security/imports/{import_id}/events",
            content=b"\n".join(encode(event) for _, event in part.events),
            headers={"Content-Type": "application/x-ndjson"},
        )
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise _Forgotten
        if answer.status_code in {429, 503}:
            raise _Later(answer.json()["detail"], float(answer.headers.get("Retry-After", "1")))
        if answer.is_error:
            fail(answer.json()["detail"], 1)
        receipt = answer.json()
        return receipt | {"rejected": [*receipt["rejected"], *part.rejected]}

    async def finish(self, import_id: str) -> dict[str, Any]:
        result: dict[str, Any] = await ask(self._client, "POST", f"/imports/{import_id}/finish")
        return result


class _HandedOver:
    """Imports of the monitor in this process, which needs no JSON in between."""

    def __init__(self, monitor: Monitor) -> None:
        from sentinel.server.imports import ImportOrder, Imports  # noqa: PLC0415 - the server extra
        from sentinel.server.problems import Problem  # noqa: PLC0415
        from sentinel.storage import StoreUnable  # noqa: PLC0415

        # What is loaded by now stays, and what comes is in no cycles: looking through all of it time and again finds
        # nothing.
        gc.freeze()
        gc.set_threshold(_YOUNG)
        self._imports, self._order, self._problem, self._unable = Imports(monitor), ImportOrder, Problem, StoreUnable

    async def begin(self, order: _Order) -> str:
        return self._imports.begin(
            self._order(act=order.act, lateness_seconds=order.lateness, replay=order.replay, final=order.final)
        )

    async def take(self, import_id: str, part: Parsed) -> Any:
        try:
            return await self._imports.take_parsed(import_id, part)
        except (self._problem, self._unable) as err:
            raise _Later(str(err), 1) from None

    async def finish(self, import_id: str) -> dict[str, Any]:
        return await self._imports.finish(import_id)


@contextmanager
def _reading(
    log: Log, reader: LineReader, paths: list[Path]
) -> Iterator[tuple[AsyncIterator[Parsed], Callable[[], int]]]:
    """
    Give the events of a log, and what tells how many kilobytes were taken beside this process once it is read.

    A large one is read by another process, which begins at once.
    """
    if sum(path.stat().st_size for path in paths if path.exists()) >= _WORTH_A_PROCESS:
        with Apart(log, paths, _PART, reader) as apart:
            yield apart.parts(), lambda: apart.peak_kilobytes
    else:
        events = read_files(reader, paths) if paths else reader.read(_standard_input())
        yield _each(parts_of(events, _PART)), lambda: 0


def _standard_input() -> Iterator[str]:
    return bounded(open(sys.stdin.fileno(), encoding="utf-8", errors="replace", newline="\n", closefd=False))


async def _each(parts: Iterable[Parsed]) -> AsyncIterator[Parsed]:
    for part in parts:
        yield part


async def _take(
    client: httpx.AsyncClient,
    inside: Monitor | None,
    reader: LineReader,
    parts: AsyncIterator[Parsed],
    order: _Order,
) -> dict[str, Any]:
    """Send a whole log as one import."""
    await _prepare(client, inside, order)
    with _progress() as show:

        def told(events: int) -> None:
            show(f"{reader.lines:,} lines, {events:,} events")

        try:
            return await _import(_imports(client, inside), parts, order, told)
        except _Forgotten:
            fail("the service was started anew (send the log again: nothing is taken twice)", 1)


async def _follow(
    client: httpx.AsyncClient, inside: Monitor | None, reader: LineReader, path: Path, order: _Order
) -> dict[str, Any]:
    """Send a log as it grows, each part as an import of its own, until SIGINT or SIGTERM."""
    await _prepare(client, inside, order)
    imports = _imports(client, inside)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    total: dict[str, Any] = {"events": 0, "rejected": 0, "duplicates": 0, "dead_letters": 0}
    rows: dict[str, dict[str, Any]] = {"signals": {}, "anomalies": {}, "decisions": {}}
    with closing(Tail(path)) as tail:
        while not stop.is_set():
            for part in parts_of(reader.read(tail.lines()), _PART):
                result = await _until_taken(imports, part, order)
                for name in total:
                    total[name] += result[name]
                for name, known in rows.items():
                    _announce(row for row in result[name] if row["id"] not in known)
                    known |= {row["id"]: row for row in result[name]}
            await _pause(stop, _LOOK_SECONDS)
    return total | {name: list(known.values()) for name, known in rows.items()}


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


async def _until_taken(imports: _Imports, part: Parsed, order: _Order) -> dict[str, Any]:
    """Send a part, again for as long as the service is away; nothing is taken twice."""
    while True:
        try:
            return await _import(imports, _each([part]), order, lambda _: None)
        except (httpx.TransportError, _Forgotten):
            sys.stderr.write("sentinel: the service is away; trying again\n")
            await asyncio.sleep(_AWAY_SECONDS)


def _announce(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        what = row.get("title") or row.get("action") or row.get("metric")
        on = row.get("subject") or row.get("value") or row.get("entity")
        sys.stderr.write(f"{row.get('last') or row.get('at')} {row.get('severity', 'decision')}: {what}: {on}\n")


async def _prepare(client: httpx.AsyncClient, inside: Monitor | None, order: _Order) -> None:
    if inside is not None:
        refused = msgspec.to_builtins(inside.rules.refused)
    elif order.own_rules:
        raise ConfigError("the running service has its own rules; stop it, or start it with these", where="--rules")
    else:
        refused = (await ask(client, "GET", "/rules"))["refused"]
    for row in refused:
        sys.stderr.write(f"sentinel: rule refused: {row['file']}:{row['line']}: {row['reason']}\n")


async def _import(
    imports: _Imports, parts: AsyncIterator[Parsed], order: _Order, told: Callable[[int], None]
) -> dict[str, Any]:
    import_id = await imports.begin(order)
    counts = {"events": 0, "rejected": 0, "duplicates": 0}
    async for part in parts:
        receipt = await _patiently(imports, import_id, part)
        counts["events"] += receipt["accepted"]
        counts["duplicates"] += receipt["duplicates"]
        counts["rejected"] += len(receipt["rejected"])
        told(counts["events"])
    return counts | await imports.finish(import_id)


async def _patiently(imports: _Imports, import_id: str, part: Parsed) -> Any:
    """Hand over one part; where it is told "later", wait as long as is asked and hand over the same part again."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return await imports.take(import_id, part)
        except _Later as later:
            if time.monotonic() > deadline:
                fail(f"{later} (the log may be sent again: nothing is taken twice)", 1)
            sys.stderr.write(f"sentinel: {later}; trying again\n")
            await asyncio.sleep(later.seconds)


# --- for people


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Give what shows how far it is, on a terminal; nobody else reads that."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - only people need it

    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True)) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda text: progress.update(task, description=text)


def _show(summary: dict[str, Any], *, act: bool) -> None:
    from rich.table import Table  # noqa: PLC0415 - only people need it

    out = console()
    out.print(
        f"{summary['lines']:,} lines, {summary['events']:,} new events, {summary['duplicates']:,} known before, "
        f"{summary['rejected']:,} rejected, {summary['unknown_lines']:,} lines not understood; {summary['seconds']} s"
    )
    if summary["dead_letters"]:
        out.print(f"{summary['dead_letters']:,} events broke a rule and are kept as dead letters; the log names it")
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
