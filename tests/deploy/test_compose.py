"""
The compose files and the Dockerfile, read and checked without an engine, and their configuration run as processes.

No engine has run them here: what a container runtime does with them is not tested. What Sentinel, Prometheus and
Alertmanager do with the configuration files that they mount is.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import pytest
import yaml
from tests.support.service import S, Service, eventually

from sentinel.certificates import issue, make_ca
from sentinel.settings import load_settings
from sentinel.tls import Tls

REPOSITORY = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "docker-compose-mtls.yml")
NODES = "docker-compose-nodes.yml"
"""Goes on top of the first of these."""
OURS = {"api", "api-2", "worker-1", "worker-2"}
PROVED = (("ca", "ca.pem"), ("certificate", "prometheus.pem"), ("key", "prometheus.key"))
ASKED = (("prometheus", 9090), ("alertmanager", 9093))

# --- the part of the compose specification that we use: a key that is not in it does not parse


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A mapping in which a misspelt key is an error."""


class Limits(Strict):
    cpus: str
    memory: str


class Resources(Strict):
    limits: Limits


class Deploy(Strict):
    resources: Resources


class Logging(Strict):
    driver: str
    options: dict[str, str]


class Healthcheck(Strict):
    test: list[str]
    interval: str
    timeout: str
    retries: int


class Mounted(Strict):
    source: str
    target: str


class Condition(Strict):
    condition: Literal["service_started", "service_healthy"]


class Attached(Strict):
    aliases: list[str]


class OneService(Strict):
    image: str
    restart: str
    read_only: bool
    cap_drop: list[str]
    security_opt: list[str]
    pids_limit: int
    logging: Logging
    deploy: Deploy
    build: str | None = None
    user: str | None = None
    hostname: str | None = None
    network_mode: str | None = None
    networks: dict[str, Attached] | list[str] = []
    depends_on: dict[str, Condition] = {}
    command: list[str] = []
    working_dir: str | None = None
    environment: dict[str, str] = {}
    ports: list[str] = []
    configs: list[Mounted] = []
    secrets: list[Mounted | str] = []
    volumes: list[str] = []
    tmpfs: list[str] = []
    healthcheck: Healthcheck | None = None
    stop_grace_period: str | None = None


class FromFile(Strict):
    file: str


class Compose(Strict):
    services: dict[str, OneService]
    volumes: dict[str, dict[str, str]]
    configs: dict[str, FromFile]
    secrets: dict[str, FromFile]
    networks: dict[str, dict[str, str]] = {}


def merged(under: Any, over: Any) -> Any:
    """Return what Compose makes of two files, as far as we use it: mappings are joined, ports and secrets added."""
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: merged(under[key], value) if key in under else value for key, value in over.items()}
    return under + over if isinstance(under, list) else over


def read(name: str) -> Compose:
    found = yaml.safe_load((REPOSITORY / name).read_text())
    if name == NODES:
        found = merged(yaml.safe_load((REPOSITORY / FILES[0]).read_text()), found)
    return msgspec.convert({key: value for key, value in found.items() if not key.startswith("x-")}, Compose)


def all_services() -> list[tuple[str, str]]:
    return [(name, service) for name in (*FILES, NODES) for service in read(name).services]


@pytest.mark.parametrize(("name", "service"), all_services())
def test_every_container_is_held_tight(name: str, service: str) -> None:
    """No root file system to write on, no capability, no way to gain one, and a limit on all that it can use up."""
    one = read(name).services[service]
    assert one.read_only
    assert one.cap_drop == ["ALL"]
    assert one.security_opt == ["no-new-privileges:true"]
    assert 0 < one.pids_limit <= 256
    assert float(one.deploy.resources.limits.cpus) <= 2
    assert re.fullmatch(r"\d+[MG]", one.deploy.resources.limits.memory)
    assert {"max-size", "max-file"} <= one.logging.options.keys()
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?", one.image), "pinned to a version"
    for volume in one.volumes:
        source, _, options = volume.partition(":")
        assert source in read(name).volumes or (source.startswith("./config/") and options.endswith(":ro")), volume
    assert ".sock" not in str(msgspec.to_builtins(one))
    for port in one.ports:
        assert port.startswith("127.0.0.1:"), "who wants others to reach it says so himself"


@pytest.mark.parametrize("name", [*FILES, NODES])
def test_all_that_is_named_is_there(name: str) -> None:
    """Files, secrets, volumes, networks and services that one part names exist in another."""
    compose = read(name)
    for one in compose.services.values():
        assert one.depends_on.keys() <= compose.services.keys()
        assert {mounted.source for mounted in one.configs} <= compose.configs.keys()
        secrets = {item if isinstance(item, str) else item.source for item in one.secrets}
        assert secrets <= compose.secrets.keys()
        assert set(one.networks) <= compose.networks.keys()
        assert one.network_mode in {None, "service:pod"}
        for other, condition in one.depends_on.items():
            # Sentinel's health check is in its image.
            waits = condition.condition == "service_healthy"
            assert not waits or other in OURS or compose.services[other].healthcheck is not None
        for volume in one.volumes:
            assert not volume.startswith("./") or (REPOSITORY / volume.partition(":")[0]).is_dir()
    for config in compose.configs.values():
        assert (REPOSITORY / config.file).is_file(), config.file
    for secret in compose.secrets.values():
        assert re.match(r"\./(secrets|certs)/", secret.file), "never in the repository"
    ignored = subprocess.run(
        ["git", "check-ignore", *(secret.file for secret in compose.secrets.values())],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(ignored.stdout.splitlines()) == len(compose.secrets), "a secret could be committed by mistake"


@pytest.mark.parametrize("name", FILES)
def test_the_service_starts_with_what_the_file_sets(name: str) -> None:
    """The environment of our container is a valid configuration, and no secret stands in it."""
    image = dict(re.findall(r"(SENTINEL_\w+)=(\S+)", (REPOSITORY / "Dockerfile").read_text()))
    settings = load_settings({}, image | read(name).services["api"].environment)
    assert settings.host == "0.0.0.0"
    assert (settings.tls_clients == "required") is ("mtls" in name)
    for one in read(name).services.values():
        for key, value in one.environment.items():
            assert not re.search(r"(?i)password|token|secret", key) or value.startswith("/run/secrets/"), key


def test_the_form_with_several_nodes_starts_with_what_it_sets_and_prometheus_asks_each() -> None:
    """Each node has PostgreSQL and a data folder of its own, the workers judge, and every port is a target."""
    image = dict(re.findall(r"(SENTINEL_\w+)=(\S+)", (REPOSITORY / "Dockerfile").read_text()))
    services = read(NODES).services
    ours = {name: one for name, one in services.items() if one.image == services["api"].image}
    assert ours.keys() == OURS
    ports = set()
    for name, one in ours.items():
        settings = load_settings({}, image | one.environment)
        assert (
            settings.database_url
            == "postgresql://sentinel@127.0.0.1:5432/sentinel?passfile=/run/secrets/database.pgpass"
        )
        assert "database.pgpass" in one.secrets
        assert one.depends_on["postgres"].condition == "service_healthy"
        worker = one.command[:1] == ["worker"]
        assert worker is name.startswith("worker")
        assert (settings.judge == "no") is not worker
        ports.add(int(one.command[2]) if worker else settings.port)
        if worker:
            command = [Path(sys.executable).with_name("sentinel"), *one.command, "--help"]
            assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    folders = [volume for one in ours.values() for volume in one.volumes]
    assert len(set(folders)) == len(ours)
    plain, nodes = (
        yaml.safe_load((REPOSITORY / "config" / "prometheus" / f"{name}.yml").read_text())
        for name in ("prometheus", "prometheus-nodes")
    )
    [job], [asked] = plain["scrape_configs"], nodes["scrape_configs"]
    targets = [target for some in asked["static_configs"] for target in some["targets"]]
    assert sorted(targets) == sorted(f"127.0.0.1:{port}" for port in ports)
    assert len(ports) == len(ours)
    assert nodes | {"scrape_configs": [asked | {"static_configs": job["static_configs"]}]} == plain
    published = {port.rpartition(":")[2] for port in services["pod"].ports}
    assert {"8000", "8001"} <= published
    assert services["postgres"].environment["POSTGRES_PASSWORD_FILE"] == "/run/secrets/database.password"


def test_no_service_of_the_mtls_form_speaks_plain_http() -> None:
    """TLS on every hop: no address of another service begins with http:."""
    named = {"docker-compose-mtls.yml", *(config.file for config in read("docker-compose-mtls.yml").configs.values())}
    named |= {"config/grafana/provisioning-mtls/datasources/prometheus.yml"}
    for file in named:
        lines = [line.partition(" #")[0] for line in (REPOSITORY / file).read_text().splitlines()]
        text = "\n".join(line for line in lines if not line.startswith("#") and "runbook" not in line)
        assert "http://" not in text, file


def test_the_image_has_what_it_copies_and_nothing_runs_as_root() -> None:
    """The build's inputs exist and pass the ignore file; user, health check and command are as they should be."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.12\.\d+-slim-bookworm", base) for base in bases)
    passed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source for line in lines if line.startswith("COPY ") and "--from" not in line for source in line.split()[1:-1]
    }
    assert copied == passed
    assert all((REPOSITORY / source).exists() for source in copied)
    last = lines[lines.index(f"FROM {bases[1]}") :]
    assert re.search(r"^USER 10001:10001$", "\n".join(last), re.MULTILINE)
    assert not any(line.startswith(("ADD", "ARG")) for line in lines)
    health = next(line for line in last if line.startswith("HEALTHCHECK"))
    for words in (json.loads(health.partition(" CMD ")[2]), ["sentinel", *json.loads(last[-1].removeprefix("CMD "))]):
        command = [Path(sys.executable).with_name("sentinel"), *words[1:], "--help"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0, words


def test_the_mtls_configurations_say_the_same_as_the_plain_ones() -> None:
    """Jobs, rules, routes and receivers are the same; only how the others are reached differs."""

    def plain(found: Any) -> Any:
        if isinstance(found, dict):
            return {k: plain(v) for k, v in found.items() if k not in {"scheme", "tls_config", "authorization"}}
        if isinstance(found, list):
            return [plain(item) for item in found]
        text = str(found).replace("https://", "http://")
        return re.sub(r"\b(sentinel|alertmanager|prometheus):(\d+)", r"127.0.0.1:\2", text)

    for one, other in (
        ("config/prometheus/prometheus.yml", "config/prometheus/prometheus-mtls.yml"),
        ("config/alertmanager/alertmanager.yml", "config/alertmanager/alertmanager-mtls.yml"),
    ):
        first, second = (yaml.safe_load((REPOSITORY / file).read_text()) for file in (one, other))
        assert plain(first) == plain(second)


# --- the files run, as processes


class Stack:
    """Sentinel, Prometheus and Alertmanager as processes, with the configuration that one compose file mounts."""

    def __init__(self, name: str, home: Path, stack: ExitStack) -> None:
        self.compose = read(name)
        self.home = home
        self.secure = "mtls" in name
        self.scheme = "https" if self.secure else "http"
        self.ports = {port: self._free() for port in (9090, 9093)}
        self._secrets()
        self.verify = (
            Tls(
                ca_file=home / "certs/ca.pem",
                certificate_file=home / "certs/prometheus.pem",
                key_file=home / "certs/prometheus.key",
            )
            .files()
            .context
            if self.secure
            else True
        )
        self.service = stack.enter_context(Service(home / "sentinel"))
        self.service.settings = {
            key: re.sub(r"127\.0\.0\.1:9093|alertmanager:9093", f"127.0.0.1:{self.ports[9093]}", value).replace(
                "/run/secrets/", f"{home}/certs/"
            )
            for key, value in self.compose.services["api"].environment.items()
        }
        self.service.verify = self.verify
        self.service.start()
        self._tokens()
        for program in ("prometheus", "alertmanager"):
            self._run(program, stack)

    def _free(self) -> int:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return int(listener.getsockname()[1])

    def _secrets(self) -> None:
        (self.home / "secrets").mkdir()
        (self.home / "secrets" / "smtp.password").write_text("x")
        if self.secure:
            (self.home / "certs").mkdir()
            now = datetime.now(UTC)
            ca = make_ca("ours", now)
            (self.home / "certs" / "ca.pem").write_bytes(ca.certificate)
            for name in ("sentinel", "prometheus", "alertmanager"):
                pair = issue(ca, name, [name, "localhost", "127.0.0.1"], now)
                (self.home / "certs" / f"{name}.pem").write_bytes(pair.certificate)
                (self.home / "certs" / f"{name}.key").write_bytes(pair.key)

    def _tokens(self) -> None:
        for role in ("scraper", "ingest"):
            answer = self.service.admin().post(f"{self.service.url}{S}/tokens", json={"role": role})
            (self.home / "secrets" / f"{role}.token").write_text(answer.json()["token"])

    def _run(self, name: str, stack: ExitStack) -> None:
        """Start a program as its container would: the same files at the same places below a folder of its own."""
        one = self.compose.services[name]
        root = self.home / name
        root.mkdir()
        mounted = [(self.compose.configs[m.source].file, m.target, REPOSITORY) for m in one.configs]
        mounted += [
            (self.compose.secrets[m.source].file, m.target, self.home) for m in one.secrets if isinstance(m, Mounted)
        ]
        for source, target, base in mounted:
            place = root / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(base / source, place)
            if place.suffix == ".yml" and base is REPOSITORY:
                place.write_text(self._here(place.read_text()).replace(f"/etc/{name}/", f"{root}/etc/{name}/"))
        words = [re.sub(r"=(/\w+)", rf"={root}\1", word) for word in one.command]
        program = shutil.which(name) or shutil.which(f"prometheus-{name}")
        assert program, (
            f"{name} is missing: install it with `apt-get install --no-install-recommends prometheus-{name}`"
        )
        port = self.ports[9090 if name == "prometheus" else 9093]
        log = stack.enter_context((self.home / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            [program, *words, f"--web.listen-address=127.0.0.1:{port}"],
            cwd=f"{root}{one.working_dir or '/'}",
            stdout=log,
            stderr=log,
        )
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)

    def _here(self, text: str) -> str:
        """Put in where things are in this test, and how long it has: nothing else may differ."""
        sentinel = self.service.url.split("://")[1]
        text = text.replace("127.0.0.1:8000", sentinel).replace("sentinel:8000", sentinel)
        for port, here in self.ports.items():
            text = re.sub(rf"(127\.0\.0\.1|alertmanager|prometheus):{port}", f"127.0.0.1:{here}", text)
        return re.sub(r"(scrape_interval|evaluation_interval|group_wait): \d+s", r"\1: 1s", text)

    def get(self, port: int, path: str) -> Any:
        url = f"{self.scheme}://127.0.0.1:{self.ports[port]}{path}"
        return httpx.get(url, verify=self.verify, timeout=30, trust_env=False).raise_for_status().json()

    def tried(self, port: int, path: str) -> Any:
        try:
            return self.get(port, path)
        except httpx.HTTPError:
            return None


@pytest.fixture(scope="module", params=FILES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with ExitStack() as stack:
        yield Stack(request.param, tmp_path_factory.mktemp("stack"), stack)


def test_prometheus_reads_the_service_and_finds_alertmanager(running: Stack) -> None:
    """The scrape succeeds with the token or the certificate of the file, every rule loads, and alerts have a way."""

    def up() -> bool:
        found = running.tried(9090, "/api/v1/query?query=up")
        return bool(found and [row["value"][1] for row in found["data"]["result"]] == ["1"])

    eventually(up, seconds=60, what="up is 1")
    rules = running.get(9090, "/api/v1/rules")["data"]["groups"]
    assert sum(len(group["rules"]) for group in rules) > 30
    managers = running.get(9090, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    assert [manager["url"].split(":")[0] for manager in managers] == [running.scheme]


def test_an_alert_goes_from_alertmanager_into_the_service(running: Stack) -> None:
    """The route's webhook gets through with the file's token, and over TLS with its certificate."""
    eventually(lambda: running.tried(9093, "/api/v2/status"), seconds=60, what="Alertmanager answers")
    labels = {"alertname": "DrillOfTheComposeFile", "severity": "critical", "category": "drill"}
    url = f"{running.scheme}://127.0.0.1:{running.ports[9093]}/api/v2/alerts"
    sent = httpx.post(url, json=[{"labels": labels}], verify=running.verify, timeout=30, trust_env=False)
    assert sent.status_code == 200

    def arrived() -> bool:
        items = running.service.ask(f"{S}/events?limit=100")["items"]
        return any("DrillOfTheComposeFile" in json.dumps(item) for item in items)

    eventually(arrived, seconds=60, what="the alert is an event")


def test_an_incident_goes_from_the_service_straight_to_alertmanager(running: Stack) -> None:
    """A critical incident is pushed, and over TLS with the service's own certificate, not only by Prometheus."""
    order = {
        "action_type": "alert_escalation",
        "target": "drill-of-the-push",
        "reason": "A drill",
        "severity": "critical",
    }
    answer = running.service.admin().post(f"{running.service.url}{S}/manual-action", json=order)
    assert answer.status_code == 200, answer.text

    def pushed() -> bool:
        return "A drill" in json.dumps(running.tried(9093, "/api/v2/alerts"))

    eventually(pushed, seconds=60, what="Alertmanager has the incident")


def test_validate_finds_what_runs_as_it_should_be(running: Stack) -> None:
    """Service, Prometheus, its targets and rules, and Alertmanager, over TLS where they speak it: no problem."""
    known = [f"--{kind}={running.home}/certs/{name}" for kind, name in PROVED] if running.secure else []
    urls = [f"--{name}={running.scheme}://127.0.0.1:{running.ports[port]}" for name, port in ASKED]

    def states() -> dict[str, str]:
        done = running.service.run("validate", str(REPOSITORY), *urls, *known, "--json")
        return {check["name"]: check["state"] for check in json.loads(done.stdout)["checks"]}

    live = ("service: ", "prometheus: ", "alertmanager: ")
    wanted = {"prometheus: answers", "prometheus: scrapes the service", "prometheus: rules", "alertmanager: answers"}

    def well() -> bool:
        found = {name: state for name, state in states().items() if name.startswith(live)}
        return wanted <= found.keys() and set(found.values()) == {"ok"}

    eventually(well, seconds=120, what="everything that runs is found well")


def test_the_health_checks_of_the_file_say_yes(running: Stack) -> None:
    """
    Promtool and amtool, with the arguments of the file, find both healthy.

    Debian's promtool knows no --http.config.file for queries, so over TLS only amtool is run.
    """
    programs = [("alertmanager", 9093)] + ([] if running.secure else [("prometheus", 9090)])
    for name, port in programs:
        check = running.compose.services[name].healthcheck
        assert check is not None
        words = [word.replace(f":{port}", f":{running.ports[port]}") for word in check.test[1:]]
        words = [re.sub(r"=(/\w+)", rf"={running.home / name}\1", word) for word in words]
        program = shutil.which(words[0])
        assert program, f"{words[0]} is missing"
        command = [program, *words[1:]]
        eventually(
            lambda now=command: subprocess.run(now, capture_output=True, timeout=60, check=False).returncode == 0,
            seconds=60,
            what=shlex.join(command),
        )
