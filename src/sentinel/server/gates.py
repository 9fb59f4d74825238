"""
Enforcement for programs that aren't ours: nginx `auth_request` and the like, and CrowdSec's bouncers.

The first ask about each request, from the service's own snapshot; the others read the list of decisions in the shape of
CrowdSec's local API. Plain ASGI, as a proxy asks for every request.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
import unicodedata
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote

import msgspec

from sentinel.app import Monitor
from sentinel.enforcement.buckets import TokenBuckets
from sentinel.enforcement.snapshot import Block
from sentinel.model import ActionStatus, ActionType, Micros
from sentinel.model import Scope as Kind
from sentinel.response import normalise, parse_target
from sentinel.server.authorize import token_of
from sentinel.server.problems import Problem, Receive, Scope, Send, json_bytes, respond
from sentinel.storage import Action
from sentinel.stream.board import CANARY

__all__ = ["CrowdSecDecision", "Gates"]

_NAME_HEADERS = {
    b"x-sentinel-user": Kind.USER,
    b"x-sentinel-session": Kind.SESSION,
    b"x-sentinel-service": Kind.SERVICE,
}
_ADDRESS_HEADER = b"x-real-ip"
_URI_HEADER = b"x-original-uri"

_BANS = {ActionType.IP_BLOCK, ActionType.USER_SUSPEND, ActionType.ACCOUNT_LOCKOUT, ActionType.THREAT_QUARANTINE}
"""What bouncers are told. A rate limit is not among it: a bouncer that doesn't know the word bans instead."""
_SCOPES = {Kind.IP: "Ip", Kind.USER: "username", Kind.SESSION: "session"}
_DEFAULT_SCOPES = "ip,range"
_FOREVER: Micros = 87_600 * 3_600 * 1_000_000
_DAY: Micros = 24 * 3_600 * 1_000_000
_BOUNCERS = 1_000


class Gates:
    """The routes, by method and path: `Gates(monitor).routes`."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._buckets = TokenBuckets()
        self._told: dict[str, int] = {}
        """By token: the change that a bouncer was told last."""
        self.routes = {
            ("GET", "/api/v1/security/authorize"): self.authorize,
            ("GET", "/v1/decisions"): self.decisions,
            ("GET", "/v1/decisions/stream"): self.stream,
        }

    async def authorize(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """
        Answer 204 when a request may go on, else 403; a proxy describes it in headers.

        `X-Real-IP` is needed; `X-Sentinel-User`, `X-Sentinel-Session`, `X-Sentinel-Service` and `X-Original-URI` may
        be there.
        """
        headers = dict(scope["headers"])
        address = headers.get(_ADDRESS_HEADER, b"").decode("latin-1").strip()
        names = [(kind, _text(headers[name])) for name, kind in _NAME_HEADERS.items() if headers.get(name)]
        if _URI_HEADER in headers:
            # Decoded, as the application behind the proxy sees it: /lo%67in is /login.
            names.append((Kind.ENDPOINT, unquote(headers[_URI_HEADER].decode("latin-1").partition("?")[0])))
        try:
            block = self._refusal(address, names)
        except ValueError:
            raise Problem("invalid", "send the client's address as X-Real-IP; see the how-to on nginx") from None
        if block is None:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        problem = Problem("blocked", "this request is refused", members={"decision": block.id})
        await problem.send(send)

    def _refusal(self, address: str, names: list[tuple[Kind, str]]) -> Block | None:
        snapshot, now = self._monitor.board.snapshot, self._monitor.clock()
        if block := snapshot.refusal(address, names, now):
            return block
        for limit in snapshot.limits(address, names, now):
            if self._buckets.take(limit.id, limit.limit, time.monotonic()):
                return limit
        return None

    # --- CrowdSec's local API

    async def decisions(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with the decisions about one address, range or name, or `null`."""
        asked = _Query(scope)
        now = self._monitor.clock()
        found = [_decision(action, now) for action in await self._monitor.store.actions_in_force(now) if _told(action)]
        matching = [row for row in found if asked.about(row) and asked.wanted(row)]
        await respond(send, 200, json_bytes(matching or None))

    async def stream(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with what is new and what has ended since the same token asked last; all with `startup=true`."""
        asked = _Query(scope)
        bouncer, now = token_of(scope).id, self._monitor.clock()
        upto = self._monitor.store.change_seq
        since = None if asked.startup else self._told.get(bouncer)
        in_force = [action for action in await self._monitor.store.actions_in_force(now) if _told(action)]
        ended = [] if asked.startup else await self._ended(since or 0, now)
        over = {action.target for action in ended}
        # A bouncer forgets by value, so what still holds on a value where something else has ended is told again.
        new = [action for action in in_force if action.change_seq > (since or 0) or action.target in over]
        if len(self._told) < _BOUNCERS or bouncer in self._told:
            self._told[bouncer] = upto
        answer = {
            "new": [row for row in (_decision(action, now) for action in new) if asked.wanted(row)] or None,
            "deleted": [row for row in (_decision(action, now) for action in ended) if asked.wanted(row)] or None,
        }
        await respond(send, 200, json_bytes(answer))

    async def _ended(self, since: int, now: Micros) -> list[Action]:
        """Return what a bouncer that was told up to `since` must forget; for one that we don't know, of one day."""
        changed = await self._monitor.store.actions_since(since)
        ended = [action for action in changed if _told(action) and not _holds(action, now)]
        return ended if since else [action for action in ended if (action.revoked_at or now) > now - _DAY]


def _told(action: Action) -> bool:
    return action.action_type in _BANS and action.id != CANARY


def _holds(action: Action, now: Micros) -> bool:
    return action.status is ActionStatus.ACTIVE and action.ends() > now


def _text(raw: bytes) -> str:
    """Proxies pass names on in UTF-8; what is none can't be anybody's name."""
    return unicodedata.normalize("NFC", raw.decode("utf-8", "replace"))


class CrowdSecDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A decision as CrowdSec's local API shows it."""

    id: int
    origin: str
    scenario: str
    scope: str
    value: str
    type: str
    duration: str
    uuid: str


def _decision(action: Action, now: Micros) -> CrowdSecDecision:
    target = parse_target(action.action_type, action.target)
    scope = "Range" if target.scope is Kind.IP and "/" in target.name else _SCOPES.get(target.scope, target.scope.value)
    left = _FOREVER if action.expiration is None else action.expiration - now
    return CrowdSecDecision(
        id=int.from_bytes(hashlib.sha256(action.id.encode()).digest()[:6]),
        origin="sentinel",
        scenario=f"sentinel/{action.rule or 'manual'}",
        scope=scope,
        value=target.name,
        type="ban",
        duration=_go_duration(left if action.status is ActionStatus.ACTIVE else -1_000_000),
        uuid=action.id,
    )


def _go_duration(left: Micros) -> str:
    sign, seconds = ("-" if left < 0 else ""), abs(left) // 1_000_000
    return f"{sign}{seconds // 3600}h{seconds % 3600 // 60}m{seconds % 60}s"


class _Query:
    """The parameters that bouncers send; unknown ones are left aside, as CrowdSec does."""

    def __init__(self, scope: Scope) -> None:
        values = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        self.startup = values.get("startup") == "true"
        self._values = values
        self._scopes = _words(values.get("scopes", "" if "scope" in values or "ip" in values else _DEFAULT_SCOPES))
        self._filters: list[Callable[[CrowdSecDecision], bool]] = []
        if origins := _words(values.get("origins", "")):
            self._filters.append(lambda row: row.origin in origins)
        if with_ := _words(values.get("scenarios_containing", "")):
            self._filters.append(lambda row: any(word in row.scenario.lower() for word in with_))
        if without := _words(values.get("scenarios_not_containing", "")):
            self._filters.append(lambda row: not any(word in row.scenario.lower() for word in without))
        if kind := values.get("type"):
            self._filters.append(lambda row: row.type == kind)
        if self._scopes:
            self._filters.append(lambda row: row.scope.lower() in self._scopes)

    def wanted(self, row: CrowdSecDecision) -> bool:
        """Whether the asker takes such decisions."""
        return all(accepts(row) for accepts in self._filters)

    def about(self, row: CrowdSecDecision) -> bool:
        """Whether a decision is about what was asked for; without a question, about everything."""
        address = self._values.get("ip") or self._values.get("range")
        if address:
            return row.scope in {"Ip", "Range"} and _contains(row.value, address)
        if "value" in self._values and row.value != self._values["value"]:
            return False
        return "scope" not in self._values or row.scope.lower() == self._values["scope"].lower()


def _contains(network: str, address: str) -> bool:
    try:
        outer, inner = ipaddress.ip_network(network), normalise(address)
    except ValueError:
        raise Problem("invalid", "ip and range are addresses or networks, such as 203.0.113.9") from None
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # same version


def _words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(",")} - {""}
