"""The bytes of one accepted connection, plain or TLS: opened, written, and ended one way or another."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final

READ_BYTES: Final = 16_384
_CLOSE_S: Final = 1.0


class Link:
    """Owns the socket. `open` first; `abort` may be called at any moment, by whoever watches over it."""

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.writer: asyncio.StreamWriter | None = None
        """None before it is open and after it has ended."""
        self._sock = sock
        self._tls = tls
        self._reader: asyncio.StreamReader | None = None
        self._opener: asyncio.Task[None] | None = None
        self._aborted = False

    @property
    def is_tls(self) -> bool:
        return self._tls is not None

    @property
    def is_open(self) -> bool:
        return self.writer is not None and not self.writer.is_closing()

    async def open(self, handshake_s: float) -> None:
        """Raises OSError where the peer leaves, breaks TLS or takes longer than `handshake_s` for it."""
        if self._aborted:
            raise ConnectionAbortedError("ended before it began")
        self._opener = asyncio.current_task()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(READ_BYTES, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, self._sock, ssl=self._tls, ssl_handshake_timeout=handshake_s if self._tls else None
        )
        self._reader, self.writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def read(self) -> bytes:
        """What comes next; empty at the end."""
        return await self._reader.read(READ_BYTES) if self._reader is not None else b""

    def send(self, data: bytes) -> None:
        if self.writer is not None and not self.writer.is_closing():
            self.writer.write(data)

    async def drain(self) -> None:
        """Waits for a peer that does not read; lets others have their turn in any case."""
        if self.writer is not None:
            await self.writer.drain()
        await asyncio.sleep(0)

    def dismiss(self, last_words: bytes) -> None:
        """Says that and ends, without waiting for a peer that may not read it."""
        if self.writer is None or self.writer.is_closing():
            self.abort()
        else:
            self.writer.write(last_words)
            self.writer.close()

    def abort(self) -> None:
        """Ends it at once; what waits is dropped."""
        self._aborted = True
        if self.writer is not None:
            self.writer.transport.abort()
        elif self._opener is not None:
            self._opener.cancel()  # in the midst of a TLS handshake

    async def close(self) -> None:
        """Lets what was written leave, but not for long."""
        writer, self.writer = self.writer, None
        if writer is None:
            self._sock.close()
            return
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await writer.wait_closed()
        writer.transport.abort()
