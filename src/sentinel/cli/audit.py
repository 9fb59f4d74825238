"""`sentinel audit`: is the log of who did what still what was written?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from sentinel.audit import Report, Status
from sentinel.cli._service import AsJson, DataDir, server_extra
from sentinel.datafolder import read_key
from sentinel.settings import load_settings

__all__ = ["app"]

app = typer.Typer(help="Check the log of who did what.", no_args_is_help=True)

_EXIT = {Status.VERIFIED: 0, Status.TAMPERED: 1, Status.UNANCHORED: 3, Status.UNSIGNED: 3}


@app.callback()
def group() -> None:
    """Keep `verify` a word of its own although it is the only command so far."""


@app.command()
def verify(
    data_dir: DataDir = None,
    anchor: Annotated[
        Path | None, typer.Option(help="A copy of the checkpoints that this machine can't rewrite.", show_default=False)
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="A key that signed them; may be repeated, the oldest first.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Compare the audit log with its anchor. It reads the store itself, whether or not the service runs.

    Exit code: 0 it is what the anchor saw, 1 it was tampered with, 3 the chain is consistent, but there is no anchor,
    or no key to check the anchor's signatures with.

    Example: sentinel audit verify --anchor /mnt/worm/checkpoints.jsonl
    """
    settings = load_settings({"data_dir": data_dir, "audit_anchor": anchor})
    with server_extra():
        from sentinel.storage import verify_store  # noqa: PLC0415 - the server extra, and slow to import
    own = [settings.audit_key_path] if settings.audit_key_path.is_file() else []
    keys = [read_key(path) for path in key or (*settings.audit_old_keys, *own)]
    report = verify_store(settings.store_place, settings.anchor_path, keys)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(report)))
    else:
        _tell(report)
    raise typer.Exit(_EXIT[report.status])


def _tell(report: Report) -> None:
    typer.echo(f"{report.status.value}: {report.size} entries, {report.anchored} of them under the anchor")
    for problem in report.problems:
        typer.echo(f"  tampered: {problem}")
    for note in report.notes:
        sys.stderr.write(f"  note: {note}\n")
