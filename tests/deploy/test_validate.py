"""`sentinel validate` and `sentinel doctor`: silent about what is right, and each planted fault is named."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.support.encoder import write_encoder
from tests.support.service import Service, eventually

from sentinel.certificates import issue, make_ca
from sentinel.cli._checks import Check, State
from sentinel.cli._checks.deployment import ALERTS, BOARDS, deployment
from sentinel.cli._checks.machine import machine_checks
from sentinel.scanning.classify.encoder import Encoder
from sentinel.server.authorize import ACCESS
from sentinel.settings import load_settings

REPOSITORY = Path(__file__).parents[2]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
CA = make_ca("ours", NOW - timedelta(days=360))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deployment of this repository, as somebody has it who has made his secrets and certificates."""
    folder = tmp_path_factory.mktemp("whole") / "deployment"
    folder.mkdir()
    for name in ("docker-compose.yml", "docker-compose-mtls.yml", "docker-compose-nodes.yml", "Dockerfile"):
        shutil.copy(REPOSITORY / name, folder)
    shutil.copytree(REPOSITORY / "config", folder / "config")
    shutil.copytree(REPOSITORY / "docs" / "runbooks", folder / "docs" / "runbooks")
    for place in ("secrets", "certs"):
        (folder / place).mkdir(mode=0o700)
    for name, text in (
        ("scraper.token", "sntl_scraper_x"),
        ("ingest.token", "sntl_ingest_x"),
        ("smtp.password", "x"),
        ("grafana.password", "x"),
    ):
        (folder / "secrets" / name).write_text(text)
    made = {"ca": CA} | {
        name: issue(CA, name, [name, "localhost"], NOW - timedelta(days=10))
        for name in ("sentinel", "prometheus", "alertmanager", "grafana")
    }
    for name, pair in made.items():
        put(folder / "certs", name, pair)
    return folder


def put(folder: Path, name: str, pair: Any) -> None:
    (folder / f"{name}.pem").write_bytes(pair.certificate)
    (folder / f"{name}.key").write_bytes(pair.key)
    (folder / f"{name}.key").chmod(0o600)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "deployment"))


def faults(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.says for check in checks if check.state in {State.PROBLEM, State.WARNING}}


def test_a_whole_deployment_has_no_problem(folder: Path) -> None:
    """Nothing is found where nothing is wrong, and nothing is left out without saying so."""
    checks = deployment(folder, list(ACCESS), NOW)
    assert faults(checks) == {}
    assert len(checks) > 30
    assert {check.name for check in checks if check.state is State.SKIPPED} == set()
    assert all(check.fix for check in checks if check.state is State.PROBLEM)


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Return a fault: one piece of text in one file is another."""

    def plant(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new, 1))

    return plant


def change(name: str, how: Callable[[Any], object]) -> Callable[[Path], None]:
    """Return a fault: what a YAML or JSON file holds is changed."""

    def plant(folder: Path) -> None:
        [path] = folder.glob(name) if "*" in name else [folder / name]
        found = yaml.safe_load(path.read_text())
        how(found)
        path.write_text(json.dumps(found))

    return plant


def each_board(how: Callable[[Any], object]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        path = next(
            path
            for path in sorted((folder / "config" / "grafana").rglob("*.json"))
            if json.loads(path.read_text()).get("uid") in BOARDS
        )
        found = json.loads(path.read_text())
        how(found)
        path.write_text(json.dumps(found))

    return plant


def first_panel(found: Any) -> Any:
    def panels(items: list[Any]) -> Iterator[Any]:
        for item in items:
            yield from panels(item.get("panels", []))
            if item.get("targets"):
                yield item

    return next(panels(found["panels"]))


def first_alert(found: Any) -> Any:
    return next(rule for group in found["groups"] for rule in group["rules"] if rule.get("alert") in ALERTS)


def other_source(found: Any) -> None:
    panel = first_panel(found)
    for thing in (panel, *panel["targets"]):
        thing["datasource"] = {"type": "prometheus", "uid": "elsewhere"}


def opened(folder: Path) -> None:
    (folder / "certs").chmod(0o755)
    (folder / "certs" / "grafana.key").chmod(0o644)


P, M, A = "config/prometheus/prometheus.yml", "docker-compose-mtls.yml", "config/alertmanager/alertmanager.yml"
R = "config/prometheus/security_rules.yml"
N = "docker-compose-nodes.yml"
FAULTS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "a file is missing": ("prometheus.yml", "can't be read", lambda f: (f / P).unlink()),
    "a file is no YAML": ("prometheus.yml", "is not YAML", lambda f: (f / P).write_text("a: [1\nb: {")),
    "a worker may write anywhere": (
        f"{N}: hardening",
        "worker-2",
        change(N, lambda found: found["services"]["worker-2"].update(read_only=False)),
    ),
    "a node's secret is defined nowhere": (
        f"{N}: references",
        "api mounts database.pgpass",
        change(N, lambda found: found["secrets"].pop("database.pgpass")),
    ),
    "the nodes are not scraped": (
        "prometheus-nodes.yml: scraping",
        "no target",
        change(P.replace(".yml", "-nodes.yml"), lambda found: found["scrape_configs"][0].pop("static_configs")),
    ),
    "rules are not loaded": ("prometheus.yml: rules", "security_rules.yml", edit(P, "security_rules.yml", "other.yml")),
    "scraped without a token": ("prometheus.yml: scraping", "401", edit(P, "credentials_file", "type: Bearer #")),
    "scraped at a path that is none": ("prometheus.yml: scraping", "/meters", edit(P, "/metrics", "/meters")),
    "the job has another name": (
        "prometheus.yml: scraping",
        "`sentinel`",
        edit(P, "job_name: sentinel", "job_name: x"),
    ),
    "nobody is told": ("prometheus.yml: alerting", "no Alertmanager", change(P, lambda found: found.pop("alerting"))),
    "an alert is missing": (
        "rules: all alerts",
        "is missing",
        change(R, lambda found: first_alert(found).pop("alert")),
    ),
    "a severity is no word of ours": (
        "rules: severities",
        "warning",
        change(R, lambda found: first_alert(found)["labels"].update(severity="warning")),
    ),
    "an alert has no runbook": (
        "rules: runbooks",
        "has none",
        change(R, lambda found: first_alert(found)["annotations"].pop("runbook_url")),
    ),
    "an alert's runbook is gone": (
        "rules: runbooks",
        "ThreatDetected.md, which is missing",
        lambda f: (f / "docs/runbooks/ThreatDetected.md").unlink(),
    ),
    "an expression does not parse": (
        "rules: promtool",
        "could not parse expression",
        change(R, lambda found: first_alert(found).update(expr="sum(rate(")),
    ),
    "a route names no receiver": (
        "alertmanager.yml: receivers",
        "nobody",
        edit(A, "receiver: security-high", "receiver: nobody"),
    ),
    "a severity has no route": (
        "alertmanager.yml: severities",
        "critical",
        edit(A, 'severity="critical"', 'severity="page"'),
    ),
    "a webhook leads nowhere": (
        "alertmanager.yml: webhooks",
        "/api/v1/alerts",
        edit(A, "/api/v1/security/alerts/webhook", "/api/v1/alerts"),
    ),
    "a webhook has no token": ("alertmanager.yml: access", "token", edit(A, "credentials_file", "type: Bearer #")),
    "a mail has a field that is none": (
        "alertmanager.yml: mail",
        "subject",
        edit(A, "send_resolved: true\n        headers:", "send_resolved: true\n        subject: x\n        headers:"),
    ),
    "a board asks another datasource": ("grafana: panels", "elsewhere", each_board(other_source)),
    "a panel asks nothing": (
        "grafana: panels",
        "asks nothing",
        each_board(lambda found: first_panel(found).update(targets=[])),
    ),
    "a panel has no place": (
        "grafana: panels",
        "no place",
        each_board(lambda found: first_panel(found).pop("gridPos")),
    ),
    "a board is missing": ("grafana: boards", "is missing", each_board(lambda found: found.update(uid="x"))),
    "the scanner's board is missing": (
        "grafana: boards",
        "scanner-dashboard is missing",
        lambda f: next((f / "config/grafana").rglob("scanner-dashboard.json")).unlink(),
    ),
    "all boards are missing": (
        "grafana: boards",
        "security-overview is missing",
        lambda f: [path.unlink() for path in (f / "config/grafana").rglob("*.json")],
    ),
    "the datasource has no uid": (
        "grafana: datasource of provisioning",
        "no uid",
        change("config/grafana/provisioning/datasources/*.yml", lambda found: found["datasources"][0].pop("uid")),
    ),
    "the datasource is not there": (
        "grafana: datasource of provisioning",
        "there is none",
        lambda f: shutil.rmtree(f / "config/grafana/provisioning/datasources"),
    ),
    "the datasource over TLS is not there": (
        "grafana: datasource of provisioning-mtls",
        "there is none",
        change("config/grafana/provisioning-mtls/datasources/*.yml", lambda found: found["datasources"].clear()),
    ),
    "a container may do more": (f"{M}: hardening", "api", edit(M, "hostname: sentinel", "cap_add: [SYS_ADMIN]")),
    "an image is not pinned": (
        f"{M}: hardening",
        "grafana",
        edit(M, "grafana/grafana:11.4.0", "grafana/grafana:latest"),
    ),
    "a mounted file is gone": (f"{M}: files", "web-mtls", lambda f: (f / "config/prometheus/web-mtls.yml").unlink()),
    "a secret is not defined": (
        f"{M}: references",
        "ingest.token",
        edit(M, "  ingest.token: {file", "  x.token: {file"),
    ),
    "a secret is empty": ("secrets", "is empty", lambda f: (f / "secrets/scraper.token").write_text("")),
    "a token is of another role": (
        "secrets",
        "no scraper token",
        lambda f: (f / "secrets/scraper.token").write_text("sntl_admin_x"),
    ),
    "others may see the secrets": ("secrets: access", "others", lambda f: (f / "secrets").chmod(0o755)),
    "a certificate is over": (
        "certificates: sentinel",
        "expired",
        lambda f: put(f / "certs", "sentinel", issue(CA, "sentinel", ["sentinel"], NOW - timedelta(days=360), 300)),
    ),
    "a certificate ends soon": (
        "certificates: grafana",
        "20 days",
        lambda f: put(f / "certs", "grafana", issue(CA, "grafana", ["grafana"], NOW, 20)),
    ),
    "a certificate is of another authority": (
        "certificates: prometheus",
        "authority",
        lambda f: put(f / "certs", "prometheus", issue(make_ca("x", NOW), "prometheus", ["prometheus"], NOW)),
    ),
    "a key fits another certificate": (
        "certificates: alertmanager",
        "another certificate",
        lambda f: shutil.copy(f / "certs/grafana.key", f / "certs/alertmanager.key"),
    ),
    "others may read a key": (
        "certificates: grafana",
        "others may read",
        opened,
    ),
}


@pytest.mark.parametrize("fault", FAULTS, ids=[name.replace(" ", "-") for name in FAULTS])
def test_each_planted_fault_is_named(folder: Path, fault: str) -> None:
    """One thing is wrong, and the check that knows of it says so, with what to do."""
    name, word, plant = FAULTS[fault]
    plant(folder)
    checks = deployment(folder, list(ACCESS), NOW)
    found = faults(checks)
    assert word in found.get(name, "nothing was found"), found
    assert all(check.fix for check in checks if check.name in found)
    # Nothing else is suspected, though a file that is gone is missed by whoever mounts it too.
    assert len({other.partition(": ")[0] for other in found} - {"docker-compose.yml"}) == 1, found


def test_without_the_pages_runbooks_are_not_called_right(folder: Path) -> None:
    """An installed release has no documents: whether an alert's page exists can't be said there."""
    shutil.rmtree(folder / "docs")
    [check] = [check for check in deployment(folder, list(ACCESS), NOW) if check.name == "rules: runbooks"]
    assert check.state is State.SKIPPED


# --- the command


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service")) as service:
        yield service.start()


def told(done: subprocess.CompletedProcess[str]) -> tuple[int, dict[str, Check]]:
    checks = msgspec.convert(json.loads(done.stdout)["checks"], list[Check])
    return done.returncode, {check.name: check for check in checks}


def test_the_script_of_the_guide_says_what_the_command_says(service: Service, whole: Path) -> None:
    """The script ends by itself, with counts and an exit code, and asks the service too."""
    script = REPOSITORY / "scripts" / "validate_security_monitoring.sh"
    assert os.access(script, os.X_OK)
    command = [script, str(whole), "--data-dir", str(service.folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **service.surroundings)
    _, checks = told(done)
    assert checks["service: ready"].state == checks["service: audit log"].state == State.OK
    counts = json.loads(done.stdout)["counts"]
    assert sum(counts.values()) == len(checks)
    assert counts["ok"] > 35
    assert done.returncode == (1 if counts["problem"] else 0)


def test_what_is_asked_for_and_does_not_answer_is_a_problem(service: Service, whole: Path) -> None:
    """A Prometheus that is away, with the address to look at."""
    done = service.run("validate", str(whole), "--prometheus", "http://127.0.0.1:1", "--json")
    code, checks = told(done)
    assert (code, checks["prometheus: answers"].state) == (1, State.PROBLEM)
    assert "127.0.0.1:1" in checks["prometheus: answers"].fix


def test_the_checklist_has_the_seven_points_of_the_lab(service: Service, whole: Path) -> None:
    """Each is answered by a look, and the one that only people can answer says so."""
    code, checks = told(service.run("validate", str(whole), "--checklist", "--json"))
    assert list(checks) == [
        "structured logging enabled",
        "metrics endpoint secured",
        "alert rules tested",
        "dashboard reviewed",
        "log retention configured",
        "PII masking enabled",
        "backup alerting channel",
    ]
    assert checks["structured logging enabled"].state == checks["metrics endpoint secured"].state == State.OK
    assert checks["dashboard reviewed"].state == State.SKIPPED
    assert checks["backup alerting channel"].state == State.WARNING
    assert checks["PII masking enabled"].state == State.SKIPPED  # nothing was scanned yet
    assert code == 0


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("", State.SKIPPED),
        ('{"user_id": null}', State.SKIPPED),
        ("7", State.SKIPPED),
        ('{"user_id": "0123456789abcdef"}', State.OK),
        ('{"user_id": "grace.fox"}', State.PROBLEM),
    ],
)
def test_masking_is_called_right_only_where_a_user_was_seen(tmp_path: Path, line: str, state: State) -> None:
    """An empty log proves nothing; a pseudonym does, and a name is a problem."""
    with Service(tmp_path) as service:
        (service.folder / "logs").mkdir(parents=True)
        (service.folder / "logs" / "scan.log").write_text(f"{line}\n" if line else "")
        _, checks = told(service.run("validate", str(tmp_path), "--checklist", "--json"))
    assert checks["PII masking enabled"].state is state


# --- the doctor


def doctor(data: Path, **environment: str) -> dict[str, Check]:
    settings = load_settings(
        {"data_dir": data, "port": free_port()}, {f"SENTINEL_{k}": v for k, v in environment.items()}
    )
    return {check.name: check for check in machine_checks(settings)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_healthy_service_has_no_problem_and_a_block_blocks(service: Service) -> None:
    """Nothing is found on a service that runs, and the canary's block is gone afterwards."""
    code, checks = told(service.run("doctor", "--probe", "--json"))
    assert [check for check in checks.values() if check.state is State.PROBLEM] == []
    assert code == 0
    assert checks["service: canary block"].state is State.OK
    assert "192.0.2.254" not in service.run("blocks", "list").stdout
    assert service.run("doctor", "--ready").returncode == 0


@pytest.fixture
def data(service: Service, tmp_path: Path) -> Path:
    """A data folder at rest, with a whole store."""
    copy = tmp_path / "data"
    copy.mkdir(mode=0o700)
    with (
        closing(sqlite3.connect(service.folder / "sentinel.db")) as one,
        closing(sqlite3.connect(copy / "sentinel.db")) as two,
    ):
        one.backup(two)
        two.execute("PRAGMA journal_mode = wal")
    (copy / "token").write_text("x")
    (copy / "token").chmod(0o600)
    return copy


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 6] = os.urandom(4096 * 5)
    path.write_bytes(content)


def from_the_future(path: Path) -> None:
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("UPDATE audit_trail SET at = ?", ((time.time_ns() // 1000) + 7_200_000_000,))


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def binary(path: Path) -> str:
    path.write_bytes(b"\xff\xfe\x00levels")
    return str(path)


ILLS: dict[str, tuple[str, str, Callable[[Path], dict[str, str] | object]]] = {
    "others may look in": ("data folder", "others may look", lambda d: d.chmod(0o755)),
    "others may read the token": ("data folder: token", "others may read", lambda d: (d / "token").chmod(0o644)),
    "the store is damaged": ("store", "sentinel db restore", lambda d: corrupt(d / "sentinel.db")),
    "the store is no store": ("store", "no whole store", lambda d: (d / "sentinel.db").write_bytes(b"nothing" * 999)),
    "the clock was ahead": ("clock: against the store", "2.0 h", lambda d: from_the_future(d / "sentinel.db")),
    "everybody is a proxy": ("trusted_proxies", "0.0.0.0/0", lambda d: {"TRUSTED_PROXIES": "0.0.0.0/0"}),
    "everybody is allowed": ("allow_list", "::/0", lambda d: {"ALLOW_LIST": "::/0"}),
    "open without TLS": ("listening", "in the clear", lambda d: {"HOST": "0.0.0.0"}),
    "the certificate is missing": (
        "tls: certificate",
        "No such file",
        lambda d: {"TLS_CERTIFICATE": str(d / "none.pem")},
    ),
    "the certificate is over": ("tls: certificate", "expired", lambda d: tls(d, -1)),
    "the certificate ends soon": ("tls: certificate", "19 days", lambda d: tls(d, 20)),
    "others may read the key": ("tls: key", "chmod", lambda d: tls(d, 300, mode=0o644)),
    "the authority is missing": (
        "tls: authorities",
        "ca.pem",
        lambda d: tls(d, 300) | {"TLS_CLIENT_CA": str(d / "ca.pem")},
    ),
    "the policy does not load": ("policy", "p.yml", lambda d: {"POLICY_FILE": write(d / "p.yml", "rules: 7")}),
    "a rule is refused": ("rules", "refused", lambda d: {"RULES_DIR": str(rule(d))}),
    "the plan does not load": ("escalation", "levels", lambda d: {"ESCALATION_FILE": write(d / "e.yml", "levels: []")}),
    "the plan is no text": ("escalation", "as a text", lambda d: {"ESCALATION_FILE": binary(d / "e.yml")}),
    "the baselines' file does not load": (
        "baselines",
        "b.yml",
        lambda d: {"BASELINES_FILE": write(d / "b.yml", "metrics: 7")},
    ),
    **{
        f"a file for Alertmanager is missing, {kind}": (
            f"alertmanager_{kind}_file",
            "missing",
            lambda d, kind=kind: {f"ALERTMANAGER_{kind.upper()}_FILE": str(d / "none")},
        )
        for kind in ("token", "ca", "cert", "key")
    },
    "the webhook's secret is missing": (
        "webhook_secret_file",
        "missing",
        lambda d: {"WEBHOOK_SECRET_FILE": str(d / "none")},
    ),
}


def tls(folder: Path, days: int, mode: int = 0o600) -> dict[str, str]:
    """Return the settings for a certificate that ends in so many days."""
    now = datetime.now(UTC)
    pair = issue(make_ca("x", now - timedelta(days=400)), "x", ["x"], now - timedelta(days=300), 300 + days)
    put(folder, "x", pair)
    (folder / "x.key").chmod(mode)
    if mode != 0o600:  # in a folder that is closed nobody else gets to it
        (folder / "keys").mkdir(mode=0o755)
        (folder / "x.key").rename(folder / "keys" / "x.key")
        return {"TLS_CERTIFICATE": str(folder / "x.pem"), "TLS_KEY": str(folder / "keys" / "x.key")}
    return {"TLS_CERTIFICATE": str(folder / "x.pem"), "TLS_KEY": str(folder / "x.key")}


def rule(folder: Path) -> Path:
    (folder / "rules").mkdir()
    write(
        folder / "rules" / "broken.yml",
        "title: x\nname: x\nlogsource: {product: sentinel}\ndetection: {condition: y}\n",
    )
    return folder / "rules"


def test_a_data_folder_at_rest_has_no_problem(data: Path) -> None:
    """Before anything is planted there is nothing to find, apart from what this machine is like."""
    found = {name for name, check in doctor(data).items() if check.state is State.PROBLEM}
    assert found <= {"disk"}


@pytest.mark.parametrize("ill", ILLS, ids=[name.replace(" ", "-") for name in ILLS])
def test_each_ill_is_named_with_its_cure(data: Path, ill: str) -> None:
    """One thing is wrong with folder, store, clock, settings or their files, and only that is named."""
    name, word, plant = ILLS[ill]
    planted = plant(data)
    checks = doctor(data, **(planted if isinstance(planted, dict) else {}))
    assert checks[name].state in {State.PROBLEM, State.WARNING}
    assert word in f"{checks[name].says} {checks[name].fix}"
    assert checks[name].fix
    others = {one for one, check in checks.items() if check.state is State.PROBLEM and one not in {name, "disk"}}
    assert others == set()


def test_without_the_server_extra_a_certificate_is_not_looked_at(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor says what it could not look at, and does not die of it."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.delitem(sys.modules, "sentinel.certificates")
    check = doctor(data, **tls(data, 300))["tls: certificate"]
    assert (check.state, "server extra" in check.says) == (State.SKIPPED, True)


def test_a_port_that_is_taken_is_told(data: Path) -> None:
    """The most frequent reason why a start fails."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = load_settings({"data_dir": data, "port": listener.getsockname()[1]}, {})
        checks = {check.name: check for check in machine_checks(settings)}
    assert (checks["port"].state, "Address already in use" in checks["port"].says) == (State.PROBLEM, True)


@pytest.mark.parametrize(
    ("depth", "state", "says"),
    [
        ("fast", State.OK, "scan_depth is fast"),
        ("auto", State.OK, "its files are those it describes"),
        ("changed", State.PROBLEM, "encoder.onnx"),
        ("none", State.OK, "there is no encoder"),
        ("none, full", State.PROBLEM, "pip install"),
    ],
)
def test_the_doctor_knows_whether_there_is_a_second_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: str, state: State, says: str
) -> None:
    """An encoder whose files were changed is found before a service starts with it."""
    encoder = None if "none" in depth else Encoder.read(write_encoder(tmp_path))
    if depth == "changed":
        (tmp_path / "encoder.onnx").write_bytes(b"")
    monkeypatch.setattr(Encoder, "installed", classmethod(lambda cls: encoder))
    setting = {"fast": "fast", "none, full": "full"}.get(depth, "auto")
    check = doctor(tmp_path / "data", SCAN_DEPTH=setting)["second look"]
    assert (check.state, says in check.says) == (state, True), check


def test_settings_that_can_not_be_read_are_told_and_nothing_else(tmp_path: Path) -> None:
    """The doctor must not die of what it is called for."""
    with Service(tmp_path) as service:
        service.settings = {"SENTINEL_LATENESS": "soon"}
        code, checks = told(service.run("doctor", "--json"))
    assert (code, list(checks)) == (1, ["settings"])
    assert "SENTINEL_LATENESS" in checks["settings"].says


def test_a_bundle_names_nobody(service: Service, tmp_path: Path) -> None:
    """What is given to others has no address, name, token or host in it, and an earlier one is not overwritten."""
    service.run("blocks", "add", "203.0.113.77", "--reason", "grace.fox did it")
    service.run("blocks", "add", "grace.fox", "--type", "user_suspend", "--reason", "x")
    eventually(lambda: "203.0.113.77" in service.run("blocks", "list").stdout, seconds=20, what="it is in force")
    bundle = tmp_path / "bundle.tar.gz"
    service.settings = {
        "SENTINEL_PROTECTED_USERS": "ceo.smith",
        "SENTINEL_ALLOW_LIST": "198.51.100.0/24",
        "SENTINEL_ALERTMANAGER_URLS": "https://alerts.corp.example:9093",
        "SENTINEL_KNOWN_SERVICES": "payroll",
        "SENTINEL_ESCALATION_FILE": "/etc/grace.hopper/plan.yml",
        "SENTINEL_POLICY_FILE": "ada-lovelace/policy.yml",
    }
    assert service.run("doctor", "--bundle", str(bundle), "--json").returncode == 1  # there is no such plan
    assert service.run("doctor", "--bundle", str(bundle), "--json").returncode == 2
    service.settings = {}
    assert bundle.stat().st_mode & 0o077 == 0
    with tarfile.open(bundle) as archive:
        parts = {member.name: archive.extractfile(member).read().decode() for member in archive}  # type: ignore[union-attr]
    assert {Path(name).name for name in parts} == {
        "checks.json",
        "settings.json",
        "versions.json",
        "log.json",
        "folder.json",
    }
    text = "".join(parts.values())
    for secret in (
        "203.0.113.77",
        "198.51.100",
        "grace.fox",
        "ceo.smith",
        "corp.example",
        "payroll",
        "grace.hopper",
        "lovelace",
        str(service.folder),
        "sntl_",
        (service.folder / "token").read_text(),
    ):
        assert secret not in text
    assert "Security monitoring services initialized" in text
    shown = json.loads(parts["sentinel-doctor/settings.json"])
    wanted = {
        "port": 8000,
        "known_services": "1 of them",
        "host": "set",
        "escalation_file": "set",
        "baselines_file": None,
    }
    assert {name: shown[name] for name in wanted} == wanted
