"""A real S3 server for the tests: one SeaweedFS for the whole session, two fresh buckets for each test.

`tests/integration/conftest.py` has the fixtures.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from load_tests.seaweed import SeaweedServer
from mediasrv.settings import StorageSettings

_numbers = itertools.count(1)


class S3Server(Protocol):
    """What settings need of one."""

    @property
    def endpoint(self) -> str: ...
    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...


def storage_settings(server: S3Server, **changes: object) -> StorageSettings:
    """Settings with two buckets of their own; the credentials go through the environment, as the product takes them."""
    number = next(_numbers)
    os.environ["MEDIASRV_TEST_S3_ACCESS_KEY"] = server.access_key
    os.environ["MEDIASRV_TEST_S3_SECRET_KEY"] = server.secret_key
    settings = StorageSettings(
        endpoint=server.endpoint,
        bucket=f"footage-{number}",
        key_bucket=f"keys-{number}",
        access_key="env:MEDIASRV_TEST_S3_ACCESS_KEY",
        secret_key="env:MEDIASRV_TEST_S3_SECRET_KEY",
        request_timeout_s=10.0,
        retry_first_s=0.05,
        retry_most_s=0.5,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def delete_bucket(server: SeaweedServer, bucket: str) -> None:
    """The bucket and all in it, where it exists."""
    client = server.client()
    if not client.bucket_exists(bucket):
        return
    for item in client.list_objects(bucket, recursive=True, include_version=True):
        client.remove_object(bucket, str(item.object_name), item.version_id)
    client.remove_bucket(bucket)


def find_plain(needles: list[bytes], *roots: Path) -> list[tuple[bytes, Path]]:
    """Each (needle, file) where a needle lies plain in a file below `roots`."""
    found = []
    for root in roots:
        files = [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]
        for path in files:
            data = path.read_bytes()
            found += [(needle, path) for needle in needles if needle in data]
    return found
