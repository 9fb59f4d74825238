"""`sentinel incidents`: what happened, and what people are doing about it."""

from __future__ import annotations

import enum
import json
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from sentinel.cli._service import AsJson, DataDir, ask, console, on_service

__all__ = ["app", "feedback"]

app = typer.Typer(help="See incidents, acknowledge and close them.", no_args_is_help=True)

IncidentId = Annotated[str, typer.Argument(help="As `incidents list` shows it.")]


class Form(enum.StrEnum):
    """How an incident is exported."""

    JSON = "json"
    OCSF = "ocsf"


NoteText = Annotated[str, typer.Option(help="What you found; it goes into the audit log.")]


@app.command("list")
def list_incidents(
    data_dir: DataDir = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the latest first.")] = 50,
    by_rank: Annotated[bool, typer.Option("--by-rank", help="Of these, the most urgent first.")] = False,
    as_json: AsJson = False,
) -> None:
    """
    Show the latest incidents.

    Example: sentinel incidents list --limit 10 --by-rank
    """
    path = f"/incidents?limit={limit}"
    found = on_service(lambda client, _: ask(client, "GET", path), {"data_dir": data_dir})
    items = found["items"]
    if by_rank:
        items.sort(key=lambda item: -item["rank"])
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table(
        Column("id", no_wrap=True), "status", "severity", "rank", "subject", "threats", "signals", "assignee", "last"
    )
    for item in items:
        threats = ", ".join(item["threat_types"])
        row = (item["id"], item["status"], item["severity"], f"{item['rank']:.0f}", item["subject"], threats)
        table.add_row(*row, str(len(item["signals"])), item["assignee"] or "", item["last"])
    console().print(table if items else "no incidents")


@app.command()
def show(incident_id: IncidentId, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """
    Show one incident: what was seen, what was unusual, what was done, where it is enforced, what to do first.

    Example: sentinel incidents show 0123456789abcdef
    """
    path = f"/incidents/{incident_id}"
    found = on_service(lambda client, _: ask(client, "GET", path), {"data_dir": data_dir})
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"{found['subject']}: {found['severity']}, {found['status']}, {found['first']} to {found['last']}")
    for row in found["timeline"]:
        typer.echo(f"  {row['at']}  {row['what']}  {row['says']}")
    for action in found["actions"]:
        typer.echo(f"  {_enforced(action)}")
    assignee = f"; {found['assignee']} has it" if found["assignee"] else ""
    typer.echo(f"Suggested: {found['suggestion']}{assignee}")


def _enforced(action: dict[str, Any]) -> str:
    said = f"{action['action_type']} on {action['target']} is {action['status']}"
    if action["simulated"]:
        return f"{said}, but only shown: a dry run, or an import without --act"
    if action["status"] != "active" or action["action_type"] == "alert_escalation":
        return said
    until = f" until {action['expiration']}" if action["expiration"] else ""
    return f"{said}{until}; {', '.join(action['enforced_by']) or 'nothing enforces this yet'}"


@app.command()
def ack(
    incident_id: IncidentId,
    note: NoteText = "",
    assignee: Annotated[str | None, typer.Option(help="Who takes it on, if not you.", show_default=False)] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Say that somebody looks at it: nobody else is woken.

    Example: sentinel incidents ack 0123456789abcdef --note "on it" --assignee erin
    """
    _follow(incident_id, "ack", {"note": note, "assignee": assignee}, data_dir)


@app.command()
def close(incident_id: IncidentId, note: NoteText = "", data_dir: DataDir = None) -> None:
    """
    Say that it is over. Should it go on, it is open again.

    Example: sentinel incidents close 0123456789abcdef --note "was our own scan"
    """
    _follow(incident_id, "close", {"note": note}, data_dir)


@app.command("note")
def take_note(
    incident_id: IncidentId,
    text: Annotated[str, typer.Argument(help="What you found; it stays with the incident.")],
    data_dir: DataDir = None,
) -> None:
    """
    Note something for whoever looks at it next.

    Example: sentinel incidents note 0123456789abcdef "the laptop was reported stolen on Monday"
    """
    _follow(incident_id, "note", {"note": text}, data_dir)


@app.command()
def export(
    incident_id: IncidentId,
    form: Annotated[Form, typer.Option("--format", help="All that we know, or OCSF's Incident Finding.")] = Form.JSON,
    names: Annotated[bool, typer.Option("--names", help="With names of users instead of pseudonyms.")] = False,
    data_dir: DataDir = None,
) -> None:
    """
    Write an incident for other programs, as JSON.

    Example: sentinel incidents export 0123456789abcdef --format ocsf
    """
    path = f"/exports/incidents/{incident_id}?format={form.value}&names={str(names).lower()}"
    typer.echo(json.dumps(on_service(lambda client, _: ask(client, "GET", path), {"data_dir": data_dir})))


def _follow(incident_id: str, word: str, order: dict[str, str | None], data_dir: DataDir) -> None:
    path = f"/incidents/{incident_id}/{word}"
    answer = on_service(lambda client, _: ask(client, "POST", path, json=order), {"data_dir": data_dir})
    typer.echo(answer["message"])


def feedback(  # noqa: PLR0917 - typer makes each an option
    reason: Annotated[str, typer.Option(help="Why you think so; people will read it.")],
    action: Annotated[str | None, typer.Option(help="Id of an action.", show_default=False)] = None,
    incident: Annotated[str | None, typer.Option(help="Id of an incident.", show_default=False)] = None,
    scan: Annotated[str | None, typer.Option(help="Id of a scan.", show_default=False)] = None,
    right: Annotated[bool, typer.Option("--right/--wrong", help="Was Sentinel right about it?")] = False,
    suppress_hours: Annotated[
        float | None, typer.Option(help="So long the rule does nothing about this subject.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """
    Say whether Sentinel was right. A wrong action is undone, on every node, and counts against the rule's precision.

    Example: sentinel feedback --action act-0123 --wrong --reason "our own monitoring" --suppress-hours 24
    """
    order = {
        "action_id": action,
        "incident_id": incident,
        "scan_id": scan,
        "verdict": "true_positive" if right else "false_positive",
        "reason": reason,
        "suppress_hours": suppress_hours,
    }
    answer = on_service(lambda client, _: ask(client, "POST", "/feedback", json=order), {"data_dir": data_dir})
    undone = ", ".join(answer["undone"])
    typer.echo(f"noted; undone: {undone}" if undone else "noted")
