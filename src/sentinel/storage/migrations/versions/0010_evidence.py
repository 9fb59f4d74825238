"""What quarantines rest on."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evidence",
        sa.Column("action_id", sa.String(length=36), nullable=False),
        sa.Column("bundle", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("action_id"),
    )
    op.create_table(
        "evidence_events",
        sa.Column("action_id", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("action_id", "seq"),
    )
    op.create_index("evidence_events_seq", "evidence_events", ["seq"])


def downgrade() -> None:
    op.drop_table("evidence_events")
    op.drop_table("evidence")
