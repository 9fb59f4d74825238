"""
The description of the API: FastAPI's own of its parameters and bodies, ours of the hot routes and of every answer.

What JSON Schema can't say has formats of ours: `ip-network` (an address, or a network such as 203.0.113.0/24) and
`target-of-ip_block` and so on (what that kind of action may be aimed at).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sentinel.model import EventType
from sentinel.server import answers, examples
from sentinel.server.authorize import ACCESS
from sentinel.server.scans import ScanRequest

__all__ = ["describe"]

_S = "/api/v1/security"
_REF = "#/components/schemas/{name}"
_PROBLEM = {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}}
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
_JSON, _NDJSON, _TEXT = "application/json", "application/x-ndjson", "text/plain"


class _Route(NamedTuple):
    """What FastAPI does not know of a route."""

    summary: str
    answer: Any = None
    """The shape of the JSON; None for an answer that is none."""
    status: str = "200"


ROUTES: dict[tuple[str, str], _Route] = {
    ("GET", "/readyz"): _Route("Are events taken and judged?", answers.Ready),
    ("GET", f"{_S}/health"): _Route("How each component is", answers.Health),
    ("GET", "/metrics"): _Route("Metrics for Prometheus"),
    ("GET", f"{_S}/metrics"): _Route("Metrics for Prometheus"),
    ("POST", "/api/v1/scan"): _Route("Judge one text or many", answers.Judged),
    ("POST", f"{_S}/events"): _Route("Take events; 202 means that they are durable", answers.Receipt, "202"),
    ("POST", f"{_S}/alerts/webhook"): _Route(
        "Take alerts of Alertmanager (version 4) or a generic one", answers.WebhookTaken
    ),
    ("GET", f"{_S}/summary"): _Route("The last hour in figures", answers.Summary),
    ("GET", f"{_S}/events"): _Route("List events", answers.Events),
    ("GET", f"{_S}/signals"): _Route("List signals", answers.Signals),
    ("GET", f"{_S}/incidents"): _Route("List incidents", answers.Incidents),
    ("GET", f"{_S}/incidents/{{incident_id}}"): _Route(
        "One incident with all that belongs to it", answers.IncidentPage
    ),
    ("POST", f"{_S}/incidents/{{incident_id}}/{{word}}"): _Route(
        "Acknowledge or close an incident, or note something", answers.Done
    ),
    ("GET", f"{_S}/exports/incidents/{{incident_id}}"): _Route(
        "An incident for other programs: with all that belongs to it, or as OCSF's Incident Finding", dict[str, Any]
    ),
    ("GET", f"{_S}/anomalies"): _Route("List anomalies", answers.Anomalies),
    ("GET", f"{_S}/baselines"): _Route("List how sensitive each metric is", answers.BaselineLimits),
    ("PUT", f"{_S}/baselines"): _Route("Make a metric more or less sensitive", answers.LimitsSet),
    ("GET", f"{_S}/baselines/{{entity}}"): _Route("What is usual for a user or a service", answers.Baseline),
    ("GET", f"{_S}/violations"): _Route("List what was violated", answers.Violations),
    ("POST", f"{_S}/violations/{{violation_id}}/resolve"): _Route("Say that a violation is dealt with", answers.Done),
    ("GET", f"{_S}/dead-letters"): _Route("List events that could not be judged", answers.DeadLetters),
    ("POST", f"{_S}/dead-letters/replay"): _Route("Have them judged again", answers.Done),
    ("POST", f"{_S}/feedback"): _Route("Say whether Sentinel was right", answers.FeedbackTaken),
    ("GET", f"{_S}/thresholds"): _Route("List the thresholds of rules that count", answers.Thresholds),
    ("PUT", f"{_S}/thresholds"): _Route("Put another number into a rule", answers.ThresholdSet),
    ("GET", f"{_S}/explain/{{thing}}"): _Route("Why something was done, and why not", answers.Explained),
    ("GET", f"{_S}/evidence/{{action_id}}"): _Route("What a quarantine rests on", answers.EvidenceShown),
    ("GET", f"{_S}/rules"): _Route("List the detection rules in force", answers.Rules),
    ("POST", f"{_S}/rules/reload"): _Route("Read the rule files now", answers.Done),
    ("GET", f"{_S}/active-blocks"): _Route("What is in force", answers.ActiveBlocks),
    ("GET", f"{_S}/actions"): _Route("What is in force and what has ended", answers.Actions),
    ("GET", f"{_S}/check-ip/{{ip}}"): _Route("Is an address blocked?", answers.CheckedIp),
    ("GET", f"{_S}/check-user/{{user_id}}"): _Route("Is a user suspended or locked out?", answers.CheckedUser),
    ("GET", f"{_S}/decisions"): _Route("For enforcement points: what changed", answers.Decisions),
    ("GET", f"{_S}/authorize"): _Route("May this request go on? For nginx auth_request and the like", status="204"),
    ("GET", "/v1/decisions"): _Route(
        "Decisions about one address, in the shape of CrowdSec's local API", list[answers.CrowdSecDecision] | None
    ),
    ("GET", "/v1/decisions/stream"): _Route(
        "What is new and what has ended since this token asked last", answers.CrowdSecStream
    ),
    ("POST", f"{_S}/manual-action"): _Route("Put an action in force", answers.Ordered),
    ("DELETE", f"{_S}/action/{{action_type}}/{{target}}"): _Route("End what is in force on a target", answers.Done),
    ("GET", f"{_S}/audit"): _Route("Who did what", answers.AuditLog),
    ("GET", f"{_S}/audit/verify"): _Route("Compare the audit log with its anchor", answers.Report),
    ("POST", f"{_S}/prune"): _Route("Delete what is older than the settings say", answers.Pruned),
    ("GET", f"{_S}/tokens"): _Route("List tokens, without their secrets", answers.Tokens),
    ("POST", f"{_S}/tokens"): _Route("Make a token", answers.Created, "201"),
    ("DELETE", f"{_S}/tokens/{{token_id}}"): _Route("End a token", answers.Done),
    ("POST", f"{_S}/imports"): _Route("Begin an import", answers.Import, "201"),
    ("POST", f"{_S}/imports/{{import_id}}/events"): _Route("Send a part of it, as NDJSON", answers.Receipt, "202"),
    ("POST", f"{_S}/imports/{{import_id}}/finish"): _Route("Wait until it is judged", answers.ImportResult),
}

_ADDRESS = {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]}
_ID = {"type": ["string", "null"], "maxLength": 256}
_EVENT = {
    "type": "object",
    "required": ["event_type", "severity", "timestamp"],
    "properties": {
        "event_id": {"type": ["string", "null"], "pattern": "^[ -~]{1,128}$"},
        "event_type": {"enum": [kind.value for kind in EventType if kind is not EventType.ANOMALY]},
        "severity": {"enum": ["low", "medium", "high", "critical"]},
        "timestamp": {
            "type": "string",
            "format": "date-time",
            "description": "With a zone, and at most five minutes ahead",
        },
        "details": {"type": ["object", "null"]},
        "ip_address": {"anyOf": [*_ADDRESS["anyOf"], {"type": "null"}]},
        "user_agent": {"type": ["string", "null"]},
        **dict.fromkeys(("user_id", "session_id", "service_name", "correlation_id"), _ID),
    },
}
_AROUND: dict[str, Any] = {
    "history": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"type": "string"}, "content": {"type": ["string", "null"]}},
    },
    "retrieved_documents": {"type": "string"},
    "tool_calls": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}, "result": {"type": "string"}},
    },
}
"""What surrounds a prompt, in the shape that we would write."""
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_ALERT = {
    "type": "object",
    "required": ["status", "labels"],
    "properties": {
        "status": {"enum": ["firing", "resolved"]},
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "startsAt": {"type": "string"},
        "fingerprint": {"type": "string"},
    },
}
_ALERTMANAGER = {
    "type": "object",
    "required": ["version", "alerts"],
    "properties": {"version": {"const": "4"}, "alerts": {"type": "array", "maxItems": 1_000, "items": _ALERT}},
}
_GENERIC_ALERT = {
    "type": "object",
    "required": ["title", "severity"],
    "additionalProperties": False,
    "properties": {name: {"type": "string"} for name in ("title", "severity", "description", "source", "id")},
}
_IMPORT_ORDER = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **{name: {"type": "boolean"} for name in ("act", "replay", "final")},
        "lateness_seconds": {"type": ["number", "null"], "minimum": 0, "maximum": 315_360_000},
    },
}


def describe(api: FastAPI, engines: Callable[[], Iterable[str]]) -> dict[str, Any]:
    """
    Return the OpenAPI document, made once and kept as FastAPI does.

    Args:
        api: The application.
        engines: Asked for the ids of the engines that a scan may name.
    """
    if api.openapi_schema is None:
        document = get_openapi(title=api.title, version=api.version, routes=api.routes)
        for path, methods in _hot_paths().items():
            document["paths"].setdefault(path, {}).update(methods)
        schemas = _add_components(document, engines())
        access = {(method, path.replace(":path}", "}")): roles for (method, path), roles in ACCESS.items()}
        for path, methods in document["paths"].items():
            for verb, operation in methods.items():
                key = (verb.upper(), path)
                operation["summary"] = ROUTES[key].summary
                operation["responses"] = _answers(key, schemas.get(key))
                _add_examples(key, operation)
                _add_access(operation, access[key])
        api.openapi_schema = document
    return api.openapi_schema


def _add_components(document: dict[str, Any], engines: Iterable[str]) -> dict[tuple[str, str], Any]:
    """Put the named schemas into the document; returns the schema of each route's answer."""
    shaped = {key: route.answer for key, route in ROUTES.items() if route.answer is not None}
    wanted = [ScanRequest, answers.Unjudged, *shaped.values()]
    (scan, unjudged, *shapes), found = msgspec.json.schema_components(wanted, ref_template=_REF)
    schemas = dict(zip(shaped, shapes, strict=True))
    verdict = schemas["POST", "/api/v1/scan"]
    each = {"type": "array", "items": {"anyOf": [verdict, unjudged]}}
    several = {"type": "object", "required": ["results"], "properties": {"results": each}}
    schemas["POST", "/api/v1/scan"] = {"anyOf": [verdict, several]}
    _tell_of_scans(found, sorted(engines))
    components = document.setdefault("components", {})
    own = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's refusals; ours are problems
        own.pop(name, None)
    own.update(found | {"Problem": _PROBLEM_SCHEMA, "Event": _EVENT})
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "`sentinel token create` makes one"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    body = document["paths"]["/api/v1/scan"]["post"]["requestBody"]["content"][_JSON]["schema"]
    body["anyOf"] = [scan, _several(scan, "texts")]
    return schemas


def _tell_of_scans(found: dict[str, Any], engines: list[str]) -> None:
    """Say what the types leave open: which engines, what surrounds a prompt, and that a verdict has every field."""
    found["Judged"]["required"] = list(found["Judged"]["properties"])  # those with a default too
    fields = found["ScanRequest"]["properties"]
    fields["engines"]["anyOf"][0].update({"items": {"enum": engines}, "minItems": 1})
    fields["ip_address"] = {"anyOf": [*_ADDRESS["anyOf"], {"type": "null"}], "default": None}
    around = found["_Context"]["properties"]
    for name, shape in _AROUND.items():
        place = around[name].get("anyOf", [around[name]])[0]
        place.update({"items": {"anyOf": [shape, {}]}, "description": "Other shapes that chat APIs use are taken too"})
    around["conversation_history"] = {"type": "null", "description": "Another name for history; give one of them"}


def _answers(key: tuple[str, str], schema: Any) -> dict[str, Any]:
    """Return what is answered, and every refusal in the one shape that all have."""
    route = ROUTES[key]
    told: dict[str, Any] = {"description": route.summary}
    if route.answer is not None:
        told["content"] = {_JSON: {"schema": schema, "example": examples.ANSWERS[key]}}
    if key == ("POST", "/api/v1/scan"):
        told["content"][_NDJSON] = {"schema": {"type": "string"}}
    if key[1].endswith("/metrics"):
        told["content"] = {kind: {"schema": {"type": "string"}} for kind in (_TEXT, "application/openmetrics-text")}
    return {route.status: told} | {
        status: {"description": text, "content": _PROBLEM} for status, text in _REFUSALS.items()
    }


def _add_examples(key: tuple[str, str], operation: dict[str, Any]) -> None:
    if key in examples.BODIES:
        operation["requestBody"]["content"][_JSON]["example"] = examples.BODIES[key]
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            parameter["example"] = examples.PARAMETERS[parameter["name"]]


def _add_access(operation: dict[str, Any], roles: frozenset[Any]) -> None:
    """Say who may."""
    if roles:
        operation.setdefault("security", [{"token": []}])
        names = " or ".join(sorted(role.value for role in roles))
        operation["description"] = f"{operation.get('description', '')}\n\nRole: {names}.".strip()


def _hot_paths() -> dict[str, Any]:
    lines = {_NDJSON: {"schema": {"description": "One such object a line; each is judged by itself"}}}
    event: dict[str, Any] = {"$ref": _REF.format(name="Event")}
    events = {"anyOf": [event, _several(event, "events", least=1)]}
    keys: dict[str, Any] = {"security": [{"apiKey": []}, {"token": []}]}
    told = [_query(name) for name in ("scopes", "origins", "scenarios_containing", "scenarios_not_containing")]
    about = [_query(name, {"format": "ip-network", "type": "string"}) for name in ("ip", "range")]
    about += [_query(name) for name in ("scope", "value", "type")]
    names = ("X-Sentinel-User", "X-Sentinel-Session", "X-Sentinel-Service", "X-Original-URI")
    return {
        "/api/v1/scan": {"post": _taking({_JSON: {"schema": {}}} | lines)},
        f"{_S}/events": {"post": _taking({_JSON: {"schema": events}} | lines)},
        f"{_S}/alerts/webhook": {"post": _taking({_JSON: {"schema": {"anyOf": [_GENERIC_ALERT, _ALERTMANAGER]}}})},
        f"{_S}/imports": {"post": _taking({_JSON: {"schema": _IMPORT_ORDER}})},
        f"{_S}/imports/{{import_id}}/events": {
            "post": _taking(lines)
            | {"parameters": [_parameter("import_id", "path", {"type": "string"}, required=True)]}
        },
        f"{_S}/authorize": {
            "get": {
                "parameters": [
                    _parameter("X-Real-IP", "header", _ADDRESS, required=True),
                    *(_parameter(name, "header", {"type": "string"}) for name in names),
                ]
            }
        },
        "/v1/decisions": {"get": {"parameters": [*about, *told]} | keys},
        "/v1/decisions/stream": {"get": {"parameters": [_query("startup"), *told]} | keys},
    }


def _taking(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


def _several(one: dict[str, Any], what: str, least: int = 0) -> dict[str, Any]:
    told = f"At most 10,000 {what}. Each is judged by itself: one of another shape does not spoil the others."
    return {"type": "array", "description": told, "minItems": least, "items": {"anyOf": [one, {}]}}


def _query(name: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return _parameter(name, "query", schema or {"type": "string"})


def _parameter(name: str, place: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema}
