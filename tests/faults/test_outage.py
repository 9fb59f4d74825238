"""The service or its store is away while an application starts again: what was blocked stays blocked."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.service import S, Service, eventually

from sentinel.enforcement import SentinelMiddleware

BLOCKED, OTHER = "203.0.113.9", "198.51.100.7"


async def shop(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"welcome"})


class Shop:
    """An application behind our middleware; `restarted` is what the next process of it would be."""

    def __init__(self, service: Service, token: str, folder: Path) -> None:
        self._options: dict[str, Any] = {
            "url": service.url,
            "token": token,
            "snapshot_path": folder / "blocks",
            "on_unknown": "deny",
        }
        self.middleware = SentinelMiddleware(shop, **self._options)
        self.middleware.feed.start()

    def ask(self, address: str = BLOCKED) -> int:
        async def request() -> int:
            transport = httpx.ASGITransport(app=self.middleware, client=(address, 1))  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return (await client.get("/")).status_code

        return asyncio.run(request())

    def restart(self) -> None:
        self.stop()
        self.middleware = SentinelMiddleware(shop, **self._options)
        self.middleware.feed.start()

    def stop(self) -> None:
        self.middleware.feed.stop()


@contextmanager
def in_front_of(service: Service) -> Iterator[Shop]:
    made = service.admin().post(f"{service.url}{S}/tokens", json={"role": "enforcer"})
    site = Shop(service, made.json()["token"], service.home)
    try:
        yield site
    finally:
        site.stop()


def block(service: Service, address: str = BLOCKED) -> httpx.Response:
    order = {"action_type": "ip_block", "target": address, "reason": "seen before"}
    return service.admin().post(f"{service.url}{S}/manual-action", json=order)


@contextmanager
def store_away(service: Service) -> Iterator[None]:
    """Another process holds the database, so that nothing can be written."""
    with contextlib.closing(sqlite3.connect(service.folder / "sentinel.db", isolation_level=None)) as thief:
        thief.execute("BEGIN IMMEDIATE")
        yield
        thief.execute("ROLLBACK")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as service:
        yield service.start()


def test_an_application_that_starts_while_the_service_is_down_still_blocks(service: Service) -> None:
    """Its own copy of the blocks holds; it says that the service is away; and it follows as soon as that is back."""
    with in_front_of(service) as site:
        eventually(lambda: site.ask() == 200, seconds=20, what="nothing is blocked yet")
        assert block(service).status_code == 200
        eventually(lambda: site.ask() == 403, seconds=20, what="the block arrives")
        address = service.url
        service.kill()
        site.restart()
        assert (site.ask(), site.ask(OTHER)) == (403, 200)
        eventually(lambda: site.middleware.feed.last_error, seconds=20, what="the outage shows")
        assert site.middleware.feed.age_seconds is None, "this process has never heard the service"

        service.start()
        site._options["url"] = service.url
        if service.url != address:  # another port: as a load balancer would hide it
            site.restart()
        assert site.ask() == 403
        assert service.ask(f"{S}/check-ip/{BLOCKED}")["is_blocked"] is True
        service.admin().delete(f"{service.url}{S}/action/ip_block/{BLOCKED}")
        eventually(lambda: site.ask() == 200, seconds=20, what="the undo arrives")


def test_an_application_that_starts_while_the_store_is_away_still_blocks(service: Service) -> None:
    """The service answers from memory what is in force, takes no order that it can't keep, and its health says why."""
    with in_front_of(service) as site:
        assert block(service).status_code == 200
        eventually(lambda: site.ask() == 403, seconds=20, what="the block arrives")
        with store_away(service):
            eventually(lambda: health(service) == "critical", seconds=20, what="health says it")
            site.restart()
            assert (site.ask(), site.ask(OTHER)) == (403, 200)
            assert httpx.get(f"{service.url}/readyz", trust_env=False).status_code == 503
            refused = block(service, OTHER)
            assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        eventually(lambda: health(service) == "healthy", seconds=60, what="it heals by itself")
        assert site.ask(OTHER) == 200, "the order that was refused is not in force either"
        assert block(service, OTHER).status_code == 200
        eventually(lambda: site.ask(OTHER) == 403, seconds=20, what="orders are taken again")


def test_without_copy_and_service_the_configured_answer_holds(service: Service) -> None:
    """An application that knows nothing refuses if it was told to, and says so by its code; never by accident."""
    with in_front_of(service) as site:
        eventually(lambda: site.ask(OTHER) == 200, seconds=20, what="it has heard the service")
        service.kill()
        site.stop()
        (service.home / "blocks").unlink()
        site.restart()
        assert site.ask(OTHER) == 503


def health(service: Service) -> str:
    return str(service.ask(f"{S}/health")["overall_status"])
