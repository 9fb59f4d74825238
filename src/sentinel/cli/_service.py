"""How commands reach a monitor: the running service's API, or the same application inside this process."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import httpx
import typer

from sentinel.datafolder import DataFolderBusy, lock, metrics_address, service_address, service_tls
from sentinel.errors import ConfigError
from sentinel.model import Depth
from sentinel.settings import Settings, load_settings

if TYPE_CHECKING:  # slow to import; the monitor is of the server extra
    from rich.console import Console

    from sentinel.app import Monitor

__all__ = [
    "AsDepth",
    "AsJson",
    "DataDir",
    "ask",
    "connect_running",
    "console",
    "fail",
    "on_service",
    "server_extra",
    "without",
]

_S = "/api/v1/security"
_STARTING_SECONDS = 5.0
_PIPE_COLUMNS = 240
T = TypeVar("T")

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", "-d", help="Folder with the store, the token and the logs.", show_default="data"),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
AsDepth = Annotated[
    Depth, typer.Option("--depth", help="Second look by the encoder: at no text, where it pays, at every text.")
]


def fail(message: str, code: int) -> NoReturn:
    """Say what went wrong, and end with an exit code."""
    sys.stderr.write(f"sentinel: {message}\n")
    raise typer.Exit(code)


def console(*, stderr: bool = False) -> Console:
    """Return where people read; into a file or a pipe lines are long rather than cut."""
    from rich.console import Console  # noqa: PLC0415 - what only machines read does without

    target = Console(stderr=stderr)
    return target if target.is_terminal else Console(stderr=stderr, width=_PIPE_COLUMNS)


def on_service(work: Callable[[httpx.AsyncClient, Monitor | None], Awaitable[T]], flags: dict[str, object]) -> T:
    """
    Run `work(client, monitor)` against the monitor of a data folder.

    A service that runs is asked through its API, and `monitor` is None. Without one, the same application is opened
    here, so that every command does the same thing either way.
    """
    settings = load_settings(flags)

    async def session() -> T:
        async with _connect(settings) as (client, monitor):
            return await work(client, monitor)

    try:
        return asyncio.run(session())
    except httpx.TransportError as err:
        fail(f"the service can't be reached ({type(err).__name__}); is it running? Start it with `sentinel serve`", 4)


@contextmanager
def server_extra() -> Iterator[None]:
    """Say how to get what a command needs, in place of Python's own words for a module that is missing."""
    try:
        yield
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"this command needs the server extra ({err.name} is missing): in a checkout, pip install '.[server]'"
        ) from err


@contextmanager
def without(module: str) -> Iterator[None]:
    """
    Let nothing find a module that isn't loaded yet: some libraries load others for what we never ask of them.

    structlog loads rich for colours on a terminal, 5 MB and a tenth of the time to start, and does without where there
    is none.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


@asynccontextmanager
async def connect_running(settings: Settings) -> AsyncIterator[httpx.AsyncClient | None]:
    """Yield a client of the service that runs on the data folder, as its admin; None when none runs."""
    if not settings.data_dir.is_dir():
        yield None
        return
    try:
        lock(settings.data_dir).close()
    except DataFolderBusy as busy:
        async with _client(settings, base_url=await _address(settings, busy), verify=_known(settings)) as client:
            yield client
    else:
        yield None


@asynccontextmanager
async def _connect(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, Monitor | None]]:
    try:
        lock(settings.data_dir).close()
    except DataFolderBusy as busy:
        url = await _address(settings, busy)
        async with _client(settings, base_url=url, verify=_known(settings)) as client:
            yield client, None
        return
    with server_extra(), without("rich"):
        from sentinel.app import Monitor  # noqa: PLC0415 - the server extra, and slow to import
    monitor = await Monitor.open(settings)
    try:
        transport = httpx.ASGITransport(app=_application(monitor))
        async with _client(settings, base_url="http://in-process", transport=transport) as client:
            yield client, monitor
    finally:
        await monitor.close()


def _application(monitor: Monitor) -> Callable[..., Awaitable[None]]:
    """Return the application of a monitor; it is made when first asked, because a whole import does not ask."""

    @cache
    def made() -> Callable[..., Awaitable[None]]:
        from sentinel.server.application import create_app  # noqa: PLC0415 - slow to import, and 15 MB

        return create_app(monitor)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await made()(scope, receive, send)

    return application


def _client(settings: Settings, **options: Any) -> httpx.AsyncClient:
    """Return a client that speaks as the data folder's admin, past any proxy of the environment."""
    token = settings.token_file.read_text(encoding="ascii").strip()
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(10, read=600), trust_env=False, **options)


def _known(settings: Settings) -> ssl.SSLContext | bool:
    """
    Return what knows the service of this data folder by its own certificate, whatever names it holds for.

    Who may write into the data folder could have handed us a token as well, so what it says of the certificate is as
    good as an authority's word. Where clients must have a certificate, we are the service's owner and use its.
    """
    tls = service_tls(settings.data_dir)
    if tls is None:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is what we trust
    context.load_verify_locations(cadata=tls["certificate"])
    if own := tls.get("own_certificate"):
        try:
            context.load_cert_chain(own, tls["own_key"], password="")
        except (OSError, ssl.SSLError):
            raise ConfigError("the service's certificate and key can't be read by this user", where=own) from None
    return context


async def _address(settings: Settings, busy: Exception) -> str:
    """Return where the running service listens; it may be starting just now."""
    for _ in range(round(_STARTING_SECONDS / 0.1)):
        # A worker takes no requests: its metrics' port says so to whoever asks for more than whether it is ready.
        if url := service_address(settings.data_dir) or metrics_address(settings.data_dir):
            return url
        await asyncio.sleep(0.1)
    raise busy


async def ask(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> Any:
    """Return the JSON answer of the monitor; a refusal ends the command with its detail and exit code 1."""
    answer = await client.request(method, _S + path, **options)
    if answer.is_error:
        fail(_detail(answer), 1)
    return answer.json()


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the service answered {answer.status_code}"
