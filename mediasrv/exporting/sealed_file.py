"""A file that is sealed while it is written, and opened by range: the key is in memory alone.

Chunks of `CHUNK_BYTES`, each AES-256-GCM under a nonce of file and chunk number: a job has one key, and never writes a
chunk twice. When the process ends nobody can open what is left on the disk.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mediasrv.errors import FootageRefused

CHUNK_BYTES: Final = 1 << 20
TAG_BYTES: Final = 16


def _nonce(number: int, chunk: int) -> bytes:
    return number.to_bytes(4, "big") + chunk.to_bytes(8, "big")


class SealedWriter:
    """Appends to one file of a job; `number` is never used twice under one key. Blocking: call it in a thread."""

    def __init__(self, path: Path, key: bytes, number: int) -> None:
        self._cipher = AESGCM(key)
        self._number = number
        self._chunk = 0
        self._waiting = bytearray()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def write(self, data: bytes) -> None:
        self._waiting += data
        whole = len(self._waiting) - len(self._waiting) % CHUNK_BYTES
        if not whole:
            return
        with memoryview(self._waiting) as waiting:
            for at in range(0, whole, CHUNK_BYTES):
                self._seal(waiting[at : at + CHUNK_BYTES])
        del self._waiting[:whole]

    def close(self) -> None:
        if not self._file.closed:
            if self._waiting:
                self._seal(self._waiting)
                self._waiting = bytearray()
            self._file.close()

    def _seal(self, plain: memoryview | bytearray) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, self._chunk), plain, None))
        self._chunk += 1


class SealedReader:
    """Reads a closed file by range. Blocking: call it in a thread."""

    def __init__(self, path: Path, key: bytes, number: int) -> None:
        self._cipher = AESGCM(key)
        self._number = number
        self._file = path.open("rb", buffering=0)

    def read(self, start: int, length: int) -> bytes:
        """At most `length` plain bytes, up to the end of the chunk in which `start` lies. Raises FootageRefused."""
        chunk, skip = divmod(start, CHUNK_BYTES)
        sealed = os.pread(self._file.fileno(), CHUNK_BYTES + TAG_BYTES, chunk * (CHUNK_BYTES + TAG_BYTES))
        try:
            plain = self._cipher.decrypt(_nonce(self._number, chunk), sealed, None)
        except InvalidTag as error:
            raise FootageRefused("The export was altered where it is kept.", code="part_not_opened") from error
        return plain[skip : skip + length]

    def close(self) -> None:
        self._file.close()
