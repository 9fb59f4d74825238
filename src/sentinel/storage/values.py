"""What goes into the store and comes out of it."""

from __future__ import annotations

import enum
import math
from typing import Any, Literal

import msgspec

from sentinel.detection.links import Link
from sentinel.errors import OutsideError
from sentinel.model import (
    ActionStatus,
    ActionType,
    Event,
    Incident,
    IncidentStatus,
    Micros,
    Severity,
    Signal,
    StoredEvent,
    SubjectType,
)

__all__ = [
    "SYSTEM",
    "Accepted",
    "Action",
    "AuditEntry",
    "Evidence",
    "Feedback",
    "Judge",
    "LeaseLost",
    "Note",
    "Outcome",
    "Overtaken",
    "Pending",
    "Resolution",
    "Standing",
    "StoreAway",
    "StoreBusy",
    "StoreFull",
    "StoreLost",
    "StoreUnable",
    "Summary",
    "Suppression",
    "TopSource",
    "Verdict",
    "Violation",
]

SYSTEM = "sentinel"
"""Who did it, when no person did."""


class StoreUnable(OutsideError):
    """Nothing was written, and the same call will work once the reason is gone."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, retryable=True)


class StoreFull(StoreUnable):
    """No room: ENOSPC, EDQUOT or EFBIG."""

    def __init__(self) -> None:
        super().__init__("the store has no room left; free disk space in the data folder")


class StoreBusy(StoreUnable):
    """Another program keeps the database locked, a backup or a shell perhaps."""

    def __init__(self) -> None:
        super().__init__("another program keeps the store's database locked; let it finish")


class StoreAway(StoreUnable):
    """The database's server can't be reached, or has ended the connection."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"PostgreSQL can't be reached ({reason})")


class LeaseLost(StoreUnable):
    """Another node judges now: what this one had still to write as the judge is the other one's to write."""

    def __init__(self) -> None:
        super().__init__("another node judges now")


class Overtaken(StoreUnable):
    """Another node has changed something since what this change rests on was read; read it again."""

    def __init__(self) -> None:
        super().__init__("others change the same at this moment")


class StoreLost(OutsideError):
    """A write or fsync failed: what the disk holds is unknown, so the process must stop and start again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, retryable=False)


class Pending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event on its way to durable acceptance, with the rights of who sent it."""

    event: Event
    at: Micros
    received_at: Micros
    late: bool
    origin: str
    """Id of the token that sent it, or of the import."""
    max_severity: Severity
    may_act: bool
    effects: bool


class Accepted(msgspec.Struct, frozen=True):
    """What one transaction of acceptance did."""

    events: list[StoredEvent]
    """The new ones, in order of acceptance."""
    duplicates: frozenset[int]
    """Positions in what was offered whose event id was there before."""
    conflicts: frozenset[int]
    """Those of the duplicates that had other content; the first one stays."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One row of security_actions: a decision and what became of it."""

    id: str
    key: str
    action_type: ActionType
    target: str
    reason: str
    evidence: dict[str, Any]
    severity: Severity
    status: ActionStatus
    created_at: Micros
    expiration: Micros | None
    auto: bool
    created_by: str
    rule: str | None = None
    signal_id: str | None = None
    incident_id: str | None = None
    decided_at: Micros | None = None
    """In event time, for automatic ones."""
    effective: bool = True
    change_seq: int = 0
    """Gapless over all changes of effective actions; 0 while it never took effect."""
    revoked_at: Micros | None = None
    revoked_by: str | None = None

    def ends(self) -> float:
        """When it ends by itself, in microseconds; infinite when it does not."""
        return math.inf if self.expiration is None else self.expiration


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to what, when."""

    at: Micros
    actor: str
    operation: str
    target: str
    details: dict[str, Any] = {}


class TopSource(msgspec.Struct, frozen=True):
    """An address from which logins fail."""

    ip_address: str
    failures: int
    reasons: list[str]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a time, in figures."""

    violations: dict[str, int]
    """By severity."""
    accesses: int
    """To data."""
    sensitive_accesses: int
    users: int
    """Distinct ones who accessed data."""
    sources: list[TopSource]
    """The ten with the most failed logins."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the health of those who are watched is judged by."""

    open_violations: dict[str, int]
    """Of the last hour, by severity."""
    signals: dict[str, int]
    """Of the last hour, by severity."""
    last_minute: dict[str, int]
    """Violations, resolved ones too, by severity."""


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One row of security_violations: what an event says was violated, and what people say of it."""

    seq: int
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
    created_at: Micros
    resolved_at: Micros | None
    resolved_by: str | None


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's word that a violation is dealt with; the latest one counts."""

    violation_id: str
    notes: str
    at: Micros
    by: str


class Verdict(enum.StrEnum):
    """What a person says of what Sentinel did."""

    FALSE_POSITIVE = "false_positive"
    TRUE_POSITIVE = "true_positive"


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """A person's verdict on an action, an incident or a scan; the latest one on it counts."""

    kind: Literal["action", "incident", "scan"]
    about: str
    """Id of what it is about."""
    verdict: Verdict
    reason: str
    at: Micros
    by: str


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word that a detection rule is wrong about a subject, for a time: it is seen, and nothing is done."""

    rule: str
    subject: str
    subject_type: SubjectType
    until: Micros
    reason: str
    at: Micros
    by: str


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a person did about an incident, and said of it."""

    incident_id: str
    at: Micros
    by: str
    what: str
    """`acknowledged`, `closed`, or `noted`."""
    note: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a quarantine rests on, as it was collected (`response.evidence`)."""

    action_id: str
    bundle: bytes
    """Packed."""
    sha256: str
    """Its seal, in hex; the audit entry that was written with it says the same."""
    events: tuple[int, ...] = ()
    """Sequences of the events that it names: not pruned while the quarantine holds."""


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """The node that judges, as the others see it."""

    name: str
    silent: float
    """Seconds since it was last heard of."""
    settled: bool
    """Whether it has taken up what was there when it began to judge."""


class Outcome(msgspec.Struct, kw_only=True):
    """What processing a batch changes, written in one transaction with the position that it brings processing to."""

    position: int
    signals: list[Signal] = []
    """Created or changed."""
    new_signals: list[Signal] = []
    """Those of `signals` that the store does not have."""
    incidents: list[Incident] = []
    incident_of: dict[str, str] = {}
    """Signal id -> incident id, of those that the store does not have."""
    incidents_gone: dict[str, str] = {}
    """Ids of incidents that are part of another now, or have another id, and that id; what they have goes along."""
    links: list[Link] = []
    """Of subjects with signals."""
    actions: list[Action] = []
    """New or changed; `change_seq` is given by the store."""
    refused: list[ActionType] = []
    """Actions that the policy wanted and a guard rail or an undo stopped."""
    audit: list[AuditEntry] = []
    dead: list[tuple[int, str]] = []
    """(event seq, reason) of events that could not be judged."""
    revived: list[int] = []
    """Sequences of events that could not be judged before, and are now."""
    status_of: dict[str, IncidentStatus] = {}
    """Incident id -> where people are with it."""
    assignee_of: dict[str, str] = {}
    """Incident id -> who has taken it on."""
    notes: list[Note] = []
    feedback: list[Feedback] = []
    suppressions: list[Suppression] = []
    resolutions: list[Resolution] = []
    evidence: list[Evidence] = []
    judging: bool = False
    """Whether only the node that judges may write it."""
    turn: int | None = None
    """The store's `turn` when what it rests on was read; None: it rests on nothing that others may change."""

    def put(self, action: Action) -> None:
        """Add an action, in place of what was to be written of it before."""
        self.actions = [*(other for other in self.actions if other.id != action.id), action]
