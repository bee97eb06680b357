"""What the server and a worker say to each other over their socket: length-prefixed binary messages.

A message is a header of five bytes (32 bits length of the body, 8 bits kind) and a body. Sans-IO: bytes in, values out.
A worker has decoded what came from a network, so the server believes none of its messages: whatever the bytes are, the
answer is a value or a ProtocolError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from mediasrv.errors import ProtocolError

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of one message: an access unit of `pull.access_unit_bytes`, or a picture as JPEG, and room to spare."""

_HEADER: Final = struct.Struct(">IB")
_UNIT: Final = struct.Struct(">IBqq")
_CONSUMED: Final = struct.Struct(">IIQ")
_GENERATION: Final = struct.Struct(">I")
_KEYFRAME: Final = 1
_PRIMING: Final = 2
_MOST_REASON_BYTES: Final = 1000


class Kind(IntEnum):
    READY = 1
    WISH = 2
    UNIT = 3
    END = 4
    CONSUMED = 5
    FAILED = 6


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker: it can be given work. `confined` says that the system keeps it from files and networks."""

    confined: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """Server: what the units that follow are, and what they are to become (`wishes`), as JSON.

    Units of another generation than the last have nothing to do with those before them.
    """

    generation: int
    document: bytes


@dataclass(frozen=True, slots=True)
class Unit:
    """Both: an access unit. `priming` asks for it to be decoded only, so that those behind it can be."""

    generation: int
    dts: int
    pts: int
    keyframe: bool
    payload: bytes
    priming: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """Server: no more units of this generation; what is still inside is wanted."""

    generation: int


@dataclass(frozen=True, slots=True)
class Consumed:
    """Worker: so many units (or ends) are done with, so many of them made no sense; its CPU time so far."""

    units: int
    damaged: int
    cpu_us: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker: why it ends, for the log."""

    sentence: str


Message = Ready | Wish | Unit | End | Consumed | Failed


def build_message(message: Message) -> bytes:
    """The bytes of a message, header and all."""
    kind, body = _build_body(message)
    return _HEADER.pack(len(body), kind) + body


def _build_body(message: Message) -> tuple[Kind, bytes]:
    match message:
        case Unit(generation, dts, pts, keyframe, payload, priming):
            flags = _KEYFRAME * keyframe | _PRIMING * priming
            return Kind.UNIT, _UNIT.pack(generation, flags, dts, pts) + payload
        case Consumed(units, damaged, cpu_us):
            return Kind.CONSUMED, _CONSUMED.pack(units, damaged, cpu_us)
        case Wish(generation, document):
            return Kind.WISH, _GENERATION.pack(generation) + document
        case End(generation):
            return Kind.END, _GENERATION.pack(generation)
        case Ready(confined):
            return Kind.READY, bytes((confined,))
        case Failed(sentence):
            return Kind.FAILED, sentence.encode("utf-8", "replace")[:_MOST_REASON_BYTES]


class MessageReader:
    """Bytes into messages. At most `most_bytes` of an unfinished message are kept."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now. Raises ProtocolError; nothing can be read behind one."""
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        at = 0
        while len(buffer) - at >= _HEADER.size:
            size, kind = _HEADER.unpack_from(buffer, at)
            if size > self._most_bytes:
                raise _broken()
            end = at + _HEADER.size + size
            if len(buffer) < end:
                break
            messages.append(_parse_body(kind, bytes(memoryview(buffer)[at + _HEADER.size : end])))
            at = end
        del buffer[:at]
        return messages


def _parse_body(kind: int, body: bytes) -> Message:
    try:
        match kind:
            case Kind.UNIT:
                generation, flags, dts, pts = _UNIT.unpack_from(body)
                payload = body[_UNIT.size :]
                return Unit(generation, dts, pts, bool(flags & _KEYFRAME), payload, bool(flags & _PRIMING))
            case Kind.CONSUMED:
                return Consumed(*_CONSUMED.unpack(body))
            case Kind.WISH:
                return Wish(_GENERATION.unpack_from(body)[0], body[_GENERATION.size :])
            case Kind.END:
                return End(_GENERATION.unpack(body)[0])
            case Kind.READY:
                return Ready(body == b"\x01")
            case Kind.FAILED:
                return Failed(body[:_MOST_REASON_BYTES].decode("utf-8", "replace"))
    except struct.error as error:
        raise _broken() from error
    raise _broken()


def _broken() -> ProtocolError:
    return ProtocolError("A worker process sends what is no message.", code="worker_broken")
