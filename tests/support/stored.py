"""What lies in a store, read without any of the service's own code paths, and judged by the oracle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
from tests.oracle import needs_closing, oracle
from tests.support.service import S, Service, eventually

from sentinel.detection import parse_rules, shipped_rules
from sentinel.model import Event, StoredEvent

__all__ = ["Stored", "read", "undisturbed"]

Row = tuple[Any, ...]


def read(place: Path | str, query: str) -> list[Row]:
    """Return what a file, or the database at a URL, answers to a query."""
    if isinstance(place, Path):
        with contextlib.closing(sqlite3.connect(place)) as file:
            return file.execute(query).fetchall()

    async def asked() -> list[Row]:
        connection = await asyncpg.connect(place)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return asyncio.run(asked())


class Stored:
    """The rows of a data folder, or of a database at a URL, that no process serves."""

    def __init__(self, place: Path | str) -> None:
        path = place / "sentinel.db" if isinstance(place, Path) else place

        def rows(query: str) -> list[Row]:
            return read(path, query)

        if isinstance(path, Path):
            assert rows("PRAGMA integrity_check") == [("ok",)]
        self.events = rows("SELECT seq, event_id, at, received_at, late, body FROM events ORDER BY seq")
        self.signals = rows("SELECT id, first, last, count, severity, may_act, incident_id FROM signals")
        self.incidents = rows("SELECT id, subject, severity, first, last, size FROM incidents")
        actions = "SELECT decision_key, action_type, target, status, effective FROM security_actions"
        self.actions = rows(f"{actions} WHERE id <> 'canary-block'")
        self.changes = rows("SELECT change_seq FROM security_actions WHERE effective ORDER BY change_seq")
        self.reads = rows("SELECT seq FROM events WHERE event_type = 'data_access' ORDER BY seq")
        self.accesses = rows("SELECT seq FROM data_access_log ORDER BY seq")
        self.dead = rows("SELECT * FROM dead_letters")

    def check(
        self, *, offered: dict[str, dict[str, Any]], owed: dict[str, dict[str, Any]], changed_again: bool = False
    ) -> None:
        """
        Fail unless what was promised is there once, as it was sent, and led to what it must lead to.

        `changed_again`: whether actions were changed after they were made, so that their numbers have gaps.
        """
        assert self.dead == []
        assert [row[0] for row in self.events] == list(range(1, len(self.events) + 1))
        assert len({row[1] for row in self.events}) == len(self.events), "an event is there twice"
        # A process that has lived for a minute probes itself.
        bodies = {row[1]: json.loads(row[5]) for row in self.events if not row[1].startswith("canary-")}
        assert owed.keys() - bodies.keys() == set(), "acknowledged, and lost"
        assert bodies.keys() - offered.keys() == set(), "nobody sent these"
        assert {name: offered[name] for name in bodies} == bodies
        assert self.accesses == self.reads, "an access has no row, or one too many"
        self.check_signals()
        keys = [row[0] for row in self.actions]
        assert len(keys) == len(set(keys)), "a decision was carried out twice"
        seqs = [row[0] for row in self.changes]
        probed = any(row[1].startswith("canary-") for row in self.events)  # then its block was changed again and again
        assert seqs == (sorted(set(seqs)) if probed or changed_again else list(range(1, len(seqs) + 1)))

    def check_signals(self) -> None:
        """Fail unless the signals are those that the events define."""
        events = [
            StoredEvent(seq, at, received_at, bool(late), msgspec.json.decode(body, type=Event))
            for seq, _, at, received_at, late, body in self.events
        ]
        expected: dict[str, tuple[int, int, int]] = {}
        waiting: dict[str, tuple[int, int, int]] = {}  # while a window is open they are not there yet
        for rule in parse_rules(shipped_rules()).rules:
            if rule.emits:
                (waiting if needs_closing(rule) else expected).update(oracle(rule, events))
        assert {row[0]: row[1:4] for row in self.signals if row[0] not in waiting} == expected


def undisturbed(home: Path, stored: Stored) -> Stored:
    """Return the rows of a service that gets the same events in the same order, and is left alone."""
    with Service(home / "undisturbed") as service:
        service.start()
        client = service.client(service.ingest_token())
        for bodies in _batched([row[5] for row in stored.events], 5_000):
            content, headers = b"\n".join(bodies), {"Content-Type": "application/x-ndjson"}

            def taken(content: bytes = content, headers: dict[str, str] = headers) -> httpx.Response | None:
                answer = client.post(f"{service.url}{S}/events", content=content, headers=headers)
                assert answer.status_code in {202, 429}, answer.text
                return answer if answer.status_code == 202 else None

            answer = eventually(taken, seconds=60, what="there is room for more events")
            assert answer.json()["accepted"] == len(bodies), answer.text
        service.drain()
        assert service.stop() == 0
    return Stored(service.folder)


def _batched(items: list[bytes], size: int) -> list[list[bytes]]:
    return [items[n : n + size] for n in range(0, len(items), size)]
