"""What surveys are made of, for the server and for the command line: onvif and rtsp_pull as a survey's drivers, limits
out of the settings, and which cameras are in service already.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from mediasrv import onvif
from mediasrv.cameras.views import CameraView, StreamView
from mediasrv.clock import Clock, SystemClock
from mediasrv.errors import CameraError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import Session, StreamName
from mediasrv.pulling.gather import Gatherer
from mediasrv.rtsp_pull import RtspPull, RtspSource
from mediasrv.settings import Settings
from mediasrv.survey import DeviceReading, Findings, Limits, StreamFindings, Survey, SurveyDrivers, Target
from mediasrv.survey.findings import ClockOffset, Failure
from mediasrv.waiting import Turns

_INDEX_S: Final = 1.0
_WEAK: Final = ("password_empty", "password_default")


def make_survey(settings: Settings, targets: Sequence[Target], seconds: float | None) -> Survey:
    """`mediasrv survey`: a survey of its own, which needs no server and may run beside one."""
    clock = SystemClock()
    return Survey(
        targets,
        seconds or settings.survey.measure_s,
        survey_drivers(settings, clock, lambda address: None),
        survey_limits(settings),
        clock,
        settings.survey,
    )


def survey_limits(settings: Settings) -> Limits:
    survey = settings.survey
    return Limits(
        most_lost_share=survey.most_lost_share,
        most_keyframe_s=survey.most_keyframe_s,
        most_stream_kbps=survey.most_stream_kbps,
        most_site_kbps=survey.most_site_kbps,
        clock_alarm_s=settings.onvif.clock_alarm_s,
        refused_warnings=refused_warnings(settings),
    )


def refused_warnings(settings: Settings) -> frozenset[str]:
    return frozenset(_WEAK if settings.onvif.default_passwords == "refuse" else ())


def survey_drivers(
    settings: Settings, clock: SystemClock, in_service: Callable[[str], Findings | None]
) -> SurveyDrivers:
    """Pulls of a survey share nothing with those of cameras in service: neither a beat nor a turn."""
    gatherer = Gatherer(settings.pull.gather_s)
    gate = Turns(settings.pull.handshakes, settings.pull.handshakes_per_host)

    def pull(url: str, target: Target, mountpoint: Mountpoint, new_session: Callable[[], Session]) -> RtspPull:
        source = RtspSource(url, target.username, target.password)
        return RtspPull(source, mountpoint, new_session, clock, settings.pull, gatherer, gate)

    async def read_device(target: Target) -> DeviceReading:
        networks = settings.pull.allowed_networks
        return _reading(
            await onvif.read_device(target.address, target.username, target.password, settings.onvif, networks)
        )

    return SurveyDrivers(read_device=read_device, pull=pull, in_service=in_service)


def _reading(device: onvif.OnvifDevice) -> DeviceReading:
    main = sub = failure = None
    try:
        main, sub = onvif.largest_streams(device)
    except CameraError as error:
        failure = Failure.of(error)
    offset_s = device.clock_offset_s
    return DeviceReading(
        main=main,
        sub=sub,
        manufacturer=device.manufacturer,
        model=device.model,
        firmware=device.firmware,
        clock=None if offset_s is None else ClockOffset(offset_s, device.clock_uncertainty_s),
        warnings=device.warnings,
        failure=failure,
    )


class InService:
    """Which cameras are in service here, looked up by their address or the URL of a stream.

    A thousand of them are looked at once a second at most, not for each of a thousand devices of a survey.
    """

    def __init__(self, views: Callable[[], Sequence[CameraView]], clock: Clock) -> None:
        self._views = views
        self._clock = clock
        self._index: dict[object, CameraView] = {}
        self._looked_at = -_INDEX_S

    def find(self, address: str) -> Findings | None:
        """How the camera there is doing; None where there is none, or it is switched off and so nobody pulls it."""
        now = self._clock.monotonic()
        if now - self._looked_at >= _INDEX_S:
            self._looked_at = now
            self._index = {place: view for view in self._views() if view.enabled for place in _places_of(view)}
        view = self._index.get(_where(address))
        return None if view is None else _findings_of(view)


def _findings_of(view: CameraView) -> Findings:
    main, reading = view.streams[StreamName.MAIN], _reading_of(view)
    return Findings(
        onvif=True if view.kind == "onvif" else None,
        reading=reading,
        main=StreamFindings(reading.main) if reading is not None and reading.main is not None else None,
        failure=None if main.state == "live" else _failure_of(main),
        in_service=True,
    )


def _failure_of(stream: StreamView) -> Failure:
    return Failure(stream.reason.code, stream.reason.sentence) if stream.reason is not None else Failure("connecting")


def _reading_of(view: CameraView) -> DeviceReading | None:
    """What the camera declared, with what its main stream is now."""
    profile, video = view.profile, view.streams[StreamName.MAIN].video
    if profile is None:
        return None
    main = profile.main
    if video is not None:
        main = replace(main, codec=video.codec.value, width=video.width, height=video.height)
    return DeviceReading(
        main=main,
        sub=profile.sub,
        manufacturer=profile.manufacturer,
        model=profile.model,
        firmware=profile.firmware,
        clock=_clock_of(view),
        warnings=profile.warnings,
    )


def _clock_of(view: CameraView) -> ClockOffset | None:
    clock = view.device.clock if view.device is not None else None
    if clock is None or clock.offset_s is None:
        return None
    return ClockOffset(clock.offset_s, clock.uncertainty_s or 0.0)


def _places_of(view: CameraView) -> set[object]:
    profile = view.profile
    urls = [stream.url for stream in (profile.main, profile.sub) if stream is not None] if profile else []
    return {_where(address) for address in (view.address, *urls)}


@lru_cache(maxsize=4096)
def _where(address: str) -> object:
    """The same for one device however its address was written; a stream's URL is what it is."""
    with contextlib.suppress(CameraError):
        endpoint = onvif.parse_address(address)
        return endpoint.host.lower(), endpoint.port
    return address
