"""`sentinel engine`: which engines judge a text."""

from __future__ import annotations

import json
from typing import Any

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
    # They compile the rules, which --help does not need.
    from sentinel import Scanner  # noqa: PLC0415
    from sentinel.scanning.classify.encoder import INSTALL  # noqa: PLC0415
    from sentinel.scanning.engines.classifier import Classifier  # noqa: PLC0415
    from sentinel.scanning.second_look import encoder_for  # noqa: PLC0415

    encoder = encoder_for("auto")
    second_look = None if encoder is None else encoder.version
    engines: list[dict[str, Any]] = [
        {
            "id": engine.id,
            "title": engine.title,
            "threats": [threat.value for threat in engine.threats],
            "sources": list(engine.sources),
            "second_look": second_look if engine.id == Classifier.id else None,
        }
        for engine in Scanner().engines.values()
    ]
    if as_json:
        typer.echo(json.dumps(engines))
        return
    table = Table(Column("engine", no_wrap=True), "looks for", "threats", "in")
    for engine in engines:
        table.add_row(engine["id"], engine["title"], ", ".join(engine["threats"]), ", ".join(engine["sources"]))
    console().print(table)
    told = f"none ({INSTALL})" if second_look is None else f"encoder {second_look}, where --depth says"
    typer.echo(f"second look of the {Classifier.id}: {told}")
