"""Devices that are nowhere, for surveys that go nowhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from mediasrv.clock import SystemClock
from mediasrv.errors import CameraError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Session, VideoFormat
from mediasrv.media.profile import MediaProfile
from mediasrv.onvif import Target
from mediasrv.settings import SurveySettings
from mediasrv.survey import DeviceReading, Findings, Limits, StreamFindings, Survey, SurveyDrivers
from mediasrv.survey.findings import ClockOffset, Measured
from mediasrv.survey.measure import Puller

MAIN = MediaProfile("m", "Main", "h264", 1920, 1080, 25.0, 4096, "aac", "rtsp://192.0.2.1/main", gop_units=50)
SUB = replace(MAIN, token="s", name="Sub", width=640, height=360, url="rtsp://192.0.2.1/sub")
CLOCK = ClockOffset(0.3, 0.5)
READING = DeviceReading(MAIN, SUB, "Maker", "M1", "1.0", CLOCK)
MEASURED = Measured(20.0, 9000, 0, 4000, 25.0, 2.0, "h264", 1920, 1080, "aac", "tcp")
LIMITS = Limits(0.002, 10.0, 0, 0, 1.0)
GOOD = Findings(onvif=True, reading=READING, main=StreamFindings(MAIN, MEASURED))
VIDEO = VideoFormat(Codec.H264, (b"sps", b"pps"), 1920, 1080, "avc1.4d0028")
PASSWORD = "camera-secret-7"


@dataclass
class Report:
    packets: int = 0
    lost_packets: int = 0
    received_bytes: int = 0
    video_format: VideoFormat | None = VIDEO
    audio_format: AudioFormat | None = None
    camera_offset_us: int | None = None
    camera_uncertainty_us: int | None = None
    transport: str = "tcp"


@dataclass
class Network:
    """Everything that a survey can reach. `troubles` are raised by readings (by address) and pulls (by URL)."""

    troubles: dict[str, Exception] = field(default_factory=dict)
    present: dict[str, Findings] = field(default_factory=dict)
    readings: dict[str, DeviceReading] = field(default_factory=dict)
    loses: dict[str, int] = field(default_factory=dict)
    pulled: list[str] = field(default_factory=list)
    open_at: Counter[str] = field(default_factory=Counter)
    most_open_at: Counter[str] = field(default_factory=Counter)
    goodbyes: int = 0
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    def drivers(self) -> SurveyDrivers:
        return SurveyDrivers(self._read, self._pull, self.present.get)

    async def _read(self, target: Any) -> DeviceReading:
        await asyncio.sleep(0)
        if target.address in self.troubles:
            raise self.troubles[target.address]
        url = f"rtsp://{target.address}"
        main, sub = replace(MAIN, url=f"{url}/main"), replace(SUB, url=f"{url}/sub")
        return self.readings.get(target.address, replace(READING, main=main, sub=sub))

    def _pull(self, url: str, target: Any, mountpoint: Mountpoint, new_session: Callable[[], Session]) -> Puller:
        return _Pull(self, url, target.place, mountpoint, new_session)


class _Pull:
    """A stream that plays until it is cancelled."""

    def __init__(
        self, network: Network, url: str, site: str, mountpoint: Mountpoint, new_session: Callable[[], Session]
    ) -> None:
        self.report: Any = Report()
        self._network, self._url, self._site = network, url, site
        self._mountpoint, self._new_session = mountpoint, new_session

    async def run(self) -> None:
        network = self._network
        network.pulled.append(self._url)
        network.open_at[self._site] += 1
        network.most_open_at[self._site] = max(network.most_open_at[self._site], network.open_at[self._site])
        try:
            await asyncio.sleep(0)
            if self._url in network.troubles:
                raise network.troubles[self._url]
            session = self._new_session()
            self._mountpoint.start_session(session)
            self._mountpoint.publish(AccessUnit(session, VIDEO, 0, 0, session.started_us, True, b"\0"))
            self.report = Report(1000, network.loses.get(self._url, 0), 1_000_000)
            await network.hold.wait()
            raise CameraError("The connection to the camera was lost.", code="camera_lost")
        finally:
            await asyncio.sleep(0)  # TEARDOWN and its answer
            network.goodbyes += 1
            network.open_at[self._site] -= 1


def targets(*addresses: str, site: str = "site-1") -> list[Target]:
    return [Target(address, "admin", PASSWORD, f"Cổng {address}", site) for address in addresses]


def survey_of(
    network: Network, wanted: list[Target], *, seconds: float = 0.01, limits: Limits = LIMITS, **settings: Any
) -> Survey:
    return Survey(wanted, seconds, network.drivers(), limits, SystemClock(), SurveySettings(**settings))
