"""The RTSP door as clients meet it: requests and their answers, who gets in, and who is shown the door."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import itertools
import logging
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.rtsp_pull import RtspSource
from mediasrv.rtsp_serve import _UdpPair
from mediasrv.serving.connection import MOST_STRANGER_REQUESTS
from mediasrv.serving.readers import ServeCounters
from mediasrv.settings import RtspServeSettings
from mediasrv.wire.ice import Path as UdpPath
from mediasrv.wire.rtcp import build_receiver_report
from mediasrv.wire.rtsp_auth import digest_hash
from tests.integration.pull_rig import SETTINGS as PULL
from tests.integration.pull_rig import pulling, until
from tests.integration.rtsp_client import INTERLEAVED, Client, connecting
from tests.integration.rtsp_rig import LOGIN, PASSWORD, REF, Clip, Door, publishing, serving


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as made, publishing(made.mountpoint):
        yield made


@contextlib.asynccontextmanager
async def client_of(door: Door, path: str = "/gate-1/main") -> AsyncIterator[Client]:
    async with connecting(door.port, LOGIN, PASSWORD, path) as client:
        yield client


async def test_a_reader_has_the_last_keyframe_at_once_and_is_told_where_it_begins(door: Door) -> None:
    async with client_of(door) as client:
        played = await client.play()
        assert played.status == 200
        await client.read_packets(40)
    reports = [data for channel, data in client.packets if channel % 2]
    first = next(data for channel, data in client.packets if channel == 0)
    sequence, timestamp = int.from_bytes(first[2:4], "big"), int.from_bytes(first[4:8], "big")
    assert f"track1;seq={sequence};rtptime={timestamp}" in played.header("rtp-info")
    assert first[12] & 31 in (24, 7), "parameter sets, which stand before a keyframe"
    assert client.packets[0][0] % 2, "sender reports come first, so that tracks can be put in step"
    assert {data[1] for data in reports} == {200}
    assert door.access.log == [("rtsp", "gate-1/main")]


async def test_nothing_leaves_before_the_access_is_in_the_log(door: Door) -> None:
    async with client_of(door) as client:

        def refuse() -> None:
            raise OSError("the log cannot be written")

        door.access.before_start = refuse
        with pytest.raises(asyncio.IncompleteReadError):
            await client.play()
        assert client.packets == []
        assert door.serve.readers() == []


async def test_401_comes_before_anything_else(door: Door) -> None:
    async with client_of(door, "/no-such/main") as client:
        for method in ("DESCRIBE", "SETUP", "PLAY"):
            assert (await client.ask_once(method)).status == 401
        assert (await client.ask_once("DESCRIBE")).headers["www-authenticate"][0].startswith("Digest ")
        assert (await client.ask("DESCRIBE")).status == 404
    async with client_of(door, "/../../etc") as client:
        assert (await client.ask("DESCRIBE")).status == 404


async def test_basic_is_neither_offered_nor_taken_without_tls(door: Door) -> None:
    basic = "Basic " + base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode()
    async with client_of(door) as client:
        answer = await client.ask_once("DESCRIBE", Authorization=basic)
        assert answer.status == 401
        assert not any(one.startswith("Basic") for one in answer.headers["www-authenticate"])


async def test_an_answer_overheard_on_one_connection_opens_nothing_on_another_and_nothing_twice(door: Door) -> None:
    async with client_of(door) as client, client_of(door) as other:
        assert (await client.ask("DESCRIBE")).status == 200
        overheard = client.authenticator.authorization("DESCRIBE", client.base)
        assert (await client.ask_once("DESCRIBE", Authorization=overheard or "")).status == 200
        again = await client.ask_once("DESCRIBE", Authorization=overheard or "")
        assert again.status == 401
        assert "stale=true" in again.header("www-authenticate")
        elsewhere = await other.ask_once("DESCRIBE", Authorization=overheard or "")
        assert elsewhere.status == 401


async def test_pipelined_requests_are_answered_in_their_order(door: Door) -> None:
    async with client_of(door) as client:
        await client.ask("DESCRIBE")
        parts = [client.request("OPTIONS"), client.request("DESCRIBE"), client.request("GET_PARAMETER")]
        client.writer.write(b"".join(parts))
        answers = [await client.answer() for _ in parts]
        assert [answer.header("cseq") for answer in answers] == [str(client.cseq - 2 + at) for at in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize(
    ("transport", "status"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=4-5", 200),
        ("RTP/AVP/TCP;unicast", 200),
        ("RTP/AVP;unicast;client_port=40000-40001", 200),
        ("RTP/SAVP;unicast;client_port=40000-40001,RTP/AVP/TCP;interleaved=0-1", 200),
        ("RTP/AVP;unicast;client_port=40000-40001;destination=192.0.2.7", 461),
        ("RTP/AVP;multicast", 461),
        ("RTP/AVP;unicast;client_port=53-54", 461),
        ("RTP/AVP;unicast", 461),
        ("RTP/AVP/TCP;unicast;mode=record;interleaved=0-1", 461),
        ("", 461),
    ],
)
async def test_transports(door: Door, transport: str, status: int) -> None:
    async with client_of(door) as client:
        await client.ask("DESCRIBE")
        assert (await client.ask("SETUP", "/track1", Transport=transport)).status == status


async def test_what_does_not_belong_is_refused_and_the_connection_goes_on(door: Door) -> None:
    async with client_of(door) as client:
        assert (await client.ask("PLAY")).status == 454
        assert (await client.ask("TEARDOWN")).status == 454
        assert (await client.ask("ANNOUNCE")).status == 405
        assert (await client.ask("EXPLODE")).status == 501
        assert (await client.ask("DESCRIBE", Require="www.onvif.org/ver20/backchannel")).status == 551
        assert (await client.ask("DESCRIBE", Accept="text/html")).status == 406
        assert (await client.ask("SETUP", "/track3", Transport=INTERLEAVED.format(0, 1))).status == 404
        assert (await client.ask("GET_PARAMETER", body=b"jitter")).status == 451
        assert (await client.ask("SETUP", "/track1", Transport=INTERLEAVED.format(0, 1))).status == 200
        assert (await client.ask("PLAY", Session="another")).status == 454
        assert (await client.ask("PLAY")).status == 200
        assert (await client.ask("SETUP", "/track1", Transport=INTERLEAVED.format(0, 1))).status == 455


async def test_pause_and_play_again(door: Door) -> None:
    async with client_of(door) as client:
        await client.play()
        assert (await client.ask("PAUSE")).status == 200
        client.packets.clear()
        await asyncio.sleep(0.3)  # the time in which nothing may come
        assert (await client.ask("OPTIONS")).status == 200
        assert client.packets == []
        assert (await client.ask("PLAY")).status == 200
        await client.read_packets(10)
        assert (await client.ask("TEARDOWN")).status == 200
        assert door.serve.readers() == []
        assert len(door.access.log) == 1


@pytest.mark.parametrize(
    ("junk", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"OPTIONS rtsp://x/ RTSP/2.0\r\nCSeq: 1\r\n\r\n", b"505"),
        (b"OPTIONS rtsp://x/ RTSP/1.0\r\nX: " + b"a" * 9000, b"400"),
        (b"OPTIONS rtsp://x/" + b"a" * 2000 + b" RTSP/1.0\r\nCSeq: 1\r\n\r\n", b"414"),
        (b"SET_PARAMETER rtsp://x/ RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999\r\n\r\n", b"413"),
        (b"OPTIONS rtsp://x/ RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_rtsp_gets_a_plain_status_and_the_end(door: Door, junk: bytes, status: bytes) -> None:
    async with client_of(door) as client:
        client.writer.write(junk)
        said = await client.at_end()
        assert said.startswith(b"RTSP/1.0 " + status)
        assert door.serve.counters.protocol_errors == 1
    await until(lambda: not door.serve.connections)


async def test_strangers_that_say_nothing_are_shown_the_door_and_cost_nobody_a_picture(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, stranger_s=1.0) as door,
        publishing(door.mountpoint),
        contextlib.AsyncExitStack() as st,
    ):
        reading = await st.enter_async_context(client_of(door))
        await reading.play()
        silent = [await st.enter_async_context(client_of(door)) for _ in range(100)]
        over_tls = [await asyncio.open_connection("127.0.0.1", door.tls_port) for _ in range(20)]
        slow = await st.enter_async_context(client_of(door))
        slow.writer.write(b"OPTIONS rtsp://x/ RTSP/1.0\r\nCSeq: ")
        await until(lambda: door.serve.connections == 122)
        for client in [*silent, slow]:
            assert (await client.at_end()).startswith(b"RTSP/1.0 408")
        for reader, writer in over_tls:
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.transport.abort()
        await until(lambda: door.serve.connections == 1)
        assert (await reading.ask("GET_PARAMETER")).status == 200
        assert_unbroken(reading)
    assert len(reading.packets) > 40


async def test_connections_are_bounded_in_all_and_for_an_address(tmp_path: Path) -> None:
    async with serving(tmp_path, most_connections=4, most_per_address=3) as door, publishing(door.mountpoint):
        async with client_of(door), client_of(door), client_of(door):
            await until(lambda: door.serve.connections == 3)
            async with client_of(door) as fourth:
                assert await fourth.at_end() == b""
        await until(lambda: not door.serve.connections)


async def test_where_all_places_are_taken_a_stranger_makes_room_and_nobody_who_is_known(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, most_connections=2) as door,
        publishing(door.mountpoint),
        client_of(door) as known,
        client_of(door) as stranger,
    ):
        await known.play()
        async with client_of(door) as newcomer:
            assert (await newcomer.ask("DESCRIBE")).status == 200
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await stranger.ask("OPTIONS")
            async with client_of(door) as last:
                assert await last.at_end() == b""
            assert len(door.serve.readers()) == 1


async def test_revocation_ends_a_reader_within_five_seconds(door: Door) -> None:
    async with client_of(door) as client, client_of(door) as described:
        await client.play()
        assert (await described.ask("DESCRIBE")).status == 200
        door.access.cameras.clear()
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                await client.reader.read(-1)
            with contextlib.suppress(ConnectionError):
                await described.reader.read(-1)
        assert door.access.log[1:] == [("ended", "gate-1/main")] * 2
        assert door.serve.readers() == []
        assert (door.mountpoint.subscribers, door.serve.counters.revoked) == (0, 2)


async def test_a_reader_that_never_reads_loses_alone_and_is_ended(tmp_path: Path) -> None:
    bounds = {"most_waiting_bytes": 200_000, "behind_s": 0.5, "stall_s": 2.0}
    async with (
        serving(tmp_path, **bounds) as door,
        publishing(door.mountpoint, Clip.big()),
        client_of(door) as reading,
        connecting(door.port, LOGIN, PASSWORD, narrow=True) as deaf,
    ):
        await deaf.play()
        deaf.stop_reading()
        await reading.play()
        keeping = asyncio.create_task(keep_reading(reading))
        await until(lambda: door.serve.counters.overruns > 0)
        most = 0
        async with asyncio.timeout(15):
            while door.serve.counters.stalled == 0:
                most = max([most, *(reader.waiting_bytes for reader in door.serve.readers())])
                await asyncio.sleep(0.02)
        assert most <= 200_000
        assert len(door.serve.readers()) == 1
        assert door.serve.readers()[0].overruns == 0
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert_unbroken(reading)


async def test_a_slow_reader_loses_whole_pictures_and_goes_on_at_a_keyframe(tmp_path: Path) -> None:
    bounds = {"most_waiting_bytes": 200_000, "behind_s": 0.3}
    async with (
        serving(tmp_path, **bounds) as door,
        publishing(door.mountpoint, Clip.big()),
        connecting(door.port, LOGIN, PASSWORD, narrow=True) as slow,
    ):
        await slow.play()
        for _ in range(3):
            slow.stop_reading()
            before = door.serve.counters.overruns
            await until(lambda before=before: door.serve.counters.overruns > before)  # type: ignore[misc]
            slow.go_on_reading()
            await slow.read_packets(1500)
        video = [data for channel, data in slow.packets if channel == 0]
        sequences = [int.from_bytes(packet[2:4], "big") for packet in video]
        # What is behind a hole begins with parameter sets, and what is before it ended a picture.
        holes = [at for at in range(1, len(video)) if (sequences[at] - sequences[at - 1]) & 0xFFFF != 1]
        assert holes
        assert all(video[at][12] & 31 in (24, 7) for at in holes)
        assert all(video[at - 1][1] & 0x80 for at in holes)


async def test_a_peer_that_vanished_is_freed_at_once(door: Door) -> None:
    async with client_of(door) as client:
        await client.play()
        assert len(door.serve.readers()) == 1
    await until(lambda: not door.serve.connections, 2.0)
    assert door.mountpoint.subscribers == 0


async def test_a_reader_over_udp_without_a_sign_of_life_is_ended_and_reports_are_one(tmp_path: Path) -> None:
    async with serving(tmp_path, session_s=5.0) as door, publishing(door.mountpoint):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtcp,
        ):
            rtp.bind(("127.0.0.1", 0))
            rtcp.bind(("127.0.0.1", 0))
            ports = f"RTP/AVP;unicast;client_port={rtp.getsockname()[1]}-{rtcp.getsockname()[1]}"
            async with client_of(door) as client:
                await client.ask("DESCRIBE")
                told = await client.ask("SETUP", "/track1", Transport=ports)
                server_rtcp = int(told.header("transport").partition("server_port=")[2].partition(";")[0].split("-")[1])
                await client.ask("PLAY")
                for _ in range(8):
                    rtcp.sendto(build_receiver_report(7), ("127.0.0.1", server_rtcp))
                    await asyncio.sleep(0.9)
                assert len(door.serve.readers()) == 1, "reports alone keep it alive"
                async with asyncio.timeout(10):
                    with contextlib.suppress(ConnectionError):
                        await client.reader.read(-1)
                assert door.serve.readers() == []


async def test_what_is_lost_on_the_way_out_over_udp_is_counted_with_the_rest() -> None:
    counters = ServeCounters()
    with _UdpPair(RtspServeSettings(), counters, asyncio.get_running_loop()) as pair:
        for transport in (pair.sockets.rtp, pair.sockets.rtcp):
            path = UdpPath(("127.0.0.1", pair.ports.rtcp), b"", transport, 0.0)
            transport.send_run(bytes(70_000), 70_000, path)  # more than a datagram can be
    assert counters.send_errors == 2


async def test_one_session_is_of_one_stream_and_one_way(door: Door) -> None:
    sub = StreamRef(REF.camera_id, StreamName.SUB)
    async with publishing(door.hub.mountpoint(sub)), client_of(door, "/gate-1") as client:
        await client.ask("DESCRIBE", "/main")
        assert (await client.ask("SETUP", "/main/track1", Transport=INTERLEAVED.format(0, 1))).status == 200
        assert (await client.ask("SETUP", "/sub/track1", Transport=INTERLEAVED.format(2, 3))).status == 459
        udp = "RTP/AVP;unicast;client_port=40000-40001"
        assert (await client.ask("SETUP", "/track2", Transport=udp)).status == 461
        # Channels that are taken are not given twice.
        answer = await client.ask("SETUP", "/track2", Transport=INTERLEAVED.format(1, 2))
        assert "interleaved=2-3" in answer.header("transport")


async def test_the_certificate_that_is_made_is_for_its_owner_alone_and_stays(tmp_path: Path) -> None:
    async with serving(tmp_path):
        pass
    made = (tmp_path / "rtsps.crt").read_bytes()
    assert stat.S_IMODE((tmp_path / "rtsps.key").stat().st_mode) == 0o600
    async with serving(tmp_path):
        pass
    assert (tmp_path / "rtsps.crt").read_bytes() == made


def assert_unbroken(client: Client) -> None:
    """Every packet of every track came, in order."""
    for channel in {channel for channel, _ in client.packets if channel % 2 == 0}:
        sequences = [int.from_bytes(data[2:4], "big") for found, data in client.packets if found == channel]
        assert all((later - earlier) & 0xFFFF == 1 for earlier, later in itertools.pairwise(sequences))


async def keep_reading(client: Client) -> None:
    while True:
        await client.read_packets(1)


async def test_the_log_at_its_most_talkative_holds_no_secret(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with client_of(door) as client:
        await client.play()
        answers = [client.authenticator.authorization(method, client.base) or "" for method in ("PLAY", "DESCRIBE")]
        await client.ask_once("PLAY", Authorization=answers[0])
        await client.ask_once("DESCRIBE", Authorization=answers[1].replace("response", "responce"))
        door.access.cameras.clear()
        await until(lambda: not door.serve.readers(), 5)
    async with connecting(door.port, LOGIN, "wrong") as client:
        assert (await client.ask("DESCRIBE")).status == 401
    responses = [answer.partition('response="')[2].partition('"')[0] for answer in answers]
    assert "rtsp-reader is ended: revoked" in caplog.text
    for secret in (PASSWORD, *responses, digest_hash("MD5", LOGIN, "mediasrv", PASSWORD)):
        assert secret not in caplog.text


async def test_a_stranger_is_not_answered_without_end(door: Door) -> None:
    async with client_of(door) as client:
        for _ in range(MOST_STRANGER_REQUESTS):
            assert (await client.ask_once("OPTIONS")).status == 200
        assert await client.at_end() == b""


async def test_a_flood_of_requests_holds_back_nobodys_pictures(door: Door) -> None:
    async with client_of(door) as reading, client_of(door) as flooding:
        await reading.play()
        await flooding.ask("DESCRIBE")
        request = flooding.request("OPTIONS")

        async def flood() -> None:
            while True:
                flooding.writer.write(request * 200)
                await flooding.writer.drain()
                await flooding.reader.read(1 << 16)

        task = asyncio.create_task(flood())
        began = asyncio.get_running_loop().time()
        await reading.read_packets(75)
        took_s = asyncio.get_running_loop().time() - began
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert_unbroken(reading)
        assert took_s < 5


@pytest.mark.parametrize("way", ["tcp", "udp"])
@pytest.mark.parametrize(("bound", "asked"), [("::1", "[::1]"), ("0.0.0.0", "127.0.0.2")])  # noqa: S104 - loopback is asked
async def test_other_addresses_are_served_too_and_udp_comes_from_the_one_that_was_asked(
    tmp_path: Path, bound: str, asked: str, way: str
) -> None:
    allowed = dataclasses.replace(PULL, allowed_networks=("127.0.0.0/8", "::1/128"))
    async with serving(tmp_path, host=bound) as door, publishing(door.mountpoint):
        source = RtspSource(f"rtsp://{asked}:{door.port}/{REF.camera_id}/main", LOGIN, PASSWORD, way)
        async with pulling(source, allowed) as read:
            await until(lambda: len(read.video) > 30)
            assert [reader.way for reader in door.serve.readers()] == [way]


async def test_a_feed_that_failed_is_replaced_for_whoever_comes_next(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(door) as client, client_of(door) as described:
        await client.play()
        await described.ask("DESCRIBE")
        feed = door.serve.hold(REF)
        monkeypatch.setattr(feed, "_take", lambda unit: 1 // 0)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                await client.reader.read(-1)
        async with client_of(door) as another:
            assert (await another.play()).status == 200
            await another.read_packets(40)
        door.serve.release(feed)
    await until(lambda: not door.serve.connections)
    assert door.mountpoint.subscribers == 0
