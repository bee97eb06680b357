"""SOAP to cameras: connections to allowed networks only, bounded in time and size, failures as CameraError."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

import aiohttp
from aiohttp import hdrs

from mediasrv.errors import CameraError, ProtocolError
from mediasrv.onvif.address import Endpoint
from mediasrv.onvif.envelope import SoapFault, parse_envelope
from mediasrv.onvif.requests import Login, Request, build_request
from mediasrv.onvif.values import Service
from mediasrv.security.redaction import tells
from mediasrv.wire.addresses import is_allowed

ANSWER_BYTES: Final = 512 * 1024
"""The longest answer that is read; the profiles of a large recorder take about a fifth. The worst of this length costs
40 ms to parse.
"""
CONNECT_PROBE_S: Final = 2.0
_UNREACHABLE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EHOSTDOWN})


class SoapHttp:
    """HTTP to any number of cameras. Use as an asynchronous context manager.

    Each connection is judged by the numeric address it is about to go to, whatever name led there.
    """

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks = networks

    async def __aenter__(self) -> SoapHttp:
        # A connection a request: cameras have few, and close idle ones at the moment they are used again.
        connector = aiohttp.TCPConnector(socket_factory=self.new_socket, force_close=True, limit=0)
        self.session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    def new_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Raises PermissionError for an address outside the allowed networks."""
        family, kind, protocol, _, where = address
        if not is_allowed(str(where[0]), self._networks):
            raise PermissionError(errno.EPERM, "outside the allowed networks")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    async def connects(self, host: str, port: int) -> bool:
        """Whether something accepts connections there; False too where we may not connect."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # a timeout is one
            async with asyncio.timeout(CONNECT_PROBE_S):
                for info in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                    with self.new_socket(info) as probe:
                        await loop.sock_connect(probe, info[4])
                        return True
        return False


class SoapLink:
    """Requests to one camera. Knows its credentials, how it wants them, and how far its clock is off."""

    def __init__(self, http: SoapHttp, endpoint: Endpoint, login: Login, timeout_s: float) -> None:
        self.http = http
        self.endpoint = endpoint
        self.login = login
        self.timeout_s = timeout_s
        self.clock_skew: timedelta | None = None
        self._digests: dict[str, aiohttp.DigestAuthMiddleware] = {}
        self._basic: set[str] = set()

    async def call(
        self,
        service: Service,
        url: str,
        operation: str,
        parameters: Mapping[str, Any],
        *,
        login: Login | None = None,
        reference: Sequence[Element] = (),
        wait_s: float = 0.0,
    ) -> Element:
        """The answer's element. Raises CameraError.

        `login` stands in for the camera's own and goes by WS-Security alone: one request whatever comes of it. An
        empty one asks as anybody. `wait_s` is how long the camera was asked to think before it answers.
        """
        shown = self.login if login is None else login
        with camera_errors(operation, shown):
            request = await build_request(service, url, operation, parameters, shown, self.clock_skew, reference)
            async with asyncio.timeout(self.timeout_s + wait_s):
                return parse_envelope(await self._post(url, request, shown, by_http=login is None))

    async def _post(self, url: str, request: Request, login: Login, *, by_http: bool) -> bytes:
        by_http = by_http and bool(login) and ":" not in login.username  # RFC 7616, 3.4; RFC 7617, 2
        while True:
            basic = by_http and _origin(url) in self._basic
            headers = {**request.headers, hdrs.ACCEPT_ENCODING: "identity"}
            if basic:
                headers[hdrs.AUTHORIZATION] = _basic(login)
            async with self.http.session.post(
                url,
                data=request.body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None),  # the caller's
                middlewares=(self._digest(url),) if by_http and not basic else (),
            ) as answer:
                if answer.status == 401 and by_http and not basic and self._wants_basic(url, answer):
                    self._basic.add(_origin(url))
                    continue
                return await _read(answer, login)

    def _digest(self, url: str) -> aiohttp.DigestAuthMiddleware:
        origin = _origin(url)
        if origin not in self._digests:
            self._digests[origin] = aiohttp.DigestAuthMiddleware(self.login.username, self.login.password)
        return self._digests[origin]

    def _wants_basic(self, url: str, answer: aiohttp.ClientResponse) -> bool:
        """Basic gives the password itself: only where nothing better is offered, and only to the host that was typed,
        not to one that the camera named.
        """
        offered = [one.split(" ", 1)[0].lower() for one in answer.headers.getall(hdrs.WWW_AUTHENTICATE, [])]
        same_host = (urlsplit(url).hostname or "") == self.endpoint.host.lower()
        return offered == ["basic"] and same_host


async def _read(answer: aiohttp.ClientResponse, login: Login) -> bytes:
    if answer.status in (401, 403):
        raise refused(login)
    if 300 <= answer.status < 400:
        raise _failed("The camera's ONVIF service points to another address.")
    if answer.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise ProtocolError("It is compressed though nobody asked for that.", code="xml_refused")
    data = bytearray()
    async for chunk in answer.content.iter_chunked(65536):
        data += chunk
        if len(data) > ANSWER_BYTES:
            raise ProtocolError("It is longer than any such answer is.", code="xml_refused")
    return bytes(data)


def refused(login: Login) -> CameraError:
    """The error of a camera that wants other credentials, or any."""
    if not login:
        return CameraError(
            "The camera asks for a user name and a password, and none is set.", code="credentials_missing"
        )
    return CameraError("The camera refused the user name or the password.", code="credentials_wrong")


@contextlib.contextmanager
def camera_errors(operation: str, login: Login) -> Iterator[None]:
    """Turns what the HTTP client and the reading of answers raise into CameraError with a reason code."""
    try:
        yield
    except SoapFault as fault:
        if fault.is_refusal:
            raise refused(login) from fault
        if tells(fault.reason, login.username, login.password):
            raise _failed(f"The camera answered {operation} with a fault, and with the login in it.") from None
        raise _failed(f"The camera answered {operation} with a fault: {fault.reason}") from fault
    except aiohttp.ClientConnectorDNSError as error:
        raise CameraError("The camera's host name has no address.", code="name_unresolved") from error
    except aiohttp.ClientConnectorError as error:
        raise _connect_error(error) from error
    except TimeoutError as error:
        raise CameraError("The camera does not answer in time.", code="host_unreachable") from error
    except (aiohttp.ClientError, OSError) as error:
        raise _failed("The camera broke off or does not speak HTTP where its ONVIF service should be.") from error
    except ProtocolError as error:
        raise _failed(f"The camera's answer to {operation} was refused. {error.sentence}") from error
    except ValueError as error:
        # What a camera said goes back to it: a token of control characters can stand in no request.
        raise _failed(f"The camera gave something that cannot be sent back in {operation}.") from error


def _connect_error(error: aiohttp.ClientConnectorError) -> CameraError:
    number = error.os_error.errno
    if number == errno.ECONNREFUSED:
        return CameraError("The host answers, but nothing listens on this port.", code="port_closed")
    if number == errno.EPERM:
        return CameraError(
            "The camera's address lies outside the networks this server may connect to.", code="address_refused"
        )
    if number in _UNREACHABLE:
        return CameraError("There is no way to the camera's address.", code="host_unreachable")
    return _failed("The connection to the camera's ONVIF service failed.")


def _failed(sentence: str) -> CameraError:
    return CameraError(sentence, code="onvif_failed")


def _origin(url: str) -> str:
    return urlsplit(url).netloc


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
