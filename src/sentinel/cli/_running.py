"""Run the service until a signal ends it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from sentinel.app import Monitor
from sentinel.cli._service import service_file
from sentinel.server import create_app
from sentinel.settings import Settings

__all__ = ["run_service"]

_DRAIN_SECONDS = 5


class _Server(uvicorn.Server):
    """Uvicorn's server, which lets those who wait for news go before it waits for them."""

    monitor: Monitor

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.monitor.board.close()
        await super().shutdown(sockets)


async def run_service(settings: Settings, listener: socket.socket, greet: Callable[[Settings, str], None]) -> None:
    """
    Serve on a listening socket until SIGTERM or SIGINT, then finish what was accepted and return.

    Args:
        settings: Of the monitor.
        listener: Bound and listening.
        greet: Called once with the settings and the URL when requests are answered.
    """
    # Uvicorn raises the signal again after its shutdown; ours must outlive that to close the store.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    monitor = await Monitor.open(settings)
    address = service_file(settings)
    try:
        config = uvicorn.Config(
            create_app(monitor),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            http="httptools",
            ws="none",
            timeout_graceful_shutdown=_DRAIN_SECONDS,
            backlog=2048,
        )
        server = _Server(config)
        server.monitor = monitor
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.005)
        if not serving.done():
            url = _url(listener)
            _publish(address, url)
            greet(settings, url)
        await serving
    finally:
        address.unlink(missing_ok=True)
        await monitor.close()


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what to dial, not what to bind
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"


def _publish(address: Path, url: str) -> None:
    """Write the file that commands look into; a half-written one is never seen."""
    part = address.with_suffix(".part")
    part.write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")
    part.replace(address)
