"""Where alerts go: Alertmanager's own tool reads our configuration, and a real one obeys it."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml
from tests.deploy.programs import CONFIG, program

FILE = CONFIG / "alertmanager" / "alertmanager.yml"
SHIPPED = yaml.safe_load(FILE.read_text())


def amtool(*arguments: str) -> str:
    done = subprocess.run([program("amtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_amtool_accepts_the_configuration() -> None:
    """Alertmanager would not start with a file that its tool refuses; the templates are read too."""
    assert "1 templates" in amtool("check-config", str(FILE))


@pytest.mark.parametrize(
    ("severity", "receiver"),
    [
        ("critical", "security-critical"),
        ("high", "security-high"),
        ("medium", "security-medium"),
        ("low", "security-low"),
        ("HIGH", "security-team"),
        ("warning", "security-team"),
    ],
)
def test_each_severity_goes_to_its_people(severity: str, receiver: str) -> None:
    """The four words of our rules have routes of their own; any other word reaches the team all the same."""
    arguments = (f"--config.file={FILE}", f"--verify.receivers={receiver}", "alertname=Any", f"severity={severity}")
    assert amtool("config", "routes", "test", *arguments).splitlines()[0] == receiver


def test_the_tree_is_that_of_the_contract() -> None:
    """How long is waited, and how soon told again: the guide's figures."""
    root = SHIPPED["route"]
    assert (root["receiver"], root["group_by"]) == ("security-team", ["alertname", "severity"])
    assert (root["group_wait"], root["group_interval"], root["repeat_interval"]) == ("30s", "5m", "1h")
    waits = {route["receiver"]: (route.get("group_wait"), route["repeat_interval"]) for route in root["routes"]}
    assert waits["security-critical"] == ("10s", "5m")
    assert waits["security-high"] == ("30s", "15m")
    assert waits.keys() == {f"security-{word}" for word in ("critical", "high", "medium", "low")}


def values(found: Any, *path: str) -> list[tuple[str, Any]]:
    if isinstance(found, dict):
        return [pair for key, inner in found.items() for pair in values(inner, *path, str(key))]
    if isinstance(found, list):
        return [pair for inner in found for pair in values(inner, *path)]
    return [(".".join(path), found)]


def test_secrets_are_in_files_and_the_subject_is_a_header() -> None:
    """The configuration may be read by anybody, and `subject` under email_configs is not taken at all."""
    for path, _ in values(SHIPPED):
        key = path.rpartition(".")[2]
        assert key.endswith("_file") or not any(word in key for word in ("password", "credentials", "secret")), path
    mails = [mail for receiver in SHIPPED["receivers"] for mail in receiver.get("email_configs", [])]
    assert len(mails) == 4
    assert all("{{ template" in mail["headers"]["Subject"] for mail in mails)


def test_every_receiver_reaches_our_webhook_with_a_token_and_hears_of_the_end() -> None:
    """What people were told stands beside the events that it is about."""
    for receiver in SHIPPED["receivers"]:
        [hook] = receiver["webhook_configs"]
        assert hook["url"].endswith("/api/v1/security/alerts/webhook")
        assert hook["http_config"]["authorization"] == {"credentials_file": "ingest.token"}
        assert hook["send_resolved"]
