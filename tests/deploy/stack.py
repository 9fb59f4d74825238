"""Sentinel, a real Prometheus, a real Alertmanager and a mail server, by the configuration that we ship."""

from __future__ import annotations

import base64
import email
import email.policy
import json
import re
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

import httpx
from tests.deploy.programs import CONFIG, program
from tests.support.service import S, Service, eventually

__all__ = ["PATIENCE_SECONDS", "Mail", "Stack", "free_port"]

PATIENCE_SECONDS = 60
PASSWORD = "the-mail-password"


class Mail(NamedTuple):
    """A message as it came in, and when (`time.monotonic`)."""

    at: float
    recipients: tuple[str, ...]
    text: str


def _readable(sent: bytes) -> str:
    """Return the subject and the text of a message as people see them."""
    message = email.message_from_bytes(sent, policy=email.policy.default)
    body = message.get_body(("plain",))
    assert isinstance(body, EmailMessage)
    return f"Subject: {message['Subject']}\n\n{body.get_content()}"


class _Smtp(socketserver.StreamRequestHandler):
    """As much of a mail server as Alertmanager needs: it wants a login, and keeps what it gets."""

    server: Mailbox

    def handle(self) -> None:
        recipients: list[str] = []
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            word = line.partition(" ")[0].upper()
            if word == "EHLO":
                self._say("250-here\r\n250 AUTH PLAIN")
            elif word == "AUTH":
                self.server.logins.append(base64.b64decode(line.rpartition(" ")[2]).decode().split("\0")[1:])
                self._say("235 come in")
            elif word == "DATA":
                self._say("354 go on")
                sent = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(Mail(time.monotonic(), tuple(recipients), _readable(sent)))
                self._say("250 kept")
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                if word == "RCPT":
                    recipients.append(line.partition("<")[2].rstrip(">"))
                self._say("250 well")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server on a free port of this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.mails: list[Mail] = []
        self.logins: list[list[str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(command: list[str | Path], log: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block."""
    with log.open("ab") as sink:
        process = subprocess.Popen(list(map(str, command)), stdout=sink, stderr=sink, cwd=folder)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Stack:
    """
    All of it, in a folder of its own. As a context it leaves no process behind.

    Args:
        home: The folder.
        hurried: Whether windows, waits and repetitions of alerts are seconds instead of minutes.
        settings: Of Sentinel.
        as_shipped: Whether even scrapes are as seldom as in the configuration; otherwise there is one a second.
    """

    def __init__(
        self, home: Path, *, hurried: bool = False, as_shipped: bool = False, settings: dict[str, Any] | None = None
    ) -> None:
        self.home = home
        self.settings = settings or {}
        self.hurried = hurried
        self.as_shipped = as_shipped
        self.mailbox = Mailbox()
        self.service = Service(home / "sentinel")
        self._ends = ExitStack()
        self._alertmanager = ExitStack()
        ports = [free_port(), free_port()]
        self.prometheus, self.alertmanager = (f"http://127.0.0.1:{port}" for port in ports)

    def __enter__(self) -> Self:
        try:
            self._ends.callback(self.mailbox.server_close)
            self._ends.callback(self.mailbox.shutdown)
            self._ends.enter_context(self.service)
            settings = {"alertmanager_urls": [self.alertmanager]} | self.settings
            lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
            (self.service.home / "sentinel.toml").write_text("".join(lines))
            self.service.start()
            self.start_alertmanager()
            self._start_prometheus()
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._alertmanager.close()
        self._ends.close()

    # --- the programs

    def start_alertmanager(self) -> None:
        """Start Alertmanager, with the same configuration and the same memory as before."""
        folder = self.home / "alertmanager"
        if not folder.exists():
            shutil.copytree(CONFIG / "alertmanager", folder)
            (folder / "smtp.password").write_text(PASSWORD)
            (folder / "ingest.token").write_text(self.token("ingest"))
            path = folder / "alertmanager.yml"
            text = path.read_text().replace("mail.example.com:587", f"127.0.0.1:{self.mailbox.server_address[1]}")
            text = text.replace("  resolve_timeout", "  smtp_require_tls: false\n  resolve_timeout")
            text = text.replace("http://127.0.0.1:8000", self.service.url)
            if self.hurried:
                text = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", text)
                text = re.sub(r"repeat_interval: \w+", "repeat_interval: 2s", text)
            path.write_text(text)
        command = [
            program("prometheus-alertmanager"),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={self.home / 'alertmanager-data'}",
            f"--web.listen-address={self.alertmanager.removeprefix('http://')}",
            "--cluster.listen-address=",
        ]
        self._alertmanager.enter_context(running(command, self.home / "alertmanager.log", folder))
        self._wait_for(f"{self.alertmanager}/-/ready", "alertmanager.log")

    def stop_alertmanager(self) -> None:
        """End Alertmanager."""
        self._alertmanager.close()

    def _start_prometheus(self) -> None:
        folder = shutil.copytree(CONFIG / "prometheus", self.home / "prometheus")
        (folder / "scraper.token").write_text(self.token("scraper"))
        path = folder / "prometheus.yml"
        text = path.read_text()
        assert "127.0.0.1:8000" in text
        assert "127.0.0.1:9093" in text
        text = text.replace("127.0.0.1:8000", self.service.url.removeprefix("http://"))
        text = text.replace("127.0.0.1:9093", self.alertmanager.removeprefix("http://"))
        path.write_text(text if self.as_shipped else text.replace("15s", "1s"))
        if self.hurried:
            rules = folder / "security_rules.yml"
            hurried = rules.read_text().replace("[5m]", "[15s]").replace("offset 5m", "offset 15s")
            rules.write_text(re.sub(r"for: \w+", "for: 0s", hurried))
        command = [
            program("prometheus"),
            f"--config.file={path}",
            f"--storage.tsdb.path={self.home / 'series'}",
            f"--web.listen-address={self.prometheus.removeprefix('http://')}",
        ]
        self._ends.enter_context(running(command, self.home / "prometheus.log", self.home))
        self._wait_for(f"{self.prometheus}/-/ready", "prometheus.log")
        self.wait(lambda: self.value('up{job="sentinel"} == 1'), "a scrape")

    def _wait_for(self, url: str, log: str) -> None:
        def answers() -> bool:
            try:
                return httpx.get(url, trust_env=False).is_success
            except httpx.HTTPError:
                return False

        try:
            self.wait(answers, url)
        except AssertionError as err:
            raise AssertionError((self.home / log).read_text()[-2000:]) from err

    def wait(self, holds: Any, what: str) -> Any:
        """Return the first true answer."""
        return eventually(holds, seconds=PATIENCE_SECONDS, what=what)

    # --- what can be asked

    def token(self, role: str) -> str:
        """Return a new token of Sentinel's."""
        order = {"role": role, "name": role} | ({"max_severity": "critical"} if role == "ingest" else {})
        answer = self.service.admin().post(f"{self.service.url}{S}/tokens", json=order)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what Prometheus has for an expression now."""
        url = f"{self.prometheus}/api/v1/query?{urlencode({'query': expression})}"
        answer = httpx.get(url, trust_env=False, timeout=30).json()
        assert answer["status"] == "success", (expression, answer)
        found = answer["data"]["result"]
        return found if answer["data"]["resultType"] == "vector" else [{"metric": {}, "value": found}]

    def value(self, expression: str) -> float | None:
        """Return the value of an expression with one answer, or None when there is none."""
        found = self.query(expression)
        assert len(found) < 2, (expression, found)
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """Return the names of the alerts that Prometheus holds for firing."""
        alerts = httpx.get(f"{self.prometheus}/api/v1/alerts", trust_env=False, timeout=30).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def mails(self, *words: str) -> list[Mail]:
        """Return the messages that hold all these words."""
        return [mail for mail in self.mailbox.mails if all(word in mail.text for word in words)]

    def returned(self, alert: str, status: str) -> list[dict[str, Any]]:
        """Return the events that Sentinel has made of one of its own alerts that came back by the webhook."""
        found = self.service.ask(f"{S}/events?event_type=audit_log&limit=500")["items"]
        told = [event["details"] for event in found]
        return [each for each in told if (each.get("alert"), each.get("status")) == (alert, status)]
