"""Cameras whose time misbehaves, all the way: intake, hub, parts, gaps. Never a phantom gap nor a long duration."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest

from mediasrv.hub import Mountpoint
from mediasrv.media import fmp4
from mediasrv.media.access_unit import AudioFormat, Codec, Part, Session, StreamName, StreamRef, TrackKind
from mediasrv.media.camera_clock import CameraClock
from mediasrv.media.gaps import GapLedger
from mediasrv.media.intake import Intake
from mediasrv.media.rtp import G711Depacketizer, packetize_h264
from tests.unit.media.streams import PPS, SPS

REF = StreamRef("gate-1", StreamName.MAIN)
START_US = 1_800_000_000_000_000
START = 100.0
WHOLE_WRAP_S = 2**32 / 90_000


@dataclass(frozen=True)
class Picture:
    """`media_s` is what the camera counts, `arrived_s` when the picture is here."""

    media_s: float
    arrived_s: float


class Recording:
    """A mountpoint's parts, and the gaps that the recorder would see between them."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ends: list[str] = []
        self.ledger = GapLedger()
        self.gaps: list[object] = []

    def on_part(self, part: Part) -> None:
        self.parts.append(part)
        if part.format.kind is TrackKind.VIDEO:
            unit_us = part.duration * 100 // 9 // part.access_units
            ended_us = part.started_us + part.duration * 100 // 9
            self.gaps += self.ledger.covered(part.started_us, ended_us, unit_us)

    def on_session_ended(self, session: Session, reason: str) -> None:
        self.ends.append(reason)

    def of(self, kind: TrackKind) -> list[Part]:
        return [part for part in self.parts if part.format.kind is kind]


def record(pictures: Iterator[Picture], *, first_timestamp: int = 0, rate: float = 25.0) -> Recording:
    """Sends pictures, a keyframe each two seconds, and G.711 beside them; all as RTP packets."""
    recording, mountpoint = Recording(), Mountpoint(REF, 0.48)
    mountpoint.subscribe_parts(recording)
    intake = Intake(mountpoint, lambda: Session("s", REF, 1, START_US, START), 1 << 20)
    video = intake.add_video(Codec.H264, 96, None)
    audio = intake.add_audio(AudioFormat(Codec.PCMA, 8000, 1), partial(G711Depacketizer, 8))
    intake.begin()
    sounds = sequence = 0
    for number, picture in enumerate(pictures):
        while sounds * 0.02 <= picture.arrived_s:
            send(audio.receive, 8, sounds, first_timestamp + sounds * 160, bytes(160), True, sounds * 0.02)
            sounds += 1
        nals = [SPS, PPS, b"\x65" + bytes(2000)] if number % round(2 * rate) == 0 else [b"\x41" + bytes(300)]
        payloads = packetize_h264(b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals), 1200)
        for index, payload in enumerate(payloads):
            timestamp = first_timestamp + round(picture.media_s * 90_000)
            send(video.receive, 96, sequence, timestamp, payload, index == len(payloads) - 1, picture.arrived_s)
            sequence += 1
    intake.end("camera_lost")
    assert mountpoint.dropped_sinks == 0
    return recording


def send(
    receive: Callable[[bytes, int, int, float], int],
    kind: int,
    sequence: int,
    timestamp: int,
    payload: bytes,
    marker: bool,
    arrived_s: float,
) -> None:
    head = struct.pack("!BBHII", 0x80, kind | marker << 7, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, kind)
    receive(head + payload, 0, len(head) + len(payload), START + arrived_s)


def steady(seconds: float, rate: float = 25.0, media_rate: float | None = None) -> Iterator[Picture]:
    for index in range(round(seconds * rate)):
        yield Picture(index / (media_rate or rate), index / rate)


def jumping(seconds: float, jump_s: float) -> Iterator[Picture]:
    """Media time jumps in the middle."""
    for picture in steady(seconds):
        yield Picture(picture.media_s + (jump_s if picture.arrived_s >= seconds / 2 else 0.0), picture.arrived_s)


def in_bursts(seconds: float) -> Iterator[Picture]:
    """The network holds pictures back for three seconds, then lets all go at once."""
    for picture in steady(seconds):
        held = seconds / 2 <= picture.media_s < seconds / 2 + 3
        yield Picture(picture.media_s, seconds / 2 + 3 if held else picture.arrived_s)


@pytest.mark.parametrize(
    ("name", "pictures", "first_timestamp", "rate"),
    [
        ("as it should be", steady(60), 0, 25.0),
        ("declares 25, delivers 21, counts as declared", steady(120, 21.0, 25.0), 0, 21.0),
        ("declares 25, delivers 21, counts what is true", steady(60, 21.0), 0, 21.0),
        ("drifts by 200 ppm", steady(120, 25.0, 25.0 * (1 + 200e-6)), 0, 25.0),
        ("drifts by 5000 ppm", steady(120, 25.0, 25.0 * (1 + 5000e-6)), 0, 25.0),
        ("wraps after ten seconds", steady(60), 2**32 - 900_000, 25.0),
        ("wraps, audio too", steady(60), 2**32 - 80_000, 25.0),
        ("jumps forward by an hour", jumping(60, 3600.0), 0, 25.0),
        ("jumps back by an hour", jumping(60, -3600.0), 0, 25.0),
        ("jumps by a little less than a wrap", jumping(60, WHOLE_WRAP_S - 5), 0, 25.0),
        ("begins anew at zero", jumping(60, -30.0), 0, 25.0),
        ("one picture a second", steady(60, 1.0), 0, 1.0),
        ("five a second", steady(60, 5.0), 0, 5.0),
        ("a line that stalls", in_bursts(60), 0, 25.0),
    ],
)
def test_no_phantom_gap_and_no_long_duration(
    name: str, pictures: Iterator[Picture], first_timestamp: int, rate: float
) -> None:
    kept = list(pictures)
    recording = record(iter(kept), first_timestamp=first_timestamp, rate=rate)
    video = recording.of(TrackKind.VIDEO)
    assert recording.ends == ["camera_lost"], "one session from the first picture to the last"
    assert recording.gaps == []
    assert sum(part.access_units for part in video) == len(kept)
    for before, after in pairwise(video):
        assert after.decode_time == before.decode_time + before.duration, "no hole between parts"
        assert after.started_us >= before.started_us
    longest_s = max(sample.duration for part in video for sample in fmp4.read_samples(part.fragment)) / 90_000
    assert longest_s <= 1 / rate + (3.1 if name == "a line that stalls" else 0.25)
    elapsed_s = kept[-1].arrived_s - kept[0].arrived_s
    assert sum(part.duration_s for part in video) == pytest.approx(elapsed_s + 1 / rate, rel=0.02, abs=0.5)
    sound = recording.of(TrackKind.AUDIO)
    assert abs(sound[-1].started_us - video[-1].started_us) < 1_500_000 + 1e6 / rate, "audio and video stay in step"
    newest_us = START_US + kept[-1].arrived_s * 1e6
    assert newest_us - 2e6 - 1e6 / rate <= video[-1].started_us <= newest_us


def test_a_camera_in_the_year_2000_is_indexed_by_the_server_and_its_own_time_kept_beside() -> None:
    sessions: list[Session] = []

    def new_session() -> Session:
        sessions.append(Session("s", REF, 1, START_US, START))
        return sessions[-1]

    recording, mountpoint = Recording(), Mountpoint(REF, 0.48)
    mountpoint.subscribe_parts(recording)
    intake = Intake(mountpoint, new_session, 1 << 20)
    video = intake.add_video(Codec.H264, 96, (SPS, PPS))
    intake.begin()
    clock, camera_us = CameraClock(), 946_684_800_000_000
    for index in range(100):
        send(video.receive, 96, index, index * 3600, b"\x65" + bytes(100), True, index * 0.04)
        offset_us = camera_us - START_US
        clock.observe(START + index * 0.04, offset_us - 500, offset_us + 500)
        intake.note_camera_clock(clock)
    intake.end("camera_lost")
    assert [round(part.started_us / 1e6) for part in recording.parts[:1]] == [START_US // 1_000_000]
    assert recording.gaps == []
    assert sum(part.duration_s for part in recording.parts) == pytest.approx(4.0)
    assert sessions[0].counts.camera_offset_us == pytest.approx(camera_us - START_US, abs=1000)
