"""What the demo measured, against the success criteria that the service promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from sentinel.cli._demo.service import Service
from sentinel.cli._demo.shop import Mailbox
from sentinel.cli._demo.visitors import Attack, People

__all__ = ["Criterion", "Measured", "measure"]

_DELIVERY_SECONDS = 30.0
_DRAIN_SECONDS = 30.0
_MOST = 0.99


@dataclass(frozen=True)
class Criterion:
    """One promise, and what was measured of it."""

    name: str
    asked: str
    limit: float | None = None
    """In seconds, or a share; None where the demo can't measure it."""
    measured: float | None = None
    """None: not measured, or it never came."""
    told: str = ""
    """The figure and how it was taken, or where it is measured."""

    @property
    def met(self) -> bool | None:
        """Whether it holds; None where the demo can't tell."""
        if self.limit is None:
            return None
        return self.measured is not None and self.measured < self.limit

    @property
    def times_better(self) -> float | None:
        """By what factor it is better than asked."""
        return None if self.limit is None or not self.measured else self.limit / self.measured


@dataclass(frozen=True)
class Measured:
    """What the service says of the demo, and the criteria."""

    events: int
    incidents: list[dict[str, Any]]
    actions: list[dict[str, Any]]
    criteria: tuple[Criterion, ...]

    @property
    def met(self) -> bool:
        """Whether all that could be measured holds."""
        return all(criterion.met is not False for criterion in self.criteria)


def measure(
    service: Service, mailbox: Mailbox, people: People, attacks: list[Attack], show: Callable[[str], None]
) -> Measured:
    """Return what came of it, from the service's own API and metrics, the attackers' answers and the mailbox."""
    _drain(service)
    incidents = [service.ask("GET", f"/incidents/{item['id']}") for item in _all(service, "/incidents")]
    events = list(_all(service, "/events"))
    criteria = (
        _processed(service, events),
        _false(people, incidents),
        _acted(attacks),
        _delivered(mailbox, attacks, incidents, show),
        Criterion(
            "dashboards load", "within 3 s", told="not measured here: it needs a Grafana (docs/how-to/deploy.md)"
        ),
        Criterion("available", "99.9 %", told="not measured here: the canary counts it, LowAvailability watches it"),
    )
    actions = [action for incident in incidents for action in incident["actions"]]
    return Measured(len(events), incidents, actions, criteria)


def _drain(service: Service) -> None:
    _wait(lambda: _drained(service), _DRAIN_SECONDS)  # what is not judged by then shows in the figures


def _drained(service: Service) -> bool:
    queue = service.ask("GET", "/health")["queue"]
    return bool(queue["accepted_seq"] == queue["processed_seq"])


def _wait(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _all(service: Service, path: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = ""
    while cursor is not None:
        page = service.ask("GET", path, params={"limit": 500} | ({"cursor": cursor} if cursor else {}))
        yield from page["items"]
        cursor = page["next_cursor"]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _processed(service: Service, events: list[dict[str, Any]]) -> Criterion:
    """From what happened in the shop to its event judged: the sum of two upper bounds."""
    travelled = sorted(
        _seconds(event["received_at"]) - _seconds(event["timestamp"])
        for event in events
        if not str(event.get("service_name")).startswith("sentinel.")
    )
    half, most, longest = _quantiles(service.metrics(), "security_event_to_decision_seconds", (0.5, _MOST, 1.0))
    return Criterion(
        "events processed",
        "within 5 s",
        limit=5.0,
        measured=travelled[round(_MOST * (len(travelled) - 1))] + most,
        told=f"99 of 100 of {len(travelled)} events, from what happened until judged; all within "
        f"{travelled[-1] + longest:.2f} s; once accepted, half within {half * 1000:g} ms",
    )


def _quantiles(exposition: str, name: str, shares: tuple[float, ...]) -> list[float]:
    """Return the bucket bounds of a histogram below which these shares of its observations lie."""
    counts = {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == f"{name}_bucket"
    }
    total = counts[float("inf")]
    return [min(bound for bound, count in counts.items() if count >= share * total) for share in shares]


def _false(people: People, incidents: list[dict[str, Any]]) -> Criterion:
    """The worst of: incidents that are about people at work, people with an incident, texts called unsafe."""
    innocent = {*people.addresses, *people.addresses.values()}
    about = [incident for incident in incidents if innocent & set(incident["subject"].split("|"))]
    shares = (
        len(about) / max(1, len(incidents)),
        len({incident["subject"] for incident in about}) / len(people.addresses),
        people.texts_refused / max(1, people.texts),
        people.refused / max(1, people.requests),
    )
    return Criterion(
        "false positives",
        "below 10 %",
        limit=0.1,
        measured=max(shares),
        told=f"{len(about)} of {len(incidents)} incidents are about the {len(people.addresses)} people at work; "
        f"{people.texts_refused} of their {people.texts} texts and {people.refused} of their {people.requests} "
        "requests were refused",
    )


def _acted(attacks: list[Attack]) -> Criterion:
    """From an attack's first request until one was refused, for the slowest: longer than any reading of the promise."""
    times = [attack.seconds for attack in attacks if attack.seconds is not None]
    if len(times) < len(attacks):
        return Criterion("action taken", "within 30 s", limit=30.0, told="an attacker was not refused")
    told = f"the slowest of {len(attacks)}, from an attack's first request until one was refused"
    return Criterion("action taken", "within 30 s", limit=30.0, measured=max(times), told=told)


def _delivered(
    mailbox: Mailbox, attacks: list[Attack], incidents: list[dict[str, Any]], show: Callable[[str], None]
) -> Criterion:
    """From the first request of the attack that became critical until its alert was in the mailbox."""
    name, asked, limit = "critical alert delivered", "within 2 min", 120.0
    subjects = {incident["subject"] for incident in incidents if incident["severity"] == "critical"}
    critical = [attack for attack in attacks if attack.subject in subjects]
    if not critical:
        return Criterion(name, asked, limit, told="nothing became critical")

    def arrived(attack: Attack) -> tuple[float, str] | None:
        return next(((at, title) for at, title in mailbox.received if attack.subject in title), None)

    if not _wait(lambda: all(map(arrived, critical)), _DELIVERY_SECONDS):
        return Criterion(name, asked, limit, told=f"no alert came within {_DELIVERY_SECONDS:.0f} s")
    times = []
    for attack in critical:
        at, title = arrived(attack) or (0.0, "")
        show(f"the security team's webhook received: {title}")
        times.append(at - attack.began_at)
    return Criterion(name, asked, limit, max(times), "from the attack's first request until the webhook had it")
