"""What must outlive the process: events, signals, incidents, actions, tokens, the audit trail."""

from sentinel.storage.anchor import Notary, verify_file
from sentinel.storage.sql import Store
from sentinel.storage.values import (
    SYSTEM,
    Accepted,
    Action,
    AuditEntry,
    Outcome,
    Pending,
    StoreFull,
    StoreLost,
    StoreUnable,
)

__all__ = [
    "SYSTEM",
    "Accepted",
    "Action",
    "AuditEntry",
    "Notary",
    "Outcome",
    "Pending",
    "Store",
    "StoreFull",
    "StoreLost",
    "StoreUnable",
    "verify_file",
]
