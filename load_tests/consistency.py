"""Whether catalogue, bucket and spool of a running server agree."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

from load_tests.stack import Stack, wait_for
from mediasrv.settings import StorageSettings


def check_all_stored(stack: Stack) -> None:
    """`mediasrv check` finds nothing wrong; in the spool is only what is being recorded now, all that has ended gets
    stored in time; and each object in the bucket has its row, however young it is.
    """
    reports: list[str] = []

    def stored() -> bool:
        reports.append(stack.server.files.command("check"))
        found = re.search(r"(\d+) in the spool: (\d+) findings", reports[-1])
        assert found, reports[-1]
        assert found[2] == "0", reports[-1]
        return int(found[1]) <= len(stack.cameras)

    wait_for(stored, 30, lambda: reports[-1])
    wait_for(lambda: _listed(stack) == _catalogued(stack), 20, lambda: str(_listed(stack) ^ _catalogued(stack)))


def _listed(stack: Stack) -> set[str]:
    bucket = stack.server.files.overrides.get("storage", {}).get("bucket", StorageSettings().bucket)
    names = (item.object_name or "" for item in stack.s3.client().list_objects(bucket, recursive=True))
    return {name for name in names if not name.startswith("_")}


def _catalogued(stack: Stack) -> set[str]:
    with closing(sqlite3.connect(stack.directory / "server" / "data" / "catalogue.db")) as connection:
        return {key for (key,) in connection.execute("SELECT object_key FROM recording")}
