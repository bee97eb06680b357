"""Addresses of cameras: what a person types, and what a camera says of itself."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from mediasrv.errors import CameraError

DEVICE_PATH: Final = "/onvif/device_service"
HTTP_PORT: Final = 80
RTSP_PORT: Final = 554
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
_SECRET_NAMES: Final = frozenset({"user", "username", "pass", "password", "pwd"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a camera's device service is."""

    host: str
    port: int
    path: str = DEVICE_PATH

    @property
    def url(self) -> str:
        return f"http://{authority(self.host, self.port)}{self.path}"


def parse_address(address: str) -> Endpoint:
    """`host`, `host:port`, `[v6]:port` or `http://host[:port][/path]`.

    Raises CameraError (`address_invalid`); never with a password that was typed into the address.
    """
    url = address.strip() if "://" in address else f"http://{_bracketed(address.strip())}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or HTTP_PORT
    except ValueError as error:
        raise _invalid() from error
    if parts.scheme != "http" or not _is_host(host) or "@" in parts.netloc or parts.query or parts.fragment:
        raise _invalid()
    if not all("!" <= sign <= "~" for sign in parts.path):
        raise _invalid()
    return Endpoint(host, port, parts.path if parts.path.strip("/") else DEVICE_PATH)


def split_login(address: str) -> tuple[str, str, str]:
    """An address without the user name and password that people paste into URLs, and these two."""
    scheme, slashes, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    login, at, host = authority.rpartition("@")
    if not slashes or not at:
        return address, "", ""
    username, _, password = login.partition(":")
    return f"{scheme}://{host}{slash}{path}", unquote(username), unquote(password)


def is_rtsp_url(address: str) -> bool:
    """Whether this is an rtsp:// or rtsps:// URL with a host and nothing that looks like a login."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return False
    clean = "@" not in address.partition("?")[0] and all("!" <= sign <= "~" for sign in address)
    return parts.scheme.lower() in ("rtsp", "rtsps") and _is_host(parts.hostname or "") and clean


def authority(host: str, port: int) -> str:
    """`host:port` as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_reported(url: str, scheme: str) -> tuple[SplitResult, str, int] | None:
    """A URL that a camera reported, its host and port; None where it is none of `scheme`.

    Some cameras report a doubled port (`host:80:80`); the first counts.
    """
    try:
        parts = urlsplit(re.sub(r"^(\w+://[^/\[\]@:]+:\d+):\d+", r"\1", url.strip()))
        host, port = parts.hostname or "", parts.port or (RTSP_PORT if scheme == "rtsp" else HTTP_PORT)
    except ValueError:
        return None
    if parts.scheme.lower() != scheme or not _is_host(host) or not all("!" <= sign <= "~" for sign in url.strip()):
        return None
    return parts, host, port


def rebuild(parts: SplitResult, host: str, port: int) -> str:
    """The URL at another host and port, without credentials in authority or query."""
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name.lower() not in _SECRET_NAMES]
    # An untouched query stays as it was written: cameras compare it letter by letter.
    query = parts.query if len(kept) == len(pairs) else urlencode(kept)
    return urlunsplit((parts.scheme.lower(), authority(host, port), parts.path, query, ""))


def is_unspecified(host: str) -> bool:
    """0.0.0.0 and ::, which some cameras report as their address."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _bracketed(address: str) -> str:
    """A bare IPv6 address needs brackets before it can stand in a URL."""
    try:
        return f"[{ipaddress.IPv6Address(address)}]"
    except ValueError:
        return address


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None
    return True


def _invalid() -> CameraError:
    return CameraError(
        "The address is neither a host, such as 192.168.1.64 or 192.168.1.64:8000, nor an http:// URL.",
        code="address_invalid",
    )
