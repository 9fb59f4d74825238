"""Nodes are replaced one after the other, by a later version with another schema, while events come in."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.nodes import SOON, nodes, processor, until_healthy, until_judging
from tests.support.postgres import Postgres
from tests.support.sender import Sender
from tests.support.service import S, Service, eventually
from tests.support.stored import Stored, read
from tests.support.traffic import Traffic

from sentinel.app import Monitor
from sentinel.settings import Settings
from sentinel.storage.migrations import known_versions

LATER = """\
import os
from pathlib import Path

import sentinel.storage.migrations as migrations

present = migrations._config


def config():
    found = present()
    places = [Path(migrations.__file__).parent / "versions", Path(__file__).parent / "versions"]
    found.set_main_option("path_separator", "os")
    found.set_main_option("version_locations", os.pathsep.join(map(str, places)))
    return found


migrations._config, migrations.newest_version = config, lambda: "9999"
"""
"""Makes a process of this version one of a later version, with one migration more."""
MIGRATION = """\
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", "{present}", None, None


def upgrade():
    for table in ("events", "signals", "security_actions", "nodes"):
        op.add_column(table, sa.Column("of_later", sa.String(8), nullable=False, server_default="x"))
    op.create_table("of_later", sa.Column("seq", sa.BigInteger, primary_key=True))
    op.create_index("signals_of_later", "signals", ["of_later"])
"""


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings that make a node one of a later version."""
    folder = tmp_path_factory.mktemp("later")
    (folder / "sitecustomize.py").write_text(LATER)
    (folder / "versions").mkdir()
    (folder / "versions" / "9999_of_later.py").write_text(MIGRATION.format(present=max(known_versions())))
    return {"PYTHONPATH": str(folder)}


def broken(sender: Sender) -> tuple[int, list[str]]:
    """Return how often a sender was cut off, and what it was told that is the server's fault."""
    return sender.cut_off, [answer.text for answer in sender.refusals if answer.status_code >= 500]


def replace(node: Service, later: dict[str, str]) -> None:
    assert node.stop() == 0
    node.settings |= later
    node.start()


def test_a_later_version_replaces_one_node_after_the_other_under_load(
    postgres: Postgres, tmp_path: Path, later: dict[str, str]
) -> None:
    """The node that stays answers every request, before, during and after the migration; nothing is lost or twice."""
    url = postgres.database()
    with nodes(tmp_path, url, "one", "two") as both, ExitStack() as stack:
        first = until_judging(*both)
        [second] = [node for node in both if node is not first]
        senders = {
            node: stack.enter_context(Sender(node, seed, largest=100, pause=0.05)) for seed, node in enumerate(both)
        }

        def goes_on(node: Service) -> None:
            senders[node].wait_for(len(senders[node].owed) + 300, seconds=3 * SOON)

        for replaced, stays in ((first, second), (second, first)):
            goes_on(stays)
            before = broken(senders[stays])
            replace(replaced, later)
            goes_on(stays)
            goes_on(replaced)
            assert broken(senders[stays]) == before
            assert read(url, "SELECT version_num FROM alembic_version") == [("9999",)]
        stack.close()
        for node in both:
            node.drain()
            until_healthy(node)
        with Service(tmp_path / "earlier") as earlier:
            earlier.settings = {"SENTINEL_DATABASE_URL": url}
            earlier.launch()
            assert earlier.ended() == 2
            assert "is of a later version of Sentinel (schema 9999)" in earlier.said()
        assert [node.stop() for node in both] == [0, 0]
    Stored(url).check(
        offered={**senders[first].offered, **senders[second].offered},
        owed={**senders[first].owed, **senders[second].owed},
    )


def test_a_node_that_is_to_end_answers_what_has_begun_and_takes_nothing_new(postgres: Postgres, tmp_path: Path) -> None:
    """Half a request is there when it is asked to end; the answer says that the connection ends with it."""
    with nodes(tmp_path, postgres.database(), "one", "two") as both:
        judge = until_judging(*both)
        [other] = [node for node in both if node is not judge]
        body = json.dumps(Traffic(seed=3).batch(20)).encode()
        port = urlsplit(judge.url).port
        head = (
            f"POST {S}/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {judge.ingest_token()}\r\nContent-Length: {len(body)}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=SOON) as begun:
            begun.sendall(head.encode())
            assert begun.recv(1024).startswith(b"HTTP/1.1 100 "), "it has begun to read the request"
            begun.sendall(body[:100])
            judge.process.send_signal(signal.SIGTERM)
            eventually(lambda: refused(port), seconds=SOON, what="it takes no new connection")
            begun.sendall(body[100:])
            answer = b"".join(iter(lambda: begun.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 202 ")
        assert "\r\nconnection: close\r\n" in answer.lower()
        assert json.loads(answer.partition("\r\n\r\n")[2])["accepted"] == 20
        assert judge.ended() == 0
        other.drain()
        assert processor(other)["judging"]
        assert sum(not item["event_id"].startswith("canary") for item in other.ask(f"{S}/events")["items"]) == 20


def refused(port: int | None) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port or 0), timeout=SOON).close()
    except ConnectionRefusedError:
        return True
    return False


def test_who_is_about_to_end_lets_another_judge_before_it_has_ended(postgres: Postgres, tmp_path: Path) -> None:
    """Requests that take their time must not leave all others without a judge meanwhile; and it takes no turn again."""
    url = postgres.database()

    async def held(holds: Callable[[], bool]) -> None:
        for _ in range(20 * SOON):
            if holds():
                return
            await asyncio.sleep(0.05)
        pytest.fail("it never came about")

    async def handed_over() -> None:
        one, two = [await Monitor.open(Settings(data_dir=tmp_path / name, database_url=url)) for name in ("a", "b")]
        try:
            assert (one.worker.judging, two.worker.judging) == (True, False)
            await one.leave()
            await held(lambda: two.worker.judging)
            assert not one.worker.judging
            await one.store.probe()  # it goes on writing what it has taken
            await two.leave()
            await one._judge_if_nobody_does()
            assert (one.worker.judging, two.worker.judging) == (False, False)
        finally:
            await one.close()
            await two.close()

    asyncio.run(handed_over())
