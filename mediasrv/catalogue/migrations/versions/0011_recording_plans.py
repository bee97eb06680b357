"""When a camera is recorded, whether with sound, and who attested that it looks into no private room.

Cameras that were in service before keep what they had: `record` becomes a plan, and an attestation of version 0 says
that nobody was asked.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_CAMERA = sa.table(
    "camera",
    sa.column("record", sa.Boolean),
    sa.column("recording", sa.JSON),
    sa.column("attestation", sa.JSON),
    sa.column("created_at", sa.BigInteger),
    sa.column("camera_id", sa.String),
)


def upgrade() -> None:
    op.add_column(
        "camera",
        sa.Column(
            "recording", sa.JSON(), nullable=False, server_default='{"mode": "continuous"}', comment="settings.plans"
        ),
    )
    op.add_column(
        "camera",
        sa.Column(
            "record_audio", sa.String(length=8), nullable=False, server_default="policy", comment="on, off, policy"
        ),
    )
    op.add_column(
        "camera",
        sa.Column(
            "attestation",
            sa.JSON(),
            nullable=True,
            comment="version of the text, by whom, at_us; version 0: from before it was asked for",
        ),
    )
    connection = op.get_bind()
    connection.execute(sa.update(_CAMERA).where(~_CAMERA.c.record).values(recording={"mode": "off"}))
    for camera_id, created_us in connection.execute(sa.select(_CAMERA.c.camera_id, _CAMERA.c.created_at)).all():
        before = {"version": 0, "by": "", "at_us": created_us}
        connection.execute(sa.update(_CAMERA).where(_CAMERA.c.camera_id == camera_id).values(attestation=before))
    op.drop_column("camera", "record")


def downgrade() -> None:
    op.add_column("camera", sa.Column("record", sa.Boolean(), nullable=False, server_default=sa.true()))
    connection = op.get_bind()
    for camera_id, plan in connection.execute(sa.select(_CAMERA.c.camera_id, _CAMERA.c.recording)).all():
        recorded = plan["mode"] != "off"
        connection.execute(sa.update(_CAMERA).where(_CAMERA.c.camera_id == camera_id).values(record=recorded))
    for name in ("recording", "record_audio", "attestation"):
        op.drop_column("camera", name)
