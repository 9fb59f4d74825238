"""
What each alert promises: series that make it fire, and series that leave it silent.

`python tests/deploy/alert_cases.py FOLDER` writes them there as promtool's unit tests. A sample is 15 seconds; values
are promtool's: `0+5x40` is 0 and then 40 times 5 more, `_x8` nothing for 8 samples.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

__all__ = ["CASES", "Case", "write_tests"]

RULES = Path(__file__).parents[2] / "config" / "prometheus" / "security_rules.yml"

_SILENT, _DEAD = "sentinel_judge_silent_seconds", "security_dead_letters_total"
_A, _B = 'instance="a",job="sentinel"', 'instance="b",job="sentinel"'
UP = f"up{{{_A}}}"
Series = dict[str, str]


class Case(NamedTuple):
    """One course of events, and at which times the alert is firing in it, how often, or not at all."""

    name: str
    series: Series
    fires: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    times: int = 1
    severity: str | None = None


def of(name: str, labels: str = "", on: str = _A) -> str:
    """Return a series of one target."""
    return f"{name}{{{','.join(filter(None, (on, labels)))}}}"


def grows(per_minute: float, minutes: int = 20, start: float = 0) -> str:
    """Return values of a counter that grows steadily."""
    return f"{start}+{per_minute / 4}x{minutes * 4}"


def per_minute(name: str, one: str, other: str, limit: float, *, sure: str = "10m") -> list[Case]:
    """Return cases of an alert on the sum of a counter's rate: more than `limit` a minute."""
    share = 0.6 * limit
    return [
        Case(
            "spread over series, none of which passes the limit alone, it fires",
            {of(name, one): grows(share), of(name, other): grows(share)},
            fires=(sure,),
        ),
        Case(
            "spread over two targets it fires",
            {of(name, one): grows(share), of(name, one, _B): grows(share)},
            fires=(sure,),
        ),
        Case(
            "a restart in the middle does not end it",
            {of(name, one): f"{grows(2 * limit, 10)} {grows(2 * limit, 10)}"},
            fires=("9m", "11m"),
        ),
        Case("an idle system is silent", {of(name, one): "0x80", of(name, other): "7x80"}, silent=("5m", "15m")),
        Case(
            "a little below the limit it is silent",
            {of(name, one): grows(0.4 * limit), of(name, other): grows(0.4 * limit)},
            silent=("5m", "15m"),
        ),
        Case(
            "a counter that starts over on a quiet system is silent",
            {of(name, one): "5000000x40 0x40", of(name, other): "0x80"},
            silent=("9m", "10m15s", "11m", "13m"),
        ),
        Case(
            "a Prometheus that starts on old totals is silent",
            {of(name, one): "5000000x40"},
            silent=("1m", "5m", "9m"),
        ),
    ]


def share(bad: tuple[str, str], good: tuple[str, str], limit: float, *, sure: str = "12m") -> list[Case]:
    """
    Return cases of an alert on a share.

    Args:
        bad: A metric and labels that count as bad.
        good: Likewise as good.
        limit: The share.
        sure: When it is firing for sure.
    """
    above, below = 100 * limit * 1.5, 100 * limit * 0.5
    return [
        Case(
            "above the share it fires, whichever target is bad",
            {
                of(*bad): grows(above),
                of(*good): grows(100 - above),
                of(*bad, _B): grows(above),
                of(*good, _B): grows(100 - above),
            },
            fires=(sure,),
        ),
        Case(
            "a target that is bad alone does not make the whole bad",
            {of(*bad): grows(100 * limit * 0.5), of(*good): grows(0), of(*good, _B): grows(100 - below)},
            silent=("5m", sure),
        ),
        Case("below it it is silent", {of(*bad): grows(below), of(*good): grows(100 - below)}, silent=("5m", sure)),
        Case(
            "one bad answer among few is silent",
            {of(*bad): "0x20 1x60", of(*good): grows(1)},
            silent=("5m15s", "6m", "7m", sure),
        ),
        Case("an idle system is silent", {of(*bad): "9x80", of(*good): "9x80"}, silent=("5m", sure)),
        Case(
            "counters that start over are silent",
            {of(*bad): "70000x40 0x40", of(*good): f"90000x40 {grows(200, 10)}"},
            silent=("10m15s", "11m", "14m"),
        ),
    ]


def first(name: str, labels: str, other: str) -> list[Case]:
    """Return cases of an alert that must not miss the first count of a series that was not there before."""
    return [
        Case(
            "the first count of a new series fires, and is over five minutes later",
            {UP: "1x80", of(name, labels): "_x40 1x40"},
            fires=("10m15s", "12m"),
            silent=("9m", "16m"),
        ),
        Case(
            "the next count of a series fires",
            {UP: "1x80", of(name, labels): "3x40 4x40"},
            fires=("10m30s", "13m"),
            silent=("9m", "16m"),
        ),
        Case(
            "the same on two targets is one alert",
            {UP: "1x80", of(name, labels): "_x40 1x40", f"up{{{_B}}}": "1x80", of(name, labels, _B): "_x40 1x40"},
            fires=("11m",),
        ),
        Case(
            "a Prometheus that starts on old totals is silent",
            {UP: "1x60", of(name, labels): "7x60"},
            silent=FROM_START,
        ),
        Case(
            "a target that is new with its totals is silent",
            {UP: "_x40 1x40", of(name, labels): "_x40 7x40"},
            silent=("10m15s", "12m", "16m"),
        ),
        Case("an idle system is silent", {UP: "1x60", of(name, labels): "0x60"}, silent=FROM_START),
        Case(
            "a counter that starts over is silent",
            {UP: "1x80", of(name, labels): "7x40 0x40"},
            silent=("10m15s", "12m", "16m"),
        ),
        *(
            [Case("what is less severe is silent", {UP: "1x80", of(name, other): "_x40 1x40"}, silent=("11m", "13m"))]
            if other
            else []
        ),
    ]


FROM_START = ("15s", "1m", "4m", "5m", "6m", "12m")


def spike(name: str, labels: str, floor: float) -> list[Case]:
    """Return cases of an alert on three times the mean of the hour before, above an absolute figure."""
    usual, high = floor, 5 * floor
    return [
        Case(
            "five times the hour's mean fires, spread over two targets",
            {
                of(name, labels): f"{grows(usual / 2, 80)} {grows(high / 2, 10, 80 * usual / 2)}",
                of(name, labels, _B): f"{grows(usual / 2, 80)} {grows(high / 2, 10, 80 * usual / 2)}",
            },
            fires=("88m",),
            silent=("79m",),
        ),
        Case(
            "the first after a quiet hour fires",
            {of(name, labels): f"0x320 {grows(high, 10)}"},
            fires=("88m",),
            silent=("79m",),
        ),
        Case(
            "three times very little is silent",
            {of(name, labels): f"{grows(floor / 20, 80)} {grows(floor / 4, 10, 4 * floor)}"},
            silent=("79m", "86m", "89m"),
        ),
        Case("much, but as ever, is silent", {of(name, labels): grows(10 * floor, 90)}, silent=("79m", "89m")),
        Case(
            "twice the hour's mean is silent",
            {of(name, labels): f"{grows(usual, 80)} {grows(2 * usual, 10, 80 * usual)}"},
            silent=("86m", "89m"),
        ),
        Case("an idle system is silent", {of(name, labels): "4x360"}, silent=("79m", "89m")),
        Case("a counter that starts over is silent", {of(name, labels): "9000x320 0x40"}, silent=("81m", "86m")),
    ]


def gauge(name: str, labels: str, bad: str, good: str, sure: str = "15m") -> list[Case]:
    """Return cases of an alert on a gauge that every API node has alike."""
    return [
        Case("it fires", {of(name, labels): f"{bad}x80"}, fires=(sure,)),
        Case(
            "on two nodes it fires once",
            {of(name, labels): f"{bad}x80", of(name, labels, _B): f"{bad}x80"},
            fires=(sure,),
        ),
        Case("otherwise it is silent", {of(name, labels): f"{good}x80"}, silent=("5m", sure)),
        Case(
            "after it has been well again it is silent",
            {of(name, labels): f"{bad}x80 {good}x20"},
            silent=("21m", "24m"),
        ),
    ]


def scores(le: str, just_below: tuple[str, ...]) -> list[Case]:
    """Return cases of an alert on scores above a bound; `just_below` are the buckets that a lower score is in too."""
    count = of("security_anomaly_scores_count", 'detection_type="statistical"')
    other = of("security_anomaly_scores_count", 'detection_type="temporal"')

    def bucket(bound: str, kind: str = "statistical") -> str:
        return of("security_anomaly_scores_bucket", f'detection_type="{kind}",le="{bound}"')

    return [
        Case(
            "one score above the bound fires, and is over five minutes later",
            {count: "0x40 1x40", bucket(le): "0x80", other: "0x80", bucket(le, "temporal"): "0x80"},
            fires=("10m30s", "12m"),
            silent=("9m", "16m"),
        ),
        Case(
            "one among many lower ones fires",
            {count: "0+1x40 42+1x40", bucket(le): "0+1x40 41+1x40"},
            fires=("11m", "14m"),
            silent=("9m",),
        ),
        Case(
            "lower ones are silent",
            {count: "0+1x80"} | {bucket(bound): "0+1x80" for bound in (le, *just_below)},
            silent=("5m", "15m"),
        ),
        Case("an idle system is silent", {count: "4x80", bucket(le): "3x80"}, silent=("5m", "15m")),
        Case(
            "counters that start over are silent",
            {count: "9x40 0x40", bucket(le): "7x40 0x40"},
            silent=("10m30s", "12m"),
        ),
    ]


def slow(name: str, bounds: tuple[str, str], labels: str = "") -> list[Case]:
    """
    Return cases of an alert on a quantile of a histogram.

    Args:
        name: Of the histogram.
        bounds: A bound at or below the limit, and a bucket above it that the slow ones fall into.
        labels: Of the histogram's series.
    """
    fast, late = bounds

    def histogram(below: float, above: float, on: str = _A) -> Series:
        def bucket(le: str) -> str:
            return of(f"{name}_bucket", ",".join(filter(None, (labels, f'le="{le}"'))), on)

        return {
            bucket(fast): grows(below),
            bucket(late): grows(below + above),
            bucket("+Inf"): grows(below + above),
            of(f"{name}_count", labels, on): grows(below + above),
        }

    return [
        Case("when a tenth is bad it fires", histogram(90, 10), fires=("12m",)),
        Case("spread over two targets it fires", histogram(90, 10) | histogram(90, 10, _B), fires=("12m",)),
        Case(
            "a bad target with little traffic is silent beside a good one",
            histogram(0, 0.4) | histogram(100, 0, _B),
            silent=("5m", "12m"),
        ),
        Case("when all is well it is silent", histogram(100, 0), silent=("5m", "12m")),
        Case("one bad one among few is silent", histogram(0, 1), silent=("5m", "12m", "19m")),
        Case("an idle system is silent", histogram(0, 0), silent=("5m", "12m")),
    ]


_BLOCKED = ("sentinel_scan_total", 'result="blocked",threat_type="injection"')
_ALLOWED = ("sentinel_scan_total", 'result="allowed",threat_type="none"')
_PROBED = "sentinel_canary_probes_total"
_OK, _FAILED = of(_PROBED, 'probe="event",result="ok"'), of(_PROBED, 'probe="event",result="failed"')
_BLOCKED_OK, _BLOCKED_NOT = (of("sentinel_canary_block_probes_total", f'result="{word}"') for word in ("ok", "failed"))
_STATUS = "security_monitoring_status"
_CERTIFICATE, _ENDS = "security_ssl_certificate_status", "security_ssl_certificate_not_after_seconds"


def _state(word: str, service: str = "shop") -> str:
    return f'{_CERTIFICATE}="{word}",service="{service}"'


_EXPIRING = {of(_CERTIFICATE, _state("expiring_soon")): "1x80"}
_SHOP = 'service="shop"'

CASES: dict[str, list[Case]] = {
    # --- service levels
    "ErrorBudgetBurnFast": [
        Case(
            "5 % of failed probes for an hour fires for availability",
            {_OK: grows(95, 70), _FAILED: grows(5, 70)},
            fires=("65m",),
        ),
        Case(
            "5 % of failed scans fires for scans",
            {
                of(*_ALLOWED): grows(95, 70),
                of("sentinel_scan_errors_total"): grows(5, 70),
            },
            fires=("65m",),
        ),
        Case(
            "5 % of late decisions on two targets fires for decisions",
            {
                of("security_event_to_decision_seconds_bucket", 'le="5.0"'): grows(95, 70),
                of("security_event_to_decision_seconds_count"): grows(100, 70),
                of("security_event_to_decision_seconds_bucket", 'le="5.0"', _B): grows(95, 70),
                of("security_event_to_decision_seconds_count", on=_B): grows(100, 70),
            },
            fires=("65m",),
        ),
        Case(
            "a bad five minutes after a good hour is silent",
            {_OK: grows(100, 70), _FAILED: f"0x256 {grows(10, 6)}"},
            silent=("63m", "69m"),
        ),
        Case(
            "a bad hour that is over is silent",
            {_OK: grows(100, 80), _FAILED: f"{grows(5, 60)} 300x80"},
            fires=("58m",),
            silent=("68m",),
        ),
        Case("an idle system is silent", {_OK: "5x300", _FAILED: "5x300"}, silent=("10m", "70m")),
        Case(
            "a counter that starts over is silent",
            {_OK: grows(100, 70), _FAILED: "900x200 0x80"},
            silent=("52m", "66m"),
        ),
    ],
    "ErrorBudgetBurnSlow": [
        Case(
            "1 % of failed probes for six hours fires",
            {_OK: grows(99, 400), _FAILED: grows(1, 400)},
            fires=("390m",),
        ),
        Case(
            "half an hour of it after good hours is silent",
            {_OK: grows(100, 400), _FAILED: f"0x1440 {grows(1, 40)}"},
            silent=("350m", "395m"),
        ),
        Case("an idle system is silent", {_OK: "5x1600", _FAILED: "5x1600"}, silent=("40m", "390m")),
    ],
    # --- scanner
    "HighThreatRate": [
        *per_minute(
            "sentinel_scan_total",
            'result="blocked",threat_type="injection"',
            'result="blocked",threat_type="extraction"',
            600,
        ),
        Case(
            "much harmless traffic is silent",
            {of(*_ALLOWED): grows(60000), of(*_BLOCKED): grows(60)},
            silent=("5m", "12m"),
        ),
        Case(
            "a lower limit is a setting of the service, and the higher one of two nodes holds",
            {
                of(*_BLOCKED): grows(180),
                of("sentinel_high_threat_rate_limit"): "2x80",
                of("sentinel_high_threat_rate_limit", on=_B): "1x80",
            },
            fires=("10m",),
        ),
        Case(
            "so is a higher one",
            {of(*_BLOCKED): grows(1200), of("sentinel_high_threat_rate_limit"): "30x80"},
            silent=("5m", "12m"),
        ),
    ],
    "RiskScoreSpike": slow("sentinel_risk_score", ("0.7", "1.0")),
    "HighLatency": slow("sentinel_scan_latency_seconds", ("0.5", "1.0")),
    "PossibleAttack": [
        *share(_BLOCKED, _ALLOWED, 0.5),
        Case(
            "0.1 % is silent, though no other threat type is there to divide by",
            {of(*_BLOCKED): grows(1), of(*_ALLOWED): grows(999)},
            silent=("5m", "12m"),
        ),
        Case(
            "it fires within two minutes",
            {of(*_BLOCKED): f"0x40 {grows(90, 5)}", of(*_ALLOWED): grows(30)},
            fires=("12m",),
        ),
    ],
    "HighBlockRate": share(_BLOCKED, _ALLOWED, 0.2),
    "HighScanErrorRate": [
        *share(("sentinel_scan_errors_total", ""), _ALLOWED, 0.01),
        Case(
            "it fires when every scan fails and none is counted",
            {of("sentinel_scan_errors_total"): grows(100), of(*_ALLOWED): "0x80"},
            fires=("10m",),
        ),
    ],
    "LowAvailability": [
        Case(
            "one failed probe of five fires, and is over five minutes later",
            {UP: "1x80", _OK: grows(1), _FAILED: "0x40 1x40"},
            fires=("11m15s", "14m"),
            silent=("9m", "16m"),
        ),
        Case(
            "a target down for two minutes fires",
            {UP: "1x40 0x40", _OK: f"{grows(1, 10)} _x40"},
            fires=("12m15s",),
            silent=("10m30s", "11m15s"),
        ),
        Case("a missing series fires", {UP: "1x80"}, fires=("2m30s", "9m")),
        Case("without any target it fires", {}, fires=("2m30s",)),
        Case(
            "one of two targets down is silent",
            {UP: "0x80", f"up{{{_B}}}": "1x80", of(_PROBED, 'probe="event",result="ok"', _B): grows(1)},
            silent=("3m", "9m"),
        ),
        Case(
            "a scrape lost to a restart is silent",
            {UP: "1x40 0 1x40", _OK: f"{grows(1, 10)} _ 0+0.25x40", _FAILED: "0x40 _ 0x40"},
            silent=("10m15s", "10m45s", "12m"),
        ),
        Case("a healthy system is silent", {UP: "1x80", _OK: grows(2), _FAILED: "0x80"}, silent=("2m", "15m")),
    ],
    "BlockCanaryFailed": [
        Case(
            "blocks that are obeyed no more fire, and are over when they are again",
            {_BLOCKED_OK: f"{grows(1, 10)} 10x40 {grows(1, 10, 10)}", _BLOCKED_NOT: f"0x40 {grows(1, 10)} 10x40"},
            fires=("14m", "21m"),
            silent=("10m", "27m"),
        ),
        Case(
            "a canary that has stopped fires",
            {_BLOCKED_OK: f"{grows(1, 10)} 10x80", _BLOCKED_NOT: "0x120"},
            fires=("17m", "25m"),
            silent=("10m", "14m"),
        ),
        Case(
            "blocks that are obeyed on one of two targets fire for the other",
            {_BLOCKED_OK: grows(1), of("sentinel_canary_block_probes_total", 'result="failed"', _B): grows(1)},
            fires=("10m",),
        ),
        Case(
            "one late probe is silent",
            {_BLOCKED_OK: f"{grows(1, 10)} 10x4 {grows(1, 10, 10)}", _BLOCKED_NOT: "0x42 1x80"},
            silent=("11m", "12m", "14m"),
        ),
        Case(
            "a restart, after which the first probe comes in a minute, is silent",
            {
                _BLOCKED_OK: f"{grows(1, 10)} _x4 0x4 {grows(1, 10, 1)}",
                _BLOCKED_NOT: "0x40 _x4 0x48",
            },
            silent=("11m", "12m30s", "14m"),
        ),
        Case(
            "a new service, not yet probed, is silent",
            {_BLOCKED_OK: "_x40 0x6 1x4", _BLOCKED_NOT: "_x40 0x10"},
            silent=("11m", "11m30s", "12m"),
        ),
        Case("a healthy system is silent", {_BLOCKED_OK: grows(1), _BLOCKED_NOT: "0x80"}, silent=("2m", "15m")),
    ],
    # --- authentication
    "HighAuthenticationFailureRate": per_minute(
        "security_auth_failures_total",
        'service="shop",failure_reason="bad_password"',
        'service="bank",failure_reason="unknown_user"',
        10,
    ),
    "CriticalAuthenticationFailureRate": per_minute(
        "security_auth_failures_total",
        'service="shop",failure_reason="bad_password"',
        'service="bank",failure_reason="unknown_user"',
        50,
    ),
    "JWTTokenFailures": [
        *per_minute(
            "security_jwt_operations_total",
            'operation="jwt_verify",status="failure",token_type="access"',
            'operation="jwt_refresh",status="failure",token_type="refresh"',
            5,
        ),
        Case(
            "much success is silent",
            {of("security_jwt_operations_total", 'operation="jwt_verify",status="success"'): grows(900)},
            silent=("5m", "12m"),
        ),
    ],
    # --- authorization
    "AuthorizationViolations": per_minute(
        "security_authz_violations_total",
        'service="shop",violation_type="role",severity="low"',
        'service="bank",violation_type="tenant",severity="high"',
        5,
    ),
    "CrossServiceAuthFailures": per_minute(
        "security_cross_service_auth_total",
        'source_service="shop",target_service="bank",status="failure"',
        'source_service="bank",target_service="shop",status="failure"',
        3,
    ),
    # --- violations
    "SecurityViolations": per_minute(
        "security_violations_total",
        'violation_type="quota",severity="low",service="shop",blocked="true"',
        'violation_type="role",severity="high",service="bank",blocked="false"',
        3,
    ),
    "CriticalSecurityViolations": first(
        "security_violations_total",
        'violation_type="breach",severity="critical",service="shop",blocked="false"',
        'violation_type="breach",severity="high",service="shop",blocked="false"',
    ),
    "SecurityViolationSpike": spike(
        "security_violations_total", 'violation_type="quota",severity="low",service="shop",blocked="true"', 3
    ),
    # --- data access
    "ExcessiveDataAccess": per_minute(
        "security_data_access_total",
        'service="shop",access_type="select",table_name="orders",sensitive="false"',
        'service="bank",access_type="export",table_name="users",sensitive="true"',
        50,
        sure="12m",
    )[:2]
    + per_minute(
        "security_data_access_total",
        'service="shop",access_type="select",table_name="orders",sensitive="false"',
        'service="bank",access_type="export",table_name="users",sensitive="true"',
        50,
    )[3:],
    "SensitiveDataAccessSpike": [
        *spike(
            "security_data_access_total", 'service="shop",access_type="select",table_name="users",sensitive="true"', 10
        ),
        Case(
            "a spike of other data is silent",
            {
                of("security_data_access_total", 'service="shop",sensitive="false"'): f"0x320 {grows(900, 10)}",
                of("security_data_access_total", 'service="shop",sensitive="true"'): "0x360",
            },
            silent=("86m", "89m"),
        ),
    ],
    "SlowDataAccess": slow(
        "security_data_access_response_time_seconds", ("5.0", "10.0"), 'service="shop",access_type="select"'
    ),
    # --- tools
    "ToolExecutionSecurityFailures": per_minute(
        "security_tool_execution_total",
        'tool_name="sh",security_level="high",status="failure"',
        'tool_name="web",security_level="low",status="failure"',
        5,
    ),
    "SandboxViolations": first("security_sandbox_violations_total", 'tool_name="sh",violation_type="network"', ""),
    # --- websockets
    "WebSocketAuthFailures": per_minute(
        "security_websocket_auth_failures_total", 'failure_reason="expired"', 'failure_reason="bad_token"', 5
    ),
    "WebSocketConnectionFailures": share(
        ("security_websocket_connections_total", 'status="failure",auth_method="jwt"'),
        ("security_websocket_connections_total", 'status="success",auth_method="jwt"'),
        0.1,
    ),
    # --- network
    "HighNetworkErrorRate": [
        *share(
            ("security_network_requests_total", 'service="shop",method="GET",status_code="500"'),
            ("security_network_requests_total", 'service="shop",method="GET",status_code="200"'),
            0.1,
        ),
        Case(
            "a guard that refuses is no error",
            {
                of("security_network_requests_total", f'service="shop",method="GET",status_code="{code}"'): grows(30)
                for code in ("401", "403", "429", "200")
            },
            silent=("5m", "12m"),
        ),
        Case(
            "a single 404 on a quiet system is silent",
            {of("security_network_requests_total", 'service="shop",method="GET",status_code="404"'): "0x20 1x60"},
            silent=("5m30s", "7m", "12m"),
        ),
    ],
    "SSLCertificateExpiring": [
        Case(
            "within 30 days it fires, and not as a critical alert",
            _EXPIRING | {of(_ENDS, _SHOP): f"{20 * 86_400}x80"},
            fires=("8m",),
            severity="medium",
        ),
        Case(
            "that one is not critical",
            _EXPIRING | {of(_ENDS, _SHOP): f"{20 * 86_400}x80"},
            silent=("8m",),
            severity="critical",
        ),
        Case(
            "within 7 days it is critical, once for two nodes",
            _EXPIRING
            | {
                of(_ENDS, _SHOP): f"{5 * 86_400}x80",
                of(_CERTIFICATE, _state("expiring_soon"), _B): "1x80",
                of(_ENDS, _SHOP, _B): f"{5 * 86_400}x80",
            },
            fires=("3m",),
            severity="critical",
        ),
        Case(
            "two services are two alerts",
            _EXPIRING | {of(_CERTIFICATE, _state("expiring_soon", "bank")): "1x80"},
            fires=("8m",),
            times=2,
        ),
        Case(
            "a valid one is silent",
            {of(_CERTIFICATE, _state("expiring_soon")): "0x80", of(_CERTIFICATE, _state("valid")): "1x80"}
            | {of(_ENDS, _SHOP): f"{90 * 86_400}x80"},
            silent=("8m",),
        ),
        Case(
            "an expired one has an alert of its own",
            {of(_CERTIFICATE, _state("expiring_soon")): "0x80", of(_CERTIFICATE, _state("expired")): "1x80"}
            | {of(_ENDS, _SHOP): "0x80"},
            silent=("8m",),
        ),
    ],
    "SSLCertificateExpired": [
        *gauge(_CERTIFICATE, _state("expired"), "1", "0", sure="3m"),
        Case("one that can't be used fires", {of(_CERTIFICATE, _state("invalid")): "1x80"}, fires=("3m",)),
        Case("one that ends soon is silent", _EXPIRING, silent=("3m",)),
    ],
    # --- threats
    "ThreatDetected": [
        *first("security_threat_detections_total", 'threat_type="brute_force",severity="high",source="rule"', ""),
        Case(
            "the alert is as severe as the signal",
            {
                UP: "1x80",
                of("security_threat_detections_total", 'threat_type="brute_force",severity="low"'): "0x40 1x40",
            },
            fires=("11m",),
            severity="low",
        ),
        Case(
            "each kind and severity is an alert",
            {
                UP: "1x80",
                of("security_threat_detections_total", 'threat_type="brute_force",severity="low"'): "0x40 1x40",
                of("security_threat_detections_total", 'threat_type="brute_force",severity="high"'): "0x40 1x40",
                of("security_threat_detections_total", 'threat_type="insider_threat",severity="low"'): "_x40 1x40",
            },
            fires=("11m",),
            times=3,
        ),
    ],
    "HighAnomalyScore": scores("0.8", ("0.9", "0.95", "0.99")),
    "CriticalAnomalyScore": scores("0.95", ("0.99",)),
    # --- rate limits
    "RateLimitViolations": per_minute(
        "security_rate_limit_violations_total", 'endpoint="/pay"', 'endpoint="/login"', 10
    ),
    "ExcessiveRateLimitViolations": per_minute(
        "security_rate_limit_violations_total", 'endpoint="/pay"', 'endpoint="/login"', 100
    ),
    # --- system health
    "LowSecurityHealthScore": [
        *gauge("security_health_score", "", "60", "71"),
        Case("below 50 it fires too", {of("security_health_score"): "40x80"}, fires=("8m",)),
    ],
    "CriticalSecurityHealthScore": [
        *gauge("security_health_score", "", "49", "50", sure="2m"),
        Case("a series that is not there is no low score", {UP: "1x80"}, silent=("8m",)),
    ],
    "SecurityMonitoringDegraded": gauge(_STATUS, f'{_STATUS}="degraded"', "1", "0", sure="3m"),
    "SecurityMonitoringCritical": gauge(_STATUS, f'{_STATUS}="critical"', "1", "0", sure="1m"),
    "NobodyJudges": [
        Case(
            "no node has heard of one that judges, it fires once for all",
            {of(_SILENT): "0x20 0+15x60", of(_SILENT, "", _B): "0x20 0+15x60"},
            fires=("9m",),
        ),
        Case("nobody has ever judged, it fires", {of(_SILENT): "1e9x80"}, fires=("2m",)),
        Case("exactly at the limit it is silent", {of(_SILENT): "30x80"}, silent=("8m",)),
        Case(
            "a node that is cut off from the others, while one of them judges, is silent",
            {of(_SILENT): "0+15x80", of(_SILENT, "", _B): "0x80"},
            silent=("8m",),
        ),
        Case(
            "a take-over, also of one that hung, is silent",
            {of(_SILENT): "0x20 15 0x60", of(_SILENT, "", _B): "1x20 16 1x60"},
            silent=("5m15s", "5m30s", "8m"),
        ),
    ],
    "EventsWaitTooLong": gauge("security_queue_age_seconds", "", "61", "60"),
    "EventsNotJudged": [
        Case("one is enough", {of(_DEAD): "0x20 1x60"}, fires=("6m", "15m")),
        Case("on any node", {of(_DEAD): "0x80", of(_DEAD, "", _B): "0x20 1x60"}, fires=("6m",)),
        Case(
            "of a process that took the place of one that it ended",
            {of(_DEAD): "0x20 _x4 1x60"},
            fires=("8m",),
        ),
        Case("after a quarter of an hour it is over", {of(_DEAD): "0x4 1x100"}, silent=("20m",)),
        Case("none, and a counter that starts over", {of(_DEAD): "3x20 0x60"}, silent=("6m", "10m")),
    ],
    "SecurityMonitoringOffline": [
        *gauge(_STATUS, f'{_STATUS}="offline"', "1", "0", sure="2m"),
        Case("a missing series fires", {UP: "1x80"}, fires=("2m",)),
        Case("without any target it fires", {}, fires=("2m",)),
        Case(
            "all targets down fires",
            {UP: "0x80", f"up{{{_B}}}": "0x80", of(_STATUS, f'{_STATUS}="offline"'): "0x80"},
            fires=("2m",),
        ),
        Case(
            "one of two targets down is silent",
            {UP: "0x80", f"up{{{_B}}}": "1x80", of(_STATUS, f'{_STATUS}="offline"', _B): "0x80"},
            silent=("2m", "9m"),
        ),
        Case(
            "a restart is silent",
            {UP: "1x40 0 1x40", of(_STATUS, f'{_STATUS}="offline"'): "0x40 _ 0x40"},
            silent=("10m15s", "10m45s", "12m"),
        ),
    ],
    "ExcessiveDatabaseConnections": gauge("security_database_connections_active", "", "81", "80"),
    "HighConcurrentSessions": [
        *gauge("security_concurrent_sessions", 'user_type="regular"', "1001", "1000"),
        Case(
            "kinds of users add up, nodes don't",
            {
                of("security_concurrent_sessions", f'user_type="{kind}"', node): "600x80"
                for kind in ("regular", "admin")
                for node in (_A, _B)
            },
            fires=("12m",),
        ),
        Case(
            "two nodes with the same sessions are silent",
            {of("security_concurrent_sessions", 'user_type="regular"', node): "600x80" for node in (_A, _B)},
            silent=("12m",),
        ),
    ],
    # --- audit
    "AuditLogCreationRate": per_minute(
        "security_audit_log_entries_total",
        'operation="insert",table_name="orders"',
        'operation="update",table_name="users"',
        6000,
        sure="12m",
    )[:2]
    + per_minute(
        "security_audit_log_entries_total",
        'operation="insert",table_name="orders"',
        'operation="update",table_name="users"',
        6000,
    )[3:],
    "AuditLogGap": [
        Case(
            "accesses without an entry fire",
            {
                of("security_data_access_total", 'service="shop",table_name="orders"'): grows(2, 40),
                of("security_audit_log_entries_total", 'operation="insert",table_name="other"'): "3x160",
            },
            fires=("20m", "35m"),
        ),
        Case(
            "the alert that comes back as an entry does not end it",
            {
                of("security_data_access_total", 'service="shop",table_name="orders"'): grows(2, 40),
                of("security_audit_log_entries_total", 'operation="insert",table_name="other"'): "3x160",
                of("security_audit_log_entries_total", 'operation="alert",table_name="other"'): grows(1, 40),
            },
            fires=("20m", "35m"),
        ),
        Case(
            "entries of before a restart count as the log that has a gap",
            {
                of("security_data_access_total", 'service="shop",table_name="orders"'): grows(2, 60),
                of("security_audit_log_entries_total", 'operation="insert",table_name="other"'): "3x40 0x200",
            },
            fires=("30m", "55m"),
        ),
        Case(
            "where nobody ever wrote an entry there is no gap, whatever alerts come back",
            {
                of("security_data_access_total", 'service="shop",table_name="orders"'): grows(2, 40),
                of("security_audit_log_entries_total", 'operation="insert",table_name="other"'): "0x160",
                of("security_audit_log_entries_total", 'operation="alert",table_name="other"'): "1x160",
            },
            silent=("20m", "35m"),
        ),
        Case(
            "an entry on another target is one",
            {
                of("security_data_access_total", 'service="shop",table_name="orders"'): grows(2, 40),
                of("security_audit_log_entries_total", 'operation="insert",table_name="orders"', _B): grows(0.5, 40),
            },
            silent=("20m", "35m"),
        ),
        Case(
            "an idle system is silent",
            {
                of("security_data_access_total", 'service="shop",table_name="orders"'): "900x160",
                of("security_audit_log_entries_total", 'operation="insert",table_name="other"'): "3x160",
            },
            silent=("20m", "35m"),
        ),
        Case(
            "a few accesses are silent",
            {
                of("security_data_access_total", 'service="shop",table_name="orders"'): grows(0.5, 40),
                of("security_audit_log_entries_total", 'operation="insert",table_name="other"'): "3x160",
            },
            silent=("20m", "35m"),
        ),
        Case(
            "counters that start over are silent",
            {
                of("security_data_access_total", 'service="shop",table_name="orders"'): "900x80 0x80",
                of("security_audit_log_entries_total", 'operation="insert",table_name="other"'): "900x80 0x80",
            },
            silent=("20m30s", "30m"),
        ),
    ],
}


def checks(alert: str, case: Case) -> list[dict[str, Any]]:
    severity = f',severity="{case.severity}"' if case.severity else ""
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"{severity}}})'
    once = [{"labels": "{}", "value": case.times}]
    return [
        *({"expr": firing, "eval_time": at, "exp_samples": once} for at in case.fires),
        *({"expr": firing, "eval_time": at, "exp_samples": []} for at in case.silent),
    ]


def write_tests(folder: Path, expression: str | None = None) -> list[Path]:
    """Write promtool's files, one for each alert, with its expressions replaced if one is given; returns them."""
    shipped = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    files = []
    for alert, cases in CASES.items():
        rules = [
            rule if expression is None else rule | {"expr": expression}
            for rule in shipped
            if rule.get("alert") == alert
        ]
        needed = [rule for rule in shipped if any(rule.get("record", "?") in each["expr"] for each in rules)]
        groups = [{"name": "tested", "rules": needed + rules}]
        (folder / f"{alert}.rules").write_text(yaml.safe_dump({"groups": groups}))
        tests = [
            {
                "name": case.name,
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": checks(alert, case),
            }
            for case in cases
        ]
        slowly = "1m" if alert == "ErrorBudgetBurnSlow" else "15s"  # its cases last six hours
        body = {"rule_files": [f"{alert}.rules"], "evaluation_interval": slowly, "tests": tests}
        files.append(folder / f"{alert}.yml")
        files[-1].write_text(yaml.safe_dump(body, sort_keys=False))
    return files


if __name__ == "__main__":
    write_tests(Path(sys.argv[1]))
