"""`sentinel thresholds`: the numbers in rules that people adjust without editing files."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Column, Table

from sentinel.cli._service import AsJson, DataDir, ask, console, on_service

__all__ = ["app"]

app = typer.Typer(help="See and adjust how much it takes for a rule to fire.", no_args_is_help=True)


@app.command("list")
def list_thresholds(
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Show each rule's threshold, and which ones somebody has adjusted.

    Example: sentinel thresholds list
    """
    items = on_service(lambda client, _: ask(client, "GET", "/thresholds"), {"data_dir": data_dir})["items"]
    if as_json:
        typer.echo(json.dumps(items))
        return
    table = Table(Column("rule", no_wrap=True), "counts", "bound", "value", "within", "adjusted")
    for item in items:
        within = f"{item['timespan_seconds']:g} s"
        adjusted = "yes" if item["adjusted"] else ""
        table.add_row(item["rule"], item["counts"], item["bound"], f"{item['value']:g}", within, adjusted)
    console().print(table)


@app.command("set")
def set_threshold(
    rule: Annotated[str, typer.Argument(help="As `thresholds list` shows it.")],
    value: Annotated[
        float | None, typer.Argument(help="The new number; without one the rule's own comes back.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Put another number into a rule that is in force. Try it first: `sentinel rules backtest`.

    Example: sentinel thresholds set failed_logins_by_address 20
    """
    order = {"rule": rule, "value": value}
    answer = on_service(lambda client, _: ask(client, "PUT", "/thresholds", json=order), {"data_dir": data_dir})
    now = answer["threshold"]
    typer.echo(f"{now['rule']} fires at {now['bound']} {now['value']:g} within {now['timespan_seconds']:g} s")
