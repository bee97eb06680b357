"""Real parts shared by integration and browser tests: an S3 server, and a whole stack, started once a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from load_tests.postgres import PostgresServer, postgres
from load_tests.seaweed import SeaweedServer, seaweed
from load_tests.stack import Stack, running_stack
from tests.databases import Databases, all_on, make_template

LONGEST = (
    "test_main_job.py",
    "test_kill.py",
    "test_faults.py",
    "test_storage_outage.py",
    "test_bad_cameras.py",
    "test_every_fault.py",
    "test_forbidden_addresses.py",
    "test_no_credentials.py",
    "test_recorder_kill.py",
    "test_camera_farm.py",
    "test_survey.py",
)
"""Files that take half a minute and more: begun first, so that none of them is waited for alone in the end."""
SHORT_SURVEYS = {"survey": {"measure_s": 2.0}}
FARM = {
    "cameras": 3,
    "mode": "load",
    "audio": "mixed",
    "width": 960,
    "height": 540,
    "rate": 25,
    "bitrate": 900,
    "set": ["cam-1:ptz=on"],
}


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # pytest-xdist would begin with the files of most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """A real S3 server with credentials."""
    with seaweed(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL server."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    return make_template(postgres_server)


@pytest.fixture
def on_postgresql(postgres_server: PostgresServer, postgres_template: str) -> Iterator[Databases]:
    """The test's catalogues lie in databases of their own, of the present schema."""
    with all_on(postgres_server, postgres_template) as databases:
        yield databases


@pytest.fixture(params=["sqlite", "postgresql"])
def each_database(request: pytest.FixtureRequest) -> None:
    """Runs a test once for each kind of database."""
    if request.param == "postgresql":
        request.getfixturevalue("on_postgresql")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """S3, three simulated cameras (2 s GOP; the first can be moved) and mediasrv, all recording; shared, so leave it as
    you found it.
    """
    with running_stack(Path(tmp_path_factory.mktemp("stack")), {**FARM, "gop": 2}, SHORT_SURVEYS) as stack:
        stack.wait_until_recording()
        yield stack
        assert stack.server.stop() == 0, "after all that was done with it the server does not end when it is asked to"
