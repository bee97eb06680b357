"""The STUN and TURN servers that viewers are told of, as Link headers (RFC 9725, 4.6)."""

from __future__ import annotations

from collections.abc import Sequence

from mediasrv.clock import Clock
from mediasrv.security.turn import turn_credentials
from mediasrv.settings import WebRtcSettings, read_secret


class IceServers:
    def __init__(self, settings: WebRtcSettings, clock: Clock) -> None:
        """Reads the TURN secret. Raises SettingsError."""
        self._settings = settings
        self._clock = clock
        self._secret = read_secret(settings.turn_secret) if settings.turn_secret else ""

    def links(self, principal_id: str) -> Sequence[str]:
        """Values of Link headers, with TURN credentials of their own for this principal."""
        settings = self._settings
        links = [f'<{uri}>; rel="ice-server"' for uri in settings.stun]
        if settings.turn:
            expires_s = self._clock.wall_us() // 1_000_000 + settings.turn_ttl_s
            username, password = turn_credentials(self._secret, principal_id, expires_s)
            login = f'username="{username}"; credential="{password}"; credential-type="password"'
            links += [f'<{uri}>; rel="ice-server"; {login}' for uri in settings.turn]
        return links
