"""What an import says about its end, about when its events were received, and about what could not be judged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sentinel.cli import app
from sentinel.detection import Engine
from sentinel.model import Signal, StoredEvent

from .conftest import Api, S

START = datetime(2025, 12, 31, 12, tzinfo=UTC)
RULES = """
name: failed
logsource: {product: sentinel, category: authentication}
detection: {failed: {success: false}, condition: failed}
---
name: quiet
correlation: {type: event_count, rules: [failed], group-by: [ip_address], timespan: 1m, condition: {lt: 3}}
---
name: busy
correlation: {type: event_count, rules: [failed], group-by: [ip_address], timespan: 1h, condition: {gte: 3}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rules.yml").write_text(RULES)
    return tmp_path


@pytest.fixture
def api(folder: Path) -> Iterator[Api]:
    api = Api(folder / "data", rules_dir=(str(folder / "rules"),))
    yield api
    api.close()


def failure(minutes: float, received_after: float | str | None = None) -> dict[str, Any]:
    at = START + timedelta(minutes=minutes)
    event = {
        "event_type": "authentication",
        "severity": "low",
        "timestamp": at.isoformat(),
        "ip_address": "203.0.113.9",
        "details": {"success": False},
    }
    if isinstance(received_after, float | int):
        event["received_at"] = (at + timedelta(minutes=received_after)).isoformat()
    elif received_after is not None:
        event["received_at"] = received_after
    return event


def imported(api: Api, events: list[dict[str, Any]], **order: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the service says to the events, and at the end."""
    run = api.ask("POST", f"{S}/imports", json=order).json()["import_id"]
    taken = api.ask("POST", f"{S}/imports/{run}/events", content="\n".join(map(json.dumps, events)))
    return taken.json(), api.ask("POST", f"{S}/imports/{run}/finish").json()


@pytest.mark.parametrize(
    ("order", "windows"),
    [({"final": True}, 2), ({}, 2), ({"final": False}, 1)],
    ids=["final", "unless told", "not final"],
)
def test_the_end_of_an_import_closes_its_windows_unless_more_follows(
    api: Api, order: dict[str, Any], windows: int
) -> None:
    """A window that closed while the log went on is judged either way; the open ones only when nothing follows."""
    _, result = imported(api, [failure(0), failure(90)], **order)
    assert [row["rule"] for row in result["signals"]] == ["quiet"] * windows


def test_what_was_left_open_is_judged_when_the_log_goes_on(api: Api) -> None:
    """An answer that is not there yet is not lost."""
    imported(api, [failure(0), failure(90)], final=False)
    imported(api, [failure(200)], final=True)
    assert len(api.get("/signals")["items"]) == 3


@pytest.mark.parametrize(
    ("order", "received_after", "late"),
    [
        ({}, [0, 0, 90], 0),  # nothing is late in a log
        ({"replay": True}, [0, 0, 90], 1),  # by what the service would have said
        ({"replay": True, "lateness_seconds": 6000}, [0, 0, 90], 0),
        ({"replay": True, "lateness_seconds": 60}, [2, 2, 2], 3),
        ({"replay": True, "lateness_seconds": 60}, [None, 0, 0], 0),
    ],
)
def test_a_replay_believes_when_events_were_received(
    api: Api, order: dict[str, Any], received_after: Sequence[float | None], late: int
) -> None:
    """Late events of the first time are late again, and not correlated."""
    events = [failure(minute, after) for minute, after in enumerate(received_after)]
    taken, result = imported(api, events, **order)
    assert (taken["accepted"], taken["late"]) == (3, late)
    assert ("busy" in {row["rule"] for row in result["signals"]}) is (late == 0)


def test_a_replayed_event_is_shown_as_received_when_it_says(api: Api) -> None:
    """What is exported and replayed is the same again."""
    imported(api, [failure(0, 7)], replay=True)
    [event] = api.get("/events")["items"]
    assert event["received_at"] == "2025-12-31T12:07:00Z"


def test_a_time_of_reception_that_is_none_is_refused(api: Api) -> None:
    """The event is named, with the field, and the others are taken."""
    taken, _ = imported(api, [failure(0, "yesterday"), failure(1, 0)], replay=True)
    assert taken["accepted"] == 1
    assert [(row["line"], row["field"]) for row in taken["rejected"]] == [(1, "received_at")]


class _Fragile(Engine):
    def add(self, events: Sequence[StoredEvent]) -> list[Signal]:
        if any(event.event.details.get("poison") for event in events):
            raise ZeroDivisionError
        return super().add(events)


def test_events_that_break_a_rule_are_counted(api: Api) -> None:
    """Whoever imports learns that something was not judged."""
    api.monitor.worker._engine = _Fragile(api.monitor.rules)
    poison = failure(1)
    poison["details"]["poison"] = True
    _, result = imported(api, [failure(0), poison, failure(2), failure(3)])
    assert result["dead_letters"] == 1
    assert "busy" in {row["rule"] for row in result["signals"]}


def ingested(folder: Path, text: str, words: list[str]) -> Any:
    log = folder / "events.json"
    log.write_text(text)
    fixed = ["--format", "json", "--json", "--rules", str(folder / "rules"), "--data-dir", str(folder / "cli")]
    return CliRunner().invoke(app, ["ingest", *([] if "-" in words else [str(log)]), *words, *fixed], input=text)


@pytest.mark.parametrize(
    ("words", "closed"), [([], True), (["--final"], True), (["--no-final"], False)], ids=["file", "final", "no-final"]
)
def test_the_command_says_whether_a_file_ends(folder: Path, words: list[str], closed: bool) -> None:
    """A file ends by itself; --no-final leaves its last windows open."""
    done = ingested(folder, json.dumps(failure(0)) + "\n", words)
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert bool(summary["signals"]) is closed
    assert summary["dead_letters"] == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--follow", "--final"], "what is followed has no end"),
        (["--replay", "--format", "sshd"], "only JSON can say when it was received"),
    ],
)
def test_options_that_exclude_each_other_are_refused(folder: Path, words: list[str], reason: str) -> None:
    """Nothing that was asked for is ignored."""
    (folder / "log").write_text("")
    fixed = [] if "--format" in words else ["--format", "json"]
    done = CliRunner().invoke(app, ["ingest", str(folder / "log"), *words, *fixed, "--data-dir", str(folder / "d")])
    assert done.exit_code != 0
    assert reason in done.output + str(done.exception)
