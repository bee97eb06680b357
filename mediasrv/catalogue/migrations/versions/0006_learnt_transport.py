"""By which transport a camera's media came the last time: it is tried first after a restart, too."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "camera",
        sa.Column("learnt_transport", sa.String(length=8), nullable=True, comment="tcp or udp: what worked last"),
    )


def downgrade() -> None:
    op.drop_column("camera", "learnt_transport")
