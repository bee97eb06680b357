"""Events of cameras."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "camera_event",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="motion, tamper, digital_input, storage"),
        sa.Column("active", sa.Boolean(), nullable=False, comment="it began, or it ended"),
        sa.Column("source", sa.LargeBinary(), nullable=False, comment="the camera's words, sealed by the node's key"),
        sa.Column(
            "camera_at", sa.BigInteger(), nullable=True, comment="what the camera says; null where that is no time"
        ),
        sa.Column("arrived_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_camera_event")),
    )
    op.create_index(
        op.f("ix_camera_event_camera_id_arrived_at"), "camera_event", ["camera_id", "arrived_at"], unique=False
    )


def downgrade() -> None:
    op.drop_table("camera_event")
