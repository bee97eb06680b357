"""Small secrets at rest: sealed with AES-256-GCM under a key derived from the node's key.

sealed = version (1 byte, 1), nonce (12 random bytes), ciphertext and tag. Associated data binds the camera's id, so
that what was sealed for one camera cannot be moved to another of the attacker's making.
"""

from __future__ import annotations

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12


class Vault:
    """Seals and opens. `node_seed` is 32 bytes of the node's own and is not kept; `context` keeps uses apart."""

    def __init__(self, node_seed: bytes, context: bytes) -> None:
        self._context = context
        self._cipher = AESGCM(HKDF(SHA256(), 32, salt=None, info=context).derive(node_seed))

    def seal(self, camera_id: str, plain: bytes) -> bytes:
        """Random nonces: at most 2^32 times in the life of a key (NIST SP 800-38D, 8.3)."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, self._associated(camera_id))

    def open(self, camera_id: str, sealed: bytes) -> bytes | None:
        """None for what was altered, or sealed for another camera, by another node or for another use."""
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if sealed[:1] != _VERSION:
            return None
        try:
            return self._cipher.decrypt(nonce, body, self._associated(camera_id))
        except (InvalidTag, ValueError):
            return None

    def _associated(self, camera_id: str) -> bytes:
        return self._context + b"\x00" + camera_id.encode()
