"""The composition root: makes the parts, hands each what it needs, runs them, and ends them in order.

Nothing here knows how a part works, and nothing but the command line imports this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from mediasrv import onvif
from mediasrv.backoff import Backoff
from mediasrv.cameras import Cameras
from mediasrv.cameras.drivers import CameraDrivers, Login, Way
from mediasrv.cameras.views import ClockView, DeviceView, Profile, RecordingView, ServiceView
from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.ownership import FileLockOwnership
from mediasrv.catalogue.recordings import CatalogueKeys
from mediasrv.check import Checker, Report, Tell, read_spool, unheard
from mediasrv.checking.marks import Marks
from mediasrv.clock import SystemClock
from mediasrv.errors import SettingsError, StorageError
from mediasrv.events import Events
from mediasrv.export import Exports
from mediasrv.hls import HlsService
from mediasrv.hub import Hub, Mountpoint, Renditions
from mediasrv.journal import Journal
from mediasrv.media.access_unit import Session, StreamRef
from mediasrv.media.camera_event import CameraEvent, EventKind
from mediasrv.offline import Offline, load_node_key, make_rtsp_logins, offline, open_identities, open_recipients
from mediasrv.playback import Playback
from mediasrv.pulling.gather import Gatherer
from mediasrv.reasons import reason
from mediasrv.recorder import NodeContext, Recorder
from mediasrv.retention import RetentionTask
from mediasrv.retention.policies import Defaults
from mediasrv.rtsp_pull import RtspPull, RtspSource
from mediasrv.rtsp_serve import RtspServe
from mediasrv.security.credentials import CredentialVault
from mediasrv.security.head_witness import HeadWitness
from mediasrv.security.path_tokens import PathTokens
from mediasrv.security.receipts import Receipts
from mediasrv.security.rtsp_access import RtspAccess
from mediasrv.settings import Settings, load_cameras, read_secret
from mediasrv.snapshots import Snapshots
from mediasrv.storage.abilities import prepare as prepare_store
from mediasrv.storage.footage import Footage, KeyRing
from mediasrv.storage.identities import HeldIdentities, Identities
from mediasrv.storage.keys import NodeKey
from mediasrv.storage.object_lock import prove_lock
from mediasrv.storage.object_store import ObjectStore
from mediasrv.storage.spool import Spool
from mediasrv.survey import SurveyDesk
from mediasrv.surveying import InService, refused_warnings, survey_drivers, survey_limits
from mediasrv.transcode import Transcoder
from mediasrv.transcoding.recorded import RecordedTranscoder
from mediasrv.waiting import Turns
from mediasrv.web.application import STATES, VIEWERS, build_app
from mediasrv.web.application import serve as listen
from mediasrv.web.camera_places import CameraPlaces
from mediasrv.web.node_state import NodeParts, NodeState
from mediasrv.web.services import Services
from mediasrv.webrtc import WebRtcService

log = logging.getLogger(__name__)

Run = Callable[[], Coroutine[None, None, None]]

UI_DIR: Final = Path(__file__).resolve().parent.parent / "ui" / "dist"
_VAULT: Final = b"mediasrv camera credentials"
_PATH_TOKENS: Final = b"mediasrv path tokens"
_EVENTS: Final = b"mediasrv camera events"


# --- the server ----------------------------------------------------------------------------------


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises SettingsError where it cannot start."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with offline(settings) as base, ObjectStore(settings.storage) as store:
        node = await join_node(settings, base.catalogue)
        try:
            await Server(settings, base, store, node).run(stop)
        except ExceptionGroup as group:
            # What a store cannot do is found out while the parts are running already.
            refused = _settings_error(group)
            if refused is None:
                raise
            raise refused from None
        finally:
            await node.ownership.leave()


def _settings_error(group: ExceptionGroup[Exception]) -> SettingsError | None:
    """The first one in it, however deep."""
    for error in group.exceptions:
        found = _settings_error(error) if isinstance(error, ExceptionGroup) else error
        if isinstance(found, SettingsError):
            return found
    return None


@dataclass(frozen=True, slots=True)
class Node:
    """This process among its kind: keys, incarnation, ownership."""

    key: NodeKey
    identities: Identities
    recipients: Iterable[str]
    incarnation: str
    ownership: FileLockOwnership


async def join_node(settings: Settings, catalogue: Catalogue) -> Node:
    key = load_node_key(settings)
    # A new server can open what it records; one that may not is given recipients and no identity.
    recipients: Iterable[str] = open_recipients(settings) if "record" in settings.server.roles else ()
    identities = open_identities(settings, SystemClock())
    data_dir = settings.data_path("", "")
    ownership = FileLockOwnership(data_dir, catalogue, settings.server.node_name, key.public, SystemClock())
    return Node(key, identities, recipients, await ownership.join(), ownership)


class Server:
    """The parts of one running server."""

    def __init__(self, settings: Settings, base: Offline, store: ObjectStore, node: Node) -> None:
        clock = SystemClock()
        self._settings = settings
        self._base = base
        self._node = node
        self._store = store
        self._records = "record" in settings.server.roles
        self.hub = Hub(settings.recording.part_s)
        self.spool = Spool(settings.data_path(settings.spool.directory, "spool"), settings.spool, clock)
        context = NodeContext(
            settings.server.node_name, node.incarnation, settings.server.cell, node.key, node.recipients
        )
        self.recorder = Recorder(
            self.hub, self.spool, store, base.catalogue, context, clock, settings.recording, settings.storage
        )
        self.events = Events(base.catalogue, node.key.derive(_EVENTS))
        self.fleet = onvif.OnvifFleet(settings.onvif, settings.pull, clock, _EventTap(self.events, self.recorder))
        vault = CredentialVault(node.key.derive(_VAULT))
        self.cameras = Cameras(
            self.hub,
            base.catalogue,
            base.access_log,
            vault,
            self._drivers(clock),
            clock,
            settings.pull,
            settings.recording,
            settings.server.cell,
        )
        self.surveys = SurveyDesk(
            survey_drivers(settings, clock, InService(self.cameras.list, clock).find),
            survey_limits(settings),
            clock,
            settings.survey,
        )
        self.transcoder = Transcoder(self.hub, settings.transcode, clock)
        self.renditions: Renditions = self.transcoder.mountpoint
        self.snapshots = Snapshots(self.hub, settings.transcode, clock, self.cameras.ensure)
        self.webrtc = WebRtcService(self.hub, settings.webrtc, clock, self.cameras.ensure, self.renditions)
        rtsp_logins = make_rtsp_logins(base, node.key, clock)
        places = CameraPlaces(base.catalogue, clock)
        access = RtspAccess(rtsp_logins, base.sessions, base.access_log, places.find, clock, settings.security)
        self.rtsp = RtspServe(
            self.hub, settings.rtsp_serve, clock, access, self.cameras.ensure, settings.data_path("", "")
        )
        sealing = settings.sealing
        self.keyring = KeyRing(
            node.identities, CatalogueKeys(base.catalogue), clock, sealing.key_cache_s, sealing.key_cache_keys
        )
        self.footage = Footage(store, self.spool if self._records else None, self.keyring)
        self.recorded = RecordedTranscoder(settings.transcode)
        self.playback = Playback(base.catalogue, self.footage, settings.hls, clock, self.recorded)
        self.exports = Exports(
            base.catalogue,
            self.footage,
            base.access_log,
            settings.server.node_name,
            node.key,
            settings.data_path("", "exports"),
            settings.export,
            clock,
        )
        self.hls = HlsService(self.hub, settings.hls, clock, self.cameras.ensure, self.playback, self.renditions)
        self.retention = RetentionTask(
            base.catalogue,
            store,
            settings.storage.key_bucket,
            lambda: {item.header.key_id for item in self.spool.objects()},
            base.access_log,
            clock,
            settings.retention,
            Defaults.of(settings.retention, settings.storage),
            Receipts(
                base.catalogue,
                base.access_log,
                settings.server.node_name,
                node.key.sign,
                clock,
                settings.retention.receipt_interval_s,
                settings.sealing.backup_days,
                settings.storage.key_bucket,
            ),
        )
        self.witness = HeadWitness(
            base.catalogue,
            store,
            settings.server.node_name,
            node.key.sign,
            clock,
            settings.security.head_interval_s,
            settings.storage,
        )
        self.journal = Journal(
            base.catalogue,
            store,
            settings.server.node_name,
            node.key,
            node.recipients,
            clock,
            settings.journal,
        )
        self.state = NodeState(self._node_parts(), clock)
        self.services = Services(
            settings=settings,
            clock=clock,
            catalogue=base.catalogue,
            places=places,
            sessions=base.sessions,
            accounts=base.accounts,
            access_log=base.access_log,
            path_tokens=PathTokens(
                node.key.derive(_PATH_TOKENS), clock, settings.hls.token_s, settings.hls.token_most_s
            ),
            cameras=self.cameras,
            live=self.webrtc,
            hls=self.hls,
            playback=self.playback,
            system=self.state,
            ui_dir=UI_DIR if UI_DIR.is_dir() else None,
            events=self.events,
            ptz=self.fleet.ptz,
            surveys=self.surveys,
            snapshots=self.snapshots,
            rtsp=self.rtsp,
            rtsp_logins=rtsp_logins,
            exports=self.exports,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Starts in the order of dependence, waits for `stop`, and ends in the reverse order."""
        await self._prepare()
        app = build_app(self.services)
        always = (self.state.loop.run, self._node.ownership.run, self.witness.run, self.keyring.run)
        async with _running(*self._recording(), *always, self._keep_buckets):
            async with _running(*self._viewing(app), *self._tending(), self.surveys.run):
                runner = await listen(app, self._settings.server.host, self._settings.server.port, 1.0)
                try:
                    await self._announce()
                    _calm_collector()
                    await stop.wait()
                    log.info("stopping")
                finally:
                    await runner.cleanup()
            # The cameras have ended their sessions: what they sent last is in the recorder's hands.
            if self._records:
                await self.recorder.flush()
            await self.witness.copy_last()
            if self._records:
                await self.journal.write_last()
        if self._records:
            await self.spool.close()
        self.footage.close()

    def _recording(self) -> tuple[Run, ...]:
        return (self.recorder.run, self.events.run, self.journal.run) if self._records else ()

    def _tending(self) -> tuple[Run, ...]:
        if not self._records:
            return (self.cameras.follow,)
        return (self.cameras.run, self.fleet.run, self.retention.run)

    def _viewing(self, app: web.Application) -> tuple[Run, ...]:
        if "web" not in self._settings.server.roles:
            return ()
        serving = (self.webrtc.run, self.hls.run, self.rtsp.run, app[VIEWERS].run, app[STATES].run)
        return (*serving, self.transcoder.run, self.snapshots.run, self.recorded.run, self.exports.run)

    async def _prepare(self) -> None:
        if not self._records:
            return
        await self.recorder.open()
        if self._settings.server.cameras_file:
            await self.cameras.sync_file(load_cameras(Path(self._settings.server.cameras_file)), "")

    async def _keep_buckets(self) -> None:
        """Makes the buckets once storage is there: one that is away must not keep the server from recording."""
        backoff = Backoff(self._settings.storage.retry_first_s, self._settings.storage.retry_most_s)
        while True:
            try:
                await self._store.ensure_buckets()
                await prepare_store(self._store, self._settings.storage.tolerate)
                await prove_lock(self._store, self._settings.storage, SystemClock())
            except StorageError as error:
                log.warning("the buckets are not ready: %s", error.sentence)
                await asyncio.sleep(backoff.next_s())
            else:
                return

    async def _announce(self) -> None:
        server = self._settings.server
        url = server.public_url or f"http://{server.host}:{server.port}"
        log.info("mediasrv listens on %s", url)
        if "web" not in server.roles:
            return
        token = await self._base.accounts.first_invite()
        if token is not None:
            # On standard output, not in the log: whoever reads logs later must not find a way in.
            print(f"\nMake the first administrator: {url}/invite/{token}\n", flush=True)  # noqa: T201

    def _drivers(self, clock: SystemClock) -> CameraDrivers:
        settings = self._settings
        gatherer = Gatherer(settings.pull.gather_s, after=self.spool.flush_soon)
        gate = Turns(settings.pull.handshakes, settings.pull.handshakes_per_host)

        def pull(
            url: str, login: Login, way: Way, mountpoint: Mountpoint, new_session: Callable[[], Session]
        ) -> RtspPull:
            source = RtspSource(url, login.username, login.password, way.transport, way.preferred, way.tls_fingerprint)
            return RtspPull(source, mountpoint, new_session, clock, settings.pull, gatherer, gate)

        async def read_device(address: str, login: Login) -> Profile:
            networks = settings.pull.allowed_networks
            device = await onvif.read_device(address, login.username, login.password, settings.onvif, networks)
            return _profile(device, onvif.pick_streams(device))

        async def discover(addresses: Sequence[str]) -> Sequence[object]:
            if addresses:
                return await onvif.probe_addresses(addresses, settings.onvif, settings.pull.allowed_networks)
            return await onvif.discover(settings.onvif)

        return CameraDrivers(
            pull=pull,
            read_device=read_device,
            discover=discover,
            claim=self._node.ownership.claim,
            recording=_RecordingControl(self.recorder),
            devices=_DeviceControl(self.fleet),
            read_secret=read_secret,
            refused_warnings=refused_warnings(settings),
        )

    def _node_parts(self) -> NodeParts:
        return NodeParts(
            name=self._settings.server.node_name,
            incarnation=self._node.incarnation,
            cameras=self.cameras.list,
            viewers=lambda: len(self.webrtc.viewers()) + len(self.rtsp.readers()),
            spool=(lambda: self.spool.state) if self._records else None,
            upload=(lambda: self.recorder.status.uploads) if self._records else None,
            preroll=(lambda: self.recorder.status) if self._records else None,
            spool_hours=self._settings.spool.budget_hours,
            retention=(lambda: self.retention.state) if self._records else None,
            witness=lambda: self.witness.state,
            events=lambda: self.events,
            workers=lambda: {**self.transcoder.counts, "jpeg": self.snapshots.counts, "playback": self.recorded.counts},
            transcodes_refused=lambda: self.transcoder.refused + self.recorded.refused,
            rtsp=lambda: self.rtsp.counters,
            webrtc=lambda: self.webrtc.counters,
        )


def _profile(device: onvif.OnvifDevice, picked: onvif.PickedStreams) -> Profile:
    return Profile(
        manufacturer=device.manufacturer,
        model=device.model,
        firmware=device.firmware,
        clock_offset_s=device.clock_offset_s,
        main=picked.main,
        sub=picked.sub,
        explanation=picked.explanation,
        explanation_vi=picked.explanation_vi,
        clock_uncertainty_s=device.clock_uncertainty_s,
        warnings=device.warnings,
    )


class _DeviceControl:
    """The fleet of ONVIF cameras as the supervisor of cameras knows it."""

    def __init__(self, fleet: onvif.OnvifFleet) -> None:
        self.stop = fleet.stop
        self.retry = fleet.retry
        self._fleet = fleet

    def start(self, camera_id: str, address: str, login: Callable[[], Login]) -> None:
        def onvif_login() -> onvif.Login:
            found = login()
            return onvif.Login(found.username, found.password)

        self._fleet.start(camera_id, address, onvif_login)

    def hears(self, camera_id: str) -> bool:
        camera = self._fleet.find(camera_id)
        return camera is None or camera.services()[onvif.Service.EVENTS].state not in ("missing", "failed", "off")

    def view(self, camera_id: str) -> DeviceView | None:
        camera = self._fleet.find(camera_id)
        if camera is None:
            return None
        clock, offset = camera.clock_state, camera.clock_state.offset
        return DeviceView(
            ClockView(
                clock.state,
                reason(clock.code) if clock.code else None,
                offset.offset_s if offset else None,
                offset.uncertainty_s if offset else None,
                clock.read_us,
            ),
            {
                str(service): ServiceView(
                    state.state, reason(state.code, state.sentence or None) if state.code else None
                )
                for service, state in camera.services().items()
            },
        )


class _RecordingControl:
    """The recorder as the supervisor of cameras knows it."""

    def __init__(self, recorder: Recorder) -> None:
        self.start = recorder.start
        self.stop = recorder.stop
        self.note_outage = recorder.note_outage
        self._state = recorder.state

    def view(self, ref: StreamRef) -> RecordingView:
        state = self._state(ref)
        why = reason(state.reason_code) if state.reason_code else None
        return RecordingView(
            str(state.state),
            why,
            state.durable_until_us,
            state.stored_until_us,
            state.received_until_us,
            state.indexed_until_us,
        )


class _EventTap:
    """What cameras tell goes to the recorder as it comes, and to the catalogue a moment later."""

    def __init__(self, events: Events, recorder: Recorder) -> None:
        self._events = events
        self._recorder = recorder

    def offer(self, events: Sequence[CameraEvent]) -> None:
        self._recorder.on_events(events)
        self._events.offer(events)

    async def active(self, camera_id: str) -> set[tuple[EventKind, str]]:
        active = await self._events.active(camera_id)
        self._recorder.on_recalled(camera_id, active)
        return active


def _calm_collector() -> None:
    """Access units and parts are freed by reference counts: looking for cycles among them is wasted time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@contextlib.asynccontextmanager
async def _running(*parts: Run) -> AsyncIterator[None]:
    """Runs parts beside the block. One that ends with an error ends the block; the block's end ends them all."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part()) for part in parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def check(
    settings: Settings,
    *,
    repair: bool = False,
    checksums: bool = True,
    whole: float = 0.0,
    resume: bool = False,
    tell: Tell = unheard,
) -> Report:
    """`mediasrv check`; may run beside the server. `whole` is the share of footage that is read, and opened where its
    keys are here.
    """
    asked = {"repair": repair, "checksums": checksums, "whole": whole, "bucket": settings.storage.bucket}
    marks = Marks(settings.data_path("", "check.json"), asked)
    clock, key_bucket = SystemClock(), settings.storage.key_bucket
    spool = await asyncio.to_thread(read_spool, settings.data_path(settings.spool.directory, "spool"))
    async with offline(settings) as base, ObjectStore(settings.storage) as store:
        store.reads_back = "checksums" in settings.storage.tolerate
        identities = open_identities(settings, clock) if whole else HeldIdentities((), clock)
        keyring = KeyRing(identities, CatalogueKeys(base.catalogue), clock, settings.sealing.key_cache_s)
        footage = Footage(store, None, keyring)
        retention = RetentionTask(
            base.catalogue,
            store,
            key_bucket,
            lambda: spool.key_ids,
            base.access_log,
            clock,
            settings.retention,
            Defaults.of(settings.retention, settings.storage),
        )
        checker = Checker(base.catalogue, store, footage, key_bucket, spool, clock, retention.sweep)
        try:
            return await checker.run(
                repair=repair, checksums=checksums, whole=whole, marks=marks, resume=resume, tell=tell
            )
        finally:
            footage.close()
            identities.close()
