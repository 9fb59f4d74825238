"""Alerts begin once, are repeated seldom, end with a message, and reach somebody."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from sentinel.errors import ConfigError, OutsideError
from sentinel.monitoring import AlertManager, AppriseChannel, ConsoleChannel

from .results import Clock, result

HIGH, RESOLVED = "High Threat Rate", "Resolved: High Threat Rate"


class Listener:
    """A channel that remembers titles."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.messages: list[str] = []

    def send(self, title: str, message: str) -> None:
        self.titles.append(title)
        self.messages.append(message)


class Deaf:
    """A channel that is down; its error holds what must not be logged."""

    def send(self, title: str, message: str) -> None:
        raise ConnectionError("https://hooks.example/SECRET-TOKEN")


def feed(alerts: AlertManager, pattern: str) -> list[bool]:
    """Check one result for each letter, `x` being unsafe."""
    return [alerts.check_and_alert(result(safe=letter != "x")) for letter in pattern]


@pytest.mark.parametrize(
    ("settings", "pattern", "sent"),
    [
        ({}, "x" * 19, []),  # L7: one unsafe text, or a handful, is no rate
        ({}, "x" * 20, [HIGH]),
        ({}, "x" * 500, [HIGH]),  # L7: not on every further one
        ({}, "xxx......." * 10, [HIGH, RESOLVED]),  # 7 of 20, then exactly the threshold, which is not above it
        ({}, "x" * 20 + "." * 100, [HIGH, RESOLVED]),
        ({}, "." * 100, []),
        ({"window_size": 10}, "x" * 10, [HIGH]),  # a window smaller than the usual minimum is enough when it is full
        ({"window_size": 10}, "x" * 9, []),
        ({"min_samples": 3}, "xx", []),
        ({"min_samples": 3}, "xx.", [HIGH]),
        ({"thresholds": {"threat_rate": 0.9}}, "x" * 18 + "..", []),
        ({"window_size": 20}, "x" * 10 + "." * 10 + "." * 4 + "." * 40, [HIGH, RESOLVED]),  # what leaves the window
    ],
)
def test_one_message_when_it_begins_and_one_when_it_ends(
    settings: dict[str, Any], pattern: str, sent: list[str]
) -> None:
    """L7: no alert from a handful of scans, one while it lasts, and word when it is over."""
    listener = Listener()
    feed(AlertManager(channels=[listener], clock=Clock(), **settings), pattern)
    assert listener.titles == sent


def test_only_the_check_that_sends_an_alert_says_so() -> None:
    """A caller can act on the beginning of an alert; the message that it is over is none."""
    answers = feed(AlertManager(channels=[Listener()], clock=Clock()), "x" * 25 + "." * 100)
    assert [number for number, sent in enumerate(answers, 1) if sent] == [20]


def test_cooldown() -> None:
    """An alert is repeated only after the cooldown, also when the rate fell and rose again in between."""
    clock, listener = Clock(), Listener()
    alerts = AlertManager(window_size=10, cooldown=60, channels=[listener], clock=clock)
    for moment, pattern in ((0, "x" * 10), (30, "." * 10 + "x" * 10), (59, "x"), (61, "x"), (100, "x"), (122, "x")):
        clock.now = moment
        feed(alerts, pattern)
    assert listener.titles == [HIGH, RESOLVED, HIGH, HIGH]


def test_the_message_has_the_figures() -> None:
    """Whoever is woken sees how bad it is, over how many scans, and what the threshold is."""
    listener = Listener()
    feed(AlertManager({"threat_rate": 0.25}, channels=[listener]), "." * 10 + "x" * 10)
    assert listener.messages == ["Threat rate: 50.0% in the last 20 scans, the threshold is 25.0%"]


def test_every_channel_gets_the_message_and_the_backup_only_when_one_fails() -> None:
    """A broken channel costs nobody the alert."""
    first, second, backup = Listener(), Listener(), Listener()
    assert AlertManager(channels=[first, second], backup=backup).send_alert("a", "b")
    assert AlertManager(channels=[Deaf(), second], backup=backup).send_alert("c", "d")
    assert (first.titles, second.titles, backup.titles) == (["a"], ["a", "c"], ["c"])


def test_when_nobody_takes_it_the_scan_goes_on_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """The caller is never stopped; the log names the channel and the kind of error, and no secret."""
    with caplog.at_level(logging.WARNING):
        assert not AlertManager(channels=[Deaf()], backup=Deaf()).send_alert("a", "the message")
    assert caplog.messages == ["Deaf did not take an alert: ConnectionError"] * 2
    assert "SECRET" not in caplog.text


def test_a_subclass_may_send_in_its_own_way() -> None:
    """As in the course material: what overrides `send_alert` gets the alerts."""
    sent: list[str] = []

    class Own(AlertManager):
        def send_alert(self, title: str, message: str) -> bool:
            sent.append(title)
            return True

    feed(Own(thresholds={"threat_rate": 0.3}), "x" * 20)
    assert sent == [HIGH]


def test_threads_share_one() -> None:
    """L7: eight threads at once lose no result and send one alert."""
    listener = Listener()
    alerts = AlertManager(window_size=16_000, min_samples=16_000, channels=[listener], clock=Clock())
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        feed(alerts, "x" * 2000)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result()
    assert listener.messages == ["Threat rate: 100.0% in the last 16000 scans, the threshold is 30.0%"]


def test_results_are_not_kept() -> None:
    """L7: the window holds flags, so nothing of a text stays in memory."""
    one = result(safe=False)
    alerts = AlertManager()
    before = sys.getrefcount(one)
    alerts.check_and_alert(one)
    assert sys.getrefcount(one) == before


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"thresholds": {"threat_rat": 0.3}}, "threat_rat"),
        ({"thresholds": {"threat_rate": 30}}, "threat_rate"),
        ({"thresholds": {"threat_rate": 0}}, "threat_rate"),
        ({"window_size": 10, "min_samples": 11}, "min_samples"),
        ({"min_samples": 0}, "min_samples"),
        ({"window_size": 0}, "min_samples"),
    ],
)
def test_settings_that_could_never_work_are_refused(settings: dict[str, Any], named: str) -> None:
    """An alert that can't fire, or always would, is a mistake to be told at once."""
    with pytest.raises(ConfigError, match=named):
        AlertManager(**settings)


# --- channels


def test_the_console_channel_writes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output stays the application's own."""
    ConsoleChannel().send("Title", "what happened")
    assert capsys.readouterr() == ("", "ALERT: Title\n   what happened\n")


@pytest.fixture
def hook() -> Iterator[Callable[[int], tuple[str, list[bytes]]]]:
    """Give a function that starts a web server which answers with a status, and keeps what it got."""
    servers: list[HTTPServer] = []

    def start(status: int) -> tuple[str, list[bytes]]:
        got: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"json://127.0.0.1:{server.server_port}/hook", got

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated:DeprecationWarning"
)  # apprise's own, on Python 3.11 and 3.12
def test_a_webhook_gets_the_alert(hook: Callable[[int], tuple[str, list[bytes]]]) -> None:
    """Through apprise, as Slack, PagerDuty and mail would; a refusal is an error, so that the backup is used."""
    url, got = hook(200)
    AppriseChannel(url).send("Title", "what happened")
    assert [b"what happened" in body for body in got] == [True]
    url, _ = hook(500)
    with pytest.raises(OutsideError):
        AppriseChannel(url).send("Title", "what happened")


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_an_unreadable_address_is_refused_without_quoting_it() -> None:
    """These addresses hold passwords, so the error names only the class."""
    with pytest.raises(ConfigError) as caught:
        AppriseChannel("nonsense-s3cret")
    assert "s3cret" not in str(caught.value)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base install says what to install."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"\.\[alerts\]"):
        AppriseChannel("json://127.0.0.1/")
