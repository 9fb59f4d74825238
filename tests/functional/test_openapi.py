"""The OpenAPI document says what the service does: schemathesis calls every operation of a real one by it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from tests.functional.conftest import Api, S
from tests.support import schemathesis_hooks
from tests.support.service import Service, eventually

from sentinel.model import Role
from sentinel.server import examples
from sentinel.server.authorize import ACCESS
from sentinel.server.openapi import ROUTES

PROVE = bool(os.environ.get("SENTINEL_PROVE"))
EXAMPLES = 60 if PROVE else 3
"""Cases by operation in the fuzzing phase, beside those that the schema's every bound and example ask for."""
SEED = "20261122"
HOOKS = Path(schemathesis_hooks.__file__)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service in which something has happened, so that its lists are not empty."""
    with Service(tmp_path_factory.mktemp("openapi") / "home") as running:
        running.start()
        start = datetime.now(UTC) - timedelta(minutes=1)
        events = [
            {
                "event_type": "authentication",
                "severity": "low",
                "timestamp": (start + timedelta(seconds=n)).isoformat(),
                "ip_address": "203.0.113.9",
                "user_id": "grace",
                "details": {"success": False, "failure_reason": "bad_password"},
            }
            for n in range(20)
        ]
        with running.client(running.ingest_token()) as client:
            assert client.post(f"{running.url}{S}/events", json=events).status_code == 202
        eventually(lambda: running.ask(f"{S}/active-blocks")["ip_blocks"], seconds=30, what="the address is blocked")
        yield running


def configuration(service: Service) -> str:
    """Return schemathesis' configuration: the token that each operation wants, and what JSON Schema can't say."""
    tokens = {role: service.token(role) for role in Role}
    parts = [
        f"hooks = {json.dumps(str(HOOKS))}",
        "continue-on-failure = true",
        # An operation that nothing got into was not tested.
        '[warnings]\nfail-on = ["missing_auth"]',
        # A body that is too large is refused by a code of its own.
        '[checks.negative_data_rejection]\nexpected-statuses = ["4xx"]',
    ]
    for (method, path), roles in sorted(ACCESS.items()):
        spelled = re.sub(r":path\}", "}", path)
        if (method, spelled) not in ROUTES:
            continue
        token = tokens[min(roles or {Role.VIEWER})]
        header = ("X-Api-Key", token) if path.startswith("/v1/") else ("Authorization", f"Bearer {token}")
        parts.append(f'[[operations]]\ninclude-name = "{method} {spelled}"')
        parts.append(f"headers = {{ {header[0]} = {json.dumps(header[1])} }}")
        parts += LEEWAY.get((method, spelled), ())
    return "\n".join(parts)


_MAY_SAY_422 = 'checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]'
LEEWAY = {
    # What surrounds a prompt may have any shape that chat APIs use; the document names one.
    ("POST", "/api/v1/scan"): [_MAY_SAY_422],
    # A time in the far future has the form of a time.
    ("POST", f"{S}/events"): [_MAY_SAY_422],
    # Some rules count, and take whole numbers; others add up, and take any.
    ("PUT", f"{S}/thresholds"): [_MAY_SAY_422],
    # How a target is written hangs on the kind of action beside it in the path.
    ("DELETE", f"{S}/action/{{action_type}}/{{target}}"): [_MAY_SAY_422],
    # Nobody has half a minute for each question that waits for news.
    ("GET", f"{S}/decisions"): ['parameters."query.wait" = 0.01'],
}


def fuzz(service: Service, folder: Path, *more: str) -> str:
    """Return what schemathesis says; fails with it when it found something."""
    document, config = folder / "openapi.json", folder / "schemathesis.toml"
    document.write_text(json.dumps(service.ask("/api/v1/openapi.json")), encoding="utf-8")
    config.write_text(configuration(service), encoding="utf-8")
    config.chmod(0o600)
    words = ["--config-file", str(config), "run", str(document), "--url", service.url, "--seed", SEED, *more]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *words],
        capture_output=True,
        text=True,
        timeout=1500 if PROVE else 300,
        check=False,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "NO_COLOR": "1", "COLUMNS": "120", "LANG": "C.UTF-8"},
    )
    assert done.returncode == 0, brief(done.stdout + done.stderr)
    return done.stdout


def brief(text: str) -> str:
    """Return a report with its long lines (whole bodies) cut short."""
    return "\n".join(line[:400] for line in text.splitlines())


# schemathesis keeps one operation's header for the next ones, so those with a header of their own run by themselves.
@pytest.mark.parametrize("which", ["--exclude-path-regex", "--include-path-regex"])
def test_the_service_does_what_its_description_says(service: Service, tmp_path: Path, which: str) -> None:
    """Every operation, by the right role: no 5xx, no answer that is not described, nothing wrong taken."""
    said = fuzz(service, tmp_path, "--max-examples", str(EXAMPLES), which, "^/v1/")
    crowdsec = sum(path.startswith("/v1/") for _, path in ROUTES)
    wanted = crowdsec if which.startswith("--include") else len(ROUTES) - crowdsec
    assert f"Tested: {wanted}\n" in said, brief(said)
    log = (service.folder / "logs" / "api.log").read_text(encoding="utf-8")
    assert "request failed" not in log
    assert service.ask(f"{S}/health")["overall_status"] == "healthy"
    assert service.ask(f"{S}/audit/verify")["status"] == "verified"


def test_every_route_has_examples_that_fit(api: Api) -> None:
    """What the document shows as sent and answered has the shape that it promises, for every route."""
    document = api.ask("GET", "/api/v1/openapi.json", "viewer").json()
    for (method, path), route in ROUTES.items():
        operation = document["paths"][path][method.lower()]
        shown: list[tuple[Any, Any]] = []
        if route.answer is not None:
            media = operation["responses"][route.status]["content"]["application/json"]
            shown.append((media["schema"], media["example"]))
        body = operation.get("requestBody", {}).get("content", {})
        if "application/json" in body:
            shown.append((body["application/json"]["schema"], body["application/json"]["example"]))
        for schema, example in shown:
            whole = schema | {"components": document["components"]}
            for problem in jsonschema_rs.Draft202012Validator(whole).iter_errors(example):
                pytest.fail(f"{method} {path}: {problem}")
        for parameter in operation.get("parameters", ()):
            assert parameter["in"] != "path" or "example" in parameter, (method, path, parameter["name"])
    assert set(examples.ANSWERS) == {key for key, route in ROUTES.items() if route.answer is not None}


def test_a_verdict_promises_every_field(api: Api) -> None:
    """A client made from the document may rely on all that a verdict says, also where it says nothing."""
    shape = api.ask("GET", "/api/v1/openapi.json", "viewer").json()["components"]["schemas"]["Judged"]
    verdict = api.ask("POST", "/api/v1/scan", "ingest", json={"prompt": "Hello"}).json()
    assert sorted(shape["required"]) == sorted(verdict)
    assert shape["properties"]["risk_score"]["maximum"] == 1


ORDER = {"action_type": "ip_block", "target": "203.0.113.9", "reason": "seen before"}


@pytest.mark.parametrize("evidence", ['{"seen": "\\ud800"}', '{"seen": NaN}', '{"seen": "' + 70_000 * "x" + '"}'])
def test_an_order_that_nobody_could_be_told_of_is_refused(api: Api, evidence: str) -> None:
    """Evidence that is no JSON in UTF-8 would break every answer that shows it, the enforcement points' feed too."""
    body = json.dumps(ORDER)[:-1] + f', "evidence": {evidence}}}'
    answer = api.ask("POST", f"{S}/manual-action", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "SNTL-4220")
    assert api.get("/decisions", "enforcer")["items"] == []
    assert api.get("/active-blocks")["ip_blocks"] == []


def test_a_body_that_can_not_be_read_is_told_from_a_path_that_is_not_there(api: Api) -> None:
    """Brackets without end are the sender's fault, and no missing page."""
    headers = {"Content-Type": "application/json"}
    answer = api.ask("POST", f"{S}/manual-action", content="[" * 100_000, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "SNTL-4002")


@pytest.mark.parametrize("expires", ["99999d", "1e9", "-1d", "9999999999", ""])
def test_a_token_ends_in_a_year_that_can_be_written(api: Api, expires: str) -> None:
    """An end beyond every calendar is refused and not a failure inside."""
    assert api.ask("POST", f"{S}/tokens", json={"role": "viewer", "expires": expires}).status_code == 422


def test_words_for_numbers_and_numbers_for_words_are_refused(api: Api) -> None:
    """What looks like a number is none: a client that sends text has a defect, and learns of it."""
    assert api.ask("POST", f"{S}/manual-action", json=ORDER | {"duration_hours": "4"}).status_code == 422
    assert api.ask("POST", f"{S}/tokens", json={"role": "viewer", "may_cause_actions": 1}).status_code == 422
    assert api.ask("POST", f"{S}/dead-letters/replay", json={"seqs": ["7"]}).status_code == 422
    assert api.ask("POST", f"{S}/dead-letters/replay", json={"seqs": [7.5]}).status_code == 422


def test_a_whole_number_may_be_written_with_a_point(api: Api) -> None:
    """JSON has one kind of number, and the document says integer: 7.0 is one; there is just no such dead letter."""
    assert api.ask("POST", f"{S}/dead-letters/replay", json={"seqs": [7.0]}).status_code == 404
