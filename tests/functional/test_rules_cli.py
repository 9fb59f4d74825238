"""`sentinel rules` beside a running service: changed files reach it, and broken ones don't."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.service import S, Service, eventually

RULE = """
name: failed
logsource: {product: sentinel, category: authentication}
detection: {failed: {success: false}, condition: failed}
"""
OTHER = RULE.replace("name: failed", "name: other")


class Ruled(Service):
    """A service with rules of its own."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.rules = home / "rules"
        self.rules.mkdir()
        (self.rules / "a.yml").write_text(RULE)

    def command(self, *words: str) -> list[str]:
        return super().command(*words, *(["--rules", str(self.rules)] if words[0] == "serve" else []))

    def loaded(self) -> list[str]:
        return [row["rule"] for row in self.ask(f"{S}/rules")["items"]]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Ruled]:
    with Ruled(tmp_path) as service:
        yield service.start()


def test_reload_takes_good_files_and_says_what_is_wrong_with_others(service: Ruled) -> None:
    """The command answers when the rules are in force; of broken ones it names file and line, and the old ones stay."""
    (service.rules / "b.yml").write_text(OTHER)
    done = service.run("rules", "reload")
    assert (done.returncode, done.stdout) == (0, "2 rules are in force\n")
    assert service.loaded() == ["failed", "other"]
    (service.rules / "b.yml").write_text(OTHER.replace("condition: failed", "condition: missing"))
    done = service.run("rules", "reload")
    assert done.returncode == 1
    assert f"{service.rules / 'b.yml'}:4: the condition names the selection 'missing'" in done.stderr
    assert service.loaded() == ["failed", "other"]
    assert service.ask(f"{S}/health")["overall_status"] == "degraded"


def test_a_hangup_signal_reloads(service: Ruled) -> None:
    """SIGHUP means what it means to other daemons, and ends nothing."""
    (service.rules / "b.yml").write_text(OTHER)
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: service.loaded() == ["failed", "other"], seconds=30, what="both rules are in force")


def test_without_a_service_there_is_nothing_to_reload(tmp_path: Path) -> None:
    """The command says so rather than pretend."""
    done = Service(tmp_path).run("rules", "reload")
    assert done.returncode == 4
    assert "no service runs" in done.stderr


def failures(count: int) -> str:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    return "".join(
        f"{start + timedelta(seconds=n):%b %e %H:%M:%S} bastion sshd[{n}]: "
        f"Failed password for root from 203.0.113.66 port {1000 + n} ssh2\n"
        for n in range(count)
    )


def test_a_backtest_over_the_store_says_what_one_over_the_log_says(tmp_path: Path) -> None:
    """The same events give the same answer; and the store is as it was."""
    service = Service(tmp_path)
    log = tmp_path / "auth.log"
    log.write_text(failures(12))
    over_log = service.run("rules", "backtest", "default", str(log), "--format", "sshd", "--json")
    assert over_log.returncode == 0, over_log.stderr
    assert not (tmp_path / "data").exists()
    service.run("ingest", str(log), "--format", "sshd", "--rules", "default")
    over_store = service.run("rules", "backtest", "default", "--json")
    told = json.loads(over_store.stdout)
    assert told == json.loads(over_log.stdout)
    assert [row["value"] for row in told["decisions"]] == ["203.0.113.66"]
    assert json.loads(service.run("rules", "backtest", "default", "--last", "1h", "--json").stdout)["events"] == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["x.log"], "say what kind of log it is"), (["--last", "soon"], "--last: ")],
)
def test_a_backtest_that_is_not_told_enough_says_so(tmp_path: Path, words: list[str], reason: str) -> None:
    """One line, and exit code 2."""
    done = Service(tmp_path).run("rules", "backtest", "default", *words)
    assert done.returncode == 2
    assert reason in done.stderr
