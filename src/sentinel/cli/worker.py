"""`sentinel worker`: one of several nodes that judges, or stands by to, and takes no requests."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from sentinel.cli._service import DataDir, server_extra
from sentinel.cli.serve import listen, tell_refused
from sentinel.detection import RuleSet
from sentinel.errors import ConfigError
from sentinel.settings import Settings, load_settings

__all__ = ["worker"]

_METRICS_PORT = 9091


def worker(
    data_dir: DataDir = None,
    rules: Annotated[
        list[str] | None, typer.Option("--rules", help="Folder with Sigma rules, or `default`; may be repeated.")
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Port of the metrics; 0 takes a free one.", show_default=str(_METRICS_PORT)),
    ] = None,
) -> None:
    """
    Judge the events that several nodes take into one PostgreSQL, or stand by until the node that judges ends.

    Example: SENTINEL_DATABASE_URL=postgresql://sentinel@db/sentinel sentinel worker --data-dir /var/lib/sentinel
    """
    settings = load_settings({"data_dir": data_dir, "rules_dir": rules, "metrics_port": metrics_port})
    if settings.database_url is None:
        raise ConfigError("is missing: a worker judges what other nodes take, into PostgreSQL", where="database_url")
    if settings.judge == "no":
        raise ConfigError("is `no`: then a worker would do nothing", where="judge")
    with server_extra():
        import uvloop  # noqa: PLC0415 - the server extra

        from sentinel.cli._running import run_service  # noqa: PLC0415
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        port = _METRICS_PORT if settings.metrics_port is None else settings.metrics_port
        metrics = listen(settings.metrics_host, port, "--metrics-port")
        runner.run(run_service(settings, None, metrics, _greet))


def _greet(_settings: Settings, rules: RuleSet, url: str) -> None:
    tell_refused(rules)
    sys.stderr.write(
        f"A worker runs; its metrics are on {url}/metrics, and whether it is ready on /readyz.\nCtrl-C stops it.\n"
    )
    sys.stderr.flush()
