"""Ordinary MP4 (ISO/IEC 14496-12), several tracks: what players of every kind open, seek in and know the length of.

Written as it comes: an mdat box for each run of samples, and at the end moov, which says where each sample lies.
Samples are copied, never touched. Times start at 0 with the earliest sample of any track; a track that begins later
begins with an empty edit.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from mediasrv.clock import SECOND_US
from mediasrv.media.access_unit import AudioFormat, Codec, Format, TrackKind, VideoFormat
from mediasrv.media.boxes import box, full_box
from mediasrv.media.fmp4 import ReadSample
from mediasrv.media.sample_entries import sample_entry

_TIMESCALE: Final = 90_000
"""Of the movie: fine enough for edits of video and audio alike."""

_SINCE_1904_S: Final = 2_082_844_800
_VERSION_1: Final = 0x0100_0000
_MATRIX: Final = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000)
_DATA_INFORMATION: Final = box(b"dinf", full_box(b"dref", 0, struct.pack(">I", 1), full_box(b"url ", 1)))
_FAR: Final = 1 << 32
_CHANNEL_LAYOUTS: Final = {1: 100 << 16 | 1, 2: 101 << 16 | 2}
"""Mono and stereo (QuickTime File Format, audio channel layout atom)."""


class Mp4Writer:
    """One file. `start`, `add` and `finish` give the bytes that come next."""

    def __init__(self, created_us: int) -> None:
        self._created_s = created_us // SECOND_US + _SINCE_1904_S
        self._tracks: dict[TrackKind, _Track] = {}
        self._size_bytes = 0

    def start(self) -> bytes:
        return self._count(box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomiso2mp41"))

    def add(self, format: Format, samples: Sequence[ReadSample]) -> bytes:
        """An mdat box with the samples that follow next in a track. A track keeps the format that it begins with."""
        track = self._tracks.setdefault(format.kind, _Track(format))
        track.add(self._size_bytes + 8, samples)
        return self._count(box(b"mdat", *(one.payload for one in samples)))

    def finish(self) -> bytes:
        origin_s = min(track.start_s for track in self._tracks.values())
        tracks = [self._tracks[kind] for kind in sorted(self._tracks)]
        whole = max(track.delay(origin_s) + track.shown for track in tracks)
        times = struct.pack(">QQIQ", self._created_s, self._created_s, _TIMESCALE, whole)
        rest = (struct.pack(">IHH8x", 0x10000, 0x100, 0), _MATRIX, struct.pack(">24xI", max(self._tracks) + 1))
        header = full_box(b"mvhd", _VERSION_1, times, *rest)
        return self._count(box(b"moov", header, *(track.build(self._created_s, origin_s) for track in tracks)))

    def _count(self, data: bytes) -> bytes:
        self._size_bytes += len(data)
        return data


class _Track:
    """What moov says of a track, column by column: an hour has some hundred thousand samples."""

    def __init__(self, format: Format) -> None:
        self._format = format
        self._sizes = array("I")
        self._offsets = array("i")
        self._sync = array("I")
        self._deltas: list[list[int]] = []
        self._chunks: list[tuple[int, int]] = []
        self._first_dts = 0
        self._dts = 0
        self._last_duration = 0

    @property
    def start_s(self) -> float:
        """When its first sample is shown or heard."""
        return (self._first_dts + self._begins) / self._format.clock_rate

    @property
    def _begins(self) -> int:
        return max(0, self._offsets[0])

    @property
    def duration(self) -> int:
        """In clock rate units: the last sample lasts as long as it was said to."""
        return self._dts - self._first_dts + max(1, self._last_duration)

    @property
    def shown(self) -> int:
        """The same in the movie's time scale."""
        return self.duration * _TIMESCALE // self._format.clock_rate

    def delay(self, origin_s: float) -> int:
        return round((self.start_s - origin_s) * _TIMESCALE)

    def add(self, at: int, samples: Sequence[ReadSample]) -> None:
        """`at` is where the first sample's bytes lie in the file."""
        self._chunks.append((at, len(samples)))
        for one in samples:
            if self._sizes:
                # Neighbouring objects may disagree by less than a seam: times never run back.
                dts = max(one.decode_time, self._dts + 1)
                self._lasts(dts - self._dts)
                self._dts = dts
            else:
                self._first_dts = self._dts = one.decode_time
            self._last_duration = one.duration
            self._sizes.append(len(one.payload))
            self._offsets.append(one.composition_offset)
            if one.keyframe:
                self._sync.append(len(self._sizes))

    def _lasts(self, delta: int) -> None:
        if self._deltas and self._deltas[-1][1] == delta:
            self._deltas[-1][0] += 1
        else:
            self._deltas.append([1, delta])

    def build(self, created_s: int, origin_s: float) -> bytes:
        self._lasts(max(1, self._last_duration))
        format = self._format
        if isinstance(format, VideoFormat):
            volume, shape = 0, struct.pack(">II", format.width << 16, format.height << 16)
            handler, media_header = b"vide", full_box(b"vmhd", 1, bytes(8))
        else:
            volume, shape = 0x100, bytes(8)
            handler, media_header = b"soun", full_box(b"smhd", 0, bytes(4))
        whole = self.delay(origin_s) + self.shown
        identity = struct.pack(">QQIIQ8xHHHH", created_s, created_s, format.kind, 0, whole, 0, 0, volume, 0)
        media = struct.pack(">QQIQHH", created_s, created_s, format.clock_rate, self.duration, 0x55C4, 0)
        return box(
            b"trak",
            full_box(b"tkhd", _VERSION_1 | 3, identity, _MATRIX, shape),
            box(b"edts", self._edits(origin_s)),
            box(
                b"mdia",
                full_box(b"mdhd", _VERSION_1, media),
                full_box(b"hdlr", 0, bytes(4), handler, bytes(12), b"\0"),
                box(b"minf", media_header, _DATA_INFORMATION, self._table()),
            ),
        )

    def _edits(self, origin_s: float) -> bytes:
        """Nothing until the track begins, then all of it from the first keyframe's turn on (8.6.6).

        Pictures that are shown before it need others that are not in the file.
        """
        edits = [(self.shown, self._begins)]
        if self.delay(origin_s):
            edits.insert(0, (self.delay(origin_s), -1))
        rows = b"".join(struct.pack(">QqHH", length, at, 1, 0) for length, at in edits)
        return full_box(b"elst", _VERSION_1, struct.pack(">I", len(edits)), rows)

    def _table(self) -> bytes:
        boxes = [
            full_box(b"stsd", 0, struct.pack(">I", 1), _entry(self._format)),
            full_box(b"stts", 0, _rows(self._deltas)),
        ]
        if any(self._offsets):
            version = _VERSION_1 if min(self._offsets) < 0 else 0
            boxes.append(full_box(b"ctts", version, _rows(_runs(one & 0xFFFF_FFFF for one in self._offsets))))
        if not isinstance(self._format, AudioFormat) and len(self._sync) < len(self._sizes):
            boxes.append(full_box(b"stss", 0, struct.pack(">I", len(self._sync)), _big_endian(self._sync)))
        boxes += [
            full_box(b"stsc", 0, _rows(self._chunk_runs())),
            full_box(b"stsz", 0, struct.pack(">II", 0, len(self._sizes)), _big_endian(self._sizes)),
            self._chunk_offsets(),
        ]
        return box(b"stbl", *boxes)

    def _chunk_runs(self) -> list[tuple[int, int, int]]:
        """First chunk, samples a chunk, sample description: a row where the number of samples changes (8.7.4)."""
        rows: list[tuple[int, int, int]] = []
        for number, (_, count) in enumerate(self._chunks, 1):
            if not rows or rows[-1][1] != count:
                rows.append((number, count, 1))
        return rows

    def _chunk_offsets(self) -> bytes:
        places = [at for at, _ in self._chunks]
        kind, letter = (b"stco", "I") if places[-1] < _FAR else (b"co64", "Q")
        return full_box(kind, 0, struct.pack(f">I{len(places)}{letter}", len(places), *places))


def _entry(format: Format) -> bytes:
    """G.711 in a file says nothing of its channels, unless QuickTime's `chan` does: players would have to guess."""
    entry = sample_entry(format)
    if not isinstance(format, AudioFormat) or format.codec not in (Codec.PCMA, Codec.PCMU):
        return entry
    layout = full_box(b"chan", 0, struct.pack(">III", _CHANNEL_LAYOUTS[format.channels], 0, 0))
    return box(entry[4:8], entry[8:], layout)


def _runs(values: Iterable[int]) -> list[list[int]]:
    rows: list[list[int]] = []
    for value in values:
        if rows and rows[-1][1] == value:
            rows[-1][0] += 1
        else:
            rows.append([1, value])
    return rows


def _rows(rows: Sequence[Sequence[int]]) -> bytes:
    return struct.pack(">I", len(rows)) + b"".join(struct.pack(f">{len(row)}I", *row) for row in rows)


def _big_endian(values: array[int]) -> bytes:
    return struct.pack(f">{len(values)}I", *values)
