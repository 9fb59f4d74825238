# ruff: noqa: INP001 - a script beside the files that it writes, not a package
"""
Write the boards: `python config/grafana/boards.py`.

Grafana's own library makes the JSON, so that a panel has the form that Grafana 11 knows. tests/deploy/test_boards.py
fails while the files say something else than this script; test_live.py, beside it, runs every query.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    dashboard,
    gauge,
    heatmap,
    piechart,
    prometheus,
    stat,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

__all__ = ["BOARDS", "rendered"]

FOLDER = Path(__file__).parent / "provisioning" / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
W = "$__rate_interval"
R = "$__range"


def _query(expression: str, legend: str, ref: str, *, instant: bool = False, heat: bool = False) -> Any:
    query = prometheus.Dataquery().expr(expression).legend_format(legend or "all").ref_id(ref).datasource(SOURCE)
    query = query.instant() if instant else query.range()
    return query.format(PromQueryFormat.HEATMAP if heat else PromQueryFormat.TIME_SERIES)


def _filled(  # noqa: PLR0917 - what every panel has
    panel: Any, title: str, told: str, size: tuple[int, int], unit: str, queries: dict[str, str], **how: bool
) -> Any:
    panel = panel.title(title).description(told).datasource(SOURCE).span(size[0]).height(size[1]).unit(unit)
    for number, (legend, expression) in enumerate(queries.items()):
        panel = panel.with_target(_query(expression, legend, chr(ord("A") + number), **how))
    return panel


def curve(title: str, told: str, unit: str, **queries: str) -> Any:
    """Return curves over time; each query by its legend, where `x__y` stands for the labels x and y."""
    return _filled(timeseries.Panel(), title, told, (12, 8), unit, _legends(queries))


def number(title: str, told: str, unit: str, expression: str, *steps: tuple[float | None, str], span: int = 6) -> Any:
    """Return one figure, coloured from each step's value on."""
    panel = _filled(stat.Panel(), title, told, (span, 5), unit, {"": expression}, instant=True)
    return _coloured(panel.reduce_options(_last()), steps)


def dial(title: str, told: str, unit: str, expression: str, most: float, *steps: tuple[float | None, str]) -> Any:
    """Return a gauge from 0 to `most`."""
    panel = _filled(gauge.Panel(), title, told, (6, 8), unit, {"": expression}, instant=True)
    return _coloured(panel.reduce_options(_last()).min(0).max(most), steps)


def bars(title: str, told: str, unit: str, **queries: str) -> Any:
    """Return a bar for each series, of what happened in the time shown."""
    panel = _filled(bargauge.Panel(), title, told, (12, 8), unit, _legends(queries), instant=True)
    return panel.reduce_options(_last())


def slices(title: str, told: str, **queries: str) -> Any:
    """Return the shares of a whole."""
    panel = _filled(piechart.Panel(), title, told, (12, 8), "short", _legends(queries), instant=True)
    return panel.reduce_options(_last())


def heat(title: str, told: str, expression: str) -> Any:
    """Return a histogram over time."""
    return _filled(heatmap.Panel(), title, told, (12, 8), "short", {"{{le}}": expression}, heat=True)


def rows(title: str, told: str, unit: str, expression: str) -> Any:
    """Return a table with a row for each series."""
    panel = table.Panel().title(title).description(told).datasource(SOURCE).span(12).height(8).unit(unit)
    return panel.with_target(_query(expression, "", "A", instant=True).format(PromQueryFormat.TABLE))


def words(title: str, content: str) -> Any:
    """Return a text."""
    return text.Panel().title(title).content(content).span(12).height(8)


def _legends(queries: dict[str, str]) -> dict[str, str]:
    return {
        " ".join(f"{{{{{label}}}}}" for label in name[3:].split("__")) if name.startswith("by_") else name: expression
        for name, expression in queries.items()
    }


def _last() -> Any:
    return ReduceDataOptions().calcs(["lastNotNull"])


def _coloured(panel: Any, steps: tuple[tuple[float | None, str], ...]) -> Any:
    if not steps:
        return panel
    marks = [Threshold(value=value, color=colour) for value, colour in steps]
    return panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(marks))


def board(uid: str, title: str, told: str, tag: str, panels: list[Any]) -> Any:
    """Return a board, as JSON would have it."""
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(told)
        .tags(["sentinel", tag])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("utc")
        .tooltip(DashboardCursorSync.CROSSHAIR)
    )
    for panel in panels:
        built = built.with_panel(panel)
    return built.build()


GOOD_HIGH = ((None, "red"), (50.0, "orange"), (70.0, "green"))
BAD_ABOVE_0 = ((None, "green"), (0.5, "red"))

BOARDS: dict[str, Any] = {
    "security/security-overview.json": lambda: board(
        "security-overview",
        "Security overview",
        "How much is going on, and how bad it is.",
        "security",
        [
            dial(
                "Health score",
                "100 less what the last hour's violations and signals weigh.",
                "none",
                "max(security_health_score)",
                100,
                *GOOD_HIGH,
            ),
            dial(
                "Health score by traffic",
                "The same, in proportion to the traffic.",
                "none",
                "max(security_health_score_normalized)",
                100,
                *GOOD_HIGH,
            ),
            number(
                "Critical violations",
                "In the time shown.",
                "short",
                f'sum(increase(security_violations_total{{severity="critical"}}[{R}]))',
                *BAD_ABOVE_0,
            ),
            number(
                "Failed logins",
                "Share of the logins of 5 minutes.",
                "percentunit",
                "security:auth_failure_ratio:rate5m",
            ),
            number(
                "Actions taken",
                "Put in force in the time shown.",
                "short",
                f'sum(increase(security_response_actions_total{{status="active"}}[{R}]))',
            ),
            number(
                "Alerts that fire",
                "Of all severities.",
                "short",
                'count(ALERTS{alertstate="firing"}) or vector(0)',
                *BAD_ABOVE_0,
            ),
            curve(
                "Logins a minute",
                "By what came of them.",
                "short",
                by_status=f"sum by (status) (rate(security_auth_attempts_total[{W}])) * 60",
            ),
            curve(
                "Refused accesses a minute",
                "Authorisation, by kind.",
                "short",
                by_violation_type=f"sum by (violation_type) (rate(security_authz_violations_total[{W}])) * 60",
            ),
            curve(
                "Violations a second",
                "By severity, as a mean over 5 minutes.",
                "short",
                by_severity="security:violations:rate5m",
            ),
            curve(
                "Violations in the last minute",
                "By severity, as Sentinel counts them.",
                "short",
                by_severity="max by (severity) (security_violation_rate_per_minute)",
            ),
            bars(
                "Threats detected",
                "Signals of the last hour, by type and severity.",
                "short",
                by_threat_type__severity="security:threat_detections:increase1h > 0",
            ),
            bars(
                "Actions",
                "By type and state, in the last hour.",
                "short",
                by_action_type__status="security:response_actions:increase1h > 0",
            ),
        ],
    ),
    "security/authentication-dashboard.json": lambda: board(
        "authentication-dashboard",
        "Authentication",
        "Who comes in, who does not, and why.",
        "security",
        [
            curve(
                "Attempts a minute",
                "Logins by what came of them.",
                "short",
                by_status=f"sum by (status) (rate(security_auth_attempts_total[{W}])) * 60",
            ),
            curve(
                "Failures a minute by reason",
                "Why logins fail.",
                "short",
                by_failure_reason=f"sum by (failure_reason) (rate(security_auth_failures_total[{W}])) * 60 > 0",
            ),
            bars(
                "Failures by service",
                "In the time shown.",
                "short",
                by_service=f"sum by (service) (increase(security_auth_failures_total[{R}])) > 0",
            ),
            bars(
                "Attempts by kind of user",
                "In the time shown.",
                "short",
                by_user_type=f"sum by (user_type) (increase(security_auth_attempts_total[{R}])) > 0",
            ),
            curve(
                "JWT operations a minute",
                "By operation and what came of it.",
                "short",
                by_operation__status=f"sum by (operation, status) (rate(security_jwt_operations_total[{W}])) * 60 > 0",
            ),
            rows(
                "Services among each other",
                "Authentications in the time shown.",
                "short",
                f"sum by (source_service, target_service, status) (increase(security_cross_service_auth_total[{R}])) > 0",
            ),
            curve(
                "Refused websockets a minute",
                "By reason.",
                "short",
                by_failure_reason=f"sum by (failure_reason) (rate(security_websocket_auth_failures_total[{W}])) * 60 > 0",
            ),
            words(
                "Failures by address",
                "Addresses are in no metric: there would be a series for each that an attacker invents. `GET /api/v1/security/summary` and `sentinel incidents list` name those with the most failures, and why they failed.",
            ),
        ],
    ),
    "security/threat-detection-dashboard.json": lambda: board(
        "threat-detection-dashboard",
        "Threat detection",
        "What was found, and what is unlike itself.",
        "security",
        [
            heat(
                "Anomaly scores",
                "How many anomalies scored how high.",
                f"sum by (le) (increase(security_anomaly_scores_bucket[{W}]))",
            ),
            curve(
                "Threats detected a minute",
                "Signals by type.",
                "short",
                by_threat_type=f"sum by (threat_type) (rate(security_threat_detections_total[{W}])) * 60 > 0",
            ),
            number(
                "Anomalies above 0.8",
                "In the time shown.",
                "short",
                f'sum(increase(security_anomaly_scores_count[{R}])) - sum(increase(security_anomaly_scores_bucket{{le="0.8"}}[{R}]))',
                *BAD_ABOVE_0,
            ),
            number(
                "Right",
                "Share of the judged actions and incidents of 30 days that people called right.",
                "percentunit",
                "max(security_detection_precision)",
            ),
            number(
                "Sandbox violations",
                "In the time shown.",
                "short",
                f"sum(increase(security_sandbox_violations_total[{R}]))",
                *BAD_ABOVE_0,
            ),
            number(
                "Rows read", "In the time shown.", "short", f"sum(increase(security_data_access_volume_total[{R}]))"
            ),
            bars(
                "Beyond a rate limit",
                "By endpoint, in the time shown.",
                "short",
                by_endpoint=f"topk(10, sum by (endpoint) (increase(security_rate_limit_violations_total[{R}])) > 0)",
            ),
            curve(
                "Data accesses a minute",
                "Sensitive or not.",
                "short",
                by_sensitive=f"sum by (sensitive) (rate(security_data_access_total[{W}])) * 60",
            ),
            bars(
                "Rows by table",
                "In the time shown.",
                "short",
                by_table_name=f"topk(10, sum by (table_name) (increase(security_data_access_volume_total[{R}])) > 0)",
            ),
            curve(
                "Duration of data accesses",
                "95 of 100 take no longer.",
                "s",
                by_service=f"histogram_quantile(0.95, sum by (le, service) (rate(security_data_access_response_time_seconds_bucket[{W}])))",
            ),
            bars(
                "Calls of tools",
                "By tool and what came of them, in the time shown.",
                "short",
                by_tool_name__status=f"sum by (tool_name, status) (increase(security_tool_execution_total[{R}])) > 0",
            ),
            bars(
                "Violations by kind",
                "In the time shown.",
                "short",
                by_violation_type=f"sum by (violation_type) (increase(security_violations_total[{R}])) > 0",
            ),
        ],
    ),
    "security/scanner-dashboard.json": lambda: board(
        "scanner-dashboard",
        "Scanner",
        "Texts judged before and after the model.",
        "security",
        [
            curve(
                "Scans a second", "By verdict.", "reqps", by_result=f"sum by (result) (rate(sentinel_scan_total[{W}]))"
            ),
            dial(
                "Block rate",
                "Share of unsafe texts in 5 minutes; below 5 % is the target.",
                "percentunit",
                "sentinel:scan_block_ratio:rate5m",
                1,
                (None, "green"),
                (0.05, "orange"),
                (0.2, "red"),
            ),
            dial(
                "Errors",
                "Share of scans that raised an error; below 0.1 % is the target.",
                "percentunit",
                f"sum(increase(sentinel_scan_errors_total[{R}])) / (sum(increase(sentinel_scan_total[{R}])) + sum(increase(sentinel_scan_errors_total[{R}])))",
                1,
                (None, "green"),
                (0.001, "orange"),
                (0.01, "red"),
            ),
            heat(
                "Risk scores",
                "How many texts had which risk.",
                f"sum by (le) (increase(sentinel_risk_score_bucket[{W}]))",
            ),
            slices(
                "Threats by type",
                "Unsafe texts in the time shown.",
                by_threat_type=f'sum by (threat_type) (increase(sentinel_scan_total{{result="blocked"}}[{R}])) > 0',
            ),
            curve(
                "Duration of scans",
                "Half and 99 of 100 take no longer; 100 ms is the target.",
                "s",
                half=f"histogram_quantile(0.5, sum by (le) (rate(sentinel_scan_latency_seconds_bucket[{W}])))",
                most="sentinel:scan_latency_seconds:p99_5m",
            ),
            curve(
                "Duration by engine",
                "Mean of each engine.",
                "s",
                by_engine=f"sum by (engine) (rate(sentinel_engine_latency_seconds_sum[{W}])) / sum by (engine) (rate(sentinel_engine_latency_seconds_count[{W}]))",
            ),
            number("Sessions", "With a scan in the last 15 minutes.", "short", "max(sentinel_active_sessions)"),
            number(
                "Called wrong",
                "Verdicts that people called false positives, in the time shown.",
                "short",
                f"sum(increase(sentinel_false_positives_total[{R}]))",
            ),
        ],
    ),
    "system/system-health-dashboard.json": lambda: board(
        "system-health-dashboard",
        "System health",
        "Whether Sentinel does its work.",
        "system",
        [
            rows(
                "State",
                "What Sentinel says of itself; 1 is the word that holds.",
                "short",
                "max by (security_monitoring_status) (security_monitoring_status) == 1",
            ),
            number(
                "Targets up",
                "Of those that Prometheus scrapes.",
                "short",
                'sum(up{job="sentinel"})',
                (None, "red"),
                (1.0, "green"),
                span=3,
            ),
            number(
                "Events lost",
                "Accepted and not judged: always 0.",
                "short",
                "sum(security_events_dropped_total)",
                *BAD_ABOVE_0,
                span=3,
            ),
            number("Queue", "Events accepted and not yet judged.", "short", "max(security_queue_depth)", span=3),
            number(
                "Oldest in the queue",
                "How long the event that comes next has waited; above a minute somebody is told.",
                "s",
                "max(security_queue_age_seconds)",
                (None, "green"),
                (60.0, "red"),
                span=3,
            ),
            number(
                "Nodes that judge",
                "Of all that share a database: always 1.",
                "short",
                "sum(sentinel_judging)",
                (None, "red"),
                (1.0, "green"),
                (2.0, "red"),
                span=3,
            ),
            number(
                "Events not judged",
                "Set aside because judging them failed, in the time shown: `sentinel dead-letters list`.",
                "short",
                f"sum(increase(security_dead_letters_total[{R}]))",
                *BAD_ABOVE_0,
                span=3,
            ),
            number(
                "Database connections",
                "As services told in 5 minutes.",
                "short",
                "max(security_database_connections_active)",
                span=3,
            ),
            number(
                "Rules in force",
                "Detection rules.",
                "short",
                "max(sentinel_rules_loaded)",
                (None, "red"),
                (1.0, "green"),
                span=3,
            ),
            curve(
                "Sessions",
                "Of the last 15 minutes, by kind of user.",
                "short",
                by_user_type="max by (user_type) (security_concurrent_sessions)",
            ),
            curve(
                "Audit entries a minute",
                "By operation.",
                "short",
                by_operation=f"sum by (operation) (rate(security_audit_log_entries_total[{W}])) * 60 > 0",
            ),
            curve(
                "Events a second",
                "By what became of them.",
                "short",
                by_result=f"sum by (result) (rate(security_events_total[{W}]))",
            ),
            curve(
                "From event to decision",
                "99 of 100 take no longer; 5 s is the promise.",
                "s",
                decision=f"histogram_quantile(0.99, sum by (le) (rate(security_event_to_decision_seconds_bucket[{W}])))",
                enforced=f"histogram_quantile(0.99, sum by (le) (rate(security_decision_to_enforced_seconds_bucket[{W}])))",
            ),
            curve(
                "Errors against the service levels",
                "0.1 % is the budget.",
                "percentunit",
                by_slo="slo:error_ratio:rate1h",
            ),
            bars(
                "Probes",
                "Of the canary, in the time shown.",
                "short",
                by_probe__result=f"sum by (probe, result) (increase(sentinel_canary_probes_total[{R}]))",
            ),
            curve(
                "Requests a second",
                "To applications, by status.",
                "reqps",
                by_status_code=f"sum by (status_code) (rate(security_network_requests_total[{W}])) > 0",
            ),
            rows(
                "Certificates",
                "Seconds until they end.",
                "s",
                "min by (service) (security_ssl_certificate_not_after_seconds) - time()",
            ),
            bars(
                "Resources beyond their limit",
                "By resource and service, in the time shown.",
                "short",
                by_resource_type__service=f"sum by (resource_type, service) (increase(security_resource_usage_violations_total[{R}])) > 0",
            ),
            bars(
                "Pushes to Alertmanager",
                "By what came of them, in the time shown.",
                "short",
                by_result=f"sum by (result) (increase(sentinel_alertmanager_pushes_total[{R}]))",
            ),
        ],
    ),
}
"""By file, from `provisioning/dashboards`."""


def rendered(name: str) -> str:
    """Return a board's file."""
    return JSONEncoder(sort_keys=True, indent=2).encode(BOARDS[name]()) + "\n"


if __name__ == "__main__":
    for name in BOARDS:
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(rendered(name), encoding="utf-8")
