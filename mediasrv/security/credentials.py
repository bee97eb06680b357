"""Camera credentials at rest, sealed by the node's key (`vault`)."""

from __future__ import annotations

import json
from typing import Final

from mediasrv.errors import CameraError
from mediasrv.security.vault import Vault

_CONTEXT: Final = b"mediasrv camera credentials v1"


class CredentialVault:
    """Seals and opens. `node_seed` is the node key's 32-byte private seed; it is not kept."""

    def __init__(self, node_seed: bytes) -> None:
        self._vault = Vault(node_seed, _CONTEXT)

    def seal(self, camera_id: str, username: str, password: str) -> bytes:
        return self._vault.seal(camera_id, json.dumps([username, password]).encode())

    def open(self, camera_id: str, sealed: bytes) -> tuple[str, str]:
        """User name and password. Raises CameraError `credentials_unreadable`."""
        plain = self._vault.open(camera_id, sealed)
        if plain is None:
            raise CameraError(
                "The camera's stored credentials cannot be opened with this node's key: enter them again.",
                code="credentials_unreadable",
            )
        username, password = json.loads(plain)
        return username, password
