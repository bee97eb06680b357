"""What a rendition costs: each transcode in a worker process, in real time, from the access unit to what is made of it.

`python -m load_tests transcode --seconds 10 --json`. CPU is that of the worker, without its start, and of this process
what it takes more than without the rendition. `delay_ms` is from publishing an access unit to what is
made of it, `first_ms` from asking for a rendition to its first access unit.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

from load_tests import media
from load_tests.camera_farm.tracks.clips import coded_clip
from load_tests.camera_farm.tracks.shapes import VideoCodec, VideoShape
from load_tests.measure import cpu_s, machine, print_json
from mediasrv.clock import SystemClock
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import (
    AccessUnit,
    AudioFormat,
    Codec,
    Format,
    Rendition,
    Session,
    StreamName,
    StreamRef,
    TrackKind,
)
from mediasrv.media.nal_h265 import h265_video_format, nal_type
from mediasrv.settings import TranscodeSettings
from mediasrv.transcode import Transcoder

REF = StreamRef("gate-1", StreamName.MAIN)
AAC = AudioFormat(Codec.AAC, media.AAC_CLOCK_RATE, 1, media.AAC_CONFIG)
PCMA = AudioFormat(Codec.PCMA, media.ALAW_CLOCK_RATE, 1)
NAMES = ("aac_to_opus", "g711_to_opus", "g711_to_aac", "h265_720p_to_h264", "h265_1080p_to_h264", "h265_2160p_to_h264")
_BASE_S = 4.0
Track = tuple[Format, list[bytes], int]
"""A format, payloads to be played in a loop, and how long each lasts in the format's clock."""


def track_of(name: str) -> tuple[Track, Rendition]:
    """What is sent, and what it is to become."""
    if name.startswith("h265"):
        sizes = {"720p": (1280, 720, 2000), "1080p": (1920, 1080, 3000), "2160p": (3840, 2160, 6000)}
        return _h265(*sizes[name.split("_")[1]]), Rendition(video=Codec.H264)
    wanted = Rendition(audio=Codec.OPUS if name.endswith("opus") else Codec.AAC)
    if name.startswith("aac"):
        return (AAC, media.aac_frames(), media.AAC_FRAME_SAMPLES), wanted
    return (PCMA, media.alaw_frames(), media.ALAW_FRAME_BYTES), wanted


def _h265(width: int, height: int, kbps: int) -> Track:
    pictures = coded_clip(VideoShape(width, height, 25, kbps, 2.0, VideoCodec.H265))
    sets = {nal_type(nal): nal for nal in pictures[0].nals}
    return h265_video_format(sets[32], sets[33], sets[34]), [media.join_avcc(one.nals) for one in pictures], 3600


def main(argv: Sequence[str]) -> int:
    """0 when everything that was sent came out, and nothing was dropped."""
    parser = argparse.ArgumentParser(prog="python -m load_tests transcode", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", help="one of the transcodes", choices=NAMES)
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    options = parser.parse_args(argv)
    result: dict[str, Any] = {"machine": machine(), "seconds": options.seconds}
    for name in (options.only,) if options.only else NAMES:
        result[name] = asyncio.run(_measure(*track_of(name), options.seconds))
    print_json(result)
    return 0 if all(one["dropped"] == 0 for one in result.values() if isinstance(one, dict)) else 1


class _Sink:
    """When what was made came."""

    def __init__(self, kind: TrackKind) -> None:
        self.came: dict[int, float] = {}
        self._kind = kind

    def on_access_unit(self, unit: AccessUnit) -> None:
        if unit.format.kind is self._kind:
            self.came[unit.arrived_us] = time.monotonic()

    def on_session_ended(self, session: Session, reason: str) -> None:
        pass


async def _measure(track: Track, rendition: Rendition, seconds: float) -> dict[str, Any]:
    hub = Hub()
    transcoder = Transcoder(hub, TranscodeSettings(nice=0), SystemClock())
    running = asyncio.create_task(transcoder.run())
    await asyncio.sleep(0)
    mountpoint = hub.mountpoint(REF)
    session = Session("load", REF, 1, time.time_ns() // 1000, time.monotonic())
    mountpoint.start_session(session)
    kind = track[0].kind
    if kind is TrackKind.AUDIO:  # a rendition begins with a picture
        video, payloads, _ = _h265(1280, 720, 2000)
        mountpoint.publish(AccessUnit(session, video, 0, 0, session.started_us, True, payloads[0]))
    units = _units(session, track)
    base_s = await _base_cpu_s(mountpoint, units, session)
    asked, sink = time.monotonic(), _Sink(kind)
    transcoder.mountpoint(REF, rendition).subscribe(sink)
    counts = transcoder.counts["video" if kind is TrackKind.VIDEO else "audio"]
    sent: dict[int, float] = {}
    before_us, ours_s, began = 0, 0.0, 0.0
    for unit in units:
        await _publish_in_time(mountpoint, unit, session)
        sent[unit.arrived_us] = time.monotonic()
        if not began and time.monotonic() - asked > 2.0:
            before_us, ours_s, began = counts.cpu_us, cpu_s(os.getpid()), time.monotonic()
        if began and time.monotonic() - began > seconds:
            break
    measured_s = time.monotonic() - began
    result = {
        "ms_cpu_per_stream_s": (counts.cpu_us - before_us) / 1000 / measured_s,
        "ms_cpu_per_stream_s_server": ((cpu_s(os.getpid()) - ours_s) / measured_s - base_s) * 1000,
        "first_ms": (min(sink.came.values()) - asked) * 1000,
        "delay_ms_p50": statistics.median(_delays_ms(sent, sink.came)),
        "access_units_made": len(sink.came),
        "dropped": counts.dropped,
    }
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return result


async def _base_cpu_s(mountpoint: Mountpoint, units: Iterator[AccessUnit], session: Session) -> float:
    """CPU of this process a second while it publishes and nobody wants anything of it."""
    before, began = cpu_s(os.getpid()), time.monotonic()
    while time.monotonic() - began < _BASE_S:
        await _publish_in_time(mountpoint, next(units), session)
    return (cpu_s(os.getpid()) - before) / _BASE_S


def _delays_ms(sent: dict[int, float], came: dict[int, float]) -> list[float]:
    """Of what was made: how much later it came than the newest access unit that it was made of was published."""
    at = sorted(sent)
    delays, index = [], 0
    for arrived_us in sorted(one for one in came if one >= at[0]):
        while index + 1 < len(at) and at[index + 1] <= arrived_us:
            index += 1
        delays.append((came[arrived_us] - sent[at[index]]) * 1000)
    return delays


def _units(session: Session, track: Track) -> Iterator[AccessUnit]:
    form, payloads, duration = track
    index = 0
    while True:
        dts = index * duration
        arrived_us = session.started_us + dts * 1_000_000 // form.clock_rate
        keyframe = form.kind is TrackKind.AUDIO or index % len(payloads) % 50 == 0
        yield AccessUnit(session, form, dts, dts, arrived_us, keyframe, payloads[index % len(payloads)])
        index += 1


async def _publish_in_time(mountpoint: Mountpoint, unit: AccessUnit, session: Session) -> None:
    due_s = session.started_monotonic + (unit.arrived_us - session.started_us) / 1e6
    await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    mountpoint.publish(unit)
