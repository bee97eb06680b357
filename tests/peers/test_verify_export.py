"""The verifier against an export that was made once: whatever was done to it is found, and named in one line."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv import verifier
from mediasrv.cli import main as mediasrv
from mediasrv.storage.keys import NodeKey
from mediasrv.verifier import (
    CHANGED,
    EXPORT_CONTEXT,
    HEAD_CONTEXT,
    UNREADABLE,
    UNTRUSTED,
    VERIFIED,
    Folder,
    Member,
    NoExport,
    Zip,
    build_signature,
    verify_package,
    zip_records,
)

VECTORS = Path(__file__).parent / "format"
EXPORT, KEY_FILE = VECTORS / "export-v1.zip", VECTORS / "export-v1.key"
BODY = EXPORT.read_bytes()
KEY = KEY_FILE.read_text().split()[-1]


def files_of(body: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(body)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


FILES = files_of(BODY)


def build_zip(files: dict[str, bytes]) -> bytes:
    members = [Member(name, len(body), zlib.crc32(body)) for name, body in files.items()]
    heads, end = zip_records(members)
    return b"".join(head + body for head, body in zip(heads, files.values(), strict=True)) + end


def findings(body: bytes) -> list[str]:
    try:
        return verify_package(Zip(BytesIO(body))).findings
    except (NoExport, KeyError, TypeError, ValueError) as error:
        return [str(error)]


def places() -> Iterator[tuple[str, range]]:
    """Where each file's bytes lie in the ZIP; what is between them is the ZIP's own."""
    members = [Member(name, len(body), 0) for name, body in FILES.items()]
    at = 0
    for member, head in zip(members, zip_records(members)[0], strict=True):
        at += len(head)
        yield member.name, range(at, at + member.size_bytes)
        at += member.size_bytes


PLACES = dict(places())


def test_the_export_that_was_made_once_verifies() -> None:
    assert findings(BODY) == []
    assert build_zip(FILES) == BODY


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_in_a_file_names_the_file(name: str) -> None:
    place = PLACES[name]
    step = 1 if name == "manifest.sig" else 97
    for at in {*place[::step], place[-1]}:
        body = bytearray(BODY)
        body[at] ^= 1 << at % 8
        found = findings(bytes(body))
        assert found, at
        assert name in found[0], (at, found)


def test_a_changed_byte_between_the_files_is_found_too() -> None:
    inside = {at for place in PLACES.values() for at in place}
    between = [at for at in range(len(BODY)) if at not in inside]
    assert len(between) > 500
    for at in between:
        body = bytearray(BODY)
        body[at] ^= 1 << at % 8
        assert findings(bytes(body)), at


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_no_byte_of_it_can_be_another(at: int, change: int) -> None:
    body = bytearray(BODY)
    body[at] ^= change
    assert findings(bytes(body))


@given(st.integers(0, len(BODY) - 1))
def test_no_cut_export_passes(length: int) -> None:
    assert findings(BODY[:length])


@pytest.mark.parametrize("body", [BODY + b"\0", b"\0" + BODY, BODY + BODY])
def test_nothing_can_be_put_before_or_behind_it(body: bytes) -> None:
    assert findings(body)


def test_a_missing_and_an_added_file_are_named() -> None:
    movie = next(name for name in FILES if name.endswith(".mp4"))
    assert findings(build_zip({name: body for name, body in FILES.items() if name != movie})) == [f"MISSING {movie}"]
    added = findings(build_zip(FILES | {"extra.mp4": b"x"}))
    assert added == ["ADDED extra.mp4: the manifest does not know it"]


def test_a_file_under_the_name_of_another_is_found() -> None:
    first, second = [name for name in FILES if name.endswith(".mp4")]
    swapped = findings(build_zip(FILES | {first: FILES[second], second: FILES[first]}))
    assert [one.split(":")[0] for one in swapped] == [f"ALTERED {first}", f"ALTERED {second}"]


def forged(change: Callable[[dict[str, Any]], None], key: NodeKey) -> dict[str, bytes]:
    """The export with another manifest, properly signed by a key of the forger's own."""
    manifest = json.loads(FILES["manifest.json"])
    manifest["node"]["public_key"] = key.public.hex()
    head = manifest["access_log"]["head"]
    head["signature"] = key.sign(HEAD_CONTEXT + head["document"].encode()).hex()
    change(manifest)
    text = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
    signature = build_signature(manifest["node"]["node_id"], key.public, key.sign(EXPORT_CONTEXT + text))
    return FILES | {"manifest.json": text, "manifest.sig": signature}


def test_whoever_signs_a_forgery_himself_is_not_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = NodeKey.generate()
    path = tmp_path / "forged.zip"
    path.write_bytes(build_zip(forged(lambda manifest: manifest.update(purpose="another"), key)))
    assert mediasrv(["verify", str(path), "--trust", str(KEY_FILE)]) == UNTRUSTED
    assert capsys.readouterr().out.startswith(f"UNTRUSTED KEY {key.public.hex()}")


def test_an_entry_of_another_access_log_is_found() -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["access_log"]["entry"] += 1

    assert findings(build_zip(forged(change, NodeKey.generate())))[0].startswith("ACCESS LOG")


@pytest.mark.parametrize(
    ("trust", "status", "said"),
    [
        (None, UNTRUSTED, f"UNTRUSTED KEY {KEY}"),
        (KEY, VERIFIED, "VERIFIED"),
        (" ".join(KEY[at : at + 4] for at in range(0, 64, 4)).upper(), VERIFIED, "VERIFIED"),
        (str(KEY_FILE), VERIFIED, "VERIFIED"),
        ("ab" * 32, UNTRUSTED, f"UNTRUSTED KEY {KEY}: it is not the key that you trust"),
        (str(EXPORT), UNREADABLE, "NOT VERIFIED"),
        ("nowhere", UNREADABLE, "NOT VERIFIED"),
    ],
)
def test_the_command_says_whether_the_key_is_trusted(
    trust: str | None, status: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any configuration: an expert has none."""
    monkeypatch.setenv("MEDIASRV_CONFIG", "/nowhere/at/all.toml")
    assert mediasrv(["verify", str(EXPORT), *(["--trust", trust] if trust else [])]) == status
    assert capsys.readouterr().out.startswith(said)


def test_a_folder_verifies_as_the_zip_does(tmp_path: Path) -> None:
    with zipfile.ZipFile(EXPORT) as opened:
        opened.extractall(tmp_path)
    assert verify_package(Folder(tmp_path)).findings == []
    movie = next(tmp_path.glob("*.mp4"))
    kept = movie.read_bytes()
    movie.write_bytes(kept[:-1])
    assert verify_package(Folder(tmp_path)).findings[0].startswith(f"ALTERED {movie.name}")
    movie.write_bytes(kept)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x").write_bytes(b"")
    assert verify_package(Folder(tmp_path)).findings == ["ADDED more/x: the manifest does not know it"]
    shutil.rmtree(tmp_path / "more")
    (tmp_path / "note.vi.html").unlink()
    assert verify_package(Folder(tmp_path)).findings == ["MISSING note.vi.html"]


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sig"])
def test_without_a_manifest_nothing_is_verified(tmp_path: Path, name: str) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(build_zip({one: body for one, body in FILES.items() if one != name}))
    assert verifier.run(path, KEY) == CHANGED


def test_what_is_no_export_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"no zip")
    for path in (tmp_path / "x.zip", tmp_path / "absent.zip"):
        assert verifier.run(path, KEY) == UNREADABLE


def test_it_stands_alone() -> None:
    """One file, the standard library and `cryptography`; run as a script it says the same."""
    source = Path(verifier.__file__)
    tree = ast.parse(source.read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    foreign = {name.split(".")[0] for name in names} - sys.stdlib_module_names
    assert foreign == {"cryptography"}
    command = [sys.executable, str(source), str(EXPORT), "--trust", KEY]
    done = subprocess.run(command, capture_output=True, timeout=30, cwd="/", text=True)
    assert (done.returncode, done.stdout.split(":")[0]) == (VERIFIED, "VERIFIED")


def test_openssl_agrees(tmp_path: Path) -> None:
    """The signature by a program that we did not write (docs/format.md, 7.3)."""
    signed = json.loads(FILES["manifest.sig"])
    prefix = bytes.fromhex("302a300506032b6570032100")  # SubjectPublicKeyInfo of Ed25519 (RFC 8410, 4)
    (tmp_path / "key.der").write_bytes(prefix + bytes.fromhex(signed["public_key"]))
    (tmp_path / "signature").write_bytes(bytes.fromhex(signed["signature"]))
    (tmp_path / "message").write_bytes(b"mediasrv export v1" + FILES["manifest.json"])
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.der", "-keyform", "DER", "-rawin"]
    command += ["-in", "message", "-sigfile", "signature"]
    done = subprocess.run(command, capture_output=True, timeout=30, cwd=tmp_path, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "Signature Verified Successfully")


@pytest.mark.parametrize("sizes", [(5 << 30, 10), (10, 5 << 30, 7), (0xFFFFFFFF,), (0xFFFFFFFE, 1)])
def test_a_zip_of_more_than_4_gib_is_laid_out_as_zip64(sizes: tuple[int, ...], tmp_path: Path) -> None:
    """Read back by zipfile from a sparse file."""
    members = [Member(f"{number}.mp4", size, 0) for number, size in enumerate(sizes)]
    heads, end = zip_records(members)
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        for member, head in zip(members, heads, strict=True):
            file.write(head)
            file.seek(member.size_bytes, 1)
        file.write(end)
    with zipfile.ZipFile(path) as opened:
        infos = opened.infolist()
        assert [(one.filename, one.file_size) for one in infos] == [(one.name, one.size_bytes) for one in members]
        at = 0
        for info, head in zip(infos, heads, strict=True):
            assert info.header_offset == at
            at += len(head) + info.file_size
            opened.open(info).close()  # zipfile compares the record before the file with the directory
