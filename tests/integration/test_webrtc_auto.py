"""An `auto` viewer on its way between two streams, and what is made of a stream that a viewer does not decode."""

from __future__ import annotations

import pytest

from mediasrv.errors import MediasrvError, NotAcceptable, TooManyRequests, Unavailable
from mediasrv.fanout.choice import Choice, Situation
from mediasrv.fanout.stream import Viewer as Ours
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import Codec, Rendition, StreamName, StreamRef
from mediasrv.wire.congestion import Line
from tests.integration.webrtc_rig import REF, Camera, Rig, Viewer, an_offer, running, until, watched
from tests.unit.media.streams import AAC, H265, PCMA

SUB = StreamRef(REF.camera_id, StreamName.SUB)


class Told:
    """Stands for the choice: a test says where the viewer is to go."""

    def __init__(self) -> None:
        self.main = False
        self.failures = 0
        self.seen: list[Situation] = []

    def decide(self, line: Line, at: Situation) -> Choice:
        self.seen.append(at)
        return Choice(self.main)

    def failed(self, now_s: float) -> None:
        self.failures += 1


class Auto:
    """A viewer of a camera's two streams."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.sub = Camera(rig.hub.mountpoint(SUB))
        self.viewer = rig.viewer()
        self.told = Told()

    async def join(self, *, audio: bool = False) -> None:
        self.sub.picture(300)
        client = self.viewer.client
        joined = await self.rig.service.join(SUB, client.offer(audio=audio), "person-1", auto=REF)
        client.accept(joined.answer_sdp)
        self.viewer.read()
        assert self.ours.auto is not None
        self.ours.auto.choice = self.told  # type: ignore[assignment]
        await until(lambda: client.first_picture_s is not None)

    @property
    def ours(self) -> Ours:
        [ours] = self.rig.service._viewers.values()
        return ours

    @property
    def watched(self) -> StreamRef:
        return self.rig.service.viewers()[0].ref

    async def set_out(self) -> None:
        """It is to go to the main stream, and waits for a keyframe of that."""
        self.told.main = True
        await until(lambda: self.ours.bound_for is not None)

    async def go(self, main: bool) -> None:
        """Pictures of both streams come until the viewer is there."""
        self.told.main = main
        wanted = REF if main else SUB

        def there() -> bool:
            self.rig.camera.picture(8000)
            self.sub.picture(300)
            return self.watched == wanted

        await until(there)


def no_loss(auto: Auto) -> bool:
    received = auto.viewer.client.received
    return (received.lost, received.not_authentic, received.faults) == (0, 0, [])


async def test_a_viewer_goes_up_and_down_at_keyframes_under_one_source_without_a_hole() -> None:
    async with running() as rig:
        auto = Auto(rig)
        await auto.join()
        for main in (True, False, True):
            await auto.go(main)
            before = auto.viewer.client.received.pictures
            for _ in range(3):
                (rig.camera if main else auto.sub).picture(8000 if main else 300)
            await until(lambda before=before: auto.viewer.client.received.pictures >= before + 3)  # type: ignore[misc]
            assert no_loss(auto)
        assert auto.viewer.client.received.repeated == 0


async def test_what_a_viewer_answers_to_a_question_tells_the_round_trip() -> None:
    async with running() as rig:
        auto = Auto(rig)
        await auto.join()
        line, asked_s = auto.ours.peer.line, rig.service._clock.monotonic()
        auto.ours.peer.ask(asked_s)
        await until(lambda: line.answered_at_s >= asked_s and not auto.ours.peer.ice._questions)
        assert line.round_trip_s < 1
        assert rig.service.counters.malformed == 0


async def test_the_stream_that_was_left_is_let_go() -> None:
    async with running() as rig:
        auto = Auto(rig)
        await auto.join()
        assert rig.hub.mountpoint(REF).subscribers == 0
        await auto.go(True)
        await until(lambda: rig.hub.mountpoint(SUB).subscribers == 0)
        assert rig.hub.mountpoint(REF).subscribers == 1
        rig.service.leave(auto.ours.viewer_id)
        assert rig.hub.mountpoint(REF).subscribers == 0


async def test_until_the_keyframe_the_old_stream_goes_on() -> None:
    async with running() as rig:
        auto = Auto(rig)
        await auto.join()
        await auto.set_out()
        for _ in range(5):
            rig.camera.picture(8000, keyframe=False)
            auto.sub.picture(300, keyframe=False)
        await until(lambda: auto.viewer.client.received.pictures == 6)
        assert auto.watched == SUB
        rig.camera.picture(8000, keyframe=True)
        assert auto.watched == REF


async def test_who_is_not_to_go_any_more_stays() -> None:
    async with running() as rig:
        auto = Auto(rig)
        await auto.join()
        await auto.set_out()
        auto.told.main = False
        await until(lambda: auto.ours.bound_for is None)
        rig.camera.picture(8000, keyframe=True)
        assert auto.watched == SUB
        await until(lambda: rig.hub.mountpoint(REF).subscribers == 0)


async def test_who_is_on_the_way_to_a_stream_that_becomes_one_it_does_not_decode_stays() -> None:
    async with running() as rig:
        auto = Auto(rig)
        await auto.join()
        await auto.set_out()
        rig.camera.publish(H265, 3600, True, b"\0\0\0\3\x26\x01\xaa")
        assert auto.ours.bound_for is None
        await until(lambda: auto.ours.auto is None)  # nobody transcodes for a choice
        auto.sub.picture(300)
        await until(lambda: auto.viewer.client.received.pictures == 2)
        assert auto.watched == SUB
        assert rig.hub.mountpoint(REF).dropped_sinks == 0


def a_fault(*_: object) -> None:
    raise RuntimeError("a fault of ours")


async def test_one_that_fails_on_its_way_does_not_take_the_others_along() -> None:
    async with running() as rig:
        [other] = await watched(rig)
        auto = Auto(rig)
        auto.sub.picture(300)
        joined = await rig.service.join(SUB, auto.viewer.client.offer(), "person-1", auto=REF)
        ours = rig.service._viewers[joined.viewer_id]
        ours.peer.move_to = a_fault  # type: ignore[method-assign]
        rig.service._fanouts[REF, None].expect(ours)
        for _ in range(30):
            rig.camera.picture()
        await until(lambda: other.client.received.pictures == 31)
        assert [info.ref for info in rig.service.viewers()] == [REF]
        assert rig.service.counters.viewer_failures == 1
        assert rig.hub.mountpoint(REF).dropped_sinks == 0


async def test_one_that_cannot_be_sent_on_its_way_does_not_take_the_service_along() -> None:
    async with running() as rig:
        [other] = await watched(rig)
        rig.service._fanouts[REF, None].expect = a_fault  # type: ignore[method-assign]
        auto = Auto(rig)
        auto.sub.picture(300)
        joined = await rig.service.join(SUB, auto.viewer.client.offer(), "person-1", auto=REF)
        ours = rig.service._viewers[joined.viewer_id]
        assert ours.auto is not None
        await rig.service._move(ours, ours.auto, REF)
        assert rig.service.counters.viewer_failures == 1
        rig.camera.picture()
        await until(lambda: other.client.received.pictures == 2)


async def test_a_stream_that_cannot_be_had_leaves_the_viewer_where_it_is() -> None:
    async def ensure(ref: StreamRef) -> None:
        if ref == REF:
            raise Unavailable("The camera is away.", code="camera_lost")

    async with running(ensure=ensure) as rig:
        auto = Auto(rig)
        await auto.join()
        auto.told.main = True
        await until(lambda: auto.told.failures > 0)
        auto.sub.picture(300)
        await until(lambda: auto.viewer.client.received.pictures == 2)
        assert auto.watched == SUB


async def test_sound_goes_on_where_the_other_stream_has_none() -> None:
    async with running() as rig:
        auto = Auto(rig)
        auto.sub.sound(PCMA, b"s" * 320)
        await auto.join(audio=True)
        await auto.go(True)
        heard = auto.viewer.client.received.audio_packets
        for number in range(5):
            auto.sub.pictures += number  # time passes
            auto.sub.sound(PCMA, b"s" * 320)
        await until(lambda: auto.viewer.client.received.audio_packets >= heard + 4)
        rig.service.leave(auto.ours.viewer_id)
        assert (rig.hub.mountpoint(REF).subscribers, rig.hub.mountpoint(SUB).subscribers) == (0, 0)


async def test_the_choice_is_told_how_large_both_streams_are() -> None:
    async with running() as rig:
        auto = Auto(rig)
        for _ in range(60):
            rig.camera.picture(8000)
            auto.sub.picture(300)
        await auto.join()
        await until(lambda: len(auto.told.seen) > 1)
        seen = auto.told.seen[-1]
        assert 1.2e6 < seen.main_bps < 2e6
        assert 40e3 < seen.sub_bps < 80e3
        assert not seen.can_probe


# --- renditions -----------------------------------------------------------------------------------------


class Made:
    """Stands for the transcoder: notes what is asked for, and hands out one mountpoint for each."""

    def __init__(self, refusal: MediasrvError | None = None) -> None:
        self.refusal = refusal
        self.mountpoints: dict[tuple[StreamRef, Rendition], Mountpoint] = {}

    def __call__(self, ref: StreamRef, rendition: Rendition) -> Mountpoint:
        if self.refusal is not None:
            raise self.refusal
        return self.mountpoints.setdefault((ref, rendition), Hub().mountpoint(ref))


FULL = TooManyRequests("As many streams as this server transcodes are being transcoded.", code="transcoders_full")


async def watching(rig: Rig, *, audio: bool = False) -> Viewer:
    viewer = rig.viewer()
    await viewer.join(audio=audio)
    return viewer


async def test_a_viewer_that_does_not_decode_h265_is_sent_what_is_made_of_it() -> None:
    made = Made()
    async with running(renditions=made) as rig:
        rig.camera.publish(H265, 0, True, b"\0\0\0\3\x26\x01\xaa")
        viewer = await watching(rig)
        [(key, mountpoint)] = made.mountpoints.items()
        assert key == (REF, Rendition(Codec.H264, None))
        Camera(mountpoint).picture()
        await until(lambda: viewer.client.received.pictures == 1)
        assert viewer.client.received.not_authentic == 0
        rig.service.leave(rig.service.viewers()[0].viewer_id)
        assert mountpoint.subscribers == rig.hub.mountpoint(REF).subscribers == 0


async def test_sound_that_webrtc_does_not_carry_is_made_opus_for_who_listens() -> None:
    made = Made()
    async with running(renditions=made) as rig:
        rig.camera.picture()
        rig.camera.sound(AAC, b"a" * 100)
        await watching(rig)
        assert made.mountpoints == {}
        await rig.service.join(REF, an_opus_offer(), "person-2")
        assert list(made.mountpoints) == [(REF, Rendition(None, Codec.OPUS))]


async def test_sound_that_shows_after_a_viewer_came_is_made_opus_for_it() -> None:
    made = Made()
    async with running(renditions=made) as rig:
        rig.camera.picture()
        await rig.service.join(REF, an_opus_offer(), "person-1")
        await watching(rig)
        assert made.mountpoints == {}
        rig.camera.sound(AAC, b"a" * 100)
        [(key, mountpoint)] = made.mountpoints.items()
        assert key == (REF, Rendition(None, Codec.OPUS))
        listener, deaf = rig.service._viewers.values()
        assert listener.sound.mountpoint is mountpoint
        assert listener.fanout.mountpoint is deaf.sound.mountpoint is rig.hub.mountpoint(REF)
        rig.service.leave(listener.viewer_id)
        assert mountpoint.subscribers == 0
        rig.service.leave(deaf.viewer_id)
        assert rig.hub.mountpoint(REF).subscribers == 0


async def test_without_a_transcoder_sound_that_shows_later_costs_no_picture() -> None:
    async with running(renditions=Made(FULL)) as rig:
        rig.camera.picture()
        await rig.service.join(REF, an_opus_offer(), "person-1")
        rig.camera.sound(AAC, b"a" * 100)
        [viewer] = rig.service._viewers.values()
        assert viewer.fanout is viewer.sound
        assert rig.hub.mountpoint(REF).dropped_sinks == 0


@pytest.mark.parametrize("made", [Made(FULL), None])
async def test_a_picture_without_sound_is_better_than_none(made: Made | None) -> None:
    async with running(renditions=made) as rig:
        rig.camera.picture()
        rig.camera.sound(AAC, b"a" * 100)
        joined = await rig.service.join(REF, an_opus_offer(), "person-1")
        assert "m=audio 0 " in joined.answer_sdp


@pytest.mark.parametrize(("made", "code"), [(Made(FULL), "transcoders_full"), (None, "webrtc_codec_unsupported")])
async def test_who_cannot_be_served_is_told_why(made: Made | None, code: str) -> None:
    async with running(renditions=made) as rig:
        rig.camera.publish(H265, 0, True, b"\0\0\0\3\x26\x01\xaa")
        with pytest.raises((TooManyRequests, NotAcceptable)) as refused:
            await rig.service.join(REF, an_offer(), "person-1")
        assert refused.value.code == code
        assert rig.hub.mountpoint(REF).subscribers == 0


def an_opus_offer() -> str:
    offer = an_offer().replace("a=group:BUNDLE 0", "a=group:BUNDLE 0 1")
    video = offer[offer.index("m=video") :]
    audio = video.replace("m=video", "m=audio").replace("a=mid:0", "a=mid:1").replace(" 102", " 111")
    kept = [line for line in audio.split("\r\n") if line and not line.startswith(("a=rtpmap", "a=fmtp", "a=rtcp-fb"))]
    return offer + "\r\n".join([*kept, "a=rtpmap:111 opus/48000/2"]) + "\r\n"


async def test_viewers_that_do_not_take_another_encoding_leave_when_the_camera_changes_to_it() -> None:
    async with running() as rig:
        rig.camera.picture()
        viewer = await watching(rig)
        await until(lambda: viewer.client.received.pictures == 1)
        rig.camera.publish(H265, 3600, True, b"\0\0\0\3\x26\x01\xaa")
        assert rig.service.viewers() == []
        assert rig.hub.mountpoint(REF).subscribers == 0
