"""What cameras look like now, for all who follow it: read once a beat, whatever the number of followers.

Nothing is queued for a follower. Each member of a camera's JSON carries the revision at which it changed last, and a
follower knows which revision it was told: being slow, or a storm of changes, costs it the states in between and
nobody any memory. What changes all the time (viewers of a stream, how far its footage has got) is told less often.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mediasrv.catalogue.places import list_places
from mediasrv.events import EventBroker
from mediasrv.security.policy import Permission, permissions_at
from mediasrv.security.sessions import Identity
from mediasrv.waiting import wait_for_event
from mediasrv.web.camera_json import camera_json, profile_json, shown_permissions
from mediasrv.web.services import Services
from mediasrv.web.viewers import Viewers

log = logging.getLogger(__name__)

BEAT_S: Final = 1.0
SLOW_BEATS: Final = 5
CAMERAS_A_TURN: Final = 50
"""As many are put into JSON in one turn of the loop: pictures are sent in between."""
_PASSING: Final = ("viewers", "recording")


@dataclass(slots=True)
class _Member:
    """One member of a camera's JSON: `text` is JSON, `revision` that of its last change."""

    value: Any
    text: str
    revision: int


@dataclass(slots=True)
class _Shown:
    """A camera as everybody sees it, and apart what only who manages it does."""

    place_id: str
    revision: int = 0
    members: dict[str, _Member] = field(default_factory=dict)
    managed: dict[str, _Member] = field(default_factory=dict)
    told: tuple[int, int] = (0, 0)
    """The highest id of its events, and the revision at which it came."""

    def texts(self, managed: bool, since: int) -> dict[str, str]:
        """The members that changed after revision `since`."""
        if self.revision <= since:
            return {}
        members = self.members | self.managed if managed else self.members
        return {name: one.text for name, one in members.items() if one.revision > since}


class CameraStates:
    """`run` belongs into the server's task group. Followers call `beat`, then `CameraFollower.changes`."""

    def __init__(self, services: Services, viewers: Viewers) -> None:
        self.revision = 0
        self.followers = 0
        self.paths: Mapping[str, str] = {}
        """Of places, by id."""
        self.cameras: dict[str, _Shown] = {}
        self.fresh = False
        """What is here is at most a beat old."""
        self.ended = False
        self._services = services
        self._viewers = viewers
        self._wanted = asyncio.Event()
        self._beat = asyncio.Event()
        self._beats = 0

    async def run(self) -> None:
        """Reads while somebody follows, until cancelled. A catalogue that fails for a moment does not end this."""
        async with asyncio.TaskGroup() as group:
            if self._services.events is not None:
                group.create_task(self._hear(self._services.events.broker))
            while True:
                await self._wanted.wait()
                try:
                    await self.read()
                    self.fresh = True
                except Exception:
                    log.exception("states of cameras could not be read")
                beat, self._beat = self._beat, asyncio.Event()
                beat.set()
                await asyncio.sleep(BEAT_S)
                if not self.followers:
                    self.fresh = False
                    self._wanted.clear()

    def follow(self) -> None:
        """One more follower; `leave` when it goes."""
        self.followers += 1
        self._wanted.set()

    def leave(self) -> None:
        self.followers -= 1

    async def beat(self) -> None:
        """Returns once states were read again, or after three beats without."""
        await wait_for_event(self._beat, 3 * BEAT_S)

    def end(self) -> None:
        """The server ends: so do all followers, at once."""
        self.ended = True
        self._beat.set()

    async def read(self) -> None:
        """Compares with what was read before, and gives what differs a new revision."""
        services = self._services
        self.paths = {place.place_id: place.path for place in await services.catalogue.read(list_places)}
        revision, slow = self.revision + 1, self._beats % SLOW_BEATS == 0
        self._beats += 1
        views, viewers = services.cameras.list(), self._viewers.counts()
        for number, view in enumerate(views):
            if number % CAMERAS_A_TURN == CAMERAS_A_TURN - 1:
                await asyncio.sleep(0)
            shown = self.cameras.setdefault(view.camera_id, _Shown(view.place_id))
            shown.place_id = view.place_id
            document = camera_json(view, frozenset(), viewers)
            del document["permissions"]
            warned = {"profile": None if view.profile is None else profile_json(view.profile, warned=True)}
            changed = [_keep(shown.members, document, revision, slow), _keep(shown.managed, warned, revision, slow)]
            if any(changed):
                shown.revision = revision
        for gone in self.cameras.keys() - {view.camera_id for view in views}:
            del self.cameras[gone]
        self.revision = revision

    async def _hear(self, broker: EventBroker) -> None:
        with broker.listen(lambda event: event.camera_id in self.cameras) as listener:
            while True:
                event = await listener.next()
                if shown := self.cameras.get(event.camera_id):
                    shown.told = (max(shown.told[0], event.event_id), self.revision + 1)


class CameraFollower:
    """What one identity may see of the states, and what of it was told already."""

    def __init__(self, states: CameraStates) -> None:
        self._states = states
        self._since = 0
        self._seen: dict[str, frozenset[Permission]] = {}

    def changes(self, identity: Identity, now_us: int) -> Iterator[tuple[str, str]]:
        """Names of events and their data, docs/api.md: `cameras` the first time, then what changed since."""
        states, since, before = self._states, self._since, self._seen
        if not states.revision:
            return
        self._seen = self._visible(identity, now_us)
        self._since = states.revision
        if not since:
            listed = ",".join(self._document(camera_id, 0) for camera_id in self._seen)
            yield "cameras", f'{{"cameras":[{listed}]}}'
            return
        for camera_id, permissions in self._seen.items():
            changed = self._document(camera_id, since if before.get(camera_id) == permissions else 0)
            if changed:
                yield "camera", changed
        for camera_id in before.keys() - self._seen.keys():
            yield "gone", json.dumps({"id": camera_id})
        told = {
            camera_id: shown.told[0]
            for camera_id, permissions in self._seen.items()
            if (shown := states.cameras[camera_id]).told[1] > since and Permission.EVENT_VIEW in permissions
        }
        if told:
            yield "told", json.dumps({"cameras": told})

    def _visible(self, identity: Identity, now_us: int) -> dict[str, frozenset[Permission]]:
        at_place: dict[str, frozenset[Permission]] = {}
        seen = {}
        for camera_id, shown in self._states.cameras.items():
            place = shown.place_id
            if place not in at_place:
                at_place[place] = permissions_at(identity.grants, self._states.paths.get(place, ""), now_us)
            if Permission.CAMERA_VIEW in at_place[place]:
                seen[camera_id] = at_place[place]
        return seen

    def _document(self, camera_id: str, since: int) -> str:
        """The camera with the members that changed after `since`; all, and its permissions, where that is 0."""
        permissions = self._seen[camera_id]
        texts = self._states.cameras[camera_id].texts(Permission.CAMERA_MANAGE in permissions, since)
        if not since:
            texts["permissions"] = json.dumps(shown_permissions(permissions))
        if not texts:
            return ""
        texts["id"] = json.dumps(camera_id)
        return "{" + ",".join(f'"{name}":{text}' for name, text in texts.items()) + "}"


def _keep(members: dict[str, _Member], document: Mapping[str, Any], revision: int, slow: bool) -> bool:
    """Whether anything differs from what was kept; what passes all the time is looked at in slow beats only."""
    changed = False
    for name, value in document.items():
        kept = members.get(name)
        if kept is not None and (kept.value == value or (not slow and name == "streams" and _alike(kept.value, value))):
            continue
        members[name] = _Member(value, json.dumps(value), revision)
        changed = True
    return changed


def _alike(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether streams differ in nothing but what changes all the time."""
    return bool(_lasting(before) == _lasting(now))


def _lasting(streams: Mapping[str, Any]) -> Any:
    return {
        stream: (
            [value for name, value in shown.items() if name not in _PASSING],
            shown["recording"]["state"],
            shown["recording"]["reason"],
        )
        for stream, shown in streams.items()
    }
