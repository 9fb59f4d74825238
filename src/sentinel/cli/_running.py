"""Run the service until a signal ends it."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import uvicorn

from sentinel.app import Monitor
from sentinel.certificates import examine
from sentinel.datafolder import publish_address, withdraw_address
from sentinel.detection import RuleSet
from sentinel.errors import ConfigError
from sentinel.server.application import create_app, only_metrics
from sentinel.server.door import door_of
from sentinel.settings import Settings
from sentinel.tls import TlsFiles

__all__ = ["run_service"]

_DRAIN_SECONDS = 5
_LOOK_SECONDS = 2.0
_YOUNG = 10_000  # objects made, and not freed, before the collector looks at them


class _Server(uvicorn.Server):
    """Uvicorn's server, which says when it answers, and lets those who wait for news go before it waits for them."""

    def __init__(self, config: uvicorn.Config, monitor: Monitor) -> None:
        super().__init__(config)
        self.monitor = monitor
        self.answering = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answering.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.monitor.board.close()
        leaving = asyncio.create_task(self.monitor.leave())  # others judge while the last requests are answered
        await super().shutdown(sockets)
        await leaving


async def run_service(
    settings: Settings,
    listener: socket.socket | None,
    metrics_listener: socket.socket | None,
    greet: Callable[[Settings, RuleSet, str], None],
) -> None:
    """
    Serve on listening sockets until SIGTERM or SIGINT, then finish what was accepted and return.

    Args:
        settings: Of the monitor.
        listener: Bound and listening; None for a node that only judges or stands by, and shows its metrics alone.
        metrics_listener: Likewise, for the metrics alone; None = there is no such port.
        greet: Called once with the settings, the rules and the URL when requests are answered.
    """
    # Uvicorn raises the signal again after its shutdown; ours must outlive that to close the store.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    tls = _tls(settings)
    monitor = await Monitor.open(settings, of_all=listener is not None)
    if listener is not None:
        monitor.log.info("scanner ready", version=monitor.scanner.version)  # before the first request waits for it
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, monitor.rule_files.look)
    following: asyncio.Task[None] | None = None
    try:
        authorized = create_app(monitor)
        app: Any = authorized
        listeners = [] if listener is None else [listener]
        if metrics_listener is not None:
            app = only_metrics(authorized, metrics_listener.getsockname()[1], alone=listener is None)
            listeners.append(metrics_listener)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            http=door_of(authorized),
            proxy_headers=False,  # whom to believe is a setting of ours, and uvicorn would believe every local peer
            ws="none",
            timeout_graceful_shutdown=_DRAIN_SECONDS,
            backlog=2048,
        )
        config.load()
        config.ssl = None if tls is None else tls.context
        server = _Server(config, monitor)
        serving = asyncio.create_task(server.serve(sockets=listeners))
        await asyncio.wait({serving, asyncio.create_task(server.answering.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            scheme = "http" if tls is None else "https"
            url = _url(listener, scheme) if listener else None
            _spare_the_collector()
            metrics_url = _url(metrics_listener, scheme) if metrics_listener else None

            def publish() -> None:
                told = None if tls is None else _told(settings, tls)
                publish_address(settings.data_dir, url, metrics_url=metrics_url, tls=told)
                if tls is not None:  # so that an alert tells of its end, as it does of other services' certificates
                    ends = examine(tls.certificate.encode(), datetime.now(UTC)).not_after
                    monitor.metrics.told.certificates.tell("sentinel", ends.timestamp())

            publish()
            if tls is not None:
                following = asyncio.create_task(_follow(tls, monitor, publish))
            greet(settings, monitor.rules, url or metrics_url or "")
        await serving
    finally:
        withdraw_address(settings.data_dir)
        if following is not None:
            following.cancel()
        await monitor.close()


def _tls(settings: Settings) -> TlsFiles | None:
    if settings.tls_certificate is None:
        return None
    return TlsFiles(
        ssl.PROTOCOL_TLS_SERVER,
        settings.tls_client_ca,
        settings.tls_certificate,
        settings.tls_key,
        required=settings.tls_clients == "required",
    )


def _told(settings: Settings, tls: TlsFiles) -> dict[str, str]:
    """Return what commands on this machine need: the certificate in force and, where they need one too, its files."""
    assert settings.tls_certificate is not None
    told = {"certificate": tls.certificate}
    if settings.tls_clients == "required":
        key = settings.tls_key or settings.tls_certificate
        told |= {"own_certificate": str(settings.tls_certificate.absolute()), "own_key": str(key.absolute())}
    return told


async def _follow(tls: TlsFiles, monitor: Monitor, publish: Callable[[], None]) -> None:
    """Take a renewed certificate; one that can't be used leaves the present one in force, and is told once."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            if tls.look():
                publish()
                monitor.log.info("certificate taken")
        except ConfigError as err:
            told = "the certificate on disk can't be used; the earlier one stays"
            monitor.log.error(told, reason=str(err))  # noqa: TRY400 - the reason says it all
        except OSError as err:  # a full disk: commands can't connect until the next time
            monitor.log.error("the new certificate could not be published", error=type(err).__name__)  # noqa: TRY400


def _spare_the_collector() -> None:
    """
    Look for garbage in cycles less often, and never among the rules and models that are there from the start.

    Nearly everything that we make is freed by counting. By default the collector walks over the events that wait and
    the windows that grow again and again, which takes as long as half of the judging.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what to dial, not what to bind
    return f"{scheme}://[{local}]:{port}" if ":" in local else f"{scheme}://{local}:{port}"
