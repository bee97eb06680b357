"""Copies of the access log's head, signed by the node, for a place that who can write the catalogue cannot reach.

The log itself shows a change and a deletion inside; a truncated or rewritten tail shows only against a head that
was kept elsewhere (`access_log.verify`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import FootageRefused, MediasrvError
from mediasrv.security.access_log import AccessLog, Head
from mediasrv.storage.keys import verify_signature

log = logging.getLogger(__name__)

INTERVAL_S: Final = 60.0
_CONTEXT: Final = b"mediasrv access log head v1"

Sign = Callable[[bytes], bytes]
Publish = Callable[[Head, bytes], Awaitable[None]]


def build_signed_head(node_id: str, head: Head, at_us: int, sign: Sign) -> bytes:
    """A JSON document, signed (Ed25519) as it stands over a context and its own bytes."""
    document = json.dumps(
        {"format": 1, "node_id": node_id, "entry": head.entry, "entry_hash": head.entry_hash.hex(), "at_us": at_us}
    )
    signature = sign(_CONTEXT + document.encode())
    return json.dumps({"document": document, "signature": signature.hex()}).encode()


def parse_signed_head(data: bytes, public_key: Callable[[str], bytes | None]) -> Head:
    """The head. Raises FootageRefused `head_invalid`, or `signature_wrong` where no registered node signed it."""
    try:
        outer = json.loads(data)
        text, signature = str(outer["document"]), bytes.fromhex(outer["signature"])
        document = json.loads(text)
        head = Head(int(document["entry"]), bytes.fromhex(document["entry_hash"]))
        node_id = str(document["node_id"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FootageRefused("This is no signed head of an access log.", code="head_invalid") from error
    key = public_key(node_id)
    if key is None:
        raise FootageRefused("The head was signed by no registered node.", code="signature_wrong")
    verify_signature(key, signature, _CONTEXT + text.encode("utf-8", "replace"))
    return head


class HeadWitness:
    """Publishes a signed head whenever the log has grown, at most once an interval."""

    def __init__(self, access_log: AccessLog, node_id: str, sign: Sign, publish: Publish, clock: Clock) -> None:
        self._access_log = access_log
        self._node_id = node_id
        self._sign = sign
        self._publish = publish
        self._clock = clock
        self._published = 0

    async def run(self) -> None:
        """Until cancelled. A store that is not reached is tried again at the next interval."""
        while True:
            try:
                await self.publish_now()
            except MediasrvError as error:
                log.warning("the access log's head was not copied: %s", error.sentence)
            except Exception:
                log.exception("the access log's head was not copied")
            await asyncio.sleep(INTERVAL_S * random.uniform(0.9, 1.1))  # noqa: S311 - spreads nodes, guards nothing

    async def publish_now(self) -> None:
        """Copies the head if it is new; call it once more at the end of the server."""
        head = await self._access_log.head()
        if head.entry > self._published:
            await self._publish(head, build_signed_head(self._node_id, head, self._clock.wall_us(), self._sign))
            self._published = head.entry
