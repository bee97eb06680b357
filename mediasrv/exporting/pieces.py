"""Footage into MP4 files: a new one wherever players would stumble, at a hole, another session or another format."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from mediasrv.catalogue.spans import Span
from mediasrv.clock import from_us
from mediasrv.exporting.collect import Batch
from mediasrv.exporting.sealed_file import SealedWriter
from mediasrv.media.access_unit import AudioFormat, Format, TrackKind, VideoFormat
from mediasrv.media.fmp4 import ReadSample, read_samples
from mediasrv.media.mp4 import Mp4Writer
from mediasrv.storage.cuts import Cut, CutPair
from mediasrv.storage.footage import FootageIndex
from mediasrv.storage.sealing import Ended, ObjectHeader

_MOST_NAME: Final = 60
_NOT_IN_NAMES: Final = re.compile(r"[^\w-]+")


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file of the export: sealed below `path` as number `number`, or in memory as `body`."""

    name: str
    size_bytes: int
    sha256: str
    crc32: int
    number: int = 0
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class UsedObject:
    """A recording object as the manifest names it, and which of its parts are in a piece: the first and the last.

    The last three members are empty of one that was still in the spool.
    """

    header: ObjectHeader
    first: int
    last: int
    object_key: str
    version_id: str | None
    ended: Ended | None
    footer_sha256: bytes
    signature: bytes


@dataclass(slots=True)
class Piece:
    """An MP4 file: a run without a hole, of one session and one format of each track."""

    file: MadeFile
    session_id: str
    span: Span
    video: VideoFormat
    audio: AudioFormat | None
    access_units: dict[TrackKind, int]
    objects: list[UsedObject]


@dataclass(slots=True)
class _Open:
    """A piece that is being written."""

    name: str
    number: int
    mp4: Mp4Writer
    out: SealedWriter
    session_id: str
    started_us: int
    video: VideoFormat
    last: Cut
    audio: AudioFormat | None = None
    counts: dict[TrackKind, int] = field(default_factory=lambda: {TrackKind.VIDEO: 0, TrackKind.AUDIO: 0})
    objects: list[UsedObject] = field(default_factory=list)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    crc32: int = 0
    size_bytes: int = 0

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.crc32 = zlib.crc32(data, self.crc32)
        self.size_bytes += len(data)
        self.out.write(data)

    def continues(self, session_id: str, pair: CutPair, video: Format, audio: Format | None) -> bool:
        same_sound = audio is None or self.audio is None or audio == self.audio
        return self.session_id == session_id and pair.video.continues(self.last) and video == self.video and same_sound


class PieceWriter:
    """Writes the pieces of one camera after another. Blocking: one call at a time, in a thread."""

    def __init__(self, directory: Path, key: bytes, local_offset_min: int) -> None:
        self._directory = directory
        self._key = key
        self._zone = timezone(timedelta(minutes=local_offset_min))
        self._open: _Open | None = None
        self._number = 0
        self._taken: set[str] = set()
        self._made: list[Piece] = []

    def add(self, camera_name: str, batch: Batch) -> None:
        header = batch.index.header
        for pair in batch.pairs:
            video = batch.formats[pair.video.init]
            audio = None if pair.audio is None else batch.formats[pair.audio.init]
            if self._open is not None and not self._open.continues(header.session, pair, video, audio):
                self._close()
            if self._open is None:
                self._open = self._begin(camera_name, header.session, pair.video, video)
            self._append(self._open, batch, pair.video, video)
            if pair.audio is not None and isinstance(audio, AudioFormat):
                self._open.audio = audio
                self._append(self._open, batch, pair.audio, audio)
            self._open.last = pair.video

    def finish(self) -> list[Piece]:
        """The pieces of a camera, all of whose footage was added."""
        self._close()
        made, self._made = self._made, []
        return made

    def abandon(self) -> None:
        """Lets go of the file that is open."""
        if self._open is not None:
            self._open.out.close()
            self._open = None

    def _begin(self, camera_name: str, session_id: str, cut: Cut, video: Format) -> _Open:
        if not isinstance(video, VideoFormat):
            raise TypeError("a cut of the video track without a picture format")
        self._number += 1
        name = self._name(camera_name, cut.started_us)
        out = SealedWriter(self._directory / str(self._number), self._key, self._number)
        mp4 = Mp4Writer(cut.started_us)
        piece = _Open(name, self._number, mp4, out, session_id, cut.started_us, video, cut)
        piece.write(mp4.start())
        return piece

    def _append(self, piece: _Open, batch: Batch, cut: Cut, format: Format) -> None:
        samples = list(_samples(batch, cut))
        piece.write(piece.mp4.add(format, samples))
        piece.counts[cut.track] += len(samples)
        used = piece.objects[-1] if piece.objects else None
        if used is None or used.header != batch.index.header:
            piece.objects.append(_used(batch.index, cut))
        else:
            first, last = min(used.first, cut.first), max(used.last, cut.last)
            piece.objects[-1] = replace(used, first=first, last=last)

    def _close(self) -> None:
        piece, self._open = self._open, None
        if piece is None:
            return
        piece.write(piece.mp4.finish())
        piece.out.close()
        digest = piece.digest.hexdigest()
        file = MadeFile(piece.name, piece.size_bytes, digest, piece.crc32, piece.number)
        span = Span(piece.started_us, piece.last.ended_us)
        self._made.append(Piece(file, piece.session_id, span, piece.video, piece.audio, piece.counts, piece.objects))

    def _name(self, camera_name: str, started_us: int) -> str:
        stem = f"{safe_name(camera_name)}_{name_time(from_us(started_us).astimezone(self._zone))}"
        name, number = f"{stem}.mp4", 1
        while name.lower() in self._taken:
            number += 1
            name = f"{stem}-{number}.mp4"
        self._taken.add(name.lower())
        return name


def memory_file(name: str, body: bytes) -> MadeFile:
    return MadeFile(name, len(body), hashlib.sha256(body).hexdigest(), zlib.crc32(body), body=body)


def safe_name(camera_name: str) -> str:
    """Letters, digits, `_` and `-`: a file name on every system, whatever somebody called a camera."""
    name = _NOT_IN_NAMES.sub("-", unicodedata.normalize("NFC", camera_name))[:_MOST_NAME].strip("-_")
    return name or "camera"


def name_time(at: datetime) -> str:
    """`2026-11-28T10-00-00+07`: local time as a file name can hold it."""
    offset = at.strftime("%z")
    return at.strftime("%Y-%m-%dT%H-%M-%S") + (offset[:3] if offset.endswith("00") else offset)


def _used(index: FootageIndex, cut: Cut) -> UsedObject:
    # Not the index: of a day it would take a hundred megabytes.
    key = index.object_key or index.header.object_key
    made = (key, index.version_id, index.ended, index.footer_sha256, index.signature)
    return UsedObject(index.header, cut.first, cut.last, *made)


def _samples(batch: Batch, cut: Cut) -> Iterator[ReadSample]:
    entries = batch.index.entries
    for number in range(cut.first, cut.last + 1):
        descriptor = entries[number].descriptor
        if descriptor.track == cut.track and not descriptor.is_init:
            yield from read_samples(batch.parts[number])
