"""
The store: what Sentinel keeps, and how it is asked for.

`database` says how it is kept, `statements` in which words, `rows` in which form.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, TextClause, and_, bindparam, delete, func, or_, select

from sentinel.access import Token
from sentinel.audit import GENESIS, link
from sentinel.model import (
    ActionStatus,
    ActionType,
    EventType,
    Incident,
    Micros,
    Signal,
    StoredEvent,
    SubjectType,
)
from sentinel.storage import statements, tables
from sentinel.storage.baselines import BaselineTables
from sentinel.storage.chosen import ChosenTables
from sentinel.storage.contract import contract_rows
from sentinel.storage.database import whole
from sentinel.storage.dead import DeadTables
from sentinel.storage.dialect import PARTED, Each, insert_rows, insert_unless_known, listed, write_rows
from sentinel.storage.evidence import read_evidence, read_naming, write_evidence
from sentinel.storage.incidents import IncidentTables, write_incidents
from sentinel.storage.ports import Backend, postgres_extra
from sentinel.storage.rows import (
    action_row,
    decode_event,
    event_row,
    to_action,
    to_audit_entry,
    to_event,
    to_incident,
    to_signal,
    to_token,
    to_violation,
    token_row,
    with_text,
)
from sentinel.storage.shared import audit_head, look, settle, take_numbers, take_turn
from sentinel.storage.sqlite import SqliteFile
from sentinel.storage.summary import COUNT_EVENTS, stood, summed_up
from sentinel.storage.values import (
    SYSTEM,
    Accepted,
    Action,
    AuditEntry,
    Evidence,
    Feedback,
    Judge,
    Outcome,
    Pending,
    Standing,
    Summary,
    Suppression,
    Verdict,
    Violation,
)

__all__ = ["Store"]

T = TypeVar("T")

_FLOOR = "change_floor"
_FAR = 1_000_000_000

_IN_CHUNK = 500  # SQLite's default limit of bound values is far above; short statements stay in its cache

_encode = msgspec.json.Encoder().encode


class Store(BaselineTables, ChosenTables, DeadTables, IncidentTables):
    """What is kept in a data folder's SQLite file, or in PostgreSQL. Made by `open`; `close` at the end."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._accepting = asyncio.Lock()  # from the first free number to having used it
        self.accepted_seq = 0
        self.processed_seq = 0
        self.change_seq = 0
        self.change_floor = 0
        """Who has applied changes only up to below this needs everything: the store was brought back from a backup."""
        self.audited = (0, GENESIS)
        """Sequence and hash of the last audit entry."""
        self.turn = 0
        """Counts the transactions of all processes that change anything but which events are accepted."""
        self.judge: Judge | None = None
        """Where the database is shared, the node that judges; as all these numbers, as they were last looked at."""

    @classmethod
    async def open(cls, place: Path | str) -> Store:
        """
        Return the store in a file, or at a PostgreSQL URL, made or migrated to the present schema.

        Raises:
            StoreUnable, StoreLost: as `accept`; the next start begins where this one did.
            ConfigError: PostgreSQL can't be reached or does not fit, or another Sentinel works on the database.
        """
        store = cls(await _backend(place))
        await store._load()
        return store

    async def _load(self) -> None:
        """Take up the numbers where they were left."""
        p = tables.positions.c
        self.processed_seq = await self._number(select(p.value).where(p.name == "processed"))
        accepted = await self._number(select(func.max(tables.events.c.seq)))
        self.accepted_seq = max(accepted, self.processed_seq)  # those judged may all be pruned
        self.change_floor = await self._number(select(p.value).where(p.name == _FLOOR))
        changed = await self._number(select(func.max(tables.actions.c.change_seq)))
        self.change_seq = max(changed, self.change_floor)
        for row in await self._all(select(tables.audit).order_by(tables.audit.c.seq.desc()).limit(1)):
            self.audited = (row.seq, row.hash)
        await self.look_around()

    async def look_around(self) -> None:
        """Take in what other processes have written meanwhile, where there can be others."""
        if not self.shared:
            return
        found = await self._read(look)
        self.accepted_seq = max(self.accepted_seq, found.accepted)
        self.processed_seq = max(self.processed_seq, found.processed)
        self.change_seq = max(self.change_seq, found.changed)
        self.change_floor = max(self.change_floor, found.floor)
        self.turn = max(self.turn, found.turns)
        self.audited = max(self.audited, found.audited)
        self.judge = found.judge
        await self.look_at_parts()
        if self._backend.lease is not None and found.lease > self._backend.lease:
            self._backend.lease = None  # found out here where nothing is to be written that would

    async def tell_settled(self) -> None:
        """Tell the other processes that this one has taken up what was there when it began to judge."""
        if self.shared:
            await self._judged(settle)

    # --- events

    @whole
    async def accept(self, offered: Sequence[Pending], *, judging: bool = False) -> Accepted:
        """
        Make events durable in one transaction.

        Args:
            offered: In the order in which they were received; the first of equal ids wins, also against stored ones.
            judging: They are what judging led to, so only the node that judges may write them.

        Raises:
            StoreUnable: No room, or the database is locked; nothing was written.
            StoreLost: A write failed; the process must stop.
        """

        def written(connection: Connection) -> tuple[int, Sequence[Pending], frozenset[int], frozenset[int]]:
            if not self.shared:
                return _insert_new(self.accepted_seq + 1, offered, connection)
            first = take_numbers(connection, "accepted", len(offered)) - len(offered) + 1
            inserted = _insert_new(first, offered, connection)
            if len(inserted[1]) < len(offered):
                take_numbers(connection, "accepted", len(inserted[1]) - len(offered))
            return inserted

        async with self._accepting:
            first, fresh, duplicates, conflicts = await self._write(written, rows=len(offered), judging=judging)
            self.accepted_seq = max(self.accepted_seq, first + len(fresh) - 1)
        stored = [
            StoredEvent(
                first + n,
                item.at,
                item.received_at,
                item.late,
                item.event,
                item.max_severity,
                item.may_act,
                item.effects,
                item.origin,
            )
            for n, item in enumerate(fresh)
        ]
        return Accepted(stored, duplicates, conflicts)

    async def events_after(self, seq: int, limit: int) -> list[StoredEvent]:
        """Return up to `limit` events accepted after `seq`, in order of acceptance."""
        query = (
            select(*statements.STORED).where(tables.events.c.seq >= seq + 1).order_by(tables.events.c.seq).limit(limit)
        )
        return [to_event(row) for row in await self._all(query)]

    async def history(
        self, start: Micros, end: Micros, upto: int, chunk: int = 2000
    ) -> AsyncIterator[list[StoredEvent]]:
        """Yield, in chunks, the events that are not late, nor dead, with start <= at < end and seq <= upto."""
        e = tables.events.c
        after = self.first_since(start) - 1
        while True:
            query = select(*statements.STORED).where(
                e.at >= start, e.at < end, e.seq >= after + 1, e.seq <= upto, e.late.is_(False), statements.ALIVE
            )
            rows = await self._all(query.order_by(e.seq).limit(chunk))
            if not rows:
                return
            yield [to_event(row) for row in rows]
            after = rows[-1].seq

    async def list_events(
        self,
        limit: int,
        before: int | None = None,
        since: Micros | None = None,
        until: Micros | None = None,
        event_id: str | None = None,
        **equal: str | None,
    ) -> list[StoredEvent]:
        """Return up to `limit` events, newest first, accepted before seq `before`, by time and equal fields."""
        e = tables.events.c
        query = select(*statements.STORED).order_by(e.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(e.seq < before)
        if since is not None:
            query = query.where(e.at >= since, *self.not_before(e.seq, since))
        if until is not None:
            query = query.where(e.at < until)
        if event_id is not None:
            query = query.where(self.is_one_of([event_id]))
        for name, value in equal.items():
            if value is not None:
                query = query.where(e[name] == value)
        return [to_event(row) for row in await self._all(query)]

    async def summary(self, since: Micros) -> Summary:
        """Return what happened since a time, in figures."""
        return await self._read(partial(summed_up, since, self.first_since(since)))

    async def standing(self, hour_ago: Micros, minute_ago: Micros) -> Standing:
        """Return what health is judged by, since an hour and a minute ago."""
        return await self._read(partial(stood, hour_ago, minute_ago))

    async def events_since(self, since: Micros, most: int) -> int:
        """Return how many events there are since a time, counted up to `most`."""
        places = {"since": since, "most": most, "first": self.first_since(since)}
        return await self._read(lambda on: int(on.scalar(COUNT_EVENTS.on(on), places) or 0))

    async def users_behind(self, asked: Iterable[tuple[str, Micros, Micros]], enough: int) -> list[int]:
        """Return how many distinct users logged in from each address in its [start, end], counted up to `enough`."""
        places = [
            {"address": of, "start": start, "end": end, "enough": enough, "first": self.first_since(start)}
            for of, start, end in asked
        ]
        if not places:
            return []
        which = statements.USERS_BEHIND
        return await self._read(lambda on: [int(on.scalar(which.on(on), each) or 0) for each in places])

    # --- signals and incidents

    @whole
    async def apply(self, outcome: Outcome) -> list[Action]:
        """
        Write what processing a batch led to, and the position reached, in one transaction.

        Returns:
            The actions as stored, with their change_seq.

        Raises:
            StoreUnable, StoreLost: as `accept`.
            Overtaken: Another node has changed something since the outcome's turn; nothing was written.
        """
        only_position = outcome == Outcome(position=outcome.position, judging=outcome.judging)

        def written(connection: Connection) -> tuple[list[Action], int, tuple[int, bytes], int]:
            change_seq, turn = self.change_seq, self.turn  # here, one after the other: no number may be given twice
            if self.shared and not only_position:
                turn = take_turn(connection, outcome.turn)
                if changes := sum(action.effective for action in outcome.actions):
                    change_seq = take_numbers(connection, "changed", changes) - changes
            numbered: list[Action] = []
            for action in outcome.actions:
                change_seq += action.effective
                numbered.append(msgspec.structs.replace(action, change_seq=change_seq) if action.effective else action)
            _write_outcome(connection, outcome, numbered)
            _write_what_people_say(connection, outcome)
            write_evidence(connection, outcome.evidence)
            if outcome.position > self.processed_seq:
                _reach(connection, "processed", outcome.position)
            return numbered, change_seq, self._chain(connection, outcome.audit), turn

        rows = len(outcome.signals)
        numbered, changed, audited, turn = await self._write(written, rows=rows, judging=outcome.judging)
        self.change_seq, self.audited = max(self.change_seq, changed), max(self.audited, audited)
        self.turn = max(self.turn, turn)
        self.processed_seq = max(self.processed_seq, outcome.position)
        return numbered

    def _chain(self, connection: Connection, entries: Sequence[AuditEntry]) -> tuple[int, bytes]:
        """Write audit entries after those that are there; returns the last one's sequence and hash."""
        if not entries:
            return self.audited
        return _chain(connection, audit_head(connection) if self.shared else self.audited, entries)

    async def signals_by_id(self, ids: Iterable[str]) -> list[Signal]:
        """Return the signals with these ids, earliest first."""
        return [to_signal(row) for row in await self._listed(statements.SIGNALS_BY_ID, list(ids))]

    async def signals_of(
        self, subjects: Iterable[tuple[str, SubjectType]]
    ) -> dict[tuple[str, SubjectType], list[tuple[Signal, str | None]]]:
        """Return by subject its signals, earliest first, each with the id of the incident that it is in."""
        found: dict[tuple[str, SubjectType], list[tuple[Signal, str | None]]] = {}
        for row in await self._listed(statements.SIGNALS_OF, list(subjects)):
            signal = to_signal(row)
            found.setdefault((signal.subject, signal.subject_type), []).append((signal, row[-1]))
        return found

    async def signals_together(self, incident_ids: Iterable[str]) -> list[tuple[Signal, str]]:
        """Return the signals in these incidents, earliest first, each with the id of the incident that it is in."""
        rows = await self._listed(statements.SIGNALS_TOGETHER, list(incident_ids))
        return [(to_signal(row), row[-1]) for row in rows]

    async def signals_in(self, incident_id: str) -> list[Signal]:
        """Return the signals in an incident, earliest first."""
        return [signal for signal, _ in await self.signals_together([incident_id])]

    async def members_of(self, incident_ids: Iterable[str]) -> dict[str, list[str]]:
        """Return by incident the ids of its signals, earliest first."""
        found: dict[str, list[str]] = {}
        for row in await self._listed(statements.MEMBERS, list(incident_ids)):
            found.setdefault(row.incident_id, []).append(row.id)
        return found

    async def _listed(self, query: Each[Any], asked: Sequence[object]) -> Sequence[Row[Any]]:
        """Return the rows of a query about a list of things; one that is empty asks nobody."""
        if not asked:
            return []
        return await self._read(lambda on: on.execute(query.on(on), {"listed": listed(asked)}).all())

    async def list_signals(self, limit: int, before: tuple[Micros, str] | None = None) -> list[Signal]:
        """Return up to `limit` signals, the latest first, below the (last, id) of `before`."""
        return [to_signal(row) for row in await self._all(_newest(tables.signals, limit, before))]

    async def list_incidents(self, limit: int, before: tuple[Micros, str] | None = None) -> list[Incident]:
        """Return up to `limit` incidents, the latest first, below the (last, id) of `before`."""
        return [to_incident(row) for row in await self._all(_newest(tables.incidents, limit, before))]

    async def incident(self, incident_id: str) -> Incident | None:
        """Return the incident with this id."""
        rows = await self._all(select(tables.incidents).where(tables.incidents.c.id == incident_id))
        return to_incident(rows[0]) if rows else None

    async def list_violations(
        self,
        limit: int,
        before: int | None = None,
        since: Micros | None = None,
        until: Micros | None = None,
        **equal: str | bool | None,
    ) -> list[Violation]:
        """Return up to `limit` violations, newest first, accepted before seq `before`, by time and equal fields."""
        v = tables.security_violations.c
        query = select(tables.security_violations).order_by(v.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(v.seq < before)
        if since is not None:
            query = query.where(v.created_at >= since)
        if until is not None:
            query = query.where(v.created_at < until)
        for name, value in equal.items():
            if value is not None:
                query = query.where(v[name] == value)
        return [to_violation(row) for row in await self._all(query)]

    async def open_claims(self, violation_ids: Sequence[str], origin: str) -> list[str]:
        """Return those of these violations that are unresolved, and rest on alerts that `origin` sent."""
        v, e = tables.security_violations.c, tables.events.c
        sent = and_(e.origin == origin, e.event_type == EventType.THREAT_DETECTION.value)
        found: list[str] = []
        for chunk in _chunks(list(violation_ids)):
            query = select(v.id).join(tables.events, e.seq == v.seq).where(v.id.in_(chunk), ~v.resolved, sent)
            found += [row.id for row in await self._all(query)]
        return found

    # --- what people say

    async def feedback_since(self, since: Micros) -> dict[Verdict, int]:
        """Return how many verdicts on actions and incidents of each kind were given after `since`."""
        f = tables.feedback.c
        query = select(f.verdict, func.count().label("n")).where(f.at > since, f.kind != "scan").group_by(f.verdict)
        return {Verdict(row.verdict): row.n for row in await self._all(query)}

    async def feedback_on(self, kind: str, about: str) -> Feedback | None:
        """Return what was said last about something."""
        f = tables.feedback.c
        rows = await self._all(select(tables.feedback).where(f.kind == kind, f.about == about))
        return msgspec.convert(rows[0], Feedback, from_attributes=True) if rows else None

    async def suppressions(self, now: Micros) -> list[Suppression]:
        """Return the suppressions that hold at `now`."""
        rows = await self._all(select(tables.suppressions).where(tables.suppressions.c.until > now))
        return [msgspec.convert(row, Suppression, from_attributes=True) for row in rows]

    # --- actions

    async def actions_of(self, incident_id: str) -> list[Action]:
        """Return the actions that an incident led to, oldest first."""
        return (await self.actions_by_incident([incident_id])).get(incident_id, [])

    async def actions_by_incident(self, incident_ids: Iterable[str]) -> dict[str, list[Action]]:
        """Return the actions that each of these incidents led to, oldest first; none for an incident without."""
        a = tables.actions.c
        found: dict[str, list[Action]] = {}
        for chunk in _chunks(list(incident_ids)):
            query = select(tables.actions).where(a.incident_id.in_(chunk)).order_by(a.created_at, a.id)
            for row in await self._all(query):
                found.setdefault(row.incident_id, []).append(to_action(row))
        return found

    async def actions_since(self, change_seq: int) -> list[Action]:
        """Return the effective actions changed after `change_seq`, in order of change."""
        a = tables.actions.c
        query = select(tables.actions).where(a.change_seq > change_seq).order_by(a.change_seq)
        return [to_action(row) for row in await self._all(query)]

    async def actions_in_force(self, now: Micros, action_type: ActionType | None = None) -> list[Action]:
        """Return the effective actions in force at `now`, of one type or all, the latest change last."""
        a = tables.actions.c
        query = select(tables.actions).where(
            a.status == ActionStatus.ACTIVE.value,
            a.effective.is_(True),
            or_(a.expiration.is_(None), a.expiration > now),
        )
        if action_type is not None:
            query = query.where(a.action_type == action_type.value)
        return [to_action(row) for row in await self._all(query.order_by(a.change_seq))]

    async def actions_run_out(self, now: Micros) -> list[Action]:
        """Return the effective actions that are still called active although their time is over."""
        a = tables.actions.c
        query = select(tables.actions).where(
            a.status == ActionStatus.ACTIVE.value, a.expiration <= now, a.effective.is_(True)
        )
        return [to_action(row) for row in await self._all(query)]

    async def list_actions(self, limit: int = 10_000) -> list[Action]:
        """Return actions in every state, newest first."""
        query = select(tables.actions).order_by(tables.actions.c.created_at.desc(), tables.actions.c.id).limit(limit)
        return [to_action(row) for row in await self._all(query)]

    async def automatic_blocks(self, targets: Iterable[str]) -> list[Action]:
        """Return the automatic blocks on these addresses that nobody has ended, effective or not."""
        return [to_action(row) for row in await self._listed(statements.AUTOMATIC_BLOCKS, list(targets))]

    async def actions_by_key(self, keys: Iterable[str]) -> list[Action]:
        """Return the actions of these decision keys."""
        found: list[Action] = []
        for chunk in _chunks(list(keys)):
            query = select(tables.actions).where(tables.actions.c.decision_key.in_(chunk))
            found += [to_action(row) for row in await self._all(query)]
        return found

    async def actions_by_id(self, ids: Iterable[str]) -> list[Action]:
        """Return the actions with these ids, oldest first."""
        found: list[Action] = []
        for chunk in _chunks(list(ids)):
            query = select(tables.actions).where(tables.actions.c.id.in_(chunk))
            found += [to_action(row) for row in await self._all(query)]
        return sorted(found, key=lambda action: (action.created_at, action.id))

    async def evidence(self, action_id: str) -> Evidence | None:
        """Return what a quarantine rests on, as it is stored."""
        return await self._read(partial(read_evidence, action_id))

    async def events_naming(self, words: Sequence[str], start: Micros, end: Micros, limit: int) -> list[StoredEvent]:
        """Return the latest events, in order, with start <= at <= end that hold each of these texts somewhere."""
        later = self.not_before(tables.events.c.seq, start)
        return await self._read(partial(read_naming, words, (start, end), limit, later))

    async def events_by_seq(self, seqs: Iterable[int]) -> list[StoredEvent]:
        """Return those of these events that are there."""
        found: list[StoredEvent] = []
        for chunk in _chunks(list(seqs)):
            query = select(*statements.STORED).where(tables.events.c.seq.in_(chunk)).order_by(tables.events.c.seq)
            found += [to_event(row) for row in await self._all(query)]
        return found

    async def audited_about(self, operation: str, target: str) -> list[AuditEntry]:
        """Return the audit entries of an operation on a target, oldest first."""
        a = tables.audit.c
        # In words, not as a value: else neither database would see that the partial index holds just these.
        named: ColumnElement[str] = bindparam("operation", operation, literal_execute=True)
        query = select(tables.audit).where(a.operation == named, a.target == target).order_by(a.seq)
        return [to_audit_entry(row) for row in await self._all(query)]

    async def undone_since(self, since: Micros) -> list[Action]:
        """Return the actions that a person undid after `since`."""
        a = tables.actions.c
        query = select(tables.actions).where(
            a.status == ActionStatus.REVOKED.value, a.revoked_at > since, a.revoked_by != SYSTEM
        )
        return [to_action(row) for row in await self._all(query)]

    async def actions_taken(
        self, asked: Iterable[tuple[ActionType, str, Micros, Micros]], *, event_time: bool
    ) -> list[set[str]]:
        """Return the keys of a policy rule's effective actions of a type made, or decided, in each (start, end]."""
        query = statements.ACTIONS_DECIDED if event_time else statements.ACTIONS_MADE
        places = [
            {"rule": rule, "action_type": action_type.value, "start": start, "end": end}
            for action_type, rule, start, end in asked
        ]
        if not places:
            return []
        return await self._read(lambda on: [set(on.scalars(query, each)) for each in places])

    # --- tokens, audit, health

    async def tokens(self) -> list[Token]:
        """Return every token, revoked ones too."""
        return [to_token(row) for row in await self._all(select(tables.tokens).order_by(tables.tokens.c.created_at))]

    @whole
    async def save_token(self, token: Token, entry: AuditEntry) -> None:
        """Write a token, new or changed, with its audit entry."""

        def written(connection: Connection) -> tuple[int, bytes]:
            if self.shared:
                take_turn(connection, None)
            connection.execute(statements.UPSERT_TOKEN.on(connection), token_row(token))
            return self._chain(connection, [entry])

        self.audited = max(self.audited, await self._write(written, rows=1))

    async def list_audit(self, limit: int, before: int | None = None) -> list[tuple[int, AuditEntry]]:
        """Return up to `limit` audit entries with their sequence, newest first, below seq `before`."""
        a = tables.audit.c
        query = select(tables.audit).order_by(a.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(a.seq < before)
        return [(row.seq, to_audit_entry(row)) for row in await self._all(query)]

    async def audit_hash(self, seq: int) -> bytes | None:
        """Return the hash of an audit entry, None when there is no such entry."""
        rows = await self._all(select(tables.audit.c.hash).where(tables.audit.c.seq == seq))
        return rows[0].hash if rows else None

    @whole
    async def restored(self) -> None:
        """Number changes from far above on, so that no enforcement point takes one of before for one of now."""
        floor = self.change_seq + _FAR

        def written(connection: Connection) -> None:
            _reach(connection, _FLOOR, floor)
            if self.shared:
                _reach(connection, "changed", floor)

        await self._write(written, rows=1)
        self.change_floor = self.change_seq = floor

    async def audit_before(self, at: Micros) -> int:
        """Return the sequence of the last audit entry before a time that may be pruned; the last one of all stays."""
        a = tables.audit.c
        return await self._number(select(func.max(a.seq)).where(a.at < at, a.seq < self.audited[0]))

    async def prune(self, before: Micros, audited_before: Micros, audit_upto: int, span: Micros = 0) -> dict[str, int]:
        """
        Delete what is older than a time, but nothing that is not judged yet or still in force.

        Args:
            before: Of events, signals, incidents, ended actions, violations and accesses to data.
            audited_before: Of `audit_log`, what others say they did.
            audit_upto: Sequence of the last audit entry to go.
            span: How much longer what is dropped as a whole may stay (`parts`).

        Returns:
            Rows deleted, by table.
        """
        places = {
            "before": before,
            "audited_before": audited_before,
            "judged": self.processed_seq,
            "upto": audit_upto,
        }
        deleted = {}
        for name, statement in statements.PRUNE.items():
            if self.shared and name in PARTED:
                over = audited_before if name == "audit_log" else before
                deleted[name] = await self.prune_parted(name, over, span)
            else:
                deleted[name] = await self._prune(statement, places)
        return deleted

    async def _prune(self, statement: Each[TextClause], places: dict[str, int]) -> int:
        """Delete in small transactions, so that events go on being accepted between them."""

        def deleted(connection: Connection) -> int:
            which = statement.on(connection)
            return connection.execute(which, {name: places[name] for name in which.compile().params}).rowcount

        rows = 0
        while True:
            gone = await self._judged(deleted)
            rows += gone
            if gone < statements.PRUNED_AT_ONCE:
                return rows

    @whole
    async def probe(self) -> None:
        """Write one row durably: raises as `accept` does, and clears `trouble` when there is room again."""
        await self._write(lambda connection: connection.execute(statements.PROBE), rows=1)


async def _backend(place: Path | str) -> Backend:
    if isinstance(place, Path):
        return await SqliteFile.opened(place)
    with postgres_extra():
        from sentinel.storage.postgres import PostgresServer  # noqa: PLC0415 - an extra

    return await PostgresServer.opened(place)


def _insert_new(
    first: int, offered: Sequence[Pending], connection: Connection
) -> tuple[int, Sequence[Pending], frozenset[int], frozenset[int]]:
    """Write events, numbered from `first`; returns it, the new ones, and the places of duplicates and conflicts."""
    fresh: Sequence[Pending] = offered
    duplicates = conflicts = frozenset[int]()
    # Nearly always all are new: looking each of them up first would cost more.
    if not insert_unless_known(connection, tables.events, list(map(event_row, count(first), offered))):
        fresh, duplicates, conflicts = _told_apart(connection, offered)
        insert_rows(connection, tables.events, list(map(event_row, count(first), fresh)))
    for table, rows in contract_rows(first, fresh).items():
        insert_rows(connection, tables.metadata.tables[table], rows)
    return first, fresh, duplicates, conflicts


def _told_apart(
    connection: Connection, offered: Sequence[Pending]
) -> tuple[list[Pending], frozenset[int], frozenset[int]]:
    ids = {"listed": listed([item.event.event_id for item in offered])}
    rows = connection.execute(statements.KNOWN_EVENTS.on(connection), ids)
    known = {row.event_id: decode_event(row.body) for row in rows}
    unknown = [item.event.event_id for item in offered if item.event.event_id not in known]
    if unknown and connection.dialect.name != "sqlite":
        connection.execute(statements.FORGET_ORPHANS, {"listed": listed(unknown)})
    fresh: list[Pending] = []
    duplicates: set[int] = set()
    conflicts: set[int] = set()
    for position, item in enumerate(offered):
        earlier = known.get(item.event.event_id)
        if earlier is None:
            known[item.event.event_id] = item.event
            fresh.append(item)
            continue
        duplicates.add(position)
        if earlier != item.event:
            conflicts.add(position)
    return fresh, frozenset(duplicates), frozenset(conflicts)


def _write_outcome(connection: Connection, outcome: Outcome, actions: Sequence[Action]) -> None:
    if outcome.signals:
        rows = [with_text(signal, "group") for signal in outcome.signals]
        write_rows(connection, statements.UPSERT_SIGNAL, rows)
    if outcome.incidents:
        rows = [with_text(incident, "threat_types") for incident in outcome.incidents]
        write_rows(connection, statements.UPSERT_INCIDENT, rows)
    if actions:  # before incidents join: one may have been read while it was in another
        connection.execute(statements.UPSERT_ACTION.on(connection), list(map(action_row, actions)))
    if outcome.incident_of:
        joined = [{"of": signal_id, "to": incident_id} for signal_id, incident_id in outcome.incident_of.items()]
        write_rows(connection, statements.JOIN_SIGNAL, joined)
    write_incidents(connection, outcome)
    if outcome.dead:
        rows = [{"seq": seq, "reason": reason} for seq, reason in outcome.dead]
        connection.execute(statements.UPSERT_DEAD.on(connection), rows)
    if outcome.revived:
        d = tables.dead_letters
        connection.execute(delete(d).where(d.c.seq.in_(outcome.revived)))


def _write_what_people_say(connection: Connection, outcome: Outcome) -> None:
    if outcome.feedback:
        connection.execute(statements.UPSERT_FEEDBACK.on(connection), list(map(msgspec.to_builtins, outcome.feedback)))
    if outcome.suppressions:
        connection.execute(
            statements.UPSERT_SUPPRESSION.on(connection), list(map(msgspec.to_builtins, outcome.suppressions))
        )
    if outcome.resolutions:
        connection.execute(statements.RESOLVE, list(map(msgspec.to_builtins, outcome.resolutions)))


def _reach(connection: Connection, name: str, value: int) -> None:
    connection.execute(statements.UPSERT_POSITION.on(connection), {"name": name, "value": value})


def _chain(connection: Connection, audited: tuple[int, bytes], entries: Sequence[AuditEntry]) -> tuple[int, bytes]:
    """Write audit entries, each sealed to the one before; returns the last one's sequence and hash."""
    size, root = audited
    rows = []
    for entry in entries:
        size += 1
        fields = (size, entry.at, entry.actor, entry.operation, entry.target, _encode(entry.details).decode())
        root = link(root, fields)
        rows.append((*fields, root))
    if rows:
        insert_rows(connection, tables.audit, rows)
    return size, root


def _chunks(items: list[T]) -> Iterable[list[T]]:
    return (items[n : n + _IN_CHUNK] for n in range(0, len(items), _IN_CHUNK))


def _newest(table: Any, limit: int, before: tuple[Micros, str] | None) -> Select[Any]:
    c = table.c
    query = select(table).order_by(c.last.desc(), c.id.desc()).limit(limit)
    if before is not None:
        last, row_id = before
        query = query.where(or_(c.last < last, and_(c.last == last, c.id < row_id)))
    return query
