"""`sentinel validate`."""

from __future__ import annotations

import asyncio
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

import httpx
import msgspec
import typer
from rich.table import Table

from sentinel.cli._checks import Check, State, bad, good, skipped, warned
from sentinel.cli._service import DataDir, connect_running, console
from sentinel.errors import ConfigError, SentinelError
from sentinel.settings import Settings, load_settings
from sentinel.tls import Tls

__all__ = ["print_checks", "validate"]

_MARK = {State.OK: "[green]ok[/]", State.WARNING: "[yellow]warning[/]", State.PROBLEM: "[red]problem[/]"}
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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """
    Check a deployment: files, rules, routes, boards, certificates, and what runs. Exit code 1: there is a problem.

    The service of the data folder is asked if it runs, the others where a URL is given. What can't be checked here is
    called skipped, never right.

    Example: sentinel validate --prometheus http://127.0.0.1:9090
    """
    settings = load_settings({"data_dir": data_dir})
    checks = [*_files(folder), *_running(settings)]
    verify: Any = True
    if ca is not None or certificate is not None:
        verify = Tls(ca_file=ca, certificate_file=certificate, key_file=key).files().context
    from sentinel.cli._checks.live import stack_checks  # noqa: PLC0415 - only what is asked for

    checks += stack_checks(prometheus, alertmanager, grafana, verify)
    if checklist:
        checks = list(_checklist(folder, settings, checks))
    _end(checks, as_json=as_json)


def _files(folder: Path) -> list[Check]:
    try:
        from sentinel.cli._checks.deployment import deployment  # noqa: PLC0415
        from sentinel.server.authorize import ACCESS  # noqa: PLC0415 - the server extra, and slow to import
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"`validate` needs the server extra ({err.name} is missing): install sentinel-ai[server]"
        ) from err
    if not folder.is_dir():
        raise ConfigError("there is no such folder", where=str(folder))
    return deployment(folder, list(ACCESS), datetime.now(UTC))


def _running(settings: Settings) -> list[Check]:
    from sentinel.cli._checks.live import service_checks  # noqa: PLC0415

    async def ask() -> list[Check]:
        async with connect_running(settings) as client:
            if client is None:
                return [skipped("service", f"none runs on the data folder {settings.data_dir}")]
            return await service_checks(client)

    try:
        return asyncio.run(ask())
    except (httpx.HTTPError, SentinelError) as err:
        return [bad("service", f"it can't be asked ({type(err).__name__})", "sentinel doctor")]


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
            found.append(json.loads(line))
        except ValueError:
            found.append({})
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
        users = {str(line["user_id"]) for line in _last_lines(path) if line.get("user_id")}
    except OSError:
        return skipped(name, f"there is no {path} yet: scan something")
    plain = [user for user in users if not _PSEUDONYM.fullmatch(user)]
    if plain:
        return bad(name, "users stand in the scan log under their names", "leave masking on")
    return good(name, "the scan log knows users by pseudonyms, and holds no text")


def _backup_channel(settings: Settings) -> Check:
    from sentinel.notify import ConsoleChannel, parse_plan  # noqa: PLC0415

    name, fix = "backup alerting channel", "backup: file:/etc/sentinel/other.url in the escalation file"
    if settings.escalation_file is None:
        return warned(name, "nobody is told but standard error: there is no escalation file", fix)
    try:
        plan = parse_plan(settings.escalation_file.read_text(encoding="utf-8"), str(settings.escalation_file))
    except (OSError, ConfigError) as err:
        return bad(name, str(err), "docs/how-to/wake-people.md")
    if isinstance(plan.backup, ConsoleChannel):
        return warned(name, "the backup is standard error, which nobody may read", fix)
    return good(name, "there is one beside the levels' own")


# --- how it is told


def _end(checks: list[Check], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(counted(checks)))
    else:
        print_checks(checks)
    if any(check.state is State.PROBLEM for check in checks):
        raise typer.Exit(1)


def counted(checks: list[Check]) -> dict[str, Any]:
    """Return the checks as one document, with their counts."""
    counts = {state.value: sum(check.state is state for check in checks) for state in State}
    return {"ok": not counts["problem"], "counts": counts, "checks": msgspec.to_builtins(checks)}


def print_checks(checks: list[Check]) -> None:
    """Print a line for each check, the worst last, and the counts."""
    order = [State.SKIPPED, State.OK, State.WARNING, State.PROBLEM]
    table = Table("check", "", "what was found", "what to do")
    for check in sorted(checks, key=lambda check: order.index(check.state)):
        table.add_row(check.name, _MARK.get(check.state, "[dim]skipped[/]"), check.says, check.fix)
    console().print(table)
    counts = counted(checks)["counts"]
    typer.echo(
        f"{counts['ok']} ok, {counts['warning']} warnings, {counts['problem']} problems, {counts['skipped']} skipped"
    )
