"""TLS to PostgreSQL: only a server that can prove who it is gets the password and the events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.postgres import Postgres, running
from tests.unit.storage.test_sql import event, pending

from sentinel.certificates import make_ca
from sentinel.errors import ConfigError
from sentinel.storage import Store, state_of
from sentinel.storage.postgres import entries_of


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running(tls=True) as server:
        yield server


def url_of(server: Postgres, host: str = "localhost", **query: object) -> str:
    """Return the URL of a new database under a name of the server, with these words after the question mark."""
    words = "&".join(f"{name}={value}" for name, value in query.items())
    return server.database().replace("@127.0.0.1:", f"@{host}:") + (f"?{words}" if words else "")


def test_everything_that_is_asked_goes_by_tls(server: Postgres) -> None:
    """Who writes, who reads, who listens, and the commands of an operator."""
    url = url_of(server, sslmode="verify-full", sslrootcert=server.ca)
    name = urlsplit(url).path[1:]
    sessions = f"""
        SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
        WHERE datname = '{name}'"""

    async def work() -> list[list[str]]:
        store = await Store.open(url)
        await store.accept([pending(event("a"))])
        assert [item.event.event_id for item in await store.events_after(0, 10)] == ["a"]
        found = await asyncio.to_thread(server.sql, sessions, "postgres")
        await store.close()
        return found

    [[all_of_them, by_tls]] = asyncio.run(work())
    assert int(all_of_them) >= 2
    assert by_tls == all_of_them
    assert state_of(url).schema is not None
    assert list(entries_of(url)) == []


def _refused(url: str) -> str:
    async def work() -> None:
        await (await Store.open(url)).close()

    with pytest.raises(ConfigError, match="can't be reached") as caught:
        asyncio.run(work())
    with pytest.raises(ConfigError, match="can't be reached"):
        state_of(url)
    assert "sesame" not in str(caught.value)
    return str(caught.value)


def test_another_authority_or_name_is_refused(server: Postgres, tmp_path: Path) -> None:
    """By everything that connects, with the reason, and without the password."""
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(make_ca("ours", datetime.now(UTC)).certificate)
    by_name: dict[str, Any] = {"sslmode": "verify-full", "sslrootcert": server.ca}
    assert "certificate verify failed" in _refused(url_of(server, **by_name | {"sslrootcert": stranger}))
    assert "certificate verify failed" in _refused(url_of(server, "127.0.0.1", **by_name))
    log = (server._folder / "log").read_text()
    assert "password authentication failed" not in log


def test_a_server_that_wants_tls_takes_nothing_else(server: Postgres) -> None:
    """What is set in the URL holds: with `disable` nobody gets in here."""
    _refused(url_of(server, sslmode="disable"))
