"""A camera under supervision, and how it is shown."""

from __future__ import annotations

import asyncio
from typing import Any

from mediasrv.cameras.attestation import Attestation, read_attestation
from mediasrv.cameras.drivers import CameraDrivers, Way
from mediasrv.cameras.streams import Wanted, chosen_streams
from mediasrv.cameras.supervisor import StreamSupervisor
from mediasrv.cameras.views import CameraView, Profile, StreamView
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.settings import CONTINUOUS, RecordingPlan, parse_plan


class Camera:
    """Its row of the catalogue, its streams and their tasks."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self._planned: tuple[Any, RecordingPlan] = (None, CONTINUOUS)
        self.profile = Profile.from_json(row["profile"]) if row["profile"] else None
        self.supervisors: dict[StreamName, StreamSupervisor] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.epoch = 0
        self.place_path = ""
        self.wanted = Wanted()
        self.read_again = False
        self.reading = asyncio.Lock()

    @property
    def camera_id(self) -> str:
        return str(self.row["camera_id"])

    @property
    def has_sub(self) -> bool:
        """As far as is known: an ONVIF camera that was not read yet may have one."""
        if self.row["kind"] == "rtsp":
            return bool(self.row["sub_address"])
        return self.profile is None or self.profile.sub is not None

    @property
    def plan(self) -> RecordingPlan:
        document = self.row["recording"]
        if document is not self._planned[0]:
            self._planned = (document, parse_plan(document))
        return self._planned[1]

    @property
    def attestation(self) -> Attestation | None:
        return read_attestation(self.row["attestation"])

    @property
    def streams(self) -> list[StreamName]:
        """Those that are supervised. A recorded substream that is not there any more is missed, not forgotten."""
        chosen = chosen_streams(self.row["record_stream"], self.plan)
        return [stream for stream in StreamName if stream is StreamName.MAIN or self.has_sub or stream in chosen]

    @property
    def way(self) -> Way:
        """How its media is to come, and the transport that any of its streams has come by."""
        learnt = (supervisor.transport for supervisor in self.supervisors.values())
        preferred = next((transport for transport in learnt if transport), self.row["learnt_transport"] or "")
        return Way(self.row["transport"] or "", self.row["tls_fingerprint"] or "", preferred)

    @property
    def transport_in_use(self) -> str:
        """`tcp`, `udp` or `tls`; empty while no stream of it brings pictures."""
        used = (supervisor.transport_in_use for supervisor in self.supervisors.values())
        return next((transport for transport in used if transport), "")

    def ref(self, stream: StreamName) -> StreamRef:
        return StreamRef(self.camera_id, stream)

    def view(self, drivers: CameraDrivers) -> CameraView:
        row = self.row
        return CameraView(
            camera_id=self.camera_id,
            name=row["name"],
            kind=row["kind"],
            address=row["address"],
            place_id=row["place_id"],
            origin=row["origin"],
            enabled=row["enabled"],
            recording=self.plan,
            streams={stream: self._stream_view(stream, drivers) for stream in StreamName},
            profile=self.profile,
            transport=row["transport"],
            tls_fingerprint=row["tls_fingerprint"],
            record_stream=row["record_stream"],
            grid_stream=row["grid_stream"] if self.has_sub else "main",
            device=drivers.devices.view(self.camera_id),
            record_audio=row["record_audio"],
            audio_recorded=self.wanted.audio,
            attestation=self.attestation,
        )

    def _stream_view(self, stream: StreamName, drivers: CameraDrivers) -> StreamView:
        recording = drivers.recording.view(self.ref(stream))
        supervisor = self.supervisors.get(stream)
        if supervisor is None or stream not in self.streams:
            return StreamView("off", None, 0, None, None, 0, recording)
        live = supervisor.state == "live"
        report = supervisor.puller.report if supervisor.puller else None
        return StreamView(
            state=supervisor.state,
            reason=None if live else supervisor.reason,
            since_us=supervisor.since_us,
            video=report.video_format if report else None,
            audio=report.audio_format if report else None,
            subscribers=supervisor.mountpoint.subscribers,
            recording=recording,
            transport=supervisor.transport_in_use,
        )
