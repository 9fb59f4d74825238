"""
The files of a deployment: compose files, Prometheus, rules, Alertmanager, Grafana, certificates, secrets.

They are read as data. A word in a comment proves nothing, and one file is held against the other: a receiver that a
route names must exist, the path that Alertmanager posts to must be one that the service serves, the datasource that a
panel names must be provisioned.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from sentinel.cli._checks.check import Check, bad, good, skipped, warned
from sentinel.datafolder import OTHERS

__all__ = ["ALERTS", "BOARDS", "deployment"]

COMPOSE = ("docker-compose.yml", "docker-compose-mtls.yml")
OVERLAY = "docker-compose-nodes.yml"
"""Goes on top of the first of them: `docker compose -f ... -f ... up`."""
SEVERITIES = {"low", "medium", "high", "critical"}
BOARDS = {
    "security-overview",
    "authentication-dashboard",
    "threat-detection-dashboard",
    "scanner-dashboard",
    "system-health-dashboard",
}
ALERTS = frozenset(
    [
        "ErrorBudgetBurnFast",
        "ErrorBudgetBurnSlow",
        "HighThreatRate",
        "RiskScoreSpike",
        "HighLatency",
        "PossibleAttack",
        "HighBlockRate",
        "HighScanErrorRate",
        "LowAvailability",
        "BlockCanaryFailed",
        "HighAuthenticationFailureRate",
        "CriticalAuthenticationFailureRate",
        "JWTTokenFailures",
        "AuthorizationViolations",
        "CrossServiceAuthFailures",
        "SecurityViolations",
        "CriticalSecurityViolations",
        "SecurityViolationSpike",
        "ExcessiveDataAccess",
        "SensitiveDataAccessSpike",
        "SlowDataAccess",
        "ToolExecutionSecurityFailures",
        "SandboxViolations",
        "WebSocketAuthFailures",
        "WebSocketConnectionFailures",
        "HighNetworkErrorRate",
        "SSLCertificateExpiring",
        "SSLCertificateExpired",
        "ThreatDetected",
        "HighAnomalyScore",
        "CriticalAnomalyScore",
        "RateLimitViolations",
        "ExcessiveRateLimitViolations",
        "LowSecurityHealthScore",
        "CriticalSecurityHealthScore",
        "SecurityMonitoringDegraded",
        "SecurityMonitoringCritical",
        "NobodyJudges",
        "EventsWaitTooLong",
        "EventsNotJudged",
        "SecurityMonitoringOffline",
        "ExcessiveDatabaseConnections",
        "HighConcurrentSessions",
        "AuditLogCreationRate",
        "AuditLogGap",
    ]
)
"""The alerts that are promised: those of the guide, and six of ours."""

_RETIRED = {"graph", "singlestat", "table-old"}
_TOOL_SECONDS = 60


class _Broken(Exception):
    """A file that can't be read as what it should be; holds the check that says so."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.says)
        self.check = check


def deployment(folder: Path, routes: Iterable[tuple[str, str]], now: datetime) -> list[Check]:
    """
    Return what the files of a deployment say.

    Args:
        folder: The one with the compose files and `config/`.
        routes: Method and path template of what the service serves.
        now: For the certificates' age.
    """
    parts: list[Callable[[], Iterator[Check]]] = [
        *(lambda name=name: _compose(folder, name, _yaml(folder / name)) for name in COMPOSE),
        lambda: _compose(folder, OVERLAY, _overlaid(_yaml(folder / COMPOSE[0]), _yaml(folder / OVERLAY))),
        *(
            lambda name=name: _prometheus(folder / "config/prometheus", name)
            for name in (*_variants("prometheus"), "prometheus-nodes.yml")
        ),
        lambda: _rules(folder),
        *(lambda name=name: _alertmanager(folder, name, routes) for name in _variants("alertmanager")),
        lambda: _grafana(folder / "config/grafana"),
        lambda: _secrets(folder),
        lambda: _certificates(folder, now),
    ]
    return [check for part in parts for check in _all(part)]


def _variants(name: str) -> tuple[str, str]:
    return f"{name}.yml", f"{name}-mtls.yml"


def _all(part: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield a part's checks; a file that can't be read ends the part."""
    try:
        yield from part()
    except _Broken as broken:
        yield broken.check


def _verdict(name: str, faults: Iterable[str], fix: str, fine: str) -> Check:
    """Return one check for many things: good when there is no fault, else all of them."""
    found = sorted(set(faults))
    return bad(name, "; ".join(found), fix) if found else good(name, fine)


# --- reading


def _yaml(path: Path) -> Any:
    """Return what a YAML file holds: a mapping."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise _Broken(
            bad(f"{path.name}", f"{path} can't be read: {err.strerror}", "restore it from the release")
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        mark = getattr(err, "problem_mark", None)
        line = f" near line {mark.line + 1}" if mark else ""
        raise _Broken(bad(f"{path.name}", f"{path} is not YAML{line}", "mend the line; mind the indentation")) from None
    if not isinstance(found, dict):
        raise _Broken(bad(f"{path.name}", f"{path} holds no keys and values", "restore it from the release"))
    return found


def _list(found: Any, key: str) -> list[Any]:
    value = found.get(key) if isinstance(found, Mapping) else None
    return value if isinstance(value, list) else []


def _map(found: Any, key: str) -> Mapping[str, Any]:
    value = found.get(key) if isinstance(found, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _walk(found: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every mapping in a document, at any depth."""
    if isinstance(found, Mapping):
        yield found
        for value in found.values():
            yield from _walk(value)
    elif isinstance(found, list):
        for item in found:
            yield from _walk(item)


def _tool(name: str, says: str, *words: str | Path) -> Check:
    """Return what a program says of a file, where it is installed."""
    program = shutil.which(words[0]) if isinstance(words[0], str) else None
    if program is None:
        return skipped(name, f"{words[0]} is not installed here")
    command = [program, *map(str, words[1:])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False)  # noqa: S603
    if done.returncode == 0:
        return good(name, says)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip() not in {"", "FAILED:"}]
    told = next((line for line in lines if "error" in line.lower() or "FAILED" in line), " ".join(lines[-1:]))
    return bad(name, told[:300], f"run `{' '.join(map(str, words))}` and mend what it names")


# --- compose


def _overlaid(below: Any, above: Any) -> Any:
    """Return one file on top of another, as compose does it: mappings and lists become longer, the rest is replaced."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: _overlaid(below.get(key), value) for key, value in above.items()}}
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *above]
    return above


def _compose(folder: Path, name: str, compose: Mapping[str, Any]) -> Iterator[Check]:
    services = _map(compose, "services")
    yield _verdict(
        f"{name}: services",
        (f"no service {one}" for one in ("api", "prometheus", "alertmanager", "grafana") if one not in services),
        "restore the service from the release",
        f"{len(services)} services",
    )
    yield _verdict(f"{name}: hardening", _soft(services), "restore the lines of x-hardened", "nothing is privileged")
    named = {*_files(compose)}
    yield _verdict(
        f"{name}: files",
        (f"{path} is missing" for path in named if not (folder / path).exists()),
        "restore the file, or correct its path",
        f"{len(named)} files and folders are there",
    )
    sources = {**_map(compose, "configs"), **_map(compose, "secrets")}
    yield _verdict(
        f"{name}: references",
        (
            f"{service} mounts {source}, which nothing defines"
            for service, one in services.items()
            for source in _mounted(one)
            if source not in sources
        ),
        "add it under configs: or secrets:",
        "configs and secrets fit",
    )


def _mounted(service: Any) -> Iterator[str]:
    for item in [*_list(service, "configs"), *_list(service, "secrets")]:
        yield str(item.get("source")) if isinstance(item, Mapping) else str(item)


def _soft(services: Mapping[str, Any]) -> Iterator[str]:
    for name, one in services.items():
        text = json.dumps(one, default=str)
        if not isinstance(one, Mapping):
            yield f"{name} says nothing"
            continue
        if one.get("privileged") or one.get("cap_add") or "unconfined" in text or ".sock" in text:
            yield f"{name} is privileged"
        if one.get("cap_drop") != ["ALL"] or one.get("read_only") is not True:
            yield f"{name} keeps capabilities, or a root file system to write on"
        if not _map(_map(_map(one, "deploy"), "resources"), "limits"):
            yield f"{name} has no limits"
        image = str(one.get("image"))
        if ":" not in image or image.endswith(":latest"):
            yield f"the image of {name} is not pinned"
        for port in _list(one, "ports"):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name} publishes {port} on every address"


def _files(compose: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files and folders of the release that a compose file mounts; secrets are looked at by themselves."""
    for config in _map(compose, "configs").values():
        yield str(_map({"one": config}, "one").get("file"))
    for one in _map(compose, "services").values():
        for volume in _list(one, "volumes"):
            if str(volume).startswith("./"):
                yield str(volume).partition(":")[0]
        if "build" in one:
            yield "Dockerfile"


# --- Prometheus


def _prometheus(folder: Path, name: str) -> Iterator[Check]:
    config = _yaml(folder / name)
    yield _verdict(
        f"{name}: rules",
        (
            f"{rule_file} is missing beside it"
            for rule_file in _list(config, "rule_files")
            if not list(folder.glob(str(rule_file)))
        )
        if "security_rules.yml" in _list(config, "rule_files")
        else ["it does not load security_rules.yml: no alert would ever fire"],
        "rule_files: [security_rules.yml]",
        "security_rules.yml is loaded",
    )
    jobs = [job for job in _list(config, "scrape_configs") if _map({"": job}, "").get("job_name") == "sentinel"]
    yield _verdict(
        f"{name}: scraping", _unscraped(jobs), "restore the job from the release", "the job `sentinel` is right"
    )
    managers = [target for group in _walk(_map(config, "alerting")) for target in _list(group, "targets")]
    yield _verdict(
        f"{name}: alerting",
        [] if managers else ["no Alertmanager is named: nobody would be told"],
        "alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9093']}]}]}",
        f"alerts go to {', '.join(map(str, managers))}",
    )


def _unscraped(jobs: list[Any]) -> Iterator[str]:
    if not jobs:
        yield "no job is called `sentinel`, which the rules ask for"
    for job in jobs:
        if job.get("metrics_path", "/metrics") not in {"/metrics", "/api/v1/security/metrics"}:
            yield f"the service has no {job['metrics_path']}"
        by_token = bool(_map(job, "authorization").get("credentials_file"))
        by_certificate = job.get("scheme") == "https" and bool(_map(job, "tls_config").get("cert_file"))
        if "credentials" in _map(job, "authorization"):
            yield "a token stands in the file itself"
        if not by_token and not by_certificate:
            yield "it scrapes without a token or a certificate, and would get 401"
        if not [target for group in _list(job, "static_configs") for target in _list(group, "targets")]:
            yield "it has no target"


# --- rules


def _rules(folder: Path) -> Iterator[Check]:
    path = folder / "config/prometheus/security_rules.yml"
    rules = [rule for group in _list(_yaml(path), "groups") for rule in _list(group, "rules")]
    alerts = {str(rule["alert"]): rule for rule in rules if isinstance(rule, Mapping) and "alert" in rule}
    yield _verdict(
        "rules: all alerts",
        (f"{name} is missing" for name in ALERTS - alerts.keys()),
        "restore the alert from the release",
        f"{len(alerts)} alerts, the {len(ALERTS)} promised ones among them",
    )
    yield _verdict(
        "rules: severities",
        (
            f"{name} is {severity!r}"
            for name, rule in alerts.items()
            for severity in [str(_map(rule, "labels").get("severity"))]
            if severity not in SEVERITIES and not severity.startswith("{{")
        ),
        "the words are low, medium, high and critical; routes know no others",
        "every severity is one that routes know",
    )
    yield _runbooks(folder / "docs" / "runbooks", alerts)
    yield _verdict(
        "rules: expressions", _doubtful(alerts), "see the runbook of the alert", "no expression of the known kind"
    )
    yield _tool("rules: promtool", "promtool takes them", "promtool", "check", "rules", path)


def _runbooks(pages: Path, alerts: Mapping[str, Any]) -> Check:
    named = {alert: str(_map(rule, "annotations").get("runbook_url", "")) for alert, rule in alerts.items()}
    without = [alert for alert, url in named.items() if not url]
    if not without and not pages.is_dir():  # an installed release without the documents
        return skipped("rules: runbooks", f"every alert names one; there is no {pages} to look for them in")
    lost = [
        f"{alert} names {url}, which is missing"
        for alert, url in named.items()
        if url and pages.is_dir() and not (pages / url.rsplit("/", 1)[-1].partition("#")[0]).is_file()
    ]
    return _verdict(
        "rules: runbooks",
        [*(f"{alert} has none" for alert in without), *lost],
        "write docs/runbooks/ALERT.md and name it in annotations.runbook_url",
        "every alert leads to a runbook",
    )


def _doubtful(alerts: Mapping[str, Any]) -> Iterator[str]:
    """Yield expressions that can't do what they seem to: the mistakes of earlier versions of these very rules."""
    for name, rule in alerts.items():
        expression = " ".join(str(rule.get("expr")).split())
        if "histogram_quantile(" in expression and "_bucket" not in expression and ":" not in expression:
            yield f"{name}: histogram_quantile needs the rate of _bucket series"
        if re.search(r"\b(user_id|ip_address|session_id)\b", expression):
            yield f"{name}: no metric has such a label"


# --- Alertmanager


def _alertmanager(folder: Path, name: str, routes: Iterable[tuple[str, str]]) -> Iterator[Check]:
    path = folder / "config/alertmanager" / name
    config = _yaml(path)
    receivers = {str(one.get("name")): one for one in _list(config, "receivers") if isinstance(one, Mapping)}
    tree = [route for route in _walk(_map(config, "route")) if "receiver" in route]
    yield _verdict(
        f"{name}: receivers",
        (
            f"a route names {route['receiver']}, which is none"
            for route in tree
            if str(route["receiver"]) not in receivers
        ),
        "define the receiver, or correct the route",
        f"{len(receivers)} receivers, and every route has one",
    )
    matched = " ".join(str(route.get("matchers")) + str(route.get("match")) for route in tree)
    yield _verdict(
        f"{name}: severities",
        (f"no route for {severity}" for severity in SEVERITIES if severity not in matched),
        'add a route with matchers: [severity="..."]',
        "every severity has a route",
    )
    served = {path for method, path in routes if method == "POST"}
    hooks = [str(hook.get("url")) for hook in _walk(config) if "url" in hook]
    yield _verdict(
        f"{name}: webhooks",
        (f"the service has no {urlsplit(url).path}" for url in hooks if urlsplit(url).path not in served)
        if hooks
        else ["no webhook tells the service of alerts"],
        "url: http://127.0.0.1:8000/api/v1/security/alerts/webhook",
        "the webhooks lead to the service",
    )
    yield _verdict(
        f"{name}: access",
        ("a webhook goes without a token" for hook in _walk(config) if "url" in hook and not _credentials(hook)),
        "http_config: {authorization: {credentials_file: ingest.token}}",
        "the webhooks have a token",
    )
    yield _verdict(
        f"{name}: mail", _mail(config), "headers: {Subject: ...}; smtp_auth_password_file: ...", "mail is right"
    )
    yield _amtool(path)


def _credentials(hook: Mapping[str, Any]) -> bool:
    return bool(_map(_map(hook, "http_config"), "authorization").get("credentials_file"))


def _mail(config: Any) -> Iterator[str]:
    for found in _walk(config):
        if "to" in found and "subject" in found:
            yield "`subject` is no field of email_configs"
        if "smtp_auth_password" in found or "auth_password" in found:
            yield "a password stands in the file itself"


def _amtool(path: Path) -> Check:
    return _tool(f"{path.name}: amtool", "amtool takes it", "amtool", "check-config", path)


# --- Grafana


def _grafana(folder: Path) -> Iterator[Check]:
    # Both forms bring the same boards; each has a datasource of its own.
    known = []
    for place in sorted({folder / "provisioning" / "datasources", *folder.glob("provisioning*/datasources")}):
        sources = [
            source
            for path in sorted(place.glob("*.y*ml"))
            for source in _list(_yaml(path), "datasources")
            if isinstance(source, Mapping)
        ]
        found = {str(source.get("uid")) for source in sources if source.get("uid")}
        known.append(found)
        yield _verdict(
            f"grafana: datasource of {place.parent.name}",
            (f"{source.get('name')} has no uid, so no board finds it" for source in sources if not source.get("uid"))
            if sources
            else ["there is none"],
            "uid: prometheus",
            f"datasource {', '.join(sorted(found))}",
        )
    uids = set.intersection(*known)
    boards = {path: _json(path) for path in sorted(folder.rglob("*.json"))}
    yield _verdict(
        "grafana: boards",
        (f"{uid} is missing" for uid in BOARDS - {str(board.get("uid")) for board in boards.values()}),
        "restore the board from the release",
        f"{len(boards)} boards",
    )
    if boards:
        yield _verdict(
            "grafana: panels",
            (fault for path, board in boards.items() for fault in _panels(path.name, board, uids)),
            "restore the board from the release",
            f"{sum(len(list(_all_panels(board))) for board in boards.values())} panels ask a datasource that is there",
        )


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _Broken(bad("grafana: boards", f"{path} is not JSON", "restore the board from the release")) from None
    return found if isinstance(found, Mapping) else {}


def _all_panels(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for panel in _list(board, "panels"):
        if isinstance(panel, Mapping):
            yield from _all_panels(panel)
            if panel.get("type") not in {"row", "text"}:
                yield panel


def _panels(name: str, board: Mapping[str, Any], uids: set[str]) -> Iterator[str]:
    for panel in _all_panels(board):
        title = f"{name}: {panel.get('title')}"
        if panel.get("type") in _RETIRED:
            yield f"{title} is of a retired type"
        if "gridPos" not in panel:
            yield f"{title} has no place"
        asked = [_map(target, "datasource") or _map(panel, "datasource") for target in _list(panel, "targets")]
        for source in asked:
            uid = str(source.get("uid"))
            if uid not in uids and not uid.startswith("$"):
                yield f"{title} asks the datasource {uid}, which is none"
        if not any(str(target.get("expr", "")).strip() for target in _list(panel, "targets")):
            yield f"{title} asks nothing"


# --- secrets and certificates


def _secrets(folder: Path) -> Iterator[Check]:
    if not (folder / "secrets").is_dir():
        yield skipped("secrets", "there is no folder `secrets` yet")
        return
    wanted = {
        Path(path) for name in COMPOSE for path in _secret_files(_yaml(folder / name)) if path.startswith("./secrets")
    }
    yield _verdict("secrets", _unready(folder, wanted), "see docs/how-to/deploy.md", f"{len(wanted)} secrets are there")
    if (folder / "secrets").stat().st_mode & OTHERS:
        yield warned("secrets: access", "others may look into `secrets`", "chmod 700 secrets")


def _unready(folder: Path, wanted: Iterable[Path]) -> Iterator[str]:
    for path in wanted:
        try:
            text = (folder / path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            yield f"{path} can't be read"
            continue
        if not text:
            yield f"{path} is empty"
        role = path.stem if path.suffix == ".token" else None
        if role and text and not text.startswith(f"sntl_{role}_"):
            yield f"{path} holds no {role} token"


def _secret_files(compose: Mapping[str, Any]) -> list[str]:
    return [str(_map({"": one}, "").get("file")) for one in _map(compose, "secrets").values()]


def _certificates(folder: Path, now: datetime) -> Iterator[Check]:
    place = folder / "certs"
    if not place.is_dir():
        yield skipped("certificates", "there is no folder `certs` yet")
        return
    from sentinel.cli.certs import certificate_rows  # noqa: PLC0415 - the server extra

    rows = certificate_rows(place, now)
    wanted = [path for path in _secret_files(_yaml(folder / COMPOSE[1])) if path.startswith("./certs")]
    yield _verdict(
        "certificates: files",
        (f"{path} is missing" for path in wanted if not (folder / path).is_file()),
        "sentinel certs issue NAME",
        f"{len(wanted)} files are there",
    )
    for row in rows:
        name, days = f"certificates: {row['name']}", row["days_left"]
        if row["state"] == "valid":
            yield good(name, f"{days} days left")
        elif row["state"] == "expiring_soon":
            yield warned(name, f"{days} days left", f"sentinel certs rotate {row['name']}")
        else:
            says = row["problem"] or (f"{days} days left" if row["state"] == "critical" else "it has expired")
            yield bad(name, says, f"sentinel certs rotate {row['name']}")
