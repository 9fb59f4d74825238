"""The description of the API: FastAPI's own of its routes, ours of the hot ones, and who may call what of both."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sentinel.server.authorize import ACCESS
from sentinel.server.hot import ScanRequest

__all__ = ["describe"]

_S = "/api/v1/security"
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "pattern": "^SNTL-[0-9]{4}$"},
    },
}
_REFUSALS = {
    "400": "The request can't be read",
    "401": "No token, or none that holds",
    "403": "The token's role may not do this",
    "404": "There is nothing here",
    "405": "Another method works here",
    "409": "Not possible with this target",
    "413": "Too large",
    "415": "Another media type is needed",
    "422": "A value makes no sense",
    "429": "Too much at once; Retry-After says when to come back",
    "503": "Not possible just now; Retry-After says when to come back",
}

_EVENT_EXAMPLE = {
    "event_type": "authentication",
    "severity": "low",
    "timestamp": "2026-11-22T12:00:00Z",
    "user_id": "grace.fox",
    "ip_address": "203.0.113.9",
    "details": {"success": False, "failure_reason": "bad_password"},
}
_EVENT = {
    "type": "object",
    "required": ["event_type", "severity", "timestamp"],
    "properties": {
        "event_id": {"type": "string", "minLength": 1, "maxLength": 128},
        "event_type": {"type": "string"},
        "severity": {"type": "string", "enum": ["low", "medium", "high", "critical"]},
        "timestamp": {"type": "string", "format": "date-time"},
        "details": {"type": "object"},
        **{
            name: {"type": ["string", "null"]}
            for name in ("user_id", "session_id", "service_name", "ip_address", "user_agent", "correlation_id")
        },
    },
}
_RECEIPT = {
    "type": "object",
    "required": ["accepted", "duplicates", "late", "rejected"],
    "properties": {
        "accepted": {"type": "integer"},
        "duplicates": {"type": "integer"},
        "late": {"type": "integer"},
        "rejected": {"type": "array", "items": {"type": "object"}},
        "event_ids": {"type": "array", "items": {"type": "string"}},
    },
}


def describe(api: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, made once and kept as FastAPI does."""
    if api.openapi_schema is None:
        document = get_openapi(title=api.title, version=api.version, routes=api.routes)
        for path, methods in _hot_paths().items():
            document["paths"].setdefault(path, {}).update(methods)
        _add_components(document)
        access = {(method, path.replace(":path}", "}")): roles for (method, path), roles in ACCESS.items()}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                _add_access(operation, access[method.upper(), path])
        api.openapi_schema = document
    return api.openapi_schema


def _add_components(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    (scan,), found = msgspec.json.schema_components([ScanRequest], ref_template="#/components/schemas/{name}")
    components.setdefault("schemas", {}).update(found | {"Problem": _PROBLEM_SCHEMA, "Event": _EVENT})
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "`sentinel token create` makes one"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    body = document["paths"]["/api/v1/scan"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    body["oneOf"] = [scan, {"type": "array", "items": scan, "maxItems": 10_000}]


def _add_access(operation: dict[str, Any], roles: frozenset[Any]) -> None:
    """Say who may, and that every refusal has one shape."""
    if roles:
        operation.setdefault("security", [{"token": []}])
        names = " or ".join(sorted(role.value for role in roles))
        operation["description"] = f"{operation.get('description', '')}\n\nRole: {names}.".strip()
    for status, text in _REFUSALS.items():
        operation["responses"][status] = {"description": text, "content": _PROBLEM}


def _hot_paths() -> dict[str, Any]:
    ndjson = {"application/x-ndjson": {"schema": {"type": "string"}}}
    event: dict[str, Any] = {"$ref": "#/components/schemas/Event"}
    events = {"oneOf": [event, {"type": "array", "items": event, "maxItems": 10_000}]}
    return {
        "/api/v1/scan": {
            "post": _operation(
                "Judge one text or many",
                body={"application/json": {"schema": {}, "example": {"prompt": "What's the weather?"}}} | ndjson,
                answers={"200": ("The verdict, or one for each text", {"type": "object"})},
            )
        },
        f"{_S}/events": {
            "post": _operation(
                "Take events; 202 means that they are durable",
                body={"application/json": {"schema": events, "example": _EVENT_EXAMPLE}} | ndjson,
                answers={"202": ("What became of each", _RECEIPT)},
            )
        },
        f"{_S}/alerts/webhook": {
            "post": _operation(
                "Take alerts of Alertmanager (version 4) or a generic one",
                body={"application/json": {"schema": {"type": "object"}, "example": {"title": "x", "severity": "low"}}},
                answers={"200": ("How many there were, how many were known", {"type": "object"})},
            )
        },
        f"{_S}/authorize": {
            "get": _operation(
                "May this request go on? For nginx auth_request and the like",
                parameters=[
                    _header("X-Real-IP", required=True),
                    *map(_header, ("X-Sentinel-User", "X-Sentinel-Session", "X-Sentinel-Service", "X-Original-URI")),
                ],
                answers={"204": ("It may", None)},
            )
        },
        "/v1/decisions": {
            "get": _operation(
                "Decisions about one address, in the shape of CrowdSec's local API",
                parameters=[_query(name) for name in ("ip", "range", "scope", "value", "type", "scopes", "origins")],
                answers={"200": ("A list, or null", {"type": ["array", "null"]})},
            )
            | {"security": [{"apiKey": []}, {"token": []}]}
        },
        "/v1/decisions/stream": {
            "get": _operation(
                "What is new and what has ended since this token asked last",
                parameters=[_query(name) for name in ("startup", "scopes", "origins")],
                answers={"200": ("Two lists, or null", {"type": "object"})},
            )
            | {"security": [{"apiKey": []}, {"token": []}]}
        },
    }


def _operation(
    summary: str,
    *,
    body: dict[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
    answers: dict[str, tuple[str, dict[str, Any] | None]],
) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, (text, schema) in answers.items():
        responses[status] = {"description": text}
        if schema is not None:
            responses[status]["content"] = {"application/json": {"schema": schema}}
    described: dict[str, Any] = {"summary": summary, "responses": responses}
    if body is not None:
        described["requestBody"] = {"required": True, "content": body}
    if parameters:
        described["parameters"] = parameters
    return described


def _header(name: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "schema": {"type": "string"}}


def _query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
