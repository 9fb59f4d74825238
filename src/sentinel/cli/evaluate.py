"""`sentinel eval`: how well the scanner judges labelled texts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Column, Table

from sentinel.cli._figures import Risks, auc, recall_at, wilson
from sentinel.cli._files import Row, labelled_files, read_rows
from sentinel.cli._progress import progress
from sentinel.cli._service import AsDepth, AsJson, console
from sentinel.errors import InputTooLong
from sentinel.model import DEFAULT_DEPTH, Depth

__all__ = ["evaluate"]

_BENIGN = "benign"
_SHIPPED = 0.5
"""The threshold of every threat, as it comes."""
_NEITHER = frozenset({"ambiguous", "harmful_request"})
"""Labels of texts that are neither benign nor an attack on a model; they get a row, and no part in the others."""


class _Judged(msgspec.Struct):
    dataset: str
    label: str
    lang: str
    risk: float
    """The highest threshold at which the text is unsafe."""
    flagged: bool
    """At the shipped threshold."""


class _Figures(msgspec.Struct, kw_only=True):
    """Of one group of texts; None where the group has nothing to tell it by."""

    by: str
    group: str
    attacks: int
    benign: int
    auc: float | None
    recall_at_1_percent: float | None
    recall_at_01_percent: float | None
    f1: float | None
    recall: float | None
    recall_interval: tuple[float, float] | None
    false_positive_rate: float | None
    false_positive_interval: tuple[float, float] | None


def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder with JSONL files (.gz too) of `text`, `label`, `lang`.")],
    limit: Annotated[int | None, typer.Option(min=1, help="So many rows of each file at most, the first ones.")] = None,
    depth: AsDepth = DEFAULT_DEPTH,
    as_json: AsJson = False,
) -> None:
    """
    Measure the scanner on labelled texts, by set, threat and language.

    `recall`, `F1` and `false alarms` are at the shipped threshold; attacks are ranked against all benign texts of the
    folder, within a language against its own.

    Example: sentinel eval my-texts --json
    """
    judged = [one for path in labelled_files(folder) for one in _judged(folder, path, limit, depth)]
    figures = list(_all_figures(judged))
    if as_json:
        typer.echo(msgspec.json.encode({"texts": len(judged), "figures": figures}).decode())
    else:
        _show(figures)


def _judged(folder: Path, path: Path, limit: int | None, depth: Depth) -> Iterator[_Judged]:
    from sentinel.cli._tipping import Tipping  # noqa: PLC0415 - the scanner is slow to import

    tipping = Tipping(depth)
    dataset = str(path.relative_to(folder)).removesuffix(".gz").removesuffix(".jsonl")
    rows: list[Row] = list(islice(read_rows(path), limit))
    for number, row in enumerate(progress(rows, dataset), 1):
        try:
            risk = tipping.of(row.text)
        except InputTooLong:
            sys.stderr.write(f"sentinel: {path}: text {number} is too long; left out\n")
            continue
        yield _Judged(dataset, row.label, row.lang or "unknown", risk, risk >= _SHIPPED)


def _all_figures(judged: list[_Judged]) -> Iterator[_Figures]:
    scored = [one for one in judged if one.label not in _NEITHER]
    benign = [one for one in scored if one.label == _BENIGN]
    yield _figures("all", "all", scored, benign)
    for dataset, group in _grouped(scored, "dataset"):
        yield _figures("set", dataset, group, benign)
    for label, group in _grouped(judged, "label"):
        yield _figures("threat", label, group, benign)
    for lang, group in _grouped(scored, "lang"):
        own = [one for one in group if one.label == _BENIGN]
        yield _figures("language", lang, group, own)


def _grouped(judged: Iterable[_Judged], field: str) -> list[tuple[str, list[_Judged]]]:
    groups: dict[str, list[_Judged]] = {}
    for one in judged:
        groups.setdefault(getattr(one, field), []).append(one)
    return sorted(groups.items())


def _figures(by: str, name: str, group: list[_Judged], benign: list[_Judged]) -> _Figures:
    """Return a group's figures. `benign` are the texts against which its attacks are ranked."""
    attacks = [one for one in group if one.label != _BENIGN]
    own = [one for one in group if one.label == _BENIGN]
    positive, negative = _risks(attacks), _risks(benign)
    hits, alarms = sum(one.flagged for one in attacks), sum(one.flagged for one in own)
    both = bool(attacks and own)
    return _Figures(
        by=by,
        group=name,
        attacks=len(attacks),
        benign=len(own),
        auc=auc(positive, negative),
        recall_at_1_percent=recall_at(positive, negative, 0.01),
        recall_at_01_percent=recall_at(positive, negative, 0.001),
        f1=2 * hits / (hits + alarms + len(attacks)) if both else None,
        recall=hits / len(attacks) if attacks else None,
        recall_interval=wilson(hits, len(attacks)) if attacks else None,
        false_positive_rate=alarms / len(own) if own else None,
        false_positive_interval=wilson(alarms, len(own)) if own else None,
    )


def _risks(judged: list[_Judged]) -> Risks:
    return [one.risk for one in judged]


def _show(figures: list[_Figures]) -> None:
    numbers = ("attacks", "benign", "AUC", "recall at 1 %", "at 0.1 %", "F1", "recall", "false alarms")
    table = Table("by", "group", *(Column(name, justify="right") for name in numbers))
    for row in figures:
        table.add_row(
            row.by,
            row.group,
            f"{row.attacks:,}",
            f"{row.benign:,}",
            *map(_share, (row.auc, row.recall_at_1_percent, row.recall_at_01_percent, row.f1)),
            _between(row.recall, row.recall_interval),
            _between(row.false_positive_rate, row.false_positive_interval),
        )
    console().print(table)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _between(value: float | None, interval: tuple[float, float] | None) -> str:
    return "" if value is None or interval is None else f"{value:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"
