"""How media comes from a camera: over UDP in order and reported, over TLS checked, by the other transport where one
brings nothing. Cameras are the simulated ones, in a process of their own."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from load_tests.camera_farm.counters import read_counters
from load_tests.camera_farm.process import FarmProcess
from mediasrv.errors import CameraError
from mediasrv.media.access_unit import AccessUnit
from mediasrv.pulling.udp import UdpTrack
from mediasrv.rtsp_pull import RtspSource
from mediasrv.settings import PullSettings
from mediasrv.wire.rtcp import ReceiverReport, SourceDescription, parse_compound
from tests.integration.pull_rig import SETTINGS, Pulled, prepare, pull_until_it_ends, pulling, until

UDP = dataclasses.replace(SETTINGS, transport="udp")
MEDIA = {"rate": 25, "bitrate": 2050, "gop": 0.4, "audio": "pcma"}


@pytest.fixture
async def farm() -> AsyncIterator[FarmProcess]:
    async with FarmProcess(cameras=3, set=["cam-2..3:tls=on", "cam-3:certificate=other-host"], **MEDIA) as farm:
        yield farm


def source(farm: FarmProcess, camera: str = "cam-1", *, tls: bool = False, **options: str) -> RtspSource:
    return RtspSource(farm.url(camera, tls=tls), farm.username, farm.password, **options)


def counters(units: list[AccessUnit]) -> list[int]:
    found = [read_counters(unit.payload) for unit in units]
    assert all(found)
    return [counter.counter for counter in found if counter]


def assert_whole(pulled: Pulled) -> None:
    """Every access unit, once, in order."""
    assert all(later == earlier + 1 for earlier, later in itertools.pairwise(counters(pulled.video)))
    assert pulled.ends == []


# --- UDP -------------------------------------------------------------------------------------------------


async def test_over_udp_nothing_is_lost_and_the_camera_is_left_politely(farm: FarmProcess) -> None:
    async with pulling(source(farm), UDP) as pulled:
        await until(lambda: len(pulled.video) >= 50 and len(pulled.audio) >= 50)
        report = pulled.pull.report
        assert_whole(pulled)
    assert (report.transport, report.lost_packets, report.damaged) == ("udp", 0, 0)
    camera = await farm.camera("cam-1")
    assert camera["sessions_now"] == 0
    assert camera["counts"]["rtsp"]["TEARDOWN"] == 1


async def test_disorder_and_doubles_on_the_way_are_undone(farm: FarmProcess) -> None:
    await farm.fault("cam-1", "reorder", share=0.05, by=3)
    await farm.fault("cam-1", "duplicate", share=0.02)
    async with pulling(source(farm), UDP) as pulled:
        await until(lambda: len(pulled.video) >= 100)
        report = pulled.pull.report
        assert_whole(pulled)
    assert report.late_packets > 0
    assert report.lost_packets == 0


async def test_loss_over_udp_costs_pictures_up_to_the_next_keyframe_and_nothing_else(farm: FarmProcess) -> None:
    async with pulling(source(farm), UDP) as pulled:
        await until(lambda: len(pulled.video) >= 10)
        await farm.fault("cam-1", "lose", packets=1)
        await until(lambda: len(pulled.sessions) == 2 and len(pulled.video) >= 40)
        assert [reason for _, reason in pulled.ends] == ["stream_damaged"]
        assert pulled.pull.report.lost_packets == 1
    seen = counters(pulled.video)
    steps = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert steps.count(1) == len(steps) - 1


async def test_an_unwatched_stream_over_udp_is_read_on_the_beat_and_a_watched_one_as_it_comes(
    farm: FarmProcess,
) -> None:
    pulled = prepare(source(farm), UDP)
    pulled.subscription.close()
    parts: list[object] = []
    ends: list[str] = []

    class Parts:
        def on_part(self, part: object) -> None:
            parts.append(part)

        def on_session_ended(self, session: object, reason: str) -> None:
            ends.append(reason)

    pulled.mountpoint.subscribe_parts(Parts())
    task = asyncio.create_task(pulled.pull.run())
    try:
        await until(lambda: len(parts) > 5 and pulled.pull.report.gathered)
        before, began = pulled.pull.report.reads, time.monotonic()
        await until(lambda: time.monotonic() - began > 2.0)
        unwatched = pulled.pull.report.reads - before
        pulled.mountpoint.subscribe(pulled)
        before, began = pulled.pull.report.reads, time.monotonic()
        await until(lambda: time.monotonic() - began > 1.0)
        watched = pulled.pull.report.reads - before
        assert (pulled.pull.report.lost_packets, ends) == (0, [])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert unwatched <= 2 * 2.0 / SETTINGS.gather_s + 4, "two tracks, ten beats"
    assert watched > 40


async def test_what_does_not_come_from_the_camera_is_not_taken(farm: FarmProcess) -> None:
    """From another address of loopback the very ports are flooded with packets that would pass for the camera's."""
    async with pulling(source(farm), UDP) as pulled:
        await until(lambda: len(pulled.video) >= 5)
        session = pulled.pull._session
        assert session is not None
        tracks = list(session._tracks.udp.values())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.2", 0))
            for sequence in range(200):
                forged = b"\x80\xe0" + sequence.to_bytes(2, "big") + bytes(8) + b"\x65forged"
                stranger.sendto(forged, tracks[0]._sockets[0].getsockname())
        await until(lambda: tracks[0].foreign_packets == 200 and len(pulled.video) >= 40)
        assert pulled.pull.report.lost_packets == 0
        assert_whole(pulled)


async def test_the_camera_gets_receiver_reports(farm: FarmProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediasrv.pulling.udp.REPORT_S", 0.5)
    sent: list[bytes] = []
    really_send = UdpTrack._send
    monkeypatch.setattr(
        UdpTrack, "_send", lambda self, which, data: (sent.append(data), really_send(self, which, data))[1]
    )
    async with pulling(source(farm), UDP) as pulled:
        await until(lambda: sum(data[:2] == b"\x81\xc9" for data in sent) >= 4)
        assert_whole(pulled)
    reports = [parse_compound(data) for data in sent if data[:2] == b"\x81\xc9"]
    blocks = [report[0].blocks[0] for report in reports if isinstance(report[0], ReceiverReport)]
    assert {(block.packets_lost, block.fraction_lost) for block in blocks} == {(0, 0)}
    assert all(isinstance(report[1], SourceDescription) for report in reports)


async def test_uvloop_pulls_udp_alike_and_leaves_no_socket() -> None:
    async with FarmProcess(cameras=1, **MEDIA) as farm:

        def elsewhere() -> tuple[int, int]:
            async def scenario() -> tuple[int, int]:
                async with pulling(source(farm), UDP) as pulled:
                    await until(lambda: len(pulled.video) >= 50)
                    assert_whole(pulled)
                    return len(pulled.video), pulled.pull.report.lost_packets

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(scenario())

        assert (await asyncio.to_thread(elsewhere))[1] == 0


# --- the other transport -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("refused", "used"), [("tcp", "udp"), ("udp", "tcp")])
async def test_a_camera_that_refuses_one_transport_is_asked_for_the_other(
    farm: FarmProcess, refused: str, used: str
) -> None:
    await farm.fault("cam-1", "refuse_transport", transport=refused)
    async with pulling(source(farm, preferred=refused)) as pulled:
        await until(lambda: len(pulled.video) >= 10)
        assert pulled.pull.report.transport == used
    assert (await farm.camera("cam-1"))["counts"]["connections"] == 1, "on the same connection"


async def test_a_camera_that_refuses_the_transport_of_the_settings_says_so(farm: FarmProcess) -> None:
    await farm.fault("cam-1", "refuse_transport", transport="udp")
    error, _ = await pull_until_it_ends(source(farm), UDP)
    assert error.code == "transport_refused"
    await farm.fault("cam-1", "refuse_transport", transport="tcp|udp")
    error, _ = await pull_until_it_ends(source(farm))
    assert (error.code, "TCP or UDP" in error.sentence) == ("transport_refused", True)


async def test_where_udp_is_kept_away_tcp_brings_the_stream(farm: FarmProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediasrv.pulling.udp.UdpTrack._drain", lambda self: None)
    settings = dataclasses.replace(SETTINGS, first_packet_s=0.5)
    async with pulling(source(farm, preferred="udp"), settings) as pulled:
        await until(lambda: len(pulled.video) >= 10)
        assert pulled.pull.report.transport == "tcp"
    error, _ = await pull_until_it_ends(source(farm), dataclasses.replace(UDP, stall_timeout_s=1.0))
    assert (error.code, "firewall" in error.sentence) == ("stalled", True)


async def test_sound_without_pictures_has_its_own_reason(farm: FarmProcess) -> None:
    await farm.fault("cam-1", "stall", tracks="video", lasting=True)
    error, _ = await pull_until_it_ends(source(farm))
    assert error.code == "video_stalled"


# --- TLS -----------------------------------------------------------------------------------------------------


async def pinned(farm: FarmProcess, camera: str) -> str:
    error, _ = await pull_until_it_ends(source(farm, camera, tls=True))
    assert error.code == "tls_untrusted"
    return error.sentence.rpartition(" ")[2].rstrip(".")


async def test_a_certificate_of_its_own_is_refused_until_it_is_pinned(farm: FarmProcess) -> None:
    error, pulled = await pull_until_it_ends(source(farm, "cam-2", tls=True))
    assert (error.code, pulled.sessions) == ("tls_untrusted", [])
    assert (await farm.camera("cam-2"))["counts"]["rtsp"] == {}, "not a word before the certificate is trusted"
    fingerprint = await pinned(farm, "cam-2")
    async with pulling(source(farm, "cam-2", tls=True, tls_fingerprint=fingerprint)) as pulled:
        await until(lambda: len(pulled.video) >= 30)
        assert_whole(pulled)
        assert (pulled.pull.report.transport, pulled.pull.report.notes) == ("tls", ())


async def test_a_pinned_certificate_that_changes_is_refused(farm: FarmProcess) -> None:
    fingerprint = await pinned(farm, "cam-2")
    await farm.fault("cam-2", "new_certificate")
    error, _ = await pull_until_it_ends(source(farm, "cam-2", tls=True, tls_fingerprint=fingerprint))
    assert (error.code, "another certificate" in error.sentence) == ("tls_untrusted", True)
    assert (await farm.camera("cam-2"))["counts"]["rtsp"] == {}


async def test_an_authority_is_believed_for_its_name_only(farm: FarmProcess, tmp_path: Path) -> None:
    for camera in ("cam-2", "cam-3"):
        (tmp_path / camera).write_text((await farm.camera(camera))["certificate_pem"])
    trusting = dataclasses.replace(SETTINGS, tls_ca_file=str(tmp_path / "cam-2"))
    async with pulling(source(farm, "cam-2", tls=True), trusting) as pulled:
        await until(lambda: len(pulled.video) >= 5)
    trusting = dataclasses.replace(SETTINGS, tls_ca_file=str(tmp_path / "cam-3"))
    error, _ = await pull_until_it_ends(source(farm, "cam-3", tls=True), trusting)
    assert (error.code, "another name" in error.sentence) == ("tls_untrusted", True)


async def test_an_unchecked_certificate_is_a_setting_and_a_note(farm: FarmProcess) -> None:
    anybody = dataclasses.replace(SETTINGS, tls_verify=False)
    async with pulling(source(farm, "cam-3", tls=True), anybody) as pulled:
        await until(lambda: len(pulled.video) >= 5)
        assert pulled.pull.report.notes == ("The camera's certificate is not checked.",)


async def test_a_port_that_does_not_speak_tls_has_its_reason(farm: FarmProcess) -> None:
    plain = source(farm).url.replace("rtsp://", "rtsps://")
    error, _ = await pull_until_it_ends(RtspSource(plain))
    assert error.code == "tls_failed"


async def test_an_unwatched_stream_over_tls_is_not_read_past_its_encryption(farm: FarmProcess) -> None:
    pulled = prepare(source(farm, "cam-2", tls=True), dataclasses.replace(SETTINGS, tls_verify=False))
    pulled.subscription.close()
    task = asyncio.create_task(pulled.pull.run())
    try:
        await until(lambda: pulled.pull.report.video_units >= 40)
        assert pulled.pull.report.resyncs == 0
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_uvloop_fails_and_pulls_tls_alike(farm: FarmProcess) -> None:
    def elsewhere(settings: PullSettings) -> str:
        async def scenario() -> str:
            pulled = prepare(source(farm, "cam-2", tls=True), settings)
            task = asyncio.create_task(pulled.pull.run())
            try:
                await until(lambda: task.done() or len(pulled.video) > 20)
                task.cancel()
                await task
            except CameraError as error:
                return error.code
            except asyncio.CancelledError:
                return f"{len(pulled.video) > 20}"
            return ""

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(scenario())

    assert await asyncio.to_thread(elsewhere, SETTINGS) == "tls_untrusted"
    assert await asyncio.to_thread(elsewhere, dataclasses.replace(SETTINGS, tls_verify=False)) == "True"


# --- redirects ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Moved Temporarily", "303 See Other", "305 Use Proxy"])
async def test_a_redirect_is_followed_to_the_same_host(farm: FarmProcess, status: str) -> None:
    await farm.fault("cam-1", "redirect", to="cam-2", status=status)
    async with pulling(source(farm)) as pulled:
        await until(lambda: len(pulled.video) >= 5)
        counter = read_counters(pulled.video[0].payload)
        assert counter is not None
        assert counter.camera == "cam-2/main"
    assert (await farm.camera("cam-1"))["sessions_now"] == 0


async def test_a_redirect_request_of_the_camera_is_one_discontinuity(farm: FarmProcess) -> None:
    async with pulling(source(farm)) as pulled:
        await until(lambda: len(pulled.video) >= 5)
        await farm.fault("cam-1", "redirect_request", to="cam-2")
        await until(lambda: len(pulled.sessions) == 2 and pulled.units[-1].session is pulled.sessions[1])
        assert [reason for _, reason in pulled.ends] == ["redirected"]
        counter = read_counters(pulled.video[-1].payload)
        assert counter is not None
        assert counter.camera == "cam-2/main"


async def test_redirects_end(farm: FarmProcess) -> None:
    await farm.fault("cam-1", "redirect", to="cam-1")
    error, _ = await pull_until_it_ends(source(farm))
    assert error.code == "redirect_refused"
    assert (await farm.camera("cam-1"))["counts"]["connections"] == SETTINGS.most_redirects + 1


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("rtsp://192.0.2.1/", "address_refused"),
        ("rtsp://169.254.169.254/latest", "address_refused"),
        ("http://127.0.0.1:8333/", "redirect_refused"),
    ],
)
async def test_a_redirect_out_of_the_allowed_networks_is_refused(farm: FarmProcess, to: str, code: str) -> None:
    await farm.fault("cam-1", "redirect", to=to)
    error, _ = await pull_until_it_ends(source(farm))
    assert error.code == code


async def test_another_host_gets_the_password_only_where_the_settings_say_so(farm: FarmProcess) -> None:
    elsewhere = (await farm.camera("cam-2"))["streams"]["main"]["url"].replace("127.0.0.1", "localhost")
    await farm.fault("cam-1", "redirect", to=elsewhere)
    error, _ = await pull_until_it_ends(source(farm))
    assert (error.code, "localhost" in error.sentence) == ("credentials_missing", True)
    assert (await farm.camera("cam-2"))["counts"]["auth_failures"] == {}
    generous = dataclasses.replace(SETTINGS, redirect_credentials=True)
    async with pulling(source(farm), generous) as pulled:
        await until(lambda: len(pulled.video) >= 5)


# --- how cameras differ --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "style",
    [
        {"control_style": "absolute"},
        {"control_style": "query", "url_style": "query"},
        {"control_style": "relative", "url_style": "query"},
        {"per_track": "on"},
        {"renumber_channels": "on", "early_media": "on"},
        {"rtp_info": "off", "rtcp": "off"},
        {"refused_methods": "GET_PARAMETER", "session_timeout": 5},
        {"refused_methods": "GET_PARAMETER,OPTIONS"},
        {"rtsp_auth": "digest-sha256,digest,basic", "rtsp_qop": "on"},
        {"rtsp_auth": "digest", "rtsp_qop": "on", "nonce_life": 1, "session_timeout": 5},
        {"rtsp_auth": "basic"},
    ],
)
@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_the_many_ways_of_cameras(style: dict[str, object], transport: str) -> None:
    async with FarmProcess(cameras=1, **MEDIA, **style) as farm:
        settings = dataclasses.replace(SETTINGS, transport=transport)
        async with pulling(source(farm), settings) as pulled:
            await until(lambda: len(pulled.video) >= (90 if "session_timeout" in style else 30))
            assert_whole(pulled)
        camera = await farm.camera("cam-1")
        assert camera["sessions_now"] == 0
        assert camera["counts"]["auth_failures"] == {}
