"""What was still answered by reading a whole table has an index: the list of actions, sealed evidence, old links."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_SEALED = sa.text("operation = 'threat_quarantine.evidence'")


def upgrade() -> None:
    op.create_index("actions_created", "security_actions", ["created_at"])
    op.create_index("audit_sealed", "audit_trail", ["target"], sqlite_where=_SEALED, postgresql_where=_SEALED)
    op.create_index("links_hour", "links", ["hour"])


def downgrade() -> None:
    op.drop_index("links_hour", "links")
    op.drop_index("audit_sealed", "audit_trail")
    op.drop_index("actions_created", "security_actions")
