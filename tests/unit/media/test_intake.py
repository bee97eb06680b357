"""Sessions out of pictures: what begins one, what ends one, what is published, and what is counted instead."""

from __future__ import annotations

import itertools
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
from mediasrv.media.nal import join_avcc
from mediasrv.media.rtp import G711Depacketizer, packetize_h264
from tests.unit.media.h265_packets import h265_nal, packetize_h265
from tests.unit.media.streams import H265_PPS, H265_SPS, H265_VPS

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

    def __init__(self, parameter_sets: tuple[bytes, ...] | None = None, codec: Codec = Codec.H264) -> None:
        self.publisher = Publisher()
        self.now = 100.0
        self.intake = Intake(self.publisher, self.new_session, 1 << 20)
        self.video = self.intake.add_video(codec, 96, parameter_sets)
        self.codec = codec
        self.audio = self.intake.add_audio(
            AudioFormat(Codec.PCMA, 8000, 1), lambda deliver: G711Depacketizer(8, deliver)
        )
        self.metadata = self.intake.add_metadata(107)
        self.read_at: float | None = None
        """When what is sent now is read, where that is not at once."""
        self._sequence = 0
        self._audio_sequence = 0
        self._metadata_sequence = 0

    def new_session(self) -> Session:
        number = len(self.publisher.sessions)
        now = self.read_at or self.now
        return Session(str(number), REF, 0, START_US + round((now - 100) * 1e6), now)

    def picture(self, *nals: bytes, lose: bool = False, shown_after: int = 0) -> None:
        """`shown_after` pictures later than it is sent."""
        payloads = packetize_h265(nals, 1200) if self.codec is Codec.H265 else packetize_h264(join_avcc(nals), 1200)
        self.now += 0.04
        for index, payload in enumerate(payloads):
            marker = 0x80 if index == len(payloads) - 1 else 0
            timestamp = round((self.now + 0.04 * shown_after) * 90_000) & 0xFFFFFFFF
            packet = struct.pack("!BBHII", 0x80, 96 | marker, self._sequence & 0xFFFF, timestamp, 1) + payload
            self._sequence += 1
            if not (lose and index == 0):
                self.video.receive(packet, 0, len(packet), self.read_at or self.now)

    def keyframe(self, sps: bytes = SPS_720) -> None:
        self.picture(sps, PPS, IDR)

    def sound(self) -> None:
        timestamp = round(self.now * 8000) & 0xFFFFFFFF
        packet = struct.pack("!BBHII", 0x80, 8, self._audio_sequence, timestamp, 2) + bytes(160)
        self._audio_sequence += 1
        self.audio.receive(packet, 0, len(packet), self.now)

    def document(self, xml: bytes, *, timestamp: int = 0) -> None:
        packet = struct.pack("!BBHII", 0x80, 107 | 0x80, self._metadata_sequence, timestamp, 3) + xml
        self._metadata_sequence += 1
        self.metadata.receive(packet, 0, len(packet), self.now)


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


def test_a_session_behind_damage_begins_when_its_pictures_came_though_they_were_read_together() -> None:
    camera = Camera()
    camera.keyframe()
    for _ in range(49):
        camera.picture(SLICE)
    camera.read_at = camera.now + 0.2
    camera.picture(SLICE)
    camera.picture(IDR, lose=True)
    camera.keyframe()
    for _ in range(2):
        camera.picture(SLICE)
    _, after = camera.publisher.sessions
    assert camera.publisher.ends == ["stream_damaged"]
    assert after.started_us - START_US == pytest.approx(2_120_000, abs=10_000)
    assert after.started_us - after.started_monotonic * 1e6 == pytest.approx(START_US - 100e6)
    arrived = [unit.arrived_us - START_US for unit in camera.publisher.units if unit.session is after]
    assert arrived == pytest.approx([2_120_000, 2_160_000, 2_200_000], abs=10_000)


def test_what_came_long_before_it_was_read_is_another_matter_than_damage() -> None:
    camera = Camera()
    camera.keyframe()
    camera.picture(SLICE)
    camera.read_at = camera.now + 3.0
    camera.picture(IDR, lose=True)
    camera.keyframe()
    after = camera.publisher.sessions[-1]
    assert after.started_monotonic == pytest.approx(camera.read_at - 0.5, abs=0.01)
    assert camera.publisher.units[-1].arrived_us == pytest.approx(START_US + (camera.read_at - 100) * 1e6, abs=2000)


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


CRA, RASL, TRAIL = h265_nal(21, bytes(3000)), h265_nal(8, bytes(300)), h265_nal(1, bytes(500))
RECOVERY_POINT = b"\x06\x06\x01\x84\x80"


def test_h265_begins_at_a_cra_picture_without_those_that_lead_to_it() -> None:
    camera = Camera(codec=Codec.H265)
    for _ in range(2):
        camera.picture(H265_VPS, H265_SPS, H265_PPS, CRA, shown_after=2)
        camera.picture(RASL, shown_after=-1)
        camera.picture(RASL, shown_after=-1)
        camera.picture(TRAIL, shown_after=2)
        camera.picture(RASL, shown_after=-1)
    units = camera.publisher.units
    assert [unit.keyframe for unit in units] == [True, False, False, True, False, False, False, False]
    assert camera.intake.leading_units == 2
    assert [later.dts > earlier.dts for earlier, later in itertools.pairwise(units)] == [True] * 7
    assert units[0].format.codec is Codec.H265
    assert camera.publisher.ends == []


def test_an_open_gop_of_h264_begins_at_its_recovery_point_in_the_same_way() -> None:
    camera = Camera(parameter_sets=(SPS_720, PPS))
    camera.picture(SLICE)
    camera.picture(RECOVERY_POINT, SLICE, shown_after=1)
    camera.picture(SLICE, shown_after=-1)
    camera.picture(SLICE, shown_after=1)
    assert [unit.keyframe for unit in camera.publisher.units] == [True, False]
    assert (camera.intake.leading_units, camera.intake.units_before_keyframe) == (1, 1)


def test_a_clock_set_back_right_behind_the_keyframe_leads_to_nothing() -> None:
    camera = Camera()
    camera.keyframe()
    for _ in range(3):
        camera.picture(SLICE, shown_after=-100)
    assert len(camera.publisher.units) == 4
    assert camera.intake.leading_units == 0


def test_documents_come_from_the_start_of_a_session_at_the_time_of_their_arrival() -> None:
    camera = Camera()
    camera.document(b"<lost/>")
    camera.intake.begin()
    camera.now += 0.5
    camera.document(b"<first/>", timestamp=0xFFFFFFFF)
    camera.document(b"<second/>", timestamp=5)
    camera.keyframe()
    camera.picture(SLICE, lose=True)
    camera.picture(SLICE)
    camera.document(b"<third/>")
    units = camera.publisher.track(TrackKind.METADATA)
    assert [unit.payload for unit in units] == [b"<first/>", b"<second/>", b"<third/>"]
    assert [unit.dts for unit in units] == [45_000, 45_001, 7200]
    assert [unit.arrived_us - START_US for unit in units] == [500_000, 500_000, 620_000]
    assert [unit.session.session_id for unit in units] == ["0", "0", "1"]
    assert camera.intake.metadata_units == 3
