"""`sentinel violations`: what events say was violated, and what is dealt with."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Column, Table

from sentinel.cli._service import AsJson, DataDir, ask, console, on_service

__all__ = ["app"]

app = typer.Typer(help="See violations, and say that one is dealt with.", no_args_is_help=True)


@app.command("list")
def list_violations(
    data_dir: DataDir = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the latest first.")] = 50,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that nobody has resolved.")] = False,
    as_json: AsJson = False,
) -> None:
    """
    Show the latest violations: security violations, refused rights, escapes from sandboxes, foreign rows.

    Example: sentinel violations list --open
    """
    path = f"/violations?limit={limit}{'&resolved=false' if open_only else ''}"
    items = on_service(lambda client, _: ask(client, "GET", path), {"data_dir": data_dir})["items"]
    if as_json:
        typer.echo(json.dumps(items))
        return
    table = Table(Column("id", no_wrap=True), "severity", "type", "user", "address", "at", "state")
    for item in items:
        state = "resolved" if item["resolved"] else "open"
        about = (item["severity"], item["violation_type"], item["user_id"] or "", item["ip_address"] or "")
        table.add_row(item["id"], *about, item["created_at"], state)
    console().print(table if items else "no violations")


@app.command()
def resolve(
    violation_id: Annotated[str, typer.Argument(help="As `violations list` shows it.")],
    notes: Annotated[str, typer.Option(help="What was done about it; people will read it.")],
    data_dir: DataDir = None,
) -> None:
    """
    Say that a violation is dealt with; from now on it does not count against the health score.

    Example: sentinel violations resolve 01234567-89ab-8def-a123-456789abcdef --notes "the policy was wrong"
    """
    path = f"/violations/{violation_id}/resolve"
    answer = on_service(lambda client, _: ask(client, "POST", path, json={"notes": notes}), {"data_dir": data_dir})
    typer.echo(answer["message"])
