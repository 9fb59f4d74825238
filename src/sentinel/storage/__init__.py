"""What must outlive the process: events, signals, incidents, actions, tokens, the audit trail."""

from sentinel.storage.anchor import Notary, verify_file
from sentinel.storage.sql import Store
from sentinel.storage.upkeep import backup, restore, schema_version
from sentinel.storage.values import (
    SYSTEM,
    Accepted,
    Action,
    AuditEntry,
    Evidence,
    Feedback,
    Note,
    Outcome,
    Pending,
    Resolution,
    StoreFull,
    StoreLost,
    StoreUnable,
    Suppression,
    Verdict,
    Violation,
)

__all__ = [
    "SYSTEM",
    "Accepted",
    "Action",
    "AuditEntry",
    "Evidence",
    "Feedback",
    "Notary",
    "Note",
    "Outcome",
    "Pending",
    "Resolution",
    "Store",
    "StoreFull",
    "StoreLost",
    "StoreUnable",
    "Suppression",
    "Verdict",
    "Violation",
    "backup",
    "restore",
    "schema_version",
    "verify_file",
]
