"""The journal: which rows have changed since it was last written, and where each node's ends."""

import sqlalchemy as sa
from alembic import op

from mediasrv.catalogue.watching import unwatch, watch

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEYS = {
    "node": "node_id",
    "place": "place_id",
    "camera": "camera_id",
    "session": "session_id",
    "gap": "gap_id",
    "hold": "hold_id",
}


def upgrade() -> None:
    op.create_table(
        "row_change",
        sa.Column(
            "change_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("of_table", sa.String(length=40), nullable=False),
        sa.Column("row_key", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_row_change")),
    )
    op.create_table(
        "journal",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="of its last segment"),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of that segment"),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_journal")),
    )
    reason = sa.String(length=16)
    op.add_column(
        "generation",
        sa.Column("reason", reason, server_default="first", nullable=False, comment="first, rebuild, restore"),
    )
    confirmed = "null: after a rebuild or restore, retention waits"
    op.add_column("generation", sa.Column("confirmed_at", sa.BigInteger(), nullable=True, comment=confirmed))
    op.add_column("generation", sa.Column("confirmed_by", sa.String(length=100), nullable=True))
    for table, key in KEYS.items():
        # What is there already is news to the journal.
        op.execute(f"INSERT INTO row_change (of_table, row_key) SELECT '{table}', {key} FROM {table}")
        watch(table, key)


def downgrade() -> None:
    for table in KEYS:
        unwatch(table)
    op.drop_table("journal")
    op.drop_table("row_change")
    for column in ("reason", "confirmed_at", "confirmed_by"):
        op.drop_column("generation", column)
