"""Pulls one camera's stream over RTSP into its mountpoint: once, until it ends.

Each connection is a `pulling.session.PullSession`. `RtspPull` says where it goes: first to the source, then wherever
the camera redirects to, as far as that is allowed; and how media comes: over TCP or UDP, the other one where the first
brings nothing. `RtspPull.run` ends by raising CameraError with a code of docs/reasons.md; when to try again is its
caller's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from mediasrv.clock import Clock
from mediasrv.errors import CameraError, ProtocolError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import Session
from mediasrv.pulling.address import Target, parse_rtsp_url
from mediasrv.pulling.gather import Gatherer
from mediasrv.pulling.refusals import Redirected, SilentTransport, TransportRefused
from mediasrv.pulling.report import PullReport
from mediasrv.pulling.session import PullContext, PullSession
from mediasrv.pulling.tls import TlsTrust
from mediasrv.reasons import reason
from mediasrv.security.redaction import tells
from mediasrv.settings import PullSettings
from mediasrv.waiting import Turns
from mediasrv.wire.rtsp_auth import Authenticator
from mediasrv.wire.rtsp_headers import resolve_control

log = logging.getLogger(__name__)

_ORDERS: Final = {"auto": ("tcp", "udp"), "tcp": ("tcp",), "udp": ("udp",)}


@dataclass(frozen=True, slots=True)
class RtspSource:
    """Where a stream is. `url` is `rtsp://host[:port]/…` or `rtsps://…` and holds no credentials; the password is never
    shown.

    `transport` is `tcp`, `udp` or `auto`, empty for that of the settings; with `auto`, `preferred` is tried first.
    `tls_fingerprint` pins the certificate of an `rtsps` source.
    """

    url: str
    username: str = ""
    password: str = field(repr=False, default="")
    transport: str = ""
    preferred: str = ""
    tls_fingerprint: str = ""


class RtspPull:
    """One stream, over one connection at a time. `stop_reason` is what ends the session if `run` is cancelled;
    `connected` is set once a host has taken the connection."""

    def __init__(
        self,
        source: RtspSource,
        mountpoint: Mountpoint,
        new_session: Callable[[], Session],
        clock: Clock,
        settings: PullSettings,
        gatherer: Gatherer,
        gate: Turns | None = None,
    ) -> None:
        self.stop_reason = "server_down"
        self.connected = asyncio.Event()
        self._source = source
        self._settings = settings
        self._context = PullContext(mountpoint, new_session, clock, settings, gatherer, self.connected.set, gate)
        self._session: PullSession | None = None

    @property
    def report(self) -> PullReport:
        """A snapshot of the connection, made when it is asked for."""
        return self._session.report if self._session is not None else PullReport()

    async def run(self) -> NoReturn:
        """Pulls until the camera cannot be pulled any more, then raises CameraError; call once."""
        target = parse_rtsp_url(self._source.url)
        for _ in range(self._settings.most_redirects + 1):
            try:
                await self._pull(target)
            except Redirected as redirected:
                target = follow(target, redirected)
                log.info("%s: redirected to %s", self._context.mountpoint.ref, target.host)
            except CameraError as error:
                if not tells(error.sentence.rstrip("."), self._source.username, self._source.password):
                    raise
                raise CameraError(reason(error.code).sentence, code=error.code) from None  # not in its words
        raise CameraError(
            f"The camera redirects more than {self._settings.most_redirects} times.", code="redirect_refused"
        )

    async def _pull(self, target: Target) -> NoReturn:
        """Pulls from one place. A transport that brings nothing is given up for the other, where there is one."""
        order = self._order(target)
        silent: SilentTransport | None = None
        while True:
            self._session = self._new_session(target, order)
            try:
                await self._session.run(lambda: self.stop_reason)
            except SilentTransport as error:
                if silent is not None or len(order) == 1:
                    raise
                silent, order = error, tuple(transport for transport in order if transport != error.transport)
            except TransportRefused:
                if silent is None:
                    raise
                order = (silent.transport,)  # the only one there is: as patient as with a stall
            except CameraError as error:
                if error.code == "credentials_missing" and self._source.username:
                    raise CameraError(
                        f"The camera redirects to {target.host}, which asks for the password and may not have it.",
                        code=error.code,
                    ) from error
                raise

    def _order(self, target: Target) -> tuple[str, ...]:
        """Media beside a secured connection would go in the clear."""
        if target.tls:
            return _ORDERS["tcp"]
        order = _ORDERS[self._source.transport or self._settings.transport]
        return tuple(sorted(order, key=lambda transport: transport != self._source.preferred))

    def _new_session(self, target: Target, order: tuple[str, ...]) -> PullSession:
        source, settings = self._source, self._settings
        at_home = is_at_home(parse_rtsp_url(source.url), target)
        known = at_home or settings.redirect_credentials
        trust = TlsTrust(
            target.host,
            fingerprint=source.tls_fingerprint if at_home else "",
            ca_file=settings.tls_ca_file,
            verify=settings.tls_verify,
        )
        return PullSession(
            self._context,
            target,
            trust if target.tls else None,
            Authenticator(source.username, source.password) if known else Authenticator("", ""),
            order,
            settings.first_packet_s if len(order) > 1 else settings.stall_timeout_s,
        )


def is_at_home(source: Target, target: Target) -> bool:
    """Whether this is still the host that the credentials are for, and no less secured than it was."""
    return target.host == source.host and target.tls >= source.tls


def follow(target: Target, redirected: Redirected) -> Target:
    """Where a redirect leads to. Raises CameraError (`redirect_refused`) where that is no place for RTSP."""
    location = re.sub(r"^([A-Za-z]+://)[^/@]*@", r"\1", redirected.location)  # nobody's password but the camera's own
    try:
        new = parse_rtsp_url(location if "://" in location else resolve_control(target.url, location))
    except (CameraError, ProtocolError) as error:
        raise CameraError("The camera redirects to what is no rtsp:// URL.", code="redirect_refused") from error
    return dataclasses.replace(new, url=target.url) if redirected.by_proxy else new
