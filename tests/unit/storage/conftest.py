"""A store of its own for each test, in a file and in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sentinel.storage import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test of SQLite's own has its file."""
    return tmp_path / "s.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Path | str:
    """A new store's file, or the URL of a new database: what holds for one must hold for the other."""
    if request.param == "sqlite":
        return Path(request.getfixturevalue("path"))
    return str(request.getfixturevalue("postgres").database())


@pytest.fixture
def on_store(place: Path | str) -> Callable[[Callable[[Store], Awaitable[Any]]], Any]:
    """Open the store, do something, close it: each call is a restart."""
    return restarting(place)


@pytest.fixture
def on_file(path: Path) -> Callable[[Callable[[Store], Awaitable[Any]]], Any]:
    """The same with SQLite alone."""
    return restarting(path)


def restarting(place: Path | str) -> Callable[[Callable[[Store], Awaitable[Any]]], Any]:
    def run(work: Callable[[Store], Awaitable[Any]]) -> Any:
        async def session() -> Any:
            store = await Store.open(place)
            assert await store.take_lease()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(session())

    return run
