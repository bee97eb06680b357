"""A camera's time line as the API gives it, and what must be true of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import urlencode

from load_tests.server import ApiClient


@dataclass(frozen=True)
class Gap:
    start: datetime
    end: datetime
    cause: str
    is_open: bool


@dataclass(frozen=True)
class TimeLine:
    """In order of time."""

    coverage: list[tuple[datetime, datetime]]
    gaps: list[Gap]

    @property
    def causes(self) -> list[str]:
        return [gap.cause for gap in self.gaps]

    def check_whole(self, tolerance: timedelta) -> None:
        """Footage and gaps follow each other without hole or overlap."""
        spans = sorted([*self.coverage, *((gap.start, gap.end) for gap in self.gaps)])
        for (_, earlier_end), (later_start, _) in pairwise(spans):
            assert abs(later_start - earlier_end) <= tolerance, (earlier_end, later_start)


def time_line(
    client: ApiClient,
    camera_id: str,
    start: datetime | None = None,
    stream: str = "main",
    end: datetime | None = None,
) -> TimeLine:
    """From `start` (ten minutes ago) to `end` (now). Each gap has a sentence in both languages."""
    now = datetime.now(UTC)
    query = urlencode(
        {"start": (start or now - timedelta(minutes=10)).isoformat(), "end": (end or now).isoformat(), "stream": stream}
    )
    found = client.get(f"/api/v1/cameras/{camera_id}/timeline?{query}")
    assert all(gap["sentence"] and gap["sentence_vi"] for gap in found["gaps"])
    coverage = [(_when(one["start"]), _when(one["end"])) for one in found["coverage"]]
    # A gap that is still open ends where the question ends (docs/api.md).
    gaps = [
        Gap(_when(one["start"]), _when(one["end"]), one["cause"], one["end"] == found["end"]) for one in found["gaps"]
    ]
    return TimeLine(coverage, gaps)


def _when(text: str) -> datetime:
    return datetime.fromisoformat(text)
