"""What every server of `fanout` is fed with: one pre-encoded clip in a loop, and G.711 beside it where asked for.

Each picture tells when it was due and when it was published, behind its last NAL unit: where a server passes NAL units
on, whoever opens a picture's last packet knows how late it is. (No decoder sees it, and one would pass over it.)
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from load_tests.measure import percentile
from load_tests.media import alaw_frames, encoded_clip, split_avcc

WIDTH: Final = 1280
HEIGHT: Final = 720
RATE: Final = 25
BITRATE_KBPS: Final = 2050
GOP_S: Final = 2.0
GOP: Final = round(GOP_S * RATE)
SOUND_S: Final = 0.02

_MAGIC: Final = b"~due"
_STAMP_BYTES: Final = len(_MAGIC) + 32
_LATE_KEPT: Final = 100_000

OnPicture = Callable[[int, bool, bytes], None]
"""Takes number, whether it is a keyframe, and the access unit (AVCC)."""
OnSound = Callable[[int, bytes], None]
"""Takes number and a frame of SOUND_S of A-law."""


def build_stamp(due_ns: int, published_ns: int) -> bytes:
    """Wall time in ns since 1970, in digits: no start code can come of them."""
    return _MAGIC + b"%016x%016x" % (due_ns, published_ns)


def read_stamp(payload: bytes) -> tuple[int, int] | None:
    """(due, published) in ns since 1970 of a picture whose last payload this is; None where it tells nothing."""
    if len(payload) < _STAMP_BYTES or payload[-_STAMP_BYTES : 4 - _STAMP_BYTES] != _MAGIC:
        return None
    return int(payload[-32:-16], 16), int(payload[-16:], 16)


class ClipOnAir:
    """The clip in real time."""

    def __init__(self, *, audio: bool = False) -> None:
        clip = encoded_clip(WIDTH, HEIGHT, RATE, BITRATE_KBPS, GOP_S, 10.0)
        self.first = clip[0]
        self.pictures = 0
        self._late_ms: deque[float] = deque(maxlen=_LATE_KEPT)
        self.started_ns = 0
        self._clip = [_open_ended(picture) for picture in clip]
        self._sound = alaw_frames() if audio else []
        self._heard = 0

    async def run(self, on_picture: OnPicture, on_sound: OnSound | None = None) -> None:
        """Hands out pictures and frames of sound, each at its time, until cancelled."""
        self.started_ns = time.time_ns()
        # The wall time of a monotonic clock: a step of the system's clock must not make pictures late.
        base_s = time.monotonic()
        while True:
            sound_s = self._heard * SOUND_S if self._sound and on_sound else float("inf")
            due_s = min(self.pictures / RATE, sound_s)
            delay_s = base_s + due_s - time.monotonic()
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            if on_sound is not None and sound_s <= due_s:
                on_sound(self._heard, self._sound[self._heard % len(self._sound)])
                self._heard += 1
            else:
                late_s = time.monotonic() - base_s - due_s
                self._late_ms.append(late_s * 1000)
                self._publish(on_picture, round(due_s * 1e9), round(late_s * 1e9))

    def take_late_ms_p99(self) -> float:
        """The delay that 99 of 100 pictures since the last call kept to."""
        late_ms, self._late_ms = self._late_ms, deque(maxlen=_LATE_KEPT)
        return percentile(late_ms, 99) if late_ms else 0.0

    def _publish(self, on_picture: OnPicture, since_ns: int, late_ns: int) -> None:
        due_ns = self.started_ns + since_ns
        front, last = self._clip[self.pictures % len(self._clip)]
        stamped = last + build_stamp(due_ns, due_ns + late_ns)
        number, self.pictures = self.pictures, self.pictures + 1
        on_picture(number, number % GOP == 0, front + len(stamped).to_bytes(4, "big") + stamped)


def _open_ended(picture: bytes) -> tuple[bytes, bytes]:
    """An access unit (AVCC) without its last NAL unit, and that one without its length."""
    last = split_avcc(picture)[-1]
    return picture[: len(picture) - 4 - len(last)], last
