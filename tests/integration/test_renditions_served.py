"""The whole server: who takes a camera's codecs gets its access units byte for byte, and who does not what is made."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import dropwhile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from load_tests.hls_check import check_server
from load_tests.stack import CameraFarm
from load_tests.webrtc_client import WebRtcClient
from mediasrv.media.access_unit import Codec, TrackKind
from mediasrv.media.rtp import H265Depacketizer
from mediasrv.media.rtp.outgoing import with_parameter_sets
from tests.integration.node import until
from tests.integration.served_renditions import AAC, HEVC, OPUS, PCMA, Served, main, odd_cameras, serving
from tests.sinks import Viewer

VIDEO_TYPE, AUDIO_TYPE = 102, 111
CHECKED_S = 4.0
_JOIN_S = 15.0


class Client(WebRtcClient):
    """Offers H.264 or H.265, and Opus; `packets` are all that came, decrypted, by their payload type."""

    def __init__(self, encoding: str) -> None:
        super().__init__(sample=0)
        self.packets: dict[int, list[bytes]] = {VIDEO_TYPE: [], AUDIO_TYPE: []}
        self._encoding = encoding
        self._last: dict[int, int] = {}

    def offer(self, *, audio: bool = True) -> str:
        known = {"H264": "packetization-mode=1;profile-level-id=42e01f", "H265": "profile-id=1;tier-flag=0"}
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1"]
        lines += [*self._section("video", VIDEO_TYPE, 0), f"a=rtpmap:{VIDEO_TYPE} {self._encoding}/90000"]
        lines += [f"a=fmtp:{VIDEO_TYPE} {known[self._encoding]}", f"a=rtcp-fb:{VIDEO_TYPE} nack pli"]
        lines += [*self._section("audio", AUDIO_TYPE, 1), f"a=rtpmap:{AUDIO_TYPE} opus/48000/2"]
        return "\r\n".join(lines) + "\r\n"

    def _on_media(self, data: bytes, now_s: float, control: list[tuple[int, int, bytes]]) -> None:
        assert self._cipher is not None
        ssrc, sequence = int.from_bytes(data[8:12], "big"), data[2] << 8 | data[3]
        last = self._last.get(ssrc, sequence)
        index = self._last[ssrc] = last + (sequence - last + 0x8000 & 0xFFFF) - 0x8000
        nonce = (self._salt ^ ssrc << 48 ^ index).to_bytes(12, "big")
        assert data[0] & 0x1F == 0, "neither an extension nor further sources were offered"
        self.packets[data[1] & 0x7F].append(data[:12] + self._cipher.decrypt(nonce, data[12:], data[:12]))


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CameraFarm]:
    with odd_cameras(tmp_path_factory.mktemp("cameras")) as farm:
        yield farm


@pytest.fixture
async def served(cameras: CameraFarm, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path, cameras, most_audio=1, most_video=1) as served:
        yield served


@asynccontextmanager
async def watching(served: Served, camera_id: str, encoding: str) -> AsyncIterator[Client]:
    """A viewer who joins over HTTP, and leaves at the end."""
    client, loop = Client(encoding), asyncio.get_running_loop()
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/sdp"}
    whep = f"{served.node.url}/whep/{camera_id}?stream=main"
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(whep, data=client.offer()) as answer:
            assert answer.status == 201, await answer.text()
            location = answer.headers["Location"]
            client.accept(await answer.text())
        loop.add_reader(client.sock, lambda: client.on_readable(time.monotonic()))
        ticking = loop.create_task(_tick(client))
        try:
            yield client
        finally:
            ticking.cancel()
            loop.remove_reader(client.sock)
            client.close()
            async with http.delete(location) as answer:
                assert answer.status == 204


async def _tick(client: Client) -> None:
    while True:
        client.on_time(time.monotonic())
        await asyncio.sleep(0.02)


def depacketized(packets: Sequence[bytes]) -> list[bytes]:
    found: list[bytes] = []
    damages: list[float] = []

    def deliver(timestamp: int, keyframe: bool, payload: bytes, now: float) -> None:
        found.append(payload)

    depacketizer = H265Depacketizer(VIDEO_TYPE, deliver, damages.append, most_bytes=1 << 20)
    for packet in packets:
        depacketizer.receive(packet, 0, len(packet), 0.0)
    assert depacketizer.lost_packets == depacketizer.strange_packets == len(damages) == 0
    return found


async def test_h265_and_opus_pass_byte_for_byte_to_who_takes_them(served: Served) -> None:
    kept = Viewer()
    subscription = served.node.mountpoint(OPUS).subscribe(kept)
    async with watching(served, OPUS, "H265") as client:
        sound = client.packets[AUDIO_TYPE]
        await until(lambda: len(client.packets[VIDEO_TYPE]) > 100 and len(sound) > 100, _JOIN_S)
        pictures, heard = depacketized(client.packets[VIDEO_TYPE]), [packet[12:] for packet in sound]
        assert served.started == {"video": 0, "audio": 0}
    subscription.close()
    sent = [with_parameter_sets(unit) for unit in kept.of(TrackKind.VIDEO)]
    assert len(pictures) > 30
    assert is_run_of(pictures, sent)
    assert is_run_of(heard, [unit.payload for unit in kept.of(TrackKind.AUDIO)])


def is_run_of(received: Sequence[bytes], sent: Sequence[bytes]) -> bool:
    """Whether what was received is what was sent, from where it begins, without anything left out or between."""
    begun = list(dropwhile(lambda unit: unit != received[0], sent))
    return list(received) == begun[: len(received)]


async def test_the_same_camera_reaches_who_takes_h264_alone_and_each_worker_ends(served: Served) -> None:
    async with watching(served, HEVC[0], "H264") as client:
        await until(lambda: len(client.packets[VIDEO_TYPE]) > 30, _JOIN_S)
        assert {packet[12] & 31 for packet in client.packets[VIDEO_TYPE]} <= {1, 5, 6, 7, 8, 24, 28}
        assert served.made == [(main(HEVC[0]), Codec.H264)]
        status, problem = await refused(served, HEVC[1])
        assert (status, problem["code"]) == (429, "transcoders_full")
        assert problem["detail"].endswith(".")
    await until(lambda: served.made == [] and served.workers == {"video": 0, "audio": 0}, 6)


async def refused(served: Served, camera_id: str) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/sdp"}
    client = Client("H264")
    whep = f"{served.node.url}/whep/{camera_id}?stream=main"
    try:
        async with aiohttp.request("POST", whep, data=client.offer(), headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)
    finally:
        client.close()


# --- HLS ------------------------------------------------------------------------------------------------


async def test_hls_of_g711_has_an_aac_rendition_that_keeps_the_rules_and_is_read_by_ffprobe(served: Served) -> None:
    url, headers = f"{served.node.url}/hls/{PCMA}/index.m3u8", {"Authorization": f"Bearer {served.token}"}
    findings = await check_server(url, CHECKED_S, headers, again_s=0.5)
    assert findings.broken == []
    assert findings.parts > 8
    assert served.made == [(main(PCMA), Codec.AAC)]
    streams = await asyncio.to_thread(probe, url, headers["Authorization"])
    assert [(one["codec_type"], one["codec_name"]) for one in streams] == [("video", "h264"), ("audio", "aac")]
    served.node.server.hls._drop(main(PCMA))
    await until(lambda: served.made == [] and served.workers["audio"] == 0, 6)


def probe(url: str, authorization: str) -> list[dict[str, str]]:
    command = ["ffprobe", "-v", "error", "-headers", f"Authorization: {authorization}\r\n", "-of", "json"]
    done = subprocess.run([*command, "-show_streams", url], capture_output=True, text=True, timeout=30, check=True)
    streams: list[dict[str, str]] = json.loads(done.stdout)["streams"]
    return sorted(streams, key=lambda one: one["codec_type"], reverse=True)


async def test_without_a_free_transcoder_hls_shows_the_picture_alone_and_says_why(served: Served) -> None:
    url, headers = f"{served.node.url}/hls/{PCMA}/index.m3u8", {"Authorization": f"Bearer {served.token}"}
    async with watching(served, AAC, "H264") as client:
        await until(lambda: len(client.packets[AUDIO_TYPE]) > 10, _JOIN_S)
        async with aiohttp.request("GET", url, headers=headers) as answer:
            text = await answer.text()
        assert 'DATA-ID="org.mediasrv.silent",VALUE="transcoders_full"' in text
        assert "TYPE=AUDIO" not in text
        findings = await check_server(url, CHECKED_S / 2, headers, again_s=0.2)
        assert findings.broken == []
        assert served.made == [(main(AAC), Codec.OPUS)]
