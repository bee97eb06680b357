"""A camera's doors on the network: RTSP, RTSPS and ONVIF, open, closed, or without any answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from load_tests.camera_farm.rtsp.connection import RtspConnection

_BACKLOG: Final = 64
_PLUG_CONNECTIONS: Final = 3


@dataclass(slots=True)
class Ports:
    """0 until a door was opened for the first time, unless the port was chosen; after that it stays."""

    rtsp: int = 0
    rtsps: int = 0
    onvif: int = 0


ConnectionFactory = Callable[[set[RtspConnection], bool], RtspConnection]
"""`(connections, tls)` makes the protocol of one client."""


class CameraDoors:
    """`tls` is None where there is no RTSPS."""

    def __init__(
        self,
        host: str,
        ports: Ports,
        new_connection: ConnectionFactory,
        new_application: Callable[[], web.Application],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._host, self.ports = host, ports
        self._new_connection, self._new_application = new_connection, new_application
        self._tls = tls
        self.connections: set[RtspConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._onvif: web.AppRunner | None = None
        self._plugs: list[socket.socket] = []

    async def open(self) -> None:
        self._unplug()
        self.ports.rtsp = await self._listen(self.ports.rtsp, None)
        if self._tls is not None:
            self.ports.rtsps = await self._listen(self.ports.rtsps, self._tls)
        self._onvif = web.AppRunner(self._new_application(), access_log=None, shutdown_timeout=0.1)
        await self._onvif.setup()
        await web.TCPSite(self._onvif, self._host, self.ports.onvif, backlog=_BACKLOG).start()
        self.ports.onvif = self._onvif.addresses[0][1]

    async def _listen(self, port: int, tls: ssl.SSLContext | None) -> int:
        server = await asyncio.get_running_loop().create_server(
            lambda: self._new_connection(self.connections, tls is not None), self._host, port, backlog=_BACKLOG, ssl=tls
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Closes all doors and breaks every connection, as a pulled plug does."""
        await self._stop_listening()
        for connection in tuple(self.connections):
            connection.abort()

    async def vanish(self) -> None:
        """No answer any more, not even a refusal; whoever is connected hears nothing and is not told."""
        for connection in tuple(self.connections):
            connection.fall_silent()
        await self._stop_listening()
        for port in (self.ports.rtsp, self.ports.rtsps, self.ports.onvif):
            if port:
                self._plug(port)

    async def _stop_listening(self) -> None:
        self._unplug()
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._onvif is not None:
            await self._onvif.cleanup()
            self._onvif = None

    def _plug(self, port: int) -> None:
        """Listens and never accepts: once the short queue is full Linux drops what knocks, as at an empty address."""
        listener = socket.socket()
        self._plugs.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._host, port))
        listener.listen(0)
        for _ in range(_PLUG_CONNECTIONS):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex((self._host, port))
            self._plugs.append(client)

    def _unplug(self) -> None:
        for plug in self._plugs:
            plug.close()
        self._plugs.clear()
