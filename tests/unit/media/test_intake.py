"""Sessions out of pictures: what begins one, what ends one, what is published, and what is counted instead."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest

from mediasrv.errors import CameraError
from mediasrv.media.access_unit import (
    AccessUnit,
    AudioFormat,
    Codec,
    Session,
    StreamName,
    StreamRef,
    TrackKind,
    VideoFormat,
)
from mediasrv.media.intake import Intake
from mediasrv.media.rtp import G711Depacketizer, packetize_h264

REF = StreamRef("gate-1", StreamName.MAIN)
SPS_360 = bytes.fromhex("6742c01eda0280bfe5c044000003000400000300c83c58ba80")
SPS_720 = bytes.fromhex("674d401fda01401 6e840000003004000000ca3c60ca8".replace(" ", ""))
PPS = bytes.fromhex("68ef3c80")
IDR, SLICE = b"\x65" + bytes(3000), b"\x41" + bytes(500)
START_US = 1_800_000_000_000_000


@dataclass
class Publisher:
    """A mountpoint that writes down what it is told."""

    sessions: list[Session] = field(default_factory=list)
    units: list[AccessUnit] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def start_session(self, session: Session) -> None:
        self.sessions.append(session)

    def publish(self, unit: AccessUnit) -> None:
        assert unit.session is self.sessions[-1]
        self.units.append(unit)

    def end_session(self, reason: str) -> None:
        self.ends.append(reason)

    def track(self, kind: TrackKind) -> list[AccessUnit]:
        return [unit for unit in self.units if unit.format.kind is kind]


class Camera:
    """Sends pictures at 25 a second, and time with them; an intake takes them."""

    def __init__(self, parameter_sets: tuple[bytes, bytes] | None = None) -> None:
        self.publisher = Publisher()
        self.now = 100.0
        self.intake = Intake(self.publisher, self.new_session, 1 << 20)
        self.video = self.intake.add_video(Codec.H264, 96, parameter_sets)
        self.audio = self.intake.add_audio(
            AudioFormat(Codec.PCMA, 8000, 1), lambda deliver: G711Depacketizer(8, deliver)
        )
        self._sequence = 0
        self._audio_sequence = 0

    def new_session(self) -> Session:
        number = len(self.publisher.sessions)
        return Session(str(number), REF, 0, START_US + round((self.now - 100) * 1e6), self.now)

    def picture(self, *nals: bytes, lose: bool = False) -> None:
        payloads = packetize_h264(b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals), 1200)
        self.now += 0.04
        for index, payload in enumerate(payloads):
            marker = 0x80 if index == len(payloads) - 1 else 0
            timestamp = round(self.now * 90_000) & 0xFFFFFFFF
            packet = struct.pack("!BBHII", 0x80, 96 | marker, self._sequence & 0xFFFF, timestamp, 1) + payload
            self._sequence += 1
            if not (lose and index == 0):
                self.video.receive(packet, 0, len(packet), self.now)

    def keyframe(self, sps: bytes = SPS_720) -> None:
        self.picture(sps, PPS, IDR)

    def sound(self) -> None:
        timestamp = round(self.now * 8000) & 0xFFFFFFFF
        packet = struct.pack("!BBHII", 0x80, 8, self._audio_sequence, timestamp, 2) + bytes(160)
        self._audio_sequence += 1
        self.audio.receive(packet, 0, len(packet), self.now)


def test_a_session_is_published_from_its_first_keyframe_on_and_counts_what_came_before() -> None:
    camera = Camera()
    camera.intake.begin()
    for _ in range(3):
        camera.picture(SLICE)
        camera.sound()
    camera.keyframe()
    camera.picture(SLICE)
    camera.sound()
    assert camera.intake.units_before_keyframe == 3
    assert [unit.keyframe for unit in camera.publisher.track(TrackKind.VIDEO)] == [True, False]
    assert len(camera.publisher.track(TrackKind.AUDIO)) == 1
    assert camera.intake.first_keyframe_us == camera.publisher.units[0].arrived_us
    assert (camera.intake.video_units, camera.intake.audio_units) == (2, 1)


def test_times_begin_where_the_session_began_and_follow_the_pictures() -> None:
    camera = Camera()
    camera.intake.begin()
    camera.keyframe()
    for _ in range(24):
        camera.picture(SLICE)
    units = camera.publisher.units
    assert [unit.dts for unit in units] == [3600 * (index + 1) for index in range(25)]
    assert all(unit.pts == unit.dts for unit in units)
    assert abs(units[-1].arrived_us - (START_US + 1_000_000)) < 2_000


def test_a_picture_before_the_answer_to_play_begins_the_session() -> None:
    camera = Camera()
    camera.keyframe()
    camera.intake.begin()
    assert len(camera.publisher.sessions) == 1
    assert len(camera.publisher.units) == 1


def test_damage_ends_the_session_and_the_next_waits_for_its_keyframe() -> None:
    camera = Camera()
    camera.keyframe()
    camera.picture(SLICE)
    camera.picture(SLICE, lose=True)
    camera.picture(SLICE)
    camera.picture(SLICE)
    assert camera.publisher.ends == ["stream_damaged"]
    assert len(camera.publisher.sessions) == 2
    assert camera.intake.units_before_keyframe == 1
    camera.keyframe()
    assert camera.publisher.units[-1].session is camera.publisher.sessions[1]
    assert camera.publisher.units[-1].format is camera.publisher.units[0].format


def test_damage_before_the_first_keyframe_makes_no_session_after_session() -> None:
    camera = Camera()
    camera.intake.begin()
    for _ in range(50):
        camera.picture(SLICE, lose=True)
        camera.picture(SLICE)
    assert camera.video.damaged_units == 49, "nobody can know of the first"
    assert camera.publisher.ends == []
    assert len(camera.publisher.sessions) == 1


def test_junk_between_pictures_is_no_damage() -> None:
    camera = Camera()
    camera.keyframe()
    camera.intake.disturb(camera.now)
    camera.picture(SLICE)
    assert camera.publisher.ends == []


def test_new_parameter_sets_change_the_format_at_their_keyframe_within_the_session() -> None:
    camera = Camera(parameter_sets=(SPS_720, PPS))
    camera.picture(IDR)
    camera.picture(SLICE)
    camera.keyframe(SPS_360)
    camera.picture(SLICE)
    formats = [unit.format for unit in camera.publisher.units]
    assert formats[0] is formats[1]
    assert formats[2] is formats[3]
    assert [(picture.width, picture.height) for picture in formats[1:3] if isinstance(picture, VideoFormat)] == [
        (1280, 720),
        (640, 360),
    ]
    assert camera.publisher.ends == []
    assert camera.intake.video_format is formats[3]


def test_the_stream_s_parameter_sets_win_over_those_described() -> None:
    camera = Camera(parameter_sets=(SPS_360, PPS))
    camera.keyframe(SPS_720)
    assert camera.intake.video_format is not None
    assert camera.intake.video_format.width == 1280


@pytest.mark.parametrize("sps", [None, b"\x67\x4d\x40"])
def test_three_keyframes_without_usable_parameter_sets_are_an_error(sps: bytes | None) -> None:
    camera = Camera(parameter_sets=(sps, PPS) if sps else None)
    for _ in range(2):
        camera.picture(IDR)
    with pytest.raises(CameraError) as missing:
        camera.picture(IDR)
    assert missing.value.code == "no_parameter_sets"
    assert camera.publisher.units == []


def test_two_keyframes_ten_seconds_apart_without_parameter_sets_are_an_error() -> None:
    camera = Camera()
    camera.picture(IDR)
    camera.now += 10
    with pytest.raises(CameraError):
        camera.picture(IDR)


def test_nonsense_in_the_stream_keeps_the_format_that_works() -> None:
    camera = Camera(parameter_sets=(SPS_720, PPS))
    camera.picture(IDR)
    camera.keyframe(b"\x67\x4d\x40")
    assert len({id(unit.format) for unit in camera.publisher.units}) == 1


@pytest.mark.parametrize(("step_us", "sessions"), [(900_000, 1), (1_100_000, 2), (-1_100_000, 2)])
def test_a_step_of_the_machine_s_clock_begins_a_new_session(step_us: int, sessions: int) -> None:
    camera = Camera()
    camera.keyframe()
    camera.now += 50
    wall_us = START_US + round((camera.now - 100) * 1e6) + step_us
    camera.intake.check_clock(wall_us, camera.now)
    assert len(camera.publisher.sessions) == sessions
    assert camera.publisher.ends == ["clock_step"] * (sessions - 1)


def test_an_ended_intake_has_no_session_and_ends_once() -> None:
    camera = Camera()
    camera.keyframe()
    camera.intake.end("camera_lost")
    camera.intake.end("camera_lost")
    camera.intake.check_clock(0, camera.now)
    assert camera.publisher.ends == ["camera_lost"]
    assert camera.intake.wall_us(camera.now) is None
