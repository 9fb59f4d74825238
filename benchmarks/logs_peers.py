"""
`sentinel ingest` beside fail2ban-regex and crowdsec: the same sshd log, in turns, in one run.

Without a log one is made: fast and slow guessers, some who try many names, and people who mistype. Each is timed from
its start to its end, as a person would: reading the log, and for `sentinel` and crowdsec storing and judging it too.
Memory is the largest resident set of the process and its children. LABELS says in each line what an address is,
`address,kind`; the table tells how many of each kind were flagged. fail2ban-regex only reads lines, so what it would
ban is worked out from the addresses it finds: five failures in ten minutes, its own default. crowdsec runs as it is
installed, with a copy of its database and without the service outside; its API is a process of its own, which is not
counted; before it is installed, put a non-empty /etc/crowdsec/online_api_credentials.yaml there, or its installation
registers with that service. A program that is not installed is said so. Of several runs the quickest is told, with the
pace of all, and whether each led to the same: `sentinel` to the same signals in every particular, the others to the
same addresses.

    python benchmarks/logs_peers.py [LOG LABELS] [--json] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

FILTER = Path("/etc/fail2ban/filter.d/sshd.conf")
CROWDSEC = Path("/etc/crowdsec/config.yaml")
API_PORT = 8080  # in its configuration as it is installed
WINDOW_SECONDS, FAILURES = 600.0, 5
LOUD = {"medium", "high", "critical"}
LINES = 200_000
RUNS = 3
KINDS = {"fast": (40, 0.55), "slow": (200, 0.05), "names": (20, 0.25), "people": (150, 0.15)}
"""How many addresses of each kind, and their share of the attempts."""


@dataclass
class Run:
    """What one program did with the log."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    flagged: set[str] = field(default_factory=set)
    led_to: object = None
    """What must be the same in each run."""


# --- a log of our own


def log_lines(lines: int) -> Iterator[str]:
    """Yield so many lines in order of time, over ten days that end now."""
    dice = random.Random(3)
    span = 10 * 86_400
    begin = datetime.now(UTC) - timedelta(seconds=span)
    attempts = []
    for _ in range(lines // 2):
        kind = dice.choices(list(KINDS), [share for _, share in KINDS.values()])[0]
        number = dice.randrange(KINDS[kind][0])
        at = number * span / KINDS[kind][0] + dice.uniform(0, 3600) if kind == "fast" else dice.uniform(0, span)
        attempts.append((at, kind, number))
    told = (line for attempt in sorted(attempts) for line in _told(dice, begin, *attempt))
    return (line for line, _ in zip(told, range(lines), strict=False))


def _told(dice: random.Random, begin: datetime, at: float, kind: str, number: int) -> Iterator[str]:
    """Yield what sshd writes of one attempt."""
    start = f"{begin + timedelta(seconds=at):%b %e %H:%M:%S} gate sshd[{dice.randrange(1000, 32_000)}]: "
    origin = f"{address_of(kind, number)} port {dice.randrange(1024, 65_536)}"
    user = f"name{dice.randrange(5000)}" if kind == "names" else dice.choice(["root", "admin", "deploy", "git"])
    if kind == "names":
        yield f"{start}Invalid user {user} from {origin}"
    known = "invalid user " if kind == "names" else ""
    done = "Accepted" if kind == "people" and dice.random() < 0.8 else "Failed"
    yield f"{start}{done} password for {known}{user} from {origin} ssh2"
    yield f"{start}Connection closed by {origin} [preauth]"


def address_of(kind: str, number: int) -> str:
    return f"198.51.{100 + list(KINDS).index(kind)}.{number}"


def write_log(folder: Path, lines: int) -> tuple[Path, Path]:
    log, labels = folder / "auth.log", folder / "labels.csv"
    log.write_text("\n".join(log_lines(lines)) + "\n", encoding="utf-8")
    pairs = (f"{address_of(kind, number)},{kind}" for kind, (size, _) in KINDS.items() for number in range(size))
    labels.write_text("\n".join(pairs) + "\n", encoding="utf-8")
    return log, labels


# --- the programs


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
    run.led_to = sorted(json.dumps(row, sort_keys=True) for row in summary["signals"])
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


def row(name: str, runs: list[Run], lines: int, labels: dict[str, str]) -> dict[str, Any]:
    kinds = Counter(labels.values())
    quickest = min(runs, key=lambda run: run.seconds)
    hits = Counter(labels[address] for address in quickest.flagged & labels.keys())
    return {
        "program": name,
        "lines_per_second": round(lines / quickest.seconds),
        "of_all_runs": " ".join(str(round(lines / run.seconds)) for run in runs),
        "seconds": round(quickest.seconds, 1),
        "cpu_seconds": round(min(run.cpu_seconds for run in runs), 1),
        "peak_mb": round(max(run.peak_mb for run in runs), 1),
        "same": all(what(run) == what(runs[0]) for run in runs),
        **{kind: f"{hits[kind]}/{amount}" for kind, amount in sorted(kinds.items())},
    }


def what(run: Run) -> object:
    return run.flagged if run.led_to is None else run.led_to


def measure(log: Path, labels: Path, runs: int) -> list[dict[str, Any]]:
    """Return a row for each program that is installed; they take turns."""
    with log.open("rb") as opened:
        lines = sum(1 for _ in opened)
    pairs = (line.partition(",") for line in labels.read_text(encoding="utf-8").splitlines())
    known = {address: kind for address, _, kind in pairs}
    there = {name: run for name, (program, run) in PEERS.items() if shutil.which(program)}
    for name in PEERS.keys() - there.keys():
        print(f"{name}: not installed, left out", file=sys.stderr)
    turns = [{name: run(log) for name, run in there.items()} for _ in range(runs)]
    return [row(name, [turn[name] for turn in turns], lines, known) for name in there]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, nargs="?")
    parser.add_argument("labels", type=Path, nargs="?")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=RUNS, help="how often each has its turn")
    arguments = parser.parse_args()
    if arguments.log and not arguments.labels:
        parser.error("a log needs labels")
    with tempfile.TemporaryDirectory() as folder:
        log, labels = (arguments.log, arguments.labels) if arguments.log else write_log(Path(folder), LINES)
        rows = measure(log, labels, arguments.runs)
    if arguments.json:
        print(json.dumps(rows))
        return
    widths = {key: max(len(key), *(len(str(each[key])) for each in rows)) for key in rows[0]}
    for each in [{key: key for key in widths}, *rows]:
        print("  ".join(str(each[key]).rjust(width) for key, width in widths.items()))


if __name__ == "__main__":
    main()
