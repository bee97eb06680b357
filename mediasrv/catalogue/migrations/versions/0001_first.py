"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "access_log",
        sa.Column("entry", sa.BigInteger(), autoincrement=False, nullable=False, comment="from 1, without a hole"),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column(
            "principal_id", sa.String(length=32), nullable=True, comment="null: nobody known, or the server itself"
        ),
        sa.Column("username", sa.String(length=100), nullable=False),
        sa.Column("remote", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False, comment="JSON, exactly as hashed"),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("entry_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_access_log")),
    )
    op.create_index(op.f("ix_access_log_at"), "access_log", ["at"], unique=False)
    op.create_index(op.f("ix_access_log_principal_id_at"), "access_log", ["principal_id", "at"], unique=False)
    op.create_table(
        "data_key",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("period_at", sa.BigInteger(), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column(
            "record", sa.LargeBinary(), nullable=True, comment="the key record of docs/format.md; null once destroyed"
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("destroyed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_data_key")),
    )
    op.create_index(
        op.f("ix_data_key_camera_id_stream_period_at"), "data_key", ["camera_id", "stream", "period_at"], unique=False
    )
    op.create_table(
        "gap",
        sa.Column("gap_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True, comment="null: still open"),
        sa.Column("cause", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("gap_id", name=op.f("pk_gap")),
    )
    op.create_index(
        op.f("ix_gap_camera_id_stream_started_at"), "gap", ["camera_id", "stream", "started_at"], unique=False
    )
    op.create_table(
        "garbage",
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("object_key", sa.String(length=400), nullable=False),
        sa.Column("version_id", sa.String(length=200), nullable=True),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("marked_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("object_id", name=op.f("pk_garbage")),
    )
    op.create_table(
        "generation",
        sa.Column(
            "generation", sa.Integer(), nullable=False, comment="raised at every restore or move of the database"
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("generation", name=op.f("pk_generation")),
    )
    op.create_table(
        "hold",
        sa.Column("hold_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("case_number", sa.String(length=100), nullable=True),
        sa.Column("placed_by", sa.String(length=64), nullable=False),
        sa.Column("placed_at", sa.BigInteger(), nullable=False),
        sa.Column("until_at", sa.BigInteger(), nullable=True, comment="null: until released"),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_hold")),
    )
    op.create_index(op.f("ix_hold_camera_id_started_at"), "hold", ["camera_id", "started_at"], unique=False)
    op.create_table(
        "node",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False, comment="Ed25519, 32 bytes"),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_node")),
    )
    op.create_table(
        "outbox",
        sa.Column(
            "outbox_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("outbox_id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "place",
        sa.Column("place_id", sa.String(length=64), nullable=False),
        sa.Column("parent_id", sa.String(length=64), nullable=True),
        sa.Column("level", sa.String(length=16), nullable=False, comment="centre, province, district, site"),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("path", sa.String(length=400), nullable=False, comment="place ids from the root, / after each"),
        sa.ForeignKeyConstraint(["parent_id"], ["place.place_id"], name=op.f("fk_place_parent_id")),
        sa.PrimaryKeyConstraint("place_id", name=op.f("pk_place")),
    )
    op.create_table(
        "principal",
        sa.Column("principal_id", sa.String(length=32), nullable=False),
        sa.Column("username", sa.String(length=100), nullable=False),
        sa.Column(
            "password_hash",
            sa.String(length=200),
            nullable=True,
            comment="argon2id; null: has not chosen one, or a machine account",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("principal_id", name=op.f("pk_principal")),
        sa.UniqueConstraint("username", name=op.f("uq_principal_username")),
    )
    op.create_table(
        "session",
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("incarnation", sa.String(length=32), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.String(length=40), nullable=True),
        sa.Column("first_keyframe_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "units_before_keyframe",
            sa.Integer(),
            nullable=True,
            comment="access units received before the first keyframe",
        ),
        sa.Column(
            "camera_offset_us", sa.BigInteger(), nullable=True, comment="camera time minus server time, from RTCP"
        ),
        sa.Column("camera_uncertainty_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_session")),
    )
    op.create_index(
        op.f("ix_session_camera_id_stream_started_at"), "session", ["camera_id", "stream", "started_at"], unique=False
    )
    op.create_table(
        "access_grant",
        sa.Column("grant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("principal_id", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("place_id", sa.String(length=64), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=True),
        sa.Column("purpose", sa.String(length=400), nullable=False),
        sa.Column("granted_by", sa.String(length=32), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["place_id"], ["place.place_id"], name=op.f("fk_access_grant_place_id")),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.principal_id"], name=op.f("fk_access_grant_principal_id")
        ),
        sa.PrimaryKeyConstraint("grant_id", name=op.f("pk_access_grant")),
    )
    op.create_index(op.f("ix_access_grant_principal_id"), "access_grant", ["principal_id"], unique=False)
    op.create_table(
        "camera",
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("cell", sa.String(length=64), nullable=False),
        sa.Column("place_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False, comment="onvif or rtsp"),
        sa.Column("address", sa.Text(), nullable=False, comment="ONVIF address or rtsp:// URL, never with credentials"),
        sa.Column("sub_address", sa.Text(), nullable=True, comment="rtsp:// URL of the substream, for kind rtsp"),
        sa.Column("credentials", sa.LargeBinary(), nullable=True, comment="sealed by the node's key, or null"),
        sa.Column(
            "credentials_ref",
            sa.String(length=400),
            nullable=True,
            comment="env:NAME or file:PATH instead of sealed credentials",
        ),
        sa.Column("origin", sa.String(length=8), nullable=False, comment="api or file: who may change it"),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("record", sa.Boolean(), nullable=False),
        sa.Column("max_age_days", sa.Integer(), nullable=True, comment="null: the default policy"),
        sa.Column("max_size_bytes", sa.BigInteger(), nullable=True, comment="null: the default policy; 0: no bound"),
        sa.Column("profile", sa.JSON(), nullable=True, comment="what the server read and picked, and why"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["place_id"], ["place.place_id"], name=op.f("fk_camera_place_id")),
        sa.PrimaryKeyConstraint("camera_id", name=op.f("pk_camera")),
    )
    op.create_table(
        "camera_epoch",
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="high 16 bits: the database's generation"),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("incarnation", sa.String(length=32), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=op.f("fk_camera_epoch_node_id")),
        sa.PrimaryKeyConstraint("camera_id", "epoch", name=op.f("pk_camera_epoch")),
    )
    op.create_table(
        "credential",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of a 256-bit random token"),
        sa.Column("kind", sa.String(length=8), nullable=False, comment="session, token, invite"),
        sa.Column("principal_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=True, comment="of an API token"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.principal_id"], name=op.f("fk_credential_principal_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_credential")),
    )
    op.create_index(op.f("ix_credential_principal_id"), "credential", ["principal_id"], unique=False)
    op.create_table(
        "incarnation",
        sa.Column("incarnation", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("alive_at", sa.BigInteger(), nullable=False, comment="renewed every few seconds"),
        sa.Column("ended_at", sa.BigInteger(), nullable=True, comment="null: running, or killed"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=op.f("fk_incarnation_node_id")),
        sa.PrimaryKeyConstraint("incarnation", name=op.f("pk_incarnation")),
    )
    op.create_table(
        "recording",
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("object_key", sa.String(length=400), nullable=False),
        sa.Column("version_id", sa.String(length=200), nullable=True, comment="null where the bucket has no versions"),
        sa.Column("cell", sa.String(length=64), nullable=False),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("incarnation", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=8), nullable=False, comment="live, late, overlap"),
        sa.Column("ended", sa.String(length=10), nullable=False, comment="closed or recovered"),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("crc32c", sa.BigInteger(), nullable=False),
        sa.Column("footer_offset", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["data_key.key_id"], name=op.f("fk_recording_key_id")),
        sa.PrimaryKeyConstraint("object_id", name=op.f("pk_recording")),
        sa.UniqueConstraint(
            "camera_id",
            "stream",
            "epoch",
            "session_id",
            "seq",
            name=op.f("uq_recording_camera_id_stream_epoch_session_id_seq"),
        ),
        sa.UniqueConstraint("object_key", name=op.f("uq_recording_object_key")),
    )
    op.create_index(
        op.f("ix_recording_camera_id_stream_started_at"),
        "recording",
        ["camera_id", "stream", "started_at"],
        unique=False,
    )
    op.create_index(op.f("ix_recording_key_id"), "recording", ["key_id"], unique=False)


def downgrade() -> None:
    for table in (
        "recording", "incarnation", "credential", "camera_epoch", "camera", "access_grant", "session", "principal",
        "place", "outbox", "node", "hold", "generation", "garbage", "gap", "data_key", "access_log",
    ):  # fmt: skip
        op.drop_table(table)
