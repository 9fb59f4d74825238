"""
What several processes agree on through their database: the next numbers, whose turn it is, who judges.

Numbers are rows that a transaction moves and so holds until its end. Whoever comes next waits for that: numbers have
no gaps, and their order is that in which transactions were committed. Events have a row of their own, so that they are
accepted while the outcome of others is written.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text

from sentinel.audit import GENESIS
from sentinel.storage.values import Judge, Overtaken

__all__ = ["BEGIN", "CHANNEL", "Numbers", "audit_head", "look", "settle", "take_numbers", "take_turn"]

BEGIN = [
    text(f"INSERT INTO positions VALUES ('{name}', 0) ON CONFLICT DO NOTHING")  # noqa: S608 - our own names
    for name in ("accepted", "changed", "turns", "lease")
] + [
    # A version that had the numbers in memory may have worked here meanwhile, or a backup was brought back.
    text("""
        UPDATE positions SET value = greatest(value,
            (SELECT coalesce(max(seq), 0) FROM events),
            (SELECT coalesce(max(value), 0) FROM positions WHERE name = 'processed')
        ) WHERE name = 'accepted'"""),
    text("""
        UPDATE positions SET value = greatest(value,
            (SELECT coalesce(max(change_seq), 0) FROM security_actions),
            (SELECT coalesce(max(value), 0) FROM positions WHERE name = 'change_floor')
        ) WHERE name = 'changed'"""),
]
"""What makes the rows, or brings them to where numbering goes on."""

CHANNEL = "sentinel"
"""Where it is told that numbers were taken, and by whose session."""
_TAKE = text(f"""
    WITH taken AS (UPDATE positions SET value = value + :number WHERE name = :name RETURNING value)
    SELECT value FROM taken, pg_notify('{CHANNEL}', current_setting('application_name'))""")  # noqa: S608 - our own words
_POSITIONS = text("SELECT name, value FROM positions")
_AUDITED = text("SELECT seq, hash FROM audit_trail ORDER BY seq DESC LIMIT 1")
_JUDGE = text("""
    SELECT name, settled, extract(epoch FROM clock_timestamp()) - seen_at / 1e6 AS silent
    FROM nodes WHERE lease > 0 AND lease = (SELECT value FROM positions WHERE name = 'lease')""")
_SETTLE = text("UPDATE nodes SET settled = true WHERE lease = (SELECT value FROM positions WHERE name = 'lease')")


class Numbers(NamedTuple):
    """Where numbering stands, and who judges."""

    accepted: int
    processed: int
    changed: int
    floor: int
    turns: int
    lease: int
    audited: tuple[int, bytes]
    judge: Judge | None


def take_numbers(connection: Connection, name: str, number: int) -> int:
    """
    Return the last of so many numbers that nobody else gets; a negative `number` gives some back.

    All other processes are told when it is committed.
    """
    return int(connection.scalar(_TAKE, {"name": name, "number": number}) or 0)


def take_turn(connection: Connection, seen: int | None) -> int:
    """
    Let nobody else change anything until the end of the transaction; returns the number of this turn.

    Raises:
        Overtaken: Somebody has changed something since turn `seen`.
    """
    turn = take_numbers(connection, "turns", 1)
    if seen is not None and turn != seen + 1:
        raise Overtaken
    return turn


def audit_head(connection: Connection) -> tuple[int, bytes]:
    """Return the sequence and the hash of the last audit entry."""
    row = connection.execute(_AUDITED).first()
    return (0, GENESIS) if row is None else (row.seq, row.hash)


def look(connection: Connection) -> Numbers:
    """Return how things stand. One that is read later is never behind one that is read earlier."""
    audited = audit_head(connection)
    at = dict.fromkeys(("accepted", "processed", "changed", "change_floor", "turns", "lease"), 0)
    at |= {row.name: row.value for row in connection.execute(_POSITIONS)}
    found = connection.execute(_JUDGE).first()
    judge = None if found is None else Judge(name=found.name, silent=float(found.silent), settled=found.settled)
    return Numbers(
        at["accepted"], at["processed"], at["changed"], at["change_floor"], at["turns"], at["lease"], audited, judge
    )


def settle(connection: Connection) -> None:
    """Say that the node that judges has taken up what was there when it began to."""
    connection.execute(_SETTLE)
