"""Verifies an export by docs/format.md, section 7, alone: offline, with the standard library and `cryptography`.

    python verifier.py EXPORT [--trust FILE|FINGERPRINT]

EXPORT is the ZIP or the folder it was unpacked to. Every finding is one line. Exit status: 0 all is as the trusted node
signed it; 1 something was changed, is missing or was added; 2 it cannot be read as an export; 3 all is right, but
nobody says that the key is to be trusted. It imports nothing of mediasrv, so that an expert can read all of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import struct
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT: Final = 1
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
EXPORT_CONTEXT: Final = b"mediasrv export v1"
HEAD_CONTEXT: Final = b"mediasrv access log head v1"
VERIFIED, CHANGED, UNREADABLE, UNTRUSTED = range(4)

_PIECE_BYTES: Final = 1 << 20
_MOST_DOCUMENT_BYTES: Final = 256 << 20
_KEY: Final = re.compile(r"[0-9a-f]{64}")


class NoExport(Exception):
    """What was given cannot be read as an export at all."""


# --- the ZIP, byte by byte (docs/format.md, 7.1) -------------------------------------------------


class Member(NamedTuple):
    """A file in the ZIP; `crc32` is the ZIP's own checksum, which proves nothing."""

    name: str
    size_bytes: int
    crc32: int


_LIMIT: Final = 0xFFFFFFFF
_UTF8: Final = 0x800
_DATE: Final = 0x21
"""1980-01-01, the first a ZIP can hold: times stand in the manifest."""


def zip_records(members: Sequence[Member]) -> tuple[list[bytes], bytes]:
    """The record before each file's bytes, and what follows the last file (APPNOTE.TXT 4.3.7, 4.3.12 to 4.3.16)."""
    heads: list[bytes] = []
    directory: list[bytes] = []
    at = 0
    for name, size, crc in members:
        encoded = name.encode()
        large = size >= _LIMIT
        extra = struct.pack("<HHQQ", 1, 16, size, size) if large else b""
        shown = min(size, _LIMIT)
        version = 45 if large or at >= _LIMIT else 20
        common = (_UTF8, 0, 0, _DATE, crc, shown, shown, len(encoded))
        head = struct.pack("<4s5H3I2H", b"PK\3\4", 45 if large else 20, *common, len(extra)) + encoded + extra
        far = struct.pack("<Q", at) if at >= _LIMIT else b""
        wide = (struct.pack("<QQ", size, size) if large else b"") + far
        wide = struct.pack("<HH", 1, len(wide)) + wide if wide else b""
        place = (len(wide), 0, 0, 0, 0o100644 << 16, min(at, _LIMIT))
        entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 3 << 8 | version, version, *common, *place)
        heads.append(head)
        directory.append(entry + encoded + wide)
        at += len(head) + size
    listed = b"".join(directory)
    count, end = len(members), at + len(listed)
    last = b""
    if at >= _LIMIT or len(listed) >= _LIMIT or count >= 0xFFFF:
        last = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 3 << 8 | 45, 45, 0, 0, count, count, len(listed), at)
        last += struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    few = min(count, 0xFFFF)
    last += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, few, few, min(len(listed), _LIMIT), min(at, _LIMIT), 0)
    return heads, listed + last


# --- where the files lie -------------------------------------------------------------------------


class Package(Protocol):
    """An export as files by name."""

    def names(self) -> list[str]: ...

    def read(self, name: str) -> Iterator[bytes]: ...

    def container_findings(self) -> Iterator[str]: ...


class Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self._root).as_posix()) for path in self._root.rglob("*") if path.is_file())

    def read(self, name: str) -> Iterator[bytes]:
        with (self._root / name).open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def container_findings(self) -> Iterator[str]:
        """A folder has no bytes of its own; what is no plain file is none of the export's."""
        for path in self._root.rglob("*"):
            if path.is_symlink():
                yield f"ADDED {path.relative_to(self._root).as_posix()}: a link, no file"


class Zip:
    """Reads the files where the directory says they lie, and compares every other byte with what belongs there."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        try:
            with zipfile.ZipFile(file) as opened:
                infos = opened.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
            raise NoExport(f"the ZIP's directory cannot be read ({error})") from error
        self._members = [Member(one.orig_filename, one.file_size, one.CRC) for one in infos]
        self._heads, self._end = zip_records(self._members)
        self._starts: dict[str, tuple[int, int]] = {}
        at = 0
        for member, head in zip(self._members, self._heads, strict=True):
            self._starts.setdefault(member.name, (at + len(head), member.size_bytes))
            at += len(head) + member.size_bytes
        self._end_at = at

    def names(self) -> list[str]:
        return [member.name for member in self._members]

    def read(self, name: str) -> Iterator[bytes]:
        start, left = self._starts[name]
        self._file.seek(start)
        while left and (piece := self._file.read(min(_PIECE_BYTES, left))):
            left -= len(piece)
            yield piece

    def container_findings(self) -> Iterator[str]:
        at = 0
        for member, head in zip(self._members, self._heads, strict=True):
            self._file.seek(at)
            if self._file.read(len(head)) != head:
                yield f"CONTAINER ALTERED: the ZIP's record of {shown(member.name)} is not as it was made"
            at += len(head) + member.size_bytes
        self._file.seek(self._end_at)
        if self._file.read(len(self._end) + 1) != self._end:
            yield "CONTAINER ALTERED: the ZIP's directory is not as it was made"


# --- what is verified ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """`findings` is empty where all is as it was signed by `fingerprint`, the node's public key as hex digits."""

    findings: list[str]
    fingerprint: str
    manifest: dict[str, Any]


def verify_package(package: Package) -> Result:
    """Raises NoExport where there is not even a manifest with its signature."""
    names = package.names()
    for needed in (MANIFEST, SIGNATURE):
        if needed not in names:
            raise NoExport(f"MISSING {needed}: without it nothing can be verified")
    text, signed = _document(package, MANIFEST), _document(package, SIGNATURE)
    try:
        signature = _parse_signature(signed)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Result([f"SIGNATURE ALTERED {SIGNATURE}: it cannot be read"], _claimed_key(text, error), {})
    findings: list[str] = []
    if not _is_signed(signature.public_key, signature.signature, EXPORT_CONTEXT + text):
        sentence = "the signature was not made over it by the key that is named"
        return Result([f"MANIFEST ALTERED {MANIFEST} or {SIGNATURE}: {sentence}"], signature.public_key.hex(), {})
    manifest = json.loads(text)
    findings += _manifest_findings(manifest, signature)
    findings += _file_findings(package, manifest, names)
    findings += package.container_findings()
    return Result(findings, signature.public_key.hex(), manifest)


class _Signature(NamedTuple):
    node_id: str
    public_key: bytes
    signature: bytes


def build_signature(node_id: str, public_key: bytes, signature: bytes) -> bytes:
    """The file `manifest.sig`: there is one way only to write it (docs/format.md, 7.3)."""
    document = {"format": FORMAT, "node_id": node_id, "public_key": public_key.hex(), "signature": signature.hex()}
    return (json.dumps(document, indent=1) + "\n").encode()


def _parse_signature(data: bytes) -> _Signature:
    document = json.loads(data)
    found = _Signature(
        str(document["node_id"]), bytes.fromhex(document["public_key"]), bytes.fromhex(document["signature"])
    )
    if build_signature(*found) != data:
        raise ValueError("written in another way")
    return found


def _claimed_key(manifest: bytes, _: Exception) -> str:
    try:
        return str(json.loads(manifest)["node"]["public_key"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _manifest_findings(manifest: dict[str, Any], signature: _Signature) -> Iterator[str]:
    """What a signed manifest must say for itself; the entry of the access log is signed once more on its own."""
    if manifest.get("format") != FORMAT:
        yield f"MANIFEST UNKNOWN {MANIFEST}: it is of another format than {FORMAT}"
        return
    node = manifest["node"]
    if (node["node_id"], node["public_key"]) != (signature.node_id, signature.public_key.hex()):
        yield f"SIGNATURE ALTERED {SIGNATURE}: it names another node than the manifest does"
    logged = manifest["access_log"]
    document = str(logged["head"]["document"])
    head = json.loads(document)
    stated = (node["node_id"], logged["entry"], logged["entry_hash"])
    right = (head["node_id"], head["entry"], head["entry_hash"]) == stated
    if not right or not _is_signed(
        signature.public_key, bytes.fromhex(logged["head"]["signature"]), HEAD_CONTEXT + document.encode()
    ):
        yield "ACCESS LOG: the signed head does not belong to the entry that is named"


def _file_findings(package: Package, manifest: dict[str, Any], names: Sequence[str]) -> Iterator[str]:
    listed = {one["name"]: one for one in manifest["files"]}
    for name in names:
        if name not in listed and name not in (MANIFEST, SIGNATURE):
            yield f"ADDED {shown(name)}: the manifest does not know it"
        elif names.count(name) > 1:
            yield f"ADDED {shown(name)}: it is there more than once"
    for name, one in listed.items():
        if name not in names:
            yield f"MISSING {shown(name)}"
            continue
        digest, size = hashlib.sha256(), 0
        for piece in package.read(name):
            digest.update(piece)
            size += len(piece)
        if size != one["size_bytes"]:
            yield f"ALTERED {shown(name)}: it has {size} bytes instead of {one['size_bytes']}"
        elif digest.hexdigest() != one["sha256"]:
            yield f"ALTERED {shown(name)}: its SHA-256 is not the one that was signed"


def _document(package: Package, name: str) -> bytes:
    data, size = [], 0
    for piece in package.read(name):
        size += len(piece)
        if size > _MOST_DOCUMENT_BYTES:
            raise NoExport(f"{name} is larger than any manifest")
        data.append(piece)
    return b"".join(data)


def _is_signed(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def shown(name: str) -> str:
    """A file's name as one line of text."""
    return "".join(one if one.isprintable() else "?" for one in name)


# --- the command ---------------------------------------------------------------------------------


def read_trust(text: str) -> set[str]:
    """Fingerprints: one that is written out, or those in a file (the last word of each line)."""
    plain = re.sub(r"[\s:]", "", text).lower()
    if _KEY.fullmatch(plain):
        return {plain}
    try:
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NoExport(f"--trust {shown(text)} is neither 64 hex digits nor a file of such") from error
    found = {words[-1].lower() for line in lines if (words := line.split()) and _KEY.fullmatch(words[-1].lower())}
    if not found:
        raise NoExport(f"{shown(text)} holds no public key of 64 hex digits")
    return found


def run(export: Path, trust: str | None) -> int:
    """Prints what was found; the exit status."""
    try:
        trusted = read_trust(trust) if trust is not None else set()
        result = _verify_path(export)
    except (NoExport, OSError) as problem:
        print(f"NOT VERIFIED {export}: {problem}")
        return UNREADABLE if not str(problem).startswith("MISSING") else CHANGED
    for finding in result.findings:
        print(finding)
    if result.findings:
        print(f"NOT VERIFIED: {len(result.findings)} findings")
        return CHANGED
    if result.fingerprint not in trusted:
        told = "it is not the key that you trust" if trusted else "say with --trust which key you trust"
        print(f"UNTRUSTED KEY {result.fingerprint}: {told}; all else is right")
        return UNTRUSTED
    manifest = result.manifest
    print(
        f"VERIFIED: export {manifest['export_id']} of {manifest['made_at']}, {len(manifest['files'])} files, "
        f"signed by node {manifest['node']['node_id']}, key {result.fingerprint}"
    )
    return VERIFIED


def _verify_path(export: Path) -> Result:
    try:
        if export.is_dir():
            return verify_package(Folder(export))
        with export.open("rb") as file:
            return verify_package(Zip(file))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NoExport(f"the manifest is not that of an export ({type(error).__name__})") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("export", metavar="EXPORT", type=Path, help="the ZIP, or the folder it was unpacked to")
    parser.add_argument(
        "--trust",
        metavar="FILE|FINGERPRINT",
        help="the node's public key, 64 hex digits, or a file of such, as `mediasrv keys create` prints it",
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="verifier", description="Verifies an export, offline.")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    return run(arguments.export, arguments.trust)


if __name__ == "__main__":
    sys.exit(main())
