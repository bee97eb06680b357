"""A camera's ONVIF device and media services: SOAP 1.2 over HTTP, as much as a video server reads.

Who calls must show a WS-Security UsernameToken with a password digest (ONVIF Core 5.9.4) or HTTP Digest; the
operations of access class PRE_AUTH are open to all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from aiohttp import web

from load_tests.camera_farm.http_auth import Authenticator
from load_tests.camera_farm.on_air import StreamOnAir
from load_tests.camera_farm.streams import AudioKind

DEVICE_PATH: Final = "/onvif/device_service"
MEDIA_PATH: Final = "/onvif/media_service"

_SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
_WSSE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_WSU: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_DEVICE: Final = "http://www.onvif.org/ver10/device/wsdl"
_MEDIA: Final = "http://www.onvif.org/ver10/media/wsdl"
_PRE_AUTH: Final = frozenset({"GetSystemDateAndTime", "GetCapabilities", "GetServices"})
_CLOCK_TOLERANCE: Final = timedelta(seconds=60)
_MOST_BODY_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class OnvifFace:
    """How a camera looks from ONVIF. `reported_host` empty means the address the request came to."""

    camera_id: str
    name: str
    username: str
    password: str
    auth_kinds: frozenset[str] = frozenset({"wsse", "digest"})
    clock_offset_s: float = 0.0
    reported_host: str = ""
    manufacturer: str = "Camera Farm"
    model: str = "Simulated ONVIF camera"
    firmware: str = "1.0"


class OnvifCamera(Protocol):
    face: OnvifFace
    rtsp_port: int
    onvif_port: int
    streams: dict[str, StreamOnAir]

    def refuses_credentials(self) -> bool: ...


@dataclass(slots=True)
class SoapFault(Exception):
    """A fault to answer; `challenge` asks for HTTP Digest as well."""

    status: int
    code: str
    reason: str
    challenges: list[str] = field(default_factory=list)


class OnvifService:
    """The HTTP application of one camera."""

    def __init__(self, camera: OnvifCamera) -> None:
        self._camera = camera
        self._face = camera.face
        self._auth = Authenticator(
            "camera-farm", self._face.username, self._face.password, schemes=("digest",), qop=True
        )
        self._operations: dict[str, Callable[[Element, str], str]] = {
            "GetSystemDateAndTime": self._date_and_time,
            "GetDeviceInformation": self._device_information,
            "GetCapabilities": self._capabilities,
            "GetServices": self._services,
            "GetProfiles": self._profiles,
            "GetStreamUri": self._stream_uri,
            "GetSnapshotUri": self._snapshot_uri,
        }

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_MOST_BODY_BYTES)
        for path in (DEVICE_PATH, MEDIA_PATH):
            app.router.add_post(path, self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            envelope = _parse_envelope(await request.read())
            body = envelope.find(f"{{{_SOAP}}}Body")
            operation = body[0] if body is not None and len(body) else None
            if operation is None:
                raise SoapFault(400, "ter:WellFormed", "There is no operation in the body.")
            name = _local_name(operation)
            if name not in _PRE_AUTH:
                self._authorise(request, envelope)
            handler = self._operations.get(name)
            if handler is None:
                raise SoapFault(400, "ter:ActionNotSupported", f"{name} is not supported.")
            return _soap_response(200, handler(operation, self._host_of(request)))
        except SoapFault as fault:
            return _fault_response(fault)

    def _authorise(self, request: web.Request, envelope: Element) -> None:
        authorization = request.headers.get("Authorization", "")
        if not self._camera.refuses_credentials():
            if "digest" in self._face.auth_kinds and self._auth.accepts(authorization, "POST", request.path_qs):
                return
            if "wsse" in self._face.auth_kinds and self._token_accepted(envelope):
                return
        if "digest" in self._face.auth_kinds:
            raise SoapFault(401, "ter:NotAuthorized", "Sender not authorized", self._auth.challenges(authorization))
        raise SoapFault(400, "ter:NotAuthorized", "Sender not authorized")

    def _token_accepted(self, envelope: Element) -> bool:
        """UsernameToken Profile 1.0: digest = SHA-1 of nonce, created and password, by the camera's own clock."""
        token = envelope.find(f".//{{{_WSSE}}}UsernameToken")
        if token is None or token.findtext(f"{{{_WSSE}}}Username") != self._face.username:
            return False
        created = token.findtext(f"{{{_WSU}}}Created") or ""
        try:
            nonce = base64.b64decode(token.findtext(f"{{{_WSSE}}}Nonce") or "", validate=True)
            skew = datetime.fromisoformat(created) - self._now()
        except (binascii.Error, ValueError, TypeError):
            return False
        plain = nonce + created.encode() + self._face.password.encode()
        digest = base64.b64encode(hashlib.sha1(plain, usedforsecurity=False).digest()).decode()
        given = (token.findtext(f"{{{_WSSE}}}Password") or "").strip()
        return abs(skew) <= _CLOCK_TOLERANCE and hmac.compare_digest(given, digest)

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._face.clock_offset_s)

    def _host_of(self, request: web.Request) -> str:
        return self._face.reported_host or (request.url.host or "127.0.0.1")

    def _service_url(self, path: str, host: str) -> str:
        return f"http://{host}:{self._camera.onvif_port}{path}"

    def _date_and_time(self, _operation: Element, _host: str) -> str:
        now = self._now()
        return (
            "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime>"
            "<tt:DateTimeType>NTP</tt:DateTimeType><tt:DaylightSavings>false</tt:DaylightSavings>"
            "<tt:TimeZone><tt:TZ>UTC0</tt:TZ></tt:TimeZone><tt:UTCDateTime>"
            f"<tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute><tt:Second>{now.second}</tt:Second></tt:Time>"
            f"<tt:Date><tt:Year>{now.year}</tt:Year><tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day></tt:Date>"
            "</tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
        )

    def _device_information(self, _operation: Element, _host: str) -> str:
        face = self._face
        return (
            "<tds:GetDeviceInformationResponse>"
            f"<tds:Manufacturer>{escape(face.manufacturer)}</tds:Manufacturer><tds:Model>{escape(face.model)}</tds:Model>"
            f"<tds:FirmwareVersion>{escape(face.firmware)}</tds:FirmwareVersion>"
            f"<tds:SerialNumber>{face.camera_id}</tds:SerialNumber><tds:HardwareId>{face.camera_id}</tds:HardwareId>"
            "</tds:GetDeviceInformationResponse>"
        )

    def _capabilities(self, _operation: Element, host: str) -> str:
        return (
            "<tds:GetCapabilitiesResponse><tds:Capabilities>"
            f"<tt:Device><tt:XAddr>{self._service_url(DEVICE_PATH, host)}</tt:XAddr></tt:Device>"
            f"<tt:Media><tt:XAddr>{self._service_url(MEDIA_PATH, host)}</tt:XAddr><tt:StreamingCapabilities>"
            "<tt:RTPMulticast>false</tt:RTPMulticast><tt:RTP_TCP>true</tt:RTP_TCP>"
            "<tt:RTP_RTSP_TCP>true</tt:RTP_RTSP_TCP></tt:StreamingCapabilities></tt:Media>"
            "</tds:Capabilities></tds:GetCapabilitiesResponse>"
        )

    def _services(self, _operation: Element, host: str) -> str:
        offered = ((_DEVICE, DEVICE_PATH), (_MEDIA, MEDIA_PATH))
        services = "".join(
            f"<tds:Service><tds:Namespace>{namespace}</tds:Namespace>"
            f"<tds:XAddr>{self._service_url(path, host)}</tds:XAddr>"
            "<tds:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></tds:Version></tds:Service>"
            for namespace, path in offered
        )
        return f"<tds:GetServicesResponse>{services}</tds:GetServicesResponse>"

    def _profiles(self, operation: Element, _host: str) -> str:
        profiles = "".join(_media_profile(name, stream) for name, stream in self._camera.streams.items())
        return f"<trt:GetProfilesResponse>{profiles}</trt:GetProfilesResponse>"

    def _stream_uri(self, operation: Element, host: str) -> str:
        name = self._profile_of(operation)
        uri = f"rtsp://{host}:{self._camera.rtsp_port}/{name}"
        return f"<trt:GetStreamUriResponse>{_media_uri(uri)}</trt:GetStreamUriResponse>"

    def _snapshot_uri(self, operation: Element, host: str) -> str:
        uri = self._service_url(f"/snapshot/{self._profile_of(operation)}", host)
        return f"<trt:GetSnapshotUriResponse>{_media_uri(uri)}</trt:GetSnapshotUriResponse>"

    def _profile_of(self, operation: Element) -> str:
        token = next((item.text or "" for item in operation.iter() if _local_name(item) == "ProfileToken"), "")
        name = token.removeprefix("profile-")
        if name not in self._camera.streams:
            raise SoapFault(400, "ter:NoProfile", "The profile does not exist.")
        return name


def _media_uri(uri: str) -> str:
    return (
        f"<trt:MediaUri><tt:Uri>{uri}</tt:Uri><tt:InvalidAfterConnect>false</tt:InvalidAfterConnect>"
        "<tt:InvalidAfterReboot>false</tt:InvalidAfterReboot><tt:Timeout>PT0S</tt:Timeout></trt:MediaUri>"
    )


_MULTICAST: Final = (
    "<tt:Multicast><tt:Address><tt:Type>IPv4</tt:Type><tt:IPv4Address>0.0.0.0</tt:IPv4Address></tt:Address>"
    "<tt:Port>0</tt:Port><tt:TTL>1</tt:TTL><tt:AutoStart>false</tt:AutoStart></tt:Multicast>"
    "<tt:SessionTimeout>PT60S</tt:SessionTimeout>"
)


_SOURCE: Final = (
    '<tt:VideoSourceConfiguration token="source"><tt:Name>source</tt:Name><tt:UseCount>2</tt:UseCount>'
    '<tt:SourceToken>source-1</tt:SourceToken><tt:Bounds x="0" y="0" width="1920" height="1080"/>'
    "</tt:VideoSourceConfiguration>"
)


def _media_profile(name: str, stream: StreamOnAir) -> str:
    shape = stream.source.shape
    video = (
        f'<tt:VideoEncoderConfiguration token="video-{name}"><tt:Name>{name}</tt:Name><tt:UseCount>1</tt:UseCount>'
        "<tt:Encoding>H264</tt:Encoding>"
        f"<tt:Resolution><tt:Width>{shape.width}</tt:Width><tt:Height>{shape.height}</tt:Height></tt:Resolution>"
        f"<tt:Quality>5</tt:Quality><tt:RateControl><tt:FrameRateLimit>{shape.rate}</tt:FrameRateLimit>"
        f"<tt:EncodingInterval>1</tt:EncodingInterval><tt:BitrateLimit>{shape.bitrate_kbps}</tt:BitrateLimit></tt:RateControl>"
        f"<tt:H264><tt:GovLength>{round(shape.gop_s * shape.rate)}</tt:GovLength>"
        "<tt:H264Profile>Main</tt:H264Profile></tt:H264>"
        f"{_MULTICAST}</tt:VideoEncoderConfiguration>"
    )
    return (
        f'<trt:Profiles token="profile-{name}" fixed="true"><tt:Name>{name}Stream</tt:Name>{_SOURCE}{video}'
        f"{_media_audio(name, stream)}</trt:Profiles>"
    )


def _media_audio(name: str, stream: StreamOnAir) -> str:
    if stream.audio is None:
        return ""
    aac = stream.audio.kind is AudioKind.AAC
    return (
        f'<tt:AudioEncoderConfiguration token="audio-{name}"><tt:Name>{name}</tt:Name><tt:UseCount>1</tt:UseCount>'
        f"<tt:Encoding>{'AAC' if aac else 'G711'}</tt:Encoding><tt:Bitrate>64</tt:Bitrate>"
        f"<tt:SampleRate>{stream.audio.clock_rate // 1000}</tt:SampleRate>{_MULTICAST}</tt:AudioEncoderConfiguration>"
    )


def _parse_envelope(data: bytes) -> Element:
    try:
        return ElementTree.fromstring(data)  # noqa: S314 - only tests call a simulated camera
    except ElementTree.ParseError as error:
        raise SoapFault(400, "ter:WellFormed", "The request is not XML.") from error


def _local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _soap_response(status: int, body: str, headers: dict[str, str] | None = None) -> web.Response:
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{_SOAP}" xmlns:tds="{_DEVICE}" '
        f'xmlns:trt="{_MEDIA}" xmlns:tt="http://www.onvif.org/ver10/schema" '
        'xmlns:ter="http://www.onvif.org/ver10/error">'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    )
    return web.Response(status=status, text=text, content_type="application/soap+xml", charset="utf-8", headers=headers)


def _fault_response(fault: SoapFault) -> web.Response:
    body = (
        f"<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>{fault.code}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en">{escape(fault.reason)}</s:Text></s:Reason></s:Fault>'
    )
    headers = {"WWW-Authenticate": fault.challenges[0]} if fault.challenges else None
    return _soap_response(fault.status, body, headers)
