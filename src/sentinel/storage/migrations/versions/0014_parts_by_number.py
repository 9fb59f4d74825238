"""
In PostgreSQL the logs of events are partitioned by number, and ids have a table of their own (docs/adr/0014).

What is there becomes the first partition as it is: no row is written again. `prove_numbers` has shown before that it
holds no number that belongs elsewhere; without that PostgreSQL reads it once, and everybody waits meanwhile. Nodes of
the version before go on: what they insert is entered by a trigger, and what they delete, by places of rows that mean
one table to them, is left alone. The way down writes all rows once more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_SIZE = 1_000_000
_INDEXES = {
    "events": {
        "events_at": "(at)",
        "events_anomalies": "(at) WHERE event_type = 'anomaly'",
        "events_success": "(ip_address, at, user_id) WHERE success",
    },
    "data_access_log": {"data_access_log_created": "(created_at, sensitive_data_accessed, user_id)"},
    "audit_log": {"audit_log_created": "(created_at)"},
}


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    connection.execute(sa.text("SELECT value FROM positions WHERE name = 'accepted' FOR UPDATE"))
    for table in _INDEXES:
        op.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    numbers = ", ".join(f"(SELECT coalesce(max(seq), 0) FROM {table})" for table in _INDEXES)  # noqa: S608 - our own names
    last = connection.scalar(sa.text(f"SELECT greatest({numbers})"))
    accepted = connection.scalar(sa.text("SELECT max(value) FROM positions WHERE name IN ('accepted', 'processed')"))
    proven = connection.scalar(sa.text("SELECT value FROM positions WHERE name = 'parted'"))
    first = proven or max(last, accepted or 0) + 1
    for statement in (*_IDS, *_PARTS):
        op.execute(statement)
    for table in _INDEXES:
        _part(table, first if last else None)
    if last:
        op.execute(f"INSERT INTO event_parts VALUES (0, {first - 1}, NULL, NULL)")  # noqa: S608 - a number
        for statement in _BEFORE:
            op.execute(statement)
    op.execute(f"INSERT INTO event_parts VALUES ({first}, {first + _SIZE - 1}, NULL, NULL)")  # noqa: S608 - numbers
    for table in _INDEXES:
        op.execute(f"CREATE TABLE {table}_p{first} PARTITION OF {table} FOR VALUES FROM ({first}) TO ({first + _SIZE})")
        op.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")
    op.execute("DELETE FROM positions WHERE name = 'parted'")


def _part(table: str, first: int | None) -> None:
    """Put a partitioned table in place of one, which becomes its first partition where it has rows to keep."""
    op.execute(f"ALTER TABLE {table} RENAME TO {table}_before")
    for index in (f"{table}_pkey", *_INDEXES[table]):
        op.execute(f"ALTER INDEX {index} RENAME TO {index}_before")
    op.execute(f"CREATE TABLE {table} (LIKE {table}_before INCLUDING DEFAULTS) PARTITION BY RANGE (seq)")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY (seq)")
    _index(table)
    if first is None:
        op.execute(f"DROP TABLE {table}_before")
    else:
        op.execute(f"ALTER TABLE {table} ATTACH PARTITION {table}_before FOR VALUES FROM (MINVALUE) TO ({first})")
        op.execute(f"ALTER TABLE {table}_before DROP CONSTRAINT IF EXISTS {table}_numbers")
    op.execute(f"""
        CREATE TRIGGER earlier_versions BEFORE DELETE ON {table} FOR EACH ROW
        WHEN (current_setting('application_name') LIKE 'sentinel %' AND current_setting('sentinel.parts', true) IS NULL)
        EXECUTE FUNCTION leave_event()""")
    if table == "events":
        op.execute("""
            CREATE TRIGGER earlier_versions_ids AFTER INSERT ON events FOR EACH ROW
            WHEN (current_setting('sentinel.parts', true) IS NULL) EXECUTE FUNCTION enter_event_id()""")


def _index(table: str) -> None:
    for name, of in _INDEXES[table].items():
        op.execute(f"CREATE INDEX {name} ON {table} {of}")


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    connection.execute(sa.text("SELECT value FROM positions WHERE name = 'accepted' FOR UPDATE"))
    gone = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname LIKE 'events\\_gone%' AND relkind = 'r'"  # noqa: E501
    for name in connection.scalars(sa.text(gone)).all():
        op.execute(f"DROP TABLE {name}")
    op.execute("DROP VIEW known_event_ids")
    op.execute("DROP TABLE event_ids, event_parts")
    for table in _INDEXES:
        op.execute(f"CREATE TABLE {table}_whole (LIKE {table} INCLUDING DEFAULTS)")
        op.execute(f"INSERT INTO {table}_whole SELECT * FROM {table} ORDER BY seq")  # noqa: S608 - our own names
        op.execute(f"DROP TABLE {table}")
        op.execute(f"ALTER TABLE {table}_whole RENAME TO {table}")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY (seq)")
        _index(table)
    op.execute("ALTER TABLE events ADD CONSTRAINT events_event_id_key UNIQUE (event_id)")
    op.execute("DROP FUNCTION leave_event, enter_event_id, event_known_before")


_IDS = (
    "CREATE TABLE event_ids (event_id text PRIMARY KEY, seq bigint NOT NULL)",
    "CREATE VIEW known_event_ids AS SELECT event_id, seq FROM event_ids",
    """
    CREATE FUNCTION enter_event_id() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO event_ids VALUES (NEW.event_id, NEW.seq);
        RETURN NULL;
    END $$""",
    "CREATE FUNCTION leave_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    """
    CREATE FUNCTION event_known_before() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF EXISTS (SELECT FROM fresh JOIN events_before USING (event_id)) THEN
            RAISE unique_violation USING MESSAGE = 'an event with this id is there already';
        END IF;
        RETURN NULL;
    END $$""",
)
_PARTS = ("CREATE TABLE event_parts (first bigint PRIMARY KEY, upto bigint NOT NULL, began bigint, latest bigint)",)
_BEFORE = (
    # Its ids are in an index of its own, and go with it.
    """
    CREATE OR REPLACE VIEW known_event_ids AS
        SELECT event_id, seq FROM event_ids UNION ALL SELECT event_id::text, seq FROM events_before""",
    """
    CREATE TRIGGER known_before AFTER INSERT ON event_ids REFERENCING NEW TABLE AS fresh
        FOR EACH STATEMENT EXECUTE FUNCTION event_known_before()""",
)
