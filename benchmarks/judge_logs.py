"""
Judge what imports of small logs find: `python benchmarks/judge_logs.py FOLDER`.

FOLDER holds logs and `expected.json`: for each log the addresses that must have a signal, and the threat types that
must be among the signals. Each log is imported into a data folder of its own. Exit code 1 when something was not found.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SENTINEL = Path(sys.executable).with_name("sentinel")


def log_format(name: str) -> str:
    """The format by the log's name: WordPress's logins were logged by nginx."""
    return next((known for known in ("nginx", "apache", "ssh") if known in name), "nginx").replace("ssh", "sshd")


def signals_of(log: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        command = [SENTINEL, "ingest", log, "--format", log_format(log.stem), "--json", "--data-dir", f"{folder}/data"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    signals: list[dict[str, Any]] = json.loads(done.stdout)["signals"]
    return signals


def main() -> None:
    folder = Path(sys.argv[1])
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    failed = 0
    for name, wanted in expected.items():
        signals = signals_of(folder / f"{name}.log")
        sources = set(wanted["sources_flagged"]) - {signal["subject"] for signal in signals}
        threats = set(wanted["threat_types"]) - {signal["threat_type"] for signal in signals}
        failed += bool(sources or threats)
        missing = ", ".join(sorted(sources | threats))
        print(f"{'missing ' + missing if missing else 'found':40} {name}: {len(signals)} signals")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
