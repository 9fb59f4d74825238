"""How PostgreSQL carries out what the store asks: no big table is read as a whole, and no part that can't matter."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from sqlalchemy.event import listens_for
from tests.support.postgres import Postgres
from tests.support.stored import read
from tests.unit.storage.test_parts import small_parts
from tests.unit.storage.test_sql import START, action, event, pending, signal

from sentinel.access import Token
from sentinel.detection.links import link
from sentinel.model import (
    ActionType,
    EventType,
    Incident,
    IncidentStatus,
    Role,
    Severity,
    SubjectType,
    micros,
)
from sentinel.storage import AuditEntry, Evidence, Feedback, Note, Outcome, Resolution, Store, Suppression, Verdict
from sentinel.storage.dead import Trial
from sentinel.storage.tables import metadata

SIZE = 8_000
"""Numbers in a part; there are three full ones."""
ROWS = 40_000
"""Of each other table that grows with what happens."""
LAST = micros(START) + 3 * SIZE * 1_000_000
NOW = LAST - SIZE // 4 * 1_000_000
"""The last quarter of the last part begins."""
EARLY = micros(START) + 100 * 1_000_000
"""Of all rows, only few are older."""
OLD = {"p1", f"p{SIZE + 1}"}
"""Parts that end before."""

_AT = f"{micros(START)} + n * {3 * SIZE * 1_000_000 // ROWS}"
_ROWS: dict[str, dict[str, str]] = {
    "events": {
        "seq": "n",
        "event_id": "'e' || n",
        "at": f"{micros(START)} + n * 1000000",
        "ip_address": "'198.51.100.' || n % 250",
        "user_id": "'user' || n % 1000",
        "success": "n % 3 = 0",
        "event_type": "CASE n % 100 WHEN 0 THEN 'anomaly' ELSE 'authentication' END",
    },
    "data_access_log": {"seq": "n", "id": "n::text", "created_at": f"{micros(START)} + n * 1000000"},
    "audit_log": {"seq": "n", "id": "n::text", "created_at": f"{micros(START)} + n * 1000000"},
    "security_violations": {
        "seq": "n",
        "id": "n::text",
        "created_at": _AT,
        "resolved": "n % 2 = 0",
    },
    "signals": {
        **dict.fromkeys(("id", "subject", "incident_id"), "n::text"),
        **dict.fromkeys(("first", "last"), _AT),
    },
    "incidents": {
        **dict.fromkeys(("id", "subject"), "n::text"),
        **dict.fromkeys(("first", "last"), _AT),
    },
    "links": {'"of"': "n::text", '"to"': "n::text", "hour": f"({_AT}) / 3600000000"},
    "security_actions": {
        **dict.fromkeys(("id", "decision_key", "target", "signal_id", "incident_id"), "n::text"),
        **dict.fromkeys(("created_at", "decided_at", "revoked_at"), _AT),
        "change_seq": "n",
        "rule": "'rule' || n % 50",
        "status": "CASE n % 100 WHEN 0 THEN 'active' WHEN 1 THEN 'revoked' ELSE 'expired' END",
    },
    "audit_trail": {
        "seq": "n",
        "at": _AT,
        "operation": "CASE n % 50 WHEN 0 THEN 'threat_quarantine.evidence' ELSE 'decided' END",
        "target": "n::text",
    },
    "baselines": {"entity": "n::text", "day": f"({_AT}) / 86400000000"},
}
"""By table what of a row depends on its number; the rest is that of the first row."""
LOGS = {"events", "data_access_log", "audit_log"}


async def one_of_each(store: Store) -> None:
    """Have the store write a row of each table, from which the others are made."""
    kinds = (EventType.DATA_ACCESS, EventType.AUDIT_LOG, EventType.SECURITY_VIOLATION)
    await store.accept([pending(event(f"first{n}", n, event_type=kind)) for n, kind in enumerate(kinds)])
    ip, user = (SubjectType.IP, "a"), (SubjectType.USER, "b")
    await store.apply(
        Outcome(
            position=3,
            signals=[signal("first")],
            incidents=[an_incident("first")],
            actions=[action("first")],
            links=[link(ip, user, 1)],
            audit=[AuditEntry(at=1, actor="a", operation="o", target="t")],
            notes=[Note(incident_id="first", at=1, by="a", what="note", note="n")],
            feedback=[a_verdict("first")],
            evidence=[Evidence(action_id="first", bundle=b"b", sha256="0" * 64, events=(1,))],
            dead=[(1, "r")],
        )
    )
    await store.save_baselines(1, {("user", "first"): b"r"}, b"all")


def an_incident(name: str) -> Incident:
    return Incident(
        id=name,
        subject="x",
        subject_type=SubjectType.IP,
        severity=Severity.HIGH,
        confidence=0.9,
        first=0,
        last=2,
        size=1,
        threat_types=(),
        status=IncidentStatus.OPEN,
    )


def a_verdict(about: str) -> Feedback:
    return Feedback(kind="action", about=about, verdict=Verdict.TRUE_POSITIVE, reason="r", at=1, by="a")


def a_suppression() -> Suppression:
    return Suppression(rule="r", subject="s", subject_type=SubjectType.IP, until=1, reason="r", at=1, by="a")


def multiplied(table: str, start: int, end: int) -> str:
    """Return what makes of a table's first row those with the numbers from `start` to `end`."""
    keys = _ROWS[table]
    names = [f'"{column.name}"' for column in metadata.tables[table].columns]
    values = ", ".join(keys.get(name, keys.get(name.strip('"'), f"one.{name}")) for name in names)
    first = f"(SELECT * FROM {table} LIMIT 1)"
    return (
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {first} AS one,"
        f" generate_series({start}::bigint, {end}) AS n"
    )


async def filled(store: Store, url: str) -> None:
    await one_of_each(store)
    for part in range(3):
        start, end = max(4, part * SIZE + 1), (part + 1) * SIZE
        await store.keep_parts(1)
        for table in LOGS:
            await asyncio.to_thread(read, url, multiplied(table, start, end))
        await asyncio.to_thread(read, url, f"UPDATE positions SET value = {end} WHERE name = 'accepted'")
        await store.look_around()
    await store.keep_parts(1)
    for table in _ROWS:
        if table not in LOGS:
            await asyncio.to_thread(read, url, multiplied(table, 4, ROWS))
    await store.apply(Outcome(position=3 * SIZE))
    await asyncio.to_thread(read, url, "ANALYZE")


# --- everything that the store asks

Call = Callable[[Store], Awaitable[Any]]


async def taken(rows: AsyncIterator[Any]) -> None:
    async for _ in rows:
        pass


def _token() -> Token:
    return Token(
        id="t",
        name="n",
        role=Role.VIEWER,
        hash=bytes(32),
        max_severity=Severity.HIGH,
        may_cause_actions=False,
        created_at=1,
        expires_at=None,
        source_cidr=None,
        revoked_at=None,
    )


def _outcome(name: str) -> Outcome:
    """What is written for a batch, and by people, all at once."""
    return Outcome(
        position=3 * SIZE + 1,
        signals=[signal(name)],
        incidents=[an_incident(name)],
        actions=[action(name)],
        incident_of={name: name},
        incidents_gone={"9": "8"},
        links=[link((SubjectType.IP, name), (SubjectType.USER, "b"), 1)],
        audit=[AuditEntry(at=1, actor="a", operation="o", target="t")],
        notes=[Note(incident_id=name, at=1, by="a", what="note", note="n")],
        status_of={name: IncidentStatus.ACKNOWLEDGED},
        assignee_of={name: "a"},
        feedback=[a_verdict(name)],
        suppressions=[a_suppression()],
        resolutions=[Resolution(violation_id="9", notes="n", at=1, by="a")],
        evidence=[Evidence(action_id=name, bundle=b"b", sha256="0" * 64, events=(1,))],
        dead=[(3 * SIZE + 1, "r")],
    )


ASKED: dict[str, Call] = {
    "accept": lambda store: store.accept([pending(event("e9")), pending(event("new"))]),
    "actions_by_id": lambda store: store.actions_by_id(["9"]),
    "actions_by_incident": lambda store: store.actions_by_incident(["9"]),
    "actions_by_key": lambda store: store.actions_by_key(["9"]),
    "actions_in_force": lambda store: store.actions_in_force(NOW),
    "actions_of": lambda store: store.actions_of("9"),
    "actions_run_out": lambda store: store.actions_run_out(5),
    "actions_since": lambda store: store.actions_since(3 * SIZE - 10),
    "actions_taken": lambda store: store.actions_taken([(ActionType.IP_BLOCK, "rule1", NOW, LAST)], event_time=True),
    "anomalies": lambda store: store.anomalies(since=NOW, limit=10),
    "apply": lambda store: store.apply(_outcome("applied")),
    "audit_before": lambda store: store.audit_before(NOW),
    "audit_hash": lambda store: store.audit_hash(9),
    "audited_about": lambda store: store.audited_about("threat_quarantine.evidence", "9"),
    "automatic_blocks": lambda store: store.automatic_blocks(["9"]),
    "baseline_entities": lambda store: store.baseline_entities(9, ("user", "9"), 10),
    "baseline_records": lambda store: store.baseline_records([("user", "9")]),
    "choose": lambda store: store.choose("threshold", {"a": "4", "b": None}),
    "chosen": lambda store: store.chosen("threshold"),
    "dead_letters": lambda store: store.dead_letters(10, before=LAST),
    "events_after": lambda store: store.events_after(3 * SIZE - 10, 10),
    "events_by_seq": lambda store: store.events_by_seq([3 * SIZE - 10]),
    "events_naming": lambda store: store.events_naming(["user9"], NOW, LAST, 10),
    "events_since": lambda store: store.events_since(NOW, 10),
    "evidence": lambda store: store.evidence("9"),
    "feedback_on": lambda store: store.feedback_on("action", "9"),
    "feedback_since": lambda store: store.feedback_since(NOW),
    "history": lambda store: taken(store.history(NOW, LAST, 3 * SIZE)),
    "incident": lambda store: store.incident("9"),
    "judge_again": lambda store: store.judge_again([9]),
    "keep_parts": lambda store: store.keep_parts(1),
    "links_of": lambda store: store.links_of([(SubjectType.IP, "9")], range(1, 9)),
    "list_actions": lambda store: store.list_actions(100),
    "list_audit": lambda store: store.list_audit(10, before=100),
    "list_events": lambda store: store.list_events(10, since=NOW, until=LAST, user_id="user9"),
    "list_incidents": lambda store: store.list_incidents(10, before=(NOW, "9")),
    "list_signals": lambda store: store.list_signals(10, before=(NOW, "9")),
    "list_violations": lambda store: store.list_violations(10, since=NOW, resolved=False),
    "look_around": lambda store: store.look_around(),
    "look_at_parts": lambda store: store.look_at_parts(),
    "members_of": lambda store: store.members_of(["9"]),
    "notes_on": lambda store: store.notes_on("9"),
    "note_trial": lambda store: store.note_trial(Trial(1, 2, 3)),
    "open_claims": lambda store: store.open_claims(["9"], "t"),
    "organisation_record": lambda store: store.organisation_record(),
    "probe": lambda store: store.probe(),
    "restored": lambda store: store.restored(),
    "save_baselines": lambda store: store.save_baselines(1, {("user", "9"): b"r"}, b"all"),
    "save_token": lambda store: store.save_token(_token(), AuditEntry(at=1, actor="a", operation="o", target="t")),
    "signals_by_id": lambda store: store.signals_by_id(["9"]),
    "signals_in": lambda store: store.signals_in("9"),
    "signals_of": lambda store: store.signals_of([("9", SubjectType.IP)]),
    "signals_together": lambda store: store.signals_together(["9"]),
    "standing": lambda store: store.standing(NOW, LAST),
    "subjects_between": lambda store: store.subjects_between(NOW, LAST, 10),
    "summary": lambda store: store.summary(NOW),
    "suppressions": lambda store: store.suppressions(NOW),
    "tell_settled": lambda store: store.tell_settled(),
    "tokens": lambda store: store.tokens(),
    "trial": lambda store: store.trial(),
    "undone_since": lambda store: store.undone_since(NOW),
    "untaught_events": lambda store: taken(store.untaught_events(NOW, 3 * SIZE)),
    "users_behind": lambda store: store.users_behind([("198.51.100.9", NOW, LAST)], 3),
    # What takes parts away comes last.
    "prune": lambda store: store.prune(EARLY, EARLY, 9, 1),
    "prune_parted": lambda store: store.prune_parted("events", EARLY, 1),
}
"""Each question and each write of the store, with bounds as they are usual."""

BOUND = {
    "anomalies",
    "events_after",
    "events_by_seq",
    "events_naming",
    "events_since",
    "history",
    "list_events",
    "summary",
    "untaught_events",
    "users_behind",
}
"""Those about events of a time, or with numbers, that only the last part has."""


@dataclass
class Plan:
    """How one statement is carried out."""

    asked: str
    statement: str
    nodes: list[tuple[str, str]]
    """Kind of each step that reads a table, and which."""
    plan: str


def nodes_of(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "Relation Name" in plan:
        yield plan["Node Type"], plan["Relation Name"]
    for inner in plan.get("Plans", ()):
        yield from nodes_of(inner)


async def planned(store: Store, url: str) -> list[Plan]:
    sent: list[tuple[str, str, Any]] = []
    asked = ""
    for engine in (store._backend._reading.sync_engine, store._backend._writing.sync_engine):

        @listens_for(engine, "before_cursor_execute")
        def _note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
            sent.append((asked, statement, parameters[0] if isinstance(parameters, list) else parameters))

    plans: dict[tuple[str, str], Plan] = {}
    explaining = await asyncpg.connect(url)
    await explaining.execute("SET plan_cache_mode = force_custom_plan")
    for name, ask in ASKED.items():
        asked = name
        await ask(store)
        for _, statement, parameters in sent:  # at once: what prunes is asked about parts that it then drops
            if statement.split(None, 1)[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}:
                try:
                    told = await explaining.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *(parameters or ()))
                except asyncpg.UndefinedTableError:
                    continue
                found = Plan(name, statement, list(nodes_of(json.loads(told)[0]["Plan"])), told)
                plans.setdefault((name, statement), found)  # asked again at the end of a table it reads nothing
        sent.clear()
    await explaining.close()
    return list(plans.values())


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture(scope="module")
def plans(url: str) -> list[Plan]:
    """The plans of all statements, with tables of tens of thousands of rows."""

    async def session() -> list[Plan]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sentinel.storage.parts._SMALLEST", SIZE)
            patch.setattr("sentinel.storage.parts._STEP", 1)
            patch.setattr("sentinel.storage.parts._LOOK_SECONDS", -1)
            store = await Store.open(url)
            await asyncio.to_thread(small_parts, url, SIZE)
            assert await store.take_lease()
            try:
                await filled(store, url)
                return await planned(store, url)
            finally:
                await store.close()

    return asyncio.run(session())


def test_everything_that_the_store_asks_is_looked_at(plans: list[Plan]) -> None:
    """A new question to the store needs a line above; each but one that has nothing to do sends a statement."""
    methods = {
        name
        for name, method in inspect.getmembers(Store, inspect.isfunction)
        if not name.startswith("_") and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
    }
    assert methods - {"close", "give_lease_back", "take_lease"} == ASKED.keys()
    assert ASKED.keys() - {plan.asked for plan in plans} <= {"keep_parts"}


def test_no_big_table_is_read_as_a_whole(plans: list[Plan], url: str) -> None:
    """Whatever is asked, of tables that grow with events, outcomes, actions or audit entries."""
    big = {table for table in _ROWS if table not in LOGS}
    big |= {f"{table}_p{part * SIZE + 1}" for table in LOGS for part in range(3)}
    asked = {relation for plan in plans for _, relation in plan.nodes}
    assert {name for name in big if not name.endswith(tuple(OLD))} <= asked, "some are not asked"
    whole = [
        (plan.asked, relation, plan.statement)
        for plan in plans
        for kind, relation in plan.nodes
        if kind == "Seq Scan" and relation in big
    ]
    assert whole == []


def test_only_parts_that_can_matter_are_looked_into(plans: list[Plan]) -> None:
    """A time or a number spares PostgreSQL the parts before it."""
    logs = ("events_", "data_access_log_")
    read = {
        plan.asked: {relation.rpartition("_")[2] for _, relation in plan.nodes if relation.startswith(logs)}
        for plan in plans
        if plan.asked in BOUND and any(relation.startswith(logs) for _, relation in plan.nodes)
    }
    assert read.keys() == BOUND, [plan for plan in plans if plan.asked in BOUND - read.keys()]
    assert {name: parts & OLD for name, parts in read.items() if parts & OLD} == {}


def test_who_signed_in_from_an_address_is_answered_by_its_own_index(plans: list[Plan]) -> None:
    """Asked before every automatic block: successes alone, by address and time, which is one index."""
    [found] = [plan for plan in plans if plan.asked == "users_behind"]
    assert f"events_p{2 * SIZE + 1}_ip_address_at_user_id_idx" in found.plan
