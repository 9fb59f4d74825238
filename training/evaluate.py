"""
Judges what is shipped, by the sets of a folder.

    python training/evaluate.py ../shared/data/benchmark [SET ...]

Prints one line for each set, label and language: the share that is unsafe by the whole `scan()` and that the model
alone puts at 0.5 or above (a recall for attacks, a false-positive rate for benign texts), both with 95 % Wilson
intervals; for attacks the model's area under the curve and its recall at 1 % and 0.1 % false positives, against the
benign texts of all sets together. Nothing is learnt or chosen from what it prints.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rows import plain, read_set

from sentinel import scan
from sentinel.scanning.classify.ngram import NgramModel

Array = NDArray[Any]

_ATTACKS = ("injection", "indirect_injection", "jailbreak", "attack")
_THRESHOLD = 0.5
_Z = 1.959964
_FEWEST = 20
"""Languages with fewer rows of a label have no line of their own."""


class Judged(NamedTuple):
    """One row and what was said about it."""

    label: str
    lang: str
    unsafe: bool
    score: float


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927, without continuity correction)."""
    share, z2 = hits / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def area(attacks: Array, benign: Array) -> float:
    """Return the probability that an attack scores above a benign text, ties counting half (Mann and Whitney 1947)."""
    ordered = np.sort(benign)
    below, up_to = np.searchsorted(ordered, attacks, "left"), np.searchsorted(ordered, attacks, "right")
    return float((below + up_to).sum() / 2 / len(attacks) / len(benign))


def recall_at(attacks: Array, benign: Array, false_positives: float) -> float:
    """Return the share of attacks above the score that `false_positives` of the benign texts exceed."""
    return float((attacks > np.quantile(benign, 1 - false_positives, method="higher")).mean())


def judged(row: dict[str, Any], model: NgramModel) -> Judged:
    """Return what the scan and the model alone say about a row's text."""
    windows = model.windows(plain(row["text"]))
    score = max((max(window.injection_score, window.jailbreak_score) for window in windows), default=0.0)
    return Judged(row["label"], row["lang"], not scan(row["text"]).is_safe, score)


def _share(hits: Sequence[bool]) -> str:
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits) / len(hits):.3f} [{low:.3f}, {high:.3f}]"


def _line(name: str, rows: Sequence[Judged], benign: Array) -> str:
    whole = _share([row.unsafe for row in rows])
    alone = _share([row.score >= _THRESHOLD for row in rows])
    line = f"| {name} | {len(rows)} | {whole} | {alone} |"
    if rows[0].label not in _ATTACKS or not len(benign):
        return f"{line} | | |"
    attacks = np.array([row.score for row in rows])
    at_one, at_tenth = recall_at(attacks, benign, 0.01), recall_at(attacks, benign, 0.001)
    return f"{line} {area(attacks, benign):.3f} | {at_one:.3f} | {at_tenth:.3f} |"


def report(by_set: dict[str, list[Judged]]) -> str:
    """Return the table: each set by label, then its languages."""
    benign = np.array([row.score for rows in by_set.values() for row in rows if row.label == "benign"])
    lines = ["| set, label | n | scan | model | AUC | recall at 1 % | at 0.1 % |", "|---|---|---|---|---|---|---|"]
    for name, rows in by_set.items():
        for label in sorted({row.label for row in rows}):
            of_label = [row for row in rows if row.label == label]
            lines.append(_line(f"{name}, {label}", of_label, benign))
            by_lang = defaultdict(list)
            for row in of_label:
                by_lang[row.lang].append(row)
            several = [lang for lang in sorted(by_lang) if len(by_lang[lang]) >= _FEWEST] if len(by_lang) > 1 else []
            lines += [_line(f"{name}, {label}, {lang}", by_lang[lang], benign) for lang in several]
    return "\n".join(lines)


def main() -> None:
    """Print the table for a folder."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("folder", type=Path)
    options.add_argument("sets", nargs="*", help="names of sets; by default all")
    chosen = options.parse_args()
    model = NgramModel.load()
    by_set = {}
    for path in sorted(chosen.folder.glob("*.jsonl.gz")):
        name = path.name.partition(".")[0]
        if not chosen.sets or name in chosen.sets:
            by_set[name] = [judged(row, model) for row in read_set(path) if row["label"] != "ambiguous"]
    sys.stdout.write(f"{report(by_set)}\n")


if __name__ == "__main__":
    main()
