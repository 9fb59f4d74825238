"""
Judges what is shipped, by the sets of a folder.

    python training/evaluate.py ../shared/data/benchmark [SET ...] [--encoder FOLDER]
    python training/evaluate.py training/grammar/kept/written --encoder model/src/sentinel_model

A set is a file of JSON lines (`.jsonl.gz`), or of texts written one by one (`.txt`; see `grammar/written.py`).
Prints one line for each set, label and language: the share that is unsafe by the whole `scan()` at each depth and that
the models alone put at 0.5 or above (a recall for attacks, a false-positive rate for benign texts), with 95 % Wilson
intervals; for attacks the models' area under the curve and their recall at 1 % and 0.1 % false positives, against the
benign texts of all sets together. The models are the n-grams, with an encoder both together. Nothing is learnt or
chosen from what it prints.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from grammar.written import read_written
from numpy.typing import NDArray
from rows import plain, read_set

from sentinel.model import DEPTHS, Depth
from sentinel.scanning.classify.encoder import Encoder
from sentinel.scanning.classify.ngram import NgramModel, Window
from sentinel.scanning.scanner import Scanner

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
    unsafe: Sequence[bool]
    """By depth."""
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


def judged(row: dict[str, Any], model: NgramModel, scanner: Scanner) -> Judged:
    """Return what the scan and the models alone say about a row's text."""
    text = plain(row["text"])
    scores = [score for window in model.windows(text) for score in _scores(text, window, scanner.encoder, model)]
    unsafe = [not scanner.scan(row["text"], depth=depth).is_safe for depth in _depths(scanner)]
    return Judged(row["label"], row["lang"], unsafe, max(scores, default=0.0))


def _scores(text: str, window: Window, encoder: Encoder | None, model: NgramModel) -> tuple[float, float]:
    """Return what the models together say about a window."""
    scores = (window.injection_score, window.jailbreak_score)
    if encoder is None or window.script not in encoder.scripts:
        return scores
    return encoder.judged(text[window.start : window.end], scores, model.worst)


def _depths(scanner: Scanner) -> Sequence[Depth]:
    return ("fast",) if scanner.encoder is None else DEPTHS


def _share(hits: Sequence[bool]) -> str:
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits) / len(hits):.3f} [{low:.3f}, {high:.3f}]"


def _line(name: str, rows: Sequence[Judged], benign: Array) -> str:
    whole = " | ".join(_share(hits) for hits in zip(*(row.unsafe for row in rows), strict=True))
    alone = _share([row.score >= _THRESHOLD for row in rows])
    line = f"| {name} | {len(rows)} | {whole} | {alone} |"
    if rows[0].label not in _ATTACKS or not len(benign):
        return f"{line} | | |"
    attacks = np.array([row.score for row in rows])
    at_one, at_tenth = recall_at(attacks, benign, 0.01), recall_at(attacks, benign, 0.001)
    return f"{line} {area(attacks, benign):.3f} | {at_one:.3f} | {at_tenth:.3f} |"


def report(by_set: dict[str, list[Judged]], depths: Sequence[Depth]) -> str:
    """Return the table: each set by label, then its languages."""
    benign = np.array([row.score for rows in by_set.values() for row in rows if row.label == "benign"])
    whole = " | ".join(f"scan, {depth}" for depth in depths)
    lines = [
        f"| set, label | n | {whole} | models | AUC | recall at 1 % | at 0.1 % |",
        "|---" * (6 + len(depths)) + "|",
    ]
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


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a set that are judged, each with its text, label and language."""
    if path.suffix == ".txt":
        for row in read_written(path):
            yield {"text": row.text, "label": "attack" if row.attack else "benign", "lang": row.lang}
    else:
        yield from (row for row in read_set(path) if row["label"] != "ambiguous")


def main() -> None:
    """Print the table for a folder."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("folder", type=Path)
    options.add_argument("sets", nargs="*", help="names of sets; by default all")
    options.add_argument("--encoder", type=Path, help="a folder with an encoder; by default none is asked")
    chosen = options.parse_args()
    model, scanner = NgramModel.load(), Scanner()
    if chosen.encoder:
        scanner = Scanner(encoder=Encoder.read(chosen.encoder))
    by_set = {}
    for path in sorted([*chosen.folder.glob("*.jsonl.gz"), *chosen.folder.glob("*.txt")]):
        name = path.name.partition(".")[0]
        if not chosen.sets or name in chosen.sets:
            by_set[name] = [judged(row, model, scanner) for row in rows_of(path)]
    sys.stdout.write(f"{report(by_set, _depths(scanner))}\n")


if __name__ == "__main__":
    main()
