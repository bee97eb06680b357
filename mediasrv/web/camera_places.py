"""Which place a camera belongs to: asked on every request, so remembered for a moment."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.places import CameraPlace, place_of_camera
from mediasrv.clock import Clock
from mediasrv.media.access_unit import is_camera_id

CACHE_S: Final = 2.0
MOST_CACHED: Final = 50_000


class CameraPlaces:
    """Cameras in service and out of it. An answer is at most `CACHE_S` old; unknown ids are not kept."""

    def __init__(self, catalogue: Catalogue, clock: Clock) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, CameraPlace]] = OrderedDict()

    async def find(self, camera_id: str) -> CameraPlace | None:
        """None for a camera that there has never been."""
        if not is_camera_id(camera_id):
            return None
        now = self._clock.monotonic()
        known = self._known.get(camera_id)
        if known is not None and now - known[0] <= CACHE_S:
            return known[1]
        found = await self._catalogue.read(place_of_camera, camera_id)
        if found is not None:
            self._remember(camera_id, now, found)
        return found

    def forget(self, camera_id: str) -> None:
        """After a change made here."""
        self._known.pop(camera_id, None)

    def _remember(self, camera_id: str, asked_at: float, found: CameraPlace) -> None:
        self._known[camera_id] = (asked_at, found)
        self._known.move_to_end(camera_id)
        while len(self._known) > MOST_CACHED:
            self._known.popitem(last=False)
