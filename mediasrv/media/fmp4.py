"""Fragmented MP4, single-track (ISO/IEC 14496-12, CMAF): init segments and fragments, written by hand.

Writing is hot: each access unit of each camera passes here once. What all samples of a fragment have
in common goes into its track fragment header, and only what differs into a column of its run, so that
a run of G.711 is a few bytes and one `pack`.

Reading understands what is written here and refuses the rest with ProtocolError; it serves playback and tests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final, NamedTuple

from mediasrv.media.access_unit import AudioFormat, Format, VideoFormat
from mediasrv.media.boxes import bad_file, box, find_box, full_box, iter_boxes
from mediasrv.media.sample_entries import read_sample_entry, sample_entry


class Samples(NamedTuple):
    """The access units of a fragment, column by column; durations and composition offsets in clock rate units."""

    payloads: Sequence[bytes]
    durations: Sequence[int]
    keyframes: Sequence[bool]
    offsets: Sequence[int]


# Sample flags (8.8.3.1): a keyframe depends on nothing; any other sample depends on others and is no sync sample.
_KEYFRAME: Final = 0x0200_0000
_NOT_KEYFRAME: Final = 0x0101_0000

_DEFAULT_BASE_IS_MOOF: Final = 0x02_0000
_TFHD_DURATION, _TFHD_SIZE, _TFHD_FLAGS = 0x08, 0x10, 0x20
_TRUN_DATA_OFFSET: Final = 0x001
_TRUN_DURATION, _TRUN_SIZE, _TRUN_FLAGS, _TRUN_OFFSET = 0x100, 0x200, 0x400, 0x800

_ONE_PIECE_BYTES: Final = 16 * 1024
_MOST_SAMPLES: Final = 10_000
"""In a fragment that is read; where all samples are alike their number alone costs nothing to claim."""

_MATRIX: Final = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000)


def fragment_pieces(sequence: int, format: Format, decode_time: int, samples: Samples) -> tuple[bytes, ...]:
    """moof+mdat (8.8.4), not yet joined: what stands before the payloads, and the payloads. Few bytes are one piece.

    There is at least one sample; `decode_time` is that of the first, in clock rate units.
    """
    payloads, durations, keyframes, offsets = samples
    count = len(payloads)
    sizes = list(map(len, payloads))
    marks = [_KEYFRAME if keyframe else _NOT_KEYFRAME for keyframe in keyframes]
    header_flags, header = _DEFAULT_BASE_IS_MOOF, [int(format.kind)]
    run_flags, columns = 0x0100_0000 | _TRUN_DATA_OFFSET, []
    for values, header_flag, run_flag in (
        (durations, _TFHD_DURATION, _TRUN_DURATION),
        (sizes, _TFHD_SIZE, _TRUN_SIZE),
        (marks, _TFHD_FLAGS, _TRUN_FLAGS),
    ):
        if values.count(values[0]) == count:
            header_flags |= header_flag
            header.append(values[0])
        else:
            run_flags |= run_flag
            columns.append(values)
    if any(offsets):
        run_flags |= _TRUN_OFFSET
        columns.append([offset & 0xFFFF_FFFF for offset in offsets])
    rows = struct.pack(f">{count * len(columns)}I", *chain.from_iterable(zip(*columns, strict=True)))
    size = sum(sizes)
    head = _movie_fragment(sequence, header_flags, header, decode_time, run_flags, count, rows)
    head += struct.pack(">I4s", 8 + size, b"mdat")
    return (head, *payloads) if size > _ONE_PIECE_BYTES else (b"".join((head, *payloads)),)


def _movie_fragment(
    sequence: int, header_flags: int, header: list[int], decode_time: int, run_flags: int, count: int, rows: bytes
) -> bytes:
    """moof with mfhd, tfhd, tfdt version 1 and trun version 1, packed in one go."""
    header_size = 12 + 4 * len(header)
    run_size = 20 + len(rows)
    track_size = 8 + header_size + 20 + run_size
    moof_size = 24 + track_size
    # fmt: off
    return struct.pack(
        f">I4sI4sIII4sI4s{1 + len(header)}II4sIQI4sIII",
        moof_size, b"moof", 16, b"mfhd", 0, sequence & 0xFFFF_FFFF,
        track_size, b"traf", header_size, b"tfhd", header_flags, *header,
        20, b"tfdt", 0x0100_0000, decode_time,
        run_size, b"trun", run_flags, count, moof_size + 8,
    ) + rows
    # fmt: on


@lru_cache(maxsize=512)
def init_segment(format: Format) -> bytes:
    """ftyp+moov (8.2.1) of one track, whose id is its TrackKind. The same bytes for equal formats."""
    brands = box(b"ftyp", b"iso6", bytes(4), b"iso6cmfcmp41")
    return brands + box(b"moov", _movie_header(format), _track(format), box(b"mvex", _track_defaults(format)))


def _movie_header(format: Format) -> bytes:
    times = struct.pack(">4I", 0, 0, 1000, 0)
    rate_and_volume = struct.pack(">IHH8x", 0x10000, 0x100, 0)
    next_track = struct.pack(">24xI", max(3, format.kind + 1))
    return full_box(b"mvhd", 0, times, rate_and_volume, _MATRIX, next_track)


def _track_defaults(format: Format) -> bytes:
    return full_box(b"trex", 0, struct.pack(">5I", format.kind, 1, 0, 0, 0))


def _track(format: Format) -> bytes:
    if isinstance(format, VideoFormat):
        volume, size = 0, struct.pack(">II", format.width << 16, format.height << 16)
        handler, media_header = b"vide", full_box(b"vmhd", 1, bytes(8))
    elif isinstance(format, AudioFormat):
        volume, size = 0x100, bytes(8)
        handler, media_header = b"soun", full_box(b"smhd", 0, bytes(4))
    else:
        volume, size = 0, bytes(8)
        handler, media_header = b"meta", full_box(b"nmhd", 0)
    identity = struct.pack(">5I8xHHHH", 0, 0, format.kind, 0, 0, 0, 0, volume, 0)
    return box(
        b"trak",
        full_box(b"tkhd", 3, identity, _MATRIX, size),
        box(
            b"mdia",
            full_box(b"mdhd", 0, struct.pack(">4IHH", 0, 0, format.clock_rate, 0, 0x55C4, 0)),
            full_box(b"hdlr", 0, bytes(4), handler, bytes(12), b"\0"),
            box(b"minf", media_header, _DATA_INFORMATION, _sample_table(format)),
        ),
    )


_DATA_INFORMATION: Final = box(b"dinf", full_box(b"dref", 0, struct.pack(">I", 1), full_box(b"url ", 1)))


def _sample_table(format: Format) -> bytes:
    return box(
        b"stbl",
        full_box(b"stsd", 0, struct.pack(">I", 1), sample_entry(format)),
        full_box(b"stts", 0, bytes(4)),
        full_box(b"stsc", 0, bytes(4)),
        full_box(b"stsz", 0, bytes(8)),
        full_box(b"stco", 0, bytes(4)),
    )


class ReadSample(NamedTuple):
    """One access unit out of a fragment; times in clock rate units from the start of the session."""

    decode_time: int
    duration: int
    keyframe: bool
    composition_offset: int
    payload: bytes


def read_samples(segment: bytes) -> list[ReadSample]:
    """The samples of one or several fragments of one track, in order. ProtocolError for what is no such thing."""
    samples: list[ReadSample] = []
    boxes = list(iter_boxes(segment))
    for (kind, moof), (next_kind, mdat) in zip(boxes[::2], boxes[1::2], strict=False):
        if kind != b"moof" or next_kind != b"mdat":
            raise bad_file()
        samples += _read_fragment(moof, mdat)
    if len(boxes) % 2:
        raise bad_file()
    return samples


def read_format(init: bytes) -> Format:
    """The format of which `init` is the init segment: the inverse of `init_segment`."""
    try:
        media = find_box(find_box(find_box(init, b"moov"), b"trak"), b"mdia")
        clock_rate = int.from_bytes(find_box(media, b"mdhd")[12:16], "big")
        table = find_box(find_box(media, b"minf"), b"stbl")
        kind, entry = next(iter_boxes(find_box(table, b"stsd")[8:]))
        return read_sample_entry(kind, entry, clock_rate)
    except (struct.error, IndexError, StopIteration) as error:
        raise bad_file() from error


def _read_fragment(moof: bytes, mdat: bytes) -> Iterator[ReadSample]:
    track = find_box(moof, b"traf")
    header, run = find_box(track, b"tfhd"), find_box(track, b"trun")
    try:
        decode_time = struct.unpack_from(">Q", find_box(track, b"tfdt"), 4)[0]
        rows = list(_read_rows(header, run))
    except struct.error as error:
        raise bad_file() from error
    position = 0
    for duration, size, mark, offset in rows:
        if position + size > len(mdat):
            raise bad_file()
        keyframe = not mark & 0x1_0000
        yield ReadSample(decode_time, duration, keyframe, offset, mdat[position : position + size])
        decode_time += duration
        position += size


def _read_rows(header: bytes, run: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Duration, size, flags and composition offset of each sample: from its own row or the header's defaults."""
    header_flags, run_flags, count = *struct.unpack_from(">I", header), *struct.unpack_from(">II", run)
    if count > _MOST_SAMPLES or count * 4 * (run_flags >> 8 & 0xF).bit_count() != len(run) - 12:
        raise bad_file()
    values = iter(struct.unpack_from(f">{(len(run) - 12) // 4}I", run, 12))
    defaults = iter(struct.unpack_from(f">{(len(header) - 8) // 4}I", header, 8))
    columns = [
        _column(values, run_flags & run_flag, defaults, header_flags & header_flag)
        for run_flag, header_flag in (
            (_TRUN_DURATION, _TFHD_DURATION),
            (_TRUN_SIZE, _TFHD_SIZE),
            (_TRUN_FLAGS, _TFHD_FLAGS),
        )
    ]
    for _ in range(count):
        duration, size, mark = (next(column) for column in columns)
        offset = next(values) if run_flags & _TRUN_OFFSET else 0
        yield duration, size, mark, offset - ((offset & 0x8000_0000) << 1)


def _column(values: Iterator[int], in_run: int, defaults: Iterator[int], in_header: int) -> Iterator[int]:
    default = next(defaults, 0) if in_header else 0
    if in_run:
        return values
    return iter(lambda: default, None)
