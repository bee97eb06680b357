"""The tree of places, as pure functions of paths: ids from the root, a slash after each (`root/north/site-7/`)."""

from __future__ import annotations

import re
from typing import Final

from mediasrv.catalogue.places import LEVELS
from mediasrv.errors import InvalidRequest

ROOT_PATH: Final = "root/"
_PLACE_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def lies_within(path: str, ancestor: str) -> bool:
    """Whether `path` is `ancestor` or below it. The slash at the end keeps `site-1/` out of `site-11/`."""
    return path.startswith(ancestor)


def check_place(place_id: str, level: str, parent_level: str) -> None:
    """Raises InvalidRequest for a bad id, an unknown level, or one that is not below the parent's."""
    if _PLACE_ID.fullmatch(place_id) is None:
        raise InvalidRequest("A place id is 1 to 64 of a-z, 0-9 and inner hyphens.", code="place_invalid")
    if level not in LEVELS or LEVELS.index(level) <= LEVELS.index(parent_level):
        raise InvalidRequest(f"A place below a {parent_level} must be of a lower level.", code="place_invalid")
