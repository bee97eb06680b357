"""Reading a camera: its clock, its make, its profiles and their stream URLs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mediasrv.clock import Clock, SystemClock, from_us
from mediasrv.errors import CameraError
from mediasrv.onvif.address import Endpoint, is_unspecified, parse_address, rebuild, split_reported
from mediasrv.onvif.soap import Login, SoapLink, SoapService
from mediasrv.onvif.values import H264, OnvifDevice, OnvifProfile, clean_text
from mediasrv.settings import OnvifSettings

MOST_PROFILES: Final = 32
"""A recorder may offer a hundred; such a one is added channel by channel, by RTSP address."""
_WHOLE_READING: Final = 3.0
"""All requests of a reading together may take so many times what one may."""
_SKEW_THAT_MATTERS: Final = timedelta(seconds=2)
_MEDIA_NAMESPACE: Final = "http://www.onvif.org/ver10/media/wsdl"
_CODEC_NAMES: Final = {"h264": H264, "h.264": H264, "h265": "h265", "hevc": "h265", "mpeg4": "mpeg4", "jpeg": "jpeg"}


async def read_device(
    address: str,
    username: str,
    password: str,
    settings: OnvifSettings,
    allowed_networks: tuple[str, ...],
    clock: Clock | None = None,
) -> OnvifDevice:
    """Reads what `pick_streams` needs. `address` is a host, `host:port` or `http://…`; empty credentials are none.

    Raises CameraError: `address_invalid`, `address_refused`, `name_unresolved`, `host_unreachable`, `port_closed`,
    `credentials_wrong`, `credentials_missing`, `onvif_failed`. Takes at most three times `timeout_s`.
    """
    endpoint = parse_address(address)
    try:
        async with asyncio.timeout(settings.timeout_s * _WHOLE_READING):
            login = Login(username, password)
            async with SoapLink(endpoint, login, settings.timeout_s, allowed_networks) as link:
                return await _Reading(link, clock or SystemClock()).run()
    except TimeoutError as error:
        raise CameraError("The camera answers too slowly to be read.", code="host_unreachable") from error


class _Reading:
    """One reading of one camera."""

    def __init__(self, link: SoapLink, clock: Clock) -> None:
        self._link, self._clock = link, clock
        self._endpoint: Endpoint = link.endpoint
        self._replaced_host = ""

    async def run(self) -> OnvifDevice:
        offset_s = await self._clock_offset_s()
        device = await self._link.service("devicemgmt", self._endpoint.url)
        information = await device.call("GetDeviceInformation")
        media = await self._link.service("media", await self._media_url(device))
        profiles = await self._profiles(media)
        found = OnvifDevice(
            manufacturer=clean_text(_get(information, "Manufacturer")),
            model=clean_text(_get(information, "Model")),
            firmware=clean_text(_get(information, "FirmwareVersion")),
            clock_offset_s=offset_s,
            profiles=tuple(profiles),
            replaced_host=self._replaced_host,
        )
        if not (found.profiles or found.manufacturer or found.model):
            raise CameraError("What answers at this address tells nothing that a camera would.", code="onvif_failed")
        return found

    async def _clock_offset_s(self) -> float | None:
        """Asked first and without credentials: those carry a time, and a camera refuses one far from its own.

        Cameras that keep even their clock to themselves are asked for the rest with our own time.
        """
        device = await self._link.service("devicemgmt", self._endpoint.url)
        asked_us = self._clock.wall_us()
        try:
            answer = await device.call("GetSystemDateAndTime", open_to_all=True)
        except CameraError as error:
            if error.code in ("onvif_failed", "credentials_wrong", "credentials_missing"):
                return None
            raise
        told = _utc_of(answer)
        if told is None:
            return None
        # Cameras tell whole seconds, rounded down.
        middle = from_us((asked_us + self._clock.wall_us()) // 2)
        skew = told + timedelta(seconds=0.5) - middle
        if abs(skew) > _SKEW_THAT_MATTERS:
            self._link.clock_skew = skew
        return round(skew.total_seconds(), 1)

    async def _media_url(self, device: SoapService) -> str:
        """Where the media service is, by GetServices, by GetCapabilities on older cameras, or where devices are."""
        try:
            services = await device.call("GetServices", {"IncludeCapability": False})
            reported = _xaddr_of(services, _MEDIA_NAMESPACE)
        except CameraError as error:
            if error.code != "onvif_failed":
                raise
            reported = ""
        if not reported:
            capabilities = await device.call("GetCapabilities", {"Category": "Media"})
            reported = str(_get(capabilities, "Media", "XAddr") or "")
        return await self._usable_url(reported, "http") or self._endpoint.url

    async def _profiles(self, media: SoapService) -> list[OnvifProfile]:
        answer = await media.call("GetProfiles")
        with_video = [raw for raw in answer or () if _get(raw, "VideoEncoderConfiguration") is not None]
        found = [
            _profile(raw, await self._stream_url(media, str(_get(raw, "token") or "")))
            for raw in with_video[:MOST_PROFILES]
        ]
        return [profile for profile in found if profile.url]

    async def _stream_url(self, media: SoapService, token: str) -> str:
        setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
        try:
            answer = await media.call("GetStreamUri", {"StreamSetup": setup, "ProfileToken": token})
        except CameraError as error:
            # One profile without a stream, as of a sensor that is switched off, leaves the others usable.
            if error.code != "onvif_failed":
                raise
            return ""
        return await self._usable_url(str(_get(answer, "Uri") or ""), "rtsp")

    async def _usable_url(self, reported: str, scheme: str) -> str:
        """A URL that the camera reported, at a host that can be reached; empty where it is no URL.

        A camera behind NAT reports its inner address: the host that was typed in stands in for it. The port of
        the web services is then the one that was typed in, too; that of RTSP is taken to be passed on unchanged.
        """
        split = split_reported(reported, scheme)
        if split is None:
            return ""
        parts, host, port = split
        same = host.lower() == self._endpoint.host.lower()
        if same or (not is_unspecified(host) and await self._link.answers(host, port)):
            return rebuild(parts, host, port)
        self._replaced_host = host
        return rebuild(parts, self._endpoint.host, self._endpoint.port if scheme == "http" else port)


def _profile(raw: Any, url: str) -> OnvifProfile:
    video = _get(raw, "VideoEncoderConfiguration")
    encoding = str(_get(video, "Encoding") or "").lower()
    token = clean_text(_get(raw, "token"))
    return OnvifProfile(
        token=token,
        name=clean_text(_get(raw, "Name")) or token,
        codec=_CODEC_NAMES.get(encoding, clean_text(encoding)),
        width=_whole(_get(video, "Resolution", "Width")),
        height=_whole(_get(video, "Resolution", "Height")),
        rate=float(_whole(_get(video, "RateControl", "FrameRateLimit"))),
        bitrate_kbps=_whole(_get(video, "RateControl", "BitrateLimit")),
        audio=clean_text(_get(raw, "AudioEncoderConfiguration", "Encoding")).lower(),
        url=url,
    )


def _xaddr_of(services: Any, namespace: str) -> str:
    for service in services or ():
        if _get(service, "Namespace") == namespace:
            return str(_get(service, "XAddr") or "")
    return ""


def _utc_of(answer: Any) -> datetime | None:
    date, time = _get(answer, "UTCDateTime", "Date"), _get(answer, "UTCDateTime", "Time")
    year, month, day = (_whole(_get(date, name)) for name in ("Year", "Month", "Day"))
    hour, minute, second = (_whole(_get(time, name)) for name in ("Hour", "Minute", "Second"))
    try:
        # A leap second, and cameras that count to 60 without one.
        return datetime(year, month, day, hour, minute, min(59, second), tzinfo=UTC)
    except ValueError:
        return None


def _get(value: Any, *names: str) -> Any:
    """A member of a member; None as soon as one is missing, since cameras leave out what the schema demands."""
    for name in names:
        value = getattr(value, name, None)
    return value


def _whole(value: Any) -> int:
    try:
        return max(0, int(value))
    except (TypeError, ValueError, OverflowError):
        return 0
