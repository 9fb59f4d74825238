"""`sentinel rules backtest`: what rules would have done, before they are let near anybody."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
import typer
from rich.table import Table

from sentinel.cli._service import AsJson, DataDir, ask, console, on_service, server_extra
from sentinel.cli.ingest import log_of
from sentinel.detection import RuleSet
from sentinel.errors import ConfigError
from sentinel.ingest.files import oldest_first, read_files
from sentinel.ingest.logs import LogFormat
from sentinel.model import Event, Micros, StoredEvent, iso, micros, micros_of_iso
from sentinel.response.backtest import Backtest, Struck, backtest
from sentinel.rulefolder import read_rules
from sentinel.settings import load_settings, parse_duration

__all__ = ["backtest_rules"]

_PAGE = 500


def backtest_rules(  # noqa: PLR0917 - typer makes an option of each
    path: Annotated[str, typer.Argument(help="A rule file, a folder with rule files, or `default`.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="A log and its rotated parts, instead of the store.")
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option("--format", help="What kind of log it is.")] = None,
    last: Annotated[str, typer.Option(help="How far to go back in the store.")] = "7d",
    as_json: AsJson = False,
    tz: Annotated[str, typer.Option(help="Zone of times that name none.")] = "UTC",
    year: Annotated[int | None, typer.Option(help="Year of the first line, where the log has none.")] = None,
    logsource: Annotated[
        str | None, typer.Option(help="What foreign JSON is, for the rules: product=aws,service=cloudtrail.")
    ] = None,
    time_field: Annotated[str, typer.Option(help="Where foreign JSON has its time.")] = "timestamp",
    data_dir: DataDir = None,
) -> None:
    """
    Tell what rules would have signalled and blocked, over stored events or a log. It acts on nothing and keeps nothing.

    The policy and the guard rails are those of the settings, and every event counts as one that may lead to a block.
    For each block it names the people who signed in from there: those whom it would have hurt.

    Example: sentinel rules backtest my-rules --last 30d
    """
    rules = read_rules([path])
    if files:
        if log_format is None:
            raise ConfigError("say what kind of log it is", where="--format")
        paths = oldest_first(files)
        log = log_of(log_format, tz=tz, year=year, logsource=logsource, time_field=time_field)
        events = _numbered(read_files(log.reader(), paths))
    else:
        events = on_service(lambda client, _: _stored(client, _since(last)), {"data_dir": data_dir})
    told = _told(rules, events, _tried(rules, events, data_dir))
    if as_json:
        typer.echo(json.dumps(told))
    else:
        _show(told)


def _tried(rules: RuleSet, events: list[StoredEvent], data_dir: Path | None) -> Backtest:
    with server_extra():
        from sentinel.app import guard_rails  # noqa: PLC0415 - the server extra, and slow to import
        from sentinel.policyfile import read_policy  # noqa: PLC0415 - as above
    settings = load_settings({"data_dir": data_dir})
    return backtest(rules, read_policy(settings.policy_file), guard_rails(settings), events)


# --- events


def _numbered(events: Any) -> list[StoredEvent]:
    """Nothing in a log is late: it was received when it says that it happened."""
    found: list[StoredEvent] = []
    for seq, event in enumerate(events, 1):
        at = micros(event.timestamp)
        found.append(StoredEvent(seq=seq, at=at, received_at=at, late=False, event=event, may_act=True))
    return found


def _since(last: str) -> Micros:
    try:
        return time.time_ns() // 1000 - round(parse_duration(last) * 1_000_000)
    except ValueError as err:
        raise ConfigError(str(err), where="--last") from err


async def _stored(client: httpx.AsyncClient, since: Micros) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    params: dict[str, Any] = {"since": iso(since), "limit": _PAGE}
    while True:
        page = await ask(client, "GET", "/events", params=params)
        found += [_stored_event(-len(found) - n, row) for n, row in enumerate(page["items"])]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


def _stored_event(seq: int, row: dict[str, Any]) -> StoredEvent:
    received_at, late = micros_of_iso(row.pop("received_at")), row.pop("late")
    event = msgspec.convert(row, Event)
    return StoredEvent(
        seq=seq, at=micros(event.timestamp), received_at=received_at, late=late, event=event, may_act=True
    )


# --- telling


def _told(rules: RuleSet, events: list[StoredEvent], result: Backtest) -> dict[str, Any]:
    from sentinel.server.imports import signal_row  # noqa: PLC0415 - the server extra, and slow to import

    times = [event.at for event in events]
    return {
        "rules": len(rules.rules),
        "refused": [msgspec.to_builtins(refusal) for refusal in rules.refused],
        "events": len(events),
        "late": sum(event.late for event in events),
        "from": iso(min(times)) if times else None,
        "to": iso(max(times)) if times else None,
        "signals": [signal_row(signal) for signal in result.signals],
        "decisions": [_decision(struck) for struck in result.struck],
        "users_hit": sorted({user for struck in result.struck for user in struck.users}),
    }


def _decision(struck: Struck) -> dict[str, Any]:
    decision, seconds = struck.decision, struck.decision.duration_seconds
    return {
        "action": decision.action.value,
        "value": decision.target.removeprefix("ip:"),
        "rule": decision.evidence["detection_rule"],
        "policy_rule": decision.rule,
        "at": iso(decision.at),
        "expires": None if seconds is None else iso(decision.at + round(seconds * 1_000_000)),
        "reason": decision.reason,
        "users_hit": list(struck.users),
        "logins_stopped": struck.logins_stopped,
    }


def _show(told: dict[str, Any]) -> None:
    out = console()
    for row in told["refused"]:
        out.print(f"{row['file']}:{row['line']}: refused: {row['reason']}", markup=False)
    span = f" from {told['from']} to {told['to']}" if told["events"] else ""
    out.print(f"{told['rules']:,} rules over {told['events']:,} events{span}, {told['late']:,} of them late")
    table = Table("rule", "signals", "subjects", "would act", "people hit")
    for rule in sorted({row["rule"] for row in told["signals"]}):
        signals = [row for row in told["signals"] if row["rule"] == rule]
        decisions = [row for row in told["decisions"] if row["rule"] == rule]
        hit = {user for row in decisions for user in row["users_hit"]}
        counts = (len(signals), len({row["subject"] for row in signals}), len(decisions), len(hit))
        table.add_row(rule, *map(str, counts))
    out.print(table)
    for row in told["decisions"]:
        if row["users_hit"]:
            names = ", ".join(row["users_hit"])
            out.print(f"{row['at']} {row['action']} {row['value']} would have hit {names}", markup=False)
