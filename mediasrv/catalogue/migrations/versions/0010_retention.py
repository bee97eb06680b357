"""Retention policies of places and cameras, who released a hold and why, legal holds, and receipts of destruction."""

import time

import sqlalchemy as sa
from alembic import op

from mediasrv.catalogue.watching import unwatch, watch

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BOUNDS = ("max_age_days", "max_size_bytes")


def upgrade() -> None:
    policy = op.create_table(
        "retention_policy",
        sa.Column("subject", sa.String(length=80), nullable=False, comment="place:ID or camera:ID"),
        sa.Column("max_age_days", sa.Integer(), nullable=True, comment="null: inherited; 0: no bound"),
        sa.Column("max_size_bytes", sa.BigInteger(), nullable=True, comment="null: inherited; 0: no bound"),
        sa.Column("keep_events", sa.JSON(), nullable=False, comment="days by kind of event"),
        sa.Column("event_before_s", sa.Integer(), nullable=True, comment="null: inherited"),
        sa.Column("event_after_s", sa.Integer(), nullable=True, comment="null: inherited"),
        sa.Column("set_by", sa.String(length=100), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_retention_policy")),
    )
    watch("retention_policy", "subject")
    _move_to_policies(policy)
    for name in _BOUNDS:
        op.drop_column("camera", name)
    op.add_column("hold", sa.Column("released_by", sa.String(length=100), nullable=True))
    op.add_column("hold", sa.Column("release_reason", sa.Text(), nullable=True))
    op.create_table(
        "legal_hold",
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("object_id", name=op.f("pk_legal_hold")),
    )
    op.create_table(
        "receipt",
        sa.Column(
            "receipt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("last_entry", sa.BigInteger(), nullable=False, comment="of the access log, that it covers"),
        sa.Column("document", sa.Text(), nullable=False, comment="JSON, exactly as signed"),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("receipt_id", name=op.f("pk_receipt")),
    )


def _move_to_policies(policy: sa.Table) -> None:
    connection = op.get_bind()
    own = sa.text(
        "SELECT camera_id, max_age_days, max_size_bytes FROM camera"
        " WHERE max_age_days IS NOT NULL OR max_size_bytes IS NOT NULL"
    )
    now_us = time.time_ns() // 1000
    rows = [
        {
            "subject": f"camera:{row.camera_id}",
            "max_age_days": row.max_age_days,
            "max_size_bytes": row.max_size_bytes,
            "keep_events": {},
            "set_by": "mediasrv",
            "set_at": now_us,
        }
        for row in connection.execute(own)
    ]
    if rows:
        op.bulk_insert(policy, rows)


def downgrade() -> None:
    op.drop_table("receipt")
    op.drop_table("legal_hold")
    op.drop_column("hold", "release_reason")
    op.drop_column("hold", "released_by")
    op.add_column("camera", sa.Column("max_age_days", sa.Integer(), nullable=True, comment="null: the default policy"))
    op.add_column(
        "camera",
        sa.Column("max_size_bytes", sa.BigInteger(), nullable=True, comment="null: the default policy; 0: no bound"),
    )
    for name in _BOUNDS:
        op.execute(
            f"UPDATE camera SET {name} = (SELECT {name} FROM retention_policy"
            " WHERE subject = 'camera:' || camera.camera_id)"
        )
    unwatch("retention_policy")
    op.drop_table("retention_policy")
