"""`sentinel blocks`: see and end what is in force."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer
from rich.table import Column, Table

from sentinel.cli._service import AsJson, DataDir, ask, console, on_service

__all__ = ["app"]

app = typer.Typer(help="See and end what is in force.", no_args_is_help=True)

_LISTS = {
    "ip_block": "ip_blocks",
    "user_suspend": "user_suspensions",
    "rate_limit": "rate_limits",
    "account_lockout": "account_lockouts",
    "service_isolation": "service_isolations",
    "threat_quarantine": "quarantines",
    "alert_escalation": "escalations",
}


@app.command("list")
def list_blocks(
    data_dir: DataDir = None,
    everything: Annotated[bool, typer.Option("--all", help="Expired and revoked ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """
    Show what is in force, why, until when, and where it is enforced.

    Example: sentinel blocks list --json
    """
    shown = on_service(lambda client, _: _listed(client, everything), {"data_dir": data_dir})
    if as_json:
        typer.echo(json.dumps(shown))
        return
    rows = [row for name in _LISTS.values() for row in shown[name]]
    table = Table(
        "action", Column("target", no_wrap=True), "status", Column("until", no_wrap=True), "enforced by", "why"
    )
    for row in rows:
        until = row["expiration"] or "somebody ends it"
        table.add_row(row["action_type"], row["target"], row["status"], until, _enforced(row), row["reason"])
    console().print(table if rows else "nothing is in force")


def _enforced(row: dict[str, Any]) -> str:
    if row["simulated"]:
        return "only shown: a dry run, or an import without --act"
    if row["status"] != "active" or row["action_type"] == "alert_escalation":
        return ""
    return ", ".join(row["enforced_by"]) or "[red]nothing enforces this yet[/red]"


async def _listed(client: httpx.AsyncClient, everything: bool) -> dict[str, Any]:
    if not everything:
        return dict(await ask(client, "GET", "/active-blocks"))
    items = (await ask(client, "GET", "/actions"))["items"]
    lists: dict[str, Any] = {
        name: [item for item in items if item["action_type"] == kind] for kind, name in _LISTS.items()
    }
    for name, key in (("ip_blocks", "ip_address"), ("user_suspensions", "user_id"), ("account_lockouts", "user_id")):
        lists[name] = [{key: item["target"], **item} for item in lists[name]]
    return lists


@app.command()
def add(
    target: Annotated[str, typer.Argument(help="Address, network or name; where needed with its kind: user:ann.")],
    reason: Annotated[str, typer.Option(help="Why; people will read it.")],
    kind: Annotated[str, typer.Option("--type", help="Kind of action.")] = "ip_block",
    hours: Annotated[float, typer.Option(help="How long; 0 = until somebody ends it.")] = 24.0,
    data_dir: DataDir = None,
) -> None:
    """
    Put an action in force on every node: ip_block, user_suspend, account_lockout, rate_limit, service_isolation, ...

    Example: sentinel blocks add 203.0.113.0/24 --reason "scans since noon" --hours 4
    """
    order = {"action_type": kind, "target": target, "reason": reason, "duration_hours": hours or None}
    answer = on_service(lambda client, _: ask(client, "POST", "/manual-action", json=order), {"data_dir": data_dir})
    typer.echo(answer["message"])


@app.command()
def remove(
    target: Annotated[str, typer.Argument(help="Address, network or name, as `blocks list` shows it.")],
    kind: Annotated[str, typer.Option("--type", help="Kind of action, as `blocks list` shows it.")] = "ip_block",
    data_dir: DataDir = None,
) -> None:
    """
    End what is in force on a target, on every node. The same evidence does not bring it back within 24 h.

    Example: sentinel blocks remove 203.0.113.9
    """
    path = f"/action/{quote(kind, safe='')}/{quote(target, safe='')}"
    answer = on_service(lambda client, _: ask(client, "DELETE", path), {"data_dir": data_dir})
    typer.echo(answer["message"])
