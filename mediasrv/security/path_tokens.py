"""Tokens that stand in the path of URLs, for players that send no cookie with each request (docs/adr/014).

A token names the credential that it was made with, sealed by the node's key for one camera: nothing is kept for it, and
nobody else can make, read or change one. It gives no right of its own. Whatever it opens, its credential must open at
that moment, so it ends with the session, the API token, the account or the grant.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import NotAuthenticated
from mediasrv.security.vault import Vault

MOST_REMEMBERED: Final = 50_000
PATTERN: Final = "[A-Za-z0-9_-]{80,300}"
_CONTEXT: Final = b"mediasrv path tokens v1"
_PLAIN: Final = struct.Struct(">Q32s")


@dataclass(slots=True)
class Opened:
    """What a token says: whose credential, which camera; when it was made, and last used (wall time, us)."""

    credential_hash: bytes
    camera_id: str
    issued_us: int
    used_us: int


class PathTokens:
    """Makes and opens tokens. One that was not used for `idle_s` opens nothing any more, nor one older than `most_s`.

    When each was used last is known to this process alone: its start counts as a use of all of them, so that viewers
    outlast a restart.
    """

    def __init__(self, node_seed: bytes, clock: Clock, idle_s: float, most_s: float) -> None:
        self._vault = Vault(node_seed, _CONTEXT)
        self._clock = clock
        self._idle_us = round(idle_s * SECOND_US)
        self._most_us = round(most_s * SECOND_US)
        self._started_us = clock.wall_us()
        self._opened: OrderedDict[str, Opened] = OrderedDict()

    def issue(self, credential_hash: bytes, camera_id: str) -> str:
        """A token for one camera, as good as the credential is."""
        sealed = self._vault.seal(camera_id, _PLAIN.pack(self._clock.wall_us(), credential_hash))
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def use(self, token: str, camera_id: str) -> bytes:
        """The hash of its credential, which must be asked for its rights. Raises NotAuthenticated. Hot."""
        now_us = self._clock.wall_us()
        opened = self._opened.get(token) or self._remember(token, self._open(token, camera_id))
        idle_us = now_us - opened.used_us
        if opened.camera_id != camera_id or idle_us > self._idle_us or now_us - opened.issued_us > self._most_us:
            raise _refused()
        opened.used_us = now_us
        self._opened.move_to_end(token)
        return opened.credential_hash

    def _remember(self, token: str, opened: Opened) -> Opened:
        self._opened[token] = opened
        while len(self._opened) > MOST_REMEMBERED:
            self._opened.popitem(last=False)
        return opened

    def _open(self, token: str, camera_id: str) -> Opened:
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise _refused() from error
        plain = self._vault.open(camera_id, sealed)
        if plain is None:
            raise _refused()
        issued_us, credential_hash = _PLAIN.unpack(plain)
        return Opened(credential_hash, camera_id, issued_us, max(issued_us, self._started_us))


def _refused() -> NotAuthenticated:
    return NotAuthenticated("This link has expired, or is for another camera: ask for a new one.")
