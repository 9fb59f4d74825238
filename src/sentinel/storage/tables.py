"""
The tables. Times are integer microseconds UTC; JSON columns hold canonical text.

`security_actions`, `audit_log`, `security_violations` and `data_access_log` are the contract's SecurityAction,
AuditLog, SecurityViolation and DataAccessLog, with ours beside them. In the database `security_actions` has five
columns more, which SQLite computes from the others for those who read it there: created_by_user_id,
created_by_session_id, execution_details, success, error_message.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

__all__ = [
    "actions",
    "audit",
    "audit_log",
    "baselines",
    "chosen",
    "data_access_log",
    "dead_letters",
    "events",
    "evidence",
    "evidence_events",
    "feedback",
    "incidents",
    "links",
    "metadata",
    "nodes",
    "notes",
    "positions",
    "security_violations",
    "signals",
    "suppressions",
    "tokens",
]

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("event_id", String(128), nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("late", Boolean, nullable=False),
    Column("event_type", String(32), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("user_id", String(256)),
    Column("ip_address", String(45)),
    Column("success", Boolean),
    Column("origin", String(64), nullable=False),
    Column("max_severity", String(8), nullable=False),
    Column("may_act", Boolean, nullable=False),
    Column("effects", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("events_at", "at"),
    # What was noticed: few among many.
    Index(
        "events_anomalies",
        "at",
        sqlite_where=Column("event_type") == "anomaly",
        postgresql_where=Column("event_type") == "anomaly",
    ),
    # Who logged in from an address lately: asked before every automatic block (decisions, D3).
    Index(
        "events_success",
        "ip_address",
        "at",
        "user_id",
        sqlite_where=Column("success") == True,  # noqa: E712
        postgresql_where=Column("success"),
    ),
)

signals = Table(
    "signals",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("rule", String(256), nullable=False),
    Column("rule_hash", String(64), nullable=False),
    Column("title", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_type", String(16), nullable=False),
    Column("group", JSON, nullable=False),
    Column("severity", String(8), nullable=False),
    Column("threat_type", String(32)),
    Column("confidence", Float, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("may_act", Boolean, nullable=False),
    Column("incident_id", String(32)),
    Index("signals_subject", "subject", "subject_type", "first"),
    Index("signals_last", "last"),
    Index("signals_incident", "incident_id"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("subject_type", String(16), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("confidence", Float, nullable=False),
    Column("status", String(16), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("threat_types", JSON, nullable=False),
    Column("assignee", String(256)),
    Index("incidents_last", "last"),
    Index("incidents_subject", "subject", "subject_type", "first"),
)

# Which subjects of signals events carry together. Both directions, to be found from either.
links = Table(
    "links",
    metadata,
    Column("of_type", String(16), primary_key=True),
    Column("of", Text, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("to_type", String(16), primary_key=True),
    Column("to", Text, primary_key=True),
    Index("links_hour", "hour"),
)

notes = Table(
    "incident_notes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident_id", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("by", String(256), nullable=False),
    Column("what", String(16), nullable=False),
    Column("note", Text, nullable=False),
    Index("notes_incident", "incident_id", "at"),
)

actions = Table(
    "security_actions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("decision_key", String(64), nullable=False, unique=True),
    Column("action_type", String(32), nullable=False),
    Column("target", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("severity", String(8), nullable=False),
    Column("status", String(8), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expiration", BigInteger),
    Column("revoked_at", BigInteger),
    Column("revoked_by", String(256)),
    Column("auto_created", Boolean, nullable=False),
    Column("created_by", String(256), nullable=False),
    Column("rule", String(256)),
    Column("signal_id", String(32)),
    Column("incident_id", String(32)),
    Column("decided_at", BigInteger),
    Column("effective", Boolean, nullable=False),
    Column("change_seq", BigInteger, nullable=False),
    Index("actions_change", "change_seq"),
    Index("actions_target", "target", "action_type"),
    Index("actions_status", "status", "expiration"),
    Index("actions_incident", "incident_id"),
    Index("actions_created", "created_at"),
    # What a rule of the policy did in the last minute: asked before every automatic action (the blast radius).
    Index("actions_rule_created", "rule", "created_at"),
    Index("actions_rule_decided", "rule", "decided_at"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(256), nullable=False),
    Column("role", String(16), nullable=False),
    Column("hash", LargeBinary(32), nullable=False, unique=True),
    Column("max_severity", String(8), nullable=False),
    Column("may_cause_actions", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("source_cidr", String(64)),
    Column("revoked_at", BigInteger),
)

audit = Table(
    "audit_trail",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(256), nullable=False),
    Column("operation", String(64), nullable=False),
    Column("target", Text, nullable=False),
    Column("details", Text, nullable=False),  # JSON, hashed as it stands
    Column("hash", LargeBinary(32), nullable=False),
    # Few among many: what was sealed of the evidence of quarantines.
    Index(
        "audit_sealed",
        "target",
        sqlite_where=Column("operation") == "threat_quarantine.evidence",
        postgresql_where=Column("operation") == "threat_quarantine.evidence",
    ),
)

# The next three hold what `contract` makes of events; `seq` is that of the event.

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("id", String(36), nullable=False),
    Column("table_name", Text),
    Column("operation", Text, nullable=False),
    Column("user_id", String(256)),
    Column("session_id", String(256)),
    Column("row_id", Text),
    Column("old_values", JSON),
    Column("new_values", JSON),
    Column("changed_fields", JSON),
    Column("ip_address", String(45)),
    Column("user_agent", Text),
    Column("application_name", String(256)),
    Column("security_context", JSON),
    Column("created_at", BigInteger, nullable=False),
    Index("audit_log_created", "created_at"),
)

security_violations = Table(
    "security_violations",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("id", String(36), nullable=False, unique=True),
    Column("violation_type", Text, nullable=False),
    Column("severity", String(8), nullable=False),
    Column("user_id", String(256)),
    Column("session_id", String(256)),
    Column("table_name", Text),
    Column("attempted_operation", Text),
    Column("violation_details", JSON, nullable=False),
    Column("ip_address", String(45)),
    Column("user_agent", Text),
    Column("blocked", Boolean, nullable=False),
    Column("resolved", Boolean, nullable=False),
    Column("resolution_notes", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger),
    Column("resolved_by", String(256)),
    Index("security_violations_created", "created_at", "severity", "resolved"),
)

data_access_log = Table(
    "data_access_log",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("id", String(36), nullable=False),
    Column("user_id", String(256)),
    Column("service_name", String(256)),
    Column("access_type", Text),
    Column("table_name", Text),
    Column("row_count", BigInteger),
    Column("sensitive_data_accessed", Boolean, nullable=False),
    Column("access_pattern", Text),
    Column("session_id", String(256)),
    Column("ip_address", String(45)),
    Column("response_time_ms", Float),
    Column("created_at", BigInteger, nullable=False),
    Index("data_access_log_created", "created_at", "sensitive_data_accessed", "user_id"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("about", String(128), primary_key=True),
    Column("verdict", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("by", String(256), nullable=False),
    Index("feedback_at", "at"),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("rule", String(256), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("subject_type", String(16), primary_key=True),
    Column("until", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("by", String(256), nullable=False),
)

baselines = Table(
    "baselines",
    metadata,
    Column("entity_type", String(16), primary_key=True),
    Column("entity", Text, primary_key=True),
    Column("day", Integer, nullable=False),  # the last with an event, since 1970; -1 for the organisation
    Column("record", LargeBinary, nullable=False),
    Index("baselines_day", "day", "entity_type", "entity"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("action_id", String(36), primary_key=True),
    Column("bundle", LargeBinary, nullable=False),
    Column("sha256", String(64), nullable=False),
)

evidence_events = Table(
    "evidence_events",
    metadata,
    Column("action_id", String(36), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Index("evidence_events_seq", "seq"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
)

# What people have set over the API, as JSON: thresholds by rule, limits by metric.
chosen = Table(
    "chosen",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("value", Text, nullable=False),
)

positions = Table(
    "positions",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# The processes that share a database. Each row is written by its own process alone.
nodes = Table(
    "nodes",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(256), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),  # by the database's clock, as is `started_at`
    Column("commits", BigInteger, nullable=False),
    Column("lease", BigInteger, nullable=False),  # the last one that it had
    Column("settled", Boolean, nullable=False),  # whether it has taken up what was there when it got that
)
