"""`mediasrv keys destroy` as a person types it, on a real bucket, and the receipt that is left."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from load_tests.seaweed import SeaweedServer
from load_tests.server import ServerFiles
from mediasrv.clock import SECOND_US, from_us
from mediasrv.settings import StorageSettings
from mediasrv.storage.keys import private_pem, write_private
from mediasrv.storage.object_store import ObjectStore
from tests.archive import Archive
from tests.clocks import SimulatedClock
from tests.integration.test_retention_steps import session
from tests.unit.media.streams import video_units

HOUR_US = 3600 * SECOND_US


async def record_hours(directory: Path, storage: StorageSettings, began_us: int) -> list[str]:
    """Two hours of one stream, an object under each key; the keys in order. The node's key lies where its files are."""
    async with ObjectStore(storage) as store:
        await store.ensure_buckets()
        archive = Archive(directory, store, storage.key_bucket, SimulatedClock(began_us))
        await archive.register()
        for hour in range(2):
            await archive.record(video_units(session(started_us=began_us + hour * HOUR_US, name=f"s{hour}"), 5))
        write_private(directory / "data" / "node.key", private_pem(archive.node_key._private))
        archive.catalogue.close()
        return [key.key_id for key in sorted(archive.keys.values(), key=lambda key: key.record.period_us)]


def test_a_day_of_a_camera_is_destroyed_with_a_receipt(
    tmp_path: Path, s3: SeaweedServer, storage: StorageSettings
) -> None:
    began_us = (int(time.time()) // 3600 - 48) * HOUR_US
    first, second = asyncio.run(record_hours(tmp_path, storage, began_us))
    overrides = {
        "catalogue": {"url": f"sqlite:///{tmp_path / 'catalogue.db'}"},
        "storage": {"bucket": storage.bucket, "key_bucket": storage.key_bucket},
        "sealing": {"backup_days": 30.0},
    }
    files = ServerFiles(tmp_path, s3, overrides=overrides)
    files.write()
    span = ["--from", from_us(began_us).isoformat(), "--to", from_us(began_us + HOUR_US).isoformat()]
    order = ["keys", "destroy", "--camera", "gate-1", *span, "--reason", "order 17", "--by", "lan"]
    with pytest.raises(RuntimeError, match="key_needed"):
        files.command(*order)
    assert len(_names(s3, storage.key_bucket)) == len(_names(s3, storage.bucket)) == 2

    said = files.command(*order, "--with-footage")
    assert f"data key {first} of gate-1/main: destroyed as far as this system knows" in said
    assert [name.rpartition("/")[2] for name in _names(s3, storage.key_bucket)] == [second]
    assert len(_names(s3, storage.bucket)) == 1
    (path,) = (tmp_path / "data" / "receipts").iterdir()
    assert str(path) in said
    verified = files.command("keys", "verify-receipt", str(path))
    assert f"key bucket {storage.key_bucket}: cell-1/gate-1/main/{first}" in verified
    assert "lan: order 17" in verified
    document = path.read_text()
    path.write_text(document.replace("order 17", "order 18"))
    with pytest.raises(RuntimeError, match="signature_wrong"):
        files.command("keys", "verify-receipt", str(path))
    (receipt,) = json.loads(document)["receipts"]
    assert json.loads(receipt["document"])["recordings_deleted"] == 1
    with pytest.raises(RuntimeError, match="key_not_found"):
        files.command(*order)
    assert "1 kept" in files.command("keys", "list")
    assert "The access log is whole" in files.command("log", "verify")


def _names(s3: SeaweedServer, bucket: str) -> list[str]:
    return [one.object_name or "" for one in s3.client().list_objects(bucket, recursive=True)]
