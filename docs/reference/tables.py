# ruff: noqa: INP001 - a script beside the pages that it writes, not a package
"""
Write the tables of the reference from the code: `python docs/reference/tables.py`.

A page holds `<!-- table: NAME -->` ... `<!-- end -->`; what lies between is written anew. Columns that the code can't
fill are written by hand and kept. tests/test_docs.py fails while a page says something else than the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import typer
import yaml

from sentinel.cli import app
from sentinel.detection import parse_rules, shipped_rules
from sentinel.detection.baseline.metrics import METRICS
from sentinel.observability import Metrics
from sentinel.scanning.rulebook import load_rules
from sentinel.server import problems
from sentinel.server.authorize import ACCESS
from sentinel.settings import Settings
from sentinel.storage import tables

__all__ = ["PAGES", "pages", "rendered"]

PAGES = Path(__file__).parent
Row = tuple[str, ...]
_ALERT_RULES = PAGES.parents[1] / "config" / "prometheus" / "security_rules.yml"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    parts = getattr(command, "commands", None)
    if parts is None:
        yield path, command
        return
    for name, part in parts.items():
        yield from _commands(part, f"{path} {name}")


def _parameters() -> Iterator[Row]:
    for path, command in _commands(typer.main.get_command(app), "sentinel"):
        yield f"`{path}`", "", command.help.partition("\n")[0]
        for parameter in command.params:
            names = ", ".join(f"`{name}`" for name in parameter.opts)
            if parameter.param_type_name == "argument":
                names = f"`{parameter.name.upper()}`"
            told = f"{parameter.help} Required." if parameter.required else parameter.help
            yield f"`{path}`", names, told


def _settings() -> Iterator[Row]:
    for field in fields(Settings):
        default = "" if field.default in (None, (), MISSING) else field.default
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
        yield f"`{field.name}`", f"`SENTINEL_{field.name.upper()}`", f"`{shown}`" if shown else "none"


def _routes() -> Iterator[Row]:
    for (method, path), roles in ACCESS.items():
        yield f"`{method} {path}`", ", ".join(sorted(roles)) or "open"


def _problems() -> Iterator[Row]:
    for code, status in problems._CODES.values():  # noqa: SLF001 - there is no other table of them
        yield f"`{code}`", str(status)


def _database() -> Iterator[Row]:
    for table in (tables.audit_log, tables.security_violations, tables.data_access_log, tables.actions):
        yield f"`{table.name}`", ", ".join(f"`{column.name}`" for column in table.columns)


def _metrics() -> Iterator[Row]:
    metrics = Metrics(lambda: 0.0)
    metrics.told.certificates.tell("a service", 0.0)  # so that its labels show
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
        yield f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation


def _alerts() -> Iterator[Row]:
    rules = yaml.safe_load(_ALERT_RULES.read_text(encoding="utf-8"))
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
        name, severity = rule["alert"], rule["labels"]["severity"]
        shown = "the signal's" if severity.startswith("{{") else severity
        yield f"[{name}](../runbooks/{name}.md)", shown, rule.get("for", ""), rule["annotations"]["summary"]


def _baselines() -> Iterator[Row]:
    for metric in METRICS.values():
        facts = (metric.entity, metric.tells, metric.kind.value, metric.type.value)
        yield f"`{metric.name}`", *facts, metric.family


def _patterns() -> Iterator[Row]:
    for rule in load_rules().rules:
        facts = (rule.engine, rule.threat.value, rule.severity.value, f"{rule.weight:g}", ", ".join(rule.tags))
        yield f"`{rule.id}`", *facts, rule.message


def _detections() -> Iterator[Row]:
    for rule in parse_rules(shipped_rules()).rules:
        groups = " or ".join(name for name, _ in rule.group_by) if rule.emits else ""
        condition = "each" if rule.plain else f"{rule.threshold} in {rule.timespan // 1_000_000} s"
        threat = rule.threat_type.value if rule.threat_type else ""
        facts = (condition, groups, rule.level.value, threat) if rule.emits else ("only counted by others", "", "", "")
        yield f"`{rule.id}`", rule.title, *facts


_BYTES_AN_EVENT = re.compile(r"([\d,]+) bytes an event")
_QUOTED = (
    "Events over HTTP, durable",
    "The same until all are judged",
    "`sentinel ingest --format sshd`",
    "`POST /api/v1/scan`",
    "A service just started",
    "The store that it leaves",
)
"""Rows of the page of figures by which a machine is chosen."""


def _sizing() -> Iterator[Row]:
    measured = (PAGES / "measured.md").read_text(encoding="utf-8")
    rows = {cells[0]: cells for cells in map(_cells, measured.splitlines()) if cells}
    yield from (rows[name] for name in _QUOTED)
    found = _BYTES_AN_EVENT.search(rows["The store that it leaves"][2])
    assert found, "docs/reference/measured.md does not say how large an event is"
    for rate in (10, 100):
        day = rate * 86_400 * int(found[1].replace(",", ""))
        kept = Settings.__dataclass_fields__["retention_days"].default
        yield f"So {rate} events/s are", "", f"{day / 1e9:,.1f} GB a day, {kept * day / 1e9:,.0f} GB in {kept} days"


def _stores() -> Iterator[Row]:
    yield from _measured("The store in ")


def _nodes() -> Iterator[Row]:
    yield from _measured("One process with ", "A node beside ", "Ordered on one node")


_PARTS = (
    ("Taking events, on any number of nodes", re.compile(r"([\d.]+) of the node that takes events")),
    ("Judging them, on one core of one node", re.compile(r"([\d.]+) of the workers")),
    ("PostgreSQL", re.compile(r"([\d.]+) of PostgreSQL")),
)
_WANTED = 1_000_000  # events a second


def _million() -> Iterator[Row]:
    """Yield what the measured cost of each part makes of a million events a second, if it only had to be multiplied."""
    [(_, _, figure)] = _measured("A node beside one worker")
    total = 0.0
    for part, cost in _PARTS:
        found = cost.search(figure)
        assert found, f"docs/reference/measured.md does not say what this costs: {part}"
        micros = float(found[1])
        total += micros
        yield part, f"{micros:g}", f"{1e6 / micros:,.0f}", f"{_WANTED * micros / 1e6:,.1f}"
    yield "All of it", f"{total:g}", "", f"{_WANTED * total / 1e6:,.1f}"


def _measured(*beginnings: str) -> Iterator[Row]:
    """Yield the figures of which the name begins so."""
    measured = (PAGES / "measured.md").read_text(encoding="utf-8")
    yield from (cells for cells in map(_cells, measured.splitlines()) if cells and cells[0].startswith(beginnings))


_TABLES: dict[str, tuple[Row, Callable[[], Iterator[Row]]]] = {
    "cli": (("Command", "Option", "What it does"), _parameters),
    "settings": (("Setting", "Environment", "Default", "Meaning"), _settings),
    "routes": (("Route", "Role", "What it does"), _routes),
    "problems": (("Code", "Status", "When"), _problems),
    "database": (("Table", "Columns", "A row is"), _database),
    "metrics": (("Metric", "Type", "Labels", "Meaning"), _metrics),
    "alerts": (("Alert", "Severity", "For", "Says"), _alerts),
    "baselines": (("Metric", "Of a", "Measures", "Method", "Type", "Family"), _baselines),
    "sizing": (("What", "Input", "Figure"), _sizing),
    "stores": (("What", "Input", "Figure"), _stores),
    "nodes": (("What", "Input", "Figure"), _nodes),
    "million": (("Part", "µs of CPU an event", "Events/s on one core", "Cores for 1,000,000 events/s"), _million),
    "patterns": (("Rule", "Engine", "Threat", "Severity", "Weight", "OWASP, ATLAS", "What it says"), _patterns),
    "detections": (("Rule", "Title", "Fires at", "Grouped by", "Level", "Threat"), _detections),
}


def rendered(page: str) -> str:
    """Return a page with its tables as the code has them, and what was written by hand kept."""
    return _TABLE.sub(lambda found: f"{found[1]}{_table(found[2], found[3])}{found[4]}", page)


def _table(name: str, old: str) -> str:
    columns, rows = _TABLES[name]
    kept = {cells[0]: cells for cells in map(_cells, old.splitlines()) if cells}
    lines = [columns, ("---",) * len(columns)]
    for row in rows():
        cells = tuple(cell.replace("|", "\\|") for cell in row)
        by_hand = kept.get(cells[0], ())[len(cells) : len(columns)]
        lines.append(cells + by_hand + ("",) * (len(columns) - len(cells) - len(by_hand)))
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _cells(line: str) -> Row:
    return tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])


def pages() -> list[Path]:
    """Return the pages that hold such tables."""
    return [path for path in sorted(PAGES.parent.glob("*/*.md")) if _TABLE.search(path.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    for page in pages():
        page.write_text(rendered(page.read_text(encoding="utf-8")), encoding="utf-8")
