"""What a running server writes and says, at level DEBUG, holds no credentials: neither as they are nor encoded.

Cameras of every kind of login, and of every kind of failure, are in service; then everything is searched.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from load_tests.beside import loop_beside
from load_tests.seaweed import SeaweedServer
from load_tests.server import CameraAddress, ServerFiles, ServerProcess
from load_tests.stack import CameraFarm, running_farm, wait_for
from mediasrv.web.application import ROUTES, build_app
from tests.integration.fake_camera import fake_camera, fault
from tests.unit.web.fakes import make_world

pytestmark = pytest.mark.timeout(120)

REALMS = (*(f"cam-{number}" for number in range(1, 7)), "camera", "x", "mediasrv")
FARM = {"cameras": 6, "mode": "load", "width": 768, "height": 432, "rate": 10, "bitrate": 300, "gop": 1}


def new_secret(name: str) -> str:
    """Unique, and with what is written otherwise in URLs and XML."""
    return f"{name}+&{secrets.token_hex(8)}"


def new_word() -> str:
    return secrets.token_hex(8)


@dataclass(frozen=True)
class Known:
    """A login that is known to the server. User names are as unique as passwords."""

    username: str
    password: str

    def written(self, realms: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """Every way in which it could be written, with a word for it."""
        yield from encodings(self.password)
        yield from ((f"with the name, {way}", word) for way, word in encodings(f"{self.username}:{self.password}"))
        for realm in realms:
            inner = f"{self.username}:{realm}:{self.password}".encode()
            yield f"HA1 (MD5) of {realm}", hashlib.md5(inner, usedforsecurity=False).hexdigest()
            yield f"HA1 (SHA-256) of {realm}", hashlib.sha256(inner).hexdigest()


def encodings(word: str) -> Iterator[tuple[str, str]]:
    yield "plain", word
    yield "in a URL", quote(word, safe="")
    yield "in a form", quote_plus(word)
    yield "in JSON", json.dumps(word)[1:-1]
    yield "in XML", word.replace("&", "&amp;")
    yield "in hex", word.encode().hex()
    yield "in base64", base64.b64encode(word.encode()).decode().rstrip("=")
    yield "in URL's base64", base64.urlsafe_b64encode(word.encode()).decode().rstrip("=")


@dataclass
class Told:
    """Everything the server said or wrote, by where."""

    texts: dict[str, bytes] = field(default_factory=dict)

    def find(self, needles: Mapping[str, str]) -> set[tuple[str, str]]:
        return {
            (where, what)
            for where, text in self.texts.items()
            for what, needle in needles.items()
            if needle.encode() in text
        }


@dataclass
class Client:
    """Calls the API and keeps all that it answers, headers and errors too."""

    url: str
    told: Told
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | self.headers
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                endless = answer.headers.get_content_type() == "text/event-stream"
                text = answer.read1(1 << 20) if endless else answer.read()
                status, head = answer.status, str(answer.headers)
        except urllib.error.HTTPError as refused:
            with refused:
                status, head, text = refused.code, str(refused.headers), refused.read()
        self.told.texts[f"{method} {path.partition('?')[0]} #{len(self.told.texts)}"] = head.encode() + text
        with contextlib.suppress(ValueError):
            return status, json.loads(text)
        return status, None

    def main(self, camera_id: str) -> tuple[str, str]:
        """State and reason of a camera's main stream."""
        main = self.call("GET", f"/api/v1/cameras/{camera_id}")[1]["streams"]["main"]
        return main["state"], (main["reason"] or {}).get("code", "")


@contextlib.asynccontextmanager
async def echoing_rtsp() -> AsyncIterator[str]:
    """A camera that takes Basic, and then says in its refusal whatever it was told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                shown = lines.get("Authorization", "").removeprefix("Basic ")
                said = f"400 Not {base64.b64decode(shown).decode()}, not {shown}" if shown else "401 Unauthorized"
                answer = f'RTSP/1.0 {said}\r\nCSeq: {lines["CSeq"]}\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'
                writer.write(answer.encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    finally:
        server.close()


# --- a server with all of it in use --------------------------------------------------------------------------


@dataclass
class Scene:
    """What is known, and what was told."""

    told: Told = field(default_factory=Told)
    logins: dict[str, Known] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    in_addresses: dict[str, str] = field(default_factory=lambda: {"query": new_word(), "path": new_word()})
    """Passwords that some cameras want within the address: the catalogue holds that (docs/limits.md)."""
    processes: dict[str, bytes] = field(default_factory=dict)

    def login(self, name: str) -> Known:
        return self.logins.setdefault(name, Known(new_secret(f"user-{name}"), new_secret(f"pass-{name}")))

    def needles(self) -> dict[str, str]:
        found = {
            f"{name}, {way}": needle for name, login in self.logins.items() for way, needle in login.written(REALMS)
        }
        words = self.words.items()
        return found | {f"{name}, {way}": needle for name, word in words for way, needle in encodings(word)}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, s3: SeaweedServer) -> Iterator[Scene]:
    directory, scene = Path(tmp_path_factory.mktemp("no-credentials")), Scene()
    with contextlib.ExitStack() as stack:
        beside = stack.enter_context(loop_beside())
        farm = start_farm(scene, directory, stack)
        files = server_files(scene, directory, s3, farm)
        client = Client(files.url, scene.told)
        account = Known("lan", new_secret("account"))
        scene.logins["the account"] = account
        scene.words["the API token"] = files.make_account(account.username, account.password, "test")
        scene.words |= {"the S3 secret": s3.secret_key}
        server = ServerProcess(files)
        server.start()
        stack.callback(server.stop)
        log_in(scene, client, account)
        echo = stack.enter_context(beside.entered(echoing_rtsp()))
        fake = stack.enter_context(beside.entered(fake_camera(auth=("basic",))))
        fake.username, fake.password = (login := scene.login("echo-onvif")).username, login.password
        add_cameras(scene, client, farm, echo, fake)
        use_and_break(scene, client, farm, fake)
        ask_everything(scene, client, directory)
        scene.processes = processes_below(server.pid)
        scene.told.texts["check"] = command_output(files, "check").encode()
        scene.told.texts["log verify"] = command_output(files, "log", "verify").encode()
        assert server.stop() == 0
        scene.told.texts["the log"] = server.log_path.read_bytes()
        data = [path for path in (directory / "server" / "data").rglob("*") if path.is_file()]
        scene.told.texts |= {str(path.relative_to(directory)): path.read_bytes() for path in data}
        yield scene


def start_farm(scene: Scene, directory: Path, stack: contextlib.ExitStack) -> CameraFarm:
    kinds = {
        "cam-1": "ptz=on,onvif-auth=wsse",
        "cam-2": "rtsp-auth=basic,onvif-auth=basic,audio=none",
        "cam-3": "rtsp-auth=digest-sha256,rtsp-qop=on",
        "cam-4": "onvif-auth=basic",
        "cam-5": "onvif-auth=digest",
        "cam-6": "onvif-auth=digest-sha256",
    }
    options = []
    for camera_id, kind in kinds.items():
        login = scene.login(camera_id)
        options.append(f"{camera_id}:username={login.username},password={login.password},{kind}")
    return stack.enter_context(running_farm(directory / "cameras.log", set=options, **FARM))


def server_files(scene: Scene, directory: Path, s3: SeaweedServer, farm: CameraFarm) -> ServerFiles:
    """Two cameras come by the cameras file and the environment, one of them with a password that is wrong."""
    address = {one["id"]: one["onvif_address"] for one in farm.cameras}
    right, wrong = scene.login("cam-1"), scene.login("wrong")
    cameras = [
        CameraAddress("file-1", address["cam-1"], "", right.username, right.password),
        CameraAddress("file-2", address["cam-4"], "", wrong.username, wrong.password),
        CameraAddress("file-3", f"rtsp://192.0.2.1/live?user=x&password={scene.in_addresses['query']}&channel=1"),
        CameraAddress(
            "file-4", f"rtsp://192.0.2.1/user=x_password={scene.in_addresses['path']}_channel=1_stream=0.sdp"
        ),
    ]
    overrides: dict[str, dict[str, Any]] = {
        "storage": {"bucket": "no-credentials-footage", "key_bucket": "no-credentials-keys"},
        "log": {"level": "debug"},
    }
    files = ServerFiles(directory / "server", s3, cameras, overrides=overrides)
    files.write()
    return files


def log_in(scene: Scene, client: Client, account: Known) -> None:
    """By password, right and wrong; then with the cookie, and with a token that is made by it."""
    wrong = scene.login("wrong account")
    assert client.call("POST", "/api/v1/session", {"username": "lan", "password": wrong.password})[0] == 401
    body = json.dumps({"username": "lan", "password": account.password}).encode()
    request = urllib.request.Request(f"{client.url}/api/v1/session", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        [(name, cookie)] = SimpleCookie(answer.headers["Set-Cookie"]).items()
    scene.words["the session cookie"] = cookie.value
    client.headers = {"Cookie": f"{name}={cookie.value}", "Origin": client.url}
    assert client.call("GET", "/api/v1/session")[0] == 200
    client.headers = {"Authorization": f"Bearer {scene.words['the API token']}"}
    assert client.call("GET", f"/api/v1/session?token={scene.words['the API token']}")[0] == 200


def add_cameras(scene: Scene, client: Client, farm: CameraFarm, echo: str, fake: Any) -> None:
    addresses = {one["id"]: one["onvif_address"] for one in farm.cameras}
    urls = {one["id"]: one["urls"]["main"] for one in farm.cameras}

    def add(camera_id: str, address: str, login: Known | None = None) -> tuple[int, Any]:
        said = {"username": login.username, "password": login.password} if login else {}
        return client.call("POST", "/api/v1/cameras", {"id": camera_id, "address": address, "attested": 1} | said)

    third, stray = scene.login("cam-3"), scene.login("stray")
    assert add("api-2", addresses["cam-2"], scene.login("cam-2"))[0] == 201
    pasted = urls["cam-3"].replace("://", f"://{quote(third.username, safe='')}:{quote(third.password, safe='')}@")
    assert add("api-3", pasted)[0] == 201
    assert add("api-4", addresses["cam-4"], scene.login("cam-4"))[0] == 201
    assert add("api-5", addresses["cam-5"], scene.login("cam-5"))[0] == 201
    assert add("api-6", addresses["cam-6"], scene.login("cam-6"))[0] == 201
    # As a camera that tells its own password in the addresses of its streams.
    login = scene.login("echo-onvif")
    query = f"user={quote(login.username)}&password={quote(login.password)}&channel=1"
    uri = f"rtsp://{quote(login.username)}:{quote(login.password)}@127.0.0.1:1/live?{query}".replace("&", "&amp;")
    fake.answers["GetStreamUri"] = f"<x:MediaUri><tt:Uri>{uri}</tt:Uri></x:MediaUri>"
    assert add("echo-onvif", fake.address, login)[0] == 201
    # What is refused, in every way of writing it.
    host = addresses["cam-1"]
    typed = f"{stray.username}:{stray.password}"
    for address in (
        f"http://{typed}@{host}/",
        f"{typed}@{host}",
        f"rtsp://{typed}@192.0.2.1/x",
        f"ftp://{typed}@{host}",
    ):
        assert add("no", address)[0] == 422
        assert client.call("POST", "/api/v1/cameras/probe", {"address": address})[0] == 422
        assert client.call("GET", f"/api/v1/discover?addresses={quote(address, safe='')}")[0] == 400
    assert add("no", echo, scene.login("echo-rtsp"))[0] == 422
    assert add("no", urls["cam-1"], stray)[0] == 422
    client.call("POST", "/api/v1/cameras", {"id": "no", "address": urls["cam-1"], "pass": stray.password})
    stray_query = f"{urls['cam-1']}?user=x&password={scene.in_addresses['query']}"
    assert add("no", stray_query, stray)[0] == 422
    client.call("POST", "/api/v1/cameras", {"id": 1, "address": [stray.password], "password": 5})


def use_and_break(scene: Scene, client: Client, farm: CameraFarm, fake: Any) -> None:
    def shows(camera_id: str, *wanted: tuple[str, str]) -> None:
        wait_for(lambda: client.main(camera_id) in wanted, 25, lambda: f"{camera_id}: {client.main(camera_id)}")

    shows("file-1", ("live", ""))
    shows("api-3", ("live", ""))
    shows("file-2", ("retrying", "credentials_wrong"))
    move = {"move": "continuous", "pan": 1}
    wait_for(lambda: client.call("POST", "/api/v1/cameras/file-1/ptz", move)[0] == 200, 20)
    farm.event("cam-1", "motion")
    span = f"start={quote((datetime.now(UTC) - timedelta(minutes=5)).isoformat())}&end="
    wait_for(lambda: events(client, span), 20)
    fifth = scene.login("cam-5")
    farm.fault("cam-5", "redirect", to=f"rtsp://{fifth.username}:{quote(fifth.password, safe='')}@192.0.2.1/x")
    farm.fault("cam-5", "drop")
    shows("api-5", ("retrying", "address_refused"))
    new = scene.login("api-6, changed")
    assert client.call("PATCH", "/api/v1/cameras/api-6", {"username": new.username, "password": new.password})[0] == 200
    shows("api-6", ("retrying", "credentials_wrong"))
    farm.fault("cam-2", "onvif_bomb", bomb="external")
    farm.fault("cam-2", "status", status="404 Not Found")
    farm.fault("cam-2", "drop")
    shows("api-2", ("retrying", "stream_not_found"), ("retrying", "onvif_failed"))
    login = scene.login("echo-onvif")

    def echo(asked: Any) -> Any:
        encoded = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
        return fault("ter:Echo", f"{login.password} {encoded}".replace("&", "&amp;"))

    fake.answers["CreatePullPointSubscription"] = fake.answers["ContinuousMove"] = fake.answers["GetProfiles"] = echo
    wait_for(lambda: fake.counts["CreatePullPointSubscription"], 20)
    client.call("POST", "/api/v1/cameras/echo-onvif/ptz", move)
    client.call("POST", "/api/v1/cameras/probe", {"address": fake.address} | vars_of(login))


def vars_of(login: Known) -> dict[str, str]:
    return {"username": login.username, "password": login.password}


def events(client: Client, span: str) -> list[Any]:
    path = f"/api/v1/cameras/file-1/events?{span}{quote(datetime.now(UTC).isoformat())}"
    found: list[Any] = client.call("GET", path)[1]["events"]
    return found


def ask_everything(scene: Scene, client: Client, directory: Path) -> None:
    """Every GET route, for every camera where it has one."""
    cameras = [one["id"] for one in client.call("GET", "/api/v1/cameras")[1]["cameras"]]
    world = directory / "world"
    world.mkdir()
    paths = asyncio.run(get_paths(world))
    assert len(paths) > 20
    now = datetime.now(UTC)
    span = f"start={quote((now - timedelta(minutes=5)).isoformat())}&end={quote(now.isoformat())}"
    for path in paths:
        for camera_id in cameras if "{camera}" in path else [""]:
            filled = path.replace("{camera}", camera_id).replace("{token}", "x" * 43)
            filled = filled.replace("{file}", "x.m4s").replace("{stream:main|sub}", "main")
            client.call("GET", f"{filled}?{span}")


async def get_paths(directory: Path) -> list[str]:
    async with make_world(directory) as world:
        return sorted({route.path for route in build_app(world.services)[ROUTES].values() if route.method == "GET"})


def command_output(files: ServerFiles, *words: str) -> str:
    try:
        return files.command(*words)
    except RuntimeError as error:
        return str(error)


def processes_below(pid: int) -> dict[str, bytes]:
    """Command lines of a process and of all below it, and the environments of these."""
    found = {"command line of the server": Path(f"/proc/{pid}/cmdline").read_bytes()}
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for task in Path(f"/proc/{parent}/task").iterdir():
            children = [int(word) for word in (task / "children").read_text().split()]
            waiting += children
            for child in children:
                for name in ("cmdline", "environ"):
                    found[f"{name} of child {child}"] = Path(f"/proc/{child}/{name}").read_bytes()
    return found


# --- the search -------------------------------------------------------------------------------------------------


def test_nothing_that_was_said_or_written_holds_credentials(scene: Scene) -> None:
    assert b"DEBUG" in scene.told.texts["the log"]
    assert scene.told.find(scene.needles()) == set()


def test_nobody_is_told_a_password_that_stands_in_an_address(scene: Scene) -> None:
    told = {where: text for where, text in scene.told.texts.items() if "catalogue.db" not in where}
    assert any(b"password=***" in text for text in told.values())
    assert Told(told).find(scene.in_addresses) == set()


def test_nobody_is_told_the_user_name_of_a_camera(scene: Scene) -> None:
    """The catalogue holds those of the cameras file, which stand there in plain."""
    told = {where: text for where, text in scene.told.texts.items() if "catalogue.db" not in where}
    names = {name: login.username for name, login in scene.logins.items() if login.username != "lan"}
    assert Told(told).find(names) == set()


def test_neither_command_lines_nor_children_hold_any(scene: Scene) -> None:
    assert Told(scene.processes).find(scene.needles()) == set()


def test_the_log_holds_neither_digests_nor_tokens_of_web_services(scene: Scene) -> None:
    """By these, too, a password can be guessed at leisure."""
    log = scene.told.texts["the log"]
    for word in (b"PasswordDigest", b"UsernameToken", b'response="', b"Authorization:", b"nonce="):
        assert word not in log, word


def test_the_search_finds_what_it_is_for(scene: Scene) -> None:
    needles = scene.needles()
    assert len(needles) == 8 * (2 * len(scene.logins) + len(scene.words)) + 2 * len(REALMS) * len(scene.logins)
    for what, needle in needles.items():
        assert Told({"somewhere": f"… {needle} …".encode()}).find({what: needle}) == {("somewhere", what)}
    login = scene.login("cam-2")
    basic = base64.b64encode(f"{login.username}:{login.password}".encode())
    assert Told({"somewhere": b"Basic " + basic}).find(needles)
