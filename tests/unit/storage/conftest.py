"""A store of its own for each test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sentinel.storage import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


@pytest.fixture
def on_store(path: Path) -> Callable[[Callable[[Store], Awaitable[Any]]], Any]:
    """Open the store, do something, close it: each call is a restart."""

    def run(work: Callable[[Store], Awaitable[Any]]) -> Any:
        async def session() -> Any:
            store = await Store.open(path)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(session())

    return run
