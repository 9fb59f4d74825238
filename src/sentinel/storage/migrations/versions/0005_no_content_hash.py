"""What is sent twice is compared with what is stored; no hash of it is kept beside."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_column("events", "content_hash")


def downgrade() -> None:
    op.add_column("events", sa.Column("content_hash", sa.LargeBinary(length=16), nullable=False, server_default=""))
