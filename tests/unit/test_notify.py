"""The plan of who is told when: what it may say, and what it means."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sentinel.errors import ConfigError, OutsideError
from sentinel.notify import AppriseChannel, WebhookChannel, default_plan, parse_plan

PLAN = """\
levels:
  - {name: security team, after: 0m, channels: [console]}
  - {name: management, after: 15m, channels: [console, console]}
  - {name: executives, after: 1h, channels: [console]}
"""


@pytest.mark.parametrize(("waited", "levels"), [(0, 1), (899, 1), (900, 2), (3_599, 2), (3_600, 3), (1e9, 3)])
def test_levels_come_due_in_time(waited: float, levels: int) -> None:
    """Management hears of what the team has not taken on in a quarter of an hour, and not before."""
    assert parse_plan(PLAN, "p.yml").due(waited) == default_plan().due(waited) == levels


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (PLAN, "- [", "not YAML"),
        (PLAN, "levels: []", "one to 3"),
        (PLAN, "wake: everybody", "missing: levels; unknown: wake"),
        ("15m", "0m", "later than the one before"),
        ("15m", "soon", "level 2: after is a number and a unit"),
        ("[console, console]", "[]", "level 2: channels"),
        ("[console, console]", "[mailtos://user:s3cret@host]", "level 2: a channel is console"),
        ("[console, console]", "[file:/nowhere/url]", "can't be read"),
        ("name: management, ", "", "level 2: missing: name"),
    ],
)
def test_a_plan_that_makes_no_sense_says_where(old: str, new: str, reason: str) -> None:
    """A mistake shows at the start, not at three in the morning; and no secret of a URL is repeated."""
    with pytest.raises(ConfigError) as caught:
        parse_plan(PLAN.replace(old, new), "p.yml")
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise, on Python 3.11
def test_a_channels_secret_comes_from_a_file(tmp_path: Path) -> None:
    """The URL of a channel holds its secrets, so the plan only names where it lies."""
    (tmp_path / "chat.url").write_text("json://127.0.0.1:9/hook\n")
    plan = parse_plan(PLAN.replace("[console, console]", f"['file:{tmp_path / 'chat.url'}']"), "p.yml")
    assert type(plan.levels[1].channels[0]).__name__ == "AppriseChannel"


class _Hook(BaseHTTPRequestHandler):
    """Answers 204, but 500 at /broken and a redirect at /moved; keeps what it got."""

    def do_POST(self) -> None:
        got = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.path, got))  # type: ignore[attr-defined]
        self.send_response({"/broken": 500, "/moved": 307}.get(self.path, 204))
        self.send_header("Location", "/hook")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    server.got = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_title_and_message(hook: Any, tmp_path: Path) -> None:
    """A chat or a pager without an account at anybody's needs no more than a POST."""
    (tmp_path / "hook.url").write_text(f"webhook:http://127.0.0.1:{hook.server_port}/hook\n")
    plan = parse_plan(PLAN.replace("[console, console]", f"['file:{tmp_path / 'hook.url'}']"), "p.yml")
    plan.levels[1].channels[0].send("CRITICAL: a", "b")
    assert hook.got == [("/hook", {"title": "CRITICAL: a", "message": "b"})]


@pytest.mark.parametrize("path", ["broken", "moved", None])
def test_a_webhook_that_does_not_take_the_message_is_a_failure(hook: Any, path: str | None) -> None:
    """The backup is used then; a redirect is not followed, and the URL, which may hold a secret, is in no message."""
    url = f"http://127.0.0.1:{hook.server_port}/{path}" if path else "http://127.0.0.1:1/s3cret"
    with pytest.raises(OutsideError) as caught:
        WebhookChannel(url).send("a", "b")
    assert "s3cret" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    assert [got for got, _ in hook.got] == ([f"/{path}"] if path else [])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # apprise's own
@pytest.mark.parametrize(("path", "taken"), [("hook", True), ("moved", False)])
def test_a_service_that_moved_is_not_followed(hook: Any, path: str, taken: bool) -> None:
    """By default apprise goes wherever a redirect leads: into the network behind us, if somebody likes."""
    channel = AppriseChannel(f"json://127.0.0.1:{hook.server_port}/{path}")
    if taken:
        channel.send("a", "b")
    else:
        with pytest.raises(OutsideError):
            channel.send("a", "b")
    assert [got for got, _ in hook.got] == [f"/{path}"]


def test_a_webhook_needs_a_url_of_the_web() -> None:
    """A slip such as a missing scheme shows at the start."""
    with pytest.raises(ConfigError):
        WebhookChannel("chat.example.com/s3cret")
