"""A whole server that knows no camera yet, over buckets of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load_tests.seaweed import SeaweedServer
from load_tests.stack import Stack, running_stack
from tests.integration.s3 import delete_bucket, storage_settings


@contextmanager
def empty_site(
    directory: Path, s3: SeaweedServer, farm: Mapping[str, object], overrides: Mapping[str, Mapping[str, Any]]
) -> Iterator[Stack]:
    """Beside it is a farm of cameras, to be added over the API."""
    buckets = storage_settings(s3)
    storage = {"storage": {"bucket": buckets.bucket, "key_bucket": buckets.key_bucket}}
    with running_stack(directory, farm, {**overrides, **storage}, s3, cameras_in_file=False) as stack:
        yield stack
    for bucket in (buckets.bucket, buckets.key_bucket):
        delete_bucket(s3, bucket)
