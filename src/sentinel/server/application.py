"""The application: authorisation around the hot routes and FastAPI's others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from sentinel.app import Monitor
from sentinel.server.authorize import Authorize
from sentinel.server.gates import Gates
from sentinel.server.hot import Hot
from sentinel.server.imports import Imports
from sentinel.server.openapi import describe
from sentinel.server.problems import Problem, Receive, Scope, Send, json_bytes
from sentinel.server.routes import build_routes
from sentinel.server.scans import Scans
from sentinel.server.webhook import Webhook
from sentinel.storage import PATIENCE, StoreUnable

__all__ = ["create_app", "only_metrics"]

_METRICS = frozenset({"/metrics", "/api/v1/security/metrics"})
_READY = frozenset({"/readyz"})

_PATIENCE_SECONDS = 3.0  # a caller can ask again; what is in memory is answered all the same
_INTERNAL = Problem("internal", "something failed inside; the service's log says what")


def create_app(monitor: Monitor) -> Authorize:
    """Return the ASGI application of a running monitor; opening and closing the monitor is the caller's."""
    api = FastAPI(
        title="Sentinel",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    build_routes(api, monitor, Imports(monitor))
    api.openapi = partial(describe, api, lambda: monitor.scanner.engines)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    api.add_exception_handler(Problem, _render)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(Exception, _internal)
    api.add_exception_handler(StoreUnable, _unable)
    hot = Hot(monitor).routes | Scans(monitor).routes | Gates(monitor).routes | Webhook(monitor).routes

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Scope) -> None:
            nonlocal begun
            begun = True
            await send(message)

        PATIENCE.set(_PATIENCE_SECONDS)
        try:
            route = hot.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
            await (route or api)(scope, receive, noted)
        except Problem as problem:
            if problem.status == HTTPStatus.UNAUTHORIZED:  # a signature in place of a token
                app.count(problem.status, scope)
            await problem.send(send)
        except StoreUnable as err:
            await _later(err).send(send)
        except Exception as err:  # noqa: BLE001 - the one place where an unforeseen error becomes an answer
            # No traceback: it could carry what was sent.
            monitor.log.error("request failed", path=scope.get("path"), error=type(err).__name__)  # noqa: TRY400
            if not begun:
                await _INTERNAL.send(send)

    app = Authorize(dispatch, monitor)
    return app


def only_metrics(
    app: Authorize, port: int, *, alone: bool = False
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """
    Return an application that is the same, but on this port of the server has the metrics and nothing else.

    Where that port is `alone`, it says whether the process is ready, too: nobody else would.
    """
    there = _METRICS | _READY if alone else _METRICS

    async def narrowed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["server"][1] == port and scope["path"] not in there:
            await Problem("not_found", "here are only /metrics").send(send)
        else:
            await app(scope, receive, send)

    return narrowed


async def _render(_request: Request, err: Exception) -> Response:
    assert isinstance(err, Problem)
    return Response(json_bytes(err.body), err.status, err.headers, "application/problem+json")


async def _invalid(request: Request, err: Exception) -> Response:
    assert isinstance(err, RequestValidationError)
    first = err.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return await _render(request, Problem("invalid", f"{field}: {first['msg']}"))


async def _internal(request: Request, _err: Exception) -> Response:
    return await _render(request, _INTERNAL)


async def _http(request: Request, err: Exception) -> Response:
    """The table of roles lets no unknown path through, so what the router misses is a value in the path."""
    assert isinstance(err, HTTPException)
    if err.status_code == HTTPStatus.BAD_REQUEST:
        return await _render(request, Problem("malformed", "the body is not JSON that can be read"))
    return await _render(request, Problem("not_found", "there is nothing here"))


async def _unable(request: Request, err: Exception) -> Response:
    return await _render(request, _later(err))


def _later(err: Exception) -> Problem:
    return Problem("no_room", str(err), headers={"Retry-After": "5"})
