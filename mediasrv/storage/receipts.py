"""Receipts of destroyed data keys: what was destroyed, where, and until when a copy may live on; signed by the node.

A receipt is a JSON document with `document` (a string, itself JSON, exactly as signed) and `signature` (128 hex
digits): docs/format.md, 5.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from mediasrv.clock import DAY_US, SECOND_US, from_us
from mediasrv.errors import FootageRefused
from mediasrv.storage.keys import KeyRecord, NodeKey, verify_signature

STATEMENT: Final = "destroyed as far as this system knows"
_CONTEXT: Final = b"mediasrv key receipt v1"


def build_receipt(
    record: KeyRecord,
    copies: Sequence[str],
    recordings_deleted: int,
    at_us: int,
    destroyed_by: str,
    reason: str,
    backup_days: float,
    cache_s: float,
    node_id: str,
    node_key: NodeKey,
) -> dict[str, str]:
    """`copies` names where the wrapped key lay and is gone from; `cache_s` bounds how long servers keep it opened.

    `backup_days` 0: how long backups live is not known, and the receipt says no date.
    """
    document = {
        "format": 1,
        "statement": STATEMENT,
        "key_id": record.key_id,
        "cell": record.cell,
        "camera": record.camera,
        "stream": record.stream,
        "period_start": _iso(record.period_us),
        "period_end": _iso(record.period_us + record.period_s * SECOND_US),
        "recipients": list(record.wrapped),
        "copies_destroyed": list(copies),
        "recordings_deleted": recordings_deleted,
        "destroyed_at": _iso(at_us),
        "destroyed_by": destroyed_by,
        "reason": reason,
        "in_memory_until": _iso(at_us + round(cache_s * SECOND_US)),
        "backups_expire_at": _iso(at_us + round(backup_days * DAY_US)) if backup_days else None,
        "node_id": node_id,
    }
    text = json.dumps(document, separators=(",", ":"))
    return {"document": text, "signature": node_key.sign(_CONTEXT + text.encode()).hex()}


def read_receipt(receipt: object) -> dict[str, Any]:
    """What it says, its signature not yet verified. Raises FootageRefused `receipt_broken`."""
    try:
        document = json.loads(receipt["document"])  # type: ignore[index]
        if document["format"] != 1 or not isinstance(document["node_id"], str):
            raise ValueError("of another format")
    except (ValueError, KeyError, TypeError) as error:
        raise FootageRefused("This is no receipt of a destroyed key.", code="receipt_broken") from error
    return dict(document)


def verify_receipt(receipt: object, public_key: bytes) -> dict[str, Any]:
    """What it says, where the node of this public key signed it. Raises FootageRefused."""
    document = read_receipt(receipt)
    try:
        text, signature = str(receipt["document"]), bytes.fromhex(receipt["signature"])  # type: ignore[index]
    except (ValueError, KeyError, TypeError) as error:
        raise FootageRefused("This receipt has no signature.", code="receipt_broken") from error
    verify_signature(public_key, signature, _CONTEXT + text.encode())
    return document


def _iso(wall_us: int) -> str:
    return from_us(wall_us).isoformat()
