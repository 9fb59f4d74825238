"""`sentinel calibrate`: the threshold for a false-positive rate on one's own texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from sentinel.cli._figures import Limit, limit_for, wilson
from sentinel.cli._files import read_rows
from sentinel.cli._progress import progress
from sentinel.cli._service import AsDepth, AsJson
from sentinel.errors import ConfigError, InputTooLong
from sentinel.model import DEFAULT_DEPTH, Depth

__all__ = ["calibrate"]


class _Calibration(msgspec.Struct, kw_only=True):
    fpr: float
    benign: int
    attacks: int
    threshold: float
    threshold_interval: tuple[float, float]
    flagged_benign: int
    false_positive_rate: float
    false_positive_interval: tuple[float, float]
    recall: float | None
    configure: dict[str, Any]


def calibrate(
    file: Annotated[Path, typer.Argument(help="JSONL with `text` and perhaps `label`, or one text a line; .gz too.")],
    fpr: Annotated[float, typer.Option(help="The share of benign texts that may be flagged.")] = 0.01,
    depth: AsDepth = DEFAULT_DEPTH,
    as_json: AsJson = False,
) -> None:
    """
    Find the threshold that flags a given share of your own benign texts. Texts without a label count as benign.

    Example: sentinel calibrate --fpr 0.01 mine.jsonl
    """
    if not 0 < fpr < 1:
        raise ConfigError("must lie between 0 and 1, both excluded", where="--fpr")
    benign, attacks = _risks(file, depth)
    if len(benign) * fpr < 1:
        raise ConfigError(
            f"holds {len(benign)} benign texts; a rate of {fpr:g} needs at least {round(1 / fpr):,}", where=str(file)
        )
    found = _calibration(benign, attacks, limit_for(benign, fpr), fpr)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)


def _risks(file: Path, depth: Depth) -> tuple[list[float], list[float]]:
    """Return of the benign texts and of the others the highest thresholds at which each is unsafe."""
    from sentinel.cli._tipping import Tipping  # noqa: PLC0415 - the scanner is slow to import

    tipping = Tipping(depth)
    risks: tuple[list[float], list[float]] = ([], [])
    rows = [row for row in read_rows(file) if row.label != "ambiguous"]
    for number, row in enumerate(progress(rows, "texts"), 1):
        try:
            risks[row.label != "benign"].append(tipping.of(row.text))
        except InputTooLong:
            sys.stderr.write(f"sentinel: {file}: text {number} is too long; left out\n")
    return risks


def _calibration(benign: list[float], attacks: list[float], limit: Limit, fpr: float) -> _Calibration:
    from sentinel.cli._tipping import MOVABLE  # noqa: PLC0415 - the scanner is slow to import

    flagged = sum(risk >= limit.value for risk in benign)
    return _Calibration(
        fpr=fpr,
        benign=len(benign),
        attacks=len(attacks),
        threshold=limit.value,
        threshold_interval=(limit.low, limit.high),
        flagged_benign=flagged,
        false_positive_rate=flagged / len(benign),
        false_positive_interval=wilson(flagged, len(benign)),
        recall=sum(risk >= limit.value for risk in attacks) / len(attacks) if attacks else None,
        configure={"thresholds": dict.fromkeys(MOVABLE, limit.value)},
    )


def _show(found: _Calibration) -> None:
    low, high = found.threshold_interval
    rate_low, rate_high = found.false_positive_interval
    typer.echo(f"threshold {found.threshold:.4f}   (95 % interval {low:.4f} to {high:.4f})")
    typer.echo(
        f"flags {found.flagged_benign:,} of {found.benign:,} benign texts: {found.false_positive_rate:.2%}"
        f"   (95 % interval {rate_low:.2%} to {rate_high:.2%})"
    )
    if found.recall is not None:
        typer.echo(f"finds {found.recall:.1%} of {found.attacks:,} other texts")
    typer.echo("\nTo use it:\n\n    import sentinel")
    typer.echo(f"    thresholds = dict.fromkeys({json.dumps(list(found.configure['thresholds']))}, {found.threshold})")
    typer.echo("    sentinel.configure(thresholds=thresholds)")
