"""What events say in numbers: every series of the contract, bounded labels, gauges that forget."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sentinel.model import Event, EventType, Severity, StoredEvent
from sentinel.observability import Metrics, Names

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
DAY = 86_400.0


class Clock:
    """Seconds since 1970 that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def told(
    event_type: str, details: Mapping[str, Any], *, late: bool = False, effects: bool = True, **fields: Any
) -> StoredEvent:
    event = Event(
        event_id="e",
        event_type=EventType(event_type),
        severity=fields.pop("severity", Severity.LOW),
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        details=dict(details),
        **fields,
    )
    return StoredEvent(1, 0, 0, late, event, effects=effects)


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if not (sample.name.endswith("_created") or math.isnan(sample.value))
    }


def grown(metrics: Metrics, events: list[StoredEvent]) -> dict[str, float]:
    """Return what counting these events adds, as series in Prometheus' words."""
    before = samples(metrics)
    metrics.told.count(events)
    changed = {}
    for key, value in samples(metrics).items():
        if value != before.get(key, 0.0):
            labels = ",".join(f'{name}="{text}"' for name, text in sorted(key[1]))
            changed[f"{key[0]}{{{labels}}}"] = value - before.get(key, 0.0)
    return changed


# --- the contract's series

LABELS = {
    "security_auth_attempts": {"service", "status", "user_type"},
    "security_auth_failures": {"service", "failure_reason"},
    "security_jwt_operations": {"operation", "status", "token_type"},
    "security_authz_violations": {"service", "violation_type", "severity"},
    "security_cross_service_auth": {"source_service", "target_service", "status"},
    "security_violations": {"violation_type", "severity", "service", "blocked"},
    "security_data_access": {"service", "access_type", "table_name", "sensitive"},
    "security_data_access_volume": {"service", "table_name"},
    "security_data_access_response_time_seconds": {"service", "access_type"},
    "security_database_connections_active": set(),
    "security_rls_policy_violations": {"table_name"},
    "security_tool_execution": {"tool_name", "security_level", "status"},
    "security_sandbox_violations": {"tool_name", "violation_type"},
    "security_websocket_connections": {"status", "auth_method"},
    "security_websocket_auth_failures": {"failure_reason"},
    "security_network_requests": {"service", "method", "status_code"},
    "security_resource_usage_violations": {"resource_type", "violation_type", "service"},
    "security_concurrent_sessions": {"user_type"},
    "security_threat_detections": {"threat_type", "severity", "source"},
    "security_anomaly_scores": {"detection_type"},
    "security_rate_limit_violations": {"endpoint"},
    "security_audit_log_entries": {"operation", "table_name"},
    "security_response_actions": {"action_type", "status", "auto"},
    "security_queue_depth": set(),
    "security_queue_age_seconds": set(),
    "security_events_dropped": set(),
    "security_event_to_decision_seconds": set(),
    "security_decision_to_enforced_seconds": set(),
}


def test_the_contracts_series_are_there_at_0_with_their_labels_before_anything_has_happened() -> None:
    """An alert sees the first increment only if the series was there before it."""
    metrics = Metrics(Clock())
    there: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if family.name in LABELS and not sample.name.endswith("_created"):
                there.setdefault(family.name, set()).update(sample.labels.keys() - {"le"})
                assert sample.value == 0, sample
    assert there == LABELS


def test_a_certificates_state_is_a_series_for_each_word() -> None:
    """As prometheus_client's Enum has it: a label of the metric's own name, and 1 for the word that holds."""
    metrics = Metrics(Clock())
    event = told("system_health", {"certificate_not_after": "2027-01-01T00:00:00Z"}, service_name="shop")
    name = "security_ssl_certificate_status"
    assert grown(metrics, [event])[f'{name}{{{name}="valid",service="shop"}}'] == 1
    assert sum(value for (series, _), value in samples(metrics).items() if series == name) == 1


FED = [
    (
        told("authentication", {"success": True, "user_type": "admin", "method": "password"}, service_name="shop"),
        {'security_auth_attempts_total{service="shop",status="success",user_type="admin"}': 1},
    ),
    (
        told("authentication", {"success": False, "operation": "login", "failure_reason": "mfa"}, service_name="shop"),
        {
            'security_auth_attempts_total{service="shop",status="failure",user_type="other"}': 1,
            'security_auth_failures_total{failure_reason="mfa",service="shop"}': 1,
        },
    ),
    (
        told("authentication", {"success": False, "operation": "jwt_verify", "token_type": "access"}),
        {'security_jwt_operations_total{operation="jwt_verify",status="failure",token_type="access"}': 1},
    ),
    (
        told(
            "authorization",
            {"granted": False, "violation_type": "tenant"},
            severity=Severity.HIGH,
            service_name="shop",
        ),
        {'security_authz_violations_total{service="shop",severity="high",violation_type="tenant"}': 1},
    ),
    (told("authorization", {"granted": True, "resource": "/", "action": "read"}), {}),
    (
        told(
            "data_access",
            {"table_name": "orders", "access_type": "export", "row_count": 70, "sensitive": True},
            service_name="shop",
        ),
        {
            'security_data_access_total{access_type="export",sensitive="true",service="shop",table_name="orders"}': 1,
            'security_data_access_volume_total{service="shop",table_name="orders"}': 70,
        },
    ),
    (
        told("tool_execution", {"tool_name": "sh", "success": False, "sandbox_violation": "network"}),
        {
            'security_tool_execution_total{security_level="other",status="failure",tool_name="sh"}': 1,
            'security_sandbox_violations_total{tool_name="sh",violation_type="network"}': 1,
        },
    ),
    (
        told("tool_execution", {"tool_name": "sh", "success": True, "security_level": "high"}),
        {'security_tool_execution_total{security_level="high",status="success",tool_name="sh"}': 1},
    ),
    (
        told("websocket_connection", {"connection_id": "1", "event_type": "connect", "auth_method": "jwt"}),
        {'security_websocket_connections_total{auth_method="jwt",status="success"}': 1},
    ),
    (told("websocket_connection", {"connection_id": "1", "event_type": "disconnect"}), {}),
    (
        told("websocket_connection", {"event_type": "auth_failure", "auth_failure_reason": "expired"}),
        {
            'security_websocket_connections_total{auth_method="other",status="failure"}': 1,
            'security_websocket_auth_failures_total{failure_reason="expired"}': 1,
        },
    ),
    (
        told("cross_service_auth", {"source_service": "shop", "target_service": "bank", "success": False}),
        {'security_cross_service_auth_total{source_service="shop",status="failure",target_service="bank"}': 1},
    ),
    (
        told("security_violation", {"violation_type": "breach", "blocked": True}, severity=Severity.CRITICAL),
        {
            'security_violations_total{blocked="true",service="other",severity="critical",violation_type="breach"}': 1,
        },
    ),
    (
        told("threat_detection", {"threat_type": "brute_force"}, severity=Severity.HIGH),
        {
            'security_violations_total{blocked="false",service="other",severity="high",'
            'violation_type="claimed_threat"}': 1,
        },
    ),
    (
        told("network_request", {"method": "GET", "status_code": 418}, service_name="shop"),
        {'security_network_requests_total{method="GET",service="shop",status_code="418"}': 1},
    ),
    (
        told("network_request", {"method": "BREW", "status_code": 799}, service_name="shop"),
        {'security_network_requests_total{method="other",service="shop",status_code="other"}': 1},
    ),
    (
        told("rate_limit", {"endpoint": "/orders/{id}", "limit": 10, "count": 11}),
        {'security_rate_limit_violations_total{endpoint="/orders/{id}"}': 1},
    ),
    (
        told("system_health", {"resource_type": "memory", "value": 9, "limit": 8}, service_name="shop"),
        {
            'security_resource_usage_violations_total{resource_type="memory",service="shop",violation_type="other"}': 1,
        },
    ),
    (told("system_health", {"resource_type": "memory", "value": 7, "limit": 8}), {}),
    (told("system_health", {"db_connections": 12}), {"security_database_connections_active{}": 12}),
    (
        told("audit_log", {"operation": "config_change", "key": "x"}),
        {'security_audit_log_entries_total{operation="config_change",table_name="other"}': 1},
    ),
    (
        told("audit_log", {"operation": "rls_violation", "table_name": "orders"}),
        {
            'security_audit_log_entries_total{operation="rls_violation",table_name="orders"}': 1,
            'security_rls_policy_violations_total{table_name="orders"}': 1,
        },
    ),
    (told("scan", {"is_safe": False}), {}),
]


@pytest.mark.parametrize(
    ("event", "wanted"), FED, ids=[f"{n}-{event.event.event_type}" for n, (event, _) in enumerate(FED)]
)
def test_an_event_counts_in_its_series_and_in_no_other(event: StoredEvent, wanted: dict[str, float]) -> None:
    """Each kind of event adds exactly what it says; a normal login, above all, is no threat."""
    assert grown(Metrics(Clock()), [event]) == wanted


def test_the_response_time_of_data_accesses_is_a_histogram_in_seconds() -> None:
    """Milliseconds come in, seconds go out, in the contract's buckets."""
    metrics = Metrics(Clock())
    event = told("data_access", {"access_type": "select", "response_time_ms": 700}, service_name="shop")
    series = "security_data_access_response_time_seconds"
    added = {name: value for name, value in grown(metrics, [event]).items() if name.startswith(series)}
    about = 'access_type="select"'
    counted = {
        f'{series}_bucket{{{about},le="{le}",service="shop"}}': 1 for le in ("1.0", "2.5", "5.0", "10.0", "+Inf")
    }
    assert added == counted | {
        f'{series}_count{{{about},service="shop"}}': 1,
        f'{series}_sum{{{about},service="shop"}}': 0.7,
    }


def test_late_events_count_and_those_of_a_look_back_do_not() -> None:
    """An import that does nothing about old events is no present attack either; a late event did happen."""
    metrics = Metrics(Clock())
    failed = {"success": False}
    assert grown(metrics, [told("authentication", failed, effects=False)]) == {}
    assert len(grown(metrics, [told("authentication", failed, late=True)])) == 2


# --- labels


def test_a_flood_of_random_names_ends_at_the_cap() -> None:
    """100 services, 200 tables, tools and endpoints are learned; what comes later is `other`, and nothing is lost."""
    metrics = Metrics(Clock())
    flood = []
    for n in range(3_000):
        name = f"name-{n}"
        flood += [
            told("data_access", {"table_name": name, "access_type": "select"}, service_name=name),
            told("tool_execution", {"tool_name": name, "success": True}),
            told("rate_limit", {"endpoint": f"/{name}"}),
            told("cross_service_auth", {"source_service": name, "target_service": name, "success": True}),
        ]
    metrics.told.count(flood)
    present = samples(metrics)

    def values(series: str, label: str) -> set[str]:
        return {dict(labels)[label] for name, labels in present if name == series}

    for series, label, most in (
        ("security_data_access_total", "service", 100),
        ("security_data_access_total", "table_name", 200),
        ("security_tool_execution_total", "tool_name", 200),
        ("security_rate_limit_violations_total", "endpoint", 200),
        ("security_cross_service_auth_total", "source_service", 100),
        ("security_cross_service_auth_total", "target_service", 100),
    ):
        assert len(values(series, label)) == most + 1, (series, label)
        assert "other" in values(series, label)
        assert sum(value for (name, _), value in present.items() if name == series) == 3_000


def test_labels_that_multiply_are_bounded_too() -> None:
    """100 services that ask 100 services in turn are 10,000 pairs; a metric has some 2,000 label sets."""
    metrics = Metrics(Clock())
    names = [f"s{n}" for n in range(100)]
    pairs = [
        told("cross_service_auth", {"source_service": one, "target_service": two, "success": ok})
        for one in names
        for two in names
        for ok in (True, False)
    ]
    metrics.told.count(pairs)
    counted = {k: v for k, v in samples(metrics).items() if k[0] == "security_cross_service_auth_total"}
    assert len(counted) <= 2_003
    assert sum(counted.values()) == 20_000


@pytest.mark.parametrize(
    "name", ["", "x" * 101, "ada lovelace", "a@b.example", "tab\tle", "naïve", 7, None, ["x"], {"x": 1}]
)
def test_a_name_that_may_be_somebodys_text_is_other(name: Any) -> None:
    """Names of tables and routes are short and plain; a sentence or a mail address gets into no label."""
    assert grown(Metrics(Clock()), [told("rate_limit", {"endpoint": name})]) == {
        'security_rate_limit_violations_total{endpoint="other"}': 1
    }


def test_what_is_known_beforehand_starts_at_0_and_outlives_a_flood() -> None:
    """Names from the configuration have their series before anybody floods the labels."""
    metrics = Metrics(Clock(), Names(services=("shop",), tables=("orders",), tools=("sh",), endpoints=("/pay",)))
    present = samples(metrics)
    for name, labels in (
        ("security_auth_failures_total", {"service": "shop", "failure_reason": "mfa"}),
        ("security_rls_policy_violations_total", {"table_name": "orders"}),
        ("security_sandbox_violations_total", {"tool_name": "sh", "violation_type": "network"}),
        ("security_rate_limit_violations_total", {"endpoint": "/pay"}),
    ):
        assert present[name, frozenset(labels.items())] == 0
    metrics.told.count([told("rate_limit", {"endpoint": f"/{n}"}) for n in range(1_000)])
    added = grown(metrics, [told("rate_limit", {"endpoint": "/pay"})])
    assert added == {'security_rate_limit_violations_total{endpoint="/pay"}': 1}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    [
        "success",
        "operation",
        "user_type",
        "failure_reason",
        "token_type",
        "granted",
        "violation_type",
        "access_type",
        "table_name",
        "sensitive",
        "row_count",
        "response_time_ms",
        "tool_name",
        "security_level",
        "sandbox_violation",
        "event_type",
        "auth_method",
        "auth_failure_reason",
        "source_service",
        "target_service",
        "blocked",
        "method",
        "status_code",
        "endpoint",
        "resource_type",
        "value",
        "limit",
        "db_connections",
        "certificate_not_after",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EventType), st.dictionaries(FIELDS, ANYTHING, max_size=8), st.text(max_size=5))
def test_whatever_people_send_is_counted_without_an_error_and_can_be_read(
    event_type: EventType, details: dict[str, Any], word: str
) -> None:
    """Details are anybody's JSON: none stops the service, and none gets a word of its own into the exposition."""
    metrics = Metrics(Clock())
    metrics.told.count([told(event_type, details | {"extra": word}, service_name=word, session_id=word)])
    text = metrics.exposition("")[0].decode()
    plain = set(string.ascii_letters + string.digits + "_.:/{}<>*-")
    for family in parse_text(text):
        for sample in family.samples:
            assert all(plain.issuperset(value) for name, value in sample.labels.items() if name != "le")


def test_openmetrics_is_what_the_strict_parser_takes() -> None:
    """A scraper that asks for OpenMetrics gets all of it in the stricter form."""
    metrics = Metrics(Clock())
    metrics.told.count([event for event, _ in FED])
    body, content_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(body.decode())}
    assert names >= LABELS.keys()


# --- gauges


def test_sessions_are_counted_once_by_their_kind_and_forgotten_after_15_minutes() -> None:
    """A gauge tells of now: a session is one however many events it has, and ends with its silence."""
    clock = Clock()
    metrics = Metrics(clock)

    def active() -> dict[str, float]:
        present = samples(metrics)
        return {
            dict(labels)["user_type"]: value
            for (name, labels), value in present.items()
            if name == "security_concurrent_sessions" and value
        }

    login = {"success": True, "user_type": "admin"}
    metrics.told.count([told("authentication", login, session_id="one"), told("scan", {}, session_id="two")])
    metrics.told.count([told("data_access", {}, session_id="one")])
    assert active() == {"admin": 1, "other": 1}
    clock.now += 600
    metrics.told.count([told("scan", {}, session_id="two"), told("scan", {}, session_id="three", late=True)])
    clock.now += 301
    assert active() == {"other": 1}


def test_invented_sessions_are_bounded() -> None:
    """Whoever invents session ids takes room for 100,000 of them at most."""
    metrics = Metrics(Clock())
    metrics.told.count(told("scan", {}, session_id=str(n)) for n in range(100_500))
    assert sum(v for (name, _), v in samples(metrics).items() if name == "security_concurrent_sessions") == 100_000


def test_database_connections_are_those_that_services_told_lately() -> None:
    """Two services add up, the later word of one replaces the earlier, and one that falls silent has none."""
    clock = Clock()
    metrics = Metrics(clock)
    series = "security_database_connections_active"
    for service, number in (("shop", 10), ("bank", 5), ("shop", 7)):
        metrics.told.count([told("system_health", {"db_connections": number}, service_name=service)])
    assert samples(metrics)[series, frozenset()] == 12
    clock.now += 301
    metrics.told.count([told("system_health", {"db_connections": 1}, service_name="bank")])
    assert samples(metrics)[series, frozenset()] == 1


@pytest.mark.parametrize(
    ("not_after", "days_later", "state"),
    [
        ("2026-03-01T00:00:00Z", 0, "valid"),
        ("2026-03-01T00:00:00Z", 30, "expiring_soon"),
        ("2026-03-01T00:00:00Z", 59, "expired"),
        ("yesterday", 0, "invalid"),
        ("2026-03-01T00:00:00", 0, "invalid"),
        (None, 0, "invalid"),
    ],
)
def test_a_certificate_ages_without_an_event(not_after: Any, days_later: int, state: str) -> None:
    """The state is computed when it is read, so that an end is seen though nobody tells of it."""
    clock = Clock()
    metrics = Metrics(clock)
    metrics.told.count([told("system_health", {"certificate_not_after": not_after}, service_name="shop")])
    clock.now += days_later * DAY
    name = "security_ssl_certificate_status"
    states = {dict(labels)[name]: value for (series, labels), value in samples(metrics).items() if series == name}
    assert states == dict.fromkeys(("valid", "expiring_soon", "expired", "invalid"), 0) | {state: 1}


def test_anomaly_scores_have_the_contracts_buckets() -> None:
    """The alerts count what lies above .8 and .95, so these bounds must be there."""
    metrics = Metrics(Clock())
    bounds = {
        dict(labels)["le"]
        for name, labels in samples(metrics)
        if name == "security_anomaly_scores_bucket" and ("detection_type", "statistical") in labels
    }
    assert bounds == {"0.1", "0.3", "0.5", "0.7", "0.8", "0.9", "0.95", "0.99", "+Inf"}
