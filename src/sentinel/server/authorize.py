"""
Who may call what: one table, and one ASGI wrapper around the whole application that obeys it.

The answer to a missing token or a wrong role is the same whether or not the thing asked for exists, and comes before
the body is read. A route that is not in the table can't be called; a test walks the real routing table for that.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import unquote

from sentinel.access import PREFIX, Token, includes
from sentinel.app import Monitor
from sentinel.enforcement.client import Proxies, client_address
from sentinel.model import Role
from sentinel.server.problems import Problem, Receive, Scope, Send
from sentinel.tls import Peer

__all__ = ["ACCESS", "Authorize", "bad_token", "hardening", "token_of"]

_S = "/api/v1/security"
_ANYONE: frozenset[Role] = frozenset()
_VIEWER, _ANALYST, _ADMIN = frozenset({Role.VIEWER}), frozenset({Role.ANALYST}), frozenset({Role.ADMIN})
_INGEST, _ENFORCER, _SCRAPER = frozenset({Role.INGEST}), frozenset({Role.ENFORCER}), frozenset({Role.SCRAPER})

ACCESS: dict[tuple[str, str], frozenset[Role]] = {
    ("GET", "/readyz"): _ANYONE,
    ("GET", f"{_S}/health"): _ANYONE,
    ("GET", "/metrics"): _SCRAPER,
    ("GET", f"{_S}/metrics"): _SCRAPER,
    ("POST", "/api/v1/scan"): _INGEST,
    ("POST", f"{_S}/events"): _INGEST,
    ("POST", f"{_S}/alerts/webhook"): _INGEST,
    ("GET", f"{_S}/summary"): _VIEWER,
    ("GET", f"{_S}/events"): _VIEWER,
    ("GET", f"{_S}/signals"): _VIEWER,
    ("GET", f"{_S}/incidents"): _VIEWER,
    ("GET", f"{_S}/incidents/{{incident_id}}"): _VIEWER,
    ("GET", f"{_S}/exports/incidents/{{incident_id}}"): _ANALYST,
    ("POST", f"{_S}/incidents/{{incident_id}}/{{word}}"): _ANALYST,
    ("GET", f"{_S}/violations"): _VIEWER,
    ("POST", f"{_S}/violations/{{violation_id}}/resolve"): _ANALYST,
    ("GET", f"{_S}/dead-letters"): _ANALYST,
    ("POST", f"{_S}/dead-letters/replay"): _ADMIN,
    ("GET", f"{_S}/anomalies"): _VIEWER,
    ("GET", f"{_S}/baselines"): _VIEWER,
    ("PUT", f"{_S}/baselines"): _ADMIN,
    ("GET", f"{_S}/baselines/{{entity:path}}"): _ANALYST,
    ("POST", f"{_S}/feedback"): _ANALYST,
    ("GET", f"{_S}/thresholds"): _VIEWER,
    ("PUT", f"{_S}/thresholds"): _ADMIN,
    ("GET", f"{_S}/explain/{{thing}}"): _ANALYST,
    ("GET", f"{_S}/evidence/{{action_id}}"): _ANALYST,
    ("GET", f"{_S}/rules"): _VIEWER,
    ("POST", f"{_S}/rules/reload"): _ADMIN,
    ("GET", f"{_S}/active-blocks"): _ANALYST,
    ("GET", f"{_S}/actions"): _ANALYST,
    ("GET", f"{_S}/check-ip/{{ip}}"): _ENFORCER | _VIEWER,
    ("GET", f"{_S}/check-user/{{user_id:path}}"): _ENFORCER | _VIEWER,
    ("GET", f"{_S}/decisions"): _ENFORCER,
    ("GET", f"{_S}/authorize"): _ENFORCER,
    ("GET", "/v1/decisions"): _ENFORCER,
    ("GET", "/v1/decisions/stream"): _ENFORCER,
    ("POST", f"{_S}/manual-action"): _ADMIN,
    ("DELETE", f"{_S}/action/{{action_type}}/{{target:path}}"): _ADMIN,
    ("GET", f"{_S}/audit"): _ADMIN,
    ("GET", f"{_S}/audit/verify"): _ADMIN,
    ("POST", f"{_S}/prune"): _ADMIN,
    ("GET", f"{_S}/tokens"): _ADMIN,
    ("POST", f"{_S}/tokens"): _ADMIN,
    ("DELETE", f"{_S}/tokens/{{token_id}}"): _ADMIN,
    ("POST", f"{_S}/imports"): _ADMIN,
    ("POST", f"{_S}/imports/{{import_id}}/events"): _ADMIN,
    ("POST", f"{_S}/imports/{{import_id}}/finish"): _ADMIN,
    ("GET", "/api/v1/openapi.json"): _VIEWER,
}
"""Roles by method and path template; the empty set is open to anyone."""


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]+\})", template)
    return re.compile(
        "".join(
            (".+" if part.endswith(":path}") else "[^/]+") if part[:1] == "{" else re.escape(part) for part in parts
        )
    )


_EXACT = {key: roles for key, roles in ACCESS.items() if "{" not in key[1]}
_TEMPLATES = [(method, _pattern(path), roles) for (method, path), roles in ACCESS.items() if "{" in path]
_PLACEHOLDER = re.compile(r"/(?:\{[^/]*\}|:[A-Za-z_]\w*)(?=/|$)")
"""A template's own words as a value (`{ip}`, `:ip`) come from a client that forgot to fill it in: never a match."""
_HARDENING = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
_STRICT = (b"strict-transport-security", b"max-age=31536000")


def _roles(method: str, path: str) -> frozenset[Role] | None:
    """Return who may, or None for what is not in the table."""
    exact = _EXACT.get((method, path))
    if exact is not None:
        return exact
    return next((roles for verb, pattern, roles in _TEMPLATES if verb == method and pattern.fullmatch(path)), None)


def _is_template(path: str) -> bool:
    return ("{" in path or ":" in path) and _PLACEHOLDER.search(path) is not None


def _nothing_here(path: str) -> Problem:
    """Say whether the path or only the method is wrong."""
    methods = sorted({method for method, _ in ACCESS if _roles(method, path) is not None})
    if not methods or _is_template(path):
        return Problem("not_found", "there is nothing here")
    allowed = ", ".join(methods)
    return Problem("method", f"only {allowed} works here", headers={"Allow": allowed})


class Authorize:
    """Lets a request through to the application only as the table allows, and hardens every answer."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], monitor: Monitor) -> None:
        self._app = app
        self._monitor = monitor
        self._proxies = Proxies(monitor.settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def hardened(message: Scope) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *hardening(scope.get("scheme"))]
            await send(message)

        if scope["method"] == "HEAD":  # the server leaves the body out of the answer, as it knows the true method
            scope = {**scope, "method": "GET"}
        try:
            scope["sentinel.token"] = self._check(scope)
        except Problem as problem:
            if problem.status in _COUNTED:
                self.count(problem.status, scope)
            await problem.send(hardened)
            return
        await self._app(scope, receive, hardened)

    def count(self, status: int, scope: Scope) -> None:
        """Count a refusal: 401 or 403."""
        self._monitor.refusals.count(status, lambda: client_address(scope, self._proxies))

    def junk(self, query: bytes, headers: Iterable[tuple[bytes, bytes]], scope: Scope) -> bool:
        """
        Whether a request is to be refused with `bad_token` for its headers alone; a quick look misses some.

        Notes in the scope which token it saw, so that it is hashed once.
        """
        if b"=" in query:  # a token may hide in it, which is worse
            return False
        values = [value for name, value in headers if name == b"authorization"]
        if len(values) != 1:
            return False
        text = _credentials(values[0])
        token = self._monitor.tokens.of(text)
        scope[_SEEN] = text, token
        return token is None

    def _check(self, scope: Scope) -> Token | None:
        query = scope["query_string"]
        if b"=" in query and f"={PREFIX}" in unquote(query.decode("latin-1")):
            raise Problem(
                "token_in_url", "a token belongs in the Authorization header, never in the URL: revoke it now"
            )
        seen = scope.get(_SEEN)
        text = _bearer(scope) if seen is None else seen[0]
        token = None if text is None else self._token(text, scope)
        if text is not None and token is None:  # whatever it is for
            raise bad_token()
        roles = _roles(scope["method"], scope["path"])
        if token is None:
            if roles == _ANYONE or _signed(scope) or (roles == _SCRAPER and self._scrapes(scope)):
                return None
            raise bad_token()
        if roles is None or _is_template(scope["path"]):
            raise _nothing_here(scope["path"])
        if roles and not includes(token.role, roles):
            wanted = " or ".join(sorted(role.value for role in roles))
            raise Problem("wrong_role", f"this needs a token with the role {wanted}; yours is {token.role.value}")
        return token

    def _token(self, text: str, scope: Scope) -> Token | None:
        """Return the valid token that a text is; whose request it is, is looked up only for those bound to a place."""
        seen, token = scope.get(_SEEN, (None, None))
        if seen != text:  # it did not come by our door
            token = self._monitor.tokens.of(text)
        if token is None:
            return None
        client = None if token.source_cidr is None else client_address(scope, self._proxies)
        return token if token.valid(self._monitor.clock(), client) else None

    def _scrapes(self, scope: Scope) -> bool:
        """Whether the other side has proved by a certificate to be one that may read the metrics."""
        peer = scope.get("sentinel.peer")
        if not isinstance(peer, Peer) or self._monitor.clock() >= peer.not_after * 1_000_000:
            return False
        return not peer.names.isdisjoint(self._monitor.settings.tls_scrapers)


def hardening(scheme: str | None) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer has over `http` or `https`."""
    return [*_HARDENING, _STRICT] if scheme == "https" else _HARDENING


def bad_token() -> Problem:
    """Return the answer to a token that is none, or is missing."""
    detail = "send a valid token as `Authorization: Bearer sntl_...`; `sentinel token create` makes one"
    return Problem("no_token", detail, headers={"WWW-Authenticate": 'Bearer realm="sentinel"'})


def _signed(scope: Scope) -> bool:
    """Whether a signature stands in for a token: where it may, the route itself checks it once it has the body."""
    return (scope["method"], scope["path"]) == _SIGNED and any(
        name == b"x-sentinel-signature" for name, _ in scope["headers"]
    )


_SEEN = "sentinel.seen"
_COUNTED = {401, 403}
_SIGNED = ("POST", f"{_S}/alerts/webhook")
_LAPI = "/v1/decisions"
"""Where CrowdSec's bouncers ask, which send their key in a header of its own."""


def _bearer(scope: Scope) -> str | None:
    """Return the credentials sent, empty when they are in a form that can't be a token, None when there are none."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values and scope["path"].startswith(_LAPI):
        keys = [value for name, value in scope["headers"] if name == b"x-api-key"]
        return keys[0].decode("latin-1").strip() if len(keys) == 1 else ""
    if not values:
        return None
    return _credentials(values[0]) if len(values) == 1 else ""


def _credentials(value: bytes) -> str:
    kind, _, text = value.decode("latin-1").partition(" ")
    return text.strip() if kind.lower() == "bearer" else ""


def token_of(scope: Scope) -> Token:
    """Return the token of a request that could not have come here without one."""
    token = scope["sentinel.token"]
    assert isinstance(token, Token)
    return token
