"""The whole server with its catalogue on PostgreSQL: it records, answers, outlives the database, and agrees with S3."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from load_tests.postgres import GUARDED, PostgresServer, postgres
from load_tests.seaweed import SeaweedServer
from load_tests.server import ApiError
from load_tests.stack import Stack, running_stack, wait_for

FARM = {"cameras": 2, "mode": "load", "rate": 25, "bitrate": 300, "width": 640, "height": 360, "gop": 1}
PATIENCE_S = 60.0


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """A server of the test's own, that may be killed."""
    with postgres() as server:
        yield server


@pytest.mark.timeout(240)
def test_the_server_records_on_postgresql_and_outlives_it(
    tmp_path: Path, s3: SeaweedServer, database: PostgresServer
) -> None:
    name, secret = database.create_database(owner=GUARDED), tmp_path / "password"
    secret.write_text(database.password)
    overrides: dict[str, dict[str, Any]] = {
        "catalogue": {"url": database.url(name, GUARDED), "password": f"file:{secret}"},
        "recording": {"object_s": 5.0},
        "storage": {"bucket": f"pg-{name.replace('_', '-')}", "key_bucket": f"pg-keys-{name.replace('_', '-')}"},
    }
    with running_stack(tmp_path / "stack", FARM, overrides, s3) as stack:
        stack.wait_until_recording()
        wait_for(lambda: _recordings(database, name) >= 4, PATIENCE_S, lambda: stack.server.log_tail())
        camera_id = stack.cameras[0]
        wait_for(lambda: _covered(stack, camera_id), PATIENCE_S)

        database.kill()
        answer = _failure(stack)
        assert (answer.status, answer.problem["code"]) == (503, "catalogue_failed")
        sessions = len(stack.farm.sessions(camera_id))
        database = database.start_again()
        try:
            kept = _recordings(database, name)
            wait_for(lambda: _recordings(database, name) >= kept + 4, PATIENCE_S, lambda: stack.server.log_tail())
            assert len(stack.farm.sessions(camera_id)) == sessions, "the camera was not asked again"
            [span] = wait_for(lambda: _covered(stack, camera_id), PATIENCE_S)
            causes = {gap["cause"] for gap in _timeline(stack, camera_id)["gaps"]}
            assert causes <= {"connecting", "waiting_keyframe"}, "nothing is missing but the beginning"
            assert span["start"] < span["end"]
            assert stack.server.stop() == 0
            stack.server.files.command("check")  # raises where it finds anything
            days = _scalar(database, name, "SELECT count(*) FROM recording_rest")
            assert days == 0, "recordings lie in their days"
        finally:
            stack.server.stop()
            database.stop()
    told = stack.server.log_path.read_text()
    assert database.password not in told


def _recordings(database: PostgresServer, name: str) -> int:
    return int(_scalar(database, name, "SELECT count(*) FROM recording"))


def _scalar(database: PostgresServer, name: str, query: str) -> Any:
    engine = create_engine(database.url(name).replace("://", "+pg8000://"))
    try:
        with engine.connect() as connection:
            return connection.execute(text(query)).scalar_one()
    finally:
        engine.dispose()


def _timeline(stack: Stack, camera_id: str) -> dict[str, Any]:
    start, end = ("2026-01-01T00:00:00Z", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60)))
    found: dict[str, Any] = stack.client.get(f"/api/v1/cameras/{camera_id}/timeline?start={start}&end={end}")
    return found


def _covered(stack: Stack, camera_id: str) -> list[dict[str, str]]:
    return list(_timeline(stack, camera_id)["coverage"])


def _failure(stack: Stack) -> ApiError:
    with pytest.raises(ApiError) as failed:
        stack.client.get("/api/v1/places")
    return failed.value
