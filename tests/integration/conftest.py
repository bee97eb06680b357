"""Fixtures of the integration tests; the S3 server itself is in `tests/conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from load_tests.seaweed import SeaweedServer
from mediasrv.settings import StorageSettings
from tests.integration.s3 import delete_bucket, storage_settings


@pytest.fixture
def storage(s3: SeaweedServer) -> Iterator[StorageSettings]:
    """Settings of two buckets that no other test uses; `ObjectStore.ensure_buckets` makes them."""
    settings = storage_settings(s3)
    yield settings
    # Each bucket has volumes of its own in SeaweedFS, and their number is bounded.
    for bucket in (settings.bucket, settings.key_bucket):
        delete_bucket(s3, bucket)
