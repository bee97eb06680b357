"""A worker process: `python -m mediasrv.transcoding.worker JOB NICE`, with the socket to the server as file 0.

It is given units and hands out what they become, one after the other. It holds no secret, has no environment, and may
do nothing but compute (`confinement`). Whatever a bitstream does to it is done to this process alone.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from typing import Final, Protocol

import av
import av.logging

from mediasrv.errors import ProtocolError
from mediasrv.transcoding import confinement
from mediasrv.transcoding.audio import AudioTranscoder
from mediasrv.transcoding.framing import Consumed, Failed, Message, MessageReader, Ready, Unit, Wish, build_message
from mediasrv.transcoding.jpeg import JpegMaker
from mediasrv.transcoding.sound_cut import SoundCutTranscoder
from mediasrv.transcoding.video import VideoTranscoder

_RECEIVE_BYTES: Final = 256 * 1024
_MEGABYTE: Final = 1024 * 1024


class Job(Protocol):
    """What a worker does with what it is given."""

    def wish(self, message: Wish) -> None: ...

    def take(self, unit: Unit) -> Iterator[Unit]: ...

    def end(self) -> Iterator[Unit]: ...


JOBS: Final[dict[str, tuple[type[Job], int]]] = {
    "audio": (AudioTranscoder, 256 * _MEGABYTE),
    "video": (VideoTranscoder, 1024 * _MEGABYTE),
    "sound-cut": (SoundCutTranscoder, 256 * _MEGABYTE),
    "jpeg": (JpegMaker, 1024 * _MEGABYTE),
}
"""What there is to do, and how much memory it may take: pictures of 8192 lines are beyond it."""


def main(name: str, nice: str) -> None:
    """Works until the server closes the socket. Whatever goes wrong is said to the server before this ends."""
    av.logging.set_level(None)
    kind, memory_bytes = JOBS[name]
    confinement.bound(memory_bytes, int(nice))
    with socket.socket(fileno=0) as channel:
        confined = confinement.confine()
        channel.sendall(build_message(Ready(confined)))
        try:
            _work(channel, kind())
        except Exception as error:
            channel.sendall(build_message(Failed(f"{type(error).__name__}: {error}")))


def _work(channel: socket.socket, job: Job) -> None:
    reader = MessageReader()
    while data := channel.recv(_RECEIVE_BYTES):
        messages = reader.feed(data)
        # In one go: who sends each by itself wakes the server for each.
        channel.sendall(b"".join(build_message(one) for message in messages for one in _answers(job, message)))


def _answers(job: Job, message: Message) -> Iterator[Message]:
    """What comes of a message, and that it is done with. What cannot be decoded is passed over, and counted."""
    if isinstance(message, Wish):
        job.wish(message)
        return
    damaged = 0
    try:
        yield from job.take(message) if isinstance(message, Unit) else job.end()
    except (ProtocolError, av.FFmpegError):
        damaged = 1
    yield Consumed(1, damaged, time.process_time_ns() // 1000)


if __name__ == "__main__":
    main(*sys.argv[1:])
