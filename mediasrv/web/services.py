"""What HTTP handlers need, and nothing else. app.py fills `Services`; tests fill it with fakes."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mediasrv.cameras.views import CameraChanges, CameraView, NewCamera, Profile
from mediasrv.catalogue import Catalogue
from mediasrv.clock import Clock
from mediasrv.errors import Unavailable
from mediasrv.events import EventBroker, StoredEvent
from mediasrv.export import Exports
from mediasrv.media.access_unit import StreamRef, TrackKind
from mediasrv.media.camera_event import EventKind
from mediasrv.media.playlist import MadeText, Manner
from mediasrv.onvif import Holder, Move, Preset, PtzAbility, Vector
from mediasrv.reasons import Reason
from mediasrv.retrieval.playlists import Choice, Rendition
from mediasrv.security.access_log import AccessLog
from mediasrv.security.accounts import Accounts, Actor
from mediasrv.security.path_tokens import PathTokens
from mediasrv.security.rtsp_logins import RtspLogins
from mediasrv.security.sessions import Sessions
from mediasrv.settings import Settings
from mediasrv.survey import Target
from mediasrv.survey.desk import KeptSurvey
from mediasrv.web.camera_places import CameraPlaces
from mediasrv.web.metrics import Metric


class Joined(Protocol):
    """A WHEP viewer that has been let in."""

    @property
    def viewer_id(self) -> str: ...

    @property
    def answer_sdp(self) -> str: ...

    @property
    def etag(self) -> str: ...


class Reader(Protocol):
    """An RTSP reader as its door lists it."""

    @property
    def ref(self) -> StreamRef: ...


class RtspService(Protocol):
    """Those who read cameras over RTSP."""

    def readers(self) -> Sequence[Reader]: ...


class Restarted(Protocol):
    """An ICE restart of a WHEP viewer, as its answer tells it."""

    @property
    def fragment_sdp(self) -> str: ...

    @property
    def etag(self) -> str: ...


class Viewer(Protocol):
    """A WHEP viewer as the fan-out lists it."""

    @property
    def viewer_id(self) -> str: ...

    @property
    def ref(self) -> StreamRef: ...


class LiveService(Protocol):
    """The WebRTC fan-out. With `auto` a viewer is moved between `ref` and that main stream. `leave` of an unknown
    viewer does nothing.
    """

    async def join(
        self, ref: StreamRef, offer_sdp: str, principal_id: str, *, auto: StreamRef | None = None
    ) -> Joined: ...

    def trickle(self, viewer_id: str, fragment: str, if_match: str | None) -> Restarted | None: ...

    def leave(self, viewer_id: str) -> None: ...

    def viewers(self) -> Sequence[Viewer]: ...


class HlsSource(Protocol):
    """Live HLS; URLs below /hls/{camera}/ map to these."""

    async def master(self, ref: StreamRef, manner: Manner) -> MadeText: ...

    async def media_playlist(
        self, ref: StreamRef, track: TrackKind, msn: int | None, part: int | None, manner: Manner
    ) -> MadeText: ...

    async def part(self, ref: StreamRef, track: TrackKind, msn: int, part: int) -> bytes: ...

    async def segment(self, ref: StreamRef, track: TrackKind, msn: int) -> bytes: ...

    async def past_segment(self, ref: StreamRef, track: TrackKind, msn: int) -> bytes: ...

    def init(self, ref: StreamRef, track: TrackKind, version: int) -> bytes: ...


class TimelineGap(Protocol):
    @property
    def started_us(self) -> int: ...

    @property
    def ended_us(self) -> int | None: ...

    @property
    def cause(self) -> str: ...

    @property
    def count(self) -> int: ...

    @property
    def missing_us(self) -> int | None: ...


class CameraService(Protocol):
    """The supervisor of cameras. Raises NotFound `camera_not_found`, Conflict, CameraError.

    What it changes for an actor is in the access log, in the same transaction.
    """

    def list(self) -> Sequence[CameraView]: ...

    def get(self, camera_id: str) -> CameraView: ...

    def add(self, wish: NewCamera, by: Actor) -> Awaitable[CameraView]: ...

    def probe(self, wish: NewCamera) -> Awaitable[Profile]: ...

    def change(self, camera_id: str, changes: CameraChanges, by: Actor) -> Awaitable[CameraView]: ...

    def attest(self, camera_id: str, version: int, by: Actor) -> Awaitable[CameraView]: ...

    def remove(self, camera_id: str, by: Actor) -> Awaitable[None]: ...

    def discover(self, addresses: Sequence[str] = ()) -> Awaitable[Sequence[object]]: ...


class Snapshot(Protocol):
    """A still picture; `etag` is quoted."""

    @property
    def jpeg(self) -> bytes: ...

    @property
    def etag(self) -> str: ...


class SnapshotSource(Protocol):
    """Still pictures of live streams. Raises Unavailable with the camera's reason, TooManyRequests `snapshots_full`."""

    def take(self, ref: StreamRef, width: int = 0) -> Awaitable[Snapshot]: ...


class SystemState(Protocol):
    """How the node is doing, gathered from its parts."""

    async def status(self) -> Mapping[str, Any]:
        """JSON values: node, capacity, spool, storage, uploads waiting."""

    async def readiness(self) -> Sequence[Reason]:
        """Why the node is not ready; empty when it is."""

    def metrics(self) -> Iterable[Metric]:
        """Counters and gauges of the parts, without secrets in their labels."""


class TimelineSpan(Protocol):
    @property
    def start_us(self) -> int: ...

    @property
    def end_us(self) -> int: ...


class TimelineView(Protocol):
    """What lies in a span of time: footage, gaps with causes, holds."""

    @property
    def coverage(self) -> Sequence[TimelineSpan]: ...

    @property
    def gaps(self) -> Sequence[TimelineGap]: ...

    @property
    def holds(self) -> Sequence[TimelineSpan]: ...

    @property
    def covered_us(self) -> int: ...


class PlaybackSource(Protocol):
    """Recorded footage; URLs below /playback/{camera}/ map to these. Object ids of other cameras are NotFound."""

    async def timeline(self, ref: StreamRef, start_us: int, end_us: int, resolution_us: int = 0) -> TimelineView: ...

    async def master(
        self, ref: StreamRef, start_us: int, end_us: int, choice: Choice = Choice.ANY, *, keys_only: bool = False
    ) -> bytes: ...

    async def media_playlist(self, ref: StreamRef, rendition: Rendition, start_us: int, end_us: int) -> bytes: ...

    async def segment(self, camera_id: str, object_id: str, rendition: Rendition, first: int, last: int) -> bytes: ...

    async def init(
        self, camera_id: str, object_id: str, rendition: Rendition, first: int, last: int | None = None
    ) -> bytes: ...

    async def thumbnail(self, ref: StreamRef, at_us: int, width: int) -> bytes: ...


class EventSource(Protocol):
    """What cameras told, as the catalogue keeps it; `broker` hands on what is new."""

    @property
    def broker(self) -> EventBroker: ...

    async def find(
        self,
        camera_id: str,
        start_us: int,
        end_us: int,
        kinds: Collection[EventKind],
        limit: int,
        after: int | None = None,
    ) -> Sequence[StoredEvent]: ...


class PtzService(Protocol):
    """Moves cameras. Raises Conflict `ptz_locked` where somebody else does, CameraError where it cannot be done."""

    def holder(self, camera_id: str) -> Holder | None: ...

    def take(self, camera_id: str, principal_id: str, username: str) -> Holder: ...

    def release(self, camera_id: str, principal_id: str) -> None: ...

    async def ability(self, camera_id: str) -> PtzAbility: ...

    async def move(self, camera_id: str, principal_id: str, username: str, move: Move, vector: Vector) -> None: ...

    async def stop(self, camera_id: str, principal_id: str, username: str) -> None: ...

    async def presets(self, camera_id: str) -> Sequence[Preset]: ...

    async def set_preset(self, camera_id: str, principal_id: str, username: str, name: str, token: str) -> str: ...

    async def go_to(self, camera_id: str, principal_id: str, username: str, token: str) -> None: ...


class SurveyService(Protocol):
    """Surveys of cameras. Raises NotFound `survey_not_found`, TooManyRequests `surveys_full`."""

    def check_room(self) -> None: ...

    def start(self, targets: Sequence[Target], seconds: float | None, owner_id: str) -> KeptSurvey: ...

    def list(self) -> Sequence[KeptSurvey]: ...

    def get(self, survey_id: str) -> KeptSurvey: ...

    async def cancel(self, survey_id: str) -> KeptSurvey: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What a process does not do is None: `live`, `hls`, `playback`, `events`, `ptz`, `surveys`, `snapshots`, `rtsp`,
    `exports`.

    `ui_dir` is the page's build.
    """

    settings: Settings
    clock: Clock
    catalogue: Catalogue
    places: CameraPlaces
    sessions: Sessions
    accounts: Accounts
    access_log: AccessLog
    path_tokens: PathTokens
    cameras: CameraService
    live: LiveService | None
    hls: HlsSource | None
    playback: PlaybackSource | None
    system: SystemState
    ui_dir: Path | None = None
    events: EventSource | None = None
    ptz: PtzService | None = None
    surveys: SurveyService | None = None
    snapshots: SnapshotSource | None = None
    rtsp: RtspService | None = None
    rtsp_logins: RtspLogins | None = None
    exports: Exports | None = None

    def exports_here(self) -> Exports:
        """Raises Unavailable in a process without the role."""
        if self.exports is None:
            raise Unavailable("This process exports no footage.", code="export_not_here")
        return self.exports

    def rtsp_logins_here(self) -> RtspLogins:
        """Raises Unavailable in a process without the role."""
        if self.rtsp_logins is None:
            raise Unavailable("This process serves no RTSP.", code="rtsp_not_here")
        return self.rtsp_logins

    def snapshots_here(self) -> SnapshotSource:
        """Raises Unavailable in a process without the role."""
        if self.snapshots is None:
            raise Unavailable("This process makes no still pictures.", code="live_not_here")
        return self.snapshots

    def surveys_here(self) -> SurveyService:
        """Raises Unavailable in a process without the role."""
        if self.surveys is None:
            raise Unavailable("This process surveys no cameras.", code="survey_not_here")
        return self.surveys

    def events_here(self) -> EventSource:
        """Raises Unavailable in a process without the role."""
        if self.events is None:
            raise Unavailable("This process keeps no events.", code="events_not_here")
        return self.events

    def ptz_here(self) -> PtzService:
        """Raises Unavailable in a process without the role."""
        if self.ptz is None:
            raise Unavailable("This process moves no cameras.", code="ptz_not_here")
        return self.ptz

    def live_here(self) -> LiveService:
        """Raises Unavailable in a process without the role."""
        if self.live is None:
            raise Unavailable("This process serves no live video.", code="live_not_here")
        return self.live

    def hls_here(self) -> HlsSource:
        """Raises Unavailable in a process without the role."""
        if self.hls is None:
            raise Unavailable("This process serves no live video.", code="live_not_here")
        return self.hls

    def playback_here(self) -> PlaybackSource:
        """Raises Unavailable in a process without the role."""
        if self.playback is None:
            raise Unavailable("This process opens no footage.", code="playback_not_here")
        return self.playback
