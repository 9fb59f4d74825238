"""What a rule of the policy did lately is asked before every automatic action."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("actions_rule_created", "security_actions", ["rule", "created_at"])
    op.create_index("actions_rule_decided", "security_actions", ["rule", "decided_at"])


def downgrade() -> None:
    op.drop_index("actions_rule_decided", "security_actions")
    op.drop_index("actions_rule_created", "security_actions")
