"""The middleware refuses what is in force, and passes everything else through untouched."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from sentinel.enforcement import Block, Caller, SentinelMiddleware, Snapshot
from sentinel.errors import ConfigError
from sentinel.model import ActionStatus, Severity

Build = Callable[..., SentinelMiddleware]
FAR_FUTURE = 7_226_582_400_000_000  # 2199-01-01T00:00:00Z


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Say hello, over HTTP and over a websocket, and take part in the lifespan."""
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{stage}"
            await send({"type": f"lifespan.{stage}.complete"})
    elif scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


def block(block_id: str = "act-1", target: str = "203.0.113.9", **changes: Any) -> Block:
    fields: dict[str, Any] = {
        "seq": 1,
        "action_type": "ip_block",
        "status": ActionStatus.ACTIVE,
        "expires": None,
        "reason": "secret reason",
        "severity": Severity.HIGH,
    }
    return Block(id=block_id, target=target, **(fields | changes))


@pytest.fixture
def build() -> Iterator[Build]:
    """Put the middleware before the app, with blocks already known; the service itself is out of reach."""
    built = []

    def make(*blocks: Block, known: bool = True, **options: Any) -> SentinelMiddleware:
        middleware = SentinelMiddleware(app, **({"url": "http://127.0.0.1:1", "token": "t"} | options))
        if known:
            middleware.snapshot.apply(blocks, 1, complete=True)
        built.append(middleware)
        return middleware

    yield make
    for middleware in built:
        middleware.feed.stop()


def get(middleware: Any, peer: str = "203.0.113.9", **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(middleware, client=(peer, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.get("/", headers=headers)

    return asyncio.run(ask())


def talk(middleware: Any, scope: dict[str, Any], *received: dict[str, Any]) -> list[dict[str, Any]]:
    """Run one ASGI connection and return what was sent."""
    sent: list[dict[str, Any]] = []
    messages = iter(received)

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(middleware(scope, receive, send))
    return sent


def test_a_blocked_address_is_refused_and_others_pass(build: Build) -> None:
    """The application never sees a blocked request (D1)."""
    middleware = build(block())
    assert get(middleware).status_code == 403
    assert get(middleware, "203.0.113.10").text == "hello"


def test_a_refusal_tells_the_decision_and_not_the_reason(build: Build) -> None:
    """Whoever is refused by mistake can name the decision; an attacker does not learn what gave them away."""
    answer = get(build(block(expires=FAR_FUTURE)))
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = answer.json()
    assert (problem["code"], problem["status"], problem["title"]) == ("SNTL-4031", 403, "Forbidden")
    assert (problem["decision"], problem["expires"]) == ("act-1", "2199-01-01T00:00:00Z")
    assert "secret reason" not in answer.text
    assert get(build(block())).json()["expires"] is None


def test_a_rate_limit_lets_some_through(build: Build) -> None:
    """Three a minute: the fourth is told when to come back, and others are not slowed down."""
    middleware = build(block(target="ip:203.0.113.9", action_type="rate_limit", limit=3))
    answers = [get(middleware) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].json()["code"] == "SNTL-4291"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 20
    assert get(middleware, "203.0.113.10").status_code == 200


def test_the_client_behind_a_trusted_proxy_is_judged(build: Build) -> None:
    """With the proxy trusted the client is refused; without, its header is not believed."""
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
    assert get(build(block(), trusted_proxies=["10.0.0.1"]), "10.0.0.1", **forwarded).status_code == 403
    assert get(build(block()), "10.0.0.1", **forwarded).status_code == 200
    invented = {"X-Forwarded-For": "198.51.100.1"}
    assert get(build(block(), trusted_proxies=["10.0.0.1"]), "203.0.113.9", **invented).status_code == 403


@pytest.mark.parametrize("peer", [("203.0.113.9", 1), ("::ffff:203.0.113.9", 1)])
def test_a_blocked_websocket_is_closed_before_it_opens(build: Build, peer: tuple[str, int]) -> None:
    """The handshake is refused with the code for a breach of policy."""
    scope = {"type": "websocket", "client": peer, "headers": []}
    sent = talk(build(block()), scope, {"type": "websocket.connect"})
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_websocket_that_is_not_blocked_opens(build: Build) -> None:
    """The application answers the handshake itself."""
    scope = {"type": "websocket", "client": ("203.0.113.10", 1), "headers": []}
    assert talk(build(block()), scope)[0]["type"] == "websocket.accept"


@pytest.mark.parametrize("client", [None, ("/run/app.sock", 0)])
def test_a_peer_without_an_address_passes(build: Build, client: Any) -> None:
    """Who comes through a Unix socket has no address to block, and causes no error."""
    assert talk(build(block()), {"type": "http", "client": client, "headers": []})[0]["status"] == 200


@pytest.mark.parametrize(("on_unknown", "status"), [("allow", 200), ("deny", 503)])
def test_without_any_knowledge_the_configured_answer_holds(build: Build, on_unknown: str, status: int) -> None:
    """Neither a snapshot nor a service: the operator has chosen what happens, and deny says when to try again."""
    answer = get(build(known=False, on_unknown=on_unknown))
    assert answer.status_code == status
    if status == 503:
        assert (answer.json()["code"], answer.headers["retry-after"]) == ("SNTL-5031", "2")


def test_a_restart_during_an_outage_still_blocks(build: Build, tmp_path: Path) -> None:
    """The saved snapshot counts as knowledge: it refuses whom it lists and lets others pass, even with deny."""
    path = tmp_path / "snapshot"
    saved = Snapshot()
    saved.apply([block()], 5)
    saved.save(path)
    middleware = build(known=False, snapshot_path=path, on_unknown="deny")
    assert get(middleware).status_code == 403
    assert get(middleware, "203.0.113.10").status_code == 200


def test_a_damaged_snapshot_is_logged_and_not_taken_for_an_empty_one(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is named in the log, and `on_unknown` decides as if there were none."""
    path = tmp_path / "snapshot"
    path.write_bytes(b"sentinel-snapshot 1 \n{}")
    with caplog.at_level(logging.ERROR):
        middleware = build(known=False, snapshot_path=path, on_unknown="deny")
    assert str(path) in caplog.text
    assert get(middleware).status_code == 503


def test_blocks_of_the_service_reach_the_application(
    service: Any, build: Build, eventually: Callable[[Callable[[], object]], None], tmp_path: Path
) -> None:
    """From the service over the feed to the answer: blocked, and after an undo not blocked (D10)."""
    (tmp_path / "token").write_text(service.token)
    middleware = build(known=False, url=f"{service.url}/", token=None, token_file=tmp_path / "token")
    assert get(middleware).status_code == 200
    service.publish("act-7", "203.0.113.0/24")
    eventually(lambda: get(middleware).status_code == 403)
    service.publish("act-7", "203.0.113.0/24", status="revoked")
    eventually(lambda: get(middleware).status_code == 200)


def test_the_lifespan_passes_through_and_carries_the_feed(service: Any, build: Build, tmp_path: Path) -> None:
    """Before the application serves, the list is known; after it has shut down, the list is saved and the feed ends."""
    service.publish("act-7", "203.0.113.9")
    path = tmp_path / "snapshot"
    middleware = build(known=False, url=service.url, token=service.token, snapshot_path=path)
    stages = iter(("startup", "shutdown"))
    known_at: list[int | None] = []

    async def receive() -> dict[str, Any]:
        return {"type": f"lifespan.{next(stages)}"}

    async def send(message: dict[str, Any]) -> None:
        known_at.append(middleware.snapshot.seq)

    asyncio.run(middleware({"type": "lifespan"}, receive, send))
    assert known_at == [1, 1]
    assert middleware.feed._thread is not None
    assert not middleware.feed._thread.is_alive()
    assert Snapshot.load(path).seq == 1


def test_constructing_starts_no_thread(build: Build) -> None:
    """A server that forks after importing the application forks no thread away; the first request starts it."""
    middleware = build(block())
    assert middleware.feed._thread is None
    get(middleware)
    assert middleware.feed._thread is not None


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"token": None}, "token, token_file"),
        ({"token": ""}, "token, token_file"),
        ({"token_file": "/run/token"}, "token, token_file"),
        ({"on_unknown": "maybe"}, "on_unknown"),
        ({"trusted_proxies": ["proxy"]}, "trusted_proxies"),
        ({"url": "sentinel:8000"}, "url"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(build: Build, options: dict[str, Any], where: str) -> None:
    """A slip in the configuration stops the start and names the argument."""
    with pytest.raises(ConfigError) as caught:
        build(**options)
    assert caught.value.where == where


def test_the_problem_is_json_with_the_fields_of_rfc_9457(build: Build) -> None:
    """Clients read type, title, status and detail as the standard names them."""
    problem = msgspec.json.decode(get(build(block())).content)
    assert problem.keys() == {"type", "title", "status", "detail", "code", "decision", "expires"}


KNOWN = {"user_id": "ann", "session_id": "s-1", "service": "billing"}


@pytest.mark.parametrize(
    ("action_type", "target", "status"),
    [
        ("user_suspend", "ann", 403),
        ("account_lockout", "ann", 403),
        ("threat_quarantine", "session:s-1", 403),
        ("service_isolation", "billing", 403),
        ("service_isolation", "shop", 503),
        ("user_suspend", "Ann", 200),
        ("user_suspend", "s-1", 200),
        ("threat_quarantine", "document:s-1", 200),
        ("service_isolation", "s-1", 200),
        ("alert_escalation", "ann", 200),
    ],
)
def test_users_sessions_and_services_are_refused(build: Build, action_type: str, target: str, status: int) -> None:
    """Each kind of block holds for whom it names, exactly, and for nobody else."""
    middleware = build(
        block(target=target, action_type=action_type), identify=lambda _: Caller(**KNOWN), service="shop"
    )
    assert get(middleware, "198.51.100.1").status_code == status


def test_who_is_not_identified_is_not_refused_by_name(build: Build) -> None:
    """Without `identify`, or where it knows nobody, only addresses and endpoints can be refused."""
    suspended = block(target="ann", action_type="user_suspend")
    assert get(build(suspended)).status_code == 200
    assert get(build(suspended, identify=lambda _: None)).status_code == 200


def test_a_name_is_the_same_in_each_spelling_of_unicode(build: Build) -> None:
    """Else a suspended user would come back with a decomposed accent."""
    middleware = build(
        block(target="zo\u00eb", action_type="user_suspend"), identify=lambda _: Caller(user_id="zoe\u0308")
    )
    assert get(middleware).status_code == 403


def test_each_rate_limit_on_a_request_is_kept(build: Build) -> None:
    """A limit on the endpoint and one on the user count apart; whoever breaks one waits for that one."""
    middleware = build(
        block("endpoint", "endpoint:/", action_type="rate_limit", limit=3),
        block("user", "user:ann", action_type="rate_limit", limit=2, seq=2),
        identify=lambda scope: Caller(user_id=dict(scope["headers"]).get(b"x-user", b"").decode() or None),
    )
    answers = [get(middleware, **{"x-user": "ann"}).status_code for _ in range(3)]
    assert answers == [200, 200, 429]
    assert get(middleware, "198.51.100.2").status_code == 429
