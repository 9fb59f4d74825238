"""The disk is full, and later it is not."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from tests.support.sender import Sender
from tests.support.service import S, Service, eventually
from tests.support.stored import Stored
from tests.support.strace import Strace
from tests.support.traffic import Traffic

BLOCKED = "192.0.2.50"


@contextmanager
def no_space_left(service: Service) -> Iterator[None]:
    """Every write to a file of the store fails as on a full disk."""
    log = service.home / "calls"
    with Strace(service.pid, log, calls="pwrite64", inject="pwrite64:error=ENOSPC"):
        yield


@contextmanager
def files_may_not_grow(service: Service) -> Iterator[None]:
    """The kernel refuses to let any file of the process, the logs too, become larger than 4 KiB (EFBIG)."""
    pid = service.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("no_room", [no_space_left, files_may_not_grow])
def test_without_room_events_are_refused_until_there_is_room_again(
    no_room: Callable[[Service], AbstractContextManager[None]], tmp_path: Path
) -> None:
    """Senders are told to come back, blocks stay enforced, health says it, and it heals without anybody's help."""
    with Service(tmp_path) as service:
        service.start()
        assert order_block(service).status_code == 200
        with Sender(service, seed=11) as sender:
            sender.wait_for(5_000)
            with no_room(service):
                eventually(lambda: sender.refusals, seconds=30, what="a sender is refused")
                owed = len(sender.owed)
                eventually(lambda: overall(service) == "critical", seconds=30, what="health is critical")
                assert readyz(service) == 503
                assert service.ask(f"{S}/check-ip/{BLOCKED}")["is_blocked"] is True
                assert_come_back_later(order_block(service))
                assert len(sender.owed) == owed
            eventually(lambda: overall(service) == "healthy", seconds=60, what="it heals")
            assert readyz(service) == 200
            sender.wait_for(max(10_000, owed + 1))
        for refusal in sender.refusals:
            assert_come_back_later(refusal)
        service.drain()
        assert service.stop() == 0
    Stored(service.folder).check(offered=sender.offered, owed=sender.owed)


def test_an_idle_service_notices_that_room_has_run_out(tmp_path: Path) -> None:
    """Whoever watches health learns of a full disk before the first event is refused."""
    with Service(tmp_path) as service:
        service.start()
        with files_may_not_grow(service):
            eventually(lambda: overall(service) == "critical", seconds=30, what="health is critical")
        eventually(lambda: overall(service) == "healthy", seconds=60, what="it heals")


def test_a_service_without_room_ends_in_order_when_asked(tmp_path: Path) -> None:
    """A full disk does not keep anybody from stopping the service, nor does stopping it cost an event."""
    with Service(tmp_path) as service:
        service.start()
        sender, traffic = Sender(service, seed=12), Traffic(12)
        batch = traffic.batch(5)  # too few for a signal: what has been judged is only noted at the end
        sender.offered.update((event["event_id"], event) for event in batch)
        assert sender.send(batch)
        with files_may_not_grow(service):
            assert not sender.send(traffic.batch(1))
            assert service.stop() == 0
        service.start()
        service.drain()
        assert service.stop() == 0
    Stored(service.folder).check(offered=sender.offered, owed=sender.owed)


def overall(service: Service) -> str:
    return str(service.ask(f"{S}/health")["overall_status"])


def readyz(service: Service) -> int:
    return httpx.get(f"{service.url}/readyz", trust_env=False).status_code


def order_block(service: Service) -> httpx.Response:
    order = {"action_type": "ip_block", "target": BLOCKED, "reason": "seen before"}
    return service.admin().post(f"{service.url}{S}/manual-action", json=order)


def assert_come_back_later(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "SNTL-5030"
