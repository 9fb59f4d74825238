"""What `sentinel validate` and `sentinel doctor` have in common: the service is asked, and the checks are told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import msgspec
import typer
from rich.table import Table

from sentinel.cli._checks.check import Check, State, bad, skipped
from sentinel.cli._service import connect_running, console
from sentinel.errors import SentinelError
from sentinel.settings import Settings

__all__ = ["ask_service", "counted", "tell"]

_MARK = {State.OK: "[green]ok[/]", State.WARNING: "[yellow]warning[/]", State.PROBLEM: "[red]problem[/]"}
_CANARY = "192.0.2.254"


def ask_service(settings: Settings, *, probe: bool = False) -> list[Check]:
    """Return what the service of the data folder says, if one runs; with `probe`, whether a block blocks too."""
    from sentinel.cli._checks.live import prove_a_block, service_checks  # noqa: PLC0415 - only when it is asked

    async def ask() -> list[Check]:
        async with connect_running(settings) as client:
            if client is None:
                return [skipped("service", f"none runs on {settings.data_dir}: `sentinel serve`")]
            checks = await service_checks(client)
            return [*checks, await prove_a_block(client, _CANARY)] if probe else checks

    try:
        return asyncio.run(ask())
    except (httpx.HTTPError, SentinelError, OSError, KeyError, ValueError) as err:
        says = f"a process holds the data folder, and its API can't be asked ({type(err).__name__})"
        return [bad("service", says, "is it starting, or stopped by a debugger? logs/api.log says more")]


def counted(checks: list[Check]) -> dict[str, Any]:
    """Return the checks as one document, with their counts."""
    counts = {state.value: sum(check.state is state for check in checks) for state in State}
    return {"ok": not counts["problem"], "counts": counts, "checks": msgspec.to_builtins(checks)}


def tell(checks: list[Check], *, as_json: bool) -> None:
    """Print the checks, the worst last, and their counts; a problem ends the command with exit code 1."""
    found = counted(checks)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print(checks, found["counts"])
    if not found["ok"]:
        raise typer.Exit(1)


def _print(checks: list[Check], counts: dict[str, int]) -> None:
    order = [State.SKIPPED, State.OK, State.WARNING, State.PROBLEM]
    table = Table("check", "", "what was found", "what to do")
    for check in sorted(checks, key=lambda check: order.index(check.state)):
        table.add_row(check.name, _MARK.get(check.state, "[dim]skipped[/]"), check.says, check.fix)
    console().print(table)
    typer.echo(
        f"{counts['ok']} ok, {counts['warning']} warnings, {counts['problem']} problems, {counts['skipped']} skipped"
    )
