"""Camera credentials at rest: sealed with AES-256-GCM under a key derived from the node's key.

sealed = version (1 byte, 1), nonce (12 random bytes), ciphertext and tag. Associated data binds the
camera's id, so that a row's credentials cannot be moved to a camera of the attacker's making.
"""

from __future__ import annotations

import json
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mediasrv.errors import CameraError

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_CONTEXT: Final = b"mediasrv camera credentials v1"


class CredentialVault:
    """Seals and opens. `node_seed` is the node key's 32-byte private seed; it is not kept."""

    def __init__(self, node_seed: bytes) -> None:
        self._cipher = AESGCM(HKDF(SHA256(), 32, salt=None, info=_CONTEXT).derive(node_seed))

    def seal(self, camera_id: str, username: str, password: str) -> bytes:
        """Random nonces: a node seals far fewer than 2^32 times, the bound of NIST SP 800-38D, 8.3."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = json.dumps([username, password]).encode()
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, _associated(camera_id))

    def open(self, camera_id: str, sealed: bytes) -> tuple[str, str]:
        """User name and password. Raises CameraError `credentials_unreadable`."""
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _VERSION:
                raise InvalidTag
            username, password = json.loads(self._cipher.decrypt(nonce, body, _associated(camera_id)))
        except (InvalidTag, ValueError) as error:
            raise CameraError(
                "The camera's stored credentials cannot be opened with this node's key: enter them again.",
                code="credentials_unreadable",
            ) from error
        return username, password


def _associated(camera_id: str) -> bytes:
    return _CONTEXT + b"\x00" + camera_id.encode()
