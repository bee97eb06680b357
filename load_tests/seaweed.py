"""A real S3 server for the demo, the load tests and the tests: SeaweedFS out of its wheel, with credentials."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from minio import Minio
from minio.error import MinioException
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError

from load_tests.child import end, say
from load_tests.ports import free_ports

START_S: Final = 60.0
_PORT_OPTIONS: Final = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
)


@dataclass(frozen=True, slots=True)
class SeaweedServer:
    """A running server. `data_dir` is where everything it keeps lies, for tests that search it for plain bytes."""

    endpoint: str
    access_key: str
    secret_key: str
    data_dir: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Ends the server. Its own orderly end takes 15 s, most of it waiting for peers that one machine lacks."""
        end(self.process, 3)

    def kill(self) -> None:
        """The server dies without a word."""
        self.process.kill()
        self.process.wait()

    def client(self) -> Minio:
        """An SDK client that does not retry: its errors are the server's own."""
        host = self.endpoint.removeprefix("http://")
        pool = PoolManager(retries=Retry(0), timeout=5.0)
        return Minio(host, access_key=self.access_key, secret_key=self.secret_key, secure=False, http_client=pool)


def start_seaweed(data_dir: Path, port: int = 0, keys: tuple[str, str] | None = None) -> SeaweedServer:
    """Starts a server and waits until it really stores an object. Raises RuntimeError with its log's end.

    `port` 0 picks a free one; `keys` default to random ones.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    access_key, secret_key = keys or (secrets.token_hex(8), secrets.token_hex(20))
    config = data_dir / "s3.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps(_identities(access_key, secret_key)), encoding="utf-8")
    ports = free_ports(len(_PORT_OPTIONS) + 1)
    s3_port = port or ports.pop()
    log_path = data_dir / "weed.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [_weed(), *_arguments(data_dir, config, s3_port, ports)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the terminal must reach the demo first, not the store
        )
    server = SeaweedServer(f"http://127.0.0.1:{s3_port}", access_key, secret_key, data_dir, process)
    try:
        _wait_until_it_stores(server, log_path)
    except BaseException:
        server.kill()
        raise
    return server


@contextlib.contextmanager
def seaweed(data_dir: Path) -> Iterator[SeaweedServer]:
    """A server for the length of a `with` block. Nobody needs what it keeps after that, so it gets no orderly end."""
    server = start_seaweed(data_dir)
    try:
        yield server
    finally:
        server.kill()


def _weed() -> str:
    return str(Path(sys.executable).parent / "weed")


def _identities(access_key: str, secret_key: str) -> dict[str, object]:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {"identities": [{"name": "mediasrv", "credentials": credentials, "actions": ["Admin"]}]}


def _arguments(data_dir: Path, config: Path, s3_port: int, ports: list[int]) -> list[str]:
    fixed = [
        "server",
        "-s3",
        f"-dir={data_dir}",
        f"-s3.config={config}",
        f"-s3.port={s3_port}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.volumeSizeLimitMB=128",  # a bucket takes several volumes, and the disk's size bounds their number
        "-volume.max=0",
        "-volume.preStopSeconds=0",
        # Catalogues on fixed ports, which would keep a second instance from starting.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        # Metrics would be sent to nobody, and a volume is only grown when it is needed.
        "-master.volumePreallocate=false",
    ]
    return fixed + [f"-{option}={port}" for option, port in zip(_PORT_OPTIONS, ports, strict=False)]


def _wait_until_it_stores(server: SeaweedServer, log_path: Path) -> None:
    # The port opens seconds before operations succeed: only a stored object proves anything.
    bucket = "ready-probe"
    client = server.client()
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            if not client.bucket_exists(bucket):
                client.make_bucket(bucket)
            client.put_object(bucket, "probe", io.BytesIO(b"."), 1)
        except (MinioException, HTTPError, OSError):
            time.sleep(0.1)
            continue
        return
    tail = log_path.read_bytes()[-2000:].decode("utf-8", "replace")
    raise RuntimeError(f"SeaweedFS did not come up within {START_S:.0f} s:\n{tail}")


def main(argv: list[str]) -> int:
    """`python -m load_tests seaweed DIR [PORT]`: a server by hand, until Ctrl-C."""
    server = start_seaweed(Path(argv[0]), int(argv[1]) if len(argv) > 1 else 0)
    say({"endpoint": server.endpoint, "access_key": server.access_key, "pid": os.getpid()})
    with contextlib.suppress(KeyboardInterrupt):
        server.process.wait()
    server.stop()
    return 0
