"""A session may come from an API token, and ends with it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "credential",
        sa.Column("issued_by", sa.LargeBinary(), nullable=True, comment="of the token that a session came from"),
    )


def downgrade() -> None:
    op.drop_column("credential", "issued_by")
