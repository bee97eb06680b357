"""Roles: a server without `unseal` records what it cannot open; whoever holds the identity can, and nobody else."""

from __future__ import annotations

import base64
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from load_tests.readback import played_payloads, played_units
from load_tests.seaweed import SeaweedServer
from load_tests.server import ApiClient, ApiError, ServerFiles, ServerProcess, new_password
from load_tests.stack import Stack, running_farm, running_stack, wait_for
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


@pytest.mark.timeout(180)
def test_one_process_records_and_another_opens(tmp_path: Path, s3: SeaweedServer) -> None:
    """Two nodes on one catalogue and bucket: neither alone can both make footage and open it."""
    place = tmp_path / "place.key"
    identity = Identity.load_or_create(place)
    buckets = {"bucket": "two-footage", "key_bucket": "two-keys"}
    with running_farm(tmp_path / "cameras.log", **FARM) as farm:
        recorder = ServerFiles(
            tmp_path / "recorder",
            s3,
            farm.addresses(),
            overrides={
                "server": {"roles": ["record"]},
                "sealing": {"recipients": [identity.recipient]},
                "recording": {"object_s": 5.0},
                "storage": buckets,
            },
        )
        opener = ServerFiles(
            tmp_path / "opener",
            s3,
            overrides={
                "server": {"roles": ["unseal", "web"], "node_name": "node-2"},
                "catalogue": {"url": f"sqlite:///{recorder.directory / 'data' / 'catalogue.db'}"},
                "sealing": {"identities": [f"file:{place}"]},
                "storage": buckets,
            },
        )
        with ExitStack() as stack:
            for files in (recorder, opener):
                files.write()
            token = recorder.make_account("demo", new_password(), "test")
            for files in (recorder, opener):
                server = ServerProcess(files)
                server.start()
                stack.callback(server.stop)
            client, camera_id = ApiClient(opener.url, token), farm.cameras[0]["id"]
            began = datetime.now(UTC) - timedelta(seconds=30)

            def played() -> int:
                try:
                    return sum(1 for _ in played_units(client, camera_id, began, datetime.now(UTC)))
                except ApiError as error:
                    if error.code != "no_footage":
                        raise
                    return 0

            wait_for(lambda: played() >= 25, 60)
            # The opener pulls nothing and changes nothing; the recorder answers nobody about footage.
            assert set(client.cameras()) == {camera_id}
            assert len(farm.sessions(camera_id)) == 1
            with pytest.raises(ApiError) as refused:
                client.call("POST", "/api/v1/cameras", {"address": "127.0.0.1", "id": "another"})
            assert (refused.value.status, refused.value.code) == (503, "role_missing")
            for path in ("/api/v1/cameras", f"/playback/{camera_id}/index.m3u8", "/"):
                with pytest.raises(ApiError) as missing:
                    ApiClient(recorder.url, token).get(path)
                assert missing.value.status == 404
    # Nothing on the recorder's disk opens what it recorded.
    record = _a_key_record(s3, "two-keys")
    needles = [secret for raw in [record.unwrap([identity])] for secret in (raw, raw.hex().encode())]
    assert find_plain([*needles, place.read_bytes().splitlines()[1]], recorder.directory) == []
    assert find_plain(needles, opener.directory) == []


def _a_key_record(s3: SeaweedServer, bucket: str) -> KeyRecord:
    client = s3.client()
    name = next(iter(client.list_objects(bucket, recursive=True))).object_name
    answer = client.get_object(bucket, str(name))
    try:
        return parse_key_record(answer.read())
    finally:
        answer.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("trouble", ["sys.exit(1)", "time.sleep(60)"], ids=["fails", "hangs"])
def test_a_key_service_that_is_away_stops_playback_alone(tmp_path: Path, s3: SeaweedServer, trouble: str) -> None:
    """It is away from the first start on; recording goes on, sealed, and playback comes back by itself."""
    identity, away, fetch = Identity.generate(), tmp_path / "away", tmp_path / "fetch.py"
    away.touch()
    fetch.write_text(
        "import pathlib, sys, time\n"
        f"if pathlib.Path({str(away)!r}).exists(): {trouble}\n"
        f"print({identity.to_pem().decode()!r}, end='')\n"
    )
    name = "service-fails" if "exit" in trouble else "service-hangs"
    overrides = {
        "sealing": {
            "recipients": [identity.recipient],
            "identities": [f"command:{sys.executable} {fetch}"],
            "identity_timeout_s": 1.0,
        },
        "recording": {"object_s": 5.0},
        "storage": {"bucket": f"{name}-footage", "key_bucket": f"{name}-keys"},
    }
    with running_stack(tmp_path / "node", FARM, overrides, s3) as stack:
        began = datetime.now(UTC) - timedelta(seconds=30)
        stack.wait_until_recording()

        def answer() -> object:
            try:
                return sum(1 for _ in played_units(stack.client, stack.cameras[0], began, datetime.now(UTC)))
            except ApiError as error:
                return error.status, error.code

        def count() -> int:
            return int(stack.client.get("/api/v1/status")["storage"]["objects_stored"])

        for number in (1, 2):
            wait_for(lambda number=number: count() >= number, 40)  # type: ignore[misc]
            assert answer() == (503, "identity_unavailable")
            assert stack.client.cameras()[stack.cameras[0]]["streams"]["main"]["recording"]["state"] == "recording"
        away.unlink()
        wait_for(lambda: isinstance(answer(), int), 20)
        payloads = list(played_payloads(stack.client, stack.cameras[0], began, datetime.now(UTC)))
        needles = [payload[200:232] for payload in payloads if len(payload) > 300][:50]
        assert len(needles) >= 25
        assert find_plain([b"MSRVOBJ1"], s3.data_dir)
        assert find_plain(needles, tmp_path / "node" / "server", s3.data_dir) == []
        said = stack.server.log_path.read_text()
        assert "key_command_failed" in said
        assert "PRIVATE KEY" not in said
