"""The routes of incidents: what happened, what it rests on, what people do about it, and its export."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from sentinel import __version__
from sentinel.app import Monitor
from sentinel.detection.baseline.told import anomaly_row
from sentinel.detection.incidents import INCIDENT_GAP, rank_of, suggestion
from sentinel.detection.sigma.fields import subject_type
from sentinel.model import Incident, IncidentStatus, Signal, StoredEvent, SubjectType, iso
from sentinel.observability import pseudonym
from sentinel.server.authorize import token_of
from sentinel.server.imports import signal_row
from sentinel.server.ocsf import incident_finding
from sentinel.server.pages import Place, next_place, place
from sentinel.server.problems import Problem, answer
from sentinel.server.values import Limit
from sentinel.storage import Action, Note
from sentinel.stream.board import shown

__all__ = ["add_incidents", "no_incident"]

_S = "/api/v1/security"
_EVIDENCE = 20
_AS_IT_IS = frozenset(
    {
        *("id", "uid", "event_id", "incident_id", "rule", "by", "at", "first", "last", "created_at", "expiration"),
        *("status", "severity", "priority", "what", "subject_type", "event_type", "threat_type", "threat_types"),
        *("action_type", "type", "types", "metric", "method", "activity_name", "metadata"),
    }
)
"""Members of an export that hold ids, times and words of ours: never a name, though somebody may be called so."""
_NO_NAME = r"\d{4}-\d\d-\d\dT[\d:.]+Z|[\da-fA-F]*:[\da-fA-F]*:[\da-fA-F:.]*"
"""Times and IPv6 addresses inside of texts."""


class NoteOrder(BaseModel):
    """What acknowledging, closing and noting take."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field(default="", max_length=1000)
    assignee: str | None = Field(default=None, min_length=1, max_length=256)


def no_incident() -> Problem:
    """Return the refusal of an id that no incident has."""
    return Problem("not_found", "no incident has this id; `sentinel incidents list` shows them")


async def _found(monitor: Monitor, incident_id: str) -> Incident:
    incident = await monitor.store.incident(incident_id)
    if incident is None:
        raise no_incident()
    return incident


def add_incidents(api: FastAPI, monitor: Monitor) -> None:
    """Add the routes to the application."""
    store = monitor.store

    @api.get(f"{_S}/incidents")
    async def incidents(limit: Limit = 50, cursor: Place = None) -> Response:
        found = await store.list_incidents(limit, place(cursor))
        actions = await store.actions_by_incident(one.id for one in found)
        signals = await store.members_of(one.id for one in found)
        items = [
            _head(one)
            | {"signals": signals.get(one.id, []), "actions": [action.id for action in actions.get(one.id, [])]}
            for one in found
        ]
        return answer({"items": items, "next_cursor": next_place(found, limit)})

    @api.get(f"{_S}/incidents/{{incident_id}}")
    async def incident(incident_id: str) -> Response:
        one = await _found(monitor, incident_id)
        signals = await store.signals_in(one.id)
        return answer(await _page(monitor, one, signals, await _evidence(monitor, one, signals)))

    @api.get(f"{_S}/exports/incidents/{{incident_id}}")
    async def export(
        incident_id: str,
        form: Annotated[Literal["json", "ocsf"], Query(alias="format")] = "json",
        names: Annotated[bool, Query()] = False,
    ) -> Response:
        one = await _found(monitor, incident_id)
        signals = await store.signals_in(one.id)
        events = await _evidence(monitor, one, signals)
        if form == "json":
            content = await _page(monitor, one, signals, events)
        else:
            content = incident_finding(one, signals, await store.notes_on(one.id), monitor.clock(), __version__)
        if not names:  # what leaves carries pseudonyms (decisions, B2)
            users = _users(signals, events)
            content = _masked(content, {user: pseudonym(monitor.names_key, user) or user for user in users})
        return answer(content)

    @api.post(f"{_S}/incidents/{{incident_id}}/{{word}}")
    async def follow(
        incident_id: str, word: Literal["ack", "close", "note"], request: Request, order: NoteOrder | None = None
    ) -> Response:
        by, said = token_of(request.scope), order or NoteOrder()
        status = {"ack": IncidentStatus.ACKNOWLEDGED, "close": IncidentStatus.CLOSED}.get(word)
        one = await monitor.people.follow(
            incident_id, status, by=by.id, note=said.note, assignee=said.assignee, taker=by.name
        )
        if one is None:
            raise no_incident()
        done = "has a note" if status is None else f"is {status.value}"
        return answer({"success": True, "message": f"{incident_id} {done}"})


def _head(one: Incident) -> dict[str, Any]:
    """Return what the list and the page of an incident both say."""
    told: dict[str, Any] = msgspec.to_builtins(one)
    return told | {"first": iso(one.first), "last": iso(one.last), "rank": rank_of(one)}


async def _page(monitor: Monitor, one: Incident, signals: list[Signal], events: list[StoredEvent]) -> dict[str, Any]:
    store = monitor.store
    actions, notes = await store.actions_of(one.id), await store.notes_on(one.id)
    users = sorted({signal.subject for signal in signals if _is_user(signal)})
    since, until = one.first - INCIDENT_GAP, one.last + INCIDENT_GAP
    anomalies = [
        each for user in users for each in await store.anomalies(user_id=user, since=since, until=until, limit=100)
    ]
    rows: list[tuple[int, dict[str, object]]] = [
        (s.first, {"at": iso(s.first), "what": "signal", "id": s.id, "says": s.title}) for s in signals
    ]
    rows += [(a.at, _noticed(a)) for a in anomalies]
    rows += [(a.decided_at or a.created_at, _done(a)) for a in actions]
    rows += [(n.at, {"at": iso(n.at), "what": n.what, "id": n.by, "says": n.note}) for n in notes]
    return _head(one) | {
        "suggestion": suggestion(one),
        "signals": [signal_row(signal) for signal in signals],
        "anomalies": [anomaly_row(each) for each in sorted(anomalies, key=lambda each: each.at)],
        "actions": [shown(action, monitor.board.enforced_by(action)) for action in actions],
        "evidence": [_fact(event) for event in events],
        "notes": [_note(note) for note in notes],
        "timeline": [row for _, row in sorted(rows, key=lambda pair: pair[0])],
    }


async def _evidence(monitor: Monitor, one: Incident, signals: list[Signal]) -> list[StoredEvent]:
    """Return the latest events of the incident's users and addresses, in order of time."""
    fields = {SubjectType.USER: "user_id", SubjectType.IP: "ip_address"}
    found: dict[int, StoredEvent] = {}
    for kind, subject in sorted({(signal.subject_type, signal.subject) for signal in signals}):
        if kind in fields:
            events = await monitor.store.list_events(
                _EVIDENCE, None, one.first - INCIDENT_GAP, one.last + 1, **{fields[kind]: subject}
            )
            found |= {event.seq: event for event in events}
    latest = sorted(found.values(), key=lambda event: (event.at, event.seq))
    return latest[-_EVIDENCE:]


def _fact(stored: StoredEvent) -> dict[str, object]:
    event = stored.event
    return {
        "event_id": event.event_id,
        "at": iso(stored.at),
        "event_type": event.event_type.value,
        "user_id": event.user_id,
        "session_id": event.session_id,
        "ip_address": event.ip_address,
    }


def _noticed(stored: StoredEvent) -> dict[str, object]:
    row = anomaly_row(stored)
    return {"at": row["at"], "what": "anomaly", "id": row["id"], "says": row["reason"]}


def _done(action: Action) -> dict[str, object]:
    at = iso(action.decided_at or action.created_at)
    return {"at": at, "what": action.action_type.value, "id": action.id, "says": action.reason}


def _note(note: Note) -> dict[str, object]:
    return {"at": iso(note.at), "by": note.by, "what": note.what, "note": note.note}


def _is_user(signal: Signal) -> bool:
    return signal.subject_type is SubjectType.USER


def _users(signals: Iterable[Signal], events: Iterable[StoredEvent]) -> set[str]:
    """Return every user that signals or events name, whoever is the subject."""
    users = {signal.subject for signal in signals if _is_user(signal)}
    for signal in signals:
        users |= {name for field, name in signal.group.items() if subject_type(field) is SubjectType.USER}
    return users | {event.event.user_id for event in events if event.event.user_id is not None}


def _masked(content: Any, names: dict[str, str]) -> Any:
    """Return the content with every name replaced, inside of texts too, where it stands as a word of its own."""
    some = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    if not some:
        return content
    # A full stop or a hyphen is part of a word where the word goes on behind it.
    words = re.compile(rf"(?<!\w)(?<!\w[.-])(?:{_NO_NAME}|{some})(?!\w)(?![.-]\w)")

    def mask(value: Any, kept: frozenset[str] = _AS_IT_IS) -> Any:
        if isinstance(value, dict):
            # What somebody wrote beside an action may say anything under any key.
            free = value.get("evidence") if isinstance(value.get("evidence"), dict) else None
            return {
                key: each if key in kept else mask(each, frozenset() if each is free else kept)
                for key, each in value.items()
            }
        if isinstance(value, list | tuple):
            return [mask(each, kept) for each in value]
        if isinstance(value, str):
            return names.get(value) or words.sub(lambda found: names.get(found[0], found[0]), value)
        return value

    return mask(content)
