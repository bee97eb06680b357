"""Queries of receipts of destruction. What is kept is what was signed, to the byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select

from mediasrv.catalogue.tables import receipt
from mediasrv.clock import from_us, to_us
from mediasrv.errors import NotFound


@dataclass(frozen=True, slots=True)
class Receipt:
    """`document` is JSON, `signature` the node's over it; `last_entry` the last one of the access log it covers."""

    receipt_id: int
    kind: str
    made_us: int
    node_id: str
    last_entry: int
    document: str
    signature: bytes


def add_receipt(connection: Connection, one: Receipt) -> int:
    """Whatever its `receipt_id` says; the one it got."""
    values = {
        "kind": one.kind,
        "made_at": from_us(one.made_us),
        "node_id": one.node_id,
        "last_entry": one.last_entry,
        "document": one.document,
        "signature": one.signature,
    }
    statement = insert(receipt).values(values).returning(receipt.c.receipt_id)
    return int(connection.execute(statement).scalar_one())


def last_covered(connection: Connection, kind: str) -> int:
    """The last entry of the access log that a receipt of this kind covers; 0 where there is none."""
    query = select(func.max(receipt.c.last_entry)).where(receipt.c.kind == kind)
    return int(connection.execute(query).scalar() or 0)


def list_receipts(connection: Connection, limit: int, before: int | None = None) -> list[Receipt]:
    """The newest below number `before`, newest first."""
    query = select(receipt).order_by(receipt.c.receipt_id.desc()).limit(limit)
    if before is not None:
        query = query.where(receipt.c.receipt_id < before)
    return [_receipt(row) for row in connection.execute(query)]


def get_receipt(connection: Connection, receipt_id: int) -> Receipt:
    """Raises NotFound `receipt_not_found`."""
    row = connection.execute(select(receipt).where(receipt.c.receipt_id == receipt_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such receipt.", code="receipt_not_found")
    return _receipt(row)


def _receipt(row: Any) -> Receipt:
    return Receipt(
        row.receipt_id, row.kind, to_us(row.made_at), row.node_id, row.last_entry, row.document, row.signature
    )
