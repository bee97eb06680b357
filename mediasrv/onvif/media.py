"""Media profiles, in the words of ver10 (profile S) and of ver20 (profile T). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from xml.etree.ElementTree import Element

from mediasrv.media.profile import MediaProfile
from mediasrv.onvif.envelope import find, find_all, number_of, parse_number, text_of
from mediasrv.onvif.values import H264, H265, Service, clean_text

_VIDEO_NAMES: Final = {"h264": H264, "h.264": H264, "h265": H265, "h.265": H265, "hevc": H265}
_AUDIO_NAMES: Final = {"pcmu": "g711", "pcma": "g711", "mp4a-latm": "aac", "mpeg4-generic": "aac"}

PROFILES_REQUEST: Final[Mapping[Service, Mapping[str, Any]]] = {
    Service.MEDIA: {},
    # Without these a profile of ver20 is a name only.
    Service.MEDIA2: {"Type": ["VideoSource", "VideoEncoder", "AudioEncoder", "PTZ"]},
}


@dataclass(frozen=True, slots=True)
class FoundProfile:
    """A profile before its addresses are known; `token` is as the camera wrote it."""

    token: str
    shown: MediaProfile
    moves: bool
    """Whether it has a PTZ configuration."""

    def with_urls(self, url: str, snapshot_url: str = "") -> MediaProfile:
        return replace(self.shown, url=url, snapshot_url=snapshot_url)


def parse_profiles(answer: Element) -> Iterator[FoundProfile]:
    """The profiles of a GetProfiles answer of either service, those without video too."""
    for raw in find_all(answer, "Profiles"):
        parts = find(raw, "Configurations")
        if parts is not None:
            yield _profile(raw, find(parts, "VideoEncoder"), find(parts, "AudioEncoder"), find(parts, "PTZ"))
        else:
            video, audio = find(raw, "VideoEncoderConfiguration"), find(raw, "AudioEncoderConfiguration")
            yield _profile(raw, video, audio, find(raw, "PTZConfiguration"))


def _profile(raw: Element, video: Element | None, audio: Element | None, ptz: Element | None) -> FoundProfile:
    token = raw.get("token", "")[:300]
    shown = MediaProfile(
        token=clean_text(token),
        name=clean_text(text_of(raw, "Name")) or clean_text(token),
        codec=_codec(video, _VIDEO_NAMES),
        width=int(number_of(video, "Resolution", "Width")),
        height=int(number_of(video, "Resolution", "Height")),
        rate=round(number_of(video, "RateControl", "FrameRateLimit"), 3),
        bitrate_kbps=int(number_of(video, "RateControl", "BitrateLimit")),
        audio=_codec(audio, _AUDIO_NAMES),
        url="",
        gop_units=_gop_units(video),
    )
    return FoundProfile(token, shown, ptz is not None)


def _codec(encoder: Element | None, names: Mapping[str, str]) -> str:
    said = clean_text(text_of(encoder, "Encoding")).lower()
    return names.get(said, said)


def _gop_units(video: Element | None) -> int:
    """ver20 has it as an attribute, ver10 in an element of the codec's name."""
    if video is None:
        return 0
    return int(parse_number(video.get("GovLength")) or number_of(video, "H264", "GovLength"))


def uri_request(service: Service, token: str) -> Mapping[str, Any]:
    """Parameters of GetStreamUri: RTSP, RTP interleaved or by UDP unicast."""
    if service is Service.MEDIA2:
        return {"Protocol": "RTSP", "ProfileToken": token}
    return {"StreamSetup": {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}, "ProfileToken": token}


def parse_uri(answer: Element) -> str:
    """The URI of a GetStreamUri or GetSnapshotUri answer of either service."""
    return text_of(answer, "MediaUri", "Uri") or text_of(answer, "Uri")
