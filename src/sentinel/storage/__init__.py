"""What must outlive the process: events, signals, incidents, actions, tokens, the audit trail."""

from sentinel.storage.anchor import Notary, verify_store
from sentinel.storage.dead import Trial
from sentinel.storage.ports import PATIENCE, place_of
from sentinel.storage.sql import Store
from sentinel.storage.upkeep import backup, restore, schema_version, state_of
from sentinel.storage.values import (
    SYSTEM,
    Accepted,
    Action,
    AuditEntry,
    Evidence,
    Feedback,
    Judge,
    LeaseLost,
    Note,
    Outcome,
    Overtaken,
    Pending,
    Resolution,
    Standing,
    StoreFull,
    StoreLost,
    StoreUnable,
    Suppression,
    Verdict,
    Violation,
)

__all__ = [
    "PATIENCE",
    "SYSTEM",
    "Accepted",
    "Action",
    "AuditEntry",
    "Evidence",
    "Feedback",
    "Judge",
    "LeaseLost",
    "Notary",
    "Note",
    "Outcome",
    "Overtaken",
    "Pending",
    "Resolution",
    "Standing",
    "Store",
    "StoreFull",
    "StoreLost",
    "StoreUnable",
    "Suppression",
    "Trial",
    "Verdict",
    "Violation",
    "backup",
    "place_of",
    "restore",
    "schema_version",
    "state_of",
    "verify_store",
]
