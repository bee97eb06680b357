"""One camera's services: where they are, how each is doing, and calls to them.

A service that is missing or broken is in trouble by itself: its state says so, and the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from xml.etree.ElementTree import Element

from mediasrv.clock import Clock
from mediasrv.errors import CameraError
from mediasrv.onvif.address import Endpoint, is_unspecified, parse_address, rebuild, split_reported
from mediasrv.onvif.camera_time import SPACING_S, ClockOffset, Reading, estimate, parse_date_and_time
from mediasrv.onvif.envelope import local_name
from mediasrv.onvif.requests import Login
from mediasrv.onvif.services import parse_capabilities, parse_services
from mediasrv.onvif.soap import SoapHttp, SoapLink
from mediasrv.onvif.values import Service, ServiceState

_SKEW_THAT_MATTERS_S: Final = 2.0
_OF_THE_SERVICE: Final = frozenset({"onvif_failed", "credentials_wrong", "credentials_missing"})
"""Codes by which a camera that is there answers: anything else is a camera that cannot be reached at all."""


class DeviceSession:
    """`read_clock`, then `find_services`, then calls, which may overlap. Every method raises CameraError."""

    def __init__(self, http: SoapHttp, endpoint: Endpoint, login: Login, timeout_s: float, clock: Clock) -> None:
        self.offset: ClockOffset | None = None
        self.replaced_host = ""
        self.states = dict.fromkeys(Service, ServiceState("missing", "service_missing"))
        self.login = login
        self.url = endpoint.url
        self._link = SoapLink(http, endpoint, login, timeout_s)
        self._endpoint = endpoint
        self._clock = clock
        self._reported: dict[Service, str] = {}
        self._is_guessed = False
        self._urls: dict[Service, str] = {Service.DEVICE: endpoint.url}
        self._connects: dict[tuple[str, int], bool] = {}

    async def read_clock(self, readings: int = 1) -> ClockOffset | None:
        """How far the camera's clock is off; None where it does not tell.

        Asked without credentials, and first of all: those carry a time, and a camera refuses one far from its own.
        A camera that keeps even its clock to itself is asked again by name, which Digest makes possible.
        """
        open_to_all, found = True, list[Reading]()
        while len(found) < readings:
            if found:
                await asyncio.sleep(SPACING_S)
            try:
                asked_us = self._clock.wall_us()
                answer = await self.call(Service.DEVICE, "GetSystemDateAndTime", open_to_all=open_to_all)
                told_us = parse_date_and_time(answer)
            except CameraError as error:
                if error.code not in _OF_THE_SERVICE:
                    raise
                told_us = None
            if told_us is not None:
                found.append(Reading(asked_us, self._clock.wall_us(), told_us))
            elif open_to_all and self.login:
                open_to_all = False
            else:
                break
        self.offset = estimate(found)
        skewed = self.offset is not None and abs(self.offset.offset_s) > _SKEW_THAT_MATTERS_S
        self._link.clock_skew = timedelta(seconds=self.offset.offset_s) if self.offset and skewed else None
        return self.offset

    async def find_services(self) -> None:
        """By GetServices; by GetCapabilities on older cameras, and on those whose answer names no media service."""
        found: dict[Service, str] = {}
        with self.isolate(Service.DEVICE):
            found = parse_services(await self.call(Service.DEVICE, "GetServices", {"IncludeCapability": False}))
        if not found.keys() & {Service.MEDIA, Service.MEDIA2}:
            with self.isolate(Service.DEVICE):
                answer = await self.call(Service.DEVICE, "GetCapabilities", {"Category": "All"})
                found = parse_capabilities(answer) | found
        self._is_guessed = not found
        if not found.keys() & {Service.MEDIA, Service.MEDIA2}:
            found[Service.MEDIA] = self._endpoint.url  # where many small cameras have everything
        self._reported = found
        for service in found.keys() - {Service.DEVICE}:
            self.states[service] = ServiceState("offered")

    async def call(
        self,
        service: Service,
        operation: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        open_to_all: bool = False,
    ) -> Element:
        """Calls an operation. A service that answered is `ok`; whoever gives one up says so with `isolate`."""
        url = await self._url(service)
        login = Login() if open_to_all else None
        answer = await self._link.call(service, url, operation, parameters or {}, login=login)
        self.states[service] = ServiceState("ok")
        return answer

    async def call_at(
        self, url: str, operation: str, parameters: Mapping[str, Any], reference: Sequence[Element], wait_s: float = 0.0
    ) -> Element:
        """Calls an operation of the event service at the address of a subscription."""
        return await self._link.call(Service.EVENTS, url, operation, parameters, reference=reference, wait_s=wait_s)

    async def admits(self, login: Login) -> bool:
        """Whether the camera shows its profiles to whoever comes with this login: one request."""
        service = Service.MEDIA2 if self.states[Service.MEDIA2].state == "ok" else Service.MEDIA
        try:
            await self._link.call(service, await self._url(service), "GetProfiles", {}, login=login)
        except CameraError as error:
            if error.code not in _OF_THE_SERVICE:
                raise
            return False
        return True

    def offers(self, service: Service) -> bool:
        return service in self._reported

    @property
    def is_in_trouble(self) -> bool:
        """Whether something did not work when the camera was read, or since: it may be whole when read anew."""
        return self._is_guessed or any(state.state == "failed" for state in self.states.values())

    def failed(self, service: Service, error: CameraError) -> None:
        self.states[service] = ServiceState("failed", error.code, error.sentence)

    @contextlib.contextmanager
    def isolate(self, service: Service) -> Iterator[None]:
        """Keeps trouble of this service in it. A camera that is away or refuses us is not the service's trouble."""
        try:
            yield
        except CameraError as error:
            if error.code not in ("onvif_failed", "service_missing"):
                raise
            if error.code == "onvif_failed":
                self.failed(service, error)

    async def usable_url(self, reported: str, scheme: str) -> str:
        """A URL that the camera reported, at a host that can be reached; empty where it is no URL.

        A camera behind NAT reports its inner address: the host that was typed in stands in for it. The port of
        the web services is then the one that was typed in, too; that of RTSP is taken to be passed on unchanged.
        """
        split = split_reported(reported, scheme)
        if split is None:
            return ""
        parts, host, port = split
        same = host.lower() == self._endpoint.host.lower()
        if same or (not is_unspecified(host) and await self._connects_to(host, port)):
            return rebuild(parts, host, port)
        self.replaced_host = host
        return rebuild(parts, self._endpoint.host, self._endpoint.port if scheme == "http" else port)

    async def _connects_to(self, host: str, port: int) -> bool:
        if (host, port) not in self._connects:
            self._connects[host, port] = await self._link.http.connects(host, port)
        return self._connects[host, port]

    async def _url(self, service: Service) -> str:
        if service not in self._urls:
            if service not in self._reported:
                raise CameraError(f"The camera offers no {service} service.", code="service_missing")
            self._urls[service] = await self.usable_url(self._reported[service], "http") or self._endpoint.url
        return self._urls[service]


async def tells_the_time(http: SoapHttp, address: str, timeout_s: float) -> bool:
    """Whether an ONVIF device answers at this address, asked for what each tells to everybody; never raises."""
    try:
        endpoint = parse_address(address)
        if not await http.connects(endpoint.host, endpoint.port):
            return False
        link = SoapLink(http, endpoint, Login(), timeout_s)
        answer = await link.call(Service.DEVICE, endpoint.url, "GetSystemDateAndTime", {})
    except CameraError as error:
        return error.code == "credentials_missing"
    return local_name(answer) == "GetSystemDateAndTimeResponse"
