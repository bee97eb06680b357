"""Reading a camera: its clock, its make, its profiles and their addresses."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from itertools import islice
from typing import Final

from mediasrv.clock import Clock, SystemClock
from mediasrv.errors import CameraError
from mediasrv.media.profile import MediaProfile
from mediasrv.onvif.address import parse_address
from mediasrv.onvif.envelope import text_of
from mediasrv.onvif.media import PROFILES_REQUEST, FoundProfile, parse_profiles, parse_uri, uri_request
from mediasrv.onvif.passwords import find_weak_passwords
from mediasrv.onvif.requests import Login
from mediasrv.onvif.session import DeviceSession
from mediasrv.onvif.soap import SoapHttp
from mediasrv.onvif.values import OnvifDevice, Service, clean_text
from mediasrv.settings import OnvifSettings

MOST_PROFILES: Final = 32
"""A recorder may offer a hundred; such a one is added channel by channel, by RTSP address."""
_WHOLE_READING: Final = 3.0
"""All requests of a reading together may take so many times what one may."""


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
    `credentials_wrong`, `credentials_missing`, `onvif_failed`. Takes at most four times `timeout_s`.
    """
    endpoint, login = parse_address(address), Login(username, password)
    async with SoapHttp(allowed_networks) as http:
        clock = clock or SystemClock()
        session = DeviceSession(http, endpoint, login, settings.timeout_s, clock)
        try:
            async with asyncio.timeout(settings.timeout_s * _WHOLE_READING):
                await session.read_clock()
                await session.find_services()
                device = await _read(session, settings.timeout_s)
        except TimeoutError as error:
            raise CameraError("The camera answers too slowly to be read.", code="host_unreachable") from error
        warnings = await find_weak_passwords(session, device.manufacturer, settings, clock)
        return replace(device, warnings=warnings)


async def _read(session: DeviceSession, snapshots_s: float) -> OnvifDevice:
    """`snapshots_s` bounds the asking for snapshot addresses."""
    manufacturer = model = firmware = ""
    with session.isolate(Service.DEVICE):
        answer = await session.call(Service.DEVICE, "GetDeviceInformation")
        manufacturer, model = clean_text(text_of(answer, "Manufacturer")), clean_text(text_of(answer, "Model"))
        firmware = clean_text(text_of(answer, "FirmwareVersion"))
    profiles, ptz_profile = await _read_profiles(session, snapshots_s)
    if not (profiles or manufacturer or model):
        said = session.states[Service.DEVICE].sentence
        raise CameraError(
            said or "What answers at this address tells nothing that a camera would.", code="onvif_failed"
        )
    return OnvifDevice(
        manufacturer=manufacturer,
        model=model,
        firmware=firmware,
        clock_offset_s=session.offset.offset_s if session.offset else None,
        clock_uncertainty_s=session.offset.uncertainty_s if session.offset else 0.0,
        profiles=profiles,
        ptz_profile=ptz_profile,
        replaced_host=session.replaced_host,
        services=dict(session.states),
    )


async def _read_profiles(session: DeviceSession, snapshots_s: float) -> tuple[tuple[MediaProfile, ...], str]:
    """The profiles with video and an address, and the token of the first that moves the camera.

    ver20 first: only there does a camera tell of H.265. ver10 where the other is missing, broken or empty.
    """
    for service in (Service.MEDIA2, Service.MEDIA):
        found: list[FoundProfile] = []
        urls: dict[str, str] = {}
        if session.offers(service):
            with session.isolate(service):
                found = list(parse_profiles(await session.call(service, "GetProfiles", PROFILES_REQUEST[service])))
                for profile in islice((one for one in found if one.shown.codec), MOST_PROFILES):
                    urls[profile.token] = await _stream_url(session, service, profile.token)
        usable = [profile for profile in found if urls.get(profile.token)]
        if usable:
            snapshots = await _snapshot_urls(session, service, usable, snapshots_s)
            moving = next((profile.token for profile in found if profile.moves), "")
            complete = [one.with_urls(urls[one.token], snapshots.get(one.token, "")) for one in usable]
            return tuple(complete), moving
    return (), ""


async def _stream_url(session: DeviceSession, service: Service, token: str) -> str:
    try:
        answer = await session.call(service, "GetStreamUri", uri_request(service, token))
    except CameraError as error:
        # One profile without a stream, as of a sensor that is switched off, leaves the others usable.
        if error.code != "onvif_failed":
            raise
        return ""
    return await session.usable_url(parse_uri(answer), "rtsp")


async def _snapshot_urls(
    session: DeviceSession, service: Service, profiles: list[FoundProfile], within_s: float
) -> dict[str, str]:
    """Where pictures are to be had, by token: as far as the camera says so in time. Nothing depends on it."""
    found: dict[str, str] = {}
    with contextlib.suppress(CameraError, TimeoutError):
        async with asyncio.timeout(within_s):
            for profile in profiles:
                answer = await session.call(service, "GetSnapshotUri", {"ProfileToken": profile.token})
                found[profile.token] = await session.usable_url(parse_uri(answer), "http")
    return found
