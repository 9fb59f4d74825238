"""
Metrics: of scans, for the library and the service, and of everything else that the service does.

Labels hold only values from closed lists: no user, address, session or free text. Every known label set starts at 0, so
that an alert sees the first increment (a series that is born at 1 has no rate). Nothing is registered by importing.
"""

from __future__ import annotations

import functools
import inspect
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from sentinel.model import ActionStatus, ActionType, ScanResult, ScanThreat, Severity, ThreatType
from sentinel.observability.events import EventMetrics, Names
from sentinel.observability.families import Spreads
from sentinel.observability.health import HealthMetrics

__all__ = ["Metrics", "ScanMetrics"]

_FINE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_FINEST = (1e-05, 2.5e-05, 5e-05, *_FINE)
_REACTION = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SCORES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
_DETECTION_TYPES = ("statistical", "behavioral", "temporal", "geographical", "volumetric", "pattern_based")
_TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_SESSION_SECONDS = 900.0
_MOST_SESSIONS = 100_000
"""Beyond so many sessions in 15 minutes the oldest is forgotten: a sender of invented ids costs 20 MB at most."""

Scan = TypeVar("Scan", bound=Callable[..., Any])
Family = TypeVar("Family", Counter, Histogram)


class _Sessions:
    """Sessions seen in the last 15 minutes, as a gauge that is computed when it is read."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._seen: OrderedDict[int, float] = OrderedDict()
        """By a hash (of a secret seed in each process), so that long ids take no more room; the oldest first."""

    def see(self, session_id: str) -> None:
        key = hash(session_id)
        with self._mutex:
            now = self._seen[key] = self._clock()
            self._seen.move_to_end(key)
            self._forget(now)

    def _forget(self, now: float) -> None:
        horizon = now - _SESSION_SECONDS
        while self._seen and (len(self._seen) > _MOST_SESSIONS or next(iter(self._seen.values())) <= horizon):
            self._seen.popitem(last=False)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._mutex:
            self._forget(self._clock())
            active = len(self._seen)
        told = "Sessions with a scan in the last 15 minutes."
        yield GaugeMetricFamily("sentinel_active_sessions", told, value=active)


class _EngineSeconds:
    """How long each engine took: `Spreads` for several threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._mutex = threading.Lock()
        self._spreads = Spreads(
            "sentinel_engine_latency_seconds",
            "Wall time of each engine in a scan; before them `views`: "
            "reading, and what was done for several texts at once.",
            ["engine"],
            registry,
            bounds=_FINEST,
            start=[()],
        )

    def start(self, engines: Iterable[str]) -> None:
        with self._mutex:
            for engine in engines:
                self._spreads.begin((engine,))

    def observe(self, engine_seconds: Iterable[tuple[str, float]]) -> None:
        with self._mutex:
            self._spreads.observe_each(engine_seconds)


class ScanMetrics:
    """
    What scans say in numbers. Threads may share one.

    Under prometheus_client's multiprocess mode counters and histograms are summed over the workers; the number of
    active sessions and the engines' times are then left out, for they belong to one process.

    Args:
        registry: Where the metrics are registered.
        clock: Seconds that never go back.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = registry
        scans = Counter("sentinel_scan", "Scans by verdict.", ["result", "threat_type"], registry=registry)
        self._latency = Histogram(
            "sentinel_scan_latency_seconds", "Wall time of a scan.", buckets=_FINE, registry=registry
        )
        self._risk = Histogram(
            "sentinel_risk_score", "Risk given to scanned texts.", buckets=_TENTHS, registry=registry
        )
        self._blocked = Counter("sentinel_threats_blocked", "Scans whose text was not safe.", registry=registry)
        self._errors = Counter("sentinel_scan_errors", "Scans that raised an error.", registry=registry)
        self._false_positives = Counter(
            "sentinel_false_positives", "Verdicts that people called wrong: the text was safe.", registry=registry
        )
        self._sessions = _Sessions(clock)
        registry.register(self._sessions)
        self._engine_seconds = _EngineSeconds(registry)
        # Children made once: looking one up costs more than counting.
        self._allowed = scans.labels(result="allowed", threat_type="none")
        self._by_threat = {
            threat: scans.labels(result="blocked", threat_type=threat.value if threat else "none")
            for threat in (None, *ScanThreat)
        }

    def count(self, result: ScanResult, *, session_id: str | None = None) -> None:
        """Count one finished scan, and the session that it belongs to."""
        if result.is_safe:
            self._allowed.inc()
        else:
            self._by_threat[result.threat_type].inc()
            self._blocked.inc()
        self._latency.observe(result.latency_ms / 1000)
        self._risk.observe(result.risk_score)
        self._engine_seconds.observe(result.engine_seconds)
        if session_id is not None:
            self._sessions.see(session_id)

    def start_engines(self, engines: Iterable[str]) -> None:
        """Show the times of these engines, at 0 until a scan has asked them."""
        self._engine_seconds.start(engines)

    def count_error(self) -> None:
        """Count a scan that raised an error instead of giving a verdict."""
        self._errors.inc()

    def count_false_positive(self) -> None:
        """Count a verdict that a person called wrong: the text was safe."""
        self._false_positives.inc()

    def watch(self, scan: Scan) -> Scan:
        """Return a scanning function, sync or async, that counts each result, and each error before it goes on."""
        if inspect.iscoroutinefunction(scan):

            @functools.wraps(scan)
            async def watched(*args: Any, **kwargs: Any) -> Any:
                with self._errors.count_exceptions():
                    result = await scan(*args, **kwargs)
                self.count(result)
                return result

        else:

            @functools.wraps(scan)
            def watched(*args: Any, **kwargs: Any) -> Any:
                with self._errors.count_exceptions():
                    result = scan(*args, **kwargs)
                self.count(result)
                return result

        return cast("Scan", watched)


def _at_zero(family: Family, labels: Mapping[str, Iterable[str]]) -> Family:
    if labels:
        for values in product(*labels.values()):
            family.labels(*values)
    return family


class Metrics:
    """
    What the service counts, in a registry of its own.

    Args:
        clock: Seconds since 1970.
        names: Services, tables and the like that are known beforehand.
        of_all: Show what is the same for all nodes as well; those that answer no requests leave it to the others.
    """

    def __init__(self, clock: Callable[[], float], names: Names = Names(), *, of_all: bool = True) -> None:  # noqa: B008 - immutable
        self.registry = CollectorRegistry()
        self.scans = ScanMetrics(self.registry)
        self.told = EventMetrics(self.registry, clock, names)
        self.health = HealthMetrics(self.registry if of_all else CollectorRegistry())
        self._of_events()
        self._of_rules()
        self._of_windows()
        self._of_actions()
        self._of_people()
        self._of_probes()
        self._of_nodes()

    def _of_events(self) -> None:
        """What is offered, taken, queued and judged, and who is turned away."""
        self.events = self._counter(
            "security_events",
            "Events offered, by what became of them.",
            result=("accepted", "duplicate", "conflict", "late", "rejected", "refused"),
        )
        self.dropped = self._counter("security_events_dropped", "Accepted events that were lost: always 0.")
        self.dead_letters = self._counter("security_dead_letters", "Events that could not be judged.")
        self.scan_events_lost = self._counter(
            "sentinel_scan_events_unstored", "Scan verdicts given although their event could not be stored."
        )
        self.bad_tokens = self._counter(
            "security_api_refused", "Requests refused by status.", status=("401", "403", "429")
        )
        self.queue_depth = self._gauge("security_queue_depth", "Events accepted and not yet judged.")
        self.queue_age = self._gauge(
            "security_queue_age_seconds",
            "How long the oldest event that is not judged has waited at least.",
        )
        self.decision_seconds = self._histogram(
            "security_event_to_decision_seconds", "From durable acceptance to judged.", _REACTION
        )

    def _of_rules(self) -> None:
        """What rules and baselines find, and which rules there are."""
        self.threats = self._counter(
            "security_threat_detections",
            "Signals, counted once.",
            threat_type=(*map(str, ThreatType), "unnamed"),
            severity=[severity.value for severity in list(Severity)[1:]],
            source=("rule",),
        )
        self.anomaly_scores = self._histogram(
            "security_anomaly_scores", "Scores of anomalies, from 0 to 1.", _SCORES, detection_type=_DETECTION_TYPES
        )
        self.rules_loaded = self._gauge("sentinel_rules_loaded", "Detection rules in force.")
        self.rules_refused = self._gauge(
            "sentinel_rules_refused", "Detection rules that could not be used when their files were last read."
        )
        self.rules_blind = self._gauge(
            "sentinel_rules_blind",
            "Rules in force that can't fire: no event had their log source, or a field that they need.",
        )
        self.rule_reloads = self._counter(
            "sentinel_rule_reloads",
            "Changes of rule files by what became of them; when one is rejected, the last good rules stay in force.",
            result=("taken", "rejected"),
        )
        self.ignored_inputs = self._counter(
            "security_rule_inputs_ignored",
            "Events that a rule matched and could not count: without its field, or with no number where it adds up.",
            reason=("field", "number"),
        )
        self.baseline_ignored = self._counter(
            "sentinel_baseline_events_ignored",
            "Events that baselines learn nothing from: their hour had closed, or held no room for their entity.",
            reason=("closed_hour", "crowded_hour"),
        )
        self.high_threat_rate = self._gauge(
            "sentinel_high_threat_rate_limit",
            "Unsafe texts a second beyond which HighThreatRate fires: the setting `high_threat_rate`.",
        )

    def _of_windows(self) -> None:
        """What rules hold in memory."""
        self.window_events = self._gauge(
            "sentinel_window_events", "Events that rules hold to count them, each as often as it is held."
        )
        self.window_bytes = self._gauge("sentinel_window_bytes", "About how much memory these take, in bytes.")
        self.window_evictions = self._counter(
            "sentinel_window_evictions",
            "Times that these took more than `window_memory_mb`, so that old ones went; they come back when needed.",
        )

    def _of_actions(self) -> None:
        """What is done about it, and how soon it holds."""
        types = [action.value for action in ActionType]
        self.actions = self._counter(
            "security_response_actions",
            "Changes of state of actions.",
            action_type=types,
            status=[status.value for status in ActionStatus],
            auto=("true", "false"),
        )
        self.refused = self._counter(
            "security_actions_refused", "Automatic actions that a guard rail or an undo stopped.", action_type=types
        )
        self.enforced_seconds = self._histogram(
            "security_decision_to_enforced_seconds",
            "From an action's start to the first question that shows it applied.",
            _REACTION,
        )

    def _of_people(self) -> None:
        """Who is told, and what people say of it."""
        self.escalations = Counter(
            "sentinel_escalations",
            "Levels of people told about an incident, and those who could not be.",
            ["level", "result"],
            registry=self.registry,
        )
        self.pushes = self._counter(
            "sentinel_alertmanager_pushes",
            "Alerts about incidents handed to Alertmanager, by what came of it; `backup` for each that went elsewhere.",
            result=("sent", "failed", "backup"),
        )
        self.precision = self._gauge(
            "security_detection_precision",
            "Share of the actions and incidents that people have judged in 30 days which they called right.",
        )
        self.precision.set(math.nan)  # until somebody has judged one

    def _of_probes(self) -> None:
        """What the canary finds."""
        results = ("ok", "failed")
        self.canary = self._counter(
            "sentinel_canary_probes",
            "Probes of our own: whether the service was ready, and an event was judged within 5 s.",
            probe=("ready", "event"),
            result=results,
        )
        self.canary_blocks = self._counter(
            "sentinel_canary_block_probes",
            "Probes of our own: whether a block on a reserved address was obeyed, and its end as well, within 5 s.",
            result=results,
        )

    def _of_nodes(self) -> None:
        """Which of several nodes judges."""
        self.judging = self._gauge("sentinel_judging", "1 on the node that judges, 0 on those that stand by.")
        self.takeovers = self._counter("sentinel_judging_begun", "Times that this node began to judge.")
        self.judge_silent = self._gauge(
            "sentinel_judge_silent_seconds",
            "Since this node heard of the one that judges; 0 on that one.",
        )

    def _counter(self, name: str, told: str, **labels: Iterable[str]) -> Counter:
        """Return a counter whose label sets, all combinations of these values, start at 0."""
        return _at_zero(Counter(name, told, list(labels), registry=self.registry), labels)

    def _gauge(self, name: str, told: str) -> Gauge:
        return Gauge(name, told, registry=self.registry)

    def _histogram(self, name: str, told: str, bounds: Iterable[float], **labels: Iterable[str]) -> Histogram:
        family = Histogram(name, told, list(labels), buckets=tuple(bounds), registry=self.registry)
        return _at_zero(family, labels)

    def watch_windows(self, events: Callable[[], int], size: Callable[[], int]) -> None:
        """Read at each scrape how many events the rules hold, and how many bytes that takes."""
        self.window_events.set_function(events)
        self.window_bytes.set_function(size)

    def watch_queue(self, depth: Callable[[], int], age: Callable[[], float]) -> None:
        """Read the queue's depth, and how long it has waited, at each scrape."""
        self.queue_depth.set_function(depth)
        self.queue_age.set_function(age)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type, as OpenMetrics where the scraper asks for it."""
        if "application/openmetrics-text" in accept:
            body: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return body, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self.registry), "text/plain; version=0.0.4; charset=utf-8"
