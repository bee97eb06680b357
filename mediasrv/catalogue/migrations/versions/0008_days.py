"""On PostgreSQL, recordings and events lie in a partition a day. SQLite keeps its tables as they are.

All rows go into the default partition first; every start spreads what lies there over its days (`partitions.py`).
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_KEYS = {
    "recording": {
        "pk_recording": "PRIMARY KEY (object_id{day})",
        "uq_recording_object_key": "UNIQUE (object_key{day})",
        "uq_recording_camera_id_stream_epoch_session_id_seq": (
            "UNIQUE (camera_id, stream, epoch, session_id, seq{day})"
        ),
        "fk_recording_key_id": "FOREIGN KEY (key_id) REFERENCES data_key (key_id)",
    },
    "camera_event": {"pk_camera_event": "PRIMARY KEY (event_id{day})"},
}
_DAYS = {"recording": "started_at", "camera_event": "arrived_at"}
_INDEXES = {
    "recording": {
        # With the end in it a timeline is read from the index alone.
        "ix_recording_camera_id_stream_started_at": "(camera_id, stream, started_at) INCLUDE (ended_at)",
        "ix_recording_key_id": "(key_id)",
    },
    "camera_event": {"ix_camera_event_camera_id_arrived_at": "(camera_id, arrived_at)"},
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, column in _DAYS.items():
            _remake(table, f"PARTITION BY RANGE ({column})", f", {column}")
        _collate("C")  # listings are compared with the bucket's, which are in the order of bytes
        op.execute("COMMENT ON COLUMN credential.kind IS 'session, token, invite, rtsp'")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in _DAYS:
            _remake(table, "", "")
        _collate("default")
        op.execute("COMMENT ON COLUMN credential.kind IS 'session, token, invite'")


def _collate(collation: str) -> None:
    op.execute(f'ALTER TABLE recording ALTER COLUMN object_key TYPE varchar(400) COLLATE "{collation}"')


def _remake(table: str, partitioning: str, day: str) -> None:
    """The same table anew, with all its rows."""
    op.execute(f"ALTER TABLE {table} RENAME TO {table}_before")
    for name in _KEYS[table]:
        op.execute(f"ALTER TABLE {table}_before DROP CONSTRAINT {name}")
    for name in _INDEXES[table]:
        op.execute(f"DROP INDEX {name}")
    op.execute(f"CREATE TABLE {table} (LIKE {table}_before INCLUDING DEFAULTS INCLUDING COMMENTS) {partitioning}")
    if partitioning:
        op.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")
    op.execute(f"INSERT INTO {table} SELECT * FROM {table}_before")
    if table == "camera_event":
        op.execute("ALTER SEQUENCE camera_event_event_id_seq OWNED BY camera_event.event_id")
    op.execute(f"DROP TABLE {table}_before")
    for name, key in _KEYS[table].items():
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {key.format(day=day)}")
    for name, columns in _INDEXES[table].items():
        op.execute(f"CREATE INDEX {name} ON {table} {columns if partitioning else columns.partition(' INCLUDE')[0]}")
