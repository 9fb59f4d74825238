"""
Violations, accesses to data and audited changes have tables of their own; those of events from before are made good.

What people had said of a violation is lost on the way down; the rest is made again on the way up.
"""

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", _SEQ, autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("table_name", sa.Text()),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("user_id", sa.String(length=256)),
        sa.Column("session_id", sa.String(length=256)),
        sa.Column("row_id", sa.Text()),
        sa.Column("old_values", sa.JSON()),
        sa.Column("new_values", sa.JSON()),
        sa.Column("changed_fields", sa.JSON()),
        sa.Column("ip_address", sa.String(length=45)),
        sa.Column("user_agent", sa.Text()),
        sa.Column("application_name", sa.String(length=256)),
        sa.Column("security_context", sa.JSON()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("audit_log_created", "audit_log", ["created_at"])
    op.create_table(
        "security_violations",
        sa.Column("seq", _SEQ, autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("violation_type", sa.Text(), nullable=False),
        sa.Column("severity", sa.String(length=8), nullable=False),
        sa.Column("user_id", sa.String(length=256)),
        sa.Column("session_id", sa.String(length=256)),
        sa.Column("table_name", sa.Text()),
        sa.Column("attempted_operation", sa.Text()),
        sa.Column("violation_details", sa.JSON(), nullable=False),
        sa.Column("ip_address", sa.String(length=45)),
        sa.Column("user_agent", sa.Text()),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column("resolved", sa.Boolean(), nullable=False),
        sa.Column("resolution_notes", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at", sa.BigInteger()),
        sa.Column("resolved_by", sa.String(length=256)),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("security_violations_created", "security_violations", ["created_at", "severity", "resolved"])
    op.create_table(
        "data_access_log",
        sa.Column("seq", _SEQ, autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=256)),
        sa.Column("service_name", sa.String(length=256)),
        sa.Column("access_type", sa.Text()),
        sa.Column("table_name", sa.Text()),
        sa.Column("row_count", sa.BigInteger()),
        sa.Column("sensitive_data_accessed", sa.Boolean(), nullable=False),
        sa.Column("access_pattern", sa.Text()),
        sa.Column("session_id", sa.String(length=256)),
        sa.Column("ip_address", sa.String(length=45)),
        sa.Column("response_time_ms", sa.Float()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("data_access_log_created", "data_access_log", ["created_at", "sensitive_data_accessed", "user_id"])
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":  # no store there is so old that it has events of before
        op.execute(_EXECUTION_DETAILS)
        for name, (kind, formula) in (_COMPUTED | _COMPUTED_THERE).items():
            op.add_column("security_actions", sa.Column(name, kind, sa.Computed(formula, persisted=True)))
        return
    for name, (kind, formula) in _COMPUTED.items():
        op.add_column("security_actions", sa.Column(name, kind, sa.Computed(formula, persisted=False)))
    driver: Any = bind.connection.driver_connection
    driver.create_function("row_id", 1, _row_id, deterministic=True)
    driver.create_function("part", 2, _part, deterministic=True)
    for statement in _MADE_GOOD:
        bind.execute(sa.text(statement))


def downgrade() -> None:
    for name in reversed(_COMPUTED):
        op.drop_column("security_actions", name)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION execution_details")
    op.drop_table("data_access_log")
    op.drop_table("security_violations")
    op.drop_table("audit_log")


def _row_id(event_id: str) -> str:
    digest = hashlib.blake2b(event_id.encode(), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-a{digest[17:20]}-{digest[20:]}"


def _part(body: bytes, name: str) -> str | None:
    """Return what an event's details say of something, or all of them, as JSON."""
    details = json.loads(body).get("details", {})
    part = details.get(name) if name else details
    return None if part is None else json.dumps(part, ensure_ascii=False, separators=(",", ":"))


_COMPUTED: dict[str, tuple[Any, str]] = {
    "created_by_user_id": (sa.String(length=256), "CASE WHEN auto_created THEN NULL ELSE created_by END"),
    "created_by_session_id": (sa.String(length=256), "NULL"),
    "execution_details": (
        sa.JSON(),
        """json_object('effective', json(iif(effective, 'true', 'false')), 'rule', rule, 'signal_id', signal_id,
        'incident_id', incident_id, 'decided_at', decided_at, 'revoked_by', revoked_by)""",
    ),
    "success": (sa.Boolean(), "status != 'failed'"),
    "error_message": (sa.Text(), "CASE WHEN status = 'failed' THEN reason END"),
}

_COMPUTED_THERE: dict[str, tuple[Any, str]] = {
    "execution_details": (
        sa.JSON(),
        "execution_details(effective, rule, signal_id, incident_id, decided_at, revoked_by)",
    ),
}
"""What PostgreSQL says in other words."""
_EXECUTION_DETAILS = """
    CREATE FUNCTION execution_details(
        effective boolean, rule text, signal_id text, incident_id text, decided_at bigint, revoked_by text
    ) RETURNS json LANGUAGE sql IMMUTABLE AS $$
        SELECT json_build_object('effective', effective, 'rule', rule, 'signal_id', signal_id,
        'incident_id', incident_id, 'decided_at', decided_at, 'revoked_by', revoked_by)
    $$"""
"""For these types it is immutable; PostgreSQL calls its own function stable because of others."""


def _text(name: str) -> str:
    return f"CASE json_type(b, '$.details.{name}') WHEN 'text' THEN nullif(json_extract(b, '$.details.{name}'), '') END"


def _is(name: str, value: str) -> str:
    return f"coalesce(json_type(b, '$.details.{name}') = '{value}', 0)"


def _field(name: str) -> str:
    return f"json_extract(b, '$.{name}')"


def _of_key(name: str) -> str:
    """A changed setting names itself."""
    named = f"json_object({_text('key')}, json(coalesce(part(body, '{name}'), 'null')))"
    return f"iif({_text('key')} IS NULL, part(body, '{name}_values'), {named})"


_EVENTS = "(SELECT *, CAST(body AS TEXT) AS b FROM events)"
_RANK = "CASE {} WHEN 'info' THEN 0 WHEN 'low' THEN 1 WHEN 'medium' THEN 2 WHEN 'high' THEN 3 ELSE 4 END"
_SEVERITY = f"iif({_RANK.format('severity')} <= {_RANK.format('max_severity')}, severity, max_severity)"
_OPERATION = f"coalesce({_text('action')}, {_text('tool_name')}, {_text('attempted_operation')})"


def _violations(kind: str, blocked: str, which: str) -> str:
    return f"""
        INSERT INTO security_violations
        SELECT seq, row_id(event_id), {kind}, {_SEVERITY}, user_id, {_field("session_id")}, {_text("table_name")},
               {_OPERATION}, coalesce(part(body, ''), '{{}}'), ip_address, {_field("user_agent")}, {blocked}, 0, NULL,
               at, NULL, NULL
        FROM {_EVENTS} WHERE {which}"""  # noqa: S608 - our own words


_MADE_GOOD = (
    f"""
    INSERT INTO data_access_log
    SELECT seq, row_id(event_id), user_id, {_field("service_name")}, {_text("access_type")}, {_text("table_name")},
           CASE json_type(b, '$.details.row_count') WHEN 'integer' THEN {_field("details.row_count")} END,
           {_is("sensitive", "true")}, {_text("access_pattern")}, {_field("session_id")}, ip_address,
           CASE WHEN json_type(b, '$.details.response_time_ms') IN ('integer', 'real')
                THEN CAST({_field("details.response_time_ms")} AS REAL) END, at
    FROM {_EVENTS} WHERE event_type = 'data_access'""",  # noqa: S608 - our own words
    f"""
    INSERT INTO audit_log
    SELECT seq, row_id(event_id), {_text("table_name")}, coalesce({_text("operation")}, 'event'), user_id,
           {_field("session_id")}, {_text("row_id")}, {_of_key("old")}, {_of_key("new")},
           iif({_text("key")} IS NULL, part(body, 'changed_fields'), json_array({_text("key")})),
           ip_address, {_field("user_agent")}, {_field("service_name")}, part(body, 'security_context'), at
    FROM {_EVENTS} WHERE event_type = 'audit_log'""",  # noqa: S608 - our own words
    _violations(
        f"coalesce({_text('violation_type')}, 'other')",
        _is("blocked", "true"),
        "event_type = 'security_violation'",
    ),
    _violations(
        f"coalesce({_text('threat_type')}, 'threat_detection')",
        _is("blocked", "true"),
        f"event_type = 'threat_detection' AND coalesce({_text('status')}, '') != 'resolved'",
    ),
    _violations(
        f"coalesce({_text('violation_type')}, 'permission')",
        "1",
        f"""event_type = 'authorization' AND {_is("granted", "false")}
            AND (severity != 'low' OR {_text("violation_type")} IS NOT NULL)""",
    ),
    _violations(
        _text("sandbox_violation"),
        _is("success", "false"),
        f"event_type = 'tool_execution' AND {_text('sandbox_violation')} IS NOT NULL",
    ),
    _violations(
        "'rls_violation'",
        f"NOT {_is('blocked', 'false')}",
        f"event_type = 'audit_log' AND {_text('operation')} = 'rls_violation'",
    ),
)
"""As `storage.contract` makes them."""
