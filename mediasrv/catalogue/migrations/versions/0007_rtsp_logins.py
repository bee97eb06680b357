"""RTSP logins: credentials of kind `rtsp`, whose secret Digest must know, so it is kept, sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "credential",
        sa.Column("sealed", sa.LargeBinary(), nullable=True, comment="of an RTSP login: name and secret, sealed"),
    )
    op.add_column(
        "credential",
        sa.Column("camera_id", sa.String(length=64), nullable=True, comment="the only one it opens; null: all"),
    )


def downgrade() -> None:
    """The logins go: without their secrets they open nothing."""
    op.execute("DELETE FROM credential WHERE kind = 'rtsp'")
    op.drop_column("credential", "camera_id")
    op.drop_column("credential", "sealed")
