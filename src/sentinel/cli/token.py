"""`sentinel token`: who may talk to the service."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.table import Table

from sentinel.cli._service import AsJson, DataDir, ask, console, on_service
from sentinel.model import Role, Severity

__all__ = ["app"]

app = typer.Typer(help="Who may talk to the service.", no_args_is_help=True)


@app.command()
def create(  # noqa: PLR0917 - typer makes an option of each
    role: Annotated[Role, typer.Option(help="What it may do.")],
    name: Annotated[str, typer.Option(help="Whom or what it is for.")] = "",
    may_cause_actions: Annotated[
        bool, typer.Option("--may-cause-actions", help="Its events may lead to automatic blocks.")
    ] = False,
    max_severity: Annotated[
        Severity | None, typer.Option(help="Highest severity of what rests on its events; for ingest tokens high.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="How long it holds, such as 90d; default for ever.")] = None,
    source_cidr: Annotated[str | None, typer.Option(help="The only network that it may come from.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Make a token and print it, once. What is kept of it is a hash.

    Example: sentinel token create --role ingest --name web --may-cause-actions
    """
    order = {
        "role": role.value,
        "name": name,
        "may_cause_actions": may_cause_actions,
        "max_severity": None if max_severity is None else max_severity.value,
        "expires": expires,
        "source_cidr": source_cidr,
    }
    made = on_service(lambda client, _: ask(client, "POST", "/tokens", json=order), {"data_dir": data_dir})
    if as_json:
        typer.echo(json.dumps(made))
        return
    sys.stderr.write(f"id {made['id']}; it is not shown again\n")
    typer.echo(made["token"])


@app.command("list")
def list_tokens(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """
    Show every token without its secret.

    Example: sentinel token list
    """
    items = on_service(lambda client, _: ask(client, "GET", "/tokens"), {"data_dir": data_dir})["items"]
    if as_json:
        typer.echo(json.dumps(items))
        return
    table = Table("id", "name", "role", "acts", "up to", "created", "expires", "revoked")
    for item in items:
        acts = "yes" if item["may_cause_actions"] else "no"
        times = (item["created_at"], item["expires_at"] or "never", item["revoked_at"] or "")
        table.add_row(item["id"], item["name"], item["role"], acts, item["max_severity"], *times)
    console().print(table)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="As `token list` shows it.")], data_dir: DataDir = None
) -> None:
    """
    End a token at once.

    Example: sentinel token revoke tok-0123456789abcdef
    """
    answer = on_service(lambda client, _: ask(client, "DELETE", f"/tokens/{token_id}"), {"data_dir": data_dir})
    typer.echo(answer["message"])
