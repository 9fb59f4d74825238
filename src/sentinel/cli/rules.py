"""`sentinel rules`: look at detection rules before they judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sentinel.cli._service import console
from sentinel.detection import RuleSet, parse_rules, shipped_rules
from sentinel.detection.examples import failures
from sentinel.detection.explain import explain
from sentinel.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(help="Look at detection rules before they judge.", no_args_is_help=True)

Place = Annotated[str, typer.Argument(help="A rule file, a folder with rule files, or `default` for the shipped ones.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command()
def lint(path: Place = "default", as_json: Json = False) -> None:
    """
    Say which rules load, and why others don't. Exit code 0: none is refused; 1: some are.

    Example: sentinel rules lint my-rules
    """
    documents = _documents(path)
    rules = parse_rules(documents)
    refused = [{"file": r.file, "line": r.line, "rule": r.rule, "reason": r.reason} for r in rules.refused]
    if as_json:
        told = {"files": len(documents), "loaded": len(rules.rules), "refused": refused, "warnings": rules.warnings}
        typer.echo(json.dumps(told))
    else:
        for refusal in rules.refused:
            typer.echo(f"{refusal.file}:{refusal.line}: refused: {refusal.reason}")
        for warning in rules.warnings:
            typer.echo(f"{warning} (warning)")
        typer.echo(f"{len(documents)} files, {len(rules.rules)} rules loaded, {len(refused)} refused")
    if refused:
        raise typer.Exit(1)


@app.command("list")
def list_rules(path: Place = "default", as_json: Json = False) -> None:
    """
    List the rules that make signals.

    Example: sentinel rules list
    """
    rows = [
        {
            "rule": rule.id,
            "title": rule.title,
            "level": rule.level.value,
            "threat_type": rule.threat_type.value if rule.threat_type else None,
            "on_close": rule.on_close,
            "hash": rule.hash,
        }
        for rule in _rules(path).rules
        if rule.emits
    ]
    if as_json:
        typer.echo(json.dumps({"items": rows}))
        return
    table = Table("rule", "level", "threat", "title")
    for row in rows:
        table.add_row(str(row["rule"]), str(row["level"]), str(row["threat_type"] or ""), str(row["title"]))
    console().print(table)


@app.command("test")
def play_examples(path: Place = "default") -> None:
    """
    Play the examples in the rules. Exit code 1 when a rule does not do what they show.

    Example: sentinel rules test my-rules
    """
    rules = _rules(path)
    wrong = list(failures(rules))
    for rule, reason in wrong:
        typer.echo(f"{rule}: {reason}")
    played = sum(len(rule.examples.fires) + len(rule.examples.silent) for rule in rules.rules)
    typer.echo(f"{played} examples of {len(rules.rules)} rules, {len(wrong)} wrong")
    if wrong or rules.refused:
        raise typer.Exit(1)


@app.command("explain")
def explain_rule(rule: Annotated[str, typer.Argument(help="Its id, name or title.")], path: Place = "default") -> None:
    """
    Say in words what a rule asks.

    Example: sentinel rules explain failed_logins_by_address
    """
    found = [each for each in _rules(path).rules if rule in {each.id, each.title}]
    if not found:
        raise ConfigError("there is no such rule; `sentinel rules list` shows them", where=rule)
    for each in found:
        typer.echo(f"{each.title} ({each.id})\n{explain(each)}")


def _rules(path: str) -> RuleSet:
    rules = parse_rules(_documents(path))
    for refusal in rules.refused:
        typer.echo(f"sentinel: rule refused: {refusal.file}:{refusal.line}: {refusal.reason}", err=True)
    return rules


def _documents(path: str) -> list[tuple[str, str]]:
    if path == "default":
        return shipped_rules()
    place = Path(path)
    files = sorted(place.rglob("*.y*ml")) if place.is_dir() else [place]
    if not files:
        raise ConfigError("no rule files (*.yml) there", where=path)
    try:
        return [(str(file), file.read_text(encoding="utf-8")) for file in files]
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError("can't be read as a text", where=path) from err
