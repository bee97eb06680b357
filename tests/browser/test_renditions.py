"""What Chromium does not take as it is reaches it: H.265 as H.264, AAC as Opus, and G.711 in HLS as AAC."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Response, expect

from load_tests.stack import CameraFarm
from mediasrv.media.access_unit import Codec, StreamName
from tests.browser.conftest import STEP_MS
from tests.browser.screen import camera_video, log_in, moves, until
from tests.integration.served_renditions import (
    AAC,
    HEVC,
    LINGER_S,
    MAIN_SIZE,
    MIXED,
    PASSWORD,
    PCMA,
    SUB_SIZE,
    USERNAME,
    Served,
    main,
    odd_cameras,
    serving,
)

ENDED_S = LINGER_S + 3.0
IN_STEP_MS = 185.0
"""By so much sound may be apart from its picture; what is steady in it is mostly how long Chromium holds sound back."""
VIDEO_ALONE = """async camera => {
    const peer = window.videoAlone = new RTCPeerConnection()
    peer.addTransceiver('video', { direction: 'recvonly' })
    await peer.setLocalDescription()
    const headers = { 'Content-Type': 'application/sdp' }
    const answer = await fetch(`/whep/${camera}`, { method: 'POST', headers, body: peer.localDescription.sdp })
    await peer.setRemoteDescription({ type: 'answer', sdp: await answer.text() })
    window.videoAloneAt = new URL(answer.headers.get('location')).pathname
    return answer.status
}"""
SOUND = """async key => {
    const report = await window.mediasrvDebug.peers[key].getStats()
    const inbound = kind => [...report.values()].find(one => one.type === 'inbound-rtp' && one.kind === kind)
    const audio = inbound('audio'), video = inbound('video')
    return audio && {
        codec: report.get(audio.codecId)?.mimeType,
        energy: audio.totalAudioEnergy,
        ahead_ms: audio.estimatedPlayoutTimestamp - video.estimatedPlayoutTimestamp,
        known: Boolean(audio.estimatedPlayoutTimestamp && video.estimatedPlayoutTimestamp),
    }
}"""


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CameraFarm]:
    with odd_cameras(tmp_path_factory.mktemp("cameras")) as farm:
        yield farm


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(cameras: CameraFarm, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("node"), cameras, most_video=1, most_audio=2) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def viewer(chromium: Browser, served: Served) -> AsyncIterator[Page]:
    """A page that has logged in, and shows no camera. At the end nothing is made for it any more."""
    context = await chromium.new_context(base_url=served.node.url)
    context.set_default_timeout(STEP_MS)
    page = await context.new_page()
    await page.goto("/#/cameras")
    await log_in(page, USERNAME, PASSWORD)
    await page.locator("header").wait_for()
    yield page
    await context.close()
    served.node.server.webrtc.leave_where(lambda _: True)
    for ref in served.node.server.hls.watched():
        served.node.server.hls._drop(ref)
    await nothing_made(served)


async def nothing_made(served: Served) -> None:
    async def none() -> bool:
        return served.made == [] and served.workers == {"video": 0, "audio": 0}

    await until(none, ENDED_S)


async def watch(page: Page, camera_id: str, stream: str = "main", language: str = "vi", *, muted: bool = True) -> None:
    """Leaves what was on the page."""
    await page.goto(f"/watch/{camera_id}?stream={stream}&lang={language}&muted={int(muted)}")


async def another(page: Page) -> Page:
    return await page.context.new_page()


async def size(page: Page) -> tuple[int, int]:
    width, height = await page.locator("video").evaluate("video => [video.videoWidth, video.videoHeight]")
    return width, height


async def test_h265_is_shown_and_two_viewers_share_one_worker_which_ends_after_them(
    viewer: Page, served: Served
) -> None:
    answers: list[int] = []
    viewer.context.on("response", lambda answer: answers.append(answer.status) if _is_join(answer) else None)
    second = await another(viewer)
    for page in (viewer, second):
        await watch(page, HEVC[0])
        await moves(page.locator("#video"))
        assert await size(page) == MAIN_SIZE
    assert answers == [201, 201]
    assert served.made == [(main(HEVC[0]), Codec.H264)]
    assert served.workers == {"video": 1, "audio": 0}
    await second.goto("about:blank")
    await moves(viewer.locator("#video"))
    assert served.workers["video"] == 1, "one still watches"
    await viewer.goto("about:blank")
    await nothing_made(served)


def _is_join(answer: Response) -> bool:
    return answer.request.method == "POST" and "/whep/" in answer.url


async def test_who_comes_when_enough_is_made_is_told_so_and_sees_it_once_there_is_room(
    viewer: Page, served: Served
) -> None:
    watching, english = await another(viewer), await another(viewer)
    await watch(watching, HEVC[0])
    await moves(watching.locator("#video"), pictures=5)
    async with viewer.expect_response(_is_join) as joined:
        await watch(viewer, HEVC[1])
    answer = await joined.value
    assert (answer.status, (await answer.json())["code"]) == (429, "transcoders_full")
    await watch(english, HEVC[1], language="en")
    for page, words in (
        (viewer, "Máy chủ đang chuyển mã đủ số luồng"),
        (english, "The server converts as many streams"),
    ):
        await expect(page.locator("#overlay")).to_contain_text(words)
        await expect(page.locator("#overlay")).to_be_visible()
    assert served.made == [(main(HEVC[0]), Codec.H264)]
    await watching.goto("about:blank")
    await moves(viewer.locator("#video"), pictures=5, timeout_s=25)


async def test_aac_is_heard_as_opus_in_step_with_the_picture(viewer: Page, served: Served) -> None:
    await viewer.goto(f"/#/camera/{AAC}")
    await viewer.get_by_test_id("quality-main").click()
    await moves(await camera_video(viewer))
    await viewer.get_by_test_id("mute").click()

    async def heard() -> dict[str, Any] | None:
        found = await viewer.evaluate(SOUND, f"{AAC}/main")
        return found if found and found["energy"] > 0 else None

    sound = await until(heard)
    assert sound is not None
    assert sound["codec"].lower() == "audio/opus"
    steps: list[float] = []

    async def in_step() -> bool:  # browsers slide one to the other, 80 ms a second
        now = await viewer.evaluate(SOUND, f"{AAC}/main")
        steps.append(now["ahead_ms"] if now["known"] else math.inf)
        return all(abs(step) < IN_STEP_MS for step in steps[-10:]) and len(steps) > 10

    await until(in_step)
    print(f"sound ahead of the picture, ms: {steps}")
    assert {target for _, target in served.made} == {Codec.OPUS}


async def test_who_wants_no_sound_starts_no_worker(viewer: Page, served: Served) -> None:
    started = served.started
    assert await viewer.evaluate(VIDEO_ALONE, AAC) == 201

    async def decoded() -> bool:
        read = """async () => [...(await window.videoAlone.getStats()).values()]
            .find(one => one.type === 'inbound-rtp')?.framesDecoded ?? 0"""
        return int(await viewer.evaluate(read)) > 15

    await until(decoded)
    assert served.started == started
    await viewer.evaluate("async () => { await fetch(window.videoAloneAt, { method: 'DELETE' }) }")


async def test_a_muted_player_starts_no_worker(viewer: Page, served: Served) -> None:
    started = served.started
    await watch(viewer, AAC)
    await moves(viewer.locator("#video"))
    assert served.started == started


async def test_auto_stays_with_the_stream_that_the_browser_decodes(viewer: Page, served: Served) -> None:
    started = served.started
    await watch(viewer, MIXED, "auto")
    await moves(viewer.locator("#video"))
    [ours] = served.node.server.webrtc._viewers.values()

    async def gave_up() -> bool:
        return ours.auto is None

    await until(gave_up, 20)
    await moves(viewer.locator("#video"))
    assert await size(viewer) == SUB_SIZE
    assert ours.info().ref.stream is StreamName.SUB
    assert served.started == started


async def test_g711_plays_in_hls_as_aac(viewer: Page, served: Served) -> None:
    await viewer.goto(f"/#/camera/{PCMA}")
    await viewer.get_by_test_id("transport-hls").click()
    video = await camera_video(viewer)
    await moves(video, timeout_s=30)
    await viewer.get_by_test_id("mute").click()
    assert not await video.evaluate("video => video.muted")

    async def decoded() -> bool:
        return int(await video.evaluate("video => video.webkitAudioDecodedByteCount")) > 4000

    await until(decoded)
    await expect(viewer.get_by_test_id("silent-note")).to_have_count(0)
    assert served.made == [(main(PCMA), Codec.AAC)]
    tracks = await viewer.evaluate("id => window.mediasrvDebug.hls[id].audioTracks.length", PCMA)
    assert tracks == 1


async def test_the_page_says_why_hls_is_silent(viewer: Page, served: Served) -> None:
    for stream in ("main", "sub"):
        await watch(await another(viewer), AAC, stream, muted=False)

    async def taken() -> bool:
        return [target for _, target in served.made] == [Codec.OPUS, Codec.OPUS]

    await until(taken)
    await viewer.goto(f"/#/camera/{PCMA}")
    await viewer.get_by_test_id("transport-hls").click()
    await expect(viewer.get_by_test_id("silent-note")).to_contain_text("Tạm thời không có tiếng: Máy chủ")
    await moves(await camera_video(viewer))
