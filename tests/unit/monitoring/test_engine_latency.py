"""How long each engine took is measured in the scan and counted in the metrics."""

from __future__ import annotations

import msgspec
from prometheus_client import CollectorRegistry

from sentinel import scan
from sentinel.model import ScanAction, ScanResult
from sentinel.observability import ScanMetrics
from sentinel.scanning.scanner import Scanner

NAME = "sentinel_engine_latency_seconds"


def result(*engine_seconds: tuple[str, float]) -> ScanResult:
    made = ScanResult(
        is_safe=True,
        risk_score=0.0,
        threat_type=None,
        triggered_engines=[],
        findings=(),
        latency_ms=1.0,
        version="1",
        action=ScanAction.ALLOW,
    )
    made.__dict__["engine_seconds"] = engine_seconds
    return made


def test_each_engine_is_counted_where_its_time_falls() -> None:
    """Buckets are cumulative and begin at ten microseconds; what took longer than all of them is in the last."""
    registry = CollectorRegistry()
    metrics = ScanMetrics(registry)
    metrics.count(result(("views", 2e-5), ("pii", 5e-6)))
    metrics.count(result(("views", 3.0)))

    def value(suffix: str, **labels: str) -> float | None:
        return registry.get_sample_value(NAME + suffix, labels)

    assert [value("_bucket", engine="views", le=le) for le in ("1e-05", "2.5e-05", "1.0", "+Inf")] == [0, 1, 1, 2]
    assert value("_count", engine="views") == 2
    assert value("_sum", engine="views") == 3.00002
    assert value("_bucket", engine="pii", le="1e-05") == 1


def test_a_result_that_was_not_measured_counts_no_engine() -> None:
    """One that came from elsewhere, as over HTTP, says nothing of engines."""
    registry = CollectorRegistry()
    plain = msgspec.json.decode(msgspec.json.encode(scan("Hello")), type=ScanResult)
    ScanMetrics(registry).count(plain)
    assert plain.engine_seconds == ()
    assert registry.get_sample_value(NAME + "_count", {"engine": "pii"}) is None


def test_a_watched_scan_counts_every_engine_that_was_asked() -> None:
    """The reading of the text comes first, and engines that were not asked are not there."""
    registry = CollectorRegistry()
    watched = ScanMetrics(registry).watch(Scanner().scan)
    assert [engine for engine, _ in watched("Hello", engines=["pii", "secret"]).engine_seconds] == [
        "views",
        "pii",
        "secret",
    ]
    assert registry.get_sample_value(NAME + "_count", {"engine": "pii"}) == 1
    assert registry.get_sample_value(NAME + "_count", {"engine": "injection"}) is None


def test_the_times_of_engines_are_in_no_json() -> None:
    """What a service answers has the fields of the contract and no others."""
    assert "engine_seconds" not in msgspec.json.decode(msgspec.json.encode(scan("Hello")))
    assert "engine_seconds" not in msgspec.structs.asdict(scan("Hello"))
