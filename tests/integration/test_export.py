"""Exports out of a real S3 server: what players, ffmpeg and the verifier make of them, and what lies on the disk."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import av
import pytest
from sqlalchemy import Connection, insert

from mediasrv.catalogue.accounts import list_grants
from mediasrv.catalogue.tables import gap
from mediasrv.clock import from_us
from mediasrv.errors import (
    Conflict,
    InvalidRequest,
    MediasrvError,
    NotFound,
    NotPermitted,
    StorageError,
    TooManyRequests,
)
from mediasrv.export import Export, ExportState
from mediasrv.media.access_unit import AccessUnit, Codec, TrackKind
from mediasrv.security.access_log import read_entries
from mediasrv.settings import StorageSettings
from mediasrv.storage.object_store import crc32c_of
from mediasrv.verifier import VERIFIED, run
from tests.integration.export_rig import (
    SEI,
    Rig,
    at,
    export_rig,
    manifest_of,
    pictures,
    session,
    sounds,
    unpack,
)
from tests.integration.s3 import find_plain
from tests.unit.media.streams import interleave


@pytest.fixture
async def rig(tmp_path: Path, storage: StorageSettings) -> AsyncIterator[Rig]:
    async with export_rig(tmp_path, storage) as made:
        yield made


def packets(path: Path) -> dict[str, list[bytes]]:
    """The samples of each track, by PyAV."""
    found: dict[str, list[bytes]] = {"video": [], "audio": []}
    with av.open(str(path)) as opened:
        for packet in opened.demux():
            if packet.size:
                found[packet.stream.type].append(bytes(packet))
    return found


async def complaints(path: Path) -> str:
    """What ffprobe and a full decode by ffmpeg say at `warning`."""
    said = ""
    for command in (
        ("ffprobe", "-v", "warning", "-show_packets", "-of", "json", str(path)),
        ("ffmpeg", "-nostdin", "-v", "warning", "-xerror", "-i", str(path), "-f", "null", "-"),
    ):
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60)
        said += done.stderr.decode() + ("" if done.returncode == 0 else f"exit status {done.returncode}")
    return said


def save(files: dict[str, bytes], directory: Path) -> list[Path]:
    """The MP4 files, written out."""
    directory.mkdir(exist_ok=True)
    for name, body in files.items():
        (directory / name).write_bytes(body)
    return [directory / name for name in files if name.endswith(".mp4")]


def payloads(units: list[AccessUnit], kind: TrackKind) -> list[bytes]:
    return [unit.payload for unit in units if unit.format.kind is kind]


@pytest.mark.parametrize("codec", [Codec.AAC, Codec.OPUS, Codec.PCMA])
async def test_players_take_it_and_every_access_unit_is_the_recorded_one(
    rig: Rig, tmp_path: Path, codec: Codec
) -> None:
    one = session()
    units = interleave(pictures(one, 30), sounds(one, 30, codec))
    await rig.archive.record(units)
    files = unpack(await rig.fetch(await rig.make(0, 30)))
    (path,) = save(files, tmp_path / "out")
    assert await complaints(path) == ""
    found = packets(path)
    assert found["video"] == payloads(units, TrackKind.VIDEO)
    assert found["audio"] == payloads(units, TrackKind.AUDIO)
    assert all(SEI in payload for payload in found["video"])


async def test_a_hole_another_session_and_another_size_begin_new_files_and_every_gap_has_a_cause(
    rig: Rig, tmp_path: Path
) -> None:
    first, second, third = session(), session(name="two", start_s=40), session(name="three", start_s=60)
    await rig.archive.record(pictures(first, 20))
    await rig.archive.record(pictures(second, 20))
    await rig.archive.record(pictures(third, 10, size=(640, 360)))
    await rig.archive.catalogue.write(add_gap_row, 20, 40, "camera_lost")
    files = unpack(await rig.fetch(await rig.make(-10, 90)))
    paths = save(files, tmp_path / "out")
    assert len(paths) == 3
    for path in paths:
        assert await complaints(path) == ""
    (camera,) = manifest_of(files)["cameras"]
    assert [(piece["video"]["width"], piece["session_id"]) for piece in camera["pieces"]] == [
        (320, "one"),
        (320, "two"),
        (640, "three"),
    ]
    assert [(gap["cause"], length_s(gap)) for gap in camera["gaps"]] == [
        ("no_footage", 10),
        ("camera_lost", 20),
        ("no_footage", 20),
    ]
    assert sum(piece["video"]["access_units"] for piece in camera["pieces"]) == 50 * 25


async def test_another_size_within_a_session_begins_a_new_file_and_no_gap(rig: Rig, tmp_path: Path) -> None:
    one = session()
    units = [*pictures(one, 20), *pictures(one, 10, size=(640, 360), start_s=20)]
    await rig.archive.record(units)
    files = unpack(await rig.fetch(await rig.make(0, 30)))
    paths = save(files, tmp_path / "out")
    for path in paths:
        assert await complaints(path) == ""
    (camera,) = manifest_of(files)["cameras"]
    assert [piece["video"]["width"] for piece in camera["pieces"]] == [320, 640]
    assert camera["gaps"] == []
    assert [payload for path in sorted(paths) for payload in packets(path)["video"]] == payloads(units, TrackKind.VIDEO)


async def test_two_cameras_pass_the_verifier_and_name_where_each_piece_comes_from(rig: Rig, tmp_path: Path) -> None:
    made = await rig.archive.record(pictures(session(), 20))
    await rig.archive.record(pictures(session("gate-2"), 20))
    body = await rig.fetch(await rig.make(0, 20, "gate-1", "gate-2"))
    path = tmp_path / "export.zip"
    path.write_bytes(body)
    assert run(path, rig.archive.node_key.public.hex()) == VERIFIED
    manifest = manifest_of(unpack(body))
    assert [camera["camera_id"] for camera in manifest["cameras"]] == ["gate-1", "gate-2"]
    assert manifest["cameras"][0]["places"] == ["Trung tâm", "Bắc <i>"]
    objects = manifest["cameras"][0]["pieces"][0]["objects"]
    assert [one["object_id"] for one in objects] == [one.header.object_id for one in made]
    signature = made[0].body[-12 - 64 : -12].hex()
    assert objects[0]["footer_signature"] == signature
    assert objects[0]["node_public_key"] == rig.archive.node_key.public.hex()
    entries = await rig.archive.catalogue.read(read_entries, 100)
    (started,) = [one for one in entries if one.action == "export.started"]
    assert manifest["access_log"]["entry"] == started.entry
    assert started.detail["purpose"] == manifest["purpose"]


async def test_any_range_is_the_same_range_of_the_whole(rig: Rig) -> None:
    await rig.archive.record(pictures(session(), 40, kbps=1000))
    export = await rig.make(0, 40)
    body = await rig.fetch(export)
    assert export.package is not None
    assert len(body) == export.package.size_bytes > 3 << 20
    edges = [0, 1, 30, 100, (1 << 20) - 1, 1 << 20, (1 << 20) + 300, 2 << 20, len(body) - 400, len(body)]
    for start in edges[:-1]:
        for end in (one for one in edges if one > start):
            assert await rig.fetch(export, start, end) == body[start:end]


async def test_nothing_plain_lies_on_the_disk_while_and_after_it_is_made(rig: Rig) -> None:
    units = list(pictures(session(), 60, kbps=1000))
    await rig.archive.record(units)
    needles = [SEI, units[0].payload[-64:], units[-1].payload[-64:], b"ftypisom"]
    export = await rig.exports.start(rig.wish(0, 60))
    assert export.task is not None
    seen = 0
    while not export.task.done():
        seen += await asyncio.to_thread(lambda: sum(one.is_file() for one in export.directory.glob("*")))
        assert await asyncio.to_thread(find_plain, needles, rig.directory) == []
    assert seen > 0
    assert export.state is ExportState.READY
    assert list(export.directory.iterdir())
    assert find_plain(needles, rig.directory) == []
    assert SEI in await rig.fetch(export)


async def test_a_cancelled_job_leaves_nothing_behind(rig: Rig) -> None:
    await rig.archive.record(pictures(session(), 120, kbps=1000))
    export = await rig.exports.start(rig.wish(0, 120))
    async with asyncio.timeout(10):
        while not export.done_bytes:  # noqa: ASYNC110 - progress has no event
            await asyncio.sleep(0.001)
    assert export.state is ExportState.RUNNING
    await rig.exports.remove(export)
    assert export.state is ExportState.CANCELLED
    assert not export.directory.exists()
    assert rig.exports.list(rig.principal_id) == []
    with pytest.raises(NotFound):
        rig.exports.get(export.export_id, rig.principal_id)


async def test_a_lost_right_ends_the_job_and_a_download_under_way(rig: Rig) -> None:
    await rig.archive.record(pictures(session(), 60, kbps=1000))
    export = await rig.make(0, 60)
    assert export.package is not None
    reading = rig.exports.read(export, 0, export.package.size_bytes)
    await anext(reading)
    grants = await rig.archive.catalogue.read(list_grants)
    await rig.accounts.revoke_grant(grants[0].grant_id)
    rig.archive.clock.advance(3)
    with pytest.raises((NotPermitted, NotFound)):
        _ = [data async for data in reading]
    async with asyncio.timeout(5):
        while export.state is not ExportState.CANCELLED:  # noqa: ASYNC110 - the state has no event
            await asyncio.sleep(0.05)
    assert not export.directory.exists()
    with pytest.raises(Conflict):
        await anext(rig.exports.read(export, 0, 1))


async def test_an_altered_object_is_left_out_and_said_so(rig: Rig, tmp_path: Path) -> None:
    made = await rig.archive.record(pictures(session(), 30))
    body = bytearray(made[1].body)
    body[len(body) // 2] ^= 1
    await rig.store.delete(made[1].header.object_key)
    await rig.store.put(made[1].header.object_key, [bytes(body)], crc32c_of([bytes(body)]))
    files = unpack(await rig.fetch(await rig.make(0, 30)))
    (camera,) = manifest_of(files)["cameras"]
    assert [one["object_id"] for one in camera["unreadable"]] == [made[1].header.object_id]
    assert camera["unreadable"][0]["code"] in ("part_altered", "part_not_opened")
    assert [(gap["cause"], length_s(gap)) for gap in camera["gaps"]] == [("footage_refused", 10)]
    for path in save(files, tmp_path / "out"):
        assert await complaints(path) == ""


async def test_an_object_that_went_meanwhile_is_left_out_and_storage_that_is_away_ends_the_export(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await rig.archive.record(pictures(session(), 30))
    await rig.store.delete(made[0].header.object_key)
    (camera,) = manifest_of(unpack(await rig.fetch(await rig.make(0, 30))))["cameras"]
    assert [(one["object_id"], one["code"]) for one in camera["unreadable"]] == [
        (made[0].header.object_id, "object_missing")
    ]
    await rig.archive.record(pictures(session(name="two", start_s=100), 30))

    async def away(*_: object, **__: object) -> bytes:
        raise StorageError("The object store is not reached.", code="storage_unreachable")

    monkeypatch.setattr(rig.store, "get_range", away)
    export = await rig.exports.start(rig.wish(100, 130))
    assert await failed(export) == "storage_unreachable"
    assert not export.directory.exists()


async def test_what_is_too_much_is_refused(tmp_path: Path, storage: StorageSettings) -> None:
    async with export_rig(tmp_path, storage, at_once=1, most_span_s=100.0, most_cameras=1, most_bytes=100_000) as rig:
        await rig.archive.record(pictures(session(), 60))
        for wish, error in (
            (rig.wish(0, 101), InvalidRequest),
            (rig.wish(0, 60, "gate-1", "gate-2"), InvalidRequest),
        ):
            with pytest.raises(error):
                await rig.exports.start(wish)
        export = await rig.exports.start(rig.wish(0, 60))
        with pytest.raises(TooManyRequests):
            await rig.exports.start(rig.wish(0, 60))
        assert await failed(export) == "export_too_large"
        assert await failed(await rig.exports.start(rig.wish(500, 560))) == "no_footage"
        entries = await rig.archive.catalogue.read(read_entries, 100)
        assert sum(one.action == "export.started" for one in entries) == 2


async def test_what_was_made_goes_after_its_time(rig: Rig) -> None:
    await rig.archive.record(pictures(session(), 10))
    export = await rig.make(0, 10)
    rig.archive.clock.advance(24 * 3600 + 1)
    async with asyncio.timeout(5):
        while export.directory.exists():  # noqa: ASYNC110 - a file's end has no event
            await asyncio.sleep(0.05)
    assert rig.exports.list(rig.principal_id) == []


async def failed(export: Export) -> str:
    assert export.task is not None
    await asyncio.wait_for(asyncio.wait({export.task}), 10)
    assert export.state is ExportState.FAILED
    assert isinstance(export.error, MediasrvError)
    return export.error.code


def length_s(gap: dict[str, str]) -> int:
    start, end = (datetime.fromisoformat(gap[name]) for name in ("start", "end"))
    return round((end - start).total_seconds())


def add_gap_row(connection: Connection, start_s: float, end_s: float, cause: str) -> None:
    values = {"camera_id": "gate-1", "stream": "main", "cause": cause}
    connection.execute(insert(gap).values(started_at=from_us(at(start_s)), ended_at=from_us(at(end_s)), **values))
