"""`sentinel rules`: look at rules, and try them, before they judge anybody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import httpx
import msgspec
import typer
from rich.table import Table

from sentinel.cli._service import AsJson, DataDir, ask, console, fail, on_service
from sentinel.cli.backtest import backtest_rules
from sentinel.detection import RuleSet, parse_rules, shipped_rules
from sentinel.detection.examples import failures
from sentinel.detection.explain import explain
from sentinel.errors import ConfigError
from sentinel.rulefolder import read_documents, read_rules

__all__ = ["app"]

app = typer.Typer(help="Look at rules, and try them, before they judge anybody.", no_args_is_help=True)

_OF_SCANNER = re.compile(r"^rules:", re.MULTILINE)

Place = Annotated[str, typer.Argument(help="A rule file, a folder with rule files, or `default` for the shipped ones.")]


class _Outcome(NamedTuple):
    tried: int
    failures: list[str]


@app.command()
def lint(path: Place = "default", as_json: AsJson = False) -> None:
    """
    Say which rules load, and why others don't. Exit code 0: none is refused; 1: some are.

    Example: sentinel rules lint my-rules
    """
    documents = read_documents(path)
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
def list_rules(path: Place = "default", as_json: AsJson = False) -> None:
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
def run_examples(
    path: Annotated[
        Path | None, typer.Argument(help="A rule file, or a folder with rule files; by default the shipped rules.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Run the examples that rules carry: `flags` and `ignores` of scanner rules, `examples` of detection rules.

    Exit code 0: all hold; 1: some do not, or a rule was refused; 2: a scanner rule can't be read.

    Example: sentinel rules test my-rules
    """
    scanned = _try_scanner_rules(path)
    detected = _try_detection_rules(path)
    tried, wrong = scanned.tried + detected.tried, [*scanned.failures, *detected.failures]
    if not (tried or wrong):
        raise ConfigError("no rule there has an example", where=str(path))
    if as_json:
        typer.echo(msgspec.json.encode({"examples": tried, "failures": wrong}).decode())
    else:
        for failure in wrong:
            typer.echo(failure)
        typer.echo(f"{tried:,} examples, {len(wrong)} failed")
    if wrong:
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


app.command("backtest")(backtest_rules)


@app.command("reload")
def reload_rules(data_dir: DataDir = None) -> None:
    """
    Make the running service read its rule files now. Exit code 1: it keeps the rules it has, and says why.

    It looks at them every second by itself, and on SIGHUP.

    Example: sentinel rules reload
    """

    async def order(client: httpx.AsyncClient, inside: object) -> str:
        if inside is not None:
            fail("no service runs on this folder; rules are read when it starts", 4)
        answer = await ask(client, "POST", "/rules/reload")
        return str(answer["message"])

    typer.echo(on_service(order, {"data_dir": data_dir}))


def _rules(path: str) -> RuleSet:
    rules = read_rules([path])
    for refusal in rules.refused:
        typer.echo(f"sentinel: rule refused: {refusal.file}:{refusal.line}: {refusal.reason}", err=True)
    return rules


# --- scanner rules


class _Files(NamedTuple):
    """The part of a folder that the scanner's loader asks for."""

    files: list[Path]

    def iterdir(self) -> Iterator[Path]:
        return iter(self.files)


def _try_scanner_rules(path: Path | None) -> _Outcome:
    from sentinel.scanning.rulebook import RuleBook, load_rules  # noqa: PLC0415 - slow, and --help does not need it
    from sentinel.scanning.text import read  # noqa: PLC0415

    if path is None:
        book = load_rules()
    else:
        files = [file for file in _rule_files(path) if _is_of_scanner(file)]
        book = load_rules(cast("Traversable", _Files(files)))
    wrong: list[str] = []
    for rule in book.rules:
        alone = RuleBook([rule])
        for kind, texts in (("flags", rule.flags), ("ignores", rule.ignores)):
            for number, text in enumerate(texts, 1):
                if bool(read("prompt", text, alone).hits) is not (kind == "flags"):
                    wrong.append(f"{rule.engine}.yaml:{rule.line}: {rule.id}: `{kind}` {number} does not hold")
    return _Outcome(sum(len(rule.flags) + len(rule.ignores) for rule in book.rules), wrong)


def _rule_files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*.y*ml"))
    if not files:
        raise ConfigError("no rule files (*.yml, *.yaml) there", where=str(path))
    return files


def _is_of_scanner(file: Path) -> bool:
    """Whether a file has the scanner's form: a list `rules`; what Sigma calls so stands deeper."""
    return bool(_OF_SCANNER.search(file.read_text(encoding="utf-8")))


# --- detection rules


def _try_detection_rules(path: Path | None) -> _Outcome:
    if path is None:
        documents = shipped_rules()
    else:
        files = [file for file in _rule_files(path) if not _is_of_scanner(file) and file.name != "placeholders.yml"]
        documents = [(str(file), file.read_text(encoding="utf-8")) for file in files]
    rules = parse_rules(documents)
    wrong = [f"{refused.file}:{refused.line}: {refused.rule}: {refused.reason}" for refused in rules.refused]
    wrong += [f"{rule}: {reason}" for rule, reason in failures(rules)]
    return _Outcome(sum(len(rule.examples.fires) + len(rule.examples.silent) for rule in rules.rules), wrong)
