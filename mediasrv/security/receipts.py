"""Receipts of destruction: what was deleted, which keys were destroyed, and how far this system can know that.

A receipt is made of the entries of the access log, which are written in the same transactions as what they tell: a
crash before a receipt loses nothing, the next one covers it. `build_receipt` and `sign_receipt` serve every way in
which keys are destroyed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.receipts import Receipt, add_receipt, last_covered
from mediasrv.clock import DAY_US, Clock, from_us
from mediasrv.security.access_log import AccessLog, Entry, Event, append_events, entries_after

SENTENCE: Final = "Destroyed as far as this system knows."
CONTEXT: Final = b"mediasrv receipt 1\n"
"""Goes before the document where it is signed: no signature of a receipt is one of anything else."""

DELETED: Final = "retention.deleted"
KEY_DESTROYED: Final = "retention.key_destroyed"
MOST_ENTRIES: Final = 10_000
"""Of the access log in one receipt; what is beyond comes into the next."""


def build_receipt(
    kind: str,
    node_id: str,
    made_us: int,
    footage: Sequence[Mapping[str, Any]],
    keys: Sequence[Mapping[str, Any]],
    backup_days: float,
    **more: Any,
) -> str:
    """The document: JSON, in one order. `footage` says camera, objects, size_bytes, start and end; `keys` say key_id,
    subject, period, destroyed_at and copies, one for each place from which the key was destroyed.

    `backup_days`: for how long backups of the catalogue and of the key bucket are kept; 0: that is not known.
    """
    expires = from_us(made_us + round(backup_days * DAY_US)).isoformat() if backup_days else None
    document = {
        "kind": kind,
        "node": node_id,
        "made_at": from_us(made_us).isoformat(),
        "footage": [dict(one) for one in footage],
        "keys": [dict(one) for one in keys],
        "last_backup_expires_at": expires,
        "sentence": SENTENCE,
    }
    return json.dumps(document | more, ensure_ascii=True, separators=(",", ":"), sort_keys=True)


def sign_receipt(
    kind: str, document: str, node_id: str, sign: Callable[[bytes], bytes], made_us: int, last_entry: int = 0
) -> Receipt:
    """Ready for `add_receipt`."""
    signature = sign(CONTEXT + document.encode("ascii"))
    return Receipt(0, kind, made_us, node_id, last_entry, document, signature)


class Receipts:
    """Writes the receipts of retention, `interval_s` apart at least, where anything was destroyed."""

    def __init__(
        self,
        catalogue: Catalogue,
        access_log: AccessLog,
        node_id: str,
        sign: Callable[[bytes], bytes],
        clock: Clock,
        interval_s: float,
        backup_days: float,
        key_bucket: str,
    ) -> None:
        self._catalogue = catalogue
        self._access_log = access_log
        self._node_id = node_id
        self._sign = sign
        self._clock = clock
        self._interval_s = interval_s
        self._backup_days = backup_days
        self._key_bucket = key_bucket
        self._due_at = clock.monotonic()
        self._looked_until = 0

    async def write_due(self) -> None:
        """Writes what is due. One whose transaction fails is written the next time."""
        if self._clock.monotonic() < self._due_at:
            return
        head = await self._access_log.head()
        since = max(self._looked_until, await self._catalogue.read(last_covered, "retention"))
        while entries := await self._catalogue.read(entries_after, since, (DELETED, KEY_DESTROYED), MOST_ENTRIES):
            since = entries[-1].entry
            await self._access_log.transact(self._write, entries)
        self._looked_until = max(since, head.entry)
        self._due_at = self._clock.monotonic() + self._interval_s

    def _write(self, connection: Connection, entries: Sequence[Entry]) -> None:
        now_us = self._clock.wall_us()
        document = build_receipt(
            "retention",
            self._node_id,
            now_us,
            _footage(entries),
            [self._key(one) for one in entries if one.action == KEY_DESTROYED],
            self._backup_days,
            access_log={"first": entries[0].entry, "last": entries[-1].entry},
        )
        receipt = sign_receipt("retention", document, self._node_id, self._sign, now_us, entries[-1].entry)
        number = add_receipt(connection, receipt)
        append_events(connection, [Event("receipt.written", str(number), username="mediasrv")], now_us)

    def _key(self, entry: Entry) -> dict[str, Any]:
        at = from_us(entry.at_us).isoformat()
        copies = [f"key bucket {self._key_bucket}", "catalogue"]
        return {
            "key_id": entry.detail["key_id"],
            "subject": entry.subject,
            "period": entry.detail["period"],
            "destroyed_at": at,
            "copies": [{"place": place, "destroyed_at": at} for place in copies],
        }


def _footage(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A line for each camera."""
    lines: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry.action != DELETED:
            continue
        detail = entry.detail
        line = lines.setdefault(entry.subject, {"camera": entry.subject, "objects": 0, "size_bytes": 0, "spans": []})
        line["objects"] += detail["objects"]
        line["size_bytes"] += detail["size_bytes"]
        line["spans"].append([detail["start"], detail["end"]])
    return list(lines.values())
