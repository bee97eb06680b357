"""The object store fails under a running server: a clear state in the API, recovery by itself, nothing lost or doubled.

`test_recorder_faults.py` has the same faults and more at the recorder, without a server around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from load_tests.beside import Beside, loop_beside
from load_tests.consistency import check_all_stored
from load_tests.faulting.storage_proxy import Fault, FaultProxy, fault_proxy
from load_tests.readback import account_for, played_units
from load_tests.seaweed import SeaweedServer, start_seaweed
from load_tests.server import ApiError
from load_tests.stack import Stack, running_stack, wait_for

RATE = 25
FARM = {"cameras": 2, "mode": "load", "audio": "pcma", "width": 640, "height": 360, "rate": RATE, "gop": 0.5}
OVERRIDES: dict[str, dict[str, Any]] = {
    "recording": {"object_s": 5.0},
    "pull": {"allowed_networks": ["127.0.0.0/8"], "backoff_first_s": 0.2, "backoff_most_s": 0.4},
    "storage": {
        "bucket": "outage-footage",
        "key_bucket": "outage-keys",
        "request_timeout_s": 1.0,
        "retry_first_s": 0.2,
        "retry_most_s": 0.5,
    },
}


@dataclass
class FailingStore:
    """A server whose way to storage can be made to fail."""

    stack: Stack
    beside: Beside
    proxy: FaultProxy

    def fail(self, fault: Fault) -> None:
        self.beside.call(self.proxy.set(fault))

    @property
    def storage(self) -> dict[str, Any]:
        found: dict[str, Any] = self.stack.client.get("/api/v1/status")["storage"]
        return found

    def end_objects(self) -> None:
        """Whatever is being recorded becomes an object to be stored."""
        for camera_id in self.stack.cameras:
            self.stack.farm.fault(camera_id, "drop")

    def mains(self) -> list[dict[str, Any]]:
        return [camera["streams"]["main"] for camera in self.stack.client.cameras().values()]

    def unready(self) -> list[dict[str, str]]:
        """The reasons of `/readyz`; none while it answers 200."""
        try:
            found = self.stack.client.get("/readyz")
        except ApiError as answer:
            found = answer.problem
        reasons: list[dict[str, str]] = found["reasons"]
        assert found["ready"] == (not reasons)
        return reasons


@pytest.fixture
def store(shared: FailingStore) -> Iterator[FailingStore]:
    yield shared
    shared.fail(Fault.NONE)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, s3: SeaweedServer) -> Iterator[FailingStore]:
    directory = Path(tmp_path_factory.mktemp("outage"))
    with loop_beside() as beside, beside.entered(fault_proxy(s3.endpoint)) as proxy:
        behind = replace(s3, endpoint=proxy.endpoint)
        with running_stack(directory, FARM, OVERRIDES, behind) as stack:
            stack.wait_until_recording()
            wait_for(lambda: all(_seconds_sent(stack, camera_id) > 2 for camera_id in stack.cameras), 15)
            yield FailingStore(stack, beside, proxy)


def _seconds_sent(stack: Stack, camera_id: str) -> float:
    """Of the camera's session of the moment."""
    log = stack.farm.sessions(camera_id)[-1]
    return 0.0 if log["first"] is None else (log["last"] - log["first"]) / RATE


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.REFUSE, "storage_unreachable"),
        (Fault.HANG, "storage_timeout"),
        (Fault.ERROR_500, "storage_failed"),
        (Fault.CUT_BODY, "storage_unreachable"),
        (Fault.DENY, "storage_refused"),
        (Fault.FULL, "storage_full"),
    ],
)
def test_storage_that_fails_is_named_and_caught_up_with(store: FailingStore, fault: Fault, code: str) -> None:
    stored = store.storage["objects_stored"]
    store.fail(fault)
    store.end_objects()
    wait_for(lambda: store.storage["condition"] == "failing", 20)
    assert store.storage["reason"]["sentence_vi"].endswith(".")
    assert [reason["code"] for reason in store.unready()] == [code]
    # Recording goes on, and says by itself why footage is not stored.
    wait_for(lambda: all(main["recording"]["state"] == "recording" for main in store.mains()), 10)
    for main in store.mains():
        assert main["state"] == "live"
        assert main["recording"]["reason"]["code"] == code
        assert main["recording"]["reason"]["sentence_vi"]
    store.fail(Fault.NONE)
    wait_for(lambda: store.storage["condition"] == "ok" and store.storage["objects_stored"] >= stored + 2, 20)
    assert store.unready() == []
    check_nothing_lost(store.stack)


def test_answers_that_get_lost_store_nothing_twice(store: FailingStore) -> None:
    store.end_objects()
    wait_for(lambda: store.storage["objects_stored"] >= 2, 20)  # so their keys are stored, and objects only are to come
    wait_for(lambda: all(main["recording"]["state"] == "recording" for main in store.mains()), 10)
    stored = store.storage["objects_stored"]
    store.fail(Fault.LOSE_ANSWER)
    store.end_objects()
    # The look-up of what became of it gets no answer either: it has to be put once more.
    wait_for(lambda: store.proxy.seen["HEAD", Fault.LOSE_ANSWER] >= 2, 20)
    store.fail(Fault.NONE)
    wait_for(lambda: store.storage["objects_stored"] >= stored + 2, 20)
    check_nothing_lost(store.stack)


def check_nothing_lost(stack: Stack) -> None:
    """All that was ever sent is there once and in order, but for what a broken connection took with it; and all of it
    is stored.
    """
    now = datetime.now(UTC)
    for camera_id in stack.cameras:
        units = played_units(stack.client, camera_id, now - timedelta(minutes=10), now)
        account = account_for(units, stack.farm.sessions(camera_id), stack.farm.key)
        assert account.ok, account
        assert account.tail <= 25
        assert account.kept > 25
    check_all_stored(stack)


@pytest.mark.timeout(180)
def test_a_store_that_dies_is_outlived_across_a_restart_of_the_server_too(tmp_path: Path) -> None:
    """The real server is killed; mediasrv records on, starts anew and records without it, and stores all in the end."""
    with running_stack(tmp_path, FARM, OVERRIDES) as stack:
        stack.wait_until_recording()
        stack.s3.kill()
        for camera_id in stack.cameras:
            stack.farm.fault(camera_id, "drop")
        wait_for(lambda: _status(stack, "storage")["condition"] == "failing", 20)
        assert stack.server.stop() == 0
        stack.server.start()
        stack.wait_until_recording()
        assert _status(stack, "spool")["condition"] == "ok"
        port = int(stack.s3.endpoint.rpartition(":")[2])
        again = start_seaweed(stack.s3.data_dir, port, (stack.s3.access_key, stack.s3.secret_key))
        try:
            # What was dropped and what the stop ended, of both cameras; the one that is being recorded comes on top.
            wait_for(lambda: _status(stack, "storage")["objects_stored"] >= 4, 60, stack.server.log_tail)
            check_nothing_lost(stack)
        finally:
            again.kill()


def _status(stack: Stack, part: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.client.get("/api/v1/status")[part]
    return found
