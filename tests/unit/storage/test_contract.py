"""Tests of sentinel.storage.contract: the tables that programs outside read."""

from __future__ import annotations

import json
import sqlite3
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from tests.support.stored import read

import sentinel.storage
from sentinel.detection.incidents import incident_of
from sentinel.model import ActionStatus, ActionType, Event, EventType, Severity, Signal, SubjectType, micros
from sentinel.storage import SYSTEM, Action, Outcome, Pending, backup, restore
from sentinel.storage.contract import contract_rows, row_id

START = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = ("audit_log", "security_violations", "data_access_log")


def pending(kind: EventType, number: int = 0, cap: Severity = Severity.CRITICAL, **fields: Any) -> Pending:
    """An event of somebody, with these details unless other fields are given."""
    about = {name: fields.pop(name) for name in ("severity", "user_id", "event_id") if name in fields}
    event = Event(
        event_type=kind,
        timestamp=START + timedelta(seconds=number),
        **{"event_id": f"{kind}-{number}", "severity": Severity.MEDIUM, "user_id": "ann"} | about,  # type: ignore[arg-type]
        session_id="s1",
        service_name="orders",
        ip_address="203.0.113.9",
        user_agent="curl",
        details=fields,
    )
    at = micros(event.timestamp)
    return Pending(
        event=event, at=at, received_at=at, late=False, origin="t", max_severity=cap, may_act=False, effects=True
    )


def rows(place: Path | str, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    return read(place, f"SELECT {columns} FROM {table} ORDER BY seq")


ONE_OF_EACH = [
    pending(
        EventType.DATA_ACCESS,
        access_type="select",
        table_name="orders",
        row_count=12,
        sensitive=True,
        access_pattern="scan",
        response_time_ms=1.5,
    ),
    pending(EventType.DATA_ACCESS, 1, access_type=5, row_count="many", sensitive="true", response_time_ms=None),
    pending(
        EventType.AUDIT_LOG,
        operation="update",
        table_name="orders",
        row_id="7",
        old_values={"a": 1, "b": None},
        new_values={"a": True, "b": "ü"},
        changed_fields=["a", "b"],
        security_context={"role": "admin"},
    ),
    pending(EventType.AUDIT_LOG, 1, operation="config_change", key="k", old=[1], new=None),
    pending(EventType.AUDIT_LOG, 2, operation="rls_violation", table_name="orders"),
    pending(EventType.AUDIT_LOG, 3, foreign={"deep": [1, {"x": "y"}]}),
    pending(EventType.SECURITY_VIOLATION, severity=Severity.CRITICAL, violation_type="breach", blocked=True),
    pending(EventType.SECURITY_VIOLATION, 1, cap=Severity.HIGH, severity=Severity.CRITICAL),
    pending(EventType.THREAT_DETECTION, threat_type="brute_force"),
    pending(EventType.THREAT_DETECTION, 1, status="resolved"),
    pending(EventType.AUTHORIZATION, granted=False, action="delete", violation_type="tenant"),
    pending(EventType.AUTHORIZATION, 1, severity=Severity.LOW, granted=False, violation_type="role"),
    pending(EventType.AUTHORIZATION, 2, severity=Severity.LOW, granted=False),
    pending(EventType.AUTHORIZATION, 3, granted=True, violation_type="role"),
    pending(EventType.TOOL_EXECUTION, tool_name="shell", success=False, sandbox_violation="network"),
    pending(EventType.TOOL_EXECUTION, 1, tool_name="shell", success=True, sandbox_violation=False),
    pending(EventType.AUTHENTICATION, success=False, violation_type="x", sandbox_violation="y"),
]


def test_each_event_fills_its_table(on_store: Any, place: Path | str) -> None:
    """Accesses, changes and violations are there as soon as their event is, and other events leave no row."""
    on_store(lambda store: store.accept(ONE_OF_EACH))
    accesses = rows(place, "data_access_log", "access_type, table_name, row_count, sensitive_data_accessed")
    assert accesses == [("select", "orders", 12, 1), (None, None, None, 0)]
    changes = rows(place, "audit_log", "operation, table_name, old_values, new_values, changed_fields")
    assert [(row[0], row[1], *(value and json.loads(value) for value in row[2:])) for row in changes] == [
        ("update", "orders", {"a": 1, "b": None}, {"a": True, "b": "ü"}, ["a", "b"]),
        ("config_change", None, {"k": [1]}, {"k": None}, ["k"]),
        ("rls_violation", "orders", None, None, None),
        ("event", None, None, None, None),
    ]
    violations = rows(place, "security_violations", "violation_type, severity, attempted_operation, blocked")
    assert violations == [
        ("rls_violation", "medium", None, 1),
        ("breach", "critical", None, 1),
        ("other", "high", None, 0),  # as far as who sent it may go
        ("brute_force", "medium", None, 0),
        ("tenant", "medium", "delete", 1),
        ("role", "low", None, 1),
        ("network", "medium", "shell", 1),
    ]
    [who] = set(
        rows(place, "security_violations", "user_id, session_id, ip_address, user_agent, resolved, resolved_at")
    )
    assert who == ("ann", "s1", "203.0.113.9", "curl", 0, None)


def test_what_is_sent_again_has_one_row(on_store: Any, place: Path | str) -> None:
    """In the same request, in the next, and after a restart."""
    on_store(lambda store: store.accept([*ONE_OF_EACH, *ONE_OF_EACH]))
    before = [rows(place, table) for table in TABLES]
    on_store(lambda store: store.accept(ONE_OF_EACH))
    assert [rows(place, table) for table in TABLES] == before
    assert [len(found) for found in before] == [4, 7, 2]


def test_a_rows_id_is_a_uuid_that_the_event_alone_decides() -> None:
    """So the same import elsewhere, or again after a loss, gives the same ids."""
    assert row_id("e1") == row_id("e1") != row_id("e2")
    assert (uuid.UUID(row_id("e1")).version, str(uuid.UUID(row_id("e1")))) == (8, row_id("e1"))


@pytest.mark.parametrize("value", [2**70, -(2**70), 1.5, True, "7", None, [], {}])
def test_no_number_of_a_sender_spoils_its_batch(on_store: Any, place: Path | str, value: Any) -> None:
    """Details hold anything; what is no whole number that fits is no number."""
    item = pending(EventType.DATA_ACCESS, row_count=value, response_time_ms=value)
    on_store(lambda store: store.accept([item]))
    assert rows(place, "data_access_log", "row_count") == [(None,)]


def test_rows_stand_for_their_events(on_store: Any, place: Path | str) -> None:
    """`seq` leads from a row to its event, also where other events lie between."""
    others = [pending(EventType.AUTHENTICATION, n, success=True) for n in range(50)]
    on_store(lambda store: store.accept([*others, *ONE_OF_EACH]))
    for table in TABLES:
        pairs = read(place, f"SELECT event_id, {table}.id FROM {table} JOIN events USING (seq)")
        assert pairs
        assert all(row_id(event_id) == found for event_id, found in pairs)
    assert contract_rows(1, others) == {}


def migrate(path: Path, revision: str) -> None:
    """Bring a closed store to another version, as Alembic's own command does."""
    config = Config()
    config.set_main_option("script_location", str(Path(sentinel.storage.__file__).with_name("migrations")))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.upgrade if revision == "head" else command.downgrade)(config, revision)
    engine.dispose()


def test_the_way_down_and_up_again_keeps_every_row(on_file: Any, path: Path) -> None:
    """An older version finds its tables whole; the newer one makes the rows again from the events, to the letter."""
    block = Action(
        id="a",
        key="k",
        action_type=ActionType.IP_BLOCK,
        target="203.0.113.9",
        reason="r",
        evidence={},
        severity=Severity.HIGH,
        status=ActionStatus.ACTIVE,
        created_at=10,
        expiration=1000,
        auto=True,
        created_by=SYSTEM,
    )
    on_file(lambda store: store.accept(ONE_OF_EACH))
    on_file(lambda store: store.apply(Outcome(position=len(ONE_OF_EACH), actions=[block])))
    before = {table: rows(path, table) for table in TABLES}
    events, actions = rows(path, "events"), rows(path, "security_actions", "id AS seq, status, change_seq")
    migrate(path, "0007")
    connection = sqlite3.connect(path)
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    columns = [row[1] for row in connection.execute("PRAGMA table_xinfo(security_actions)")]
    connection.close()
    assert not names & set(TABLES)
    assert "success" not in columns
    assert rows(path, "events") == events
    assert rows(path, "security_actions", "id AS seq, status, change_seq") == actions
    migrate(path, "head")
    assert {table: rows(path, table) for table in TABLES} == before
    assert on_file(lambda store: store.actions_in_force(500)) == [block.__class__(**_changed(block, change_seq=1))]


def test_an_incident_lists_its_signals_for_an_older_version(on_file: Any, path: Path) -> None:
    """The way down writes the list that was kept there, the way up counts it."""
    signals = [
        Signal(
            id=name,
            rule="r",
            rule_hash="r",
            title="r",
            subject="x",
            subject_type=SubjectType.IP,
            group={},
            severity=Severity.LOW,
            threat_type=None,
            confidence=1,
            bucket=0,
            first=first,
            last=first,
            count=1,
            may_act=True,
        )
        for name, first in (("s", 2), ("t", 1))
    ]
    incident = incident_of(signals)
    outcome = Outcome(position=0, signals=signals, incidents=[incident], incident_of=dict.fromkeys("st", incident.id))
    on_file(lambda store: store.apply(outcome))
    migrate(path, "0011")
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT signals FROM incidents").fetchall() == [('["t","s"]',)]
    connection.close()
    migrate(path, "head")
    assert on_file(lambda store: store.list_incidents(10)) == [incident]


@pytest.mark.parametrize("version", ["0007", "head"])
def test_a_backup_holds_them(on_file: Any, path: Path, tmp_path: Path, version: str) -> None:
    """Brought back elsewhere every row is there, also from a backup of the version before them."""
    on_file(lambda store: store.accept(ONE_OF_EACH))
    before = {table: rows(path, table) for table in TABLES}
    migrate(path, version)
    backup(path, tmp_path / "copy.db")
    path.unlink()
    assert restore(tmp_path / "copy.db", path) is None
    on_file(lambda store: store.probe())
    assert {table: rows(path, table) for table in TABLES} == before


def _changed(action: Action, **fields: Any) -> dict[str, Any]:
    return {name: getattr(action, name) for name in action.__struct_fields__} | fields


def test_security_actions_has_the_contracts_columns(on_store: Any, place: Path | str) -> None:
    """Who reads the database finds who ordered an action, how it went, and what is known of its execution."""
    fields: dict[str, Any] = {
        "action_type": ActionType.IP_BLOCK,
        "target": "203.0.113.9",
        "reason": "r",
        "evidence": {},
        "severity": Severity.HIGH,
        "created_at": 10,
        "expiration": None,
    }
    ours = Action(id="a", key="a", status=ActionStatus.ACTIVE, auto=True, created_by=SYSTEM, rule="p", **fields)
    theirs = Action(id="b", key="b", status=ActionStatus.FAILED, auto=False, created_by="tok-1", **fields)
    on_store(lambda store: store.apply(Outcome(position=0, actions=[ours, theirs])))
    columns = "id AS seq, created_by_user_id, created_by_session_id, success, error_message, execution_details"
    found = rows(place, "security_actions", columns)
    assert [row[:5] for row in found] == [("a", None, None, 1, None), ("b", "tok-1", None, 0, "r")]
    assert json.loads(found[0][5]) == {
        "effective": True,
        "rule": "p",
        "signal_id": None,
        "incident_id": None,
        "decided_at": None,
        "revoked_by": None,
    }


def test_when_every_event_is_pruned_numbering_goes_on(on_store: Any, place: Path | str) -> None:
    """A number is never given twice: a store that began again at 1 would take its new events for judged ones."""
    on_store(lambda store: store.accept(ONE_OF_EACH))
    on_store(lambda store: store.apply(Outcome(position=len(ONE_OF_EACH))))
    far = micros(START + timedelta(days=1))
    gone = on_store(lambda store: store.prune(far, micros(START), 0))
    assert (gone["events"], gone["data_access_log"], gone["security_violations"]) == (17, 2, 7)
    assert gone["audit_log"] == 0, "what was audited is kept longer"
    told = on_store(lambda store: store.accept([pending(EventType.AUDIT_LOG, 9)]))
    assert told.events[0].seq == 18
    assert len(rows(place, "audit_log")) == 5
