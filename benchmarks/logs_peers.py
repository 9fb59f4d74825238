"""
`sentinel ingest` beside fail2ban-regex and crowdsec: the same sshd log, one after the other, in one run.

Each is timed from its start to its end, as a person would: reading the log, and for `sentinel` and crowdsec storing and
judging it too. Memory is the largest resident set of the process and its children. LABELS says in each line what an
address is, `address,kind`; the table tells how many of each kind were flagged. fail2ban-regex only reads lines, so what
it would ban is worked out from the addresses it finds: five failures in ten minutes, its own default.
crowdsec runs as it is installed, with a copy of its database and without the service outside; its API is a process of
its own, which is not counted.
A program that is not installed is said so.

    python benchmarks/logs_peers.py LOG LABELS [--json] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

FILTER = Path("/etc/fail2ban/filter.d/sshd.conf")
CROWDSEC = Path("/etc/crowdsec/config.yaml")
API_PORT = 8080  # in its configuration as it is installed
WINDOW_SECONDS, FAILURES = 600.0, 5
LOUD = {"medium", "high", "critical"}


@dataclass
class Run:
    """What one program did with the log."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    flagged: set[str] = field(default_factory=set)


def timed(command: list[str], **options: Any) -> tuple[Run, str]:
    """Return what a program cost, and what it printed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=out, **({"stderr": subprocess.DEVNULL} | options))
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{command[0]} ended with exit code {process.returncode}")
        out.seek(0)
        return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), out.read()


def sentinel(log: Path) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(sys.executable).with_name("sentinel")
        run, printed = timed([str(program), "ingest", str(log), "--format", "sshd", "--json", "--data-dir", folder])
    summary = json.loads(printed)
    run.flagged = {row["subject"] for row in summary["signals"] if row["severity"] in LOUD}
    return run


def fail2ban(log: Path) -> Run:
    run, _ = timed(["fail2ban-regex", str(log), str(FILTER)])
    _, rows = timed(["fail2ban-regex", "-o", "row", str(log), str(FILTER)])  # slower, so not the one that is timed
    run.flagged = banned(found(rows))
    return run


def found(rows: str) -> Iterable[tuple[str, float]]:
    """Address and time of each failure; a row is `[address, time, {what the filter took out}],` and a comment."""
    for row in rows.splitlines():
        parts = row.lstrip("[").split(",", 2)
        if len(parts) == 3:
            yield parts[0].strip(" '\""), float(parts[1])


def banned(failures: Iterable[tuple[str, float]]) -> set[str]:
    """Return the addresses with enough failures within the window."""
    times: dict[str, list[float]] = {}
    for address, at in failures:
        times.setdefault(address, []).append(at)
    return {
        address
        for address, at in times.items()
        if any(
            later - first < WINDOW_SECONDS for first, later in zip(sorted(at), sorted(at)[FAILURES - 1 :], strict=False)
        )
    }


def crowdsec(log: Path) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        config = isolated(Path(folder))
        api = subprocess.Popen(
            ["crowdsec", "-c", str(config), "-no-cs"], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        try:
            reachable("127.0.0.1", API_PORT)
            command = ["crowdsec", "-c", str(config), "-dsn", f"file://{log}", "-type", "syslog", "-no-api"]
            run, printed = timed(command, stderr=subprocess.STDOUT)
        finally:
            api.terminate()
            api.wait()
    run.flagged = {ip for line in printed.splitlines() if " performed 'crowdsecurity" in line for ip in ips(line)}
    return run


def isolated(folder: Path) -> Path:
    """Return a configuration with a database of its own, and without the service outside."""
    settings = yaml.safe_load(CROWDSEC.read_text(encoding="utf-8"))
    database = folder / "crowdsec.db"
    shutil.copy(settings["db_config"]["db_path"], database)  # its machine is known there
    settings["db_config"]["db_path"] = str(database)
    settings["common"] |= {"log_media": "stdout", "daemonize": False}
    settings["api"]["server"].pop("online_client", None)
    settings["prometheus"] = {"enabled": False}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def reachable(host: str, port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("crowdsec's API does not answer")


def ips(line: str) -> Iterable[str]:
    """`... msg="Ip 192.0.2.1 performed 'crowdsecurity/ssh-bf' (6 events over 5s) at ..."`."""
    before = line.partition(" performed ")[0].split()
    return before[-1:]


PEERS: dict[str, tuple[str, Callable[[Path], Run]]] = {
    "sentinel": (sys.executable, sentinel),
    "fail2ban-regex": ("fail2ban-regex", fail2ban),
    "crowdsec": ("crowdsec", crowdsec),
}


def row(name: str, run: Run, lines: int, labels: dict[str, str]) -> dict[str, Any]:
    kinds = Counter(labels.values())
    hits = Counter(labels[address] for address in run.flagged & labels.keys())
    return {
        "program": name,
        "lines_per_second": round(lines / run.seconds),
        **{key: round(value, 1) for key, value in asdict(run).items() if key != "flagged"},
        **{kind: f"{hits[kind]}/{amount}" for kind, amount in sorted(kinds.items())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=1, help="the quickest of so many counts")
    arguments = parser.parse_args()
    with arguments.log.open("rb") as log:
        lines = sum(1 for _ in log)
    pairs = (line.partition(",") for line in arguments.labels.read_text(encoding="utf-8").splitlines())
    labels = {address: kind for address, _, kind in pairs}
    rows: list[dict[str, Any]] = []
    for name, (program, measure) in PEERS.items():
        if shutil.which(program) is None:
            print(f"{name}: not installed, left out", file=sys.stderr)
            continue
        runs = [measure(arguments.log) for _ in range(arguments.runs)]
        rows.append(row(name, min(runs, key=lambda run: run.seconds), lines, labels))
        if any(run.flagged != runs[0].flagged for run in runs):
            print(f"{name}: flagged other addresses from run to run", file=sys.stderr)
    if arguments.json:
        print(json.dumps(rows))
        return
    widths = {key: max(len(key), *(len(str(each[key])) for each in rows)) for key in rows[0]}
    for each in [{key: key for key in widths}, *rows]:
        print("  ".join(str(each[key]).rjust(width) for key, width in widths.items()))


if __name__ == "__main__":
    main()
