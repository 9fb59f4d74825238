"""An incident's signals are those that name it; it keeps only how many they are, so that growing rewrites no list."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("signals_incident", "signals", ["incident_id"])
    op.create_index("actions_incident", "security_actions", ["incident_id"])
    op.drop_index("actions_signal", "security_actions")
    op.add_column("incidents", sa.Column("size", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE incidents SET size = json_array_length(signals)")
    op.drop_column("incidents", "signals")


def downgrade() -> None:
    op.add_column("incidents", sa.Column("signals", sa.JSON(), nullable=False, server_default="[]"))
    gathered = "json_group_array" if op.get_bind().dialect.name == "sqlite" else "json_agg"
    op.execute(
        f"UPDATE incidents SET signals = coalesce((SELECT {gathered}(id) FROM"  # noqa: S608 - our own names
        " (SELECT id FROM signals WHERE incident_id = incidents.id ORDER BY first, id) AS mine), '[]')"
    )
    op.drop_column("incidents", "size")
    op.create_index("actions_signal", "security_actions", ["signal_id"])
    op.drop_index("actions_incident", "security_actions")
    op.drop_index("signals_incident", "signals")
