"""What people say of incidents and actions, and what they want suppressed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("about", sa.String(length=128), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("kind", "about"),
    )
    op.create_index("feedback_at", "feedback", ["at"])
    op.create_table(
        "suppressions",
        sa.Column("rule", sa.String(length=256), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_type", sa.String(length=16), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("rule", "subject", "subject_type"),
    )


def downgrade() -> None:
    op.drop_table("suppressions")
    op.drop_table("feedback")
