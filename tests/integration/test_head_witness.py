"""The access log's head in the bucket, on real S3 with a real server: `check` names what was done to the log."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from minio.error import S3Error

from load_tests.seaweed import SeaweedServer
from load_tests.server import ApiClient, ServerFiles, ServerProcess
from load_tests.stack import wait_for
from mediasrv.clock import SECOND_US
from mediasrv.security.head_witness import PREFIX
from tests.integration.s3 import delete_bucket, storage_settings

INTERVAL_S = 1.0


@dataclass
class Node:
    """A server without cameras, and its two places: the catalogue's file and the bucket."""

    files: ServerFiles
    s3: SeaweedServer
    bucket: str
    key_bucket: str
    token: str

    @contextmanager
    def running(self) -> Iterator[ApiClient]:
        process = ServerProcess(self.files)
        process.start()
        try:
            yield ApiClient(self.files.url, self.token)
        finally:
            process.stop()

    def copies(self) -> dict[str, bytes]:
        """The copied heads by their keys."""
        found = {}
        for item in self.s3.client().list_objects(self.bucket, PREFIX, recursive=True):
            try:
                found[str(item.object_name)] = self._read(str(item.object_name))
            except S3Error as error:
                if error.code != "NoSuchKey":  # replaced by a newer one since it was listed
                    raise
        return found

    def copied(self) -> list[int]:
        """The entries that the copied heads are of."""
        return [int(json.loads(json.loads(copy)["document"])["entry"]) for copy in self.copies().values()]

    def _read(self, key: str) -> bytes:
        with closing(self.s3.client().get_object(self.bucket, key)) as answer:
            return answer.read()

    def put(self, key: str, body: bytes) -> None:
        self.s3.client().put_object(self.bucket, key, io.BytesIO(body), len(body))

    def drop_buckets(self) -> None:
        for bucket in (self.bucket, self.key_bucket):
            delete_bucket(self.s3, bucket)

    def entries(self) -> int:
        return int(self.sql("select max(entry) from access_log") or 0)

    def sql(self, statement: str, *values: object) -> object:
        """One statement on the catalogue's file, as somebody would who has the machine."""
        with closing(sqlite3.connect(self.files.directory / "data" / "catalogue.db")) as connection, connection:
            row = connection.execute(statement, values).fetchone()
        return row[0] if row else None

    def check(self) -> list[str]:
        """What `mediasrv check` finds: codes and what they are about. Its exit status must say the same."""
        done = subprocess.run(
            [sys.executable, "-m", "mediasrv", "check", "--repair", "--config", str(self.files.config)],
            env=self.files.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        findings = done.stdout.splitlines()[:-1]
        assert (done.returncode, done.stderr) == (1 if findings else 0, ""), done.stdout
        return [" ".join(line.split()[:3]) for line in findings]


def make_node(directory: Path, s3: SeaweedServer) -> Node:
    storage = storage_settings(s3)
    overrides = {
        "storage": {"bucket": storage.bucket, "key_bucket": storage.key_bucket},
        "security": {"head_interval_s": INTERVAL_S},
        "log": {"level": "error"},
    }
    files = ServerFiles(directory, s3, overrides=overrides)
    files.write()
    token = files.make_account("lan", "correct horse battery", "test", ("administrator",))
    return Node(files, s3, storage.bucket, storage.key_bucket, token)


@pytest.fixture
def node(tmp_path: Path, s3: SeaweedServer) -> Iterator[Node]:
    made = make_node(tmp_path, s3)
    yield made
    made.drop_buckets()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, s3: SeaweedServer) -> Iterator[Node]:
    """A node whose server has ended in order, after something happened; look at it only."""
    made = make_node(tmp_path_factory.mktemp("ended"), s3)
    with made.running() as api:
        for number in range(5):
            api.call("POST", "/api/v1/users", {"username": f"user{number}"})
        wait_for(lambda: s3.client().bucket_exists(made.key_bucket), 10)
    assert made.copied() == [made.entries()]
    assert made.check() == []
    yield made
    made.drop_buckets()


@pytest.fixture
def settled(ended: Node, tmp_path: Path) -> Iterator[Node]:
    """The same node, to be tampered with: a catalogue of its own, and a bucket that is put right afterwards."""
    shutil.copytree(ended.files.directory, tmp_path, dirs_exist_ok=True)
    files = dataclasses.replace(ended.files, directory=tmp_path)
    files.write()
    before = ended.copies()
    yield dataclasses.replace(ended, files=files)
    for key in ended.copies():
        ended.s3.client().remove_object(ended.bucket, key)
    for key, body in before.items():
        ended.put(key, body)


def test_the_copy_follows_the_log_and_the_end_of_the_server_copies_once_more(node: Node) -> None:
    with node.running() as api:
        wait_for(lambda: node.copied() == [node.entries()], 10)
        api.call("POST", "/api/v1/users", {"username": "minh"})
        wait_for(lambda: node.copied() == [node.entries()], 10)
        api.call("POST", "/api/v1/users", {"username": "mai"})
    assert node.copied() == [node.entries()]
    assert node.check() == []


def test_an_edit_is_named(settled: Node) -> None:
    settled.sql("update access_log set username = 'somebody else' where entry = 3")
    assert settled.check() == ["wrong log_edited entry"]


def test_a_deletion_in_the_middle_is_named(settled: Node) -> None:
    settled.sql("delete from access_log where entry = 3")
    assert settled.check() == ["wrong log_edited entry"]


def test_a_truncation_is_named(settled: Node) -> None:
    (copy,) = settled.copies()
    settled.sql("delete from access_log where entry > 4")
    assert settled.check() == [f"wrong log_truncated {copy}"]


def test_a_fork_is_named_also_after_the_server_went_on_with_it(settled: Node) -> None:
    """Who writes the catalogue cuts the tail off; the server itself then makes a log that is right in itself."""
    (copy,) = settled.copies()
    settled.sql("delete from access_log where entry > 4")
    with settled.running() as api:
        for number in range(8):
            api.call("POST", "/api/v1/users", {"username": f"other{number}"})
    assert settled.files.command("log", "verify").startswith("The access log is whole")
    assert len(settled.copies()) == 2
    assert settled.check() == [f"wrong log_forked {copy}"]


def test_a_fork_under_a_running_server_is_told_by_its_status(node: Node) -> None:
    node.files.make_account("mai", "correct horse battery", "test", ("administrator",))
    with node.running() as api:
        wait_for(lambda: node.copied() == [node.entries()], 10)
        assert api.get("/api/v1/status")["access_log"]["condition"] == "ok"
        node.sql("delete from access_log where entry > ?", node.entries() - 1)
        api.call("POST", "/api/v1/users", {"username": "minh"})
        wait_for(lambda: api.get("/api/v1/status")["access_log"]["condition"] == "broken", 10)
        assert "mediasrv_access_log_broken 1" in api.fetch("/metrics").decode()
    assert [one.split()[1] for one in node.check()] == ["log_forked"]


def test_a_lost_catalogue_shows_as_a_truncation(settled: Node) -> None:
    """A new catalogue of the same node: the copies outlive the old one."""
    (copy,) = settled.copies()
    for name in ("catalogue.db", "catalogue.db-wal", "catalogue.db-shm"):
        (settled.files.directory / "data" / name).unlink(missing_ok=True)
    settled.token = settled.files.make_account("lan", "correct horse battery", "test", ("administrator",))
    with settled.running():
        pass
    assert settled.check() == [f"wrong log_truncated {copy}"]


def test_a_head_that_no_node_signed_is_named(settled: Node) -> None:
    key, body = f"{PREFIX}node-1/000000000099-1", b'{"document": "{}", "signature": ""}'
    (signed,) = settled.copies().values()
    altered = signed.replace(b'\\"entry\\": ', b'\\"entry\\": 1')
    settled.put(key, body)
    settled.put(key + "0", altered)
    assert settled.check() == [f"wrong log_head_refused {key}", f"wrong log_head_refused {key}0"]


def test_a_log_that_is_copied_nowhere_is_named(settled: Node) -> None:
    """Only where it has been so for a day: a server that is off copies nothing."""
    for key in settled.copies():
        settled.s3.client().remove_object(settled.bucket, key)
    assert settled.check() == []
    settled.sql("update access_log set at = at - ?", 86_401 * SECOND_US)
    assert "wrong log_head_missing entry" in settled.check()
