"""The media service of profile S (ONVIF Media, ver10): profiles and the addresses of their streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape

from load_tests.camera_farm.events import VIDEO_SOURCE
from load_tests.camera_farm.on_air import StreamOnAir
from load_tests.camera_farm.onvif.face import OnvifCamera, service_url
from load_tests.camera_farm.onvif.soap import NAMESPACES, Call, Handler, SoapFault

SNAPSHOT_PATH: Final = "/snapshot"
_MULTICAST: Final = (
    "<tt:Multicast><tt:Address><tt:Type>IPv4</tt:Type><tt:IPv4Address>0.0.0.0</tt:IPv4Address></tt:Address>"
    "<tt:Port>0</tt:Port><tt:TTL>1</tt:TTL><tt:AutoStart>false</tt:AutoStart></tt:Multicast>"
)
_TIMEOUT: Final = "<tt:SessionTimeout>PT60S</tt:SessionTimeout>"
SOURCE_CONFIGURATION: Final = (
    f"<tt:Name>source</tt:Name><tt:UseCount>2</tt:UseCount><tt:SourceToken>{VIDEO_SOURCE}</tt:SourceToken>"
    '<tt:Bounds x="0" y="0" width="1920" height="1080"/>'
)
PTZ_CONFIGURATION: Final = (
    "<tt:Name>ptz</tt:Name><tt:UseCount>2</tt:UseCount><tt:NodeToken>ptz-node</tt:NodeToken>"
    "<tt:DefaultPTZTimeout>PT10S</tt:DefaultPTZTimeout>"
)


class MediaService:
    name, namespace, path = "media", NAMESPACES["trt"], "/onvif/media_service"

    def __init__(self, camera: OnvifCamera) -> None:
        self._camera = camera
        self.operations: Mapping[str, Handler] = {
            "GetProfiles": self._profiles,
            "GetProfile": self._one_profile,
            "GetStreamUri": self._stream_uri,
            "GetSnapshotUri": self._snapshot_uri,
            "GetVideoSources": self._video_sources,
            "GetServiceCapabilities": self._capabilities,
            "SetSynchronizationPoint": self._set_synchronization_point,
        }

    def _profiles(self, _call: Call) -> str:
        profiles = "".join(self._profile(name, "Profiles") for name in self._camera.streams)
        return f"<trt:GetProfilesResponse>{profiles}</trt:GetProfilesResponse>"

    def _one_profile(self, call: Call) -> str:
        profile = self._profile(profile_of(self._camera, call), "Profile")
        return f"<trt:GetProfileResponse>{profile}</trt:GetProfileResponse>"

    def _profile(self, name: str, tag: str) -> str:
        stream = self._camera.streams[name]
        source = f'<tt:VideoSourceConfiguration token="source">{SOURCE_CONFIGURATION}</tt:VideoSourceConfiguration>'
        ptz = f'<tt:PTZConfiguration token="ptz">{PTZ_CONFIGURATION}</tt:PTZConfiguration>'
        return (
            f'<trt:{tag} token="profile-{name}" fixed="true"><tt:Name>{name}Stream</tt:Name>{source}'
            f"{_video(name, stream)}{_audio(name, stream)}{ptz if self._camera.face.has_ptz else ''}"
            f"{_metadata(name, stream)}</trt:{tag}>"
        )

    def _stream_uri(self, call: Call) -> str:
        uri = self._camera.stream_url(profile_of(self._camera, call), call.host)
        return f"<trt:GetStreamUriResponse>{_media_uri(uri)}</trt:GetStreamUriResponse>"

    def _snapshot_uri(self, call: Call) -> str:
        return (
            f"<trt:GetSnapshotUriResponse>{_media_uri(snapshot_url(self._camera, call))}</trt:GetSnapshotUriResponse>"
        )

    def _video_sources(self, _call: Call) -> str:
        source = (
            f'<trt:VideoSources token="{VIDEO_SOURCE}"><tt:Framerate>25</tt:Framerate>'
            "<tt:Resolution><tt:Width>1920</tt:Width><tt:Height>1080</tt:Height></tt:Resolution></trt:VideoSources>"
        )
        return f"<trt:GetVideoSourcesResponse>{source}</trt:GetVideoSourcesResponse>"

    def _capabilities(self, _call: Call) -> str:
        inner = (
            '<trt:Capabilities SnapshotUri="true"><trt:ProfileCapabilities MaximumNumberOfProfiles="2"/>'
            '<trt:StreamingCapabilities RTP_TCP="true" RTP_RTSP_TCP="true"/></trt:Capabilities>'
        )
        return f"<trt:GetServiceCapabilitiesResponse>{inner}</trt:GetServiceCapabilitiesResponse>"

    def _set_synchronization_point(self, call: Call) -> str:
        """The next picture is a keyframe."""
        self._camera.streams[profile_of(self._camera, call)].source.request_keyframe()
        return "<trt:SetSynchronizationPointResponse/>"


def profile_of(camera: OnvifCamera, call: Call) -> str:
    """The stream of the profile that is asked for."""
    name = call.text("ProfileToken").removeprefix("profile-")
    if name not in camera.streams:
        raise SoapFault(400, "ter:NoProfile", "The profile does not exist.")
    return name


def snapshot_url(camera: OnvifCamera, call: Call) -> str:
    return service_url(camera, f"{SNAPSHOT_PATH}/{profile_of(camera, call)}", call.host)


def _media_uri(uri: str) -> str:
    return (
        f"<trt:MediaUri><tt:Uri>{escape(uri)}</tt:Uri><tt:InvalidAfterConnect>false</tt:InvalidAfterConnect>"
        "<tt:InvalidAfterReboot>false</tt:InvalidAfterReboot><tt:Timeout>PT0S</tt:Timeout></trt:MediaUri>"
    )


def _video(name: str, stream: StreamOnAir) -> str:
    shape = stream.source.shape
    h264 = f"<tt:H264><tt:GovLength>{shape.gop}</tt:GovLength><tt:H264Profile>Main</tt:H264Profile></tt:H264>"
    # The schema knows no H.265; cameras that have it write it all the same.
    return (
        f'<tt:VideoEncoderConfiguration token="video-{name}"><tt:Name>{name}</tt:Name><tt:UseCount>1</tt:UseCount>'
        f"<tt:Encoding>{shape.codec.upper()}</tt:Encoding>"
        f"<tt:Resolution><tt:Width>{shape.width}</tt:Width><tt:Height>{shape.height}</tt:Height></tt:Resolution>"
        f"<tt:Quality>5</tt:Quality><tt:RateControl><tt:FrameRateLimit>{shape.claimed_rate}</tt:FrameRateLimit>"
        f"<tt:EncodingInterval>1</tt:EncodingInterval><tt:BitrateLimit>{shape.bitrate_kbps}</tt:BitrateLimit></tt:RateControl>"
        f"{h264 if shape.codec == 'h264' else ''}{_MULTICAST}{_TIMEOUT}</tt:VideoEncoderConfiguration>"
    )


def _audio(name: str, stream: StreamOnAir) -> str:
    if stream.audio is None:
        return ""
    return (
        f'<tt:AudioEncoderConfiguration token="audio-{name}"><tt:Name>{name}</tt:Name><tt:UseCount>1</tt:UseCount>'
        f"<tt:Encoding>{stream.audio.format.onvif_encoding}</tt:Encoding><tt:Bitrate>64</tt:Bitrate>"
        f"<tt:SampleRate>{stream.audio.clock_rate // 1000}</tt:SampleRate>{_MULTICAST}{_TIMEOUT}"
        "</tt:AudioEncoderConfiguration>"
    )


def _metadata(name: str, stream: StreamOnAir) -> str:
    if stream.events is None:
        return ""
    return (
        f'<tt:MetadataConfiguration token="metadata-{name}"><tt:Name>{name}</tt:Name><tt:UseCount>1</tt:UseCount>'
        f"<tt:Analytics>true</tt:Analytics>{_MULTICAST}{_TIMEOUT}</tt:MetadataConfiguration>"
    )
