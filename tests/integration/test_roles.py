"""A server without the role `unseal` records what it cannot open; whoever holds the identity can."""

from __future__ import annotations

import base64
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from load_tests.readback import played_units
from load_tests.seaweed import SeaweedServer
from load_tests.server import ApiError
from load_tests.stack import Stack, running_stack, wait_for
from mediasrv.media.fmp4 import ReadSample, read_samples
from mediasrv.storage.keys import Identity, KeyRecord, parse_key_record
from mediasrv.storage.sealing import header_length, parse_header
from tests.integration.s3 import find_plain

FARM = {"cameras": 1, "mode": "load", "audio": "pcma", "width": 640, "height": 360, "rate": 25, "gop": 1}
OPEN_OBJECT = Path(__file__).parents[1] / "peers" / "open_object.py"


@pytest.mark.timeout(120)
def test_a_recorder_cannot_open_footage_and_the_identity_elsewhere_can(tmp_path: Path, s3: SeaweedServer) -> None:
    identity_file = tmp_path / "elsewhere.key"
    identity = Identity.load_or_create(identity_file)
    overrides = {
        "server": {"roles": ["record", "web"]},
        "sealing": {"recipients": [identity.recipient]},
        "recording": {"object_s": 5.0},
        "storage": {"bucket": "roles-footage", "key_bucket": "roles-keys"},
    }
    with running_stack(tmp_path / "recorder", FARM, overrides, s3) as stack:
        began = datetime.now(UTC) - timedelta(seconds=30)
        stack.wait_until_recording()
        wait_for(lambda: stack.client.get("/api/v1/status")["storage"]["objects_stored"] >= 1, 40)
        stack.server.stop()
        stack.server.start()
        with pytest.raises(ApiError) as caught:
            list(played_units(stack.client, stack.cameras[0], began, datetime.now(UTC)))
        assert (caught.value.status, caught.value.code) == (503, "key_unavailable")
        node_key = _node_key(stack)
    key_record = _fetch_object_and_key(s3, tmp_path)
    # Nothing that the recorder keeps opens the key, by name or by content.
    assert list(key_record.wrapped) == [identity.recipient]
    secret = key_record.unwrap([identity])
    needles = [secret, secret.hex().encode(), base64.b64encode(secret)]
    assert find_plain(needles, tmp_path / "recorder") == []
    assert not list((tmp_path / "recorder").rglob("identity*"))
    tracks = _open_elsewhere(identity_file, node_key, tmp_path)
    assert len(_media_samples((tracks / "1.mp4").read_bytes())) >= 25  # a GOP at least


def _node_key(stack: Stack) -> str:
    return next(line.split()[1] for line in stack.server.files.command("keys", "create").splitlines() if "node" in line)


def _fetch_object_and_key(s3: SeaweedServer, directory: Path) -> KeyRecord:
    """The largest object and the record of its key, as `object` and `key`."""
    client = s3.client()
    stored = max(client.list_objects("roles-footage", "cell-1/", recursive=True), key=lambda item: item.size or 0)
    client.fget_object("roles-footage", str(stored.object_name), str(directory / "object"))
    body = (directory / "object").read_bytes()
    key_id = parse_header(body[: header_length(body)]).key_id
    names = [one.object_name or "" for one in client.list_objects("roles-keys", recursive=True)]
    key = next(name for name in names if name.endswith(key_id))
    client.fget_object("roles-keys", key, str(directory / "key"))
    return parse_key_record((directory / "key").read_bytes())


def _open_elsewhere(identity_file: Path, node_key: str, directory: Path) -> Path:
    tracks = directory / "tracks"
    tracks.mkdir()
    arguments = [directory / "object", directory / "key", identity_file, node_key, tracks]
    done = subprocess.run(
        [sys.executable, OPEN_OBJECT, *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return tracks


def _media_samples(track: bytes) -> list[ReadSample]:
    """The samples of a track whose init segment stands first."""
    return read_samples(track[track.index(b"moof") - 4 :])
