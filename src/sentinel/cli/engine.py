"""`sentinel engine`: which engines judge a text."""

from __future__ import annotations

import json

import typer
from rich.table import Column, Table

from sentinel.cli._service import AsJson, console

__all__ = ["app"]

app = typer.Typer(help="See which engines judge a text.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `list` a command of its own while it is the only one."""


@app.command("list")
def list_engines(
    as_json: AsJson = False,
) -> None:
    """
    Show the engines, what each looks for, and in which parts of the input.

    Example: sentinel engine list
    """
    from sentinel import Scanner  # noqa: PLC0415 - compiles the rules, which --help does not need

    engines = [
        {
            "id": engine.id,
            "title": engine.title,
            "threats": [threat.value for threat in engine.threats],
            "sources": list(engine.sources),
        }
        for engine in Scanner().engines.values()
    ]
    if as_json:
        typer.echo(json.dumps(engines))
        return
    table = Table(Column("engine", no_wrap=True), "looks for", "threats", "in")
    for engine in engines:
        table.add_row(
            str(engine["id"]), str(engine["title"]), ", ".join(engine["threats"]), ", ".join(engine["sources"])
        )
    console().print(table)
