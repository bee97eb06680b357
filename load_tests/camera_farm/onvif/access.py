"""Who may call a camera: WS-Security UsernameToken (ONVIF Core, 5.9.4) or HTTP authentication."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Final
from xml.etree.ElementTree import Element

from aiohttp import web

from load_tests.camera_farm.http_auth import SCHEMES, Authenticator
from load_tests.camera_farm.onvif.face import OnvifCamera
from load_tests.camera_farm.onvif.soap import WSSE, WSU, SoapFault

AUTH_KINDS: Final = ("wsse", "wsse-text", *SCHEMES, "none")
PRE_AUTH: Final = frozenset({"GetSystemDateAndTime", "GetCapabilities", "GetServices", "GetServiceCapabilities"})
"""Operations of access class PRE_AUTH are open to all (ONVIF Core, 5.9.4.3)."""
_CLOCK_TOLERANCE: Final = timedelta(seconds=60)


class Access:
    def __init__(self, camera: OnvifCamera) -> None:
        self._camera, self._face = camera, camera.face
        self._kinds = camera.face.auth_kinds
        schemes = tuple(kind for kind in self._kinds if kind in SCHEMES)
        self._auth = self._authenticator(schemes) if schemes else None
        # A snapshot is fetched without SOAP: what has no HTTP authentication otherwise has Digest there.
        self._snapshot_auth = self._auth or self._authenticator(("digest",))

    def _authenticator(self, schemes: tuple[str, ...]) -> Authenticator:
        return Authenticator("camera-farm", self._face.username, self._face.password, schemes=schemes, qop=True)

    def check_call(self, request: web.Request, envelope: Element) -> None:
        """Raises SoapFault for a caller who may not."""
        if "none" in self._kinds:
            return
        authorization = request.headers.get("Authorization", "")
        token = envelope.find(f".//{{{WSSE}}}UsernameToken")
        if not self._camera.troubles.wrong_password:
            if self._auth is not None and self._auth.accepts(authorization, request.method, request.path_qs):
                return
            if token is not None and self._token_accepted(token):
                return
        self._count("onvif", self._auth, authorization, shown=token is not None)
        if self._auth is not None:
            challenges = self._auth.challenges(authorization)
            raise SoapFault(401, "ter:NotAuthorized", "Sender not authorized", challenges)
        raise SoapFault(400, "ter:NotAuthorized", "Sender not authorized")

    def snapshot_challenges(self, request: web.Request) -> list[str]:
        """Empty for a caller who may have a snapshot."""
        authorization = request.headers.get("Authorization", "")
        allowed = self._snapshot_auth.accepts(authorization, request.method, request.path_qs)
        if "none" in self._kinds or (allowed and not self._camera.troubles.wrong_password):
            return []
        self._count("snapshot", self._snapshot_auth, authorization, shown=False)
        return self._snapshot_auth.challenges(authorization)

    def _count(self, door: str, auth: Authenticator | None, authorization: str, *, shown: bool) -> None:
        if shown or (authorization and not (auth and auth.is_stale(authorization))):
            self._camera.counts.auth_failures[door] += 1

    def _token_accepted(self, token: Element) -> bool:
        if token.findtext(f"{{{WSSE}}}Username") != self._face.username:
            return False
        password = token.find(f"{{{WSSE}}}Password")
        given = (password.text or "").strip() if password is not None else ""
        if password is not None and password.get("Type", "").endswith("#PasswordText"):
            return "wsse-text" in self._kinds and hmac.compare_digest(given, self._face.password)
        return "wsse" in self._kinds and self._digest_accepted(token, given)

    def _digest_accepted(self, token: Element, given: str) -> bool:
        """UsernameToken Profile 1.0: digest = SHA-1 of nonce, created and password, by the camera's own clock."""
        created = token.findtext(f"{{{WSU}}}Created") or ""
        try:
            nonce = base64.b64decode(token.findtext(f"{{{WSSE}}}Nonce") or "", validate=True)
            skew = datetime.fromisoformat(created) - self._camera.now()
        except (binascii.Error, ValueError, TypeError):
            return False
        plain = nonce + created.encode() + self._face.password.encode()
        digest = base64.b64encode(hashlib.sha1(plain, usedforsecurity=False).digest()).decode()
        return abs(skew) <= _CLOCK_TOLERANCE and hmac.compare_digest(given, digest)
