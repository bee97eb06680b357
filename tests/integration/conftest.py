"""Fixtures of the integration tests: real parts, started once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from load_tests.seaweed import SeaweedServer, seaweed
from mediasrv.settings import StorageSettings
from tests.integration.s3 import storage_settings


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """A real S3 server with credentials, in a process of its own."""
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def storage(s3_server: SeaweedServer) -> StorageSettings:
    """Settings of two buckets that no other test uses; `ObjectStore.ensure_buckets` makes them."""
    return storage_settings(s3_server)
