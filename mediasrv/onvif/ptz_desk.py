"""Who moves which camera: one person at a time, and no longer than somebody holds the handle.

Whoever gives a command holds the camera until `lock_s` after their last one. A continuous move must be repeated within
`hold_s`, or the camera is stopped: by us, by the camera's own timeout, and at our end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from xml.etree.ElementTree import Element

from mediasrv.backoff import Backoff
from mediasrv.clock import SECOND_US, Clock, from_us
from mediasrv.errors import CameraError, Conflict
from mediasrv.onvif.envelope import text_of
from mediasrv.onvif.ptz import Move, Preset, PtzAbility, Vector, build_move, parse_presets
from mediasrv.waiting import wait_for_event

log = logging.getLogger(__name__)

_STOPS: Final = 6
_STOP_RETRIES_S: Final = (0.3, 3.0)
_LAST_STOPS_S: Final = 2.0
_BEYOND_HOLD_S: Final = 1.0
"""The camera's own timeout lies behind ours: it is for the case that we cannot reach it."""


class PtzCamera(Protocol):
    """Raises CameraError."""

    async def ptz_ability(self) -> PtzAbility: ...

    async def call_ptz(self, operation: str, parameters: Mapping[str, Any]) -> Element: ...


@dataclass(frozen=True, slots=True)
class Holder:
    """Who moves a camera, and until when nobody else may; server time."""

    principal_id: str
    username: str
    until_us: int


@dataclass(slots=True)
class _Seat:
    """A camera's handle. Commands go to the camera one after the other, and only the newest of those that wait."""

    holder: Holder | None = None
    held_until: float = 0.0
    order: asyncio.Lock = field(default_factory=asyncio.Lock)
    newest: int = 0
    moving_until: float | None = None
    is_being_stopped: bool = False
    takes_timeouts: bool = True


class PtzDesk:
    """Raises Conflict (`ptz_locked`) where somebody else holds the camera, CameraError where it cannot be moved."""

    def __init__(self, camera: Callable[[str], PtzCamera], clock: Clock, hold_s: float, lock_s: float) -> None:
        self._camera = camera
        self._clock = clock
        self._hold_s = hold_s
        self._lock_s = lock_s
        self._seats: dict[str, _Seat] = {}
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Stops cameras whose handle nobody holds any more; at the end those that still move."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._moved.clear()
                    for camera_id, seat in self._abandoned():
                        seat.is_being_stopped = True
                        group.create_task(self._stop_abandoned(camera_id, seat))
                    await wait_for_event(self._moved, self._next_s())
        finally:
            moving = [camera_id for camera_id, seat in self._seats.items() if seat.moving_until is not None]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_STOPS_S):
                    await asyncio.gather(*(self._send_stop(camera_id) for camera_id in moving), return_exceptions=True)

    def holder(self, camera_id: str) -> Holder | None:
        seat = self._seats.get(camera_id)
        return seat.holder if seat is not None and self._clock.monotonic() < seat.held_until else None

    async def ability(self, camera_id: str) -> PtzAbility:
        return await self._camera(camera_id).ptz_ability()

    async def move(self, camera_id: str, principal_id: str, username: str, move: Move, vector: Vector) -> None:
        """A continuous move goes on for `hold_s`; repeat it to go on."""
        seat = self._take(camera_id, principal_id, username)
        async with self._in_turn(seat) as is_newest:
            if not is_newest:
                return
            ability = await self.ability(camera_id)
            operation, parameters = build_move(ability, move, vector, self._hold_s + _BEYOND_HOLD_S)
            if move is Move.CONTINUOUS:
                # Before it is sent: a camera may move although its answer is lost.
                self._moves(seat)
                await self._start_moving(camera_id, seat, operation, parameters)
                self._moves(seat)
            else:
                await self._camera(camera_id).call_ptz(operation, parameters)

    async def stop(self, camera_id: str, principal_id: str, username: str) -> None:
        """Sent in any case: what comes after it may be another stop."""
        seat = self._take(camera_id, principal_id, username)
        async with self._in_turn(seat):
            await self._send_stop(camera_id)
            seat.moving_until = None

    async def presets(self, camera_id: str) -> list[Preset]:
        profile = (await self.ability(camera_id)).profile
        return parse_presets(await self._camera(camera_id).call_ptz("GetPresets", {"ProfileToken": profile}))

    async def set_preset(self, camera_id: str, principal_id: str, username: str, name: str, token: str = "") -> str:
        """Keeps where the camera looks now, under a new token or an old one; the token."""
        self._take(camera_id, principal_id, username)
        wish = {"ProfileToken": (await self.ability(camera_id)).profile, "PresetName": name}
        if token:
            wish["PresetToken"] = token
        answer = await self._camera(camera_id).call_ptz("SetPreset", wish)
        return text_of(answer, "PresetToken") or token

    async def go_to(self, camera_id: str, principal_id: str, username: str, token: str) -> None:
        seat = self._take(camera_id, principal_id, username)
        async with self._in_turn(seat) as is_newest:
            if is_newest:
                wish = {"ProfileToken": (await self.ability(camera_id)).profile, "PresetToken": token}
                await self._camera(camera_id).call_ptz("GotoPreset", wish)

    def release(self, camera_id: str, principal_id: str) -> None:
        """Lets others move the camera at once. What moves is stopped in time all the same."""
        seat = self._seats.get(camera_id)
        if seat is not None and seat.holder is not None and seat.holder.principal_id == principal_id:
            seat.held_until = 0.0

    def take(self, camera_id: str, principal_id: str, username: str) -> Holder:
        """Holds the camera for somebody, as each command does. Raises Conflict `ptz_locked`."""
        self._camera(camera_id)  # a camera that is none has no seat
        holder = self.holder(camera_id)
        if holder is not None and holder.principal_id != principal_id:
            until = from_us(holder.until_us).isoformat(timespec="seconds").replace("+00:00", "Z")
            raise Conflict(f"{holder.username} is moving this camera, until {until} at least.", code="ptz_locked")
        seat = self._seats.setdefault(camera_id, _Seat())
        until_us = self._clock.wall_us() + round(self._lock_s * SECOND_US)
        seat.holder = Holder(principal_id, username, until_us)
        seat.held_until = self._clock.monotonic() + self._lock_s
        return seat.holder

    # --- inside ----------------------------------------------------------------------------------

    def _take(self, camera_id: str, principal_id: str, username: str) -> _Seat:
        self.take(camera_id, principal_id, username)
        return self._seats[camera_id]

    @contextlib.asynccontextmanager
    async def _in_turn(self, seat: _Seat) -> AsyncIterator[bool]:
        """Yields, in turn, whether no newer command has come meanwhile: an older one would only lag behind."""
        seat.newest += 1
        mine = seat.newest
        async with seat.order:
            yield seat.newest == mine

    def _moves(self, seat: _Seat) -> None:
        seat.moving_until = self._clock.monotonic() + self._hold_s
        self._moved.set()

    async def _start_moving(self, camera_id: str, seat: _Seat, operation: str, parameters: dict[str, Any]) -> None:
        """Some cameras refuse a timeout of their own; then ours is the only one."""
        if not seat.takes_timeouts:
            parameters.pop("Timeout")
        try:
            await self._camera(camera_id).call_ptz(operation, parameters)
        except CameraError as error:
            if error.code != "onvif_failed" or "Timeout" not in parameters:
                raise
            parameters.pop("Timeout")
            await self._camera(camera_id).call_ptz(operation, parameters)
            seat.takes_timeouts = False

    async def _send_stop(self, camera_id: str) -> None:
        profile = (await self.ability(camera_id)).profile
        await self._camera(camera_id).call_ptz("Stop", {"ProfileToken": profile, "PanTilt": True, "Zoom": True})

    def _abandoned(self) -> list[tuple[str, _Seat]]:
        now = self._clock.monotonic()
        return [
            (camera_id, seat)
            for camera_id, seat in self._seats.items()
            if seat.moving_until is not None and seat.moving_until <= now and not seat.is_being_stopped
        ]

    def _next_s(self) -> float | None:
        due = [
            seat.moving_until
            for seat in self._seats.values()
            if seat.moving_until is not None and not seat.is_being_stopped
        ]
        return max(0.0, min(due) - self._clock.monotonic()) if due else None

    async def _stop_abandoned(self, camera_id: str, seat: _Seat) -> None:
        backoff = Backoff(*_STOP_RETRIES_S)
        try:
            for _ in range(_STOPS):
                async with seat.order:
                    if seat.moving_until is None or seat.moving_until > self._clock.monotonic():
                        return  # it was stopped, or the handle taken up again
                    try:
                        await self._send_stop(camera_id)
                        seat.moving_until = None
                        return
                    except CameraError as error:
                        log.warning("%s: the camera moves and cannot be stopped: %s", camera_id, error.sentence)
                await asyncio.sleep(backoff.next_s())
            seat.moving_until = None
        except Exception:
            # One camera's surprise must not end the watch over the others.
            log.exception("%s: the camera could not be stopped", camera_id)
            seat.moving_until = None
        finally:
            seat.is_being_stopped = False
            self._moved.set()
