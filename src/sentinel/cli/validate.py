"""`sentinel validate`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from sentinel.cli._checks import Check, State, ask_service, bad, good, skipped, tell, warned
from sentinel.cli._service import AsJson, DataDir, server_extra
from sentinel.errors import ConfigError
from sentinel.settings import Settings, load_settings
from sentinel.tls import Tls

__all__ = ["validate"]

_TESTS_SECONDS = 600
_PSEUDONYM = re.compile(r"[0-9a-f]{16}")
_LOG_KEYS = {"timestamp", "level", "event"}


def validate(  # noqa: PLR0917 - typer makes an option of each
    folder: Annotated[Path, typer.Argument(help="Folder with the compose files and `config`.")] = Path(),
    prometheus: Annotated[str | None, typer.Option(help="URL of a Prometheus that runs.")] = None,
    alertmanager: Annotated[str | None, typer.Option(help="URL of an Alertmanager that runs.")] = None,
    grafana: Annotated[str | None, typer.Option(help="URL of a Grafana that runs.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Authority (PEM) by which these are known.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Our certificate (PEM) for them, if they ask.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    checklist: Annotated[bool, typer.Option("--checklist", help="The list to go through before going live.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Check a deployment: files, rules, routes, boards, certificates, and what runs. Exit code 1: there is a problem.

    The service of the data folder is asked if it runs, the others where a URL is given. What can't be checked here is
    called skipped, never right.

    Example: sentinel validate --prometheus http://127.0.0.1:9090
    """
    settings = load_settings({"data_dir": data_dir})
    checks = [*_files(folder), *ask_service(settings)]
    verify: Any = True
    if ca is not None or certificate is not None:
        verify = Tls(ca_file=ca, certificate_file=certificate, key_file=key).files().context
    from sentinel.cli._checks.live import stack_checks  # noqa: PLC0415 - only what is asked for

    checks += stack_checks(prometheus, alertmanager, grafana, verify)
    if checklist:
        checks = list(_checklist(folder, settings, checks))
    tell(checks, as_json=as_json)


def _files(folder: Path) -> list[Check]:
    with server_extra():
        from sentinel.cli._checks.deployment import deployment  # noqa: PLC0415
        from sentinel.server.authorize import ACCESS  # noqa: PLC0415 - the server extra, and slow to import
    if not folder.is_dir():
        raise ConfigError("there is no such folder", where=str(folder))
    return deployment(folder, list(ACCESS), datetime.now(UTC))


# --- the list of the lab


def _checklist(folder: Path, settings: Settings, checks: Iterable[Check]) -> Iterable[Check]:
    by_name = {check.name: check for check in checks}
    yield _logging(settings)
    secured = by_name.get("service: metrics secured") or skipped("", "the service does not run")
    yield msgspec.structs.replace(secured, name="metrics endpoint secured")
    yield _tested(folder)
    boards = [by_name[name] for name in ("grafana: boards", "grafana: panels") if name in by_name]
    worst = next((check for check in boards if check.state is State.PROBLEM), None)
    if worst is not None:
        yield msgspec.structs.replace(worst, name="dashboard reviewed")
    else:
        says = "the boards are whole; whether they show what you need, only you can say"
        yield skipped("dashboard reviewed", says)
    logs, events, audit = settings.log_retention_days, settings.retention_days, settings.audit_retention_days
    yield good("log retention configured", f"logs {logs} days, events {events}, audit log {audit}")
    yield _masked(settings)
    yield _backup_channel(settings)


def _last_lines(path: Path) -> list[dict[str, Any]]:
    """Return the last lines of a JSON log that are whole."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]:
        try:
            one = json.loads(line)
        except ValueError:
            one = {}
        found.append(one if isinstance(one, dict) else {})
    return found


def _logging(settings: Settings) -> Check:
    name, path = "structured logging enabled", settings.data_dir / "logs" / "api.log"
    try:
        lines = _last_lines(path)
    except OSError:
        return skipped(name, f"there is no {path} yet: start the service")
    if lines and all(line.keys() >= _LOG_KEYS for line in lines):
        return good(name, f"{path}: JSON lines with time, level and event")
    return bad(name, f"{path} holds other lines than ours", "let nothing else write there")


def _tested(folder: Path) -> Check:
    """Run the cases of the alert rules where they are: in a checkout, with the programs that it is developed with."""
    name, cases = "alert rules tested", folder / "tests" / "deploy" / "test_alerts.py"
    if not cases.is_file() or not find_spec("pytest") or shutil.which("promtool") is None:
        return skipped(name, "the cases come with a checkout: `make test` runs them by promtool")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases.relative_to(folder))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TESTS_SECONDS, check=False)  # noqa: S603
    told = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
    if done.returncode == 0:
        return good(name, f"promtool and each alert's cases: {told}")
    return bad(name, told, f"pytest {cases}")


def _masked(settings: Settings) -> Check:
    name, path = "PII masking enabled", settings.data_dir / "logs" / "scan.log"
    try:
        users = [str(line["user_id"]) for line in _last_lines(path) if line.get("user_id")]
    except OSError:
        return skipped(name, f"there is no {path} yet: scan something")
    if not users:
        return skipped(name, f"no user stands in the last lines of {path}: scan something with a user_id")
    if not all(map(_PSEUDONYM.fullmatch, users)):
        return bad(name, "users stand in the scan log under their names", "leave masking on")
    return good(name, f"the last {len(users)} users in the scan log stand there under pseudonyms")


def _backup_channel(settings: Settings) -> Check:
    from sentinel.notify import ConsoleChannel  # noqa: PLC0415
    from sentinel.planfile import read_plan  # noqa: PLC0415

    name, fix = "backup alerting channel", "backup: file:/etc/sentinel/other.url in the escalation file"
    if settings.escalation_file is None:
        return warned(name, "nobody is told but standard error: there is no escalation file", fix)
    try:
        plan = read_plan(settings.escalation_file)
    except ConfigError as err:
        return bad(name, str(err), "docs/how-to/wake-people.md")
    if isinstance(plan.backup, ConsoleChannel):
        return warned(name, "the backup is standard error, which nobody may read", fix)
    return good(name, "there is one beside the levels' own")
