"""The ZIP of an export: never written, but laid out over its sealed files, so that any range of it can be opened."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

from mediasrv.exporting.pieces import MadeFile
from mediasrv.exporting.sealed_file import SealedReader
from mediasrv.verifier import Member, zip_records


class Package:
    """The bytes of a finished export. `digest` names its content: the same digest, the same bytes."""

    def __init__(self, directory: Path, key: bytes, files: Sequence[MadeFile]) -> None:
        heads, end = zip_records([Member(one.name, one.size_bytes, one.crc32) for one in files])
        self._directory = directory
        self._key = key
        self._pieces: list[bytes | MadeFile] = []
        for head, file in zip(heads, files, strict=True):
            self._pieces += [head, file]
        self._pieces.append(end)
        sizes = [len(one) if isinstance(one, bytes) else one.size_bytes for one in self._pieces]
        self._starts = [0, *accumulate(sizes)]
        self.size_bytes = self._starts[-1]
        self.digest = sha256(b"".join(heads) + end + b"".join(bytes.fromhex(one.sha256) for one in files)).hexdigest()

    def open(self) -> PackageReader:
        return PackageReader(self._directory, self._key, self._pieces, self._starts)


class PackageReader:
    """One download, until it is closed. Blocking: call it in a thread."""

    def __init__(self, directory: Path, key: bytes, pieces: Sequence[bytes | MadeFile], starts: Sequence[int]) -> None:
        self._pieces = pieces
        self._starts = starts
        self._files: dict[int, SealedReader] = {}
        self._directory = directory
        self._key = key

    def read(self, start: int, most: int) -> bytes:
        """At most `most` bytes from `start` on, one at least before the end. Raises FootageRefused."""
        at = bisect_right(self._starts, start) - 1
        if at >= len(self._pieces):
            return b""
        piece, skip = self._pieces[at], start - self._starts[at]
        if isinstance(piece, bytes):
            return piece[skip : skip + most]
        if piece.body is not None:
            return piece.body[skip : skip + most]
        return self._file(piece.number).read(skip, most)

    def read_all(self) -> Iterator[bytes]:
        at = 0
        while data := self.read(at, 1 << 20):
            at += len(data)
            yield data

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _file(self, number: int) -> SealedReader:
        if number not in self._files:
            for file in self._files.values():
                file.close()
            self._files = {number: SealedReader(self._directory / str(number), self._key, number)}
        return self._files[number]
