"""
The shapes of the answers, for the OpenAPI document alone; tests hold every real answer against them.

The routes answer plain values, for speed and because most are values of other rooms already.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from sentinel.audit import Report
from sentinel.detection.rule import Refusal
from sentinel.ingest.events import Rejected
from sentinel.model import (
    ActionStatus,
    ActionType,
    EventType,
    IncidentStatus,
    Role,
    ScanResult,
    Severity,
    SubjectType,
    ThreatType,
)
from sentinel.response.evidence import Bundle
from sentinel.server.gates import CrowdSecDecision
from sentinel.storage.values import TopSource
from sentinel.stream.evidence import EvidenceStatus

__all__ = [
    "Actions",
    "ActiveBlocks",
    "Anomalies",
    "AuditLog",
    "Baseline",
    "BaselineLimits",
    "CheckedIp",
    "CheckedUser",
    "Created",
    "CrowdSecDecision",
    "CrowdSecStream",
    "DeadLetters",
    "Decisions",
    "Done",
    "Events",
    "EvidenceShown",
    "Explained",
    "FeedbackTaken",
    "Health",
    "Import",
    "ImportResult",
    "IncidentPage",
    "Incidents",
    "Judged",
    "LimitsSet",
    "Ordered",
    "Pruned",
    "Ready",
    "Receipt",
    "Report",
    "Rules",
    "Signals",
    "Summary",
    "ThresholdSet",
    "Thresholds",
    "Tokens",
    "Unjudged",
    "Violations",
    "WebhookTaken",
]

Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Cursor = Annotated[str | None, msgspec.Meta(description="Where the next page begins; null on the last one.")]


class Strict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An answer that has these fields and no other."""


class Ready(Strict):
    """The service takes events and judges them."""

    ready: bool
    reason: str | None


class ComponentStatus(msgspec.Struct, kw_only=True):
    """Where one component stands; with a token also what it works on."""

    status: Literal["running", "degraded", "stopped"]


class Components(Strict):
    """Each component by its name."""

    security_metrics_service: ComponentStatus
    security_event_processor: ComponentStatus
    automated_response_service: ComponentStatus
    threat_detection_service: ComponentStatus


class Score(Strict):
    """The health of those who are watched, and what it is judged by."""

    score: Annotated[float, msgspec.Meta(ge=0, le=100)]
    score_normalized: Annotated[float, msgspec.Meta(ge=0, le=100)]
    open_violations_last_hour: dict[str, Count]
    signals_last_hour: dict[str, Count]
    events_last_hour: Count


class Health(msgspec.Struct, kw_only=True):
    """Status words; with a token also figures."""

    overall_status: Literal["healthy", "degraded", "critical", "offline"]
    timestamp: Time
    components: Components
    queue: dict[str, Count] = {}
    rules: dict[str, Count] = {}
    blocks: Count = 0
    health: Score | None = None


class Receipt(Strict):
    """What became of the events."""

    accepted: Count
    duplicates: Count
    late: Count
    rejected: list[Rejected]
    event_ids: list[str]
    """Those that were made for events that came without one."""


class Judged(ScanResult, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer to one scan, and what became of its event."""

    scan_id: str
    event_stored: bool


class Unjudged(Strict):
    """Stands in place of the verdict on a text that can't be judged."""

    line: Count
    error: str


class WebhookTaken(Strict):
    """How many alerts there were, and how many of them were known."""

    status: Literal["received"]
    processed_alerts: Count
    duplicates: Count


class Accesses(Strict):
    """Accesses to data within an hour."""

    total_accesses: Count
    sensitive_accesses: Count
    unique_users: Count


class Summary(msgspec.Struct, kw_only=True):
    """The last hour in figures."""

    timestamp: Time
    violations_last_hour: dict[str, Count]
    data_access_last_hour: Accesses
    active_blocks: Count
    health: Score
    top_sources: list[TopSource] = []
    """For analysts."""


class StoredEvent(Strict):
    """An event as it is kept."""

    event_id: str
    event_type: EventType
    severity: Severity
    timestamp: Time
    received_at: Time
    late: bool
    user_id: str | None = None
    session_id: str | None = None
    service_name: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    correlation_id: str | None = None
    details: dict[str, Any] = {}


class Events(Strict):
    """A page of events, newest first."""

    items: list[StoredEvent]
    next_cursor: Cursor


class SignalShown(Strict):
    """A rule that fired for a group in a bucket of time."""

    id: str
    rule: str
    title: str
    subject: str
    subject_type: SubjectType
    group: dict[str, str]
    severity: Severity
    threat_type: ThreatType | None
    confidence: Share
    bucket: int
    first: Time
    last: Time
    count: Count


class Signals(Strict):
    """A page of signals, the latest first."""

    items: list[SignalShown]
    next_cursor: Cursor


class AnomalyShown(Strict):
    """Something unusual about a user or a service."""

    id: str
    entity: str
    entity_type: Literal["user", "service"]
    metric: str
    type: str
    method: str
    n: Count
    expected: Any
    observed: Any
    score: Share
    severity: Severity
    at: Time
    reason: str


class Anomalies(Strict):
    """A page of anomalies, the latest noticed first."""

    items: list[AnomalyShown]
    next_cursor: Cursor


class Evidence(Strict):
    """An event that an incident rests on, without its details."""

    event_id: str
    at: Time
    event_type: EventType
    user_id: str | None
    session_id: str | None
    ip_address: str | None


class NoteShown(Strict):
    """What somebody did about an incident, and said of it."""

    at: Time
    by: str
    what: str
    note: str


class IncidentCommon(Strict):
    """What an incident says of itself, in a list and alone."""

    id: str
    subject: str
    subject_type: SubjectType
    severity: Severity
    confidence: Share
    first: Time
    last: Time
    threat_types: list[ThreatType]
    status: IncidentStatus
    assignee: str | None
    rank: Annotated[float, msgspec.Meta(ge=0, le=100)]
    size: Count


class IncidentShown(IncidentCommon):
    """Signals about one subject that belong together."""

    signals: list[str]
    actions: list[str]


class Incidents(Strict):
    """A page of incidents, the latest first."""

    items: list[IncidentShown]
    next_cursor: Cursor


class ActionShown(Strict):
    """The one object that stands for an action everywhere."""

    id: str
    seq: Count
    action_type: ActionType
    target: str
    reason: str
    severity: Severity
    status: ActionStatus
    created_at: Time
    expiration: Time | None
    auto: bool
    incident_id: str | None
    evidence: dict[str, Any]
    created_by: str
    simulated: bool
    enforced_by: list[str]


class Happened(Strict):
    """One line of a timeline."""

    at: Time
    what: str
    id: str
    says: str


class IncidentPage(IncidentCommon):
    """One incident with all that belongs to it."""

    signals: list[SignalShown]
    actions: list[ActionShown]
    timeline: list[Happened]
    suggestion: str
    anomalies: list[AnomalyShown]
    evidence: list[Evidence]
    notes: list[NoteShown]


class Limits(Strict):
    """From which scores on a metric's anomalies are told, and how severe they are called."""

    metric: str
    method: str
    type: str
    entity_type: str
    measures: str
    enabled: bool
    report: Share
    medium: Share
    high: Share
    adjusted: bool


class BaselineLimits(Strict):
    """The limits of every metric."""

    items: list[Limits]
    next_cursor: Cursor


class LimitsSet(Strict):
    """The limits as they are now."""

    success: Literal[True]
    limits: Limits


class Expected(Strict):
    """What one metric of an entity is expected to be."""

    metric: str
    method: str
    measures: str
    state: Literal["learning", "ready"]
    n: Count
    expected: Any
    ready_from: Time | None


class Baseline(Strict):
    """What is remembered of a user or a service."""

    entity: str
    entity_type: Literal["user", "service"]
    first: Time
    active_days: Count
    learning: bool
    metrics: list[Expected]


class Done(Strict):
    """It was done."""

    success: Literal[True]
    message: str


class ViolationShown(Strict):
    """What an event says was violated, and what people say of it."""

    id: str
    violation_type: str
    severity: Severity
    user_id: str | None
    session_id: str | None
    table_name: str | None
    attempted_operation: str | None
    violation_details: dict[str, Any]
    ip_address: str | None
    user_agent: str | None
    blocked: bool
    resolved: bool
    resolution_notes: str | None
    created_at: Time
    resolved_at: Time | None
    resolved_by: str | None


class Violations(Strict):
    """A page of violations, newest first."""

    items: list[ViolationShown]
    next_cursor: Cursor


class DeadLetter(Strict):
    """An event that could not be judged; `reason` is null once somebody has asked to judge it again."""

    seq: Count
    reason: str | None
    received_at: Time
    event: dict[str, Any]


class DeadLetters(Strict):
    """A page of dead letters, newest first."""

    items: list[DeadLetter]
    next_cursor: Cursor


class FeedbackTaken(Strict):
    """The verdict was kept; these actions were undone."""

    success: Literal[True]
    undone: list[str]


class Threshold(Strict):
    """The number in one rule that counts."""

    rule: str
    title: str
    counts: str
    bound: str
    value: float
    timespan_seconds: float
    adjusted: bool


class Thresholds(Strict):
    """Every rule that has a threshold."""

    items: list[Threshold]
    next_cursor: Cursor


class ThresholdSet(Strict):
    """The threshold as it is now."""

    success: Literal[True]
    threshold: Threshold


class Explained(msgspec.Struct, kw_only=True):
    """Why, and why not; which fields there are hangs on the kind."""

    kind: Literal["action", "signal", "incident", "event"]


class EvidenceShown(Strict):
    """The evidence of a quarantine, and whether it is what was collected."""

    action_id: str
    sha256: str
    status: EvidenceStatus
    problems: list[str]
    notes: list[str]
    bundle: Bundle | None


class RuleShown(Strict):
    """A detection rule in force."""

    rule: str
    title: str
    blind: str | None
    """Why it can't fire with what arrives; null when it can."""


class Rules(Strict):
    """The detection rules in force, and what is wrong with others."""

    version: str
    refused: list[Refusal]
    warnings: list[str]
    rejected: list[Refusal]
    items: list[RuleShown]
    next_cursor: Cursor


class AddressBlocked(ActionShown):
    """An action on an address."""

    ip_address: str


class UserBlocked(ActionShown):
    """An action on a user."""

    user_id: str


class ActiveBlocks(Strict):
    """What is in force, by kind."""

    ip_blocks: list[AddressBlocked]
    user_suspensions: list[UserBlocked]
    rate_limits: list[ActionShown]
    account_lockouts: list[UserBlocked]
    service_isolations: list[ActionShown]
    quarantines: list[ActionShown]
    escalations: list[ActionShown]


class Actions(Strict):
    """Actions in every state, newest first."""

    items: list[ActionShown]
    next_cursor: Cursor


class CheckedIp(Strict):
    """Whether an address is blocked."""

    ip_address: str
    is_blocked: bool
    block_info: ActionShown | None


class CheckedUser(Strict):
    """Whether a user is suspended or locked out."""

    user_id: str
    is_suspended: bool
    suspension_info: ActionShown | None


class Decisions(Strict):
    """What an enforcement point must apply to be up to date."""

    seq: Count
    complete: bool
    items: list[ActionShown]


class CrowdSecStream(Strict):
    """What is new, and what has ended."""

    new: list[CrowdSecDecision] | None
    deleted: list[CrowdSecDecision] | None


class Ordered(Strict):
    """The action that was ordered, as it is in force."""

    success: Literal[True]
    message: str
    action: ActionShown


class AuditEntry(Strict):
    """Who did what to what, when."""

    seq: Count
    at: Time
    actor: str
    operation: str
    target: str
    details: dict[str, Any]


class AuditLog(Strict):
    """A page of the audit log, newest first."""

    items: list[AuditEntry]
    next_cursor: Cursor


class Pruned(Strict):
    """Rows deleted, by table."""

    deleted: dict[str, Count]


class TokenShown(Strict):
    """A token without its secret."""

    id: str
    name: str
    role: Role
    max_severity: Severity
    may_cause_actions: bool
    created_at: Time
    expires_at: Time | None
    source_cidr: str | None
    revoked_at: Time | None


class Tokens(Strict):
    """Every token."""

    items: list[TokenShown]
    next_cursor: Cursor


class Created(TokenShown):
    """A new token; its text is shown this once."""

    token: str


class Import(Strict):
    """An import that has begun."""

    import_id: str


class DecisionShown(Strict):
    """What an import decided."""

    id: str
    action: ActionType
    scope: str
    value: str
    rule: str | None
    at: Time
    expires: Time | None
    reason: str
    effective: bool


class ImportResult(Strict):
    """What an import created or changed."""

    signals: list[SignalShown]
    dead_letters: Count
    anomalies: list[AnomalyShown]
    decisions: list[DecisionShown]
