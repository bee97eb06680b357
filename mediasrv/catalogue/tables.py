"""The catalogue's tables (SQLAlchemy Core). A change here needs a migration step in `migrations/`.

Keys hold node and epoch, so that footage of several nodes and owners can lie side by side
(docs/architecture.md). Times are aware UTC datetimes in Python and microseconds in the database,
the same in SQLite and PostgreSQL.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

from mediasrv.clock import from_us, to_us


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since 1970 UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_us(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_us(value)


metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_Serial = BigInteger().with_variant(Integer, "sqlite")

# --- nodes and ownership -------------------------------------------------------------------------

node = Table(
    "node",
    metadata,
    Column("node_id", String(64), primary_key=True),
    Column("public_key", LargeBinary, nullable=False, comment="Ed25519, 32 bytes"),
    Column("registered_at", UtcTime, nullable=False),
)

incarnation = Table(
    "incarnation",
    metadata,
    Column("incarnation", String(32), primary_key=True),
    Column("node_id", ForeignKey("node.node_id"), nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("alive_at", UtcTime, nullable=False, comment="renewed every few seconds"),
    Column("ended_at", UtcTime, comment="null: running, or killed"),
)

camera_epoch = Table(
    "camera_epoch",
    metadata,
    Column("camera_id", String(64), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, comment="high 16 bits: the database's generation"),
    Column("node_id", ForeignKey("node.node_id"), nullable=False),
    Column("incarnation", String(32), nullable=False),
    Column("granted_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("reason", String(40)),
)

# --- places, cameras, sessions -------------------------------------------------------------------

place = Table(
    "place",
    metadata,
    Column("place_id", String(64), primary_key=True),
    Column("parent_id", ForeignKey("place.place_id")),
    Column("level", String(16), nullable=False, comment="centre, province, district, site"),
    Column("name", String(200), nullable=False),
    Column("path", String(400), nullable=False, comment="place ids from the root, / after each"),
)

camera = Table(
    "camera",
    metadata,
    Column("camera_id", String(64), primary_key=True),
    Column("cell", String(64), nullable=False),
    Column("place_id", ForeignKey("place.place_id"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("kind", String(8), nullable=False, comment="onvif or rtsp"),
    Column("address", Text, nullable=False, comment="ONVIF address or rtsp:// URL, never with credentials"),
    Column("sub_address", Text, comment="rtsp:// URL of the substream, for kind rtsp"),
    Column("credentials", LargeBinary, comment="sealed by the node's key, or null"),
    Column("credentials_ref", String(400), comment="env:NAME or file:PATH instead of sealed credentials"),
    Column("origin", String(8), nullable=False, comment="api or file: who may change it"),
    Column("enabled", Boolean, nullable=False),
    Column("profile", JSON, comment="what the server read and picked, and why"),
    Column("created_at", UtcTime, nullable=False),
    Column("removed_at", UtcTime),
    Column("transport", String(8), comment="tcp, udp, auto; null: the settings'"),
    Column("tls_fingerprint", String(64), comment="SHA-256 of the pinned certificate"),
    Column("record_stream", String(8), nullable=False, server_default="main", comment="main, sub, both"),
    Column("grid_stream", String(8), nullable=False, server_default="sub", comment="main; sub, where there is one"),
    Column("learnt_transport", String(8), comment="tcp or udp: what worked last"),
    Column("recording", JSON, nullable=False, server_default='{"mode": "continuous"}', comment="settings.plans"),
    Column("record_audio", String(8), nullable=False, server_default="policy", comment="on, off, policy"),
    Column("attestation", JSON, comment="version of the text, by whom, at_us; version 0: from before it was asked for"),
)

session = Table(
    "session",
    metadata,
    Column("session_id", String(32), primary_key=True),
    Column("camera_id", String(64), nullable=False),
    Column("stream", String(8), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("node_id", String(64), nullable=False),
    Column("incarnation", String(32), nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("end_reason", String(40)),
    Column("first_keyframe_at", UtcTime),
    Column("units_before_keyframe", Integer, comment="access units received before the first keyframe"),
    Column("camera_offset_us", BigInteger, comment="camera time minus server time, from RTCP"),
    Column("camera_uncertainty_us", BigInteger),
    Index(None, "camera_id", "stream", "started_at"),
)

# --- footage -------------------------------------------------------------------------------------

data_key = Table(
    "data_key",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("camera_id", String(64), nullable=False),
    Column("stream", String(8), nullable=False),
    Column("period_at", UtcTime, nullable=False),
    Column("node_id", String(64), nullable=False),
    Column("record", LargeBinary, comment="the key record of docs/format.md; null once destroyed"),
    Column("created_at", UtcTime, nullable=False),
    Column("destroyed_at", UtcTime),
    Index(None, "camera_id", "stream", "period_at"),
)

recording = Table(
    "recording",
    metadata,
    Column("object_id", String(64), primary_key=True),
    Column("object_key", String(400), nullable=False, unique=True),
    Column("version_id", String(200), comment="null where the bucket has no versions"),
    Column("cell", String(64), nullable=False),
    Column("camera_id", String(64), nullable=False),
    Column("stream", String(8), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("session_id", String(32), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("node_id", String(64), nullable=False),
    Column("incarnation", String(32), nullable=False),
    Column("status", String(8), nullable=False, comment="live, late, overlap"),
    Column("ended", String(10), nullable=False, comment="closed or recovered"),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("crc32c", BigInteger, nullable=False),
    Column("footer_offset", BigInteger, nullable=False),
    Column("key_id", ForeignKey("data_key.key_id"), nullable=False),
    Column("committed_at", UtcTime, nullable=False),
    UniqueConstraint("camera_id", "stream", "epoch", "session_id", "seq"),
    Index(None, "camera_id", "stream", "started_at"),
    Index(None, "key_id"),
)

gap = Table(
    "gap",
    metadata,
    Column("gap_id", _Serial, primary_key=True, autoincrement=True),
    Column("camera_id", String(64), nullable=False),
    Column("stream", String(8), nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime, comment="null: still open"),
    Column("cause", String(40), nullable=False),
    Column("detail", Text),
    Index(None, "camera_id", "stream", "started_at"),
)

hold = Table(
    "hold",
    metadata,
    Column("hold_id", _Serial, primary_key=True, autoincrement=True),
    Column("camera_id", String(64), nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("case_number", String(100)),
    Column("placed_by", String(64), nullable=False),
    Column("placed_at", UtcTime, nullable=False),
    Column("until_at", UtcTime, comment="null: until released"),
    Column("released_at", UtcTime),
    Column("released_by", String(100)),
    Column("release_reason", Text),
    Index(None, "camera_id", "started_at"),
)

# Objects whose version in storage has a legal hold.
legal_hold = Table(
    "legal_hold",
    metadata,
    Column("object_id", String(64), primary_key=True),
    Column("set_at", UtcTime, nullable=False),
)

retention_policy = Table(
    "retention_policy",
    metadata,
    Column("subject", String(80), primary_key=True, comment="place:ID or camera:ID"),
    Column("max_age_days", Integer, comment="null: inherited; 0: no bound"),
    Column("max_size_bytes", BigInteger, comment="null: inherited; 0: no bound"),
    Column("keep_events", JSON, nullable=False, comment="days by kind of event"),
    Column("event_before_s", Integer, comment="null: inherited"),
    Column("event_after_s", Integer, comment="null: inherited"),
    Column("set_by", String(100), nullable=False),
    Column("set_at", UtcTime, nullable=False),
)

receipt = Table(
    "receipt",
    metadata,
    Column("receipt_id", _Serial, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("node_id", String(64), nullable=False),
    Column("last_entry", BigInteger, nullable=False, comment="of the access log, that it covers"),
    Column("document", Text, nullable=False, comment="JSON, exactly as signed"),
    Column("signature", LargeBinary, nullable=False),
)

garbage = Table(
    "garbage",
    metadata,
    Column("object_id", String(64), primary_key=True),
    Column("object_key", String(400), nullable=False),
    Column("version_id", String(200)),
    Column("key_id", String(32), nullable=False),
    Column("camera_id", String(64), nullable=False),
    Column("stream", String(8), nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("reason", String(40), nullable=False),
    Column("marked_at", UtcTime, nullable=False),
)

# --- what cameras tell ---------------------------------------------------------------------------

camera_event = Table(
    "camera_event",
    metadata,
    Column("event_id", _Serial, primary_key=True, autoincrement=True),
    Column("camera_id", String(64), nullable=False),
    Column("kind", String(16), nullable=False, comment="motion, tamper, digital_input, storage"),
    Column("active", Boolean, nullable=False, comment="it began, or it ended"),
    Column("source", LargeBinary, nullable=False, comment="the camera's words, sealed by the node's key"),
    Column("camera_at", UtcTime, comment="what the camera says; null where that is no time"),
    Column("arrived_at", UtcTime, nullable=False),
    Index(None, "camera_id", "arrived_at"),
)

# --- people and what they did --------------------------------------------------------------------

principal = Table(
    "principal",
    metadata,
    Column("principal_id", String(32), primary_key=True),
    Column("username", String(100), nullable=False, unique=True),
    Column("password_hash", String(200), comment="argon2id; null: has not chosen one, or a machine account"),
    Column("created_at", UtcTime, nullable=False),
    Column("disabled_at", UtcTime),
)

grant = Table(
    "access_grant",
    metadata,
    Column("grant_id", _Serial, primary_key=True, autoincrement=True),
    Column("principal_id", ForeignKey("principal.principal_id"), nullable=False),
    Column("role", String(16), nullable=False),
    Column("place_id", ForeignKey("place.place_id"), nullable=False),
    Column("starts_at", UtcTime, nullable=False),
    Column("ends_at", UtcTime),
    Column("purpose", String(400), nullable=False),
    Column("granted_by", String(32)),
    Column("revoked_at", UtcTime),
    Index(None, "principal_id"),
)

credential = Table(
    "credential",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True, comment="SHA-256 of a 256-bit random token"),
    Column("kind", String(8), nullable=False, comment="session, token, invite, rtsp"),
    Column("principal_id", ForeignKey("principal.principal_id"), nullable=False),
    Column("name", String(100), comment="of an API token"),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("issued_by", LargeBinary, comment="of the token that a session came from"),
    Column("sealed", LargeBinary, comment="of an RTSP login: name and secret, sealed"),
    Column("camera_id", String(64), comment="the only one it opens; null: all"),
    Index(None, "principal_id"),
)

access_log = Table(
    "access_log",
    metadata,
    Column("entry", BigInteger, primary_key=True, autoincrement=False, comment="from 1, without a hole"),
    Column("at", UtcTime, nullable=False),
    Column("principal_id", String(32), comment="null: nobody known, or the server itself"),
    Column("username", String(100), nullable=False),
    Column("remote", String(64), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(400), nullable=False),
    Column("detail", Text, nullable=False, comment="JSON, exactly as hashed"),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("entry_hash", LargeBinary, nullable=False),
    Index(None, "at"),
    Index(None, "principal_id", "at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", _Serial, primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("subject", String(400), nullable=False),
    Column("body", JSON, nullable=False),
)

generation = Table(
    "generation",
    metadata,
    Column("generation", Integer, primary_key=True, comment="raised at every restore or move of the database"),
    Column("at", UtcTime, nullable=False),
    Column("reason", String(16), nullable=False, server_default="first", comment="first, rebuild, restore"),
    Column("confirmed_at", UtcTime, comment="null: after a rebuild or restore, retention waits"),
    Column("confirmed_by", String(100)),
)

# --- the journal ---------------------------------------------------------------------------------

row_change = Table(
    "row_change",
    metadata,
    Column("change_id", _Serial, primary_key=True, autoincrement=True),
    Column("of_table", String(40), nullable=False),
    Column("row_key", String(64), nullable=False),
)
"""Written by triggers on the tables of `JOURNALLED` (migration 0009), in the transaction of the change itself. On
SQLite a migration that makes such a table anew must make its triggers anew.
"""

journal = Table(
    "journal",
    metadata,
    Column("node_id", String(64), primary_key=True),
    Column("number", BigInteger, nullable=False, comment="of its last segment"),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of that segment"),
    Column("at", UtcTime, nullable=False),
)

JOURNALLED: Final = {
    "node": node.c.node_id,
    "place": place.c.place_id,
    "camera": camera.c.camera_id,
    "session": session.c.session_id,
    "gap": gap.c.gap_id,
    "hold": hold.c.hold_id,
    "retention_policy": retention_policy.c.subject,
}
"""What cannot be read from recording objects: tables, parents before those that refer to them, and their keys."""
