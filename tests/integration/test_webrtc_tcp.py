"""WebRTC over TCP (RFC 6544) and over IPv6, on loopback, by viewers that check every packet."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import socket
import struct
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from mediasrv.settings import WebRtcSettings
from mediasrv.webrtc import Joined
from mediasrv.wire.tcp import Deframer, frame_run
from tests.integration.webrtc_rig import REF, SETTINGS, Rig, Viewer, an_offer, goes_on, is_heard, running, until

TCP_ONLY = replace(SETTINGS, transports=("tcp",))


class FramedSocket:
    """A TCP connection with the face of a connected UDP socket. A `lazy` one is never read."""

    def __init__(self, host: str, port: int, receive_bytes: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.connect((host, port))
        self.sock.setblocking(False)
        self._deframer = Deframer()
        self._waiting: list[bytes] = []

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, datagram: bytes) -> None:
        self.sock.send(frame_run(datagram, len(datagram)))

    def recv(self, size: int) -> bytes:
        while not self._waiting:
            data = self.sock.recv(65_536)
            if not data:
                raise ConnectionResetError
            self._waiting += self._deframer.receive(data)
        return self._waiting.pop(0)

    def getpeername(self) -> Any:
        return self.sock.getpeername()

    @property
    def _closed(self) -> bool:
        return self.sock.fileno() < 0

    def close(self) -> None:
        self.sock.close()


def candidates(answer: str, transport: str) -> list[tuple[str, int]]:
    lines = [line.split() for line in answer.splitlines() if line.startswith("a=candidate:")]
    return [(words[4], int(words[5])) for words in lines if words[2] == transport]


class TcpViewer(Viewer):
    receive_bytes = 0

    async def join(self, *, audio: bool = False, principal: str = "person-1") -> Joined:
        self.joined = await self._service.join(REF, self.client.offer(audio=audio), principal)
        self.client.learn(self.joined.answer_sdp)
        self.connect()
        self._tick()
        return self.joined

    def connect(self) -> None:
        """By a TCP connection from now on."""
        assert self.joined is not None
        self._loop.remove_reader(self.client.sock)
        self.client.sock.close()
        address = candidates(self.joined.answer_sdp, "tcp")[0]
        self.client.sock = FramedSocket(*address, self.receive_bytes)  # type: ignore[assignment]
        self.client.check()
        self._loop.add_reader(self.client.sock, self._read)

    def stop_reading(self) -> None:
        self._loop.remove_reader(self.client.sock)

    def read_again(self) -> None:
        self._loop.add_reader(self.client.sock, self._read)


async def watching(rig: Rig, kind: type[TcpViewer] = TcpViewer) -> TcpViewer:
    """A viewer over TCP that has a picture."""
    rig.camera.picture()
    viewer = kind(rig.service)
    rig.viewers.append(viewer)
    await viewer.join()
    await until(lambda: viewer.client.first_picture_s is not None)
    return viewer


async def settled(rig: Rig, connections: int = 0) -> None:
    await until(lambda: rig.service.connections == connections)


async def test_a_viewer_over_tcp_gets_every_packet_of_every_picture() -> None:
    async with running(TCP_ONLY) as rig:
        assert rig.service.port == 0
        viewer = await watching(rig)
        for number in range(60):
            rig.camera.picture(60_000 if number % 10 == 0 else 5000)
            await asyncio.sleep(0.005)
        await until(lambda: viewer.client.received.pictures == 61)
        received = viewer.client.received
        assert (received.lost, received.repeated, received.not_authentic, received.faults) == (0, 0, 0, [])
        assert rig.service.counters.overruns == 0


async def test_answers_offer_udp_first_and_tcp_below_it() -> None:
    async with running() as rig:
        joined = await rig.service.join(REF, an_offer(), "person-1")
        lines = [line for line in joined.answer_sdp.splitlines() if line.startswith("a=candidate:")]
        assert [line.split()[2] for line in lines] == ["udp", "tcp"]
        assert [line.endswith("typ host tcptype passive") for line in lines] == [False, True]
        priorities = [int(line.split()[3]) for line in lines]
        assert priorities[0] > priorities[1]
        assert rig.service.port == rig.service.tcp_port


async def test_a_viewer_whose_udp_no_longer_comes_through_goes_on_over_tcp() -> None:
    async with running() as rig:
        viewer = TcpViewer(rig.service)
        rig.viewers.append(viewer)
        await Viewer.join(viewer)
        rig.camera.picture()
        await until(lambda: viewer.client.first_picture_s is not None)
        viewer.connect()
        await goes_on(rig, viewer)
        assert viewer.client.received.not_authentic == 0


async def test_a_restart_goes_on_with_the_session_and_its_new_password() -> None:
    async with running() as rig:
        viewer = await watching(rig)
        assert viewer.joined is not None
        fragment = "a=ice-ufrag:fresh1\r\na=ice-pwd:0123456789abcdef0123456789\r\nm=video 9 x 0\r\na=mid:0\r\n"
        restarted = rig.service.trickle(viewer.joined.viewer_id, fragment, "*")
        assert restarted is not None
        assert restarted.etag != viewer.joined.etag
        old = dict(viewer.client._remote)
        viewer.client._fragment = "fresh1"
        for line in restarted.fragment_sdp.splitlines():
            name, _, value = line.partition(":")
            if name.startswith("a=ice-"):
                viewer.client._remote[name] = value
        assert old["a=ice-pwd"] != viewer.client._remote["a=ice-pwd"]
        viewer.connect()
        await goes_on(rig, viewer)
        viewer.client._remote = old
        malformed = rig.service.counters.malformed + rig.service.counters.strays
        viewer.client.check()
        await until(lambda: rig.service.counters.malformed + rig.service.counters.strays > malformed)


class SlowViewer(TcpViewer):
    receive_bytes = 4096


async def test_a_connection_that_does_not_drain_loses_to_the_next_keyframe_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mediasrv.fanout.tcp.STALL_S", 0.3)
    async with running() as rig:
        slow, sound = await watching(rig, SlowViewer), await watching(rig)
        slow.stop_reading()
        sent = 0
        while rig.service.counters.overruns == 0:
            rig.camera.picture(20_000, keyframe=False)
            sent += 1
            await asyncio.sleep(0.02)
            assert sent < 500
        [ours] = [one for one in rig.service._viewers.values() if one.peer.waiting]
        waiting = _waiting_bytes(rig)
        for _ in range(50):
            rig.camera.picture(20_000, keyframe=False)
            await asyncio.sleep(0)
        assert _waiting_bytes(rig) <= waiting
        slow.read_again()
        before = ours.peer.packets_resent, sound.client.received.pictures

        def plays_again() -> bool:
            rig.camera.picture(2000, keyframe=True)
            return not ours.peer.waiting and slow.client.received.pictures > 10

        await until(plays_again)
        await until(lambda: sound.client.received.pictures > before[1])
        assert (sound.client.received.lost, slow.client.received.not_authentic) == (0, 0)


def _waiting_bytes(rig: Rig) -> int:
    connections = rig.service._port._tcp._connections.values()
    return sum(one._socket.get_write_buffer_size() for one in connections if one._socket)


async def test_what_waits_for_a_connection_has_a_bound_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediasrv.fanout.tcp.MOST_WAITING_BYTES", 200_000)
    async with running(replace(SETTINGS, burst_packets=10_000)) as rig:
        slow = await watching(rig, SlowViewer)
        slow.stop_reading()
        for _ in range(50):
            rig.camera.picture(50_000, keyframe=False)
        assert _waiting_bytes(rig) < 300_000
        await until(lambda: rig.service.counters.overruns == 1)


@pytest.mark.parametrize(
    "first",
    [b"\x00\x14" + bytes(20), b"\x00\x0d" + b"\x16\xfe\xfd" + bytes(10), b"\xff\xff", b"GET / HTTP/1.1\r\n\r\n"],
    ids=["no STUN", "DTLS", "too long", "HTTP"],
)
async def test_who_does_not_begin_with_a_valid_check_is_closed_at_once(first: bytes) -> None:
    async with running() as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.service.tcp_port)
        writer.write(first)
        async with asyncio.timeout(2):
            assert await _closed(reader)
        writer.close()
        await settled(rig)


async def _closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


async def test_who_says_nothing_or_half_a_datagram_is_closed_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediasrv.fanout.tcp.FIRST_CHECK_S", 0.2)
    async with running() as rig:
        for said in (b"", b"\x00\x14half"):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.service.tcp_port)
            writer.write(said)
            async with asyncio.timeout(2):
                assert await _closed(reader)
            writer.close()
        await settled(rig)


async def test_connections_that_prove_nothing_are_few_and_keep_no_viewer_out_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mediasrv.fanout.tcp.FIRST_CHECK_S", 0.5)
    async with running() as rig:
        idle = [await asyncio.open_connection("127.0.0.1", rig.service.tcp_port) for _ in range(100)]
        await until(lambda: rig.service.counters.connections_refused == 100 - 32)
        assert rig.service.connections == 32
        await settled(rig)
        viewer = await watching(rig)
        assert viewer.client.connected
        for _, writer in idle:
            writer.close()


async def test_connections_are_bounded_in_all() -> None:
    async with running(replace(SETTINGS, tcp_connections=1)) as rig:
        await watching(rig)
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.service.tcp_port)
        async with asyncio.timeout(2):
            assert await _closed(reader)
        writer.close()
        assert rig.service.counters.connections_refused == 1


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "silent"])
async def test_a_viewer_that_dies_is_freed_with_its_connection(*, reset: bool) -> None:
    async with running(replace(SETTINGS, consent_s=0.5)) as rig:
        viewer = await watching(rig)
        if reset:
            sock = viewer.client.sock.sock  # type: ignore[attr-defined]
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            viewer.vanish()
        else:
            assert viewer._timer is not None
            viewer._timer.cancel()
            viewer.stop_reading()
        await until(lambda: rig.service.viewers() == [])
        assert rig.service.counters.consent_lost == 1
        await settled(rig)
        assert rig.service._port._by_path == {}
        assert rig.hub.mountpoint(REF).subscribers == 0


async def test_leaving_says_goodbye_and_ends_the_connection() -> None:
    async with running() as rig:
        viewer = await watching(rig)
        assert viewer.joined is not None
        rig.service.leave(viewer.joined.viewer_id)
        await until(lambda: viewer.client.closed)
        await settled(rig)


async def test_a_flood_by_one_connection_delays_nobody_elses_pictures() -> None:
    async with running() as rig:
        hostile, sound = await watching(rig), await watching(rig)
        frame = frame_run(b"\x80\xc9" + os.urandom(18), 20)
        flood, left = frame * 3000, b""
        worst_s, arrived = 0.0, sound.client.received.pictures
        sock: socket.socket = hostile.client.sock.sock  # type: ignore[attr-defined]
        for _ in range(50):
            left = left or flood
            with contextlib.suppress(BlockingIOError):
                left = left[sock.send(left) :]
            started_s = time.monotonic()
            rig.camera.picture()
            arrived += 1
            await until(lambda: sound.client.received.pictures >= arrived)  # noqa: B023 - called in this turn
            worst_s = max(worst_s, time.monotonic() - started_s)
        assert rig.service.counters.floods > 1000
        assert worst_s < 0.1
        assert sound.client.received.lost == 0
        # Once it calms down, at the end of a frame, it is served as before.
        await asyncio.get_running_loop().sock_sendall(sock, left[: len(left) % len(frame)])
        await is_heard(rig, hostile)


async def test_the_end_of_the_server_tells_its_viewers_over_tcp() -> None:
    async with running() as rig:
        viewer = await watching(rig)
        rig.viewers.clear()
    try:
        await until(lambda: viewer.client.closed, 2)
    finally:
        viewer.vanish()


@pytest.mark.parametrize("host", ["::1", "::"])
async def test_ipv6_carries_both_transports(host: str) -> None:
    advertised = ("::1",) if host == "::" else ()
    async with running(WebRtcSettings(host=host, port=0, advertised=advertised)) as rig:
        viewer = await watching(rig)
        assert viewer.client.sock.getpeername()[0] == "::1"
        udp = Viewer(rig.service, socket.AF_INET6)
        rig.viewers.append(udp)
        await udp.join()
        await until(lambda: udp.client.first_picture_s is not None)
        for _ in range(5):
            rig.camera.picture(20_000)
        await until(lambda: viewer.client.received.pictures >= 6 and udp.client.received.pictures >= 6)
        assert (viewer.client.received.lost, udp.client.received.lost) == (0, 0)
        assert rig.service.counters.unsegmented == 0


@pytest.mark.parametrize("host", ["::", ("127.0.0.1", "::1")], ids=["dual stack", "two sockets"])
async def test_ipv4_and_ipv6_are_served_on_one_port(host: str | tuple[str, ...]) -> None:
    advertised = ("127.0.0.1", "::1") if host == "::" else ()
    async with running(WebRtcSettings(host=host, port=0, advertised=advertised)) as rig:
        rig.camera.picture()
        viewers = [Viewer(rig.service, family) for family in (socket.AF_INET, socket.AF_INET6)]
        rig.viewers += viewers
        for viewer in viewers:
            await viewer.join()
            await until(lambda: viewer.client.first_picture_s is not None)  # noqa: B023 - awaited here
        for _ in range(5):
            rig.camera.picture(20_000)
        await until(lambda: all(viewer.client.received.pictures >= 6 for viewer in viewers))
        assert [viewer.client.received.lost for viewer in viewers] == [0, 0]
        assert {viewer.client.sock.getpeername()[1] for viewer in viewers} == {rig.service.port}
        assert rig.service.counters.unsegmented == 0


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_viewer_over_tcp_gets_every_packet_of_every_picture,
        test_a_connection_that_does_not_drain_loses_to_the_next_keyframe_alone,
        test_what_waits_for_a_connection_has_a_bound_in_bytes_too,
        test_who_says_nothing_or_half_a_datagram_is_closed_within_seconds,
        test_leaving_says_goodbye_and_ends_the_connection,
        test_a_flood_by_one_connection_delays_nobody_elses_pictures,
        test_the_end_of_the_server_tells_its_viewers_over_tcp,
    ],
)
def test_on_uvloop_it_is_alike(scenario: Callable[..., Coroutine[Any, Any, None]], request: Any) -> None:
    """The server runs on it, and its transports write, pause and close in their own way."""
    patches = [request.getfixturevalue(name) for name in inspect.signature(scenario).parameters]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario(*patches))
