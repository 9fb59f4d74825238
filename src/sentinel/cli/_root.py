"""The tree of commands; each is a file of its own, imported only when it runs or is asked for its help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["app"]

_PLACES = {
    "scan": "scan.scan",
    "calibrate": "calibrate.calibrate",
    "eval": "evaluate.evaluate",
    "serve": "serve.serve",
    "worker": "worker.worker",
    "demo": "demo.demo",
    "validate": "validate.validate",
    "doctor": "doctor.doctor",
    "ingest": "ingest.ingest",
    "feedback": "incidents.feedback",
    "explain": "explain.explain",
    "engine": "engine.app",
    "rules": "rules.app",
    "blocks": "blocks.app",
    "token": "token.app",
    "audit": "audit.app",
    "db": "db.app",
    "certs": "certs.app",
    "incidents": "incidents.app",
    "violations": "violations.app",
    "dead-letters": "deadletters.app",
    "anomalies": "anomalies.app",
    "baselines": "baselines.app",
    "evidence": "evidence.app",
    "thresholds": "thresholds.app",
    "lab": "lab.app",
}
"""Commands and groups of them by name: the file, and in it the function or the group."""


class _Commands(Mapping[str, Any]):
    """Commands by name, made when they are looked at: importing all of them takes longer than most of them run."""

    def __getitem__(self, name: str) -> Any:
        return _made(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


@cache
def _made(name: str) -> Any:
    file, _, what = _PLACES[name].partition(".")
    found = getattr(import_module(f"sentinel.cli.{file}"), what)
    around = typer.Typer(add_completion=False)
    around.callback()(_nothing)  # so that it stays a group also around one command
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name)(found)
    return typer.main.get_group(around).commands[name]


def _nothing() -> None:
    pass


class _Root(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _Commands()


app = typer.Typer(
    name="sentinel",
    cls=_Root,
    help="Judge texts that go into and out of language models; watch, decide on and enforce security events.",
    epilog='Try: sentinel scan "Ignore all previous instructions"',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.callback()(_nothing)
