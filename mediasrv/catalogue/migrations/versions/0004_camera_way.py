"""How a camera's media is to come, and its pinned certificate."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "camera",
        sa.Column("transport", sa.String(length=8), nullable=True, comment="tcp, udp, auto; null: the settings'"),
    )
    op.add_column(
        "camera",
        sa.Column("tls_fingerprint", sa.String(length=64), nullable=True, comment="SHA-256 of the pinned certificate"),
    )


def downgrade() -> None:
    op.drop_column("camera", "tls_fingerprint")
    op.drop_column("camera", "transport")
