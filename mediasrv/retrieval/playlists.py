"""The playlists of a span. URLs are relative to `/playback/{camera}/`.

`{object}/{rendition}/{first}-{last}.m4s` is a cut as that rendition has it. Its init segment is `init-{number}.mp4` by
the number of its init part; of pictures that are made, `init-{first}-{last}.mp4` by a cut that they are made like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US, from_us
from mediasrv.errors import NotFound
from mediasrv.media.access_unit import HLS_AUDIO, Codec, StreamRef, TrackKind, VideoFormat
from mediasrv.media.vod import VodSegment, VodVariant, media_playlist, multivariant_playlist
from mediasrv.retrieval.plan import CutObject, Entry, Init, plan


class Rendition(StrEnum):
    """What a playlist lists; its value is its name in URLs."""

    VIDEO = "video"
    """Pictures as they were recorded."""
    AUDIO = "audio"
    """Sound as it was recorded, as far as HLS carries it."""
    H264 = "h264"
    """Pictures as H.264: what was recorded so is left as it is."""
    AAC = "aac"
    """Sound as HLS carries it: what was recorded so is left as it is, the rest becomes AAC."""
    KEYS = "keys"
    """The keyframe of each cut, shown for as long as the cut lasts."""
    H264_KEYS = "h264-keys"
    """The same as H.264."""

    @property
    def track(self) -> TrackKind:
        return TrackKind.AUDIO if self in (Rendition.AUDIO, Rendition.AAC) else TrackKind.VIDEO

    @property
    def is_keys(self) -> bool:
        return self in (Rendition.KEYS, Rendition.H264_KEYS)

    @property
    def recorded(self) -> Rendition:
        """The one that leaves everything as it was recorded; itself where it does."""
        return _RECORDED.get(self, self)

    @property
    def is_made(self) -> bool:
        return self in _RECORDED

    def carries(self, codec: Codec) -> bool:
        """Whether what was recorded so is listed as it is."""
        if not self.is_made:
            return self.track is TrackKind.VIDEO or codec in HLS_AUDIO
        return codec in HLS_AUDIO if self.track is TrackKind.AUDIO else codec is Codec.H264


_RECORDED: Final = {
    Rendition.H264: Rendition.VIDEO,
    Rendition.H264_KEYS: Rendition.KEYS,
    Rendition.AAC: Rendition.AUDIO,
}


class Choice(StrEnum):
    """Which pictures a multivariant playlist offers; `ANY`: as recorded, and behind it as H.264 where that differs."""

    ANY = "any"
    ORIGINAL = "original"
    H264 = "h264"


@dataclass(frozen=True, slots=True)
class Making:
    """What can be said of what is made before it is: at most `height` lines and `kbps`, in `codecs` (RFC 6381)."""

    height: int
    kbps: int
    codecs: str
    aac_codecs: str = "mp4a.40.2"


def render_master(
    ref: StreamRef,
    within: Span,
    objects: Sequence[CutObject],
    making: Making | None,
    choice: Choice = Choice.ANY,
    *,
    keys_only: bool = False,
) -> bytes:
    """The multivariant playlist. Where `making` is None nothing is offered that has to be made."""
    entries = plan(objects, within)
    query = f"start={_iso(within.start_us)}&end={_iso(within.end_us)}&stream={ref.stream}"
    h265 = any(one.video_init.format.codec is Codec.H265 for one in entries)
    pictures = [Rendition.VIDEO]
    if making is not None and h265 and choice is not Choice.ORIGINAL:
        pictures = [Rendition.H264] if choice is Choice.H264 else [Rendition.VIDEO, Rendition.H264]
    sound = Rendition.AUDIO if making is None else Rendition.AAC
    if all(_audio_init(one, Rendition.AUDIO) == _audio_init(one, sound) for one in entries):
        sound = Rendition.AUDIO
    keys = [_variant(entries, _keys_of(one), None, making, query) for one in pictures]
    if keys_only:
        return multivariant_playlist(keys)
    return multivariant_playlist([_variant(entries, one, sound, making, query) for one in pictures], keys)


def render_track(rendition: Rendition, within: Span, objects: Sequence[CutObject]) -> bytes:
    entries = plan(objects, within)
    segments = [segment_of(one, rendition) for one in entries]
    if all(one.uri is None for one in segments):
        raise NotFound("Nothing of this track was recorded in the span.", code="no_footage")
    start_s = max(0, within.start_us - entries[0].pair.video.started_us) / SECOND_US
    longest_s = max(cut.duration_s for one in entries for cut in one.pair if cut is not None)
    return media_playlist(segments, start_s, longest_s, keyframes_only=rendition.is_keys)


def segment_of(entry: Entry, rendition: Rendition) -> VodSegment:
    """Where the audio has nothing, it is a gap as long as the video, so that all playlists stay in step."""
    cut, init = entry.pair.video, entry.video_init
    if rendition.track is TrackKind.AUDIO:
        heard = _audio_init(entry, rendition)
        if entry.pair.audio is None or heard is None:
            return VodSegment(None, None, cut.duration_s, cut.started_us, entry.discontinuity)
        cut, init = entry.pair.audio, heard
    used = rendition.recorded if rendition.carries(init.format.codec) else rendition
    return VodSegment(
        f"{entry.object_id}/{used}/{cut.first}-{cut.last}.m4s",
        f"{init.object_id}/{used}/{_init_name(used, init)}",
        cut.duration_s,
        cut.started_us,
        entry.discontinuity,
    )


def _audio_init(entry: Entry, rendition: Rendition) -> Init | None:
    """That of its sound, where this rendition has any."""
    init = entry.audio_init
    return init if init is not None and (rendition is Rendition.AAC or rendition.carries(init.format.codec)) else None


def _init_name(rendition: Rendition, init: Init) -> str:
    if rendition.is_made and rendition.track is TrackKind.VIDEO:
        return f"init-{init.cut.first}-{init.cut.last}.mp4"
    return f"init-{init.cut.init}.mp4"


def _keys_of(rendition: Rendition) -> Rendition:
    return Rendition.H264_KEYS if rendition.is_made else Rendition.KEYS


def _variant(
    entries: Sequence[Entry], pictures: Rendition, sound: Rendition | None, making: Making | None, query: str
) -> VodVariant:
    video = [init.format for init in dict.fromkeys(one.video_init for one in entries)]
    heard = [] if sound is None else [init.format for one in entries if (init := _audio_init(one, sound)) is not None]
    height = max(one.height for one in video if isinstance(one, VideoFormat))
    width = max(one.width for one in video if isinstance(one, VideoFormat))
    peak_bps, average_bps = _bit_rates(entries, sound)
    codecs = [one.rfc6381 for one in video if pictures.carries(one.codec)]
    if making is not None and len(codecs) < len(video):
        codecs.append(making.codecs)
        width, height = width * min(height, making.height) // height // 2 * 2, min(height, making.height)
        peak_bps = average_bps = making.kbps * 1000
    codecs += [one.rfc6381 for one in heard if one.codec in HLS_AUDIO]
    if making is not None and any(one.codec not in HLS_AUDIO for one in heard):
        codecs.append(making.aac_codecs)
    return VodVariant(
        video_uri=f"{pictures}.m3u8?{query}",
        audio_uri=f"{sound}.m3u8?{query}" if heard else None,
        width=width,
        height=height,
        codecs=list(dict.fromkeys(codecs)),
        peak_bps=peak_bps,
        average_bps=average_bps,
    )


def _bit_rates(entries: Iterable[Entry], sound: Rendition | None) -> tuple[int, int]:
    """Peak and average of both tracks together, as recorded, in bits a second: keyframes alone are less."""
    sizes, durations_s = [], []
    for one in entries:
        audio = one.pair.audio if sound is not None and _audio_init(one, sound) is not None else None
        sizes.append(one.pair.video.size_bytes + (0 if audio is None else audio.size_bytes))
        durations_s.append(one.pair.video.duration_s)
    peak = max(8 * size / duration_s for size, duration_s in zip(sizes, durations_s, strict=True))
    return round(peak), round(8 * sum(sizes) / sum(durations_s))


def _iso(at_us: int) -> str:
    return from_us(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")
