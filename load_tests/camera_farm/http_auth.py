"""Digest (RFC 2617 with MD5, as cameras do it) and Basic authentication, the server's side, for RTSP and HTTP."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import Final

_PARAMETER: Final = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')


class Authenticator:
    """Checks `Authorization` headers for one account. `schemes` are offered in their order: `digest`, `basic`."""

    def __init__(self, realm: str, username: str, password: str, *, schemes: tuple[str, ...], qop: bool) -> None:
        self._realm, self._username, self._password = realm, username, password
        self._schemes, self._qop = schemes, qop
        self._nonce = secrets.token_hex(16)
        self._expired: set[str] = set()

    def expire_nonce(self) -> None:
        """The next Digest answer made with the old nonce is refused as stale."""
        self._expired = {self._nonce}
        self._nonce = secrets.token_hex(16)

    def challenges(self, authorization: str) -> list[str]:
        """`WWW-Authenticate` values for a request that carried `authorization` and was refused."""
        stale = ", stale=true" if _parameters(authorization).get("nonce") in self._expired else ""
        qop = ', qop="auth"' if self._qop else ""
        offers = {
            "digest": f'Digest realm="{self._realm}", nonce="{self._nonce}"{qop}{stale}',
            "basic": f'Basic realm="{self._realm}"',
        }
        return [offers[scheme] for scheme in self._schemes]

    def accepts(self, authorization: str, method: str, uri: str) -> bool:
        scheme = authorization.partition(" ")[0].lower()
        if scheme not in self._schemes:
            return False
        if scheme == "basic":
            return self._accepts_basic(authorization)
        return self._accepts_digest(_parameters(authorization), method, uri)

    def _accepts_basic(self, authorization: str) -> bool:
        try:
            given = base64.b64decode(authorization.partition(" ")[2], validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(given, f"{self._username}:{self._password}".encode())

    def _accepts_digest(self, given: dict[str, str], method: str, uri: str) -> bool:
        if given.get("nonce") != self._nonce or given.get("username") != self._username or given.get("uri") != uri:
            return False
        account = _md5(f"{self._username}:{self._realm}:{self._password}")
        request = _md5(f"{method}:{uri}")
        middle = self._nonce
        if "qop" in given:
            middle += f":{given.get('nc')}:{given.get('cnonce')}:{given['qop']}"
        return hmac.compare_digest(given.get("response", ""), _md5(f"{account}:{middle}:{request}"))


def _parameters(authorization: str) -> dict[str, str]:
    return {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(authorization)}


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
