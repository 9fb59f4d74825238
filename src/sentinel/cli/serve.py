"""`sentinel serve`."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from sentinel.cli._service import DataDir, server_extra, without
from sentinel.detection import RuleSet
from sentinel.errors import ConfigError
from sentinel.model import Depth
from sentinel.settings import Settings, load_settings

__all__ = ["listen", "serve", "tell_refused"]


def serve(  # noqa: PLR0917 - typer makes an option of each
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="8000")
    ] = None,
    data_dir: DataDir = None,
    rules: Annotated[
        list[str] | None, typer.Option("--rules", help="Folder with Sigma rules, or `default`; may be repeated.")
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="Serve HTTPS with this certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, if it is not in the same file.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Authorities whose clients' certificates are believed (PEM).")
    ] = None,
) -> None:
    """
    Start the service with everything inside one process: API, detection, response, store.

    Flags win over environment variables (SENTINEL_PORT, SENTINEL_DATA_DIR, SENTINEL_ALLOW_LIST, ...), and those over
    the TOML file named by SENTINEL_CONFIG or ./sentinel.toml.

    Example: sentinel serve --port 8000 --data-dir /var/lib/sentinel
    """
    settings = load_settings(
        {
            "host": host,
            "port": port,
            "data_dir": data_dir,
            "rules_dir": rules,
            "tls_certificate": tls_certificate,
            "tls_key": tls_key,
            "tls_client_ca": tls_client_ca,
        }
    )
    with server_extra(), without("rich"):
        import uvloop  # noqa: PLC0415 - the server extra

        from sentinel.cli._running import run_service  # noqa: PLC0415
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        _check_encoder(settings.scan_depth)
        listener = listen(settings.host, settings.port, "--port")
        metrics = None
        if settings.metrics_port is not None:
            if settings.metrics_port == listener.getsockname()[1]:
                raise ConfigError("is the API's port already; choose another", where="metrics_port")
            metrics = listen(settings.metrics_host, settings.metrics_port, "the setting metrics_port")
        runner.run(run_service(settings, listener, metrics, _greet))


def _check_encoder(depth: Depth) -> None:
    """Refuse to start with an encoder that couldn't take a second look when one is due; it is loaded then."""
    if depth == "fast":
        return
    from sentinel.scanning.second_look import encoder_for  # noqa: PLC0415 - slow to import

    if (encoder := encoder_for(depth)) is not None:
        encoder.checked()


def listen(host: str, port: int, chosen_by: str) -> socket.socket:
    """Return a socket that listens; `ConfigError` when it can't be had, naming what chooses another."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as err:
        raise ConfigError(f"{err.strerror}; choose another with {chosen_by}", where=f"{host}:{port}") from err


def tell_refused(rules: RuleSet) -> None:
    """Say which rules can't be used, and why."""
    for refusal in rules.refused:
        sys.stderr.write(f"sentinel: rule refused: {refusal.file}:{refusal.line}: {refusal.reason}\n")


def _greet(settings: Settings, rules: RuleSet, url: str) -> None:
    tell_refused(rules)
    token = settings.token_file
    curl = "curl" if url.startswith("http:") else "curl --cacert ca.pem"  # whichever authority that is
    command = "sentinel" if shutil.which("sentinel") else sys.argv[0]
    sys.stderr.write(
        f"""Sentinel listens on {url}
The admin token lies in {token}

Try:
  {curl} {url}/api/v1/security/health
  {curl} -H "Authorization: Bearer $(cat {token})" {url}/api/v1/security/active-blocks

Next: {command} token create --role ingest    makes a token that may send events and texts to scan
      {command} ingest /var/log/auth.log --format sshd --act
Ctrl-C stops it.
"""
    )
    sys.stderr.flush()
