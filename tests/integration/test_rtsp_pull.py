"""Pulling cameras that misbehave over real sockets: each trouble has its reason, and nothing is left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import socket

import pytest
import uvloop

from mediasrv.clock import SystemClock
from mediasrv.errors import CameraError
from mediasrv.media.access_unit import VideoFormat
from mediasrv.rtsp_pull import RtspSource
from tests.integration.bad_rtsp import GOP, BadCamera, Fault
from tests.integration.pull_rig import SETTINGS, prepare, pull_until_it_ends, pulling, until

SECRET = "hunter2-secret"
NO_VIDEO = b"v=0\r\nm=audio 0 RTP/AVP 8\r\na=control:a\r\n"
VP9 = b"v=0\r\nm=video 0 RTP/AVP 98\r\na=rtpmap:98 VP9/90000\r\na=control:v\r\n"
DIGEST = 'WWW-Authenticate: Digest realm="cam", nonce="1"'


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(greeting=b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol_broken"),
        (Fault(greeting=bytes(range(256)) * 40), "protocol_broken"),
        (Fault(greeting=b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n"), "protocol_broken"),
        (Fault(sdp=b"<html>"), "protocol_broken"),
        (Fault(sdp=NO_VIDEO), "codec_unsupported"),
        (Fault(sdp=VP9), "codec_unsupported"),
        (Fault(close_on="OPTIONS"), "camera_lost"),
        (Fault(close_on="DESCRIBE"), "camera_lost"),
        (Fault(close_on="PLAY"), "camera_lost"),
        (Fault(silent=("DESCRIBE",)), "host_unreachable"),
        (Fault(silent=("PLAY",)), "host_unreachable"),
        (Fault(status={"DESCRIBE": "404 Not Found"}), "stream_not_found"),
        (Fault(status={"SETUP": "461 Unsupported Transport"}), "transport_refused"),
        (Fault(headers={"SETUP": "Transport: RTP/AVP;unicast;client_port=1-2"}), "stalled"),
        (Fault(headers={"PLAY": "Scale: 2.0"}), "rtsp_refused"),
        (Fault(status={"PLAY": "503 Service Unavailable"}), "camera_busy"),
        (Fault(status={"DESCRIBE": "401 Unauthorized"}, headers={"DESCRIBE": DIGEST}), "credentials_wrong"),
        (Fault(status={"OPTIONS": "401 Unauthorized"}, headers={"OPTIONS": DIGEST}), "credentials_wrong"),
        (Fault(described_sets=False, carried_sets=False), "no_parameter_sets"),
        (Fault(stop_after=GOP), "stalled"),
        (Fault(stop_after=0), "stalled"),
        (Fault(close_after=GOP), "camera_lost"),
        (Fault(only_junk_after=GOP), "protocol_broken"),
    ],
)
async def test_each_trouble_has_its_reason_and_leaves_nothing_behind(fault: Fault, code: str) -> None:
    before = asyncio.all_tasks()
    async with BadCamera(fault) as camera:
        error, pulled = await pull_until_it_ends(RtspSource(camera.url, "admin", SECRET))
        assert error.code == code
        assert error.sentence.endswith(".")
        assert SECRET not in f"{error!r} {error.sentence}"
        assert [reason for _, reason in pulled.ends] == [code] * len(pulled.sessions)
        assert pulled.mountpoint.session is None
        await until(lambda: camera.connections == 0)
    assert asyncio.all_tasks() == before


async def test_without_a_user_name_a_challenge_is_missing_credentials() -> None:
    async with BadCamera(Fault(status={"DESCRIBE": "401 Unauthorized"}, headers={"DESCRIBE": DIGEST})) as camera:
        error, _ = await pull_until_it_ends(RtspSource(camera.url))
    assert error.code == "credentials_missing"


async def test_a_wrong_password_is_tried_once() -> None:
    async with BadCamera(Fault(status={"DESCRIBE": "401 Unauthorized"}, headers={"DESCRIBE": DIGEST})) as camera:
        await pull_until_it_ends(RtspSource(camera.url, "admin", "wrong"))
        assert camera.methods == ["OPTIONS", "DESCRIBE", "DESCRIBE"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("rtsp://192.0.2.1/", "address_refused"),
        ("rtsp://localhost.invalid/", "name_unresolved"),
        ("http://127.0.0.1/", "address_invalid"),
    ],
)
async def test_what_cannot_be_connected_to_has_its_reason(url: str, code: str) -> None:
    error, pulled = await pull_until_it_ends(RtspSource(url))
    assert error.code == code
    assert pulled.sessions == []


async def test_a_closed_port_has_its_reason() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error, _ = await pull_until_it_ends(RtspSource(f"rtsp://127.0.0.1:{port}/"))
    assert error.code == "port_closed"


async def test_a_host_that_does_not_answer_the_connection_has_its_reason() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # never accepted: once the queue is full, further connections wait
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        settings = dataclasses.replace(SETTINGS, connect_timeout_s=0.3)
        error, _ = await pull_until_it_ends(RtspSource(f"rtsp://127.0.0.1:{full.getsockname()[1]}/"), settings)
        for filler in fillers:
            filler.close()
    assert error.code == "host_unreachable"


async def test_a_camera_that_behaves_is_pulled_and_left_politely() -> None:
    async with BadCamera(Fault(first_channel=6)) as camera:
        async with pulling(RtspSource(camera.url)) as pulled:
            await until(lambda: len(pulled.video) >= 3 * GOP)
            pulled.pull.stop_reason = "camera_disabled"
            report = pulled.pull.report
        assert camera.methods == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN"]
        assert camera.urls[2] == camera.url + "/track1"
        await until(lambda: camera.connections == 0)
    assert [reason for _, reason in pulled.ends] == ["camera_disabled"]
    assert report.video_units >= 3 * GOP
    assert (report.lost_packets, report.damaged, report.resyncs, report.units_before_keyframe) == (0, 0, 0, 0)
    assert report.peer == f"127.0.0.1:{camera.port}"
    assert report.video_format is not None
    assert (report.video_format.width, report.video_format.height) == (320, 180)
    gaps = {later.dts - earlier.dts for earlier, later in zip(pulled.video, pulled.video[1:], strict=False)}
    assert gaps == {1800}, "over the wraps of sequence and timestamp, too"


async def test_pictures_that_come_before_the_answer_to_play_are_kept() -> None:
    async with BadCamera(Fault(media_before_answer=True)) as camera, pulling(RtspSource(camera.url)) as pulled:
        await until(lambda: len(pulled.video) >= 3)
        assert len(pulled.sessions) == 1
        assert pulled.video[0].keyframe


@pytest.mark.parametrize("fault", [Fault(lose_after=15), Fault(cut_after=15)])
async def test_damage_ends_the_session_and_the_same_connection_goes_on(fault: Fault) -> None:
    async with BadCamera(fault) as camera:
        async with pulling(RtspSource(camera.url)) as pulled:
            await until(lambda: len(pulled.sessions) == 2 and len(pulled.video) >= 30)
            report = pulled.pull.report
        assert camera.methods.count("PLAY") == 1
    (first, reason), _ = pulled.ends
    assert reason == "stream_damaged"
    assert report.damaged == 1
    after = [unit for unit in pulled.video if unit.session is not first]
    assert after[0].keyframe
    assert report.units_before_keyframe == 20 - 15 - 1
    assert len([unit for unit in pulled.video if unit.session is first]) == 15


async def test_after_junk_between_pictures_the_same_connection_goes_on() -> None:
    async with BadCamera(Fault(junk_after=15)) as camera, pulling(RtspSource(camera.url)) as pulled:
        await until(lambda: len(pulled.video) >= 30)
        assert pulled.pull.report.resyncs >= 1
        # Where the junk came in one piece with the picture before it, that picture is not trusted.
        assert {reason for _, reason in pulled.ends} <= {"stream_damaged"}
        assert camera.methods.count("PLAY") == 1


async def test_a_change_of_resolution_changes_the_format_at_its_keyframe() -> None:
    async with BadCamera(Fault(change_after=2 * GOP)) as camera, pulling(RtspSource(camera.url)) as pulled:
        await until(lambda: len(pulled.video) >= 3 * GOP)
        sizes = [unit.format.width for unit in pulled.video if isinstance(unit.format, VideoFormat)]
        assert sizes == [320] * 2 * GOP + [160] * (len(sizes) - 2 * GOP)
        assert len({id(unit.format) for unit in pulled.video}) == 2
        assert pulled.video[2 * GOP].keyframe
        assert pulled.ends == []


class SteppingClock(SystemClock):
    """The machine's clock, set forward at some moment."""

    step_us = 0

    def wall_us(self) -> int:  # type: ignore[override]
        return SystemClock.wall_us() + self.step_us


async def test_a_step_of_the_clock_begins_a_new_session_on_the_same_connection() -> None:
    clock = SteppingClock()
    async with BadCamera(Fault()) as camera, pulling(RtspSource(camera.url), clock=clock) as pulled:
        await until(lambda: len(pulled.video) > 0)
        clock.step_us = 5_000_000
        await until(lambda: len(pulled.sessions) == 2 and pulled.units[-1].session is pulled.sessions[1])
        assert [reason for _, reason in pulled.ends] == ["clock_step"]
        assert pulled.sessions[1].started_us - pulled.sessions[0].started_us > 5_000_000
        assert camera.methods.count("PLAY") == 1


async def test_the_session_is_kept_alive_in_time() -> None:
    async with BadCamera(Fault(session_timeout_s=5)) as camera, pulling(RtspSource(camera.url)):
        await until(lambda: "GET_PARAMETER" in camera.methods)


async def test_a_camera_without_get_parameter_is_kept_alive_by_options() -> None:
    fault = Fault(session_timeout_s=5, headers={"OPTIONS": "Public: DESCRIBE, PLAY"})
    async with BadCamera(fault) as camera, pulling(RtspSource(camera.url)):
        await until(lambda: camera.methods.count("OPTIONS") == 2)


async def test_a_forgotten_session_ends_the_pull() -> None:
    fault = Fault(session_timeout_s=5, status={"GET_PARAMETER": "454 Session Not Found"})
    async with BadCamera(fault) as camera:
        error, _ = await pull_until_it_ends(RtspSource(camera.url))
    assert error.code == "camera_lost"


async def test_a_camera_that_does_not_answer_teardown_is_left_all_the_same() -> None:
    async with BadCamera(Fault(silent=("TEARDOWN",))) as camera:
        async with pulling(RtspSource(camera.url)) as pulled:
            await until(lambda: len(pulled.video) > 0)
        await until(lambda: camera.connections == 0)


async def test_cancelling_while_connecting_leaves_no_socket() -> None:
    async with BadCamera(Fault(silent=("OPTIONS",))) as camera:
        pulled = prepare(RtspSource(camera.url))
        task = asyncio.create_task(pulled.pull.run())
        await until(lambda: camera.connections == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: camera.connections == 0)
    assert pulled.sessions == []


def test_uvloop_pulls_and_fails_alike() -> None:
    async def scenario() -> tuple[int, str]:
        async with BadCamera(Fault(close_after=GOP)) as camera:
            pulled = prepare(RtspSource(camera.url))
            try:
                await pulled.pull.run()
            except CameraError as error:
                return len(pulled.video), error.code

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) == (GOP, "camera_lost")
