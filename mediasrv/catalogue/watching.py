"""Triggers that tell the journal of changed rows: for migrations that make a table which is journalled."""

from __future__ import annotations

from alembic import op


def watch(table: str, key: str) -> None:
    """Notes each change of a row, in the transaction that makes it."""
    if op.get_bind().dialect.name == "sqlite":
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            op.execute(
                f"CREATE TRIGGER watch_{table}_{event.lower()} AFTER {event} ON {table} BEGIN "
                f"INSERT INTO row_change (of_table, row_key) VALUES ('{table}', {row}.{key}); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION watch_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'DELETE' THEN INSERT INTO row_change (of_table, row_key) VALUES ('{table}', OLD.{key}::text); "
        f"ELSE INSERT INTO row_change (of_table, row_key) VALUES ('{table}', NEW.{key}::text); END IF; "
        "RETURN NULL; END $$"
    )
    op.execute(
        f"CREATE TRIGGER watch_{table} AFTER INSERT OR UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION watch_{table}()"
    )


def unwatch(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for event in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER watch_{table}_{event}")
        return
    op.execute(f"DROP TRIGGER watch_{table} ON {table}")
    op.execute(f"DROP FUNCTION watch_{table}()")
