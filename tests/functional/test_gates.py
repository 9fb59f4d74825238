"""Enforcement by programs that aren't ours: Debian's nginx, and CrowdSec's Python bouncer."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pycrowdsec.client import QueryClient, StreamClient
from tests.functional.conftest import Api, S
from tests.support.service import Service, eventually

AUTHORIZE = f"{S}/authorize"


def order(api: Api, action_type: str, target: str, **more: Any) -> None:
    body = {"action_type": action_type, "target": target, "reason": "test", **more}
    assert api.ask("POST", f"{S}/manual-action", json=body).status_code == 200


def gate(api: Api, address: str = "198.51.100.1", **headers: str) -> int:
    """Return the status of one question about a request."""
    named = {f"X-{name.replace('_', '-')}": value.encode() for name, value in headers.items()}
    return api.ask("GET", AUTHORIZE, "enforcer", headers={"X-Real-IP": address, **named}).status_code


@pytest.mark.parametrize(
    ("action_type", "target", "headers"),
    [
        ("ip_block", "198.51.100.0/24", {}),
        ("user_suspend", "zoë", {"sentinel_user": "zoë"}),
        ("account_lockout", "ann", {"sentinel_user": "ann"}),
        ("threat_quarantine", "session:s-1", {"sentinel_session": "s-1"}),
        ("service_isolation", "billing", {"sentinel_service": "billing"}),
        ("rate_limit", "endpoint:/login", {"original_uri": "/login?next=/"}),
        ("rate_limit", "endpoint:/login", {"original_uri": "/lo%67in"}),
    ],
)
def test_a_proxy_is_told_who_may_pass(api: Api, action_type: str, target: str, headers: dict[str, str]) -> None:
    """204 or 403, by everything that a proxy knows of a request."""
    assert gate(api, **headers) == 204
    order(api, action_type, target, evidence={"limit": 1})
    answers = {gate(api, **headers) for _ in range(3)}
    assert 403 in answers
    assert gate(api, "203.0.113.1") == 204


@pytest.mark.parametrize("address", ["", "unknown", "203.0.113.1, 203.0.113.2"])
def test_a_proxy_that_does_not_say_who_asks_is_not_waved_through(api: Api, address: str) -> None:
    """A proxy takes anything but 2xx as no: a mistake in its configuration must not open the door."""
    assert gate(api, address) == 422


NGINX = """\
daemon off; worker_processes 1; pid nginx.pid; error_log stderr;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;
  server {
    listen 127.0.0.1:PORT;
    location / { auth_request /sentinel; try_files /none @app; }
    location @app { return 200 hello; }
    location = /sentinel {
      internal;
      proxy_pass URL/api/v1/security/authorize;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Authorization "Bearer TOKEN";
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Original-URI $request_uri;
    }
  }
}
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as service:
        yield service.start()


@pytest.fixture
def nginx(service: Service, tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """Debian's nginx before nothing, asking the service; gives a function from a client's address to a status."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = service.run("token", "create", "--role", "enforcer").stdout.strip()
    config = tmp_path / "nginx.conf"
    text = NGINX.replace("PORT", str(port)).replace("URL", service.url).replace("TOKEN", token)
    config.write_text(text)
    process = subprocess.Popen([program, "-p", str(tmp_path), "-c", str(config)], stderr=subprocess.DEVNULL)

    def visit(address: str) -> int:
        headers = {"X-Forwarded-For": address}
        try:
            return httpx.get(f"http://127.0.0.1:{port}/x", headers=headers, trust_env=False).status_code
        except httpx.ConnectError:
            return 0

    try:
        eventually(lambda: visit("198.51.100.1") == 200, seconds=20, what="nginx answers")
        yield visit
    finally:
        process.terminate()
        process.wait(10)


def test_nginx_refuses_what_is_blocked(service: Service, nginx: Callable[[str], int]) -> None:
    """The real program: blocked, undone, and closed while the service is down."""
    assert nginx("203.0.113.66") == 200
    assert service.run("blocks", "add", "203.0.113.64/30", "--reason", "test").returncode == 0
    assert (nginx("203.0.113.66"), nginx("203.0.113.68")) == (403, 200)
    assert service.run("blocks", "remove", "203.0.113.64/30").returncode == 0
    assert nginx("203.0.113.66") == 200
    service.kill()
    assert nginx("203.0.113.66") == 500


def test_a_crowdsec_bouncer_follows_the_service(service: Service) -> None:
    """CrowdSec's own client: what is banned, what is over, and a shared address that is limited is not banned."""
    token = service.run("token", "create", "--role", "enforcer").stdout.strip()
    bouncer = StreamClient(api_key=token, lapi_url=f"{service.url}/")
    for target in ("203.0.113.66", "203.0.113.128/25", "2001:db8:1:2::/64"):
        service.run("blocks", "add", target, "--reason", "test")
    service.run("blocks", "add", "ip:198.51.100.80", "--type", "rate_limit", "--reason", "an office")
    bouncer.cycle("true")
    answers = [
        bouncer.get_action_for(address)
        for address in ("203.0.113.66", "203.0.113.200", "2001:db8:1:2::7", "203.0.113.67", "198.51.100.80")
    ]
    assert answers == ["ban", "ban", "ban", None, None]
    service.run("blocks", "remove", "203.0.113.66")
    service.run("blocks", "add", "203.0.113.70", "--reason", "test")
    bouncer.cycle("false")
    assert [bouncer.get_action_for(f"203.0.113.{n}") for n in (66, 70, 200)] == [None, "ban", "ban"]
    service.kill()
    service.start()
    renewed = StreamClient(api_key=token, lapi_url=f"{service.url}/")
    renewed.cycle("false")
    assert renewed.get_action_for("203.0.113.70") == "ban"


def test_a_bouncer_that_asks_about_one_address_is_told(service: Service) -> None:
    """The other way of asking: one address at a time; nothing is `null`, as CrowdSec says it."""
    token = service.run("token", "create", "--role", "enforcer").stdout.strip()
    service.run("blocks", "add", "203.0.113.64/26", "--reason", "test", "--hours", "2")
    client = QueryClient(api_key=token, lapi_url=f"{service.url}/")
    [decision] = client.get_decisions_for("203.0.113.66")
    assert {name: decision[name] for name in ("scope", "value", "type", "origin")} == {
        "scope": "Range",
        "value": "203.0.113.64/26",
        "type": "ban",
        "origin": "sentinel",
    }
    assert decision["duration"].startswith(("1h59m", "2h0m"))
    assert client.get_decisions_for("203.0.113.1") is None


def test_bouncers_need_the_right_key(api: Api) -> None:
    """A key of another role, junk or none at all opens nothing."""
    path = "/v1/decisions/stream"
    assert api.ask("GET", path, None).status_code == 401
    assert api.ask("GET", path, None, headers={"X-Api-Key": "junk"}).status_code == 401
    assert api.ask("GET", path, None, headers={"X-Api-Key": api.tokens["viewer"]}).status_code == 403
    assert api.ask("GET", path, None, headers={"X-Api-Key": api.tokens["enforcer"]}).status_code == 200
    assert api.ask("GET", AUTHORIZE, None, headers={"X-Api-Key": api.tokens["enforcer"]}).status_code == 401
