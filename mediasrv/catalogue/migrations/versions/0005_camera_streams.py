"""Which streams of a camera are recorded, and which is shown in grids."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "camera",
        sa.Column(
            "record_stream", sa.String(length=8), nullable=False, server_default="main", comment="main, sub, both"
        ),
    )
    op.add_column(
        "camera",
        sa.Column(
            "grid_stream",
            sa.String(length=8),
            nullable=False,
            server_default="sub",
            comment="main; sub, where there is one",
        ),
    )


def downgrade() -> None:
    op.drop_column("camera", "grid_stream")
    op.drop_column("camera", "record_stream")
