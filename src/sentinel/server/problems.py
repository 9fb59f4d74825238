"""Every refusal is RFC 9457 `application/problem+json` with a code of ours; this is the one table of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

__all__ = ["Problem", "Receive", "Scope", "Send", "answer", "json_bytes", "respond"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_CODES = {
    "token_in_url": ("SNTL-4001", 400),
    "malformed": ("SNTL-4002", 400),
    "no_token": ("SNTL-4010", 401),
    "wrong_role": ("SNTL-4030", 403),
    "blocked": ("SNTL-4031", 403),
    "not_found": ("SNTL-4040", 404),
    "method": ("SNTL-4050", 405),
    "protected": ("SNTL-4090", 409),
    "too_large": ("SNTL-4130", 413),
    "media_type": ("SNTL-4150", 415),
    "invalid": ("SNTL-4220", 422),
    "overloaded": ("SNTL-4290", 429),
    "internal": ("SNTL-5000", 500),
    "no_room": ("SNTL-5030", 503),
    "not_ready": ("SNTL-5031", 503),
    "elsewhere": ("SNTL-5032", 503),
}


class Problem(Exception):
    """A request that is refused; `kind` is a row of the table above."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code, self.status = _CODES[kind]
        self.headers = dict(headers or {})
        self.body = {
            "type": f"urn:sentinel:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": detail,
            "code": self.code,
            **(members or {}),
        }

    async def send(self, send: Send) -> None:
        """Answer with this problem."""
        await respond(send, self.status, json_bytes(self.body), "application/problem+json", self.headers)


json_bytes = msgspec.json.Encoder().encode


def answer(content: object, status: int = 200) -> Response:
    """Return an answer in JSON, as routes give it."""
    return Response(json_bytes(content), status, media_type="application/json")


async def respond(
    send: Send,
    status: int,
    body: bytes,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> None:
    """Send one whole answer."""
    raw = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    raw += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
