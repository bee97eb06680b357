"""Digest (RFC 7616 with MD5 or SHA-256, RFC 2617 as cameras do it) and Basic, the server's side, for RTSP and HTTP."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import re
import secrets
import time
from typing import Final

_PARAMETER: Final = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')
_ALGORITHMS: Final = {"digest": "MD5", "digest-sha256": "SHA-256"}
SCHEMES: Final = (*_ALGORITHMS, "basic")


class Authenticator:
    """Checks `Authorization` headers for one account. `schemes`, of SCHEMES, are offered in their order.

    A nonce is good for `nonce_life_s`; an answer made with an older one is refused as stale.
    """

    def __init__(
        self,
        realm: str,
        username: str,
        password: str,
        *,
        schemes: tuple[str, ...],
        qop: bool,
        nonce_life_s: float = math.inf,
    ) -> None:
        self._realm, self._username, self._password = realm, username, password
        self._schemes, self._qop, self._nonce_life_s = schemes, qop, nonce_life_s
        self._expired: set[str] = set()
        self._new_nonce()

    def _new_nonce(self) -> None:
        self._nonce = secrets.token_hex(16)
        self._nonce_made = time.monotonic()

    def expire_nonce(self) -> None:
        """The next Digest answer made with the old nonce is refused as stale."""
        self._expired = {self._nonce}
        self._new_nonce()

    def is_stale(self, authorization: str) -> bool:
        """Whether this was refused for its nonce alone, as far as anybody can tell."""
        return _parameters(authorization).get("nonce") in self._expired

    def challenges(self, authorization: str) -> list[str]:
        """`WWW-Authenticate` values for a request that carried `authorization` and was refused."""
        stale = ", stale=true" if self.is_stale(authorization) else ""
        qop = ', qop="auth"' if self._qop else ""
        digest = f'Digest realm="{self._realm}", nonce="{self._nonce}"{qop}{stale}'
        offers = {
            # Cameras leave MD5 unsaid.
            "digest": digest,
            "digest-sha256": f"{digest}, algorithm=SHA-256",
            "basic": f'Basic realm="{self._realm}"',
        }
        return [offers[scheme] for scheme in self._schemes]

    def accepts(self, authorization: str, method: str, uri: str) -> bool:
        scheme = authorization.partition(" ")[0].lower()
        if scheme == "basic":
            return "basic" in self._schemes and self._accepts_basic(authorization)
        if scheme != "digest":
            return False
        if time.monotonic() - self._nonce_made > self._nonce_life_s:
            self.expire_nonce()
        return self._accepts_digest(_parameters(authorization), method, uri)

    def _accepts_basic(self, authorization: str) -> bool:
        try:
            given = base64.b64decode(authorization.partition(" ")[2], validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(given, f"{self._username}:{self._password}".encode())

    def _accepts_digest(self, given: dict[str, str], method: str, uri: str) -> bool:
        algorithm = given.get("algorithm", "MD5").upper()
        if algorithm not in {_ALGORITHMS[scheme] for scheme in self._schemes if scheme in _ALGORITHMS}:
            return False
        if given.get("nonce") != self._nonce or given.get("username") != self._username or given.get("uri") != uri:
            return False
        account = _hash(algorithm, f"{self._username}:{self._realm}:{self._password}")
        request = _hash(algorithm, f"{method}:{uri}")
        middle = self._nonce
        if "qop" in given:
            middle += f":{given.get('nc')}:{given.get('cnonce')}:{given['qop']}"
        return hmac.compare_digest(given.get("response", ""), _hash(algorithm, f"{account}:{middle}:{request}"))


def _parameters(authorization: str) -> dict[str, str]:
    return {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(authorization)}


def _hash(algorithm: str, text: str) -> str:
    if algorithm == "SHA-256":
        return hashlib.sha256(text.encode()).hexdigest()
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
