"""Which action a signal led to is asked whenever the signal moves to another incident."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("actions_signal", "security_actions", ["signal_id"])


def downgrade() -> None:
    op.drop_index("actions_signal", "security_actions")
