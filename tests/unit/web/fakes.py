"""A whole HTTP side over a real catalogue in a temporary directory, with everything below it faked."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mediasrv.cameras.attestation import Attestation, check_version
from mediasrv.cameras.views import (
    CameraChanges,
    CameraView,
    NewCamera,
    Profile,
    RecordingView,
    StreamView,
)
from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.cameras import insert_camera, remove_camera
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.places import add_place
from mediasrv.errors import CameraError, MediasrvError, NotFound
from mediasrv.events import Events
from mediasrv.media.access_unit import StreamName, StreamRef, TrackKind
from mediasrv.media.playlist import MadeText, Manner
from mediasrv.media.profile import MediaProfile
from mediasrv.onvif import Axes, Move, PtzAbility, PtzDesk
from mediasrv.reasons import Reason, reason
from mediasrv.retrieval.playlists import Choice, Rendition
from mediasrv.security.access_log import AccessLog, Entry, read_entries
from mediasrv.security.accounts import Accounts, Actor
from mediasrv.security.passwords import Passwords
from mediasrv.security.path_tokens import PathTokens
from mediasrv.security.rtsp_logins import RtspLogins
from mediasrv.security.sessions import Sessions
from mediasrv.settings import (
    CONTINUOUS,
    SecuritySettings,
    ServerSettings,
    Settings,
    StorageSettings,
    SurveySettings,
    WebRtcSettings,
)
from mediasrv.snapshots import Snapshot
from mediasrv.survey import SurveyDesk
from mediasrv.web.camera_places import CameraPlaces
from mediasrv.web.metrics import Metric, gauge
from mediasrv.web.services import Services
from tests.clocks import START_US, SimulatedClock
from tests.databases import url_for
from tests.unit.survey.devices import LIMITS, Network

CHEAP = SecuritySettings(
    argon2_time_cost=1, argon2_memory_kib=64, argon2_parallelism=1, login_attempts=3, login_window_s=60
)
PASSWORD = "correct horse battery"
OBJECT_ID = "ab" * 32
NORTH, SOUTH = "gate-north", "gate-south"


def row(camera_id: str, place_id: str, origin: str = "api") -> dict[str, Any]:
    return {
        "camera_id": camera_id,
        "cell": "cell-1",
        "place_id": place_id,
        "name": f"Cổng {camera_id}",
        "kind": "rtsp",
        "address": f"rtsp://192.0.2.1/{camera_id}",
        "sub_address": None,
        "credentials": None,
        "credentials_ref": None,
        "origin": origin,
        "enabled": True,
        "recording": {"mode": "continuous"},
        "record_audio": "policy",
        "record_stream": "main",
        "grid_stream": "sub",
        "profile": None,
        "created_us": START_US,
    }


PROFILE = Profile(
    "Maker",
    "M1",
    "1.0",
    0.1,
    MediaProfile("t", "main", "h264", 1280, 720, 25.0, 2000, "pcma", "rtsp://192.0.2.1/a"),
    None,
    "",
    "",
)


def view(camera_id: str, place_id: str, origin: str = "api") -> CameraView:
    stream = StreamView("live", None, START_US, None, None, 0, RecordingView("recording", None, START_US, None), "udp")
    off = StreamView("off", reason("camera_lost"), 0, None, None, 0, RecordingView("off", None, None, None))
    streams = {StreamName.MAIN: stream, StreamName.SUB: off}
    return CameraView(
        camera_id,
        f"Cổng {camera_id}",
        "rtsp",
        "rtsp://192.0.2.1/a",
        place_id,
        origin,
        True,
        CONTINUOUS,
        streams,
        None,
    )


class FakeCameras:
    """Cameras in memory, with rows in the catalogue and entries in the access log as the real ones have."""

    def __init__(self, catalogue: Catalogue, access_log: AccessLog) -> None:
        self.catalogue = catalogue
        self.access_log = access_log
        self.views: dict[str, CameraView] = {}
        self.wishes: list[NewCamera] = []
        self.addresses: Sequence[str] = ()
        self.refuse: CameraError | None = None

    async def put(self, camera_id: str, place_id: str, origin: str = "api") -> None:
        await self.catalogue.write(insert_camera, row(camera_id, place_id, origin))
        self.views[camera_id] = view(camera_id, place_id, origin)

    def list(self) -> Sequence[CameraView]:
        return list(self.views.values())

    def get(self, camera_id: str) -> CameraView:
        if camera_id not in self.views:
            raise NotFound("There is no such camera.", code="camera_not_found")
        return self.views[camera_id]

    async def probe(self, wish: NewCamera) -> Profile:
        self.wishes.append(wish)
        if self.refuse is not None:
            raise self.refuse
        return PROFILE

    async def add(self, wish: NewCamera, by: Actor) -> CameraView:
        await self.probe(wish)
        camera_id = wish.camera_id or "cam-new"
        await self.put(camera_id, wish.place_id)
        await self.access_log.append(by.event("camera.added", camera_id))
        return self.views[camera_id]

    async def change(self, camera_id: str, changes: CameraChanges, by: Actor) -> CameraView:
        given = {name: value for name, value in dataclasses.asdict(changes).items() if value is not None}
        known = ("name", "enabled", "record_stream", "grid_stream", "record_audio")
        shown = {name: value for name, value in given.items() if name in known}
        if changes.recording is not None:
            shown["recording"] = changes.recording
        self.views[camera_id] = dataclasses.replace(self.get(camera_id), **shown)
        await self.access_log.append(by.event("camera.changed", camera_id))
        return self.views[camera_id]

    async def attest(self, camera_id: str, version: int, by: Actor) -> CameraView:
        check_version(version)
        given = Attestation(version, by.username, START_US)
        self.views[camera_id] = dataclasses.replace(self.get(camera_id), attestation=given)
        await self.access_log.append(by.event("camera.attested", camera_id, version=version))
        return self.views[camera_id]

    async def remove(self, camera_id: str, by: Actor) -> None:
        del self.views[camera_id]
        await self.access_log.write(by.event("camera.removed", camera_id), remove_camera, camera_id, START_US)

    async def discover(self, addresses: Sequence[str] = ()) -> Sequence[object]:
        self.addresses = addresses
        return [dataclasses.make_dataclass("Device", ["address", "name", "model"])("192.0.2.9", "Cam", "M1")]


@dataclass(frozen=True)
class FakeJoined:
    viewer_id: str
    answer_sdp: str = "v=0\r\n"
    etag: str = '"1"'


@dataclass(frozen=True)
class FakeRestarted:
    fragment_sdp: str = "a=ice-lite\r\n"
    etag: str = '"2"'


@dataclass(frozen=True)
class FakeViewer:
    viewer_id: str
    ref: StreamRef


class FakeLive:
    """Counts viewers. `joining` is called inside a join, before it answers."""

    def __init__(self) -> None:
        self.present: dict[str, FakeViewer] = {}
        self.fragments: list[tuple[str, str | None]] = []

    async def join(
        self, ref: StreamRef, offer_sdp: str, principal_id: str, *, auto: StreamRef | None = None
    ) -> FakeJoined:
        joined = FakeJoined(f"viewer-{len(self.present)}")
        self.present[joined.viewer_id] = FakeViewer(joined.viewer_id, ref)
        return joined

    def trickle(self, viewer_id: str, fragment: str, if_match: str | None) -> FakeRestarted | None:
        """Restarts ICE where the fragment says so."""
        self.fragments.append((fragment, if_match))
        return FakeRestarted() if "restart" in fragment else None

    def leave(self, viewer_id: str) -> None:
        self.present.pop(viewer_id, None)

    def viewers(self) -> Sequence[FakeViewer]:
        return list(self.present.values())


class FakeHls:
    """Answers with what it was asked. `waits` advances the clock inside a request."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.waits_s = 0.0
        self.gone: set[int] = set()
        self.asked: list[tuple[Any, ...]] = []
        self.during: Any = None

    async def _answer(self, *asked: Any) -> MadeText:
        self.asked.append(asked)
        self.clock.advance(self.waits_s)
        if self.during is not None:
            await self.during()
        text = MadeText(repr(asked).encode())
        text.target_duration_s = 2
        return text

    async def master(self, ref: StreamRef, manner: Manner) -> MadeText:
        return await self._answer("master", ref, manner)

    async def media_playlist(
        self, ref: StreamRef, track: TrackKind, msn: int | None, part: int | None, manner: Manner
    ) -> MadeText:
        return await self._answer("playlist", ref, track, msn, part, manner)

    async def part(self, ref: StreamRef, track: TrackKind, msn: int, part: int) -> bytes:
        return await self._answer("part", ref, track, msn, part)

    async def segment(self, ref: StreamRef, track: TrackKind, msn: int) -> bytes:
        if msn in self.gone:
            raise NotFound("There is none any more.", code="segment_not_found")
        return await self._answer("segment", ref, track, msn)

    async def past_segment(self, ref: StreamRef, track: TrackKind, msn: int) -> bytes:
        return await self._answer("past", ref, track, msn)

    def init(self, ref: StreamRef, track: TrackKind, version: int) -> bytes:
        self.asked.append(("init", ref, track, version))
        return b"init"

    async def thumbnail(self, ref: StreamRef, at_us: int, width: int) -> bytes:
        self.asked.append(("thumbnail", ref, at_us, width))
        return b"jpeg"


@dataclass(frozen=True)
class FakeSpan:
    start_us: int
    end_us: int


@dataclass(frozen=True)
class FakeGap:
    started_us: int
    ended_us: int | None
    cause: str
    count: int = 1
    missing_us: int | None = None


@dataclass
class FakeTimeline:
    coverage: list[FakeSpan] = field(default_factory=list)
    gaps: list[FakeGap] = field(default_factory=list)
    holds: list[FakeSpan] = field(default_factory=list)
    covered_us: int = 0


class FakePlayback:
    """One recording object, `OBJECT_ID`, of every camera."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def timeline(self, ref: StreamRef, start_us: int, end_us: int, resolution_us: int = 0) -> FakeTimeline:
        self.asked.append(("timeline", ref, start_us, end_us, resolution_us))
        return FakeTimeline([FakeSpan(start_us, end_us)], [FakeGap(start_us, None, "camera_lost")], [])

    async def master(
        self, ref: StreamRef, start_us: int, end_us: int, choice: Choice = Choice.ANY, *, keys_only: bool = False
    ) -> bytes:
        self.asked.append(("master", ref, start_us, end_us, choice, keys_only))
        return b"#EXTM3U\n"

    async def media_playlist(self, ref: StreamRef, track: Rendition, start_us: int, end_us: int) -> bytes:
        self.asked.append(("playlist", ref, track, start_us, end_us))
        return f"#EXTM3U\n{OBJECT_ID}/video/0-3.m4s\n".encode()

    async def segment(self, camera_id: str, object_id: str, track: Rendition, first: int, last: int) -> bytes:
        self.asked.append(("segment", camera_id, object_id, track, first, last))
        return b"segment"

    async def init(
        self, camera_id: str, object_id: str, track: Rendition, first: int, last: int | None = None
    ) -> bytes:
        self.asked.append(("init", camera_id, object_id, track, first, *(() if last is None else (last,))))
        return b"init"

    async def thumbnail(self, ref: StreamRef, at_us: int, width: int) -> bytes:
        self.asked.append(("thumbnail", ref, at_us, width))
        return b"jpeg"


class FakeSnapshots:
    """Pictures that say what was asked for; `error` is raised instead."""

    def __init__(self) -> None:
        self.error: MediasrvError | None = None

    async def take(self, ref: StreamRef, width: int = 0) -> Snapshot:
        if self.error is not None:
            raise self.error
        return Snapshot(f"{ref} {width}".encode(), f'"{ref}-{width}"', START_US)


class FakePtzCamera:
    """A camera that can do everything, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Mapping[str, Any]]] = []

    async def ptz_ability(self) -> PtzAbility:
        return PtzAbility("p1", dict.fromkeys(Move, Axes(True, True)))

    async def call_ptz(self, operation: str, parameters: Mapping[str, Any]) -> Element:
        self.told.append((operation, parameters))
        return ElementTree.fromstring('<R><Preset token="1"><Name>Gate</Name></Preset><PresetToken>7</PresetToken></R>')


class FakeSystem:
    def __init__(self) -> None:
        self.reasons: list[Reason] = []

    async def status(self) -> Mapping[str, Any]:
        return {"node": {"name": "node-1"}}

    async def readiness(self) -> Sequence[Reason]:
        return self.reasons

    def metrics(self) -> Iterable[Metric]:
        return [gauge("mediasrv_spool_bytes", "Bytes in the spool.", 12)]


@dataclass
class World:
    """Places root > north, south; a camera at each; accounts by role."""

    services: Services
    clock: SimulatedClock
    cameras: FakeCameras
    live: FakeLive
    hls: FakeHls
    playback: FakePlayback
    system: FakeSystem
    ptz_camera: FakePtzCamera
    events: Events
    surveys: SurveyDesk
    network: Network
    """What its surveys reach."""
    snapshots: FakeSnapshots

    async def account(self, username: str, *roles: str, place: str = "root") -> str:
        """A user with these roles, and an API token of theirs."""
        await self.services.accounts.create_user(username, None)
        for role in roles:
            await self.services.accounts.grant(username, role, place, purpose="test")
        return await self.services.accounts.create_token(username, "test")

    async def log(self) -> list[Entry]:
        """The access log, oldest first."""
        return (await self.services.catalogue.read(read_entries, 1000))[::-1]

    async def actions(self, prefix: str = "") -> list[str]:
        return [entry.action for entry in await self.log() if entry.action.startswith(prefix)]


@asynccontextmanager
async def make_world(
    directory: Path,
    *,
    ui_dir: Path | None = None,
    server: ServerSettings | None = None,
    webrtc: WebRtcSettings | None = None,
    storage: StorageSettings | None = None,
) -> AsyncIterator[World]:
    url = url_for(directory)
    upgrade(url)
    catalogue, clock = Catalogue(url), SimulatedClock()
    access_log, passwords = AccessLog(catalogue, clock), Passwords(CHEAP)
    sessions = Sessions(catalogue, access_log, passwords, clock, CHEAP)
    accounts = Accounts(catalogue, access_log, passwords, sessions, clock, CHEAP)
    cameras, live, hls = FakeCameras(catalogue, access_log), FakeLive(), FakeHls(clock)
    playback, system, ptz_camera = FakePlayback(), FakeSystem(), FakePtzCamera()
    events = Events(catalogue, bytes(32))
    ptz = PtzDesk(lambda camera_id: ptz_camera, clock, hold_s=2.0, lock_s=15.0)
    settings = Settings(
        server=server or ServerSettings(),
        security=CHEAP,
        webrtc=webrtc or WebRtcSettings(),
        storage=storage or StorageSettings(),
    )
    network, snapshots = Network(), FakeSnapshots()
    desk = SurveyDesk(network.drivers(), LIMITS, clock, SurveySettings(measure_s=1.0, surveys_at_once=1, keep_s=100.0))
    services = Services(
        settings,
        clock,
        catalogue,
        CameraPlaces(catalogue, clock),
        sessions,
        accounts,
        access_log,
        PathTokens(bytes(range(32)), clock, settings.hls.token_s, settings.hls.token_most_s),
        cameras,
        live,
        hls,
        playback,
        system,
        ui_dir,
        events,
        ptz,
        desk,
        snapshots,
        rtsp_logins=RtspLogins(catalogue, access_log, sessions, clock, bytes(32)),
    )
    await catalogue.write(add_place, "north", "root", "province", "Bắc")
    await catalogue.write(add_place, "south", "root", "province", "Nam")
    await cameras.put(NORTH, "north")
    await cameras.put(SOUTH, "south")
    try:
        yield World(services, clock, cameras, live, hls, playback, system, ptz_camera, events, desk, network, snapshots)
    finally:
        passwords.close()
        catalogue.close()
