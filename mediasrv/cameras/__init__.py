"""The supervisor of cameras: what should be pulled, what is, and a plain reason where the two differ.

A stream that is recorded, or waits for an event, is pulled as long as the camera is enabled, any other only while
somebody watches, and `pull.linger_s` longer. Every stream has one `StreamSupervisor`, so there is one pull a
stream whatever the number of viewers, and a camera that fails costs its own task only.
What it supervises is handed in (`drivers.CameraDrivers`): this package imports neither ONVIF nor RTSP.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from mediasrv.cameras.attestation import Attestation, check_version
from mediasrv.cameras.camera import Camera
from mediasrv.cameras.drivers import CameraDrivers, Login, Puller
from mediasrv.cameras.hosts import Hosts
from mediasrv.cameras.probing import plain_profile, probe
from mediasrv.cameras.streams import Wanted, wanted
from mediasrv.cameras.supervisor import StreamSupervisor
from mediasrv.cameras.views import CameraChanges, CameraView, NewCamera, Profile
from mediasrv.cameras.wishes import Wishes
from mediasrv.catalogue import Catalogue, places
from mediasrv.catalogue import cameras as rows
from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import CameraError, Conflict, InvalidRequest, NotFound, Unavailable
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import Session, StreamName, StreamRef, is_camera_id
from mediasrv.reasons import reason
from mediasrv.security.access_log import AccessLog, append_events
from mediasrv.security.accounts import Actor
from mediasrv.security.credentials import CredentialVault
from mediasrv.security.redaction import redact
from mediasrv.settings import CameraEntry, PullSettings, RecordingSettings

log = logging.getLogger(__name__)

ENSURE_S: Final = 12.0
REMEMBER_S: Final = 60.0
FOLLOW_S: Final = 5.0
SCHEDULE_S: Final = 1.0
_MINUTE_US: Final = 60 * SECOND_US
# A camera that answers so may have changed its addresses or profiles: read them again.
_READ_AGAIN: Final = frozenset({"stream_not_found", "codec_unsupported", "rtsp_refused", "transport_refused"})
# Only a change of these has a camera pulled anew.
_CONNECTION: Final = frozenset({"credentials", "transport", "tls_fingerprint"})
_THE_FILE: Final = Actor(username="(cameras file)")


class Cameras:
    """Desired state from the catalogue, tasks that strive for it, and views of both."""

    def __init__(
        self,
        hub: Hub,
        catalogue: Catalogue,
        access_log: AccessLog,
        vault: CredentialVault,
        drivers: CameraDrivers,
        clock: Clock,
        settings: PullSettings,
        recording: RecordingSettings,
        cell: str,
    ) -> None:
        self._hub = hub
        self._catalogue = catalogue
        self._access_log = access_log
        self._wishes = Wishes(vault, drivers.read_secret)
        self._drivers = drivers
        self._clock = clock
        self._settings = settings
        self._recording = recording
        self._cell = cell
        self._hosts = Hosts(clock, settings)
        self._cameras: dict[str, Camera] = {}
        self._changing = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self._follows = False

    async def run(self) -> None:
        """Supervises until cancelled. The cameras of the catalogue start one after the other, `stagger_s` apart."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            async with self._changing:  # a camera that is added meanwhile must not be found once more
                self._cameras = await self._read_cameras()
                for number, camera in enumerate(self._cameras.values()):
                    if camera.row["enabled"]:
                        await self._start(camera, number * self._settings.stagger_s)
                    else:
                        await self._stop(camera, "camera_disabled")
            group.create_task(self._follow_schedules())
            try:
                await self._remember_transports()
            finally:
                for camera in self._cameras.values():
                    for supervisor in camera.supervisors.values():
                        supervisor.stop_reason = "server_down"

    async def follow(self) -> None:
        """Instead of `run`, on a node that does not record: its list of cameras is that of the catalogue, and no camera
        is pulled or changed from here.
        """
        self._follows = True
        while True:
            try:
                self._cameras = await self._read_cameras()
            except SQLAlchemyError:
                log.exception("the cameras of the catalogue could not be read")
            await asyncio.sleep(FOLLOW_S)

    def list(self) -> list[CameraView]:
        return [camera.view(self._drivers) for camera in self._cameras.values()]

    def get(self, camera_id: str) -> CameraView:
        return self._find(camera_id).view(self._drivers)

    async def ensure(self, ref: StreamRef) -> None:
        """Returns when the stream is live; starts an on-demand one. Raises Unavailable with the stream's reason."""
        camera = self._find(ref.camera_id)
        self._require_record()
        if not camera.supervisors and camera.row["enabled"]:
            async with self._changing:
                pass  # it is about to start, or between two pulls
        supervisor = camera.supervisors.get(ref.stream)
        if supervisor is None:
            raise NotFound("This camera has no such stream, or is switched off.", code="stream_not_found")
        if supervisor.state == "retrying":
            raise _unavailable(supervisor)
        supervisor.want()
        failures = supervisor.failures
        deadline = self._clock.monotonic() + ENSURE_S
        while not supervisor.mountpoint.live:
            if supervisor.failures > failures:
                raise _unavailable(supervisor)
            if self._clock.monotonic() > deadline:
                raise Unavailable("The camera has sent no picture yet.", code="waiting_keyframe")
            await asyncio.sleep(0.02)

    async def discover(self, addresses: Sequence[str] = ()) -> Sequence[object]:
        """The devices among these addresses; without any, those of the local network."""
        return await self._drivers.discover(addresses)

    async def probe(self, wish: NewCamera) -> Profile:
        """Connects without keeping anything. Raises CameraError with the reason code of the failing step."""
        return await probe(wish, self._drivers, self._clock)

    async def add(self, wish: NewCamera, by: Actor) -> CameraView:
        """Probes, keeps and starts a camera. Raises Conflict, CameraError, InvalidRequest `attestation_outdated`.

        Every change here and its entry in the access log, which names `by`, are one transaction.
        """
        self._require_record()
        camera_id = wish.camera_id or f"cam-{secrets.token_hex(4)}"
        if not is_camera_id(camera_id):
            raise InvalidRequest("A camera id is 1 to 64 of a-z, 0-9 and inner hyphens.", code="camera_id_invalid")
        if camera_id in self._cameras:
            raise Conflict(f"There is a camera {camera_id} already.", code="camera_exists")
        if wish.attested:
            check_version(wish.attested)
        profile = await self.probe(wish)
        async with self._changing:
            if camera_id in self._cameras:
                raise Conflict(f"There is a camera {camera_id} already.", code="camera_exists")
            row = self._wishes.new_row(wish, camera_id, profile, self._cell, by, self._clock.wall_us())
            attested = {"attested": wish.attested} if wish.attested else {}
            event = by.event("camera.added", camera_id, address=redact(wish.address), place=wish.place_id, **attested)
            place = await self._access_log.write(event, rows.insert_camera, row)
            camera = self._cameras[camera_id] = Camera(row)
            camera.place_path = place.path
            await self._start(camera)
        return camera.view(self._drivers)

    async def change(self, camera_id: str, changes: CameraChanges, by: Actor) -> CameraView:
        """Applies what differs. Raises CameraError (`no_substream`).

        The camera is pulled anew only where that takes another connection; viewers stay attached in any case.
        """
        self._require_record()
        async with self._changing:
            camera = self._find(camera_id)
            values = self._wishes.changed_values(camera, changes)
            if not values:
                return camera.view(self._drivers)
            event = by.event("camera.changed", camera_id, changed=sorted(values.keys() - {"credentials_ref"}))
            await self._access_log.write(event, rows.update_camera, camera_id, values)
            camera.row |= values
            camera.read_again = camera.read_again or "credentials" in values
            await self._follow_row(camera, values.keys())
        return camera.view(self._drivers)

    async def attest(self, camera_id: str, version: int, by: Actor) -> CameraView:
        """Keeps that `by` attests the text of this version. Raises InvalidRequest `attestation_outdated`."""
        self._require_record()
        check_version(version)
        async with self._changing:
            camera = self._find(camera_id)
            values = {"attestation": Attestation(version, by.username, self._clock.wall_us()).to_json()}
            event = by.event("camera.attested", camera_id, version=version)
            await self._access_log.write(event, rows.update_camera, camera_id, values)
            camera.row |= values
            await self._follow_row(camera, values.keys())
        return camera.view(self._drivers)

    async def remove(self, camera_id: str, by: Actor) -> None:
        """Takes a camera out of service. Its footage stays until retention takes it."""
        self._require_record()
        async with self._changing:
            camera = self._find(camera_id)
            event = by.event("camera.removed", camera_id)
            await self._access_log.write(event, rows.remove_camera, camera_id, self._clock.wall_us())
            await self._stop(camera, "camera_removed")
            del self._cameras[camera_id]
        for stream in StreamName:
            self._hub.remove(StreamRef(camera_id, stream))

    async def sync_file(self, entries: Sequence[CameraEntry], default_place: str) -> None:
        """Makes the rows of origin `file` equal to config/cameras.toml; call before `run`."""
        await self._access_log.transact(_sync_file, entries, self._cell, default_place, self._clock.wall_us())

    # --- inside ----------------------------------------------------------------------------------

    def _require_record(self) -> None:
        if self._follows:
            raise Unavailable("This server does not pull cameras; one with the role record does.", code="role_missing")

    async def _read_cameras(self) -> dict[str, Camera]:
        paths = {place.place_id: place.path for place in await self._catalogue.read(places.list_places)}
        read = {}
        for row in await self._catalogue.read(rows.list_cameras):
            camera = read[row["camera_id"]] = Camera(row)
            camera.place_path = paths[row["place_id"]]
            camera.wanted = self._wanted(camera)
        return read

    def _find(self, camera_id: str) -> Camera:
        camera = self._cameras.get(camera_id)
        if camera is None:
            raise NotFound("There is no such camera.", code="camera_not_found")
        return camera

    async def _follow_row(self, camera: Camera, changed: Set[str]) -> None:
        """Makes what runs equal to the row, and leaves alone what the change does not touch."""
        if not camera.row["enabled"]:
            await self._stop(camera, "camera_disabled")
        elif "enabled" in changed:
            await self._start(camera)
        else:
            if changed & _CONNECTION:
                await self._end_pulls(camera, "settings_changed")
            if "credentials" in changed:
                self._drivers.devices.stop(camera.camera_id)
                self._look_after(camera)
            self._run_streams(camera)

    async def _remember_transports(self) -> None:
        """Until cancelled. What a camera's media came by is tried first when this server starts again."""
        while True:
            await asyncio.sleep(REMEMBER_S)
            for camera in tuple(self._cameras.values()):
                learnt = camera.transport_in_use
                if learnt not in ("tcp", "udp") or learnt == (camera.row["learnt_transport"] or "tcp"):
                    continue
                try:
                    await self._catalogue.write(rows.update_camera, camera.camera_id, {"learnt_transport": learnt})
                    camera.row["learnt_transport"] = learnt
                except Exception:
                    log.exception("%s: which transport works could not be kept", camera.camera_id)

    async def _follow_schedules(self) -> None:
        """Until cancelled: begins and ends what is recorded by the clock on the wall, whose hands move each minute, and
        what is recorded while a camera's events are not heard.
        """
        minute = 0
        while True:
            await asyncio.sleep(SCHEDULE_S)
            before, minute = minute, self._clock.wall_us() // _MINUTE_US
            due = ("event",) if minute == before else ("event", "schedule")
            for camera in tuple(self._cameras.values()):
                if camera.plan.mode in due and self._wanted(camera) != camera.wanted:
                    async with self._changing:
                        if self._cameras.get(camera.camera_id) is camera and camera.row["enabled"]:
                            self._run_streams(camera)

    def _wanted(self, camera: Camera) -> Wanted:
        hears = self._drivers.devices.hears(camera.camera_id)
        return wanted(camera.row, camera.plan, hears, camera.place_path, self._clock.wall_us(), self._recording)

    async def _start(self, camera: Camera, delay_s: float = 0.0) -> None:
        if self._group is None:
            return  # `run` starts it with the others
        camera.epoch = camera.epoch or await self._drivers.claim(camera.camera_id)
        self._run_streams(camera, delay_s)
        self._look_after(camera)

    def _look_after(self, camera: Camera) -> None:
        if camera.row["kind"] == "onvif":
            self._drivers.devices.start(camera.camera_id, camera.row["address"], lambda: self._wishes.login(camera))

    def _run_streams(self, camera: Camera, delay_s: float = 0.0) -> None:
        """Has each stream pulled and recorded as the row says, at this moment. Twice does no harm."""
        camera.wanted = self._wanted(camera)
        for stream in camera.streams:
            if stream not in camera.supervisors and self._group is not None:
                supervisor = camera.supervisors[stream] = self._new_supervisor(camera, stream)
                camera.tasks.append(self._group.create_task(supervisor.run(delay_s)))
        for stream in StreamName:
            ref = camera.ref(stream)
            if stream in camera.supervisors:
                camera.supervisors[stream].set_on_demand(stream not in camera.wanted.pulled)
            if stream in camera.wanted.recorded:
                self._drivers.recording.start(ref, camera.epoch, camera.wanted.plan, camera.wanted.audio)
            else:
                self._drivers.recording.stop(ref, camera.wanted.cause_of(stream))

    def _new_supervisor(self, camera: Camera, stream: StreamName) -> StreamSupervisor:
        return StreamSupervisor(
            self._hub.mountpoint(camera.ref(stream)),
            lambda mountpoint: self._connect(camera, mountpoint),
            on_demand=stream not in camera.wanted.pulled,
            host=self._hosts.of(camera.row["address"]),
            failed=lambda ref, error: self._stream_failed(camera, ref, error),
            clock=self._clock,
            settings=self._settings,
        )

    async def _stop(self, camera: Camera, cause: str) -> None:
        self._drivers.devices.stop(camera.camera_id)
        await self._end_pulls(camera, cause)
        # After the sessions: what they sent last is footage too.
        for stream in StreamName:
            self._drivers.recording.stop(camera.ref(stream), cause)

    async def _end_pulls(self, camera: Camera, cause: str) -> None:
        for supervisor in camera.supervisors.values():
            supervisor.stop_reason = cause
        for task in camera.tasks:
            task.cancel()
        await asyncio.gather(*camera.tasks, return_exceptions=True)
        camera.tasks.clear()
        camera.supervisors.clear()

    async def _connect(self, camera: Camera, mountpoint: Mountpoint) -> Puller:
        login = self._wishes.login(camera)
        profile = await self._profile(camera, login)
        pick = profile.pick(mountpoint.ref.stream)
        if pick is None:
            raise CameraError(reason("no_substream").sentence, code="no_substream")
        has_begun = False

        def new_session() -> Session:
            nonlocal has_begun
            if not has_begun:
                self._drivers.devices.retry(camera.camera_id)
            has_begun = True
            return self._new_session(camera, mountpoint.ref)

        return self._drivers.pull(pick.url, login, camera.way, mountpoint, new_session)

    async def _profile(self, camera: Camera, login: Login) -> Profile:
        async with camera.reading:  # main and sub share one reading
            if camera.row["kind"] == "rtsp":
                camera.profile = camera.profile or plain_profile(camera.row["address"], camera.row["sub_address"])
            elif camera.profile is None or camera.read_again:
                camera.profile = await self._drivers.read_device(camera.row["address"], login)
                camera.read_again = False
                values = {"profile": dataclasses.asdict(camera.profile)}
                await self._catalogue.write(rows.update_camera, camera.camera_id, values)
            return camera.profile

    def _new_session(self, camera: Camera, ref: StreamRef) -> Session:
        return Session(secrets.token_hex(8), ref, camera.epoch, self._clock.wall_us(), self._clock.monotonic())

    def _stream_failed(self, camera: Camera, ref: StreamRef, error: CameraError) -> None:
        log.warning("%s: %s: %s", ref, error.code, error.sentence)
        camera.read_again = camera.read_again or error.code in _READ_AGAIN
        if ref.stream in camera.wanted.recorded:
            self._drivers.recording.note_outage(ref, self._clock.wall_us(), error.code)


def _sync_file(
    connection: Connection, entries: Sequence[CameraEntry], cell: str, default_place: str, now_us: int
) -> None:
    changes = rows.sync_file_cameras(connection, entries, cell, default_place, now_us)
    events = [_THE_FILE.event(one.action, one.camera_id, **_shown(one.detail)) for one in changes]
    append_events(connection, events, now_us)


def _shown(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {name: redact(value) if name == "address" else value for name, value in detail.items()}


def _unavailable(supervisor: StreamSupervisor) -> Unavailable:
    why = supervisor.reason or reason("camera_failed")
    return Unavailable(why.sentence, code=why.code)
