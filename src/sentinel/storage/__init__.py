"""What must outlive the process: events, signals, incidents, actions, tokens, the audit trail."""

from sentinel.storage.anchor import Notary, verify_file
from sentinel.storage.sql import Store
from sentinel.storage.upkeep import backup, restore, schema_version
from sentinel.storage.values import (
    SYSTEM,
    Accepted,
    Action,
    AuditEntry,
    Feedback,
    Outcome,
    Pending,
    StoreFull,
    StoreLost,
    StoreUnable,
    Suppression,
    Verdict,
)

__all__ = [
    "SYSTEM",
    "Accepted",
    "Action",
    "AuditEntry",
    "Feedback",
    "Notary",
    "Outcome",
    "Pending",
    "Store",
    "StoreFull",
    "StoreLost",
    "StoreUnable",
    "Suppression",
    "Verdict",
    "backup",
    "restore",
    "schema_version",
    "verify_file",
]
