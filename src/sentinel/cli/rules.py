"""`sentinel rules`: try rules before they judge anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import msgspec
import typer

from sentinel.detection import Engine, Rule, RuleSet, parse_rules, shipped_rules
from sentinel.detection.rule import Step
from sentinel.detection.sigma.parse import parse_timespan
from sentinel.errors import ConfigError
from sentinel.model import Event, StoredEvent, micros

__all__ = ["app"]

app = typer.Typer(help="Try rules before they judge anybody.", no_args_is_help=True)
_OF_SCANNER = re.compile(r"^rules:", re.MULTILINE)
_START = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""Examples are played from a full hour on, so that windows begin with them."""


class _Outcome(NamedTuple):
    tried: int
    failures: list[str]


@app.callback()
def _group() -> None:
    """Keep `test` a command of its own while it is the only one."""


@app.command("test")
def run_examples(
    path: Annotated[
        Path | None, typer.Argument(help="A rule file, or a folder with rule files; by default the shipped rules.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """
    Run the examples that rules carry: `flags` and `ignores` of scanner rules, `examples` of detection rules.

    Exit code 0: all hold; 1: some do not, or a rule was refused; 2: a scanner rule can't be read.

    Example: sentinel rules test my-rules
    """
    scanned = _try_scanner_rules(path)
    detected = _try_detection_rules(path)
    tried, failures = scanned.tried + detected.tried, [*scanned.failures, *detected.failures]
    if not (tried or failures):
        raise ConfigError("no rule there has an example", where=str(path))
    if as_json:
        typer.echo(msgspec.json.encode({"examples": tried, "failures": failures}).decode())
    else:
        for failure in failures:
            typer.echo(failure)
        typer.echo(f"{tried:,} examples, {len(failures)} failed")
    if failures:
        raise typer.Exit(1)


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
    failures: list[str] = []
    for rule in book.rules:
        alone = RuleBook([rule])
        for kind, texts in (("flags", rule.flags), ("ignores", rule.ignores)):
            for number, text in enumerate(texts, 1):
                if bool(read("prompt", text, alone).hits) is not (kind == "flags"):
                    failures.append(f"{rule.engine}.yaml:{rule.line}: {rule.id}: `{kind}` {number} does not hold")
    return _Outcome(sum(len(rule.flags) + len(rule.ignores) for rule in book.rules), failures)


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
    failures = [f"{refused.file}:{refused.line}: {refused.rule}: {refused.reason}" for refused in rules.refused]
    tried = 0
    for rule in rules.rules:
        for kind, runs in (("fires", rule.examples.fires), ("silent", rule.examples.silent)):
            for number, steps in enumerate(runs, 1):
                tried += 1
                if _fires(rules, rule, steps) is not (kind == "fires"):
                    failures.append(f"{rule.id}: example `{kind}` {number} does not hold")
    return _Outcome(tried, failures)


def _fires(rules: RuleSet, rule: Rule, steps: Sequence[Step]) -> bool:
    events = list(_played(rule.id, steps))
    engine = Engine(rules)
    engine.warm((), engine.needs(events))
    return rule.id in {signal.rule for signal in engine.add(events)}


def _played(rule: str, steps: Sequence[Step]) -> Iterator[StoredEvent]:
    """Yield the events of an example, one after the other."""
    moment, seq = _START, 0
    for step in steps:
        for _ in range(step.times):
            fields = {"event_id": str(seq), "severity": "low", "timestamp": moment, **step.event}
            at, seq = micros(moment), seq + 1
            try:
                event = msgspec.convert(fields, Event)
            except msgspec.ValidationError as err:
                raise ConfigError(f"an event of an example can't be read: {err}", where=rule) from None
            yield StoredEvent(seq=seq, at=at, received_at=at, late=False, event=event)
            moment += timedelta(microseconds=parse_timespan(step.every))
