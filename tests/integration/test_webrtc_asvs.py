"""OWASP ASVS 5.0, chapter V17 (WebRTC): a test for each requirement that applies; docs/security.md has the table."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
import time
from dataclasses import replace

import pytest
from OpenSSL import SSL

from mediasrv.errors import InvalidRequest, MediasrvError, ProtocolError, TooManyRequests
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import AccessUnit, Session
from mediasrv.wire import rtcp
from mediasrv.wire.dtls import DtlsIdentity, DtlsServer
from mediasrv.wire.ice import Path
from mediasrv.wire.udp import UdpTransport
from tests.integration.webrtc_rig import REF, SETTINGS, Rig, an_offer, is_heard, running, until, watched

NOW = datetime.datetime.now(datetime.UTC)


# -- V17.2.1: the key of the DTLS certificate is private


def test_17_2_1_the_key_is_made_at_each_start_and_in_memory_alone() -> None:
    one, other = DtlsIdentity(NOW), DtlsIdentity(NOW)
    assert one.fingerprint != other.fingerprint


# -- V17.2.2: strong cipher suites and protection profiles


@pytest.mark.parametrize(
    ("ciphers", "profile"),
    [
        (b"ECDHE-ECDSA-AES128-SHA", b"SRTP_AEAD_AES_128_GCM"),
        (b"ECDHE-ECDSA-AES256-SHA384", b"SRTP_AEAD_AES_128_GCM"),
        (b"ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0", b"SRTP_AEAD_AES_128_GCM"),
        (b"ECDHE-ECDSA-AES128-GCM-SHA256", b"SRTP_AES128_CM_SHA1_32"),
    ],
)
def test_17_2_2_weak_suites_and_profiles_get_no_keys(ciphers: bytes, profile: bytes) -> None:
    weak = DtlsIdentity(NOW)
    weak.context.set_cipher_list(ciphers)
    weak.context.set_tlsext_use_srtp(profile)
    ours = DtlsServer(DtlsIdentity(NOW), (weak.fingerprint,))
    with pytest.raises(ProtocolError):
        _shake_hands(weak.context, ours)
    assert ours.local_keys is None


def test_17_2_2_dtls_before_1_2_gets_no_keys() -> None:
    old = DtlsIdentity(NOW)
    old.context.set_cipher_list(b"ALL:@SECLEVEL=0")
    old.context.set_min_proto_version(0xFEFF)
    old.context.set_max_proto_version(0xFEFF)
    ours = DtlsServer(DtlsIdentity(NOW), (old.fingerprint,))
    with pytest.raises(ProtocolError):
        _shake_hands(old.context, ours)
    assert ours.local_keys is None


def _shake_hands(context: SSL.Context, ours: DtlsServer) -> None:
    client = SSL.Connection(context, None)
    client.set_connect_state()
    client.set_ciphertext_mtu(1200)
    for _ in range(6):
        with contextlib.suppress(SSL.WantReadError):
            client.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            ours.receive(client.bio_read(65_536))
        for datagram in ours.datagrams_to_send():
            client.bio_write(datagram)


# -- V17.2.3: SRTP authentication is checked


async def test_17_2_3_what_is_not_authentic_or_repeated_moves_nothing() -> None:
    async with running() as rig:
        [viewer] = await watched(rig)
        client = viewer.client
        assert client._rtcp is not None
        request = client._rtcp.protect(client._reported(rtcp.build_picture_loss(client._ssrc, client._video_ssrc)))
        client.sock.send(request)
        await until(lambda: rig.service.counters.keyframe_requests == 1)
        malformed = rig.service.counters.malformed
        for at in range(len(request)):  # a bit of it changed, wherever
            client.sock.send(request[:at] + bytes([request[at] ^ 0x01]) + request[at + 1 :])
        for _ in range(5):
            client.sock.send(request)  # replayed
        # RTP that a viewer injects is nobody's picture: viewers send no media here.
        client.sock.send(b"\x80\xe6" + os.urandom(100))
        await until(lambda: rig.service.counters.malformed >= malformed + len(request) + 1)
        assert rig.service.counters.keyframe_requests == 1
        assert [info.state for info in rig.service.viewers()] == ["live"]


# -- V17.2.4: malformed SRTP


async def test_17_2_4_malformed_packets_hurt_neither_their_sender_nor_others() -> None:
    async with running() as rig:
        hostile, sound = await watched(rig, 2)
        client = hostile.client
        assert client._rtcp is not None
        for size in range(40):
            for first in (0x80, 0x81, 0x9F, 0xBF):
                client.sock.send(bytes([first, 200 + size % 7]) + os.urandom(size))
            await asyncio.sleep(0)
        for inner in (b"", b"\x80", b"\x80\xc9\xff\xff", b"\x80\xcd\x00\x02" + bytes(4), os.urandom(64)):
            client.sock.send(client._rtcp.protect(b"\x80\xc9\x00\x01" + bytes(4) + inner))
        await until(lambda: rig.service.counters.malformed > 100)
        for _ in range(10):
            rig.camera.picture()
        await until(lambda: sound.client.received.pictures == client.received.pictures == 11)


# -- V17.2.5, V17.2.7: a flood of SRTP by a legitimate user, beside viewers and beside what records


class Recording:
    """A subscriber of the hub, as the recorder is one."""

    def __init__(self, mountpoint: Mountpoint) -> None:
        self.units = 0
        mountpoint.subscribe(self)

    def on_access_unit(self, unit: AccessUnit) -> None:
        self.units += 1

    def on_session_ended(self, session: Session, reason: str) -> None:
        raise AssertionError(reason)


async def test_17_2_5_a_flood_by_a_viewer_delays_neither_others_nor_what_records() -> None:
    async with running() as rig:
        hostile, sound = await watched(rig, 2)
        recording = Recording(rig.camera.mountpoint)
        client = hostile.client
        assert client._rtcp is not None
        worst_s, before = 0.0, sound.client.received.pictures
        for number in range(1, 41):
            for _ in range(250):
                client.sock.send(client._rtcp.protect(rtcp.build_receiver_report(client._ssrc)))
            started_s = time.monotonic()
            rig.camera.picture()
            await until(lambda: sound.client.received.pictures >= before + number)  # noqa: B023 - awaited here
            worst_s = max(worst_s, time.monotonic() - started_s)
            assert recording.units == number
        assert rig.service.counters.floods > 5000
        assert worst_s < 0.1
        assert sound.client.received.lost == 0
        # Once it calms down it is served as before.
        await is_heard(rig, hostile)
        await until(lambda: client.received.pictures >= 30)
        assert len(rig.service.viewers()) == 2


# -- V17.2.6: the ClientHello race


def a_client_hello() -> bytes:
    stranger = SSL.Connection(DtlsIdentity(NOW).context, None)
    stranger.set_connect_state()
    stranger.set_ciphertext_mtu(1200)
    with contextlib.suppress(SSL.WantReadError):
        stranger.do_handshake()
    return stranger.bio_read(65_536)


async def test_17_2_6_a_strangers_client_hello_is_neither_answered_nor_in_the_way() -> None:
    async with running() as rig:
        rig.camera.picture()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            stranger.connect(("127.0.0.1", rig.service.port))
            viewer = rig.viewer()
            joined = await rig.service.join(REF, viewer.client.offer(), "person-1")
            for _ in range(20):  # before the viewer's first check
                stranger.send(a_client_hello())
            await until(lambda: rig.service.counters.strays == 20)
            viewer.client.accept(joined.answer_sdp)
            viewer.read()
            for _ in range(20):  # and while it shakes hands
                stranger.send(a_client_hello())
                await asyncio.sleep(0)
            await until(lambda: viewer.client.first_picture_s is not None)
            with pytest.raises(BlockingIOError):
                stranger.recv(2048)
        assert rig.service.counters.handshakes_failed == 0


async def test_17_2_6_a_client_hello_that_comes_before_the_check_is_sent_again() -> None:
    """So it may happen where the check is lost, or comes by another address first."""
    async with running() as rig:
        rig.camera.picture()
        viewer = rig.viewer()
        joined = await rig.service.join(REF, viewer.client.offer(), "person-1")
        viewer.client.accept(joined.answer_sdp)
        viewer._loop.add_reader(viewer.client.sock, viewer._read)
        viewer.client._handshake()
        await until(lambda: rig.service.counters.strays == 1)
        viewer._tick()
        await until(lambda: viewer.client.first_picture_s is not None)


async def test_17_2_6_the_handshake_ends_where_another_address_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks come by two addresses; what is sent to the first after the ClientHello is lost."""
    send, lost = UdpTransport.send, []

    def lossy(transport: UdpTransport, datagram: bytes, path: Path) -> None:
        if datagram[0] == 22 and path.address[1] == first_port:
            lost.append(datagram)
        else:
            send(transport, datagram, path)

    monkeypatch.setattr(UdpTransport, "send", lossy)
    async with running() as rig:
        rig.camera.picture()
        viewer = rig.viewer()
        viewer.client.sock.bind(("127.0.0.1", 0))
        first_port = viewer.client.sock.getsockname()[1]
        await viewer.join()
        await until(lambda: lost != [])
        viewer.move()
        await until(lambda: viewer.client.first_picture_s is not None)


# -- V17.2.8: the certificate is the one of the offer


async def test_17_2_8_another_certificate_than_the_offers_ends_the_viewer() -> None:
    async with running() as rig:
        rig.camera.picture()
        viewer = rig.viewer()
        offer = viewer.client.offer()
        other = str(DtlsIdentity(NOW).fingerprint)
        lines = [f"a=fingerprint:{other}" if "fingerprint" in line else line for line in offer.split("\r\n")]
        viewer.joined = await rig.service.join(REF, "\r\n".join(lines), "person-1")
        viewer.client.accept(viewer.joined.answer_sdp)
        viewer.read()
        await until(lambda: rig.service.viewers() == [])
        assert rig.service.counters.handshakes_failed == 1
        assert viewer.client.received.packets == 0


# -- V17.3.1: signalling goes on during a flood


async def test_17_3_1_a_flood_of_offers_by_one_account_keeps_no_other_out() -> None:
    async with running(replace(SETTINGS, joins_per_minute=20, handshakes=30)) as rig:
        refused, waits = set(), set()
        for _ in range(100):
            try:
                await rig.service.join(REF, an_offer(), "hostile")
            except TooManyRequests as error:
                refused.add(error.code)
                waits.add(error.retry_after_s)
        assert min(waits) >= 1
        assert refused == {"handshakes_full", "joins_too_fast"}
        assert len(rig.service.viewers()) == 15
        await watched(rig, 1, principal="person-2")


async def test_17_3_1_a_flood_of_restarts_is_bounded_and_ends_no_session() -> None:
    async with running(replace(SETTINGS, joins_per_minute=20)) as rig:
        [viewer] = await watched(rig)
        assert viewer.joined is not None
        for number in range(20 - 1):  # its offer was the first of them
            _restart(rig, viewer.joined.viewer_id, number)
        with pytest.raises(TooManyRequests):
            _restart(rig, viewer.joined.viewer_id, 99)
        assert len(rig.service._port._by_fragment) == 2
        rig.camera.picture()
        await until(lambda: viewer.client.received.pictures == 2)


def _restart(rig: Rig, viewer_id: str, number: int) -> None:
    body = f"a=ice-ufrag:flood{number}\r\na=ice-pwd:0123456789abcdef012345\r\n"
    assert rig.service.trickle(viewer_id, body, "*") is not None


# -- V17.3.2: malformed signalling


async def test_17_3_2_malformed_offers_and_fragments_are_refused_and_the_next_is_served() -> None:
    async with running(replace(SETTINGS, joins_per_minute=0)) as rig:
        [viewer] = await watched(rig)
        assert viewer.joined is not None
        offer = an_offer()
        for broken in ("", "v=0", "\0" * 100, offer[: len(offer) // 2], offer * 100, offer.replace(" ", "\n")):
            with pytest.raises(MediasrvError) as refused:
                await rig.service.join(REF, broken, "hostile")
            assert 400 <= refused.value.status < 500
        for broken in ("", "\0", "a=ice-ufrag:", "a=candidate:" + "9" * 10_000):
            with pytest.raises(InvalidRequest):
                rig.service.trickle(viewer.joined.viewer_id, broken, "*")
        rig.camera.picture()
        await until(lambda: viewer.client.received.pictures == 2)
        await rig.service.join(REF, offer, "person-2")
