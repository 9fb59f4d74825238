"""
The nouns that every room shares: frozen values, no behaviour beyond what their fields imply.

Times inside Sentinel are integers: microseconds since 1970-01-01 UTC (`at`, `first`, `last`). They turn into RFC 3339
text with a `Z` only at the edge, by `iso`.
"""

from __future__ import annotations

import enum
import functools
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args

import msgspec

__all__ = [
    "DEFAULT_DEPTH",
    "DEPTHS",
    "IMPORT_ORIGIN",
    "ActionStatus",
    "ActionType",
    "Decision",
    "Depth",
    "EngineResult",
    "Event",
    "EventType",
    "Finding",
    "Incident",
    "IncidentStatus",
    "Micros",
    "Role",
    "ScanAction",
    "ScanResult",
    "ScanThreat",
    "Scope",
    "Severity",
    "Signal",
    "StoredEvent",
    "SubjectType",
    "ThreatType",
    "ToolCall",
    "Turn",
    "iso",
    "micros",
    "micros_of_iso",
]

Micros = int
"""Microseconds since 1970-01-01 UTC."""

IMPORT_ORIGIN = "imp-"
"""How the origin of an import's events begins."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> Micros:
    """Return an aware datetime as microseconds since the epoch."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds  # a division takes twice as long


def micros_of_iso(text: str) -> Micros:
    """Return RFC 3339 text with a zone as microseconds since the epoch; `ValueError` without a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time has no zone; end it with Z or an offset such as +01:00")
    return micros(moment)


def iso(at: Micros) -> str:
    """Return RFC 3339 text in UTC ending in Z, with six decimals only when they are needed."""
    moment = _EPOCH + at * _MICROSECOND
    return moment.isoformat().replace("+00:00", "Z")


class Word(enum.StrEnum):
    """One of a few words. Its hash is that of its text: events are looked up by it, and Python's own for it is slow."""

    __hash__ = str.__hash__


class Severity(str, enum.Enum):  # noqa: UP042 - a StrEnum prints its value; ours prints its name
    """How bad it is. The value (and JSON) is lower case, `str()` is upper case: `HIGH`."""

    __hash__ = str.__hash__  # as in `Word`

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info to 4 for critical."""
        return _SEVERITY_RANK[self]

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)


_SEVERITY_RANK = {severity: rank for rank, severity in enumerate(Severity)}


# --- scanning


class ScanThreat(enum.StrEnum):
    """What a text may be found to carry; `taxonomy` in `scanning` maps each to OWASP and ATLAS ids."""

    INJECTION = "injection"
    JAILBREAK = "jailbreak"
    EXTRACTION = "extraction"
    INDIRECT_INJECTION = "indirect_injection"
    PII = "pii"
    SECRET = "secret"  # noqa: S105 - the name of a threat
    EXFILTRATION = "exfiltration"
    TOOL_ABUSE = "tool_abuse"
    OBFUSCATION = "obfuscation"
    TOXICITY = "toxicity"
    CUSTOM = "custom"


class ScanAction(enum.StrEnum):
    """What the caller should do with the text."""

    ALLOW = "allow"
    FLAG = "flag"
    LOG = "log"
    BLOCK = "block"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One engine's claim about one place in the text."""

    category: str
    """Finer than the threat: `prompt_injection`, `extraction_attempt`, `pii_email`, ..."""
    message: str
    severity: Severity
    confidence: float
    """In [0, 1]."""
    engine: str
    span: tuple[int, int]
    """Start and end in the original text, in characters."""
    rule_id: str
    threat: ScanThreat
    view: str = "original"
    """The view of the text that the engine saw: `original`, `base64`, `leet`, ..."""
    source: str = "prompt"
    """The part of the input: `prompt`, `response`, `document:0`, `tool_call:1.path` (an argument, by its name where
    that is a plain word, else `argument`), `tool_call:1.result`; `tool_call:1` for a chain of calls that ends there;
    `history:0` for a turn that holds a piece of what others complete."""
    owasp: tuple[str, ...] = ()
    """The threat's ids in the OWASP Top 10 for LLM applications, 2025."""
    atlas: tuple[str, ...] = ()
    """The threat's technique ids in MITRE ATLAS."""


class EngineResult(msgspec.Struct, frozen=True):
    """What one engine said about one input; `failed` when it broke or its time was up."""

    engine: str
    findings: tuple[Finding, ...] = ()
    failed: bool = False


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool that a model asked for, and what the tool answered, if it has run."""

    name: str
    arguments: dict[str, Any] = {}
    result: str | None = None


class Turn(msgspec.Struct, frozen=True):
    """One message of a conversation; the role is `user`, `assistant` or another word that the caller uses."""

    role: str
    text: str


Depth = Literal["fast", "auto", "full"]
"""Where a scan takes a second look, with the encoder: nowhere, where one pays, or at every text."""
DEPTHS: tuple[Depth, ...] = get_args(Depth)
DEFAULT_DEPTH: Depth = "auto"


class ScanResult(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The answer to one scan."""

    is_safe: bool
    risk_score: Annotated[float, msgspec.Meta(ge=0, le=1)]
    """Calibrated; 0.5 is the default threshold."""
    threat_type: ScanThreat | None
    """None when safe."""
    triggered_engines: list[str]
    findings: tuple[Finding, ...]
    latency_ms: float
    version: str
    """Of the rules and the model that judged."""
    action: ScanAction
    is_blocked: bool = False
    """Whether the action is `block`."""
    block_reason: str | None = None
    """In words, never with the scanned text; None when not blocked."""
    matched_patterns: tuple[str, ...] = ()
    """The patterns that hold: the category of a custom one, the id of a shipped one."""
    triggered_layers: tuple[str, ...] = ()
    """`patterns`, `semantic`, `context`: the layers that found something, or whose pipeline rule held."""
    failed_engines: tuple[str, ...] = ()
    """Engines that broke or ran out of time; a scan with one is never silently safe."""

    @functools.cached_property
    def engine_seconds(self) -> tuple[tuple[str, float], ...]:
        """
        How long each engine took, in seconds; in no JSON, empty if not scanned here.

        Before them stands `views`: the reading, and the scan's share of what was done for several texts at once.
        """
        return ()


# --- events


class EventType(Word):
    """What kind of fact an event states."""

    AUTHENTICATION = "authentication"
    AUTHORIZATION = "authorization"
    DATA_ACCESS = "data_access"
    TOOL_EXECUTION = "tool_execution"
    WEBSOCKET_CONNECTION = "websocket_connection"
    CROSS_SERVICE_AUTH = "cross_service_auth"
    SECURITY_VIOLATION = "security_violation"
    NETWORK_REQUEST = "network_request"
    RATE_LIMIT = "rate_limit"
    THREAT_DETECTION = "threat_detection"
    SYSTEM_HEALTH = "system_health"
    AUDIT_LOG = "audit_log"
    SCAN = "scan"
    ANOMALY = "anomaly"
    """Ours alone: what `detection.baseline` noticed. Nobody else may send one."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A normalised, immutable fact with time, source and subject."""

    event_id: str
    event_type: EventType
    severity: Severity
    timestamp: datetime
    """Aware, UTC."""
    user_id: str | None = None
    session_id: str | None = None
    service_name: str | None = None
    ip_address: str | None = None
    """In canonical spelling (RFC 5952; `::ffff:1.2.3.4` is `1.2.3.4`)."""
    user_agent: str | None = None
    correlation_id: str | None = None
    details: dict[str, Any] = {}


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event after durable acceptance: what correlation works on."""

    seq: int
    """Order of acceptance, gapless, from 1."""
    at: Micros
    """The event's own time."""
    received_at: Micros
    late: bool
    """Late events are stored and counted, not correlated."""
    event: Event
    max_severity: Severity = Severity.CRITICAL
    """What the token that sent it may reach; caps the severity of signals that rest on it."""
    may_act: bool = False
    """Whether the token that sent it may lead to automatic actions."""
    effects: bool = True
    """False for an import without `--act`: decisions are computed, none takes effect."""
    origin: str = ""
    """Id of the token or of the import that it came by."""

    @property
    def imported(self) -> bool:
        """Whether it comes from a log that an administrator imports: it is all received at once."""
        return self.origin.startswith(IMPORT_ORIGIN)


# --- detection


class ThreatType(enum.StrEnum):
    """What a signal says is going on."""

    BRUTE_FORCE = "brute_force"
    CREDENTIAL_STUFFING = "credential_stuffing"
    DATA_EXFILTRATION = "data_exfiltration"
    PRIVILEGE_ESCALATION = "privilege_escalation"
    ANOMALOUS_ACCESS = "anomalous_access"
    SUSPICIOUS_PATTERNS = "suspicious_patterns"
    RATE_LIMIT_ABUSE = "rate_limit_abuse"
    SESSION_HIJACKING = "session_hijacking"
    INSIDER_THREAT = "insider_threat"
    AUTOMATED_ATTACK = "automated_attack"


class SubjectType(Word):
    """What a signal is about."""

    IP = "ip"
    NETWORK = "network"
    USER = "user"
    SESSION = "session"
    SERVICE = "service"
    TOOL = "tool"
    GLOBAL = "global"


class Signal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    A rule fired for a group in a bucket of time.

    A signal is defined by the set of events alone (architecture, section 4): its id is the hash of the triple
    (rule content hash, group key, bucket), so order, repetition and batching can't change the set of ids.
    """

    id: str
    rule: str
    """The Sigma rule's `id`, else its `name`."""
    rule_hash: str
    title: str
    subject: str
    subject_type: SubjectType
    group: dict[str, str]
    severity: Severity
    threat_type: ThreatType | None
    confidence: float
    bucket: int
    """floor(t / S) of the triggering events."""
    first: Micros
    """Earliest triggering event."""
    last: Micros
    """Latest triggering event."""
    count: int
    """Distinct matching events in the bucket; informative."""
    may_act: bool = False
    """Whether the events that may act would have triggered it alone."""


class IncidentStatus(enum.StrEnum):
    """Where people are with an incident."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Signals about one subject, or several that events join, with no gap longer than G between neighbours."""

    id: str
    subject: str
    subject_type: SubjectType
    severity: Severity
    confidence: float
    first: Micros
    last: Micros
    size: int
    """How many signals."""
    threat_types: tuple[ThreatType, ...]
    status: IncidentStatus = IncidentStatus.OPEN
    assignee: str | None = None
    """Who has taken it on."""


# --- response


class ActionType(enum.StrEnum):
    """What can be done to a subject."""

    IP_BLOCK = "ip_block"
    USER_SUSPEND = "user_suspend"
    RATE_LIMIT = "rate_limit"
    ACCOUNT_LOCKOUT = "account_lockout"
    SERVICE_ISOLATION = "service_isolation"
    THREAT_QUARANTINE = "threat_quarantine"
    ALERT_ESCALATION = "alert_escalation"


class Scope(enum.StrEnum):
    """What kind of thing the target of an action is."""

    IP = "ip"
    USER = "user"
    ENDPOINT = "endpoint"
    SESSION = "session"
    DOCUMENT = "document"
    TOOL = "tool"
    SERVICE = "service"
    INCIDENT = "incident"


class ActionStatus(enum.StrEnum):
    """Where an action stands."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"
    FAILED = "failed"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Do `action` to `target` until `expires`, and why. Only data: the shell carries it out."""

    key: str
    """Hash of (policy rule, action, target, incident bucket): one row and one effective block per key."""
    action: ActionType
    target: str
    """In the one spelling of `response.targets`."""
    reason: str
    severity: Severity
    rule: str
    """The policy rule that decided."""
    signal_id: str
    incident_id: str | None
    at: Micros
    """When the policy decided, in event time."""
    duration_seconds: float | None
    """None = until revoked."""
    effective: bool = True
    """False: computed and kept, not enforced (an import without `--act`, a dry run)."""
    evidence: dict[str, Any] = {}


# --- access


class Role(enum.StrEnum):
    """Who a token speaks for."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    ADMIN = "admin"
    INGEST = "ingest"
    ENFORCER = "enforcer"
    SCRAPER = "scraper"
