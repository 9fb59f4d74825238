# ruff: noqa: INP001 - an example is a script, not a package
"""
A small web application that Sentinel protects.

    export SENTINEL_URL=http://127.0.0.1:8000 SENTINEL_TOKEN_FILE=./enforcer.token
    uvicorn --app-dir examples --port 8080 demo_app:app

Block an address at the service, and within a moment this application answers it with 403.
"""

from starlette.applications import Starlette
from starlette.config import Config
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sentinel.enforcement import SentinelMiddleware

config = Config()


async def hello(request: Request) -> PlainTextResponse:
    """Greet whoever may pass."""
    return PlainTextResponse(f"Hello {request.client.host if request.client else 'neighbour'}\n")


app = Starlette(
    routes=[Route("/", hello)],
    middleware=[
        Middleware(
            SentinelMiddleware,
            url=config("SENTINEL_URL", default="http://127.0.0.1:8000"),
            token_file=config("SENTINEL_TOKEN_FILE"),
            snapshot_path=config("SENTINEL_SNAPSHOT", default=None),
        )
    ],
)
