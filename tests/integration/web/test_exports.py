"""Exports over HTTP, over real storage: who may, what is logged before what, downloads that go on where they ended."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import Connection

from mediasrv.catalogue.accounts import list_grants
from mediasrv.catalogue.recordings import CatalogueKeys
from mediasrv.clock import from_us
from mediasrv.export import Exports
from mediasrv.settings import ExportSettings, StorageSettings
from mediasrv.storage.footage import Footage, KeyRing
from mediasrv.storage.object_store import ObjectStore
from mediasrv.verifier import VERIFIED, run
from mediasrv.web.application import build_app, serve
from tests.archive import NODE_ID, Archive
from tests.integration.export_rig import at, pictures, session
from tests.integration.web.site import Site
from tests.unit.web.fakes import NORTH, SOUTH, make_world

EXPORTS = "/api/v1/exports"


@dataclasses.dataclass
class Archived(Site):
    """A site with footage: a minute of the camera in the north, and one in the south."""

    archive: Archive


@pytest.fixture
async def site(tmp_path: Path, storage: StorageSettings) -> AsyncIterator[Archived]:
    async with make_world(tmp_path) as world, ObjectStore(storage) as store:
        await store.ensure_buckets()
        archive = Archive(tmp_path, store, storage.key_bucket, world.clock)
        await archive.register()
        for camera_id in (NORTH, SOUTH):
            await archive.record(pictures(session(camera_id), 60, kbps=1000))
        catalogue = world.services.catalogue
        keyring = KeyRing([archive.identity], CatalogueKeys(catalogue), world.clock, 300.0)
        footage = Footage(store, None, keyring)
        settings = ExportSettings(at_once=1)
        log, directory = world.services.access_log, tmp_path / "exports"
        exports = Exports(catalogue, footage, log, NODE_ID, archive.node_key, directory, settings, world.clock)
        app = build_app(dataclasses.replace(world.services, exports=exports))
        runner = await serve(app, "127.0.0.1", 0, 1.0)
        port = runner.addresses[0][1]
        running = asyncio.create_task(exports.run())
        async with asyncio.timeout(5):
            while not directory.is_dir():  # noqa: ASYNC110 - a directory has no event
                await asyncio.sleep(0.01)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                yield Archived(world, client, app, port, archive)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await runner.cleanup()
            footage.close()
            archive.catalogue.close()


def wish(*cameras: str, start_s: float = 0, end_s: float = 60, **more: Any) -> dict[str, Any]:
    start, end = (from_us(at(one)).isoformat() for one in (start_s, end_s))
    return {"cameras": list(cameras or (NORTH,)), "start": start, "end": end, "purpose": "Vụ án 12/2026"} | more


async def made(site: Site, token: str, body: dict[str, Any]) -> Any:
    status, export = await site.call("POST", EXPORTS, token, json=body)
    assert status == 201, export
    async with asyncio.timeout(20):
        while export["state"] == "running":
            await asyncio.sleep(0.02)
            status, export = await site.call("GET", f"{EXPORTS}/{export['id']}", token)
            assert status == 200
    assert export["state"] == "ready", export
    return export


async def download(site: Site, token: str, export: Any, **headers: str) -> tuple[int, bytes, Any]:
    sent = {"Authorization": f"Bearer {token}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with site.client.get(f"{EXPORTS}/{export['id']}/download", headers=sent) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_asked_for_made_fetched_and_verified(site: Archived, tmp_path: Path) -> None:
    token = await site.world.account("lan", "auditor")
    export = await made(site, token, wish(NORTH, SOUTH))
    assert export["done_bytes"] == export["total_bytes"] > 0
    status, body, headers = await download(site, token, export)
    assert (status, len(body), headers["Content-Type"]) == (200, export["size_bytes"], "application/zip")
    assert headers["Content-Disposition"] == f'attachment; filename="export-{export["id"]}.zip"'
    assert "no-store" in headers["Cache-Control"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    path = tmp_path / "out.zip"
    path.write_bytes(body)
    assert run(path, site.archive.node_key.public.hex()) == VERIFIED
    entries = [one for one in await site.world.log() if one.action.startswith("export.")]
    assert [(one.action, one.username, one.subject) for one in entries] == [
        ("export.started", "lan", export["id"]),
        ("export.downloaded", "lan", export["id"]),
    ]
    assert entries[0].detail["cameras"] == [NORTH, SOUTH]
    assert entries[0].entry == export["entry"]
    assert [one["id"] for one in (await site.call("GET", EXPORTS, token))[1]["exports"]] == [export["id"]]


async def test_a_download_that_broke_off_goes_on_where_it_was(site: Archived) -> None:
    token = await site.world.account("lan", "auditor")
    export = await made(site, token, wish())
    _, whole, headers = await download(site, token, export)
    etag, half = headers["ETag"], len(whole) // 2
    status, first, _ = await download(site, token, export, Range=f"bytes=0-{half - 1}")
    assert (status, first) == (206, whole[:half])
    status, rest, found = await download(site, token, export, Range=f"bytes={half}-", If_Range=etag)
    assert (status, first + rest) == (206, whole)
    assert found["Content-Range"] == f"bytes {half}-{len(whole) - 1}/{len(whole)}"
    status, tail, _ = await download(site, token, export, Range="bytes=-100")
    assert (status, tail) == (206, whole[-100:])
    status, other, _ = await download(site, token, export, Range=f"bytes={half}-", If_Range='"other"')
    assert (status, other) == (200, whole)
    for ignored in ("bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "nonsense"):
        assert (await download(site, token, export, Range=ignored))[:2] == (200, whole)
    for beyond in (f"bytes={len(whole)}-", "bytes=-0"):
        status, _, found = await download(site, token, export, Range=beyond)
        assert (status, found.get("Content-Range")) == (416, f"bytes */{len(whole)}")
    status, end, found = await download(site, token, export, Range=f"bytes={len(whole) - 5}-{10**17}")
    assert (status, end) == (206, whole[-5:])
    entries = await site.world.actions("export.downloaded")
    assert len(entries) == 1


@pytest.mark.parametrize("role", ["viewer", "operator", "administrator"])
async def test_who_may_not_export_is_refused_and_that_is_logged(site: Archived, role: str) -> None:
    token = await site.world.account("minh", role)
    assert await site.problem("POST", EXPORTS, token, json=wish()) == (403, "not_permitted")
    assert await site.world.actions("export.") == []
    assert await site.world.actions("access.") == ["access.denied"]


async def test_every_camera_must_be_theirs(site: Archived) -> None:
    token = await site.world.account("lan", "auditor", place="north")
    assert await site.problem("POST", EXPORTS, token, json=wish(NORTH, SOUTH)) == (404, "camera_not_found")
    await site.world.services.accounts.grant("lan", "viewer", "south", purpose="live")
    token = await site.world.services.accounts.create_token("lan", "again")
    assert await site.problem("POST", EXPORTS, token, json=wish(NORTH, SOUTH)) == (403, "not_permitted")
    assert await site.world.actions("export.") == []
    assert "access.denied" in await site.world.actions()


async def test_an_export_is_for_who_asked_for_it_alone(site: Archived) -> None:
    lan, minh = [await site.world.account(name, "auditor") for name in ("lan", "minh")]
    export = await made(site, lan, wish())
    one = f"{EXPORTS}/{export['id']}"
    for method, path in (("GET", one), ("GET", f"{one}/download"), ("DELETE", one)):
        assert await site.problem(method, path, minh) == (404, "export_not_found")
    assert (await site.call("GET", EXPORTS, minh))[1] == {"exports": []}


async def test_without_the_log_no_byte_of_it_leaves(site: Archived, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await site.world.account("lan", "auditor")
    export = await made(site, token, wish())

    async def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(site.world.services.access_log, "append", fail)
    status, body, _ = await download(site, token, export)
    assert (status, b"PK" in body) == (500, False)


async def test_a_revoked_grant_ends_the_export(site: Archived) -> None:
    token = await site.world.account("lan", "auditor")
    await site.world.services.accounts.grant("lan", "auditor", "south", purpose="the other camera")
    export = await made(site, token, wish(NORTH))
    entries = await site.world.services.catalogue.read(_grant_ids)
    await site.world.services.accounts.revoke_grant(entries[0])
    assert await site.problem("GET", f"{EXPORTS}/{export['id']}/download", token) == (403, "not_permitted")
    async with asyncio.timeout(5):
        while export["state"] != "cancelled":
            await asyncio.sleep(0.05)
            _, export = await site.call("GET", f"{EXPORTS}/{export['id']}", token)
    assert await site.problem("GET", f"{EXPORTS}/{export['id']}/download", token) == (409, "export_not_ready")
    assert "export.ended" in await site.world.actions()


async def test_a_grant_that_is_revoked_cuts_a_download_under_way(site: Archived) -> None:
    """16 MB: more than what lies in the buffers of a connection that nobody reads from."""
    token = await site.world.account("lan", "auditor")
    export = await made(site, token, wish(NORTH, SOUTH))
    headers = {"Authorization": f"Bearer {token}"}
    async with site.client.get(f"{EXPORTS}/{export['id']}/download", headers=headers) as answer:
        assert answer.status == 200
        read = len(await answer.content.readexactly(1000))
        (grant_id,) = await site.world.services.catalogue.read(_grant_ids)
        await site.world.services.accounts.revoke_grant(grant_id)
        site.world.clock.advance(3)
        with pytest.raises(aiohttp.ClientError):
            read += len(await answer.read())
    assert read < export["size_bytes"]


async def test_removed_it_is_gone(site: Archived) -> None:
    token = await site.world.account("lan", "auditor")
    export = await made(site, token, wish())
    assert (await site.call("DELETE", f"{EXPORTS}/{export['id']}", token))[0] == 204
    assert await site.problem("GET", f"{EXPORTS}/{export['id']}/download", token) == (404, "export_not_found")
    assert (await site.world.actions("export."))[-1] == "export.removed"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"purpose": None}, "request_invalid"),
        ({"purpose": "  "}, "purpose_missing"),
        ({"purpose": "x" * 401}, "request_invalid"),
        ({"cameras": []}, "request_invalid"),
        ({"cameras": [NORTH, NORTH]}, "request_invalid"),
        ({"cameras": NORTH}, "request_invalid"),
        ({"cameras": [1]}, "request_invalid"),
        ({"stream": "third"}, "request_invalid"),
        ({"end": "2020-01-01T00:00:00Z"}, "time_invalid"),
        ({"start": "yesterday"}, "time_invalid"),
        ({"end": from_us(at(86_401)).isoformat()}, "span_too_long"),
        ({"format": "avi"}, "request_invalid"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_not_logged(site: Archived, change: dict[str, Any], code: str) -> None:
    token = await site.world.account("lan", "auditor")
    assert await site.problem("POST", EXPORTS, token, json=wish() | change) == (400, code)
    assert await site.world.actions("export.") == []


async def test_one_at_a_time_where_settings_say_so(site: Archived) -> None:
    token = await site.world.account("lan", "auditor")
    answers = await asyncio.gather(*(site.call("POST", EXPORTS, token, json=wish()) for _ in range(3)))
    assert sorted(status for status, _ in answers) == [201, 429, 429]


async def test_the_same_bytes_each_time(site: Archived) -> None:
    token = await site.world.account("lan", "auditor")
    export = await made(site, token, wish())
    both = [hashlib.sha256((await download(site, token, export))[1]).hexdigest() for _ in range(2)]
    assert both[0] == both[1]


def _grant_ids(connection: Connection) -> list[int]:
    return [one.grant_id for one in list_grants(connection) if one.role == "auditor" and one.place_id == "root"]
