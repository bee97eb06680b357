"""Where a check of many objects has come to, so that one that was cut off need not begin again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mediasrv.errors import Conflict
from mediasrv.storage.whole_files import write_whole


@dataclass(frozen=True, slots=True)
class Mark:
    """All object keys up to `after` are checked; `state` is what was found, as plain JSON values."""

    after: str
    state: Mapping[str, Any]


class Marks:
    """A file with one mark, and what was asked for: a check goes on only as it was begun."""

    def __init__(self, path: Path, asked: Mapping[str, Any]) -> None:
        self._path = path
        self._asked = dict(asked)

    def read(self) -> Mark:
        """Raises Conflict `nothing_to_resume` where no check that asked the same was cut off."""
        try:
            kept = json.loads(self._path.read_bytes())
            if kept["asked"] == self._asked:
                return Mark(str(kept["after"]), kept["state"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise Conflict("No check that was asked the same was cut off.", code="nothing_to_resume")

    def write(self, mark: Mark) -> None:
        document = {"asked": self._asked, "after": mark.after, "state": dict(mark.state)}
        write_whole(self._path, json.dumps(document).encode())

    def clear(self) -> None:
        """The check has come to its end."""
        self._path.unlink(missing_ok=True)
