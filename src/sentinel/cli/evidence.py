"""`sentinel evidence`: take away what a quarantine rests on, and check it later."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from sentinel.cli._service import AsJson, DataDir, ask, fail, on_service
from sentinel.response.evidence import Bundle, pack, seal_of

__all__ = ["app"]

app = typer.Typer(help="Export and verify what a quarantine rests on.", no_args_is_help=True)

_EXIT = {"verified": 0, "tampered": 1}
_UNSURE = 3


class _Exported(msgspec.Struct):
    action_id: str
    sha256: str
    bundle: dict[str, Any]


ActionId = Annotated[str, typer.Argument(help="Id of the quarantine, as `blocks list --json` shows it.")]


@app.command()
def export(
    action_id: ActionId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file; else standard output.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Write the bundle with its hash: signals, event ids and the hash of each event. Never scanned text.

    Example: sentinel evidence export act-0123456789abcdef01234567 -o evidence.json
    """
    told = _asked(action_id, data_dir)
    text = json.dumps({name: told[name] for name in ("action_id", "sha256", "bundle")}, indent=2, ensure_ascii=False)
    if output is None:
        typer.echo(text)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as err:
        fail(f"{output} can't be written: {err.strerror}", 2)
    typer.echo(f"{output}: {len(told['bundle']['events'])} events, sha256 {told['sha256']}")


@app.command()
def verify(
    what: Annotated[str, typer.Argument(help="Id of the quarantine, or a file that `export` wrote.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Compare a bundle with its hash, the audit log and the events that it names; a file also with the service's bundle.

    Exit code: 0 it is what was collected, 1 it was tampered with, 3 its audit entry is gone, so its hash is not sure.

    Example: sentinel evidence verify act-0123456789abcdef01234567
    """
    exported = _exported(Path(what)) if Path(what).is_file() else None
    told = _asked(what if exported is None else exported["action_id"], data_dir)
    problems = list(told["problems"])
    if exported is not None:
        problems += _compared(exported, told)
    report = {
        "action_id": told["action_id"],
        "status": "tampered" if problems else told["status"],
        "sha256": told["sha256"],
        "problems": problems,
        "notes": told["notes"],
    }
    if as_json:
        typer.echo(json.dumps(report))
    else:
        typer.echo(f"{report['action_id']}: {report['status']}, sha256 {report['sha256']}")
        for problem in problems:
            typer.echo(f"  tampered: {problem}")
        for note in told["notes"]:
            sys.stderr.write(f"  note: {note}\n")
    raise typer.Exit(_EXIT.get(report["status"], _UNSURE))


def _asked(action_id: str, data_dir: Path | None) -> dict[str, Any]:
    path = f"/evidence/{quote(action_id, safe='')}"
    return dict(on_service(lambda client, _: ask(client, "GET", path), {"data_dir": data_dir}))


def _exported(path: Path) -> dict[str, Any]:
    try:
        return msgspec.to_builtins(msgspec.json.decode(path.read_bytes(), type=_Exported))  # type: ignore[no-any-return]
    except (OSError, msgspec.DecodeError):
        fail(f"{path} is no file that `sentinel evidence export` wrote", 2)


def _compared(exported: dict[str, Any], told: dict[str, Any]) -> list[str]:
    """Return what is wrong with an exported file."""
    problems = []
    try:
        seal = seal_of(pack(msgspec.convert(exported["bundle"], Bundle)))
    except msgspec.ValidationError:
        seal = None
    if seal != exported["sha256"]:
        problems.append("the file's bundle is not the one that its hash was made of")
    if exported["sha256"] != told["sha256"]:
        problems.append("the file's hash is not the service's")
    return problems
