"""What quarantines rest on: kept beside the actions, and out of the reach of pruning while they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

import msgspec
from sqlalchemy import ColumnElement, Connection, LargeBinary, insert, literal, select

from sentinel.model import Micros, StoredEvent
from sentinel.storage import tables
from sentinel.storage.dialect import holds, insert_missing
from sentinel.storage.rows import to_event
from sentinel.storage.statements import STORED
from sentinel.storage.values import Evidence

__all__ = ["read_evidence", "read_naming", "write_evidence"]

_encode = msgspec.json.Encoder().encode
_KEEP = insert_missing(tables.evidence)


def write_evidence(connection: Connection, evidence: Iterable[Evidence]) -> None:
    """Keep evidence; what is there for an action already stays as it is."""
    for one in evidence:
        row = {"action_id": one.action_id, "bundle": one.bundle, "sha256": one.sha256}
        fresh = connection.execute(_KEEP.on(connection), row).rowcount
        if fresh and one.events:
            rows = [{"action_id": one.action_id, "seq": seq} for seq in one.events]
            connection.execute(insert(tables.evidence_events), rows)


def read_evidence(action_id: str, connection: Connection) -> Evidence | None:
    """Return the evidence of an action."""
    e, named = tables.evidence.c, tables.evidence_events.c
    row = connection.execute(select(tables.evidence).where(e.action_id == action_id)).one_or_none()
    if row is None:
        return None
    seqs = connection.scalars(select(named.seq).where(named.action_id == action_id).order_by(named.seq))
    return Evidence(action_id=action_id, bundle=row.bundle, sha256=row.sha256, events=tuple(seqs))


def read_naming(
    words: Sequence[str],
    between: tuple[Micros, Micros],
    limit: int,
    more: Sequence[ColumnElement[bool]],
    connection: Connection,
) -> list[StoredEvent]:
    """Return the latest events of a time that hold each of these texts somewhere, and more, in order of acceptance."""
    e = tables.events.c
    # As they stand in the stored JSON, without the quotes: a number has none.
    needles = [literal(_encode(word)[1:-1], LargeBinary) for word in words]
    query = select(*STORED).where(e.at.between(*between), *(holds(e.body, needle) for needle in needles), *more)
    # By time, which has an index: by sequence, a rare text would be looked for in the whole table.
    rows = connection.execute(query.order_by(e.at.desc(), e.seq.desc()).limit(limit)).all()
    return sorted(map(to_event, rows), key=attrgetter("seq"))
