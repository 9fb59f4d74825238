"""`sentinel dead-letters`: events that could not be judged."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Column, Table

from sentinel.cli._service import AsJson, DataDir, ask, console, on_service

__all__ = ["app"]

app = typer.Typer(help="See events that could not be judged, and have them judged again.", no_args_is_help=True)


@app.command("list")
def list_dead_letters(
    data_dir: DataDir = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the latest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """
    Show the latest events that could not be judged, and why.

    Example: sentinel dead-letters list
    """
    path = f"/dead-letters?limit={limit}"
    items = on_service(lambda client, _: ask(client, "GET", path), {"data_dir": data_dir})["items"]
    if as_json:
        typer.echo(json.dumps(items))
        return
    table = Table("seq", Column("event", no_wrap=True), "type", "received", "reason")
    for item in items:
        event, reason = item["event"], item["reason"] or "is to be judged again"
        table.add_row(str(item["seq"]), event["event_id"], event["event_type"], item["received_at"], reason)
    console().print(table if items else "no dead letters")


@app.command()
def replay(
    seqs: Annotated[
        list[int] | None, typer.Argument(help="As `dead-letters list` shows them; all without any.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Have dead letters judged again, under the rules in force by then; what still can't be judged stays one.

    Example: sentinel dead-letters replay
    """
    order = {"seqs": seqs or None}
    answer = on_service(lambda c, _: ask(c, "POST", "/dead-letters/replay", json=order), {"data_dir": data_dir})
    typer.echo(answer["message"])
