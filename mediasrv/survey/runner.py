"""One survey: every device is read, a stream of each is measured, and each gets its verdict."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mediasrv.clock import Clock
from mediasrv.errors import CameraError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import Session
from mediasrv.media.profile import MediaProfile
from mediasrv.security.redaction import redact
from mediasrv.settings import SurveySettings
from mediasrv.survey.findings import DeviceReading, Failure, Findings, StreamFindings, Target
from mediasrv.survey.measure import Puller, measure
from mediasrv.survey.sites import site_of
from mediasrv.survey.verdict import USABLE_CODECS, Judgement, Limits, Verdict, is_shared, judge, stream_flaw
from mediasrv.waiting import Turns

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SurveyDrivers:
    """What talks to devices; app.py binds it. `read_device` raises CameraError.

    `in_service` is given a target's address or a stream's URL: what is known of the camera that this server pulls
    from there, None where it pulls none.
    """

    read_device: Callable[[Target], Awaitable[DeviceReading]]
    pull: Callable[[str, Target, Mountpoint, Callable[[], Session]], Puller]
    in_service: Callable[[str], Findings | None]


class RowState(StrEnum):
    WAITING = "waiting"
    READING = "reading"
    QUEUED = "queued"
    """Read; others of its site come first."""
    MEASURING = "measuring"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Row:
    """A device of a survey; it holds no credentials. `revision` is that of the survey at the row's last change."""

    number: int
    address: str
    name: str
    place: str
    site: str = ""
    state: RowState = RowState.WAITING
    findings: Findings = dataclasses.field(default_factory=Findings)
    judgement: Judgement | None = None
    revision: int = 0


class Survey:
    """`run` once. `rows` stand in the order of the targets, each address once, and may be looked at any time.

    Devices are read many at a time (`reading`); streams are measured one at a time a site (`turns`).
    """

    def __init__(
        self,
        targets: Sequence[Target],
        seconds: float,
        drivers: SurveyDrivers,
        limits: Limits,
        clock: Clock,
        settings: SurveySettings,
        turns: Turns | None = None,
    ) -> None:
        self.seconds = seconds
        self.revision = 0
        self.rows: list[Row] = []
        self._targets = _each_once(targets)
        self._drivers = drivers
        self._limits = limits
        self._clock = clock
        self._turns = turns or Turns(settings.streams_at_once, most_a_key=1)
        self._reading = asyncio.Semaphore(settings.devices_at_once)
        for number, target in enumerate(self._targets):
            self.rows.append(Row(number, redact(target.address), target.name, target.place))

    @property
    def done(self) -> int:
        """How many devices have their verdict."""
        return sum(row.judgement is not None for row in self.rows)

    def count(self, verdict: Verdict) -> int:
        return sum(row.judgement is not None and row.judgement.verdict is verdict for row in self.rows)

    async def run(self) -> None:
        """Ends when every device has its verdict. Cancelled, it leaves the cameras properly, and what stands stands."""
        try:
            sites: dict[str, list[tuple[Row, Target]]] = {}
            found = await asyncio.gather(*map(site_of, self._targets))
            for site, row, target in zip(found, self.rows, self._targets, strict=True):
                sites.setdefault(site, []).append((row, target))
            async with asyncio.TaskGroup() as group:
                for site, members in sites.items():
                    group.create_task(self._survey_site(site, members), name=f"survey of {site}")
        finally:
            self._targets = []  # with all credentials
            for row in self.rows:
                if row.judgement is None:
                    self._show(row, RowState.CANCELLED)

    async def _survey_site(self, site: str, members: list[tuple[Row, Target]]) -> None:
        """Reads the site's devices side by side, and measures them one after the other, in their order."""
        taken_kbps = 0
        async with asyncio.TaskGroup() as group:
            readings = []
            for row, target in members:
                row.site = site
                readings.append(group.create_task(self._read(row, target)))
            for (row, target), reading in zip(members, readings, strict=True):
                row.findings = await reading
                try:
                    row.findings = await self._measure(row, target, taken_kbps)
                except Exception:
                    log.exception("%s: the survey of this device failed", row.address)
                    row.findings = dataclasses.replace(row.findings, failure=Failure("camera_failed"))
                row.judgement = judge(row.findings, self._limits, taken_kbps)
                taken_kbps += _taken_kbps(row)
                self._show(row, RowState.DONE)

    async def _read(self, row: Row, target: Target) -> Findings:
        present = self._drivers.in_service(target.address)
        if present is not None:
            return present
        if target.address.startswith(("rtsp://", "rtsps://")):
            profile = MediaProfile("", "", "", 0, 0, 0.0, 0, "", target.address)
            return Findings(reading=DeviceReading(profile))
        async with self._reading:
            self._show(row, RowState.READING)
            findings = await self._read_device(target)
        self._show(row, RowState.QUEUED)
        return findings

    async def _read_device(self, target: Target) -> Findings:
        try:
            return Findings(onvif=True, reading=await self._drivers.read_device(target))
        except CameraError as error:
            refused = error.code in ("credentials_wrong", "credentials_missing")
            return Findings(onvif=True if refused else None, failure=Failure.of(error))
        except Exception:
            log.exception("%s: this device could not be read", target.address)
            return Findings(failure=Failure("camera_failed"))

    async def _measure(self, row: Row, target: Target, taken_kbps: int) -> Findings:
        """What was read, with what of main was measured; where main cannot be linked and sub may be, with sub too."""
        findings, reading = row.findings, row.findings.reading
        if reading is None or reading.main is None or findings.in_service or findings.failure is not None:
            return findings
        for profile in (reading.main, reading.sub):
            present = self._drivers.in_service(profile.url) if profile is not None else None
            if present is not None:
                return dataclasses.replace(present, onvif=findings.onvif, reading=reading)
        main = await self._measure_stream(row, target, reading.main)
        flaw = stream_flaw(main, self._limits, taken_kbps)
        if flaw is None or reading.sub is None or is_shared(flaw):
            return dataclasses.replace(findings, main=main)
        sub = await self._measure_stream(row, target, reading.sub)
        return dataclasses.replace(findings, main=main, sub=sub)

    async def _measure_stream(self, row: Row, target: Target, profile: MediaProfile) -> StreamFindings:
        if profile.codec not in USABLE_CODECS:
            return StreamFindings(profile)
        async with self._turns.turn(row.site):
            self._show(row, RowState.MEASURING)
            try:
                measured = await measure(
                    lambda mountpoint, new_session: self._drivers.pull(profile.url, target, mountpoint, new_session),
                    self.seconds,
                    self._clock,
                )
            except CameraError as error:
                return StreamFindings(profile, failure=Failure.of(error))
        return StreamFindings(profile, measured)

    def _show(self, row: Row, state: RowState) -> None:
        self.revision += 1
        row.state, row.revision = state, self.revision


def _each_once(targets: Sequence[Target]) -> list[Target]:
    """The first of those with the same address."""
    found: dict[str, Target] = {}
    for target in targets:
        found.setdefault(target.address, target)
    return list(found.values())


def _taken_kbps(row: Row) -> int:
    """What this device will take of its site's line."""
    if row.judgement is None or row.judgement.verdict is Verdict.NOT_ELIGIBLE:
        return 0
    stream = row.findings.main if row.judgement.verdict is Verdict.ELIGIBLE else row.findings.sub
    return stream.measured.bitrate_kbps if stream is not None and stream.measured is not None else 0
