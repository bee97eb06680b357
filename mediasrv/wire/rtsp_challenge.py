"""The server's side of Digest and Basic authentication in RTSP (RFC 7616, RFC 7617). Pure: `now` is an argument.

A nonce belongs to one connection and expires, and its count must rise: what was overheard on one connection opens
nothing on another, and nothing twice. GStreamer and older clients know no `qop` (RFC 2069): they are taken without a
count, under a nonce of their own connection.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from mediasrv.wire.rtsp_auth import digest_hash, parse_challenges

ALGORITHMS: Final = ("SHA-256", "MD5")
"""In the order of preference; clients that take the last one they are offered know MD5 alone."""
MOST_HEADER_BYTES: Final = 2048
_COUNT: Final = re.compile(r"[0-9a-fA-F]{8}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an Authorization header claims: `parameters` of Digest, or the `password` of Basic."""

    username: str
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def is_basic(self) -> bool:
        return self.password is not None


class Challenger:
    """Makes the challenges of one connection and knows what was answered under its nonce."""

    def __init__(self, realm: str, new_nonce: Callable[[], str], nonce_s: float) -> None:
        self._realm = realm
        self._new_nonce = new_nonce
        self._nonce_s = nonce_s
        self._nonce = ""
        self._expires = 0.0
        self._count = 0

    def challenges(self, now: float, *, basic: bool, stale: bool = False) -> list[str]:
        """Values of WWW-Authenticate, one a header. `basic`: the connection is secured."""
        if now >= self._expires or stale:
            self._nonce, self._expires, self._count = self._new_nonce(), now + self._nonce_s, 0
        told = f'Digest realm="{self._realm}", nonce="{self._nonce}", qop="auth", algorithm='
        ending = ", stale=true" if stale else ""
        return [told + name + ending for name in ALGORITHMS] + [f'Basic realm="{self._realm}"'] * basic

    def check_nonce(self, credentials: Credentials, now: float) -> bool:
        """Whether these Digest credentials stand under a nonce of this connection; a count is used up by this.

        False where it is another's, has expired or was used with this count before: to be repeated with a new one.
        """
        given = credentials.parameters
        if now >= self._expires or not _same(given.get("nonce", ""), self._nonce):
            return False
        if "qop" not in given:
            return True
        count = int(given["nc"], 16) if _COUNT.fullmatch(given.get("nc", "")) else 0
        if count <= self._count:
            return False
        self._count = count
        return True

    def proves(self, credentials: Credentials, method: str, url: str, password: str) -> bool:
        """Whether they were made by somebody who knows `password`, for this request."""
        if credentials.password is not None:
            return _same(credentials.password, password)
        given = credentials.parameters
        algorithm, nonce, uri = given.get("algorithm", "MD5").upper(), given.get("nonce", ""), given.get("uri", "")
        if algorithm not in ALGORITHMS or given.get("realm") != self._realm or _path(uri) != _path(url):
            return False
        secret = digest_hash(algorithm, credentials.username, self._realm, password)
        target = digest_hash(algorithm, method, uri)
        if "qop" in given:
            if given["qop"].lower() != "auth" or not given.get("cnonce"):
                return False
            counted = (nonce, given.get("nc", ""), given["cnonce"], given["qop"])
            return _same(given.get("response", ""), digest_hash(algorithm, secret, *counted, target))
        return _same(given.get("response", ""), digest_hash(algorithm, secret, nonce, target))


def parse_authorization(header: str) -> Credentials | None:
    """None for what is neither Digest nor Basic, or makes no sense. Never raises."""
    if len(header) > MOST_HEADER_BYTES:
        return None
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "basic":
        return _parse_basic(rest.strip())
    found = next(parse_challenges([header]), None)
    if found is None or found.scheme != "digest" or not found.parameters.get("username"):
        return None
    return Credentials(found.parameters["username"], found.parameters)


def _parse_basic(encoded: str) -> Credentials | None:
    try:
        username, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return Credentials(username, password=password) if colon and username else None


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())


def _path(url: str) -> str | None:
    """Clients write the URL of the request in their own way, but not another path."""
    try:
        return urlsplit(url).path.rstrip("/")
    except ValueError:
        return None
