"""`sentinel anomalies`: what was unusual, and compared with what."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Column, Table

from sentinel.cli._service import AsJson, DataDir, ask, console, on_service

__all__ = ["app"]

app = typer.Typer(help="See what baselines noticed.", no_args_is_help=True)


@app.callback()
def anomalies() -> None:
    """See what baselines noticed."""


@app.command("list")
def list_anomalies(
    data_dir: DataDir = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the latest noticed first.")] = 50,
    entity: Annotated[str | None, typer.Option(help="Of this user or service only.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """
    Show what was unusual: about whom, how much, and what was expected.

    Example: sentinel anomalies list --limit 10
    """
    asked = {"limit": limit} | ({} if entity is None else {"entity": entity})
    found = on_service(lambda client, _: ask(client, "GET", "/anomalies", params=asked), {"data_dir": data_dir})
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table(Column("at", no_wrap=True), "about", "metric", "severity", "score", "why")
    for item in found["items"]:
        table.add_row(
            item["at"], item["entity"], item["metric"], item["severity"], f"{item['score']:.2f}", item["reason"]
        )
    console().print(table if found["items"] else "no anomalies")
