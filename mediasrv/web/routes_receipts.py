"""/api/v1/receipts: signed receipts of what was destroyed."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from aiohttp import hdrs, web

from mediasrv.catalogue.receipts import Receipt, get_receipt, list_receipts
from mediasrv.security.policy import Permission
from mediasrv.web.fields import format_time, query_int
from mediasrv.web.routing import Access, Route
from mediasrv.web.services import Services

_MOST_RECEIPTS: Final = 1000


def routes(services: Services) -> list[Route]:
    receipts, permission = _Handlers(services), Permission.ACCESS_LOG_READ
    return [
        Route("GET", "/api/v1/receipts", permission, receipts.list),
        Route("GET", "/api/v1/receipts/{id}", permission, receipts.download),
    ]


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._catalogue = services.catalogue

    async def list(self, request: web.Request, access: Access) -> web.StreamResponse:
        """Newest first, each in short."""
        limit = query_int(request, "limit", 100, 1, _MOST_RECEIPTS) or 100
        before = query_int(request, "before", None, 1, 10**18)
        found = await self._catalogue.read(list_receipts, limit, before)
        return web.json_response({"receipts": [_summary_json(one) for one in found]})

    async def download(self, request: web.Request, access: Access) -> web.StreamResponse:
        """The document as text, to the byte as signed, with its signature."""
        text = request.match_info["id"]
        receipt_id = int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0
        one = await self._catalogue.read(get_receipt, receipt_id)
        name = f'attachment; filename="receipt-{one.receipt_id}.json"'
        body = {
            "id": one.receipt_id,
            "node": one.node_id,
            "document": one.document,
            "signature": base64.b64encode(one.signature).decode(),
        }
        return web.json_response(body, headers={hdrs.CONTENT_DISPOSITION: name})


def _summary_json(one: Receipt) -> dict[str, Any]:
    document = json.loads(one.document)
    footage = document["footage"]
    return {
        "id": one.receipt_id,
        "kind": one.kind,
        "node": one.node_id,
        "made_at": format_time(one.made_us),
        "cameras": len(footage),
        "objects": sum(line["objects"] for line in footage),
        "size_bytes": sum(line["size_bytes"] for line in footage),
        "keys": len(document["keys"]),
        "last_backup_expires_at": document["last_backup_expires_at"],
        "sentence": document["sentence"],
    }
