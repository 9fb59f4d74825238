"""The audit trail becomes a chain: what is there is sealed as it stands."""

import sqlalchemy as sa
from alembic import op

from sentinel.audit import GENESIS, link

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FIELDS = ("seq", "at", "actor", "operation", "target", "details")


def upgrade() -> None:
    op.rename_table("audit_trail", "audit_trail_0001")
    op.create_table(
        "audit_trail",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    _copy()
    op.drop_table("audit_trail_0001")


def _copy() -> None:
    connection = op.get_bind()
    old = sa.table("audit_trail_0001", *[sa.column(name) for name in _FIELDS])
    new = sa.table("audit_trail", *[sa.column(name) for name in (*_FIELDS, "hash")])
    head = GENESIS
    for seq, row in enumerate(connection.execute(sa.select(old).order_by(old.c.seq)).all(), 1):
        fields = (seq, row.at, row.actor, row.operation, row.target, str(row.details))
        head = link(head, fields)
        connection.execute(sa.insert(new).values(**dict(zip(_FIELDS, fields, strict=True)), hash=head))


def downgrade() -> None:
    with op.batch_alter_table("audit_trail") as batch:
        batch.drop_column("hash")
        batch.alter_column("details", type_=sa.JSON())
