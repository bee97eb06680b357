"""Cameras that misbehave, seen through the API: a clear state while it lasts, recovery by itself, nothing lost.

`test_rtsp_pull.py` has many more troubles, one pull at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from load_tests.beside import Beside, loop_beside
from load_tests.readback import Account, account_for, played_units
from load_tests.seaweed import SeaweedServer
from load_tests.server import ApiError
from load_tests.stack import Stack, running_stack, wait_for
from load_tests.timeline import TimeLine, time_line
from mediasrv.media.access_unit import VideoFormat
from mediasrv.media.fmp4 import read_format, read_samples
from mediasrv.media.nal import NAL_SPS, iter_avcc, nal_type, parse_sps
from tests.integration.bad_rtsp import CLIP, GOP, OTHER_CLIP, RATE, BadCamera, Fault
from tests.vod import read_playlist

FARM = {"cameras": 1, "mode": "load", "audio": "none", "width": 640, "height": 360, "rate": 25, "gop": 1}
OVERRIDES: dict[str, dict[str, Any]] = {
    "storage": {"bucket": "bad-cameras-footage", "key_bucket": "bad-cameras-keys"},
    "pull": {
        "allowed_networks": ["127.0.0.0/8"],
        "stall_timeout_s": 2.0,
        "response_timeout_s": 1.0,
        "backoff_first_s": 0.6,
        "backoff_most_s": 0.8,
    },
}
KEY = b"a key of cameras"
UNIT = timedelta(seconds=1 / RATE)
READ = timedelta(seconds=0.05)
"""What comes within `pull.gather_s` is read at once: an arrival lies up to so much after the sending."""
GARBAGE = Fault(greeting=bytes(range(256)) * 40)
NO_SETS = Fault(described_sets=False, carried_sets=False)
OFF = Fault(close_on="OPTIONS")
JPEG = Fault(sdp=b"v=0\r\nm=video 0 RTP/AVP 26\r\na=rtpmap:26 JPEG/90000\r\na=control:v\r\n")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, s3: SeaweedServer) -> Iterator[Stack]:
    """A server with one camera that behaves, and room for bad ones."""
    with running_stack(Path(tmp_path_factory.mktemp("bad-cameras")), FARM, OVERRIDES, s3) as stack:
        stack.wait_until_recording()
        yield stack
        # One bad camera never disturbs another.
        assert stack.farm.camera(stack.cameras[0])["streams"]["main"]["sessions_total"] == 1


@pytest.fixture
def beside() -> Iterator[Beside]:
    with loop_beside() as beside:
        yield beside


@dataclass
class Tried:
    """A bad camera that the server records."""

    stack: Stack
    beside: Beside
    camera: BadCamera
    camera_id: str
    began: datetime

    @property
    def main(self) -> dict[str, Any]:
        found: dict[str, Any] = self.stack.client.cameras()[self.camera_id]["streams"]["main"]
        return found

    def change(self, fault: Fault) -> None:
        self.beside.call(self.camera.change(fault))

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Its state as of when the condition holds of it."""
        return wait_for(lambda: main if condition(main := self.main) else None, 20, lambda: str(self.main)) or {}

    def until_recorded(self) -> None:
        """Until it is live and a second of what is sent from then on is durable."""
        self.until(lambda main: main["state"] == "live")
        until = datetime.now(UTC) + timedelta(seconds=1)
        self.until(lambda main: main["state"] == "live" and _durable_until(main) >= until)

    @property
    def time_line(self) -> TimeLine:
        return time_line(self.stack.client, self.camera_id, self.began)

    def account(self) -> Account:
        """Ends the last session, and says what became of all that was sent to the recorder."""
        self.change(OFF)
        # A gap is written when the footage before it is durable.
        self.until(lambda main: main["state"] == "retrying" and self.time_line.gaps[-1].is_open)
        units = played_units(self.stack.client, self.camera_id, self.began, datetime.now(UTC))
        # The first session was the trial before it was added.
        return account_for(units, self.camera.logs[1:], KEY)


def _durable_until(main: dict[str, Any]) -> datetime:
    text = main["recording"]["durable_until"]
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


@contextmanager
def tried(stack: Stack, beside: Beside, camera_id: str) -> Iterator[Tried]:
    """A camera that behaves, added and recorded; removed in the end."""
    began = datetime.now(UTC)
    with beside.entered(BadCamera(Fault(), KEY)) as camera:
        body = {"id": camera_id, "name": camera_id, "address": camera.url, "attested": 1}
        stack.client.call("POST", "/api/v1/cameras", body)
        try:
            one = Tried(stack, beside, camera, camera_id, began)
            one.until_recorded()
            yield one
        finally:
            stack.client.call("DELETE", f"/api/v1/cameras/{camera_id}")


@pytest.mark.parametrize(
    ("name", "fault", "code", "lost_at_break"),
    [
        ("garbage", GARBAGE, "protocol_broken", 0),
        ("garbage-later", Fault(only_junk_after=2 * GOP), "protocol_broken", 1),
        ("stops", Fault(stop_after=2 * GOP), "stalled", 0),
        ("breaks", Fault(close_after=2 * GOP), "camera_lost", 3),
        ("no-sps", NO_SETS, "no_parameter_sets", 0),
        ("jpeg", JPEG, "codec_unsupported", 0),
        ("refuses", Fault(status={"PLAY": "503 Service Unavailable"}), "camera_busy", 0),
    ],
)
def test_a_trouble_is_named_while_it_lasts_and_costs_nothing_that_was_sent_before_or_after(
    stack: Stack, beside: Beside, name: str, fault: Fault, code: str, lost_at_break: int
) -> None:
    """`lost_at_break`: pictures that a broken connection or the garbage behind them takes with it, at most."""
    with tried(stack, beside, name) as bad:
        before = bad.camera.accepted
        bad.change(fault)
        main = bad.until(lambda main: bad.camera.accepted > before and _is_retrying(main, code))
        assert main["reason"]["sentence"].endswith(".")
        assert main["reason"]["sentence_vi"].endswith(".")
        assert (main["recording"]["state"], main["recording"]["reason"]["code"]) == ("waiting", code)
        bad.change(Fault())
        bad.until_recorded()
        assert bad.main["reason"] is None
        found = bad.time_line
        account = bad.account()
        assert account.ok, account
        assert account.tail <= lost_at_break
        assert account.kept >= 2 * RATE
        assert {code} <= set(found.causes) <= {code, "connecting", "camera_lost", "waiting_keyframe"}
        found.check_whole(1.5 * UNIT)


def _is_retrying(main: dict[str, Any], code: str) -> bool:
    return main["state"] == "retrying" and main["reason"]["code"] == code


def test_a_packet_cut_short_costs_the_pictures_until_the_next_keyframe_and_is_a_gap(
    stack: Stack, beside: Beside
) -> None:
    with tried(stack, beside, "cut") as bad:
        bad.change(Fault(cut_after=5 * GOP + GOP // 2))
        bad.until(lambda main: "stream_damaged" in bad.time_line.causes)
        bad.until_recorded()
        account = bad.account()
        (damaged,) = [gap for gap in bad.time_line.gaps if gap.cause == "stream_damaged"]
        # Where the lost picture's own time is not known to the millisecond, the damage itself may take none.
        waits = [gap for gap in bad.time_line.gaps if gap.start == damaged.end and gap != damaged]
    sound = (account.doubled, account.out_of_order, account.badly_signed, account.unmarked, account.tail)
    assert sound == ([], 0, 0, 0, 0)
    cut = bad.camera.logs[-1]["first"] + 5 * GOP + GOP // 2
    assert [counter for _, counter in account.missing] == list(range(cut, cut + GOP // 2))
    assert {gap.cause for gap in waits} <= {"waiting_keyframe"}
    outage = sum((gap.end - gap.start for gap in waits), damaged.end - damaged.start)
    assert abs(outage - len(account.missing) * UNIT) <= UNIT + READ


def test_a_change_of_resolution_is_no_trouble_at_all(stack: Stack, beside: Beside) -> None:
    with tried(stack, beside, "resolution") as bad:
        assert bad.main["video"]["width"] == CLIP[0]
        bad.change(Fault(change_after=GOP))  # in the middle of a part, too
        bad.until(lambda main: main["state"] == "live" and main["video"]["width"] == OTHER_CLIP[0])
        bad.until_recorded()
        assert bad.camera.accepted == 3  # the trial, and those before and after the test made it change
        account = bad.account()
        assert account.ok, account
        assert account.tail == 0
        assert {promised for promised, _ in shown_widths(bad)} == {CLIP[0], OTHER_CLIP[0]}
        assert all(real <= {promised} for promised, real in shown_widths(bad))
        assert set(bad.time_line.causes) <= {"connecting", "camera_lost", "waiting_keyframe"}


def shown_widths(bad: Tried) -> list[tuple[int, set[int]]]:
    """Of each segment that playback gives: the width that its init segment promises, and those that are in it."""
    base, fetch = f"/playback/{bad.camera_id}/", bad.stack.client.fetch
    query = urlencode({"start": bad.began.isoformat(), "end": datetime.now(UTC).isoformat(), "stream": "main"})
    found = []
    for one in read_playlist(fetch(f"{base}video.m3u8?{query}").decode()).segments:
        promised = read_format(fetch(f"{base}{one.init_uri}"))
        assert isinstance(promised, VideoFormat)
        nals = [nal for sample in read_samples(fetch(base + one.uri)) for nal in iter_avcc(sample.payload)]
        found.append((promised.width, {parse_sps(bytes(nal)).width for nal in nals if nal_type(nal) == NAL_SPS}))
    return found


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (GARBAGE, "protocol_broken"),
        (Fault(stop_after=0), "stalled"),
        (NO_SETS, "no_parameter_sets"),
        (JPEG, "codec_unsupported"),
    ],
)
def test_a_camera_in_trouble_is_not_added_and_the_answer_says_why(
    stack: Stack, beside: Beside, fault: Fault, code: str
) -> None:
    with beside.entered(BadCamera(fault)) as camera:
        with pytest.raises(ApiError) as refused:
            stack.client.call("POST", "/api/v1/cameras", {"id": "new", "address": camera.url, "attested": 1})
        assert (refused.value.status, refused.value.code) == (422, code)
        assert refused.value.problem["detail"].endswith(".")
        assert "new" not in stack.client.cameras()
        wait_for(lambda: camera.connections == 0, 5)
