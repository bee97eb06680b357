"""Whatever leads elsewhere, nothing goes to an address outside the allowed networks: no connection, no datagram.

Cameras are at 127.0.0.2, and that alone is allowed. On 127.0.0.1 and ::1, at every port that matters, something listens
and writes down who comes; and every destination of this process is looked at, so that addresses where nobody can
listen (a cloud's metadata service) count as well.
"""

# ruff: noqa: S104, RUF001 - nothing is bound, and the digits are meant to be odd

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from load_tests.camera_farm.process import FarmProcess
from load_tests.server import CameraAddress
from mediasrv.cameras.views import NewCamera
from mediasrv.errors import CameraError, InvalidRequest
from mediasrv.onvif import Move, Vector, read_device
from mediasrv.onvif.targets import parse_targets
from mediasrv.rtsp_pull import RtspSource
from mediasrv.security.accounts import Actor
from mediasrv.settings import OnvifSettings, PullSettings
from tests.integration.bad_rtsp import BadCamera, Fault
from tests.integration.fake_camera import PASSWORD, USERNAME, FakeCamera, fake_camera
from tests.integration.node import Node, running_node, until
from tests.integration.pull_rig import SETTINGS, pull_until_it_ends
from tests.integration.trap import Trap, destinations, outside, trap_at

HERE = "127.0.0.2"
NETWORK = f"{HERE}/32"
PULL = dataclasses.replace(SETTINGS, allowed_networks=(NETWORK,))
CARELESS = dataclasses.replace(SETTINGS, allowed_networks=("127.0.0.0/8", "::1/128"))
FARM = {"host": HERE, "width": 768, "height": 432, "rate": 10, "bitrate": 300, "gop": 1, "audio": "none"}
LAN = Actor(username="lan")

NAMES: dict[str, list[str]] = {
    "trap.test": ["127.0.0.1"],
    "trap6.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "any.test": ["0.0.0.0", "::"],
    "cloud.test": ["169.254.169.254", "fd00:ec2::254"],
    "both.test": ["::1", "127.0.0.1", HERE],
}
TO_THE_TRAP = [
    *("127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.1", "0.0.0.0", "0", "[::1]", "[::]", "[::1%25lo]"),
    *("2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1.", "１２７.0.0.1", "①②⑦.0.0.①"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("[2002:7f00:1::]", "trap.test", "trap.test.", "trap6.test", "mapped.test", "any.test"),
    *("169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "cloud.test"),
    *(f"{HERE}@127.0.0.1", f"{HERE}\\@127.0.0.1", f"{HERE}#@127.0.0.1", f"{HERE}%2f@127.0.0.1", f"{HERE}:80@[::1]"),
]
"""Hosts as people, cameras and those who mean harm write them."""
REFUSALS = {"address_refused", "address_invalid", "name_unresolved", "redirect_refused"}
ODD_NUMBERS = {"onvif_failed"}
"""The HTTP client does not take them for hosts."""


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the tests; numbers in all their forms are the system's to read. Nothing is asked of the network."""
    ask, turns = socket.getaddrinfo, cycle([HERE, "127.0.0.1", "169.254.169.254"])

    def getaddrinfo(host: Any, port: Any, *options: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name.rstrip(".") == "turns.test":
            return ask(next(turns), port, *options, **named)
        if name.rstrip(".").lower() in NAMES:
            return [info for one in NAMES[name.rstrip(".").lower()] for info in ask(one, port, *options, **named)]
        if name.lower().rstrip(".") != "localhost":
            ask(host, port, flags=socket.AI_NUMERICHOST)
        return ask(host, port, *options, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    async with trap_at() as trap:
        yield trap


@contextlib.contextmanager
def kept_away(*traps: Trap, but: tuple[tuple[str, int], ...] = ()) -> Iterator[list[Any]]:
    """Nothing leaves for elsewhere, except for `but`; gives the destinations."""
    with destinations() as found:
        yield found
    assert [trap.touched for trap in traps] == [[]] * len(traps)
    assert outside(found, NETWORK, but) == set()


@contextlib.asynccontextmanager
async def node_kept_away(
    directory: Path, *traps: Trap, cameras: tuple[CameraAddress, ...] = (), **onvif: Any
) -> AsyncIterator[Node]:
    """A node that may go to HERE alone, and to its storage."""
    pull = {"allowed_networks": [NETWORK], "backoff_first_s": 0.1, "backoff_most_s": 0.2}
    onvif = {"timeout_s": 2.0, "discovery_s": 0.3} | onvif
    with destinations() as found:
        async with running_node(directory, cameras, pull=pull, onvif=onvif) as node:
            yield node
        storage_port = int(node.settings.storage.endpoint.rpartition(":")[2])
    assert [trap.touched for trap in traps] == [[]] * len(traps)
    assert outside(found, NETWORK, [("127.0.0.1", storage_port)]) == set()
    assert ("127.0.0.1", storage_port) in [one[:2] for one in found], "destinations are not seen at all"


async def refusal_of(node: Node, address: str) -> str:
    """The code with which a camera at this address is not added; empty where it would be."""
    try:
        await node.server.cameras.probe(NewCamera(address, username=USERNAME, password=PASSWORD))
    except CameraError as error:
        return error.code
    return ""


# --- what people type ---------------------------------------------------------------------------------------


async def test_no_way_of_writing_an_address_leads_there(tmp_path: Path, trap: Trap) -> None:
    async with node_kept_away(tmp_path, trap) as node:
        for host in TO_THE_TRAP:
            codes = {await refusal_of(node, trap.url(scheme, host)) for scheme in ("rtsp", "rtsps", "http")}
            codes |= {await refusal_of(node, f"{host}:{trap.port}")}
            # What is read as an address of ours, and not as what stands behind it, may be asked.
            at_home = {"port_closed"} if host.startswith(HERE) else set()
            assert codes <= REFUSALS | ODD_NUMBERS | at_home, host


async def test_cameras_of_the_file_are_not_connected_to_either(tmp_path: Path, trap: Trap) -> None:
    cameras = (
        CameraAddress("by-rtsp", trap.url("rtsp", "localhost"), username="admin", password="secret"),
        CameraAddress("by-onvif", f"trap.test:{trap.port}", username="admin", password="secret"),
        CameraAddress("by-cloud", "rtsp://[fd00:ec2::254]/latest"),
    )

    async with node_kept_away(tmp_path, trap, cameras=cameras) as node:

        def refused() -> bool:
            reasons = [node.main(one.camera_id).reason for one in cameras]
            return all(reason is not None and reason.code == "address_refused" for reason in reasons)

        await until(refused, 10, lambda: [node.main(one.camera_id) for one in cameras])
        await until(lambda: node.server.fleet.get("by-onvif").clock_state.code == "address_refused", 10)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1", "[::ffff:127.0.0.1]", "１２７.0.0.1"])
async def test_all_forms_lead_to_the_trap_where_its_network_is_allowed(trap: Trap, host: str) -> None:
    """What the other tests rest upon."""
    name = host.encode("idna").decode() if not host.isascii() else host
    await pull_until_it_ends(RtspSource(trap.url("rtsp", name)), CARELESS)
    assert trap.touched == ["a connection to 127.0.0.1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "trap.test", "trap6.test"])
async def test_the_trap_is_touched_where_its_network_is_allowed(trap: Trap, host: str) -> None:
    """What the other tests rest upon."""
    await pull_until_it_ends(RtspSource(trap.url("rtsp", host)), CARELESS)
    assert len(trap.touched) == 1
    with pytest.raises(CameraError):
        await read_device(f"{host}:{trap.port}", "", "", OnvifSettings(timeout_s=2), CARELESS.allowed_networks)
    assert len(trap.touched) > 1


# --- names --------------------------------------------------------------------------------------------------


async def test_of_several_addresses_of_a_name_the_allowed_one_is_taken(tmp_path: Path) -> None:
    async with FarmProcess(cameras=1, **FARM) as farm, contextlib.AsyncExitStack() as stack:
        ports = [farm.cameras[0][f"{door}_port"] for door in ("onvif", "rtsp")]
        traps = [await stack.enter_async_context(trap_at(port)) for port in ports]
        async with node_kept_away(tmp_path, *traps) as node:
            for address in (f"both.test:{ports[0]}", f"rtsp://both.test:{ports[1]}/main"):
                wish = NewCamera(address, username=farm.username, password=farm.password, attested=1)
                camera_id = (await node.server.cameras.add(wish, LAN)).camera_id
                await until(lambda one=camera_id: node.main(one).state == "live", 10)  # type: ignore[misc]


async def test_a_name_that_points_elsewhere_a_moment_later_leads_nowhere(tmp_path: Path) -> None:
    async with FarmProcess(cameras=1, **FARM) as farm, contextlib.AsyncExitStack() as stack:
        ports = [farm.cameras[0][f"{door}_port"] for door in ("onvif", "rtsp")]
        traps = [await stack.enter_async_context(trap_at(port)) for port in ports]
        async with node_kept_away(tmp_path, *traps) as node:
            for address in (f"turns.test:{ports[0]}", f"rtsp://turns.test:{ports[1]}/main") * 5:
                assert await refusal_of(node, address) in REFUSALS | {"credentials_wrong", "onvif_failed", ""}
            wish = NewCamera(f"turns.test:{ports[0]}", attested=1, username=farm.username, password=farm.password)
            while not node.server.cameras.list():
                with contextlib.suppress(CameraError):
                    await node.server.cameras.add(wish, LAN)
            [camera] = node.server.cameras.list()
            # Every third attempt meets the right address.
            await until(lambda: node.main(camera.camera_id).state == "live", 10)


# --- what cameras say ---------------------------------------------------------------------------------------


ELSEWHERE = [
    *("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0", "trap.test", "any.test"),
    *("169.254.169.254", "[fd00:ec2::254]", "cloud.test", "turns.test", "both.test"),
]


def point_elsewhere(camera: FakeCamera, trap: Trap, host: str) -> None:
    """All its services, its subscriptions, streams and snapshots."""
    camera.url = lambda path: trap.url("http", host, path)  # type: ignore[method-assign]
    uri = trap.url("rtsp", host)
    camera.answers["GetStreamUri"] = f"<x:MediaUri><tt:Uri>{uri}</tt:Uri></x:MediaUri><x:Uri>{uri}</x:Uri>"


@pytest.mark.parametrize("services", [("media", "events", "ptz"), ("media2", "events", "ptz")])
async def test_addresses_that_a_camera_tells_are_not_followed_out(
    tmp_path: Path, trap: Trap, services: tuple[str, ...]
) -> None:
    """Its own address stands in for what it says: events and PTZ work, only the stream is not where it should be."""
    async with contextlib.AsyncExitStack() as stack:
        cameras = [await stack.enter_async_context(fake_camera(*services, host=HERE)) for _ in ELSEWHERE]
        node = await stack.enter_async_context(node_kept_away(tmp_path, trap))
        for number, (camera, host) in enumerate(zip(cameras, ELSEWHERE, strict=True)):
            point_elsewhere(camera, trap, host)
            wish = NewCamera(
                camera.address, camera_id=f"cam-{number}", username=USERNAME, password=PASSWORD, attested=1
            )
            view = await node.server.cameras.add(wish, LAN)
            assert view.profile is not None
            told = (view.profile.main.url, view.profile.main.snapshot_url)
            assert all(url.split("/")[2].startswith((HERE, "both.test")) for url in told), told
        for number, camera in enumerate(cameras):
            await until(lambda one=camera: one.counts["PullMessages"], 15)  # type: ignore[misc]
            await node.server.fleet.ptz.move(f"cam-{number}", "1", "lan", Move.CONTINUOUS, Vector((1.0, 0.0)))
            assert camera.counts["ContinuousMove"] == 1
            await until(lambda one=number: node.main(f"cam-{one}").state == "retrying", 10)  # type: ignore[misc]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_of_web_services_are_not_followed_out(tmp_path: Path, trap: Trap, status: int) -> None:
    operations = [
        *("GetSystemDateAndTime", "GetServices", "GetCapabilities", "GetProfiles", "GetStreamUri", "GetSnapshotUri"),
        *("CreatePullPointSubscription", "PullMessages", "GetNodes", "ContinuousMove"),
    ]

    def away(_: object) -> web.Response:
        return web.Response(status=status, headers={"Location": trap.url("http", "127.0.0.1")})

    async with fake_camera(host=HERE) as camera, node_kept_away(tmp_path, trap) as node:
        wish = NewCamera(camera.address, camera_id="gate", username=USERNAME, password=PASSWORD, attested=1)
        await node.server.cameras.add(wish, LAN)
        await until(lambda: camera.counts["PullMessages"], 10)
        for operation in operations:
            camera.answers[operation] = away
            with contextlib.suppress(CameraError):
                await node.server.cameras.probe(wish)
            with contextlib.suppress(CameraError):
                await node.server.fleet.ptz.move("gate", "1", "lan", Move.CONTINUOUS, Vector((1.0, 0.0)))
            assert camera.counts[operation], operation
            if operation in ("GetServices", "GetCapabilities", "GetProfiles"):
                del camera.answers[operation]
        camera.forget_subscriptions()  # and now it must be read anew


async def test_a_proxy_of_the_environment_is_not_used(
    tmp_path: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "rtsp_proxy"):
        monkeypatch.setenv(name, trap.url("http", "127.0.0.1"))
    async with fake_camera(host=HERE) as camera, node_kept_away(tmp_path, trap) as node:
        wish = NewCamera(camera.address, camera_id="gate", username=USERNAME, password=PASSWORD, attested=1)
        await node.server.cameras.add(wish, LAN)
        await until(lambda: camera.counts["PullMessages"], 10)


# --- RTSP ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Moved Temporarily", "303 See Other", "305 Use Proxy"])
async def test_redirects_of_a_stream_are_not_followed_out(trap: Trap, status: str) -> None:
    async with BadCamera(Fault(), host=HERE) as camera:
        for host in TO_THE_TRAP:
            for scheme in ("rtsp", "rtsps"):
                location = trap.url(scheme, host).encode("utf-8").decode("latin-1")
                camera.fault = Fault(status={"DESCRIBE": status}, headers={"DESCRIBE": f"Location: {location}"})
                with kept_away(trap):
                    error, _ = await pull_until_it_ends(RtspSource(camera.url, "admin", "secret"), PULL)
                assert error.code in REFUSALS, host


async def test_a_camera_that_sends_its_viewer_elsewhere_is_left(trap: Trap) -> None:
    async with FarmProcess(cameras=1, **FARM) as farm:
        for host in ("127.0.0.1", "[::1]", "localhost", "169.254.169.254"):
            with kept_away(trap):
                source = RtspSource(farm.url("cam-1"), farm.username, farm.password)
                pull = asyncio.create_task(pull_until_it_ends(source, PULL))
                async with asyncio.timeout(10):
                    while not (await farm.camera("cam-1"))["sessions_now"]:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.02)
                await farm.fault("cam-1", "redirect_request", to=trap.url("rtsp", host))
                error, _ = await pull
            assert error.code == "address_refused"


async def test_what_a_description_calls_its_base_is_not_connected_to(trap: Trap) -> None:
    headers = {"DESCRIBE": f"Content-Base: {trap.url('rtsp', '127.0.0.1')}/"}
    async with BadCamera(Fault(headers=headers, stop_after=20), host=HERE) as camera:
        with kept_away(trap):
            error, pulled = await pull_until_it_ends(RtspSource(camera.url), PULL)
        assert (error.code, len(pulled.video) > 10) == ("stalled", True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.169.254", "trap.test"])
async def test_no_datagram_goes_to_a_source_that_is_not_allowed(trap: Trap, host: str) -> None:
    """The first packets that open the way for UDP go to the camera alone."""
    with kept_away(trap) as found:
        await pull_by_udp(trap, host, PULL)
    assert {one[:2] for one in found} >= {(HERE, trap.port), (HERE, trap.port + 1)}


async def test_datagrams_do_go_to_a_source_that_is_allowed(trap: Trap) -> None:
    await pull_by_udp(trap, "127.0.0.1", CARELESS)
    assert trap.touched == ["a datagram to 127.0.0.1"]


async def pull_by_udp(trap: Trap, source: str, settings: PullSettings) -> None:
    ports = f"client_port=5000-5001;server_port={trap.port}-{trap.port + 1}"
    setup = f"Transport: RTP/AVP;unicast;{ports};source={source}\r\nSession: 5A"
    async with BadCamera(Fault(headers={"SETUP": setup}, stop_after=0), host=HERE) as camera:
        udp = dataclasses.replace(settings, transport="udp", stall_timeout_s=0.3)
        error, _ = await pull_until_it_ends(RtspSource(camera.url), udp)
    assert error.code == "stalled"


# --- discovery ----------------------------------------------------------------------------------------------


async def test_addresses_that_are_searched_are_asked_only_where_that_is_allowed(tmp_path: Path, trap: Trap) -> None:
    text = " ".join(f"{host}:{trap.port}" for host in (*TO_THE_TRAP, "127.0.0.0/30", "127.0.0.1-3") if "@" not in host)
    async with fake_camera(host=HERE) as camera, node_kept_away(tmp_path, trap) as node:
        asked = [camera.address]
        for word in text.split():
            with contextlib.suppress(InvalidRequest):
                asked += parse_targets(word)
        assert len(asked) > 30
        found = await node.server.cameras.discover(asked)
        assert [one.address for one in found] == [camera.address]  # type: ignore[attr-defined]


async def test_what_answers_a_search_leads_nowhere_else(tmp_path: Path) -> None:
    async with FarmProcess(cameras=1, reported_host="127.0.0.1", **FARM) as farm, contextlib.AsyncExitStack() as stack:
        port = farm.cameras[0]["onvif_port"]
        trap = await stack.enter_async_context(trap_at(port))
        targets = [f"{HERE}:{farm.discovery_port}"]
        async with node_kept_away(tmp_path, trap, discovery_targets=targets) as node:
            [found] = await node.server.cameras.discover()
            assert found.address == f"127.0.0.1:{port}"  # type: ignore[attr-defined]
            assert await refusal_of(node, found.address) == "address_refused"  # type: ignore[attr-defined]
