"""
Judge what an import found in a labelled authentication log: `python benchmarks/judge_auth.py OUTPUT LABELS [...]`.

OUTPUT is what `sentinel ingest --json` printed, LABELS says which subjects must be flagged (`flag`, within six hours of
their first line), which must not be (`benign`), and which may be noticed but never blocked (`tolerate`). Several pairs
make one table. Exit code 1 when a subject was misjudged.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

SOON = timedelta(hours=6)
LOUD = {"medium", "high", "critical"}


def found(output: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The signals of medium and above of each subject, earliest first."""
    signals: dict[str, list[dict[str, Any]]] = {}
    for signal in sorted(output["signals"], key=lambda signal: signal["first"]):
        if signal["severity"] in LOUD and signal["threat_type"]:
            signals.setdefault(signal["subject"], []).append(signal)
    return signals


def verdict(expect: str, first: str, signals: list[dict[str, Any]], blocked: bool) -> str:
    """What became of one subject: `right`, or what is wrong."""
    if expect == "flag":
        if not signals:
            return "missed"
        late = datetime.fromisoformat(signals[0]["first"]) - datetime.fromisoformat(first) > SOON
        return "too late" if late else "right"
    if blocked:
        return "blocked"
    return "accused" if expect == "benign" and signals else "right"


def judge(output: dict[str, Any], labels: dict[str, Any]) -> Counter[tuple[str, ...]]:
    """Count subjects by kind, expectation, verdict, the rules that found them, and the action on them."""
    signals = found(output)
    actions = {row["value"]: row["action"] for row in output["decisions"]}
    table: Counter[tuple[str, ...]] = Counter()
    for subject, label in labels["subjects"].items():
        mine = signals.get(subject, [])
        told = verdict(label["expect"], label["first"], mine, actions.get(subject) == "ip_block")
        rule = mine[0]["rule"] if mine else "-"
        table[label["kind"], label["expect"], told, rule, actions.get(subject, "-")] += 1
    return table


def read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def main() -> None:
    total: Counter[tuple[str, ...]] = Counter()
    for output, labels in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        total += judge(read(output), read(labels))
    print("subjects  kind, expected, verdict, first rule, action")
    for row, count in sorted(total.items()):
        print(f"{count:8}  {', '.join(row)}")
    sys.exit(any(row[2] != "right" for row in total))


if __name__ == "__main__":
    main()
