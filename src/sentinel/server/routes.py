"""The routes that FastAPI serves: each translates HTTP to one call and back."""

from __future__ import annotations

import asyncio
import json
import unicodedata
import uuid
from contextlib import suppress
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sentinel.access import Token, includes
from sentinel.app import Monitor
from sentinel.enforcement import Block
from sentinel.model import ActionStatus, ActionType, Micros, Role, Scope, Severity, iso
from sentinel.response import Target, normalise, parse_target, refusal
from sentinel.server.authorize import token_of
from sentinel.server.baselines import add_baselines
from sentinel.server.bodies import read_body
from sentinel.server.dead import add_dead_letters
from sentinel.server.evidence import add_evidence
from sentinel.server.explain import add_explain
from sentinel.server.imports import ImportOrder, Imports, signal_row
from sentinel.server.incidents import add_incidents
from sentinel.server.judged import only_where_judged
from sentinel.server.pages import Place, next_place, place
from sentinel.server.people import add_people
from sentinel.server.problems import Problem, answer
from sentinel.server.thresholds import add_thresholds
from sentinel.server.values import Limit, Number, Time, number_of, time_of
from sentinel.server.violations import add_violations
from sentinel.settings import parse_duration
from sentinel.storage import Action, StoreUnable, verify_store
from sentinel.stream.board import CANARY, shown

__all__ = ["build_routes"]

_S = "/api/v1/security"
_HOUR: Micros = 3600 * 1_000_000
_LONGEST_HOURS = 87_600
_LONGEST_WAIT = 30.0
_KNOWN_SECONDS = 1.0  # what is beside the answer is left out rather than waited for
_LONGEST_TARGET = 300  # a name of 256 characters with its kind before it
_LONGEST_EVIDENCE = 64 * 1024
_EXPIRES = r"^([0-9]{1,9}|[0-9]{1,4}(\.[0-9]{1,3})?(ms|s|m|h|d|w))$"
"""A duration of at most 190 years: what comes out is a year with four digits."""

Address = Annotated[str, Path(json_schema_extra={"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})]

_LISTS = {
    ActionType.IP_BLOCK: "ip_blocks",
    ActionType.USER_SUSPEND: "user_suspensions",
    ActionType.RATE_LIMIT: "rate_limits",
    ActionType.ACCOUNT_LOCKOUT: "account_lockouts",
    ActionType.SERVICE_ISOLATION: "service_isolations",
    ActionType.THREAT_QUARANTINE: "quarantines",
    ActionType.ALERT_ESCALATION: "escalations",
}
"""Names in /active-blocks (decisions, D6)."""
_NAMED = {"ip_blocks": "ip_address", "user_suspensions": "user_id", "account_lockouts": "user_id"}
"""Lists whose items say their target once more under the contract's name."""


_TARGETS: list[Any] = [
    {"properties": {"action_type": {"const": kind.value}, "target": {"format": f"target-of-{kind.value}"}}}
    for kind in ActionType
]
"""How a target is written hangs on the kind of action; that can only be named in JSON Schema."""


class ManualAction(BaseModel):
    """What POST /manual-action takes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"anyOf": _TARGETS})

    action_type: ActionType
    target: str = Field(max_length=_LONGEST_TARGET)
    reason: str = Field(min_length=1, max_length=1000)
    severity: Severity = Severity.MEDIUM
    evidence: dict[str, Any] = Field(default_factory=dict)
    duration_hours: Annotated[float, Field(strict=True, gt=0, le=_LONGEST_HOURS)] | None = 24.0
    """Null lasts until somebody ends it."""

    @field_validator("evidence")
    @classmethod
    def _can_be_told(cls, evidence: dict[str, Any]) -> dict[str, Any]:
        """Refuse what can't be written in the answers to everybody who asks later: a lone surrogate, NaN."""
        try:
            size = len(json.dumps(evidence, ensure_ascii=False, allow_nan=False).encode())
        except (ValueError, RecursionError):
            raise ValueError("holds something that JSON in UTF-8 can't") from None
        if size > _LONGEST_EVIDENCE:
            raise ValueError(f"is longer than {_LONGEST_EVIDENCE} bytes")
        return evidence


class TokenOrder(BaseModel):
    """What POST /tokens takes."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    name: str = Field(default="", max_length=256)
    may_cause_actions: Annotated[bool, Field(strict=True)] = False
    max_severity: Severity | None = None
    expires: Annotated[str, Field(pattern=_EXPIRES)] | None = None
    source_cidr: Annotated[str, Field(max_length=64, json_schema_extra={"format": "ip-network"})] | None = None


def build_routes(api: FastAPI, monitor: Monitor, imports: Imports) -> None:
    """Add every route to the application."""
    _add_health(api, monitor)
    _add_summary(api, monitor)
    _add_lists(api, monitor)
    _add_actions(api, monitor)
    _add_orders(api, monitor)
    _add_tokens(api, monitor)
    _add_imports(api, imports)
    add_incidents(api, monitor)
    add_people(api, monitor)
    add_baselines(api, monitor)
    add_violations(api, monitor)
    add_dead_letters(api, monitor)
    add_explain(api, monitor)
    add_evidence(api, monitor)
    add_thresholds(api, monitor)


def _add_health(api: FastAPI, monitor: Monitor) -> None:
    @api.get("/readyz")
    async def readyz() -> Response:
        reason = monitor.ready()
        if reason is not None:
            raise Problem("not_ready", reason, members={"ready": False, "reason": reason})
        return answer({"ready": True, "reason": None})

    @api.get(f"{_S}/health")
    async def health(request: Request) -> Response:
        body = {"timestamp": iso(monitor.clock()), **monitor.health()}
        if request.scope["sentinel.token"] is not None:
            body["queue"] = {"accepted_seq": monitor.store.accepted_seq, "processed_seq": monitor.worker.position}
            body["rules"] = {
                "loaded": len(monitor.rules.rules),
                "refused": len(monitor.rules.refused),
                "rejected": len(monitor.rule_files.rejected),
            }
            body["blocks"] = len(monitor.board.snapshot)
            components: Any = body["components"]
            for name, details in monitor.details().items():
                components[name] |= details
            body["health"] = await monitor.measure()
        return answer(body)

    @api.get("/metrics")
    @api.get(f"{_S}/metrics")
    async def metrics(request: Request) -> Response:
        await monitor.measure()
        body, content_type = monitor.metrics.exposition(request.headers.get("accept", ""))
        return Response(body, media_type=content_type)


def _add_summary(api: FastAPI, monitor: Monitor) -> None:
    @api.get(f"{_S}/summary")
    async def summary(request: Request) -> Response:
        now = monitor.clock()
        found = await monitor.store.summary(now - _HOUR)
        body: dict[str, object] = {
            "timestamp": iso(now),
            "violations_last_hour": {s.value: found.violations.get(s.value, 0) for s in Severity if s.rank},
            "data_access_last_hour": {
                "total_accesses": found.accesses,
                "sensitive_accesses": found.sensitive_accesses,
                "unique_users": found.users,
            },
            "active_blocks": len(monitor.board.snapshot),
            "health": await monitor.measure(),
        }
        if includes(token_of(request.scope).role, {Role.ANALYST}):
            body["top_sources"] = msgspec.to_builtins(found.sources)
        return answer(body)


def _add_lists(api: FastAPI, monitor: Monitor) -> None:
    store = monitor.store

    @api.get(f"{_S}/events")
    async def events(  # noqa: PLR0917 - each filter is a query parameter of its own
        limit: Limit = 50,
        cursor: Number = None,
        since: Time = None,
        until: Time = None,
        event_id: str | None = None,
        event_type: str | None = None,
        severity: str | None = None,
        user_id: str | None = None,
        ip_address: str | None = None,
    ) -> Response:
        found = await store.list_events(
            limit,
            number_of(cursor),
            time_of(since, "since"),
            time_of(until, "until"),
            event_id=event_id,
            event_type=event_type,
            severity=severity,
            user_id=user_id,
            ip_address=ip_address,
        )
        items = [msgspec.to_builtins(e.event) | {"received_at": iso(e.received_at), "late": e.late} for e in found]
        return answer({"items": items, "next_cursor": str(found[-1].seq) if len(found) == limit else None})

    @api.get(f"{_S}/signals")
    async def signals(limit: Limit = 50, cursor: Place = None) -> Response:
        found = await store.list_signals(limit, place(cursor))
        items = [signal_row(signal) for signal in found]
        return answer({"items": items, "next_cursor": next_place(found, limit)})

    @api.get(f"{_S}/rules")
    async def rules() -> Response:
        blind = monitor.worker.coverage.blind() if monitor.worker.judging else {}
        loaded = [{"rule": rule.id, "title": rule.title, "blind": blind.get(rule.id)} for rule in monitor.rules.rules]
        told = {"version": monitor.rules.version, "refused": monitor.rules.refused, "warnings": monitor.rules.warnings}
        return answer({**told, "rejected": monitor.rule_files.rejected, "items": loaded, "next_cursor": None})

    @api.post(f"{_S}/rules/reload")
    async def reload() -> Response:
        await monitor.rule_files.reload()
        if rejected := monitor.rule_files.rejected:
            places = "; ".join(f"{each.file}:{each.line}: {each.reason}" for each in rejected)
            raise Problem("invalid", f"the rules stay as they were: {places}", members={"rejected": rejected})
        return answer({"success": True, "message": f"{len(monitor.rules.rules)} rules are in force"})

    @api.get(f"{_S}/audit")
    async def audit(limit: Limit = 50, cursor: Number = None) -> Response:
        found = await store.list_audit(limit, number_of(cursor))
        items = [{"seq": seq, **msgspec.to_builtins(entry), "at": iso(entry.at)} for seq, entry in found]
        return answer({"items": items, "next_cursor": str(found[-1][0]) if len(found) == limit else None})

    @api.get(f"{_S}/audit/verify")
    async def verify() -> Response:
        place = monitor.settings
        report = await asyncio.to_thread(verify_store, place.store_place, place.anchor_path, monitor.audit_keys)
        return answer(msgspec.to_builtins(report))


def _add_actions(api: FastAPI, monitor: Monitor) -> None:
    store, board = monitor.store, monitor.board

    def show(action: Action) -> dict[str, object]:
        return shown(action, board.enforced_by(action))

    @api.get(f"{_S}/active-blocks")
    async def active_blocks() -> Response:
        actions = [action for action in await store.actions_in_force(monitor.clock()) if action.id != CANARY]
        lists = {
            name: [show(action) for action in _longest(actions, action_type)] for action_type, name in _LISTS.items()
        }
        for name, key in _NAMED.items():
            lists[name] = [{key: item["target"], **item} for item in lists[name]]
        return answer(lists)

    @api.get(f"{_S}/actions")
    async def actions() -> Response:
        return answer(
            {
                "items": [show(action) for action in await store.list_actions() if action.id != CANARY],
                "next_cursor": None,
            }
        )

    @api.get(f"{_S}/check-ip/{{ip}}")
    async def check_ip(ip: Address) -> Response:
        try:
            block = board.snapshot.check(ip, monitor.clock())
        except ValueError:
            raise Problem("invalid", "this is not an IP address; write it like 203.0.113.9 or 2001:db8::1") from None
        refused = block is not None and block.action_type == ActionType.IP_BLOCK
        return answer({"ip_address": ip, "is_blocked": refused, "block_info": await _known_of(monitor, block)})

    @api.get(f"{_S}/check-user/{{user_id:path}}")
    async def check_user(user_id: str) -> Response:
        name = unicodedata.normalize("NFC", user_id)
        block = board.snapshot.refusal(None, [(Scope.USER, name)], monitor.clock())
        info = await _known_of(monitor, block)
        return answer({"user_id": user_id, "is_suspended": block is not None, "suspension_info": info})

    @api.get(f"{_S}/decisions")
    async def decisions(
        request: Request,
        since: Annotated[int, Query(ge=0)] = 0,
        wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT)] = 0.0,
        node: Annotated[str | None, Query(max_length=128)] = None,
    ) -> Response:
        changes = await board.changes(since, wait=wait, node=node)
        if monitor.tokens.ended(token_of(request.scope), monitor.clock()):  # while the question waited
            raise Problem("no_token", "this token has ended", headers={"WWW-Authenticate": "Bearer"})
        return answer(changes)


async def _known_of(monitor: Monitor, block: Block | None) -> dict[str, object] | None:
    """Return what the store knows of a block; None while it is away or silent, which ends no block."""
    with suppress(StoreUnable, TimeoutError):
        async with asyncio.timeout(_KNOWN_SECONDS):
            found = [] if block is None else await monitor.store.actions_by_id([block.id])
        return shown(found[0], monitor.board.enforced_by(found[0])) if found else None
    return None


def _add_orders(api: FastAPI, monitor: Monitor) -> None:
    @api.post(f"{_S}/manual-action")
    async def manual_action(order: ManualAction, request: Request) -> Response:
        action = _ordered(order, monitor, token_of(request.scope))
        stored = await monitor.orders.order(action, by=token_of(request.scope).id)
        return answer(
            {
                "success": True,
                "message": f"{stored.action_type} on {stored.target} is in force",
                "action": shown(stored),
            }
        )

    @api.delete(f"{_S}/action/{{action_type}}/{{target:path}}")
    async def end_action(action_type: ActionType, target: str, request: Request) -> Response:
        wanted = _aim(action_type, target).spelled(action_type)
        if not await monitor.orders.end(action_type, wanted, by=token_of(request.scope).id):
            actions = await monitor.store.actions_in_force(monitor.clock())
            raise Problem("not_found", _why_none(actions, action_type, wanted))
        return answer({"success": True, "message": f"{action_type} on {wanted} has ended"})

    @api.post(f"{_S}/prune")
    async def prune() -> Response:
        only_where_judged(monitor)
        return answer({"deleted": await monitor.prune()})


def _add_tokens(api: FastAPI, monitor: Monitor) -> None:
    @api.get(f"{_S}/tokens")
    async def tokens() -> Response:
        return answer({"items": [_token_row(token) for token in monitor.tokens.list()], "next_cursor": None})

    @api.post(f"{_S}/tokens")
    async def create_token(order: TokenOrder, request: Request) -> Response:
        expires_at = None if order.expires is None else monitor.clock() + _microseconds(order.expires)
        text, token = await monitor.create_token(
            order.role,
            by=token_of(request.scope).id,
            name=order.name.translate(_CONTROLS),
            max_severity=order.max_severity,
            may_cause_actions=order.may_cause_actions,
            expires_at=expires_at,
            source_cidr=None if order.source_cidr is None else _cidr(order.source_cidr),
        )
        return answer({"token": text, **_token_row(token)}, 201)

    @api.delete(f"{_S}/tokens/{{token_id}}")
    async def revoke_token(token_id: str, request: Request) -> Response:
        token = monitor.tokens.by_id(token_id)
        if token is None or token.revoked_at is not None:
            raise Problem("not_found", "no token in force has this id; `sentinel token list` shows them")
        await monitor.revoke_token(token, by=token_of(request.scope).id)
        return answer({"success": True, "message": f"{token_id} is revoked"})


def _add_imports(api: FastAPI, imports: Imports) -> None:
    @api.post(f"{_S}/imports")
    async def begin(request: Request) -> Response:
        try:
            order = msgspec.json.decode(await read_body(request.scope, request.receive), type=ImportOrder)
        except msgspec.DecodeError as err:
            raise Problem("invalid", str(err)) from None
        return answer({"import_id": imports.begin(order)}, 201)

    @api.post(f"{_S}/imports/{{import_id}}/events")
    async def take(import_id: str, request: Request) -> Response:
        return answer(await imports.take(import_id, await read_body(request.scope, request.receive)), 202)

    @api.post(f"{_S}/imports/{{import_id}}/finish")
    async def finish(import_id: str) -> Response:
        return answer(await imports.finish(import_id))


# --- reading and writing values


def _ordered(order: ManualAction, monitor: Monitor, token: Token) -> Action:
    """Return a person's order as an action, or refuse it."""
    aim = _aim(order.action_type, order.target)
    target = aim.spelled(order.action_type)
    if reason := refusal(aim, monitor.rails):
        raise Problem("protected", f"{target} can't be a target: {reason}")
    hours, now = order.duration_hours, monitor.clock()
    action_id = f"act-{uuid.uuid4().hex[:24]}"
    return Action(
        id=action_id,
        key=action_id,
        action_type=order.action_type,
        target=target,
        reason=order.reason.translate(_CONTROLS),
        evidence=order.evidence,
        severity=order.severity,
        status=ActionStatus.ACTIVE,
        created_at=now,
        expiration=None if hours is None else now + round(hours * _HOUR),
        auto=False,
        created_by=token.id,
        incident_id=aim.name if aim.scope is Scope.INCIDENT else None,
    )


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


def _aim(action_type: ActionType, target: str) -> Target:
    try:
        return parse_target(action_type, target)
    except ValueError as err:
        raise Problem("invalid", f"the target is {err}") from None


def _longest(actions: list[Action], action_type: ActionType) -> list[Action]:
    """Return one action for each target: the one that lasts longest is the effective one."""
    best: dict[str, Action] = {}
    for action in actions:
        if action.action_type is action_type:
            present = best.get(action.target)
            if present is None or action.ends() > present.ends():
                best[action.target] = action
    return list(best.values())


def _why_none(actions: list[Action], action_type: ActionType, wanted: str) -> str:
    aim = parse_target(action_type, wanted)
    for action in actions:
        if action.action_type is action_type and _inside(aim, parse_target(action_type, action.target)):
            return f"{wanted} lies inside {action.target}; end that one to let it go on"
    return f"no {action_type} on {wanted} is in force"


def _inside(inner: Target, outer: Target) -> bool:
    if not inner.scope is outer.scope is Scope.IP:
        return False
    network, wider = normalise(inner.name), normalise(outer.name)
    return wider.version == network.version and network.subnet_of(wider)  # type: ignore[arg-type]  # same version


def _token_row(token: Token) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role.value,
        "max_severity": token.max_severity.value,
        "may_cause_actions": token.may_cause_actions,
        "created_at": iso(token.created_at),
        "expires_at": None if token.expires_at is None else iso(token.expires_at),
        "source_cidr": token.source_cidr,
        "revoked_at": None if token.revoked_at is None else iso(token.revoked_at),
    }


def _cidr(text: str) -> str:
    try:
        return str(normalise(text))
    except ValueError as err:
        raise Problem("invalid", f"source_cidr is {err}") from None


def _microseconds(duration: str) -> Micros:
    try:
        return round(parse_duration(duration) * 1_000_000)
    except ValueError:
        raise Problem("invalid", "expires is a duration such as 90d, 12h or 30m") from None
