"""Tries a camera out before it is kept: what is it, does it take the login, do its pictures come?"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Final

from mediasrv.cameras.drivers import CameraDrivers, Login, Puller, Way
from mediasrv.cameras.streams import check_plan, check_streams
from mediasrv.cameras.views import NewCamera, Profile
from mediasrv.clock import Clock
from mediasrv.errors import CameraError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import Session, StreamName, StreamRef, VideoFormat
from mediasrv.media.profile import MediaProfile
from mediasrv.reasons import reason

CHECK_S: Final = 10.0


async def probe(wish: NewCamera, drivers: CameraDrivers, clock: Clock) -> Profile:
    """Connects without keeping anything. Raises CameraError with the reason code of the failing step."""
    login = Login(wish.username, wish.password)
    check_plan(wish.kind, wish.recording)
    if wish.kind == "onvif":
        profile = await drivers.read_device(wish.address, login)
        for code in drivers.refused_warnings.intersection(profile.warnings):
            raise CameraError(reason(code).sentence, code=code)
        check_streams(profile.sub is not None, wish.record_stream, wish.grid_stream)
        return profile
    check_streams(bool(wish.sub_address), wish.record_stream, wish.grid_stream)
    way = Way(wish.transport, wish.tls_fingerprint)
    main = await _check_url(wish.address, login, way, drivers, clock)
    sub = await _check_url(wish.sub_address, login, way, drivers, clock) if wish.sub_address else None
    return _as_given(main, sub)


def plain_profile(main_url: str, sub_url: str | None) -> Profile:
    """Of a camera that is known by its RTSP addresses alone."""
    main = MediaProfile("", "main", "", 0, 0, 0.0, 0, "", main_url)
    return _as_given(main, dataclasses.replace(main, name="sub", url=sub_url) if sub_url else None)


async def _check_url(url: str, login: Login, way: Way, drivers: CameraDrivers, clock: Clock) -> MediaProfile:
    """Pulls a plain URL until its format is known, into a mountpoint that nobody else sees."""
    mountpoint = Mountpoint(StreamRef("probe", StreamName.MAIN), 0.48)

    def new_session() -> Session:
        return Session("probe", mountpoint.ref, 0, clock.wall_us(), clock.monotonic())

    puller = drivers.pull(url, login, way, mountpoint, new_session)
    pull = asyncio.create_task(puller.run())
    try:
        deadline = clock.monotonic() + CHECK_S
        while not pull.done() and not mountpoint.gop:
            if clock.monotonic() > deadline:
                raise CameraError("The camera answers but sends no picture.", code="stalled")
            await asyncio.wait({pull}, timeout=0.02)
        if pull.done():
            pull.result()
        return _found_at(url, mountpoint, puller)
    finally:
        pull.cancel()
        await asyncio.gather(pull, return_exceptions=True)


def _as_given(main: MediaProfile, sub: MediaProfile | None) -> Profile:
    english = "A plain RTSP address: pulled as given."
    return Profile("", "", "", None, main, sub, english, "Địa chỉ RTSP: dùng nguyên như đã nhập.")


def _found_at(url: str, mountpoint: Mountpoint, puller: Puller) -> MediaProfile:
    video, audio = mountpoint.gop[0].format, puller.report.audio_format
    if not isinstance(video, VideoFormat):
        raise CameraError("The stream holds no video.", code="codec_unsupported")
    audio_name = audio.codec.value if audio else ""
    return MediaProfile("", "", video.codec.value, video.width, video.height, 0.0, 0, audio_name, url)
