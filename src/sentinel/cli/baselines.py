"""`sentinel baselines`: what is usual for whom, and how sensitive each metric is."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Column, Table

from sentinel.cli._service import AsJson, DataDir, ask, console, on_service

__all__ = ["app"]

app = typer.Typer(help="See what is usual, and adjust from when on something is not.", no_args_is_help=True)


@app.command()
def show(
    entity: Annotated[str, typer.Argument(help="Name of a user, or of a service with --service.")],
    service: Annotated[bool, typer.Option("--service", help="It is a service.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Show what is remembered of a user or a service: which metrics are still learnt, and what is expected of the others.

    Example: sentinel baselines show grace.fox
    """
    path = f"/baselines/{quote(entity, safe='')}?entity_type={'service' if service else 'user'}"
    found = on_service(lambda client, _: ask(client, "GET", path), {"data_dir": data_dir})
    if as_json:
        typer.echo(json.dumps(found))
        return
    state = "still learning" if found["learning"] else "known"
    typer.echo(f"{found['entity']}: {state}; first seen {found['first']}, {found['active_days']} days with events")
    table = Table(Column("metric", no_wrap=True), "state", "days", "expected", "what it measures")
    for row in found["metrics"]:
        state = row["state"] if row["ready_from"] is None else f"learning, ready from {row['ready_from']} on"
        table.add_row(row["metric"], state, str(row["n"]), _expected(row["expected"]), row["measures"])
    console().print(table)


def _expected(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return str(value)


@app.command("list")
def list_limits(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """
    Show each metric, and from which scores on its anomalies are told.

    Example: sentinel baselines list
    """
    found = on_service(lambda client, _: ask(client, "GET", "/baselines"), {"data_dir": data_dir})
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table(Column("metric", no_wrap=True), "method", "told from", "medium", "high", "adjusted")
    for item in found["items"]:
        told = f"{item['report']:g}" if item["enabled"] else "never"
        adjusted = "yes" if item["adjusted"] else ""
        table.add_row(item["metric"], item["method"], told, f"{item['medium']:g}", f"{item['high']:g}", adjusted)
    console().print(table)


@app.command("set")
def set_limits(  # noqa: PLR0917 - typer makes each an option
    metric: Annotated[str, typer.Argument(help="As `baselines list` shows it.")],
    report: Annotated[float | None, typer.Option(min=0, max=1, help="Told from this score on.")] = None,
    medium: Annotated[float | None, typer.Option(min=0, max=1, help="Called medium from this score on.")] = None,
    high: Annotated[float | None, typer.Option(min=0, max=1, help="Called high from this score on.")] = None,
    enabled: Annotated[bool | None, typer.Option("--on/--off", help="Whether it is told of at all.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Bring the file's own limits back.")] = False,
    data_dir: DataDir = None,
) -> None:
    """
    Make a metric more or less sensitive, from the next hour on.

    Example: sentinel baselines set new_country --medium 0.7
    """
    order = {"metric": metric, "report": report, "medium": medium, "high": high, "enabled": enabled, "reset": reset}
    answer = on_service(lambda client, _: ask(client, "PUT", "/baselines", json=order), {"data_dir": data_dir})
    now = answer["limits"]
    told = f"told from {now['report']:g}, medium from {now['medium']:g}, high from {now['high']:g}"
    typer.echo(f"{metric}: {told if now['enabled'] else 'not told of'}")
