"""GET /explain/{id}: why something was done, and why not, for an event, a signal, an incident or an action."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI, Response

from sentinel.app import Monitor
from sentinel.detection.explain import explain
from sentinel.model import Decision, Signal, StoredEvent, iso
from sentinel.server.imports import signal_row
from sentinel.server.problems import Problem, answer
from sentinel.storage import Action
from sentinel.stream.board import shown

__all__ = ["add_explain"]


def add_explain(api: FastAPI, monitor: Monitor) -> None:
    """Add the route to the application."""
    why = _Why(monitor)

    @api.get("/api/v1/security/explain/{thing}")
    async def explain_thing(thing: str) -> Response:
        told = await why.of(thing)
        if told is None:
            raise Problem("not_found", "no event, signal, incident or action has this id")
        return answer(told)


class _Why:
    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._store = monitor.store

    async def of(self, thing: str) -> dict[str, Any] | None:
        if actions := await self._store.actions_by_id([thing]):
            return await self._action(actions[0])
        if signals := await self._store.signals_by_id([thing]):
            return {"kind": "signal", **await self._signal(signals[0])}
        if incident := await self._store.incident(thing):
            found = await self._store.signals_in(incident.id)
            return {"kind": "incident", "id": thing, "signals": [await self._signal(signal) for signal in found]}
        if events := await self._store.list_events(1, event_id=thing):
            return self._event(events[0])
        return None

    async def _action(self, action: Action) -> dict[str, Any]:
        signals = await self._store.signals_by_id([action.signal_id] if action.signal_id else [])
        where = self._monitor.board.enforced_by(action)
        return {
            "kind": "action",
            "action": shown(action, where),
            "by": f"rule {action.rule} of the policy" if action.auto else action.created_by,
            "enforcement": f"enforced by {', '.join(where)}" if where else _not_enforced(action),
            "because_of": [await self._signal(signal) for signal in signals],
        }

    async def _signal(self, signal: Signal) -> dict[str, Any]:
        """Say what the rule asks, and what the policy says of it as things are now."""
        rule = next((rule for rule in self._monitor.rules.rules if rule.id == signal.rule), None)
        verdict = await self._monitor.responder.verdict(signal)
        return {
            "signal": signal_row(signal),
            "rule_asks": explain(rule) if rule else "the rule is not in force any more",
            "policy_says": _policy(verdict.action, verdict.target, verdict.rule)
            if isinstance(verdict, Decision)
            else f"nothing is done: {verdict.reason}",
        }

    def _event(self, stored: StoredEvent) -> dict[str, Any]:
        rules = self._monitor.rules.rules
        met = [rule for rule in rules if rule.matches(stored.event)]
        notes = []
        if stored.late:
            notes.append("it came late, so it is stored and counted, and no rule sees it")
        if not stored.may_act:
            notes.append("its source may cause no automatic action")
        if not stored.effects:
            notes.append("it came by an import that shows decisions and takes none")
        return {
            "kind": "event",
            "event": msgspec.to_builtins(stored.event),
            "received_at": iso(stored.received_at),
            "found_by": [{"rule": rule.id, "title": rule.title, "asks": explain(rule)} for rule in met],
            "not_found_by": len(rules) - len(met),
            "notes": notes,
        }


def _policy(action: str, target: str, rule: str) -> str:
    return f"{action} on {target}, by its rule {rule}"


def _not_enforced(action: Action) -> str:
    if not action.effective:
        return "decided and not done: a dry run, or an import that shows decisions"
    return "nothing enforces this yet: no enforcement point has asked since it was made"
