"""Events as senders write them: one function for each kind of fact, with the details that rules and metrics know."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

from sentinel.model import ScanResult

__all__ = [
    "About",
    "audit_log",
    "auth_event",
    "authorization",
    "config_change",
    "cross_service_auth",
    "data_access",
    "network_request",
    "rate_limit",
    "scan_event",
    "security_violation",
    "system_health",
    "threat_detection",
    "tool_execution",
    "websocket_connection",
]

Fields = dict[str, Any]


class About(TypedDict, total=False):
    """What any event may say: who, from where, when. Without `event_id` and `timestamp` the client sets both."""

    event_id: str
    severity: str
    """low (unless told otherwise), medium, high or critical."""
    timestamp: str
    """RFC 3339 with a zone."""
    user_id: str | None
    session_id: str | None
    service_name: str | None
    ip_address: str | None
    user_agent: str | None
    correlation_id: str | None
    details: dict[str, Any]
    """Further details, kept as they are."""


def auth_event(
    *,
    success: bool,
    failure_reason: str | None = None,
    method: str | None = None,
    user_type: str | None = None,
    operation: str = "login",
    token_type: str | None = None,
    secret_hash: str | None = None,
    **about: Unpack[About],
) -> Fields:
    """
    Return an `authentication` event.

    Args:
        success: Whether the user or the token was let in.
        failure_reason: bad_password, unknown_user, locked, expired, revoked, bad_token, mfa or blocked.
        method: password, publickey, jwt, mtls, oauth, api_key or session.
        user_type: regular, admin, service or anonymous.
        operation: login, jwt_issue, jwt_verify, jwt_refresh or jwt_revoke.
        token_type: access, refresh, id or service.
        secret_hash: A keyed hash of what was tried, so that one wrong secret repeated can be told from guessing.
            Never the secret.
        about: See `About`.
    """
    details = {
        "success": success,
        "failure_reason": failure_reason,
        "method": method,
        "user_type": user_type,
        "operation": operation,
        "token_type": token_type,
        "secret_hash": secret_hash,
    }
    return _event("authentication", details, about)


def authorization(
    *, granted: bool, resource: str, action: str, violation_type: str | None = None, **about: Unpack[About]
) -> Fields:
    """Return an `authorization` event; `violation_type` is permission, role or tenant."""
    details = {"granted": granted, "resource": resource, "action": action, "violation_type": violation_type}
    return _event("authorization", details, about)


def data_access(
    *,
    table_name: str,
    access_type: str,
    row_count: int,
    sensitive: bool = False,
    response_time_ms: float | None = None,
    **about: Unpack[About],
) -> Fields:
    """Return a `data_access` event; `access_type` is select, insert, update, delete or export."""
    details = {
        "table_name": table_name,
        "access_type": access_type,
        "row_count": row_count,
        "sensitive": sensitive,
        "response_time_ms": response_time_ms,
    }
    return _event("data_access", details, about)


def tool_execution(
    *,
    tool_name: str,
    success: bool,
    security_level: str | None = None,
    sandbox_violation: str | None = None,
    **about: Unpack[About],
) -> Fields:
    """Return a `tool_execution` event; `sandbox_violation` says what was tried: filesystem, network, ..."""
    details = {
        "tool_name": tool_name,
        "success": success,
        "security_level": security_level,
        "sandbox_violation": sandbox_violation or False,
    }
    return _event("tool_execution", details, about)


def websocket_connection(
    *,
    connection_id: str,
    event_type: str,
    auth_method: str | None = None,
    auth_failure_reason: str | None = None,
    **about: Unpack[About],
) -> Fields:
    """Return a `websocket_connection` event; its own `event_type` is such as connect, disconnect or auth_failure."""
    details = {
        "connection_id": connection_id,
        "event_type": event_type,
        "auth_method": auth_method,
        "auth_failure_reason": auth_failure_reason,
    }
    return _event("websocket_connection", details, about)


def cross_service_auth(*, source_service: str, target_service: str, success: bool, **about: Unpack[About]) -> Fields:
    """Return a `cross_service_auth` event: one service asked another."""
    details = {"source_service": source_service, "target_service": target_service, "success": success}
    return _event("cross_service_auth", details, about)


def security_violation(*, violation_type: str, blocked: bool, **about: Unpack[About]) -> Fields:
    """Return a `security_violation` event, such as authentication_bypass, sandbox_escape or breach."""
    return _event("security_violation", {"violation_type": violation_type, "blocked": blocked}, about)


def network_request(
    *, method: str, status_code: int, endpoint: str | None = None, size: int | None = None, **about: Unpack[About]
) -> Fields:
    """Return a `network_request` event; `endpoint` is a route, not a path with ids, and `size` is in bytes."""
    details = {"method": method, "status_code": status_code, "endpoint": endpoint, "bytes": size}
    return _event("network_request", details, about)


def rate_limit(*, endpoint: str, limit: int, count: int, **about: Unpack[About]) -> Fields:
    """Return a `rate_limit` event: somebody went over `limit` requests a minute, with `count`."""
    return _event("rate_limit", {"endpoint": endpoint, "limit": limit, "count": count}, about)


def system_health(*, component: str, status: str, **about: Unpack[About]) -> Fields:
    """Return a `system_health` event; further figures (resource_type, value, limit, ...) belong in `details`."""
    return _event("system_health", {"component": component, "status": status}, about)


def audit_log(*, operation: str, table_name: str | None = None, **about: Unpack[About]) -> Fields:
    """Return an `audit_log` event: something was done that people may ask about later."""
    return _event("audit_log", {"operation": operation, "table_name": table_name}, about)


def config_change(*, key: str, old: Any, new: Any, **about: Unpack[About]) -> Fields:
    """Return an `audit_log` event about a changed setting; give no secrets as `old` and `new`."""
    return _event("audit_log", {"operation": "config_change", "key": key, "old": old, "new": new}, about)


def scan_event(result: ScanResult, **about: Unpack[About]) -> Fields:
    """Return a `scan` event: what `sentinel.scan` said of a text, without a word of it; unsafe ones are high."""
    details = {
        "is_safe": result.is_safe,
        "threat_type": result.threat_type,
        "risk_score": result.risk_score,
        "action": result.action,
        "engines": result.triggered_engines,
        "failed_engines": result.failed_engines,
        "latency_ms": result.latency_ms,
    }
    about.setdefault("severity", "low" if result.is_safe else "high")
    return _event("scan", details, about)


def threat_detection(*, threat_type: str, confidence: float | None = None, **about: Unpack[About]) -> Fields:
    """Return a `threat_detection` event: a claim of another detector. It causes no action by itself."""
    return _event("threat_detection", {"threat_type": threat_type, "confidence": confidence}, about)


def _event(event_type: str, details: Fields, about: About) -> Fields:
    said = {name: value for name, value in details.items() if value is not None} | about.get("details", {})
    known = {name: value for name, value in about.items() if value is not None}
    return {"event_type": event_type, "severity": "low"} | known | {"details": said}
