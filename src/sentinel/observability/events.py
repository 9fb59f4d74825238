"""
What the events of others say, in numbers: the contract's `security_*` counters and gauges.

Each accepted event is counted once, late ones too. Labels have values from closed lists, or, where the names are the
sender's own (services, tables, tools, endpoints), the first so many that came; everything else is `other`. What people
send may be of any type: nothing here trusts it, and nothing here raises.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from sentinel.model import Event, EventType, Severity, StoredEvent
from sentinel.observability.families import OTHER, Counts, Learned, Spreads, closed

__all__ = ["EventMetrics", "Names"]

_SUCCESS, _FAILURE = "success", "failure"
_STATUS = (_SUCCESS, _FAILURE, OTHER)
Feed = Callable[[Event, Mapping[str, Any]], None]
"""Counts one event, of whose details it is given too."""
_BOOLEAN = ("true", "false")

USER_TYPES = closed("regular", "admin", "service", "anonymous")
METHODS = closed("password", "publickey", "jwt", "mtls", "oauth", "api_key", "session")
REASONS = closed("bad_password", "unknown_user", "locked", "expired", "revoked", "bad_token", "mfa", "blocked")
TOKEN_TYPES = closed("access", "refresh", "id", "service")
OPERATIONS = closed("jwt_issue", "jwt_verify", "jwt_refresh", "jwt_revoke")
ACCESSES = closed("select", "insert", "update", "delete", "export")
LEVELS = closed("low", "medium", "high", "critical")
_LIMITS = ("permission", "role", "tenant", "filesystem", "network", "process", "memory", "cpu", "time", "quota")
LIMITS = closed(*_LIMITS)
CLAIM = "claimed_threat"
"""The kind of violation that another detector's claim counts as (decisions, B6)."""
VIOLATIONS = closed("authentication_bypass", "sandbox_escape", "breach", *_LIMITS, CLAIM)
RESOURCES = closed("cpu", "memory", "disk", "network", "processes", "connections", "file_descriptors", "time")
AUDITED = closed("select", "insert", "update", "delete", "truncate", "config_change", "rls_violation", "alert")
VERBS = closed("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CODES = {int(code): str(int(code)) for code in HTTPStatus}
_USUAL_CODES = closed(
    *("200", "201", "204", "301", "302", "304", "400", "401", "403", "404", "409", "422", "429"),
    *("500", "502", "503", "504", OTHER),
)
"""Those whose series start at 0; the others are born when they come."""
_WEBSOCKET_OPENED = frozenset({"connect", "connected", "open", "opened", "accept", "accepted", "auth_success"})
_WEBSOCKET_CLOSED = frozenset({"disconnect", "disconnected", "close", "closed", "message"})
_WEBSOCKET_FAILED = frozenset({"auth_failure", "failed", "failure", "error", "refused", "rejected", "connect_failed"})
_SEVERITIES = {severity: severity.value for severity in Severity} | {Severity.INFO: "low"}

_RESPONSE_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0)
_MOST = 1e15
"""Larger numbers are nobody's rows; a counter that took one would never count anything small again."""
_SESSION_SECONDS = 900.0
_MOST_SESSIONS = 100_000
_CONNECTIONS_SECONDS = 300.0
_EXPIRING_SECONDS = 30 * 86_400.0
_CERTIFICATE_STATES = ("valid", "expiring_soon", "expired", "invalid")


class Names(NamedTuple):
    """Names of things that are known before an event tells of them; their series start at 0."""

    services: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()


def _known(table: Mapping[str, str], value: object) -> str:
    return table.get(value, OTHER) if value.__class__ is str else OTHER


def _status(value: object) -> str:
    return _SUCCESS if value is True else _FAILURE if value is False else OTHER


def _flag(value: object) -> str:
    """Return a boolean's label; what was not said was not so."""
    return "true" if value is True else "false" if value is False or value is None else OTHER


def _number(value: object) -> float | None:
    """Return a finite number from 0 that a counter can take, else None."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return float(value)
    return None


class EventMetrics:
    """
    Counts accepted events: each kind of event by a class of its own, which holds its metrics and says what goes where.

    Args:
        registry: Where the metrics are registered.
        clock: Seconds since 1970.
        names: What is known beforehand.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float], names: Names = Names()) -> None:  # noqa: B008 - immutable
        make = _Making(registry, names)
        self._sessions = _Sessions(clock, registry)
        self.certificates = Certificates(clock, registry)
        violations = _Violations(make)
        self._feeds: dict[EventType, Feed] = {
            EventType.AUTHENTICATION: _Logins(make).count,
            EventType.AUTHORIZATION: _Refusals(make).count,
            EventType.DATA_ACCESS: _Accesses(make).count,
            EventType.TOOL_EXECUTION: _Tools(make).count,
            EventType.WEBSOCKET_CONNECTION: _Websockets(make).count,
            EventType.CROSS_SERVICE_AUTH: _Services(make).count,
            EventType.SECURITY_VIOLATION: violations.count,
            EventType.THREAT_DETECTION: violations.count_claim,
            EventType.NETWORK_REQUEST: _Requests(make).count,
            EventType.RATE_LIMIT: _RateLimits(make).count,
            EventType.SYSTEM_HEALTH: _Systems(make, _Connections(clock, registry), self.certificates).count,
            EventType.AUDIT_LOG: _AuditLogs(make).count,
        }

    def count(self, events: Iterable[StoredEvent]) -> None:
        """Count events that were just accepted; those of an import that only looks back are no present ones."""
        feeds = self._feeds
        for stored in events:
            if not stored.effects:
                continue
            event = stored.event
            feed = feeds.get(event.event_type)
            if feed is not None:
                feed(event, event.details)
            if event.session_id is not None and not stored.late:
                self._sessions.see(event.session_id, event.details.get("user_type"))


class _Making:
    """Makes counters, and holds the open labels that several of them share."""

    def __init__(self, registry: CollectorRegistry, names: Names) -> None:
        self.registry = registry
        self.service = Learned(100, names.services)
        self.target = Learned(100, names.services)
        self.table = Learned(200, names.tables)
        self.tool = Learned(200, names.tools)
        self.endpoint = Learned(200, names.endpoints)

    def counts(self, name: str, told: str, **labels: Iterable[str]) -> Counts:
        """Return a counter with these labels, and the values of each that start at 0."""
        learned = [label for label, values in labels.items() if isinstance(values, Learned)]
        return Counts(name, told, list(labels), self.registry, start=list(labels.values()), still_open=learned)


def _with_other(table: Mapping[str, str]) -> list[str]:
    return [*table, OTHER]


class _Logins:
    def __init__(self, make: _Making) -> None:
        self._service = make.service
        self._attempts = make.counts(
            "security_auth_attempts",
            "Logins tried.",
            service=make.service,
            status=_STATUS,
            user_type=_with_other(USER_TYPES),
        )
        self._failures = make.counts(
            "security_auth_failures",
            "Logins that failed.",
            service=make.service,
            failure_reason=_with_other(REASONS),
        )
        self._jwt = make.counts(
            "security_jwt_operations",
            "JWTs issued, verified, refreshed and revoked.",
            operation=OPERATIONS,
            status=_STATUS,
            token_type=_with_other(TOKEN_TYPES),
        )

    def count(self, event: Event, details: Mapping[str, Any]) -> None:
        operation = details.get("operation")
        status = _status(details.get("success"))
        if operation is None or operation == "login":
            service = self._service(event.service_name)
            self._attempts.add((service, status, _known(USER_TYPES, details.get("user_type"))))
            if status is _FAILURE:
                self._failures.add((service, _known(REASONS, details.get("failure_reason"))))
        elif (name := _known(OPERATIONS, operation)) is not OTHER:
            self._jwt.add((name, status, _known(TOKEN_TYPES, details.get("token_type"))))


class _Refusals:
    def __init__(self, make: _Making) -> None:
        self._service = make.service
        self._refusals = make.counts(
            "security_authz_violations",
            "Accesses that were refused.",
            service=make.service,
            violation_type=_with_other(LIMITS),
            severity=LEVELS,
        )

    def count(self, event: Event, details: Mapping[str, Any]) -> None:
        if details.get("granted") is False:
            kind = _known(LIMITS, details.get("violation_type"))
            self._refusals.add((self._service(event.service_name), kind, _SEVERITIES[event.severity]))


class _Accesses:
    def __init__(self, make: _Making) -> None:
        self._service, self._table = make.service, make.table
        self._accesses = make.counts(
            "security_data_access",
            "Accesses to data.",
            service=make.service,
            access_type=_with_other(ACCESSES),
            table_name=make.table,
            sensitive=_BOOLEAN,
        )
        self._rows = make.counts(
            "security_data_access_volume", "Rows accessed.", service=make.service, table_name=make.table
        )
        self._response = Spreads(
            "security_data_access_response_time_seconds",
            "How long accesses to data took.",
            ["service", "access_type"],
            make.registry,
            bounds=_RESPONSE_SECONDS,
            start=[make.service, _with_other(ACCESSES)],
        )

    def count(self, event: Event, details: Mapping[str, Any]) -> None:
        service, table = self._service(event.service_name), self._table(details.get("table_name"))
        access = _known(ACCESSES, details.get("access_type"))
        self._accesses.add((service, access, table, _flag(details.get("sensitive"))))
        if rows := _number(details.get("row_count")):
            self._rows.add((service, table), rows)
        if (milliseconds := _number(details.get("response_time_ms"))) is not None:
            self._response.observe((service, access), milliseconds / 1000)


class _Tools:
    def __init__(self, make: _Making) -> None:
        self._tool = make.tool
        self._tools = make.counts(
            "security_tool_execution",
            "Calls of tools.",
            tool_name=make.tool,
            security_level=_with_other(LEVELS),
            status=_STATUS,
        )
        self._sandbox = make.counts(
            "security_sandbox_violations",
            "What tools tried outside their sandbox.",
            tool_name=make.tool,
            violation_type=_with_other(LIMITS),
        )

    def count(self, _event: Event, details: Mapping[str, Any]) -> None:
        tool = self._tool(details.get("tool_name"))
        self._tools.add((tool, _known(LEVELS, details.get("security_level")), _status(details.get("success"))))
        if tried := details.get("sandbox_violation"):
            self._sandbox.add((tool, _known(LIMITS, tried)))


class _Websockets:
    def __init__(self, make: _Making) -> None:
        self._opened = make.counts(
            "security_websocket_connections",
            "Websockets opened, and those that failed to.",
            status=_STATUS,
            auth_method=_with_other(METHODS),
        )
        self._refused = make.counts(
            "security_websocket_auth_failures",
            "Websockets refused for their authentication.",
            failure_reason=_with_other(REASONS),
        )

    def count(self, _event: Event, details: Mapping[str, Any]) -> None:
        reason, happened = details.get("auth_failure_reason"), details.get("event_type")
        if reason is not None or happened == "auth_failure":
            self._refused.add((_known(REASONS, reason),))
            status = _FAILURE
        elif happened.__class__ is not str:
            status = _status(details.get("success"))
        elif happened in _WEBSOCKET_CLOSED:
            return
        else:
            status = _SUCCESS if happened in _WEBSOCKET_OPENED else _FAILURE if happened in _WEBSOCKET_FAILED else OTHER
        self._opened.add((status, _known(METHODS, details.get("auth_method"))))


class _Services:
    def __init__(self, make: _Making) -> None:
        self._service, self._target = make.service, make.target
        self._cross = make.counts(
            "security_cross_service_auth",
            "Authentications of one service at another.",
            source_service=make.service,
            target_service=make.target,
            status=_STATUS,
        )

    def count(self, _event: Event, details: Mapping[str, Any]) -> None:
        source, target = self._service(details.get("source_service")), self._target(details.get("target_service"))
        self._cross.add((source, target, _status(details.get("success"))))


class _Violations:
    def __init__(self, make: _Making) -> None:
        self._service = make.service
        self._violations = make.counts(
            "security_violations",
            "Violations reported, and threats that other detectors claim.",
            violation_type=_with_other(VIOLATIONS),
            severity=LEVELS,
            service=make.service,
            blocked=_BOOLEAN,
        )

    def count(self, event: Event, details: Mapping[str, Any]) -> None:
        self._add(event, _known(VIOLATIONS, details.get("violation_type")), details)

    def count_claim(self, event: Event, details: Mapping[str, Any]) -> None:
        self._add(event, CLAIM, details)

    def _add(self, event: Event, kind: str, details: Mapping[str, Any]) -> None:
        blocked = "true" if details.get("blocked") is True else "false"
        self._violations.add((kind, _SEVERITIES[event.severity], self._service(event.service_name), blocked))


class _Requests:
    def __init__(self, make: _Making) -> None:
        self._service = make.service
        self._requests = make.counts(
            "security_network_requests",
            "Requests that applications answered.",
            service=make.service,
            method=_with_other(VERBS),
            status_code=_USUAL_CODES,
        )

    def count(self, event: Event, details: Mapping[str, Any]) -> None:
        code = details.get("status_code")
        label = _CODES.get(code, OTHER) if code.__class__ is int else OTHER
        self._requests.add((self._service(event.service_name), _known(VERBS, details.get("method")), label))


class _RateLimits:
    def __init__(self, make: _Making) -> None:
        self._endpoint = make.endpoint
        self._limited = make.counts(
            "security_rate_limit_violations", "Requests beyond a rate limit.", endpoint=make.endpoint
        )

    def count(self, _event: Event, details: Mapping[str, Any]) -> None:
        self._limited.add((self._endpoint(details.get("endpoint")),))


class _Systems:
    def __init__(self, make: _Making, connections: _Connections, certificates: Certificates) -> None:
        self._service = make.service
        self._connections, self._certificates = connections, certificates
        self._resources = make.counts(
            "security_resource_usage_violations",
            "Resources used beyond their limit.",
            resource_type=_with_other(RESOURCES),
            violation_type=_with_other(LIMITS),
            service=make.service,
        )

    def count(self, event: Event, details: Mapping[str, Any]) -> None:
        if "resource_type" in details and _beyond(details):
            kind = _known(LIMITS, details.get("violation_type"))
            resource = _known(RESOURCES, details.get("resource_type"))
            self._resources.add((resource, kind, self._service(event.service_name)))
        if (connections := _number(details.get("db_connections"))) is not None:
            self._connections.tell(self._service(event.service_name), connections)
        if "certificate_not_after" in details:
            self._certificates.tell(self._service(event.service_name), _seconds(details["certificate_not_after"]))


class _AuditLogs:
    def __init__(self, make: _Making) -> None:
        self._table = make.table
        self._entries = make.counts(
            "security_audit_log_entries",
            "Entries of audit logs.",
            operation=_with_other(AUDITED),
            table_name=make.table,
        )
        self._rls = make.counts(
            "security_rls_policy_violations",
            "Accesses against a policy of row-level security.",
            table_name=make.table,
        )

    def count(self, _event: Event, details: Mapping[str, Any]) -> None:
        operation, table = details.get("operation"), self._table(details.get("table_name"))
        self._entries.add((_known(AUDITED, operation), table))
        if operation == "rls_violation":
            self._rls.add((table,))


def _beyond(details: Mapping[str, Any]) -> bool:
    """Whether a resource was used beyond its limit: the sender says so, or the figures do."""
    if details.get("violation_type") is not None:
        return True
    value, limit = _number(details.get("value")), _number(details.get("limit"))
    return value is not None and limit is not None and value > limit


def _seconds(not_after: object) -> float | None:
    """Return RFC 3339 text with a zone as seconds since 1970; None for what is no such time."""
    if not isinstance(not_after, str):
        return None
    try:
        moment = datetime.fromisoformat(not_after)
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None


class _Sessions:
    """Sessions with an event in the last 15 minutes, by the kind of their user."""

    def __init__(self, clock: Callable[[], float], registry: CollectorRegistry) -> None:
        self._clock = clock
        self._seen: OrderedDict[int, tuple[float, str]] = OrderedDict()
        """By the id's hash (of a secret seed in each process); the longest unseen first, 100,000 at most."""
        registry.register(self)

    def see(self, session_id: str, user_type: object) -> None:
        key = hash(session_id)
        known = self._seen.pop(key, None)
        kind = _known(USER_TYPES, user_type) if user_type is not None or known is None else known[1]
        self._seen[key] = (self._clock(), kind)
        if known is None and len(self._seen) > _MOST_SESSIONS:
            self._seen.popitem(last=False)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        horizon = self._clock() - _SESSION_SECONDS
        while self._seen and next(iter(self._seen.values()))[0] <= horizon:
            self._seen.popitem(last=False)
        active = dict.fromkeys((*USER_TYPES, OTHER), 0)
        for _, kind in list(self._seen.values()):
            active[kind] += 1
        told = "Sessions with an event in the last 15 minutes."
        family = GaugeMetricFamily("security_concurrent_sessions", told, labels=["user_type"])
        for kind, number in active.items():
            family.add_metric([kind], number)
        yield family


class _Connections:
    """Connections to databases, as the services last told; a service silent for five minutes has none."""

    def __init__(self, clock: Callable[[], float], registry: CollectorRegistry) -> None:
        self._clock = clock
        self._told: dict[str, tuple[float, float]] = {}
        registry.register(self)

    def tell(self, service: str, connections: float) -> None:
        self._told[service] = (self._clock(), connections)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        horizon = self._clock() - _CONNECTIONS_SECONDS
        active = sum(number for at, number in list(self._told.values()) if at > horizon)
        told = "Open database connections, as services told in the last 5 minutes."
        yield GaugeMetricFamily("security_database_connections_active", told, value=active)


class Certificates:
    """The certificates of services. Their state is told when it is read: it changes without an event."""

    def __init__(self, clock: Callable[[], float], registry: CollectorRegistry) -> None:
        self._clock = clock
        self._not_after: dict[str, float | None] = {}
        registry.register(self)

    def tell(self, service: str, not_after: float | None) -> None:
        """
        Take what is known of a service's certificate.

        Args:
            service: Its label.
            not_after: Seconds since 1970 until which it is valid; None when it can't be used.
        """
        self._not_after[service] = not_after

    def _state(self, not_after: float | None) -> str:
        if not_after is None:
            return "invalid"
        left = not_after - self._clock()
        return "expired" if left <= 0 else "expiring_soon" if left <= _EXPIRING_SECONDS else "valid"

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the present state, for a registry."""
        name = "security_ssl_certificate_status"
        state = GaugeMetricFamily(
            name, "State of a service's certificate: 1 for the one that holds.", labels=["service", name]
        )
        end = GaugeMetricFamily(
            "security_ssl_certificate_not_after_seconds",
            "When a service's certificate ends, in seconds since 1970; NaN where it can't be used.",
            labels=["service"],
        )
        for service, not_after in list(self._not_after.items()):
            holds = self._state(not_after)
            for word in _CERTIFICATE_STATES:
                state.add_metric([service, word], float(word == holds))
            end.add_metric([service], math.nan if not_after is None else not_after)
        yield state
        yield end
