"""The object store dies under a running server and comes back: a clear state, recovery by itself, nothing lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from load_tests.readback import account_for, played_units
from load_tests.seaweed import start_seaweed
from load_tests.stack import Stack, running_stack, wait_for

FARM = {"cameras": 2, "mode": "load", "audio": "pcma", "width": 640, "height": 360, "rate": 25, "gop": 1}
OVERRIDES = {"recording": {"object_s": 5.0}, "storage": {"retry_most_s": 2.0, "request_timeout_s": 5.0}}


def storage(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = stack.client.get("/api/v1/status")["storage"]
    return found


@pytest.mark.timeout(180)
def test_storage_that_dies_is_named_and_caught_up_with_when_it_is_back(tmp_path: Path) -> None:
    with running_stack(tmp_path, FARM, OVERRIDES) as stack:
        stack.wait_until_recording()
        began = datetime.now(UTC) - timedelta(minutes=1)
        wait_for(lambda: storage(stack)["objects_stored"] >= 2, 40, stack.server.log_tail)
        stack.s3.kill()
        wait_for(lambda: storage(stack)["condition"] == "failing" and storage(stack)["uploads_waiting"] >= 2, 40)
        assert storage(stack)["reason"]["sentence_vi"].endswith(".")
        mains = [camera["streams"]["main"] for camera in stack.client.cameras().values()]
        assert all(main["state"] == "live" and main["recording"]["state"] == "recording" for main in mains)
        assert all(main["recording"]["reason"]["sentence_vi"] for main in mains)

        port = int(stack.s3.endpoint.rpartition(":")[2])
        again = start_seaweed(stack.s3.data_dir, port, (stack.s3.access_key, stack.s3.secret_key))
        try:
            wait_for(lambda: storage(stack)["condition"] == "ok" and not storage(stack)["uploads_waiting"], 60)
            for camera_id in stack.cameras:
                stack.farm.fault(camera_id, "offline")
            wait_for(lambda: all(c["streams"]["main"]["state"] != "live" for c in stack.client.cameras().values()), 20)
            end = datetime.now(UTC) + timedelta(seconds=1)
            for camera_id in stack.cameras:
                units = played_units(stack.client, camera_id, began, end)
                account = account_for(units, stack.farm.sessions(camera_id), stack.farm.key)
                assert account.ok, account
                assert account.tail <= 25  # an abrupt end of the connection may take what was not read yet
                assert account.kept > 100
        finally:
            again.stop()


def test_a_server_starts_and_records_while_storage_is_away(tmp_path: Path) -> None:
    with running_stack(tmp_path, FARM, OVERRIDES) as stack:
        stack.server.stop()
        stack.s3.kill()
        stack.server.start()
        stack.wait_until_recording()
        assert stack.client.get("/api/v1/status")["spool"]["condition"] == "ok"
