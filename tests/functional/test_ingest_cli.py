"""`sentinel ingest` as people call it: several files, other formats, and logs that grow."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.service import Service, eventually

ATTACKER = "203.0.113.66"
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)  # one hour: one decision


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as service:
        yield service


def failures(count: int, first: int = 0) -> str:
    """Lines of one brute force, two seconds apart."""
    return "".join(
        f"{START + timedelta(seconds=2 * n):%b %e %H:%M:%S} bastion sshd[{n}]: "
        f"Failed password for root from {ATTACKER} port {1000 + n} ssh2\n"
        for n in range(first, first + count)
    )


def told(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    assert done.returncode == code, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def test_rotated_and_compressed_parts_are_one_log(service: Service, tmp_path: Path) -> None:
    """Parts in any order are read oldest first; together they show what none of them shows alone."""
    (tmp_path / "auth.log.2.gz").write_bytes(gzip.compress(failures(6).encode()))
    (tmp_path / "auth.log.1").write_text(failures(6, first=6))
    (tmp_path / "auth.log").write_text("what is this\n" + failures(6, first=12))
    names = [str(tmp_path / name) for name in ("auth.log", "auth.log.1", "auth.log.2.gz")]
    done = service.run("ingest", *names, "--format", "sshd", "--json")
    summary = told(done)
    assert (summary["lines"], summary["events"], summary["unknown_lines"]) == (19, 18, 1)
    assert {row["subject"] for row in summary["signals"]} == {ATTACKER}
    assert "1 lines were not understood, the first at line 13" in done.stderr
    again = told(service.run("ingest", *reversed(names), "--format", "sshd", "--json"))
    assert (again["events"], again["duplicates"], again["signals"]) == (0, 18, [])


@pytest.mark.parametrize(
    ("log_format", "lines", "options", "found"),
    [
        (
            "nginx",
            [f'{ATTACKER} - - [{{at:%d/%b/%Y:%H:%M:%S}} +0000] "GET /..%2f..%2fetc/hosts HTTP/1.1" 404 9'] * 3,
            [],
            (ATTACKER, "suspicious_patterns"),
        ),
        (
            "apache",
            [f'a.example:80 {ATTACKER} - - [{{at:%d/%b/%Y:%H:%M:%S}} +0000] "GET / HTTP/1.1" 200 9 "-" "sqlmap/1.7"'],
            [],
            (ATTACKER, "automated_attack"),
        ),
        (
            "json",
            ['{{"when": "{at:%Y-%m-%dT%H:%M:%SZ}", "operation": "config_change", "user": "erin"}}'],
            ["--logsource", "product=shop,service=admin", "--time-field", "when"],
            ("admin", "insider_threat"),
        ),
    ],
)
def test_every_format_leads_to_signals(
    service: Service, log_format: str, lines: list[str], options: list[str], found: tuple[str, str]
) -> None:
    """Each kind of log is read by its name, and the shipped rules know its events."""
    log = service.home / "some.log"
    log.write_text("\n".join(line.format(at=START) for line in lines) + "\n")
    summary = told(service.run("ingest", str(log), "--format", log_format, "--json", *options))
    assert summary["events"] == len(lines)
    assert found in {(row["subject"], row["threat_type"]) for row in summary["signals"]}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["none.log", "--format", "nginx"], "none.log: can't be read"),
        (["none.log", "--format", "nginx", "--logsource", "product=aws"], "--logsource: only JSON"),
        (["none.log", "--format", "json", "--logsource", "aws"], "--logsource: write it like"),
        (["a", "b", "--format", "nginx", "--follow"], "--follow: one file"),
        (["-", "--format", "nginx", "--follow"], "FILES: standard input"),
        (["-", "b", "--format", "nginx"], "FILES: standard input"),
    ],
)
def test_wrong_usage_is_told_in_one_line(service: Service, words: list[str], reason: str) -> None:
    """Exit code 2, and a line that names the option."""
    done = service.run("ingest", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr


def test_a_growing_log_is_followed_through_a_rotation(service: Service) -> None:
    """What is written is acted on without --act; no line is lost or read twice, and SIGTERM ends in the summary."""
    service.start()
    log = service.home / "auth.log"
    log.write_text(failures(5))
    words = service.command("ingest", str(log), "--format", "sshd", "--follow", "--json")
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **service.surroundings
    ) as follower:
        try:
            with log.open("a") as file:
                file.write(failures(7, first=5))
            eventually(lambda: blocked(service), seconds=30, what="the attacker is blocked")
            log.rename(service.home / "auth.log.1")
            log.write_text(failures(3, first=12))
            eventually(lambda: stored(service) == 15, seconds=30, what="the new file is read")
        finally:
            follower.send_signal(signal.SIGTERM)
            output, errors = follower.communicate(timeout=30)
    assert follower.returncode == 0, errors
    summary = json.loads(output)
    assert (summary["lines"], summary["events"], summary["duplicates"]) == (15, 15, 0)
    assert [(row["value"], row["effective"]) for row in summary["decisions"]] == [(ATTACKER, True)]
    assert f"Failed logins from one address within a minute: {ATTACKER}" in errors


def blocked(service: Service) -> bool:
    shown = json.loads(service.run("blocks", "list", "--json").stdout)
    return [block["ip_address"] for block in shown["ip_blocks"]] == [ATTACKER]


def stored(service: Service) -> int:
    return len(service.ask("/api/v1/security/events?limit=500")["items"])
