"""One camera's ONVIF side as long as the camera is in service: its clock, its events, its PTZ."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element

from mediasrv.backoff import Backoff
from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import CameraError
from mediasrv.onvif.address import parse_address
from mediasrv.onvif.camera_time import READINGS, ClockOffset, build_date_and_time
from mediasrv.onvif.media import PROFILES_REQUEST, FoundProfile, parse_profiles
from mediasrv.onvif.ptz import PtzAbility, parse_nodes
from mediasrv.onvif.pullpoint import EventKeeper, PullPoint
from mediasrv.onvif.requests import Login
from mediasrv.onvif.session import DeviceSession
from mediasrv.onvif.soap import SoapHttp
from mediasrv.onvif.values import Service, ServiceState
from mediasrv.settings import OnvifSettings
from mediasrv.waiting import wait_for_event

log = logging.getLogger(__name__)

SETTLED_S: Final = 20.0
"""Events that came for so long start the back-off anew."""
_CLOCK_RETRIES_S: Final = (30.0, 600.0)
_REFUSED: Final = frozenset({"credentials_wrong", "credentials_missing"})
_REFUSED_S: Final = (300.0, 600.0)
"""Between attempts of a camera that refuses our login: some lock the account after a few."""
_WHOLE_OPENING: Final = 3.0
"""All requests of an opening together may take so many times what one may."""
UNKNOWN: Final = ServiceState("unknown")


@dataclass(frozen=True, slots=True)
class ClockState:
    """`state` is `ok`, `alarm` or `unknown`; `code` a reason code where it is not `ok`. `read_us` is server time."""

    state: str = "unknown"
    code: str = ""
    offset: ClockOffset | None = None
    read_us: int | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every camera of the fleet shares. `opening` bounds how many are read at once."""

    http: SoapHttp
    settings: OnvifSettings
    clock: Clock
    keeper: EventKeeper
    opening: asyncio.Semaphore
    retry_first_s: float
    retry_most_s: float


class OnvifCamera:
    """`run` until the camera leaves service. A service that fails takes nothing else with it."""

    def __init__(self, camera_id: str, address: str, login: Callable[[], Login], around: Surroundings) -> None:
        self.camera_id = camera_id
        self.clock_state = ClockState()
        self._address = address
        self._login = login
        self._around = around
        self._session: DeviceSession | None = None
        self._opening = asyncio.Lock()
        self._clock_again, self._events_again = asyncio.Event(), asyncio.Event()
        self._trouble = UNKNOWN
        self._events = UNKNOWN if around.settings.events else ServiceState("off")
        self._ability: PtzAbility | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._track_clock(), name=f"clock of {self.camera_id}")
            if self._around.settings.events:
                group.create_task(self._follow_events(), name=f"events of {self.camera_id}")

    def retry(self) -> None:
        """The camera is there and takes our login, as its stream has shown: what failed is tried again at once."""
        self._events_again.set()
        if self._session is None or self._session.is_in_trouble:
            self._clock_again.set()

    def services(self) -> Mapping[Service, ServiceState]:
        """How each service is doing; of a camera that is not reached, why."""
        session = self._session
        if session is None:
            return dict.fromkeys(Service, self._trouble) | {Service.EVENTS: self._events}
        known = dict(session.states)
        if known[Service.EVENTS].state != "missing":
            known[Service.EVENTS] = self._events
        return known

    # --- PTZ ------------------------------------------------------------------------------------------

    async def ptz_ability(self) -> PtzAbility:
        """What the camera can do. Raises CameraError: `ptz_unsupported`, or why it is not reached."""
        await self._opened()
        if self._ability is None:
            raise CameraError("The camera cannot be moved.", code="ptz_unsupported")
        return self._ability

    async def call_ptz(self, operation: str, parameters: Mapping[str, Any]) -> Element:
        """Raises CameraError. A command that fails leaves the session to those who can judge it."""
        return await (await self._opened()).call(Service.PTZ, operation, parameters)

    # --- the session ----------------------------------------------------------------------------------

    async def _opened(self) -> DeviceSession:
        """The session with the camera, opened where there is none. Raises CameraError."""
        async with self._opening:
            if self._session is None:
                try:
                    self._session = await self._open()
                except CameraError as error:
                    self._trouble = ServiceState("failed", error.code, error.sentence)
                    raise
            return self._session

    async def _open(self) -> DeviceSession:
        around, timeout_s = self._around, self._around.settings.timeout_s
        endpoint = parse_address(self._address)
        session = DeviceSession(around.http, endpoint, self._login(), timeout_s, around.clock)
        # Before its turn comes: cameras that are away must not keep others waiting.
        await session.read_clock()
        try:
            async with around.opening, asyncio.timeout(timeout_s * _WHOLE_OPENING):
                await session.find_services()
                self._ability = await _look_around(session)
        except TimeoutError as error:
            raise CameraError("The camera answers too slowly to be read.", code="host_unreachable") from error
        return session

    def _forget(self, session: DeviceSession | None) -> None:
        """The camera may come back with another clock, other services and other addresses."""
        if session is self._session:
            self._session = None

    # --- clock ----------------------------------------------------------------------------------------

    async def _track_clock(self) -> None:
        backoff, settings = Backoff(*_CLOCK_RETRIES_S), self._around.settings
        while True:
            session = None
            self._clock_again.clear()
            try:
                session = await self._opened()
                await self._read_clock(session)
                pause_s = settings.clock_interval_s * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
                if session.is_in_trouble:
                    pause_s = min(pause_s, backoff.next_s())
                else:
                    backoff.reset()
                await wait_for_event(self._clock_again, pause_s)
                if session.is_in_trouble:
                    self._forget(session)
            except CameraError as error:
                self._forget(session)
                self.clock_state = ClockState(code=error.code)
                await wait_for_event(self._clock_again, backoff.next_s())
            except Exception:
                log.exception("%s: the camera's clock could not be read", self.camera_id)
                await wait_for_event(self._clock_again, backoff.next_s())

    async def _read_clock(self, session: DeviceSession) -> None:
        offset = await session.read_clock(READINGS)
        settings = self._around.settings
        if offset is not None and offset.exceeds(settings.clock_alarm_s) and settings.set_clock:
            log.warning("%s: the camera's clock is off by %.1f s and is set", self.camera_id, offset.offset_s)
            await self._set_clock(session)
            offset = await session.read_clock(READINGS)
        self._judge(offset)

    def _judge(self, offset: ClockOffset | None) -> None:
        read_us = self._around.clock.wall_us()
        if offset is None:
            self.clock_state = ClockState("unknown", "clock_not_told", read_us=read_us)
        elif offset.exceeds(self._around.settings.clock_alarm_s):
            if self.clock_state.state != "alarm":
                log.warning("%s: the camera's clock is off by %.1f s", self.camera_id, offset.offset_s)
            self.clock_state = ClockState("alarm", "clock_off", offset, read_us)
        else:
            self.clock_state = ClockState("ok", "", offset, read_us)

    async def _set_clock(self, session: DeviceSession) -> None:
        """Sets the camera's clock, by NTP where a server is configured. A camera that refuses keeps its alarm."""
        ntp_server = self._around.settings.ntp_server
        try:
            told = await session.call(Service.DEVICE, "GetSystemDateAndTime", open_to_all=True)
            if ntp_server:
                await session.call(Service.DEVICE, "SetNTP", _ntp_request(ntp_server))
            else:
                # Whole seconds can be said only, and so are said at the beginning of one.
                await asyncio.sleep(1.0 - self._around.clock.wall_us() % SECOND_US / SECOND_US)
            wish = build_date_and_time(told, self._around.clock.wall_us(), ntp=bool(ntp_server))
            await session.call(Service.DEVICE, "SetSystemDateAndTime", wish)
        except CameraError as error:
            log.warning("%s: the camera's clock cannot be set: %s", self.camera_id, error.sentence)

    # --- events ---------------------------------------------------------------------------------------

    async def _follow_events(self) -> None:
        around = self._around
        backoff = Backoff(around.retry_first_s, around.retry_most_s)
        pull_point = PullPoint(self.camera_id, around.keeper, around.clock)
        failures = refusals = 0
        while True:
            began, session = around.clock.monotonic(), None
            self._events_again.clear()
            try:
                session = await self._opened()
                await pull_point.follow(session, self._subscribed)
            except CameraError as error:
                failures += 1
                refusals = refusals + 1 if error.code in _REFUSED else 0
                self._events_failed(error)
                if _is_outdated(session, error, failures):
                    self._forget(session)
            except Exception:
                log.exception("%s: the camera's events failed unexpectedly", self.camera_id)
                self._events_failed(CameraError("The server failed on the camera's events; see its log."))
            if around.clock.monotonic() - began > SETTLED_S:
                backoff.reset()
            # Once, the camera may have restarted with another clock; from then on it counts failed logins.
            pause_s = backoff.next_s() if refusals < 2 else random.uniform(*_REFUSED_S)  # noqa: S311 - jitter
            await wait_for_event(self._events_again, pause_s)

    def _subscribed(self) -> None:
        self._events = ServiceState("ok")

    def _events_failed(self, error: CameraError) -> None:
        if self._events.code != error.code:
            log.info("%s: no events: %s", self.camera_id, error.sentence)
        state = "missing" if error.code == "service_missing" else "failed"
        self._events = ServiceState(state, error.code, error.sentence)


def _is_outdated(session: DeviceSession | None, error: CameraError, failures: int) -> bool:
    """Whether the camera is to be read anew after this error of its events: it may have restarted with another clock.
    That a service fails, or is missing, means that less often, unless the camera is in trouble anyway.
    """
    if error.code == "service_missing":
        return session is not None and session.is_in_trouble
    return error.code != "onvif_failed" or failures % 4 == 0


async def _look_around(session: DeviceSession) -> PtzAbility | None:
    """Asks each service that the streams, and moving the camera, depend on; each by itself. Raises CameraError where
    the camera is away or refuses us.
    """
    profiles: list[FoundProfile] = []
    for service in (Service.MEDIA2, Service.MEDIA):
        if session.offers(service):
            with session.isolate(service):
                answer = await session.call(service, "GetProfiles", PROFILES_REQUEST[service])
                profiles += parse_profiles(answer)
    if not (profiles and session.offers(Service.PTZ)):
        return None
    # Some cameras can be moved though no profile of theirs says so.
    profile = next((one for one in profiles if one.moves), profiles[0])
    with session.isolate(Service.PTZ):
        moves = parse_nodes(await session.call(Service.PTZ, "GetNodes"))
        return PtzAbility(profile.token, moves) if moves else None
    return None


def _ntp_request(server: str) -> Mapping[str, Any]:
    kind, name = ("IPv4", "IPv4Address") if server.replace(".", "").isdecimal() else ("DNS", "DNSname")
    return {"FromDHCP": False, "NTPManual": [{"Type": kind, name: server}]}
