"""A signed counter in every access unit, so that a reader of any copy can account for each one.

Video carries it as an SEI message `user_data_unregistered` (ISO/IEC 14496-10, D.2.7; of H.265 a prefix SEI,
ISO/IEC 23008-2, D.2.7): a NAL unit before the slices. Its data, after the UUID, big-endian:

    version u8 (1), flags u8 (1 keyframe), length u8, camera (ASCII, such as `cam-1/main`),
    run (8 bytes: one start of that camera), counter u64, wall time u64 (microseconds), MAC (16 bytes)

The MAC is HMAC-SHA256, cut to 16 bytes, over the UUID and everything between it and the MAC. G.711 audio of the
load farm begins each 20 ms frame with `AUDIO_MAGIC`, the camera's number u16 and a counter u32, unsigned.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from load_tests.camera_farm.tracks.shapes import VideoCodec

COUNTER_UUID: Final = bytes.fromhex("6d73727663616d65726166726d636e74")
MAC_BYTES: Final = 16
AUDIO_MAGIC: Final = b"\xa1\xc5"

_SEI_HEADERS: Final = {VideoCodec.H264: b"\x06", VideoCodec.H265: b"\x4e\x01"}
"""NAL unit headers of an SEI. Scalable streams apart, no unit of the other codec begins like that."""
_USER_DATA_UNREGISTERED: Final = 5
_VERSION: Final = 1
_KEYFRAME: Final = 1
_AUDIO: Final = struct.Struct(">2sHI")
_TAIL: Final = struct.Struct(">QQ")
_NEEDS_ESCAPE: Final = re.compile(rb"\x00\x00(?=[\x00-\x03])")


@dataclass(frozen=True, slots=True)
class Counter:
    """What one access unit says of itself. `camera` names camera and stream: `cam-1/main`."""

    camera: str
    run: str
    counter: int
    keyframe: bool
    wall_us: int
    signed: bytes
    mac: bytes


class CounterSigner:
    """Makes the SEI of one stream in one run; the part of the MAC that never changes is computed once."""

    def __init__(self, key: bytes, camera: str, run: str, codec: VideoCodec = VideoCodec.H264) -> None:
        name = camera.encode("ascii")
        self._start = _SEI_HEADERS[codec] + bytes((_USER_DATA_UNREGISTERED,))
        self._heads = {
            keyframe: COUNTER_UUID + bytes((_VERSION, _KEYFRAME * keyframe, len(name))) + name + bytes.fromhex(run)
            for keyframe in (False, True)
        }
        self._macs = {keyframe: hmac.new(key, head, hashlib.sha256) for keyframe, head in self._heads.items()}

    def sei(self, counter: int, keyframe: bool, wall_us: int) -> bytes:
        """The whole NAL unit, emulation prevention included, without start code or length."""
        tail = _TAIL.pack(counter, wall_us)
        mac = self._macs[keyframe].copy()
        mac.update(tail)
        message = self._heads[keyframe] + tail + mac.digest()[:MAC_BYTES]
        # The size of a payload is coded in bytes of 255 and a last one below it (7.3.2.3.1).
        sizes = b"\xff" * (len(message) // 255) + bytes((len(message) % 255,))
        return self._start + _escape(sizes + message) + b"\x80"


def make_sei(key: bytes, camera: str, run: str, counter: int, keyframe: bool, wall_us: int) -> bytes:
    """One SEI NAL unit; `run` is 16 hex digits. A stream of them is cheaper from a CounterSigner."""
    return CounterSigner(key, camera, run).sei(counter, keyframe, wall_us)


def read_counters(payload: bytes) -> Counter | None:
    """The counter of an access unit of length-prefixed NAL units (4 bytes), or None where it carries none."""
    for nal in _nals(payload):
        header = next((header for header in _SEI_HEADERS.values() if nal.startswith(header)), None)
        if header:
            for kind, data in _sei_messages(_unescape(nal[len(header) :])):
                if kind == _USER_DATA_UNREGISTERED and data.startswith(COUNTER_UUID):
                    return _parse(data)
    return None


def verify(counter: Counter, key: bytes) -> bool:
    """Whether the farm that holds `key` made this counter."""
    expected = hmac.new(key, counter.signed, hashlib.sha256).digest()[:MAC_BYTES]
    return hmac.compare_digest(expected, counter.mac)


def make_audio_counter(camera_number: int, counter: int) -> bytes:
    """The first 8 bytes of a G.711 frame of the load farm."""
    return _AUDIO.pack(AUDIO_MAGIC, camera_number, counter & 0xFFFFFFFF)


def read_audio_counter(frame: bytes) -> tuple[int, int] | None:
    """(camera number, counter) of a G.711 frame, or None where it carries none."""
    if len(frame) < _AUDIO.size or not frame.startswith(AUDIO_MAGIC):
        return None
    _, camera_number, counter = _AUDIO.unpack_from(frame)
    return camera_number, counter


def _parse(data: bytes) -> Counter | None:
    at = len(COUNTER_UUID)
    name_at = at + 3
    run_at = name_at + data[at + 2] if len(data) > name_at else len(data)
    tail_at = run_at + 8
    mac_at = tail_at + _TAIL.size
    if len(data) != mac_at + MAC_BYTES or data[at] != _VERSION:
        return None
    counter, wall_us = _TAIL.unpack_from(data, tail_at)
    return Counter(
        camera=data[name_at:run_at].decode("ascii", "replace"),
        run=data[run_at:tail_at].hex(),
        counter=counter,
        keyframe=bool(data[at + 1] & _KEYFRAME),
        wall_us=wall_us,
        signed=data[:mac_at],
        mac=data[mac_at:],
    )


def _nals(payload: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        yield payload[at + 4 : at + 4 + size]
        at += 4 + size


def _sei_messages(rbsp: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    # What is left at the end is the stop bit: one byte 0x80.
    while at + 2 <= len(rbsp) and rbsp[at:] != b"\x80":
        kind, at = _sei_number(rbsp, at)
        size, at = _sei_number(rbsp, at)
        yield kind, rbsp[at : at + size]
        at += size


def _sei_number(rbsp: bytes, at: int) -> tuple[int, int]:
    value = 0
    while at < len(rbsp):
        value += rbsp[at]
        at += 1
        if rbsp[at - 1] != 255:
            break
    return value, at


def _escape(rbsp: bytes) -> bytes:
    """Emulation prevention (7.4.1.1): no start code may appear inside a NAL unit."""
    return _NEEDS_ESCAPE.sub(b"\x00\x00\x03", rbsp)


def _unescape(nal: bytes) -> bytes:
    return nal.replace(b"\x00\x00\x03", b"\x00\x00")
