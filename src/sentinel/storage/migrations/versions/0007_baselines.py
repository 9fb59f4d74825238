"""What is usual for each user and service; anomalies are found among the events."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "baselines",
        sa.Column("entity_type", sa.String(length=16), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("entity_type", "entity"),
    )
    op.create_index("baselines_day", "baselines", ["day", "entity_type", "entity"])
    odd = sa.text("event_type = 'anomaly'")
    op.create_index("events_anomalies", "events", ["at"], sqlite_where=odd, postgresql_where=odd)
    # Events that were judged before there were baselines teach nothing: nobody knows which of them are whole days.
    op.execute("INSERT INTO positions SELECT 'baselines', coalesce(max(seq), 0) FROM events")


def downgrade() -> None:
    op.drop_index("events_anomalies", "events")
    op.drop_table("baselines")
    op.execute("DELETE FROM positions WHERE name = 'baselines'")
