"""The media service of profile T (ONVIF Media 2, ver20): H.265 has its name there."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from load_tests.camera_farm.on_air import StreamOnAir
from load_tests.camera_farm.onvif.face import OnvifCamera
from load_tests.camera_farm.onvif.media import PTZ_CONFIGURATION, SOURCE_CONFIGURATION, profile_of, snapshot_url
from load_tests.camera_farm.onvif.soap import NAMESPACES, Call, Handler
from load_tests.camera_farm.tracks.shapes import AudioKind

_AUDIO_NAMES = {AudioKind.AAC: "MP4A-LATM", AudioKind.OPUS: "OPUS", AudioKind.PCMA: "PCMA", AudioKind.PCMU: "PCMU"}


class Media2Service:
    name, namespace, path = "media2", NAMESPACES["tr2"], "/onvif/media2_service"

    def __init__(self, camera: OnvifCamera) -> None:
        self._camera = camera
        self.operations: Mapping[str, Handler] = {
            "GetProfiles": self._profiles,
            "GetStreamUri": self._stream_uri,
            "GetSnapshotUri": self._snapshot_uri,
            "GetServiceCapabilities": self._capabilities,
            "SetSynchronizationPoint": self._set_synchronization_point,
        }

    def _profiles(self, call: Call) -> str:
        """Only the kinds of configuration that are asked for by `Type` (Media 2, 5.2.3)."""
        kinds = set(call.texts("Type"))
        token = call.text("Token").removeprefix("profile-")
        profiles = "".join(self._profile(name, kinds) for name in self._camera.streams if token in ("", name))
        return f"<tr2:GetProfilesResponse>{profiles}</tr2:GetProfilesResponse>"

    def _profile(self, name: str, kinds: set[str]) -> str:
        stream = self._camera.streams[name]
        known = {
            "VideoSource": f'<tr2:VideoSource token="source">{SOURCE_CONFIGURATION}</tr2:VideoSource>',
            "VideoEncoder": _video(name, stream),
            "AudioEncoder": _audio(name, stream),
            "PTZ": f'<tr2:PTZ token="ptz">{PTZ_CONFIGURATION}</tr2:PTZ>' if self._camera.face.has_ptz else "",
            "Metadata": _metadata(name, stream),
        }
        asked = "".join(text for kind, text in known.items() if kinds & {kind, "All"})
        configurations = f"<tr2:Configurations>{asked}</tr2:Configurations>" if kinds else ""
        named = f"<tr2:Name>{name}Stream</tr2:Name>"
        return f'<tr2:Profiles token="profile-{name}" fixed="true">{named}{configurations}</tr2:Profiles>'

    def _stream_uri(self, call: Call) -> str:
        name = profile_of(self._camera, call)
        uri = self._camera.stream_url(name, call.host, tls=call.text("Protocol").startswith("Rtsps"))
        return f"<tr2:GetStreamUriResponse><tr2:Uri>{escape(uri)}</tr2:Uri></tr2:GetStreamUriResponse>"

    def _snapshot_uri(self, call: Call) -> str:
        uri = snapshot_url(self._camera, call)
        return f"<tr2:GetSnapshotUriResponse><tr2:Uri>{uri}</tr2:Uri></tr2:GetSnapshotUriResponse>"

    def _capabilities(self, _call: Call) -> str:
        inner = (
            '<tr2:Capabilities SnapshotUri="true"><tr2:ProfileCapabilities MaximumNumberOfProfiles="2"/>'
            '<tr2:StreamingCapabilities RTSPStreaming="true" RTP_RTSP_TCP="true"/></tr2:Capabilities>'
        )
        return f"<tr2:GetServiceCapabilitiesResponse>{inner}</tr2:GetServiceCapabilitiesResponse>"

    def _set_synchronization_point(self, call: Call) -> str:
        self._camera.streams[profile_of(self._camera, call)].source.request_keyframe()
        return "<tr2:SetSynchronizationPointResponse/>"


def _video(name: str, stream: StreamOnAir) -> str:
    shape = stream.source.shape
    return (
        f'<tr2:VideoEncoder token="video-{name}" GovLength="{shape.gop}" Profile="Main"><tt:Name>{name}</tt:Name>'
        f"<tt:UseCount>1</tt:UseCount><tt:Encoding>{shape.codec.upper()}</tt:Encoding>"
        f"<tt:Resolution><tt:Width>{shape.width}</tt:Width><tt:Height>{shape.height}</tt:Height></tt:Resolution>"
        f"<tt:RateControl><tt:FrameRateLimit>{shape.claimed_rate}</tt:FrameRateLimit>"
        f"<tt:BitrateLimit>{shape.bitrate_kbps}</tt:BitrateLimit></tt:RateControl><tt:Quality>5</tt:Quality></tr2:VideoEncoder>"
    )


def _audio(name: str, stream: StreamOnAir) -> str:
    if stream.audio is None:
        return ""
    return (
        f'<tr2:AudioEncoder token="audio-{name}"><tt:Name>{name}</tt:Name><tt:UseCount>1</tt:UseCount>'
        f"<tt:Encoding>{_AUDIO_NAMES[stream.audio.kind]}</tt:Encoding><tt:Bitrate>64</tt:Bitrate>"
        f"<tt:SampleRate>{stream.audio.clock_rate // 1000}</tt:SampleRate></tr2:AudioEncoder>"
    )


def _metadata(name: str, stream: StreamOnAir) -> str:
    if stream.events is None:
        return ""
    return (
        f'<tr2:Metadata token="metadata-{name}"><tt:Name>{name}</tt:Name><tt:UseCount>1</tt:UseCount>'
        "<tt:Analytics>true</tt:Analytics></tr2:Metadata>"
    )
