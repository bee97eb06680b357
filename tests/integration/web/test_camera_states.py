"""Server-sent events of camera states: who is told what, how soon it ends, and that nothing is queued for anybody."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from mediasrv.cameras.views import CameraView
from mediasrv.media.access_unit import StreamName
from mediasrv.reasons import reason
from mediasrv.security.accounts import COMMAND_LINE
from mediasrv.settings import ServerSettings
from mediasrv.web import camera_states, routes_states
from mediasrv.web.application import STATES
from tests.integration.web.site import Site, make_site
from tests.integration.web.test_ptz_events import event, tell
from tests.unit.web.fakes import NORTH, PROFILE, SOUTH

PATH = "/api/v1/camera-states"
BEAT_S = 0.02


@pytest_asyncio.fixture
async def watched(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """The site with its states read fifty times a second."""
    async with beating(site, monkeypatch):
        yield site


@asynccontextmanager
async def beating(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(camera_states, "BEAT_S", BEAT_S)
    running = asyncio.create_task(site.app[STATES].run())
    yield
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Reader:
    """Events as a browser takes them apart."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> tuple[str, Any]:
        """The next event's name and data. Raises EOFError at the end of the stream."""
        name, data = "message", ""
        async with asyncio.timeout(5):
            while True:
                line = (await self.response.content.readline()).decode()
                if not line:
                    raise EOFError
                if line == "\n" and data:
                    return name, json.loads(data)
                field, _, value = line.rstrip("\n").partition(": ")
                name, data = (value if field == "event" else name), (value if field == "data" else data)

    async def until(self, wanted: str) -> Any:
        while True:
            name, data = await self.next()
            if name == wanted:
                return data


@asynccontextmanager
async def following(site: Site, token: str, **headers: str) -> AsyncIterator[Reader]:
    async with site.client.get(PATH, headers={"Authorization": f"Bearer {token}"} | headers) as response:
        assert response.status == 200, await response.text()
        yield Reader(response)


def change(site: Site, camera_id: str, **values: Any) -> CameraView:
    views = site.world.cameras.views
    views[camera_id] = dataclasses.replace(views[camera_id], **values)
    return views[camera_id]


def main_stream(site: Site, camera_id: str, **values: Any) -> None:
    streams = site.world.cameras.views[camera_id].streams
    changed = dataclasses.replace(streams[StreamName.MAIN], **values)
    change(site, camera_id, streams={**streams, StreamName.MAIN: changed})


async def test_it_begins_with_what_the_list_of_cameras_says(watched: Site) -> None:
    token = await watched.world.account("lan", "viewer", "operator")
    listed = (await watched.call("GET", "/api/v1/cameras", token))[1]["cameras"]
    async with following(watched, token, **{"Last-Event-ID": "7"}) as reader:
        assert reader.response.content_type == "text/event-stream"
        assert reader.response.headers["Cache-Control"] == "no-store"
        name, data = await reader.next()
    assert name == "cameras"
    by_id = {camera["id"]: camera for camera in data["cameras"]}
    assert by_id == {camera["id"]: camera for camera in listed}


async def test_only_what_changed_is_told_and_a_storm_of_changes_is_one(watched: Site) -> None:
    token = await watched.world.account("lan", "viewer")
    async with following(watched, token) as reader:
        await reader.until("cameras")
        for number in range(500):
            change(watched, NORTH, name=f"Cổng {number}")
        name, data = await reader.next()
        assert (name, data) == ("camera", {"id": NORTH, "name": "Cổng 499"})
        main_stream(watched, SOUTH, state="retrying", reason=reason("camera_lost"))
        name, data = await reader.next()
    assert (name, set(data)) == ("camera", {"id", "streams"})
    assert data["streams"]["main"]["reason"]["code"] == "camera_lost"


async def test_what_passes_all_the_time_is_told_in_slow_beats_only(watched: Site) -> None:
    token = await watched.world.account("lan", "viewer")
    told, beats = 0, 0
    async with following(watched, token) as reader:
        await reader.until("cameras")
        for number in range(10 * camera_states.SLOW_BEATS):
            recording = watched.world.cameras.views[NORTH].streams[StreamName.MAIN].recording
            main_stream(watched, NORTH, recording=dataclasses.replace(recording, durable_until_us=number * 10**6))
            await watched.app[STATES].beat()
            beats += 1
        change(watched, NORTH, name="End")
        while (await reader.next())[1].get("name") != "End":
            told += 1
    assert 0 < told <= beats / camera_states.SLOW_BEATS + 1


async def test_nobody_is_told_of_cameras_elsewhere(watched: Site) -> None:
    token = await watched.world.account("lan", "viewer", place="south")
    async with following(watched, token) as reader:
        data = await reader.until("cameras")
        assert [camera["id"] for camera in data["cameras"]] == [SOUTH]
        change(watched, NORTH, name="unseen")
        change(watched, SOUTH, name="seen")
        assert await reader.next() == ("camera", {"id": SOUTH, "name": "seen"})


async def test_a_warning_is_for_those_who_can_mend_it(watched: Site) -> None:
    change(watched, NORTH, profile=dataclasses.replace(PROFILE, warnings=("password_default",)))
    viewer, manager = await watched.world.account("lan", "viewer"), await watched.world.account("minh", "operator")
    for token, codes in ((viewer, []), (manager, ["password_default"])):
        async with following(watched, token) as reader:
            data = await reader.until("cameras")
        shown = next(camera for camera in data["cameras"] if camera["id"] == NORTH)
        assert [warning["code"] for warning in shown["profile"]["warnings"]] == codes


@pytest.mark.parametrize("how", ["camera", "grant"])
async def test_a_camera_that_may_be_seen_no_more_is_gone(watched: Site, how: str) -> None:
    accounts = watched.world.services.accounts
    token = await watched.world.account("lan", "viewer", place="south")
    grant_id = await accounts.grant("lan", "viewer", "north", purpose="test")
    async with following(watched, token) as reader:
        await reader.until("cameras")
        if how == "grant":
            await accounts.revoke_grant(grant_id)
        else:
            await watched.world.cameras.remove(NORTH, COMMAND_LINE)
        watched.world.clock.advance(3)
        assert await reader.until("gone") == {"id": NORTH}


async def test_a_new_camera_and_a_new_right_come_whole(watched: Site) -> None:
    token = await watched.world.account("lan", "viewer", place="south")
    async with following(watched, token) as reader:
        await reader.until("cameras")
        await watched.world.services.accounts.grant("lan", "operator", "north", purpose="test")
        watched.world.clock.advance(3)
        data = await reader.until("camera")
    assert (data["id"], data["name"], "camera.manage" in data["permissions"]) == (NORTH, f"Cổng {NORTH}", True)


@pytest.mark.parametrize("how", ["token", "account"])
async def test_it_ends_with_the_account_within_five_seconds(watched: Site, how: str) -> None:
    token = await watched.world.account("lan", "viewer")
    identity = await watched.world.services.sessions.identify(token)
    async with following(watched, token) as reader:
        await reader.until("cameras")
        if how == "token":
            token_id = identity.token_hash.hex()[:16]
            await watched.world.services.sessions.revoke_token(identity, token_id, "")
        else:
            await watched.world.services.accounts.disable_user("lan")
        watched.world.clock.advance(4)
        with pytest.raises(EOFError):
            await reader.next()


async def test_that_a_camera_told_something_is_hinted_to_who_may_read_it(watched: Site) -> None:
    operator, viewer = await watched.world.account("lan", "operator"), await watched.world.account("minh", "viewer")
    async with following(watched, operator) as reader, following(watched, viewer) as other:
        await reader.until("cameras")
        await other.until("cameras")
        await tell(watched, event(1), event(2))
        assert await reader.until("told") == {"cameras": {NORTH: 2}}
        change(watched, NORTH, name="after")
        assert (await other.next())[0] == "camera"


async def test_a_silent_stream_shows_that_it_lives(watched: Site) -> None:
    token = await watched.world.account("lan", "viewer")
    async with following(watched, token) as reader:
        await reader.until("cameras")
        watched.world.clock.advance(routes_states.HEARTBEAT_S)
        assert (await reader.next())[0] == "beat"


async def test_a_reader_that_reads_nothing_is_left_and_holds_up_nobody(
    watched: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_states, "WRITE_S", 0.2)
    token = await watched.world.account("lan", "viewer")
    with socket.create_connection(("127.0.0.1", watched.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        await asyncio.to_thread(deaf.sendall, request.encode())
        states = watched.app[STATES]
        async with asyncio.timeout(20), following(watched, token) as reader:
            await reader.until("cameras")
            number = 0
            while states.followers == 2:
                number += 1
                change(watched, NORTH, name=f"{number} " + "x" * 200_000)
                assert str((await reader.until("camera"))["name"]).startswith(f"{number} ")
        assert number > 1


@pytest.mark.parametrize(
    "settings", [ServerSettings(state_streams=1), ServerSettings(state_streams_per_account=1)], ids=["all", "account"]
)
async def test_their_number_is_bounded_and_a_place_is_free_again(
    tmp_path: Path, settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_site(tmp_path, server=settings) as site, beating(site, monkeypatch):
        token = await site.world.account("lan", "viewer")
        async with following(site, token) as reader:
            await reader.until("cameras")
            assert await site.problem("GET", PATH, token) == (429, "state_streams_full")
        async with asyncio.timeout(5):
            while site.app[STATES].followers:  # noqa: ASYNC110 - the server tells nobody that a client has gone
                await asyncio.sleep(BEAT_S)
        async with following(site, token) as reader:
            await reader.until("cameras")


async def test_a_catalogue_that_fails_for_a_moment_ends_nothing(
    watched: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = await watched.world.account("lan", "viewer")
    async with following(watched, token) as reader:
        await reader.until("cameras")
        real, failures = watched.world.cameras.list, [OSError("disk"), OSError("disk")]

        def failing() -> Any:
            if failures:
                raise failures.pop()
            return real()

        monkeypatch.setattr(watched.world.cameras, "list", failing)
        change(watched, NORTH, name="after")
        assert (await reader.until("camera"))["name"] == "after"
    assert "states of cameras could not be read" in caplog.text


async def test_the_end_of_the_server_waits_for_no_follower(watched: Site) -> None:
    token = await watched.world.account("lan", "viewer")
    async with following(watched, token) as reader:
        await reader.until("cameras")
        await watched.app.shutdown()
        with pytest.raises(EOFError):
            await reader.next()


async def test_nothing_is_read_while_nobody_follows(watched: Site) -> None:
    token, states = await watched.world.account("lan", "viewer"), watched.app[STATES]
    async with following(watched, token) as reader:
        await reader.until("cameras")
    async with asyncio.timeout(5):
        while states.fresh:  # noqa: ASYNC110 - a state that sets no event
            await asyncio.sleep(BEAT_S)
    before = states.revision
    await asyncio.sleep(5 * BEAT_S)
    assert states.revision == before
    change(watched, NORTH, name="meanwhile")
    async with following(watched, token) as reader:
        data = await reader.until("cameras")
    assert "meanwhile" in {camera["name"] for camera in data["cameras"]}
