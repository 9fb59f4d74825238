"""The service over TLS: who gets in with which certificate, and what happens when certificates change under load."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.functional.conftest import Api
from tests.support.service import S, Service, eventually

from sentinel.certificates import Pair, issue, make_ca
from sentinel.client import AsyncClient, Client, Tls, auth_event
from sentinel.enforcement.feed import Feed
from sentinel.enforcement.snapshot import Snapshot
from sentinel.tls import Peer

NOW = datetime.now(UTC)
YEAR_AGO = NOW - timedelta(days=400)


class Folder:
    """An authority and certificates, and another authority that nobody believes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        folder.mkdir()
        self.ca, stranger = make_ca("ours", YEAR_AGO), make_ca("ours", NOW)
        self.put("ca", self.ca)
        self.put("stranger-ca", stranger)
        for name in ("sentinel", "prometheus", "shop"):
            self.put(name, issue(self.ca, name, [name, "127.0.0.1"], NOW))
        self.put("expired", issue(self.ca, "prometheus", ["prometheus"], YEAR_AGO))
        self.put("foreign", issue(stranger, "prometheus", ["prometheus"], NOW))

    def put(self, name: str, pair: Pair) -> None:
        for kind, content in (("key", pair.key), ("pem", pair.certificate)):
            part = self.path / f"{name}.part"
            part.write_bytes(content)
            part.replace(self.path / f"{name}.{kind}")

    def tls(self, name: str | None) -> Tls:
        own = (
            {}
            if name is None
            else {"certificate_file": self.path / f"{name}.pem", "key_file": self.path / f"{name}.key"}
        )
        return Tls(ca_file=self.path / "ca.pem", **own)

    def context(self, name: str | None) -> ssl.SSLContext:
        return self.tls(name).files().context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("tls") / "certs")


@pytest.fixture(scope="module")
def service(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes nobody without a certificate."""
    with Service(tmp_path_factory.mktemp("service")) as service:
        service.settings = {
            "SENTINEL_TLS_CERTIFICATE": str(folder.path / "sentinel.pem"),
            "SENTINEL_TLS_KEY": str(folder.path / "sentinel.key"),
            "SENTINEL_TLS_CLIENT_CA": str(folder.path / "ca.pem"),
            "SENTINEL_TLS_CLIENTS": "required",
            "SENTINEL_TLS_SCRAPERS": "prometheus",
        }
        service.verify = folder.context("shop")
        yield service.start()


def ask(service: Service, context: ssl.SSLContext, path: str, token: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(service.url + path, verify=context, headers=headers, timeout=30, trust_env=False)


@pytest.mark.parametrize("name", [None, "foreign", "expired"], ids=["none", "of another authority", "expired"])
def test_without_a_good_certificate_nobody_gets_as_far_as_a_request(
    service: Service, folder: Folder, name: str | None
) -> None:
    """No certificate, one of an authority that is not ours, one that is over: the handshake fails."""
    with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)):
        ask(service, folder.context(name), "/readyz")


def test_a_good_certificate_gets_in_and_opens_what_its_name_may(service: Service, folder: Folder) -> None:
    """`prometheus` reads the metrics without a token and nothing else; other names read nothing without one."""
    assert ask(service, folder.context("shop"), "/readyz").status_code == 200
    scraped = ask(service, folder.context("prometheus"), "/metrics")
    assert (scraped.status_code, "sentinel_scan_total" in scraped.text) == (200, True)
    assert "max-age" in scraped.headers["strict-transport-security"]
    state = 'security_ssl_certificate_status{security_ssl_certificate_status="valid",service="sentinel"} 1.0'
    assert state in scraped.text, "an alert can tell of the end of our own certificate"
    assert ask(service, folder.context("shop"), "/metrics").status_code == 401
    for path in ("/events", "/decisions", "/active-blocks"):
        assert ask(service, folder.context("prometheus"), S + path).status_code == 401
    assert ask(service, folder.context("prometheus"), "/metrics", "sntl_scraper_wrong").status_code == 401


def test_the_service_must_be_who_it_claims_to_be(service: Service, folder: Folder) -> None:
    """A client that believes another authority only does not talk to it."""
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
        ask(service, Tls(ca_file=folder.path / "stranger-ca.pem").files().context, "/readyz")


def test_plain_http_gets_nothing(service: Service) -> None:
    """Whoever forgets the s sends his token to nobody who answers."""
    with pytest.raises(httpx.TransportError):
        httpx.get(service.url.replace("https", "http") + "/readyz", timeout=30, trust_env=False)


def test_commands_on_the_same_machine_go_on_working(service: Service) -> None:
    """They know the service by what lies in its data folder, and need no flag."""
    done = service.run("blocks", "add", "203.0.113.5", "--reason", "over TLS")
    assert (done.returncode, done.stderr) == (0, "")
    assert "203.0.113.5" in service.run("blocks", "list").stdout


def test_clients_and_enforcement_points_of_ours_speak_it(service: Service, folder: Folder) -> None:
    """Events arrive from both clients, and a block arrives at the feed of the middleware."""
    token = service.ingest_token()
    with Client(service.url, token, linger_seconds=0.01, tls=folder.tls("shop")) as client:
        client.send(auth_event(success=True, user_id="over-tls-1"))

    async def send() -> None:
        async with AsyncClient(service.url, token, linger_seconds=0.01, tls=folder.tls("shop")) as client:
            await client.send(auth_event(success=True, user_id="over-tls-2"))

    asyncio.run(send())
    for user in ("over-tls-1", "over-tls-2"):
        assert len(service.ask(f"{S}/events?user_id={user}")["items"]) == 1
    order = {"action_type": "ip_block", "target": "203.0.113.6", "reason": "x"}
    admin = service.admin()
    assert admin.post(f"{service.url}{S}/manual-action", json=order).status_code == 200
    enforcer = admin.post(f"{service.url}{S}/tokens", json={"role": "enforcer"}).json()["token"]
    snapshot = Snapshot()
    feed = Feed(snapshot, service.url, enforcer, tls=folder.tls("shop"))
    feed.start()
    try:
        eventually(lambda: snapshot.seq is not None, seconds=30, what="the feed has heard")
    finally:
        feed.stop()
    assert snapshot.check("203.0.113.6", round(NOW.timestamp() * 1e6)) is not None


def served(service: Service, context: ssl.SSLContext) -> bytes:
    """Return the certificate that a new connection is shown."""
    place = urlsplit(service.url)
    with socket.create_connection((place.hostname, place.port), timeout=30) as plain:  # noqa: SIM117 - reads better
        with context.wrap_socket(plain, server_hostname=place.hostname) as secure:
            shown = secure.getpeercert(binary_form=True)
            assert shown is not None
            return shown


class Load(threading.Thread):
    """Asks again and again until told to stop, over a new connection each time or over one that stays."""

    def __init__(self, service: Service, context: ssl.SSLContext, *, new: bool) -> None:
        super().__init__()
        self._url, self._context, self._new = f"{service.url}/readyz", context, new
        self._stop_asking = threading.Event()
        self.answers = 0
        self.failures: list[str] = []

    def run(self) -> None:
        headers = {"Connection": "close"} if self._new else {}
        with httpx.Client(verify=self._context, timeout=30, trust_env=False, headers=headers) as client:
            while not self._stop_asking.is_set():
                try:
                    assert client.get(self._url).status_code == 200
                    self.answers += 1
                except (httpx.HTTPError, AssertionError) as err:
                    self.failures.append(repr(err))

    def end(self) -> None:
        self._stop_asking.set()
        self.join()


def test_a_certificate_changes_under_load_and_no_request_is_lost(service: Service, folder: Folder) -> None:
    """New connections are shown the new one, open ones go on, and a file that is broken changes nothing."""
    context = folder.context("shop")
    before = served(service, context)
    loads = [Load(service, context, new=new) for new in (True, True, False)]
    for load in loads:
        load.start()
    try:
        eventually(lambda: all(load.answers > 20 for load in loads), seconds=60, what="the load runs")
        for _ in range(2):
            shown = served(service, context)
            folder.put("sentinel", issue(folder.ca, "sentinel", ["sentinel", "127.0.0.1"], NOW))
            eventually(lambda s=shown: served(service, context) != s, seconds=30, what="the new one is shown")
        asked = [load.answers for load in loads]
        good = (folder.path / "sentinel.pem").read_bytes()
        (folder.path / "sentinel.pem").write_bytes(good[:100])
        log = service.folder / "logs" / "api.log"
        eventually(lambda: "the earlier one stays" in log.read_text(), seconds=30, what="the broken file is told")
        enough = [number + 20 for number in asked]
        for load, number in zip(loads, enough, strict=True):
            eventually(lambda one=load, more=number: one.answers > more, seconds=60, what="it goes on")
        folder.put("sentinel", issue(folder.ca, "sentinel", ["sentinel", "127.0.0.1"], NOW))
        assert served(service, context) != before
    finally:
        for load in loads:
            load.end()
    assert [load.failures for load in loads] == [[], [], []]


def test_a_real_prometheus_scrapes_over_mutual_tls(service: Service, folder: Folder, tmp_path: Path) -> None:
    """Its client certificate is all that it needs; with another name it is told 401."""
    program = shutil.which("prometheus")
    assert program, "prometheus is missing: install it with `apt-get install --no-install-recommends prometheus`"
    job = """
  - job_name: {job}
    scheme: https
    tls_config: {{ca_file: {ca}, cert_file: {name}.pem, key_file: {name}.key, min_version: TLS12}}
    static_configs: [{{targets: ['{target}']}}]"""
    files = {"ca": folder.path / "ca.pem", "target": service.url.removeprefix("https://")}
    jobs = [job.format(job=name, name=folder.path / name, **files) for name in ("prometheus", "shop")]
    config = "global: {scrape_interval: 1s}\nscrape_configs:" + "".join(jobs)
    (tmp_path / "prometheus.yml").write_text(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    command = [program, f"--config.file={tmp_path / 'prometheus.yml'}", f"--web.listen-address={address}"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([*command, f"--storage.tsdb.path={tmp_path / 'tsdb'}"], stdout=log, stderr=log) as process,
    ):

        def targets() -> dict[str, Any]:
            try:
                answer = httpx.get(f"http://{address}/api/v1/targets", trust_env=False)
            except httpx.TransportError:
                return {}
            if answer.status_code != 200:  # it listens before it is ready
                return {}
            found = answer.json()["data"]["activeTargets"]
            return {one["labels"]["job"]: one for one in found if one["health"] != "unknown"}

        try:
            told = eventually(
                lambda: (t := targets()).keys() == {"prometheus", "shop"} and t, seconds=60, what="scraped"
            )
        finally:
            process.terminate()
            process.wait(30)
    assert told["prometheus"]["health"] == "up", told
    assert (told["shop"]["health"], "401" in told["shop"]["lastError"]) == ("down", True)


@pytest.mark.parametrize(
    ("name", "ends_in", "status"), [("prometheus", 60, 200), ("prometheus", -60, 401), ("other", 60, 401)]
)
def test_a_connection_that_outlives_its_certificate_opens_nothing(
    make_api: Any, name: str, ends_in: int, status: int
) -> None:
    """The handshake checked it once; each request looks at its end again."""
    api: Api = make_api(tls_scrapers=("prometheus",))
    peer, inner = Peer(frozenset({name}), api.now / 1e6 + ends_in), api.app

    async def connected(scope: Any, receive: Any, send: Any) -> None:
        await inner({**scope, "sentinel.peer": peer}, receive, send)

    api.app = connected  # type: ignore[assignment]
    assert api.ask("GET", "/metrics", None).status_code == status
