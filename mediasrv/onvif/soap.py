"""SOAP to a camera: connections to allowed networks only, bounded in time and size, failures as CameraError."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import ModuleType, TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from mediasrv.errors import CameraError, ProtocolError
from mediasrv.onvif.address import Endpoint
from mediasrv.onvif.values import clean_text
from mediasrv.onvif.xml_guard import check_xml
from mediasrv.wire.addresses import is_allowed

ANSWER_BYTES: Final = 1024 * 1024
"""The longest answer that is read; the profiles of a large recorder take about a tenth."""
CONNECT_PROBE_S: Final = 2.0
_UNREACHABLE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EHOSTDOWN})


@dataclass(frozen=True, slots=True)
class Login:
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the SOAP library asks of an HTTP answer."""

    status_code: int
    content: bytes
    headers: Mapping[str, str]
    encoding: str = "utf-8"


class SoapLink:
    """HTTP to one camera, for the length of one reading. Use as an asynchronous context manager.

    Each connection is judged by the numeric address it is about to go to, whatever name led there.
    """

    def __init__(self, endpoint: Endpoint, login: Login, timeout_s: float, networks: tuple[str, ...]) -> None:
        self.endpoint = endpoint
        self.clock_skew: timedelta | None = None
        self._login = login
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._networks = networks
        self._services: list[Any] = []
        self._digests: dict[str, aiohttp.DigestAuthMiddleware] = {}
        self._reachable: dict[tuple[str, int], bool] = {}

    async def __aenter__(self) -> SoapLink:
        self._library = await _load_library()
        connector = aiohttp.TCPConnector(socket_factory=self._new_socket, force_close=True)
        self._http = aiohttp.ClientSession(connector=connector, timeout=self._timeout, auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for service in self._services:
            await service.close()
        await self._http.close()

    @property
    def authenticated(self) -> bool:
        return bool(self._login.username)

    async def service(self, name: str, url: str) -> SoapService:
        """A service by its name in the SOAP library (`devicemgmt`, `media`), at a URL."""
        definition = self._library.SERVICES[name]
        service = self._library.ONVIFService(
            url,
            self._login.username or None,
            self._login.password,
            f"{self._library.client._WSDL_PATH}/{definition['wsdl']}",
            no_cache=True,
            dt_diff=self.clock_skew,
            binding_name=f"{{{definition['ns']}}}{definition['binding']}",
        )
        self._services.append(service)
        service.transport = self
        await service.setup()
        return SoapService(service, self)

    async def answers(self, host: str, port: int) -> bool:
        """Whether something accepts connections there; False too where we may not connect."""
        if (host, port) not in self._reachable:
            self._reachable[host, port] = await self._connects(host, port)
        return self._reachable[host, port]

    async def _connects(self, host: str, port: int) -> bool:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # a timeout is one
            async with asyncio.timeout(CONNECT_PROBE_S):
                for info in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                    with self._new_socket(info) as probe:
                        await loop.sock_connect(probe, info[4])
                        return True
        return False

    def _new_socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, where = address
        if not is_allowed(str(where[0]), self._networks):
            raise PermissionError(errno.EPERM, "outside the allowed networks")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    # --- what the SOAP library calls as its transport -----------------------------------------------

    async def post_xml(self, address: str, envelope: Any, headers: dict[str, str]) -> _Answer:
        body = importlib.import_module("zeep.wsdl.utils").etree_to_string(envelope)
        headers = {"Content-Type": "application/soap+xml; charset=utf-8", **headers, "Accept-Encoding": "identity"}
        async with self._http.post(
            address, data=body, headers=headers, allow_redirects=False, middlewares=self._middlewares(address)
        ) as answer:
            if answer.status in (401, 403):
                raise self.refused()
            if 300 <= answer.status < 400:
                raise _failed("The camera's ONVIF service points to another address.")
            return _Answer(answer.status, check_xml(await _read_bounded(answer)), answer.headers)

    async def aclose(self) -> None:
        """Nothing: the link itself is closed by whoever opened it."""

    def _middlewares(self, address: str) -> tuple[aiohttp.DigestAuthMiddleware, ...]:
        # A colon cannot stand in a Digest user name (RFC 7616, 3.4); WS-Security may still take it.
        if not self.authenticated or ":" in self._login.username:
            return ()
        origin = urlsplit(address).netloc
        if origin not in self._digests:
            self._digests[origin] = aiohttp.DigestAuthMiddleware(self._login.username, self._login.password)
        return (self._digests[origin],)

    def refused(self) -> CameraError:
        """The error of a camera that wants other credentials, or any."""
        if not self.authenticated:
            return CameraError(
                "The camera asks for a user name and a password, and none is set.", code="credentials_missing"
            )
        return CameraError("The camera refused the user name or the password.", code="credentials_wrong")


class SoapService:
    """Operations of one service. Raises CameraError, whatever goes wrong."""

    def __init__(self, service: Any, link: SoapLink) -> None:
        self._service, self._link = service, link

    async def call(self, operation: str, parameters: dict[str, Any] | None = None, *, open_to_all: bool = False) -> Any:
        """Calls an operation; without credentials where it is `open_to_all` or where there are none."""
        prefix = "authless_" if open_to_all or not self._link.authenticated else ""
        with camera_errors(operation, self._link):
            return await getattr(self._service, prefix + operation)(parameters or {})


@contextlib.contextmanager
def camera_errors(operation: str, link: SoapLink) -> Iterator[None]:
    """Turns what the HTTP client, the SOAP library and its XML parser raise into CameraError with a reason code."""
    zeep_errors = importlib.import_module("zeep.exceptions")
    try:
        yield
    except zeep_errors.Fault as fault:
        if _is_refusal(fault):
            raise link.refused() from fault
        raise _failed(f"The camera answered {operation} with a fault: {clean_text(fault.message)}") from fault
    except aiohttp.ClientConnectorDNSError as error:
        raise CameraError("The camera's host name has no address.", code="name_unresolved") from error
    except aiohttp.ClientConnectorError as error:
        raise _connect_error(error) from error
    except TimeoutError as error:
        raise CameraError("The camera does not answer in time.", code="host_unreachable") from error
    except (aiohttp.ClientError, OSError) as error:
        raise _failed("The camera broke off or does not speak HTTP where its ONVIF service should be.") from error
    except ProtocolError as error:
        raise _failed(f"The camera's ONVIF answer was refused. {error.sentence}") from error
    except (zeep_errors.Error, ValueError, TypeError, AttributeError, LookupError) as error:
        # The library walks whatever the camera sent by its schema; nonsense surfaces as any of these.
        raise _failed(f"The camera's answer to {operation} makes no sense.") from error
    except RecursionError as error:
        raise _failed(f"The camera's answer to {operation} is nested without end.") from error


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


def _is_refusal(fault: Any) -> bool:
    """ter:NotAuthorized, or one of the many other ways in which cameras say so (ONVIF Core, 5.11.2.2)."""
    codes = " ".join(str(getattr(code, "text", code)) for code in fault.subcodes or ())
    said = f"{codes} {fault.message}".lower()
    return any(word in said for word in ("notauthorized", "not authorized", "unauthorized", "authentication"))


def _failed(sentence: str) -> CameraError:
    return CameraError(sentence, code="onvif_failed")


async def _read_bounded(answer: aiohttp.ClientResponse) -> bytes:
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise ProtocolError("It is compressed though nobody asked for that.", code="xml_refused")
    data = bytearray()
    async for chunk in answer.content.iter_chunked(65536):
        data += chunk
        if len(data) > ANSWER_BYTES:
            raise ProtocolError("It is longer than any such answer is.", code="xml_refused")
    return bytes(data)


async def _load_library() -> ModuleType:
    """The SOAP library; half a second the first time."""
    await asyncio.to_thread(importlib.import_module, "onvif.client")
    return importlib.import_module("onvif")
