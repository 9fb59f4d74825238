"""A monitor with its whole application, asked over HTTP inside this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from sentinel.app import Monitor
from sentinel.model import Role, iso
from sentinel.server.application import create_app
from sentinel.settings import Settings

T = TypeVar("T")
S = "/api/v1/security"


class Api:
    """A running monitor and a token of each role. The clock is the test's: `api.now` in microseconds."""

    def __init__(self, folder: Path, now: int = 1_767_225_600_000_000, **settings: Any) -> None:
        self.now = now  # 2026-01-01T00:00:00Z
        self._runner = asyncio.Runner()
        self.settings = Settings(data_dir=folder, **settings)
        self._open()
        self.tokens = {role: self.run(self.monitor.create_token(role, by="test"))[0] for role in Role}
        self.tokens["acting"] = self.run(  # type: ignore[index]  # an ingest token with one right more
            self.monitor.create_token(Role.INGEST, by="test", may_cause_actions=True)
        )[0]

    def _open(self) -> None:
        self.monitor = self.run(Monitor.open(self.settings, clock=lambda: self.now))
        self.app = create_app(self.monitor)

    def restart(self) -> None:
        """Stop the monitor and start another one on what it has left behind."""
        self.run(self.monitor.close())
        self._open()

    def run(self, work: Awaitable[T]) -> T:
        async def carry() -> T:
            return await work

        return self._runner.run(carry())

    def ask(self, method: str, path: str, role: str | None = "admin", **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
        headers |= options.pop("headers", {})

        async def request() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, headers=headers, **options)

        return self.run(request())

    def ask_all(self, method: str, path: str, role: str, bodies: Sequence[Any]) -> list[httpx.Response]:
        """Send requests of which each waits for no other; returns the answers in their order."""
        headers = {"Authorization": f"Bearer {self.tokens[role]}"}

        async def requests() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                asked = (client.request(method, path, headers=headers, json=body) for body in bodies)
                return list(await asyncio.gather(*asked))

        return self.run(requests())

    def get(self, path: str, role: str | None = "admin", **params: Any) -> Any:
        answer = self.ask("GET", S + path, role, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, events: list[dict[str, Any]], role: str = "acting") -> httpx.Response:
        body = "\n".join(map(json.dumps, events))
        headers = {"Content-Type": "application/x-ndjson"}
        answer = self.ask("POST", f"{S}/events", role, content=body, headers=headers)
        self.drain()
        return answer

    def drain(self) -> None:
        self.run(self.monitor.worker.drained(self.monitor.store.accepted_seq))

    def failed_login(self, address: str = "203.0.113.9", seconds: float = 0, **fields: Any) -> dict[str, Any]:
        """One failed login, so many seconds after the clock's time."""
        event = {
            "event_type": "authentication",
            "severity": "low",
            "timestamp": iso(self.now + round(seconds * 1_000_000)),
            "ip_address": address,
            "user_id": "grace",
            "details": {"success": False},
        }
        return event | fields

    def close(self) -> None:
        self.run(self.monitor.close())
        self._runner.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = Api(tmp_path / "data")
    yield api
    api.close()


@pytest.fixture
def make_api(tmp_path: Path) -> Iterator[Any]:
    made: list[Api] = []

    def make(**settings: Any) -> Api:
        made.append(Api(tmp_path / f"data{len(made)}", **settings))
        return made[-1]

    yield make
    for api in made:
        api.close()
