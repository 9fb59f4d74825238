"""
Send events to a Sentinel service: batched, retried, never dropped silently.

    from sentinel.client import Client, auth_event

    with Client("http://127.0.0.1:8000", Path("ingest.token")) as client:
        client.send(auth_event(success=False, user_id="anna", ip_address="203.0.113.9", failure_reason="bad_password"))

Events get their id and time when they are handed over, so one that is sent again after an error is taken once.
"""

from __future__ import annotations

from sentinel.client.asynchronous import AsyncClient
from sentinel.client.outbox import BufferFull, Refused
from sentinel.client.synchronous import Client
from sentinel.client.words import (
    About,
    audit_log,
    auth_event,
    authorization,
    config_change,
    cross_service_auth,
    data_access,
    network_request,
    rate_limit,
    scan_event,
    security_violation,
    system_health,
    threat_detection,
    tool_execution,
    websocket_connection,
)
from sentinel.tls import Tls

__all__ = [
    "About",
    "AsyncClient",
    "BufferFull",
    "Client",
    "Refused",
    "Tls",
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
