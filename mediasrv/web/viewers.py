"""Who watches live at this moment, and ends it when the right to is gone.

HLS viewers ask anew for each part and meet the guard each time. A WebRTC viewer meets it once, so its
right is asked again every `CHECK_S`: with the sessions' cache that ends it well within 5 s of a revocation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import NotFound
from mediasrv.media.access_unit import StreamRef
from mediasrv.security.access_log import Event
from mediasrv.security.policy import Permission
from mediasrv.security.sessions import Identity
from mediasrv.web.services import Services

log = logging.getLogger(__name__)

CHECK_S: Final = 1.0
VIEWING_WINDOW_S: Final = 60.0
"""Requests of live media closer together than this are one viewing, and one entry in the access log."""

HLS_PRESENT_S: Final = 10.0
"""An HLS viewer is counted this long after its last request."""


@dataclass(frozen=True, slots=True)
class _Admitted:
    principal_id: str
    username: str
    token_hash: bytes
    camera_id: str


class Viewers:
    """Admitted WebRTC viewers, and HLS viewers by their last request. RTSP readers are counted here, and ended by
    their own door."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._clock: Clock = services.clock
        self._admitted: dict[str, _Admitted] = {}
        self._hls: dict[StreamRef, dict[bytes, float]] = {}

    def admitted(self, viewer_id: str, identity: Identity, camera_id: str) -> None:
        """Call in the same turn of the loop in which the viewer joined."""
        self._admitted[viewer_id] = _Admitted(identity.principal_id, identity.username, identity.token_hash, camera_id)

    def check_owner(self, viewer_id: str, principal_id: str, camera_id: str) -> None:
        """Raises NotFound `viewer_not_found` for another principal's viewer, or another camera's."""
        admitted = self._admitted.get(viewer_id)
        if admitted is None or (admitted.principal_id, admitted.camera_id) != (principal_id, camera_id):
            raise NotFound("There is no such viewer of yours.", code="viewer_not_found")

    def left(self, viewer_id: str) -> None:
        self._admitted.pop(viewer_id, None)

    def seen_by_hls(self, ref: StreamRef, token_hash: bytes) -> None:
        """Hot: once a request."""
        self._hls.setdefault(ref, {})[token_hash] = self._clock.monotonic()

    def counts(self) -> Mapping[StreamRef, int]:
        """Viewers of each stream that has any."""
        self._drop_absent()
        found = {ref: len(present) for ref, present in self._hls.items()}
        for viewer in self._services.live.viewers() if self._services.live else ():
            found[viewer.ref] = found.get(viewer.ref, 0) + 1
        for reader in self._services.rtsp.readers() if self._services.rtsp else ():
            found[reader.ref] = found.get(reader.ref, 0) + 1
        return found

    async def run(self) -> None:
        """Ends revoked viewers until cancelled. A catalogue that fails for a moment does not end this."""
        while True:
            try:
                await self.end_revoked()
                self._drop_absent()
            except Exception:
                log.exception("rights of live viewers could not be checked")
            await asyncio.sleep(CHECK_S)

    async def end_revoked(self) -> None:
        """Asks once more for the right of every WebRTC viewer."""
        live = self._services.live
        if live is None:
            return
        present = {viewer.viewer_id for viewer in live.viewers()}
        for viewer_id, admitted in list(self._admitted.items()):
            if viewer_id not in present:
                self.left(viewer_id)
            elif not await self._still_permitted(admitted):
                live.leave(viewer_id)
                self.left(viewer_id)
                event = Event("live.ended", admitted.camera_id, admitted.principal_id, admitted.username)
                await self._services.access_log.append(event)

    async def _still_permitted(self, admitted: _Admitted) -> bool:
        identity = await self._services.sessions.recall(admitted.token_hash)
        place = await self._services.places.find(admitted.camera_id)
        if identity is None or place is None or place.removed_us is not None:
            return False
        return identity.may(Permission.LIVE_VIEW, place.path, self._clock.wall_us())

    def _drop_absent(self) -> None:
        oldest = self._clock.monotonic() - HLS_PRESENT_S
        for ref, present in list(self._hls.items()):
            for token_hash in [one for one, seen in present.items() if seen < oldest]:
                del present[token_hash]
            if not present:
                del self._hls[ref]
