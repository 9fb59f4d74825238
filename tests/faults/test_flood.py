"""One sender floods the service: it is told to wait, and nobody else notices."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.functional.conftest import Api, S
from tests.support.service import Service, eventually

from sentinel.model import Role, Severity

QUEUE = 200
BATCH = 20
FLOOD_BATCH = 200


@contextmanager
def judging_stopped(api: Api) -> Iterator[None]:
    """The worker judges nothing, as if each event took for ever."""
    api.run(api.monitor.worker._judging.acquire())
    try:
        yield
    finally:
        api.monitor.worker._judging.release()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Api]:
    """A service with a small queue, two loud senders, and a quiet one whose events may cause actions."""
    api = Api(tmp_path / "data", queue_limit=QUEUE)
    for name in ("loud", "louder"):
        order = api.monitor.create_token(Role.INGEST, by="test", name=name, max_severity=Severity.CRITICAL)
        api.tokens[name] = api.run(order)[0]  # type: ignore[index]
    yield api
    api.close()


def offer(api: Api, who: str, events: list[dict[str, Any]]) -> httpx.Response:
    headers = {"Content-Type": "application/x-ndjson"}
    return api.ask("POST", f"{S}/events", who, content="\n".join(map(json.dumps, events)), headers=headers)


def flood(api: Api, who: str, times: int, **fields: Any) -> Counter[int]:
    """Send so many batches, one after the other; returns how often each status came."""
    answers = [
        offer(api, who, [api.failed_login("198.51.100.1", **fields) for _ in range(BATCH)]) for _ in range(times)
    ]
    for answer in answers:
        assert answer.status_code == 202 or (answer.headers["retry-after"], answer.json()["code"]) == ("1", "SNTL-4290")
    return Counter(answer.status_code for answer in answers)


@pytest.mark.parametrize("severity", ["low", "critical"])
def test_a_flood_is_refused_to_its_sender_alone(busy: Api, severity: str) -> None:
    """Ten times what the queue holds, however urgent it says it is; the others are served as ever."""
    with judging_stopped(busy):
        assert flood(busy, "loud", 100, severity=severity) == {202: QUEUE // 2 // BATCH, 429: 95}
        assert offer(busy, "acting", [busy.failed_login(seconds=n) for n in range(10)]).status_code == 202
        assert flood(busy, "loud", 1) == {429: 1}
    busy.drain()
    assert [block["target"] for block in busy.get("/active-blocks")["ip_blocks"]] == ["203.0.113.9"]
    assert len(busy.get("/events", limit=500)["items"]) == QUEUE // 2 + 10
    for _ in range(QUEUE // BATCH):
        assert flood(busy, "loud", 1) == {202: 1}, "once its events are judged, it may send again, for ever"
        busy.drain()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A real service with a queue that a flood fills at once."""
    with Service(tmp_path_factory.mktemp("flood")) as service:
        service.settings["SENTINEL_QUEUE_LIMIT"] = "500"
        yield service.start()


@pytest.mark.parametrize("severity", ["low", "critical"])
def test_others_are_served_beside_a_real_flood(small: Service, severity: str) -> None:
    """Four connections send all they can for a while; each event of somebody else is taken, and judged within 30 s."""
    loud, quiet = small.client(small.ingest_token()), small.client(small.ingest_token())
    path, headers = f"{small.url}{S}/events", {"Content-Type": "application/x-ndjson"}
    before = results(small)
    event = {"event_type": "network_request", "severity": severity, "details": {"status_code": 200}}
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    body = (json.dumps(event | {"timestamp": now()}) + "\n") * FLOOD_BATCH

    def send() -> None:
        while not stop.is_set():
            statuses[loud.post(path, content=body, headers=headers).status_code] += 1

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    try:
        eventually(lambda: statuses[429] >= 20, seconds=60, what="the flood is refused")
        waits = [judged_after(small, quiet, event | {"severity": "low", "timestamp": now()}) for _ in range(5)]
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert max(waits) < 30
    small.drain()
    after = results(small)
    assert after["accepted"] - before["accepted"] == statuses[202] * FLOOD_BATCH + len(waits)
    assert after["refused"] - before["refused"] == statuses[429] * FLOOD_BATCH
    assert set(statuses) == {202, 429}


def judged_after(service: Service, sender: httpx.Client, event: dict[str, Any]) -> float:
    """Return how long it took from before an event was sent until it was judged."""
    start = time.monotonic()
    assert sender.post(f"{service.url}{S}/events", json=event).status_code == 202
    wanted = service.ask(f"{S}/health")["queue"]["accepted_seq"]
    eventually(lambda: service.ask(f"{S}/health")["queue"]["processed_seq"] >= wanted, seconds=60, what="it is judged")
    return time.monotonic() - start


def results(service: Service) -> dict[str, float]:
    """Return what became of events, as the metrics say."""
    order = {"role": "scraper"}
    token = service.admin().post(f"{service.url}{S}/tokens", json=order).json()["token"]
    lines = service.client(token).get(f"{service.url}/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("security_events_total{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in counts}


def now() -> str:
    return datetime.now(UTC).isoformat()


def test_everything_refused_is_counted(busy: Api) -> None:
    """Whoever watches sees the flood in figures, and that nothing that was accepted got lost."""
    with judging_stopped(busy):
        flood(busy, "loud", 8)
    busy.drain()
    value = busy.monitor.metrics.registry.get_sample_value
    assert value("security_events_total", {"result": "accepted"}) == 5 * BATCH
    assert value("security_events_total", {"result": "refused"}) == 3 * BATCH
    assert value("security_api_refused_total", {"status": "429"}) == 3
    assert value("security_events_dropped_total") == 0
    assert value("security_queue_depth") == 0


def test_two_floods_leave_room_for_a_third_sender(busy: Api) -> None:
    """They come to about a third of the queue each, and the next one finds the last third."""
    with judging_stopped(busy):
        taken = Counter[str]()
        for _ in range(20):
            for who in ("loud", "louder"):
                taken[who] += flood(busy, who, 1)[202] * BATCH
        assert max(taken.values()) <= QUEUE // 2
        assert sum(taken.values()) <= QUEUE * 2 // 3 + BATCH
        assert min(taken.values()) >= QUEUE // 3 - 2 * BATCH
        assert flood(busy, "acting", 1) == {202: 1}
    busy.drain()


def test_what_is_sent_again_holds_no_share(busy: Api) -> None:
    """A sender that repeats itself after lost answers is not locked out by events that were there already."""
    again = [busy.failed_login(event_id=f"e{n}") for n in range(BATCH)]
    with judging_stopped(busy):
        assert [offer(busy, "loud", again).status_code for _ in range(30)] == [202] * 30
    busy.drain()
