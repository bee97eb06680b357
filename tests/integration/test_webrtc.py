"""The WebRTC service over real sockets on loopback, watched by a viewer that checks every packet."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from dataclasses import replace
from typing import Any

import pytest

from mediasrv.clock import SystemClock
from mediasrv.errors import (
    CameraError,
    NotAcceptable,
    NotFound,
    SettingsError,
    TooManyRequests,
    Unavailable,
)
from mediasrv.hub import Hub
from mediasrv.media.access_unit import AudioFormat, Codec, StreamRef
from mediasrv.media.nal import join_avcc
from mediasrv.webrtc import WebRtcService
from mediasrv.wire import stun
from mediasrv.wire.udp import UdpTransport
from tests.integration.webrtc_rig import REF, SETTINGS, an_offer, goes_on, running, until, watched
from tests.unit.media.streams import H265, PCMA, VIDEO, video_units


async def test_every_viewer_gets_every_packet_of_every_picture() -> None:
    async with running() as rig:
        viewers = await watched(rig, 10)
        for number in range(60):
            rig.camera.picture(random.choice([100, 5000, 60_000]) if number % 10 == 0 else 5000)
            await asyncio.sleep(0.005)
        await until(lambda: all(viewer.client.received.pictures == 61 for viewer in viewers))
        for viewer in viewers:
            received = viewer.client.received
            assert (received.lost, received.repeated, received.not_authentic, received.faults) == (0, 0, 0, [])
            assert received.opened == received.packets
        assert rig.hub.mountpoint(REF).subscribers == 1
        assert rig.service.counters.unsegmented == 0


async def test_without_segmentation_the_same_packets_arrive() -> None:
    async with running() as rig:
        [viewer] = await watched(rig)
        [ours] = rig.service._viewers.values()
        for path in ours.peer.ice.paths:
            path.segmented = False
        for _ in range(20):
            rig.camera.picture()
        await until(lambda: viewer.client.received.pictures == 21)
        assert (viewer.client.received.lost, viewer.client.received.not_authentic) == (0, 0)


async def test_a_lost_packet_comes_again() -> None:
    async with running() as rig:
        [viewer] = await watched(rig)
        first = viewer.client.received.first_index
        assert first is not None
        viewer.client.request_packets([first & 0xFFFF])
        await until(lambda: viewer.client.received.repeated == 1)
        assert viewer.client.received.not_authentic == 0
        assert rig.service.viewers()[0].packets_resent == 1


async def test_a_keyframe_without_parameter_sets_gets_those_of_its_format() -> None:
    async with running() as rig:
        rig.camera.picture(parameter_sets=False)
        viewer = rig.viewer()
        await viewer.join()
        await until(lambda: viewer.client.received.opened > 0)
        assert viewer.client.first_payload[:1] == b"\x78"
        assert VIDEO.parameter_sets[0] in viewer.client.first_payload


async def test_a_viewer_that_moves_is_followed() -> None:
    async with running() as rig:
        [viewer] = await watched(rig)
        viewer.move()
        await goes_on(rig, viewer)
        assert [info.state for info in rig.service.viewers()] == ["live"]


async def test_a_viewer_that_dies_is_freed_with_its_stream() -> None:
    async with running(replace(SETTINGS, consent_s=0.5)) as rig:
        [viewer] = await watched(rig)
        viewer.vanish()
        await until(lambda: rig.service.viewers() == [])
        assert rig.service.counters.consent_lost == 1
        assert rig.hub.mountpoint(REF).subscribers == 0
        assert rig.service._port._by_path == {}
        assert rig.service._port._by_fragment == {}


async def test_who_never_finishes_the_handshake_is_freed() -> None:
    async with running(replace(SETTINGS, handshake_s=0.3)) as rig:
        await rig.service.join(REF, an_offer(), "person-1")
        await until(lambda: rig.service.viewers() == [])
        assert rig.service.counters.handshakes_failed == 1
        assert rig.hub.mountpoint(REF).subscribers == 0


async def test_the_handshake_survives_the_loss_of_the_servers_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as rig:
        rig.camera.picture()
        send, lost = UdpTransport.send, []

        def lossy(transport: UdpTransport, datagram: bytes, path: Any) -> None:
            if datagram[0] == 22 and not lost:
                lost.append(datagram)
            else:
                send(transport, datagram, path)

        monkeypatch.setattr(UdpTransport, "send", lossy)
        viewer = rig.viewer()
        await viewer.join()
        await until(lambda: viewer.client.first_picture_s is not None)
        assert len(lost) == 1


async def test_leaving_ends_the_media_and_a_second_time_finds_nobody() -> None:
    async with running() as rig:
        [viewer] = await watched(rig)
        assert viewer.joined is not None
        rig.service.leave(viewer.joined.viewer_id)
        await until(lambda: viewer.client.closed)
        with pytest.raises(NotFound) as missing:
            rig.service.leave(viewer.joined.viewer_id)
        assert missing.value.code == "viewer_not_found"


async def test_a_principals_viewers_leave_together_and_nobody_elses() -> None:
    async with running() as rig:
        await watched(rig, 2, principal="person-1")
        await watched(rig, 1, principal="person-2")
        assert rig.service.leave_principal("person-1") == 2
        assert [info.principal_id for info in rig.service.viewers()] == ["person-2"]


async def test_the_end_of_the_service_tells_its_viewers() -> None:
    async with running() as rig:
        [viewer] = await watched(rig)
        rig.service.leave_where(lambda _: True)
        await until(lambda: viewer.client.closed)


async def test_a_camera_that_is_removed_takes_its_viewers_along() -> None:
    async with running() as rig:
        await watched(rig)
        rig.hub.remove(REF)
        await until(lambda: rig.service.viewers() == [])


async def test_h265_is_refused_plainly_and_nothing_of_it_is_sent() -> None:
    async with running() as rig:
        for unit in video_units(rig.camera.session, 1.0, format=H265):
            rig.camera.mountpoint.publish(unit)
        with pytest.raises(NotAcceptable) as refused:
            await rig.viewer().join()
        assert refused.value.code == "webrtc_codec_unsupported"
        assert "H.265" in refused.value.sentence


async def test_viewers_are_bounded() -> None:
    async with running(replace(SETTINGS, most_viewers=1)) as rig:
        await watched(rig)
        with pytest.raises(TooManyRequests) as refused:
            await rig.viewer().join()
        assert refused.value.code == "viewers_full"


async def test_a_stream_that_does_not_start_refuses_the_viewer_and_is_let_go() -> None:
    async def fail(ref: StreamRef) -> None:
        assert rig.hub.mountpoint(ref).subscribers == 1
        raise CameraError("The camera refused the password.", code="credentials_wrong")

    async with running(ensure=fail) as rig:
        with pytest.raises(CameraError):
            await rig.viewer().join()
        assert rig.hub.mountpoint(REF).subscribers == 0


async def test_g711_is_passed_on_and_aac_is_refused_in_the_answer() -> None:
    async with running() as rig:
        [viewer] = await watched(rig, audio=True)
        assert viewer.joined is not None
        assert "m=audio 0 " not in viewer.joined.answer_sdp
        rig.camera.sound(AudioFormat(Codec.PCMA, 8000, 1), b"\xd5" * 320)
        await until(lambda: viewer.client.received.audio_packets == 1)
        rig.camera.sound(AudioFormat(Codec.AAC, 48_000, 1, b"\x11\x88"), b"a" * 100)
        second = await rig.viewer().join(audio=True)
        assert "m=audio 0 " in second.answer_sdp


async def test_g711_is_sent_in_packets_of_forty_ms_without_joining_what_is_apart() -> None:
    async with running() as rig:
        await watched(rig, audio=True)
        [ours] = rig.service._viewers.values()
        sent: list[tuple[str, bytes, int]] = []
        ours.peer.send_audio = lambda *what: sent.append(what)  # type: ignore[method-assign]
        for dts, size in ((0, 160), (160, 160), (320, 160), (640, 160), (800, 160), (960, 400)):
            rig.camera.publish(PCMA, dts, True, bytes([dts // 160]) * size)
        first = sent[0][2]
        assert [(payload, at - first) for _, payload, at in sent] == [
            (b"\0" * 160 + b"\1" * 160, 0),
            (b"\2" * 160, 320),
            (b"\4" * 160 + b"\5" * 160, 640),
            (b"\6" * 400, 960),
        ]
        assert {encoding for encoding, _, _ in sent} == {"PCMA"}


async def test_nonsense_on_the_port_is_counted_and_hurts_nobody() -> None:
    async with running() as rig:
        [viewer] = await watched(rig)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.connect(("127.0.0.1", rig.service.port))
            for number in range(500):
                stranger.send(bytes([number % 256]) * (number % 3) + os.urandom(number % 80))
        # The viewer's own address too: whatever comes from there is not authentic.
        for number in range(500):
            viewer.client.sock.send(bytes([random.choice([0, 20, 22, 128, 129]), 200]) + os.urandom(number % 80))
            await asyncio.sleep(0)
        for _ in range(10):
            rig.camera.picture()
        await until(lambda: viewer.client.received.pictures == 11)
        await until(lambda: rig.service.counters.malformed > 100 and rig.service.counters.strays > 100)
        assert [info.state for info in rig.service.viewers()] == ["live"]


async def test_an_address_belongs_to_one_viewer_and_unknown_checks_to_none() -> None:
    async with running() as rig:
        [viewer] = await watched(rig)
        second = await rig.service.join(REF, an_offer(), "person-2")
        [intruder] = [each for each in rig.service._viewers.values() if each.viewer_id == second.viewer_id]
        ice = intruder.peer.ice
        for name in (ice.credentials.username, "nobody:known"):
            check = stun.build_binding_request(
                os.urandom(12), name, ice.credentials.password.encode(), use_candidate=True, priority=1, tie_breaker=1
            )
            viewer.client.sock.send(check)
        await until(lambda: rig.service.counters.strays == 2)
        assert ice.paths == ()
        viewer.client.request_keyframe()
        await until(lambda: rig.service.counters.keyframe_requests == 1)


async def test_an_address_that_its_viewer_left_is_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routers and systems give a port of who went without goodbye to the next one, long before consent runs out."""
    monkeypatch.setattr("mediasrv.fanout.port._LEFT_S", 0.5)
    async with running() as rig:
        first, second = rig.viewer(), rig.viewer()
        await first.join()
        await until(lambda: first.client.connected)
        address = first.client.sock.getsockname()
        first.vanish()
        second.client.sock.bind(address)
        began_s = time.monotonic()
        await second.join()
        await until(lambda: second.client.connected)
        assert time.monotonic() - began_s > 0.4, "it was taken from one who may still be there"
        assert len(rig.service.viewers()) == 1
        rig.camera.picture(keyframe=True)
        await until(lambda: second.client.received.pictures == 1)


@pytest.mark.parametrize("method", ["send_video", "send_audio"])
async def test_one_failing_viewer_does_not_take_the_others_along(method: str) -> None:
    async with running() as rig:
        broken, sound = await watched(rig, 2, audio=True)
        assert broken.joined is not None

        def fail(*_: object) -> None:
            raise RuntimeError("a fault of ours")

        setattr(rig.service._viewers[broken.joined.viewer_id].peer, method, fail)
        for _ in range(5):
            rig.camera.picture()
            rig.camera.sound(AudioFormat(Codec.PCMA, 8000, 1), b"s" * 320)
        await until(lambda: sound.client.received.pictures == 6)
        assert len(rig.service.viewers()) == 1
        assert rig.service.counters.viewer_failures == 1
        assert rig.hub.mountpoint(REF).dropped_sinks == 0


async def test_an_access_unit_without_a_picture_is_passed_over() -> None:
    async with running() as rig:
        [viewer] = await watched(rig)
        rig.camera.publish(VIDEO, 1, False, join_avcc([b"\x09\xf0"]))
        rig.camera.picture()
        await until(lambda: viewer.client.received.pictures == 2)
        assert rig.hub.mountpoint(REF).dropped_sinks == 0


async def test_a_service_that_does_not_run_says_so() -> None:
    service = WebRtcService(Hub(), SETTINGS, SystemClock(), None)
    with pytest.raises(Unavailable):
        await service.join(REF, an_offer(), "person-1")


async def test_a_port_that_is_taken_is_a_settings_error() -> None:
    async with running() as rig:
        second = WebRtcService(Hub(), replace(SETTINGS, port=rig.service.port), SystemClock(), None)
        with pytest.raises(SettingsError) as refused:
            await second.run()
        assert refused.value.code == "port_unusable"


async def test_on_all_addresses_media_leaves_from_the_one_that_was_asked() -> None:
    async with running(replace(SETTINGS, host="0.0.0.0", advertised=("127.0.0.2",))) as rig:  # noqa: S104
        # The viewer's socket is connected to 127.0.0.2, so it sees nothing from any other address.
        [viewer] = await watched(rig)
        assert viewer.client.sock.getpeername()[0] == "127.0.0.2"
        for _ in range(5):
            rig.camera.picture()
        await until(lambda: viewer.client.received.pictures == 6)
