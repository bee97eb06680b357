"""A real mediasrv in a process of its own, for the demo, the load tests and the tests.

`ServerFiles` lays out a directory (configuration, data, accounts by the command line's own commands);
`ServerProcess` runs `mediasrv serve` on it, and may be killed and started again on the same data.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from load_tests.child import end
from load_tests.ports import free_ports
from load_tests.seaweed import SeaweedServer

START_S: Final = 30.0
ATTESTED_BY: Final = "the simulation, which draws its pictures"
ROLES: Final = ("administrator", "viewer", "operator", "auditor")


@dataclass(frozen=True, slots=True)
class CameraAddress:
    """A camera for config/cameras.toml, where `recording` is its plan. The password goes through the environment."""

    camera_id: str
    address: str
    name: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    sub_address: str = ""
    recording: Mapping[str, Any] = field(default_factory=lambda: {"mode": "continuous"})


@dataclass(slots=True)
class ServerFiles:
    """A directory from which a server can be started as often as one likes."""

    directory: Path
    s3: SeaweedServer
    cameras: Sequence[CameraAddress] = ()
    port: int = 0
    webrtc_port: int = 0
    rtsp_port: int = 0
    rtsps_port: int = 0
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.port = self.port or free_ports(1)[0]
        # Of TCP as of UDP, and not that of HTTP.
        self.webrtc_port = self.webrtc_port or next(port for port in free_ports(2) if port != self.port)
        if not self.rtsp_port:
            self.rtsp_port, self.rtsps_port = free_ports(2)

    @property
    def config(self) -> Path:
        return self.directory / "mediasrv.toml"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def write(self) -> None:
        """Writes the configuration anew; the data directory stays."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.environment |= {
            "MEDIASRV_S3_ACCESS_KEY": self.s3.access_key,
            "MEDIASRV_S3_SECRET_KEY": self.s3.secret_key,
        }
        cameras = self.directory / "cameras.toml"
        cameras.write_text("".join(self._camera_table(n, one) for n, one in enumerate(self.cameras)), encoding="utf-8")
        sections: dict[str, dict[str, Any]] = {
            "server": {"port": self.port, "data_dir": str(self.directory / "data"), "cameras_file": str(cameras)},
            "storage": {"endpoint": self.s3.endpoint},
            "webrtc": {"port": self.webrtc_port},
            "rtsp_serve": {"port": self.rtsp_port, "tls_port": self.rtsps_port},
            "pull": {"allowed_networks": ["127.0.0.0/8"]},
        }
        for section, values in self.overrides.items():
            sections.setdefault(section, {}).update(values)
        text = "".join(f"[{name}]\n{_toml(values)}\n" for name, values in sections.items())
        self.config.write_text(text, encoding="utf-8")

    def _camera_table(self, number: int, camera: CameraAddress) -> str:
        variable = f"MEDIASRV_CAMERA_PASSWORD_{number}"
        values: dict[str, Any] = {"id": camera.camera_id, "address": camera.address, "attested_by": ATTESTED_BY}
        values["recording"] = camera.recording
        if camera.name:
            values["name"] = camera.name
        if camera.sub_address:
            values["sub_address"] = camera.sub_address
        if camera.username:
            self.environment[variable] = camera.password
            values |= {"username": camera.username, "password": f"env:{variable}"}
        return f"[[camera]]\n{_toml(values)}\n"

    def command(self, *arguments: str, stdin: str = "") -> str:
        """Runs a mediasrv command on this directory and returns what it prints. Raises RuntimeError with its error."""
        done = subprocess.run(
            [sys.executable, "-m", "mediasrv", *arguments, "--config", str(self.config)],
            env=os.environ | self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"mediasrv {' '.join(arguments)}: {done.stdout}{done.stderr}".strip())
        return done.stdout.strip()

    def make_account(self, username: str, password: str, purpose: str, roles: Sequence[str] = ROLES) -> str:
        """Makes an account with these roles over everything and returns an API token of its own."""
        grants = [word for role in roles for word in ("--role", role)]
        self.command("user", "add", username, *grants, "--purpose", purpose, "--password-stdin", stdin=password)
        return self.command("token", "create", username, "--name", purpose)


class ServerProcess:
    """`mediasrv serve` on a `ServerFiles`. `log_path` holds what it wrote, over all its lives.

    `program` is the module that is run, with arguments of its own before those of `mediasrv`.
    """

    def __init__(self, files: ServerFiles, program: Sequence[str] = ("mediasrv",)) -> None:
        self.files = files
        self._program = program
        self.log_path = files.directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def start(self) -> None:
        """Starts and waits for /healthz. Raises RuntimeError with the end of its log."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._program, "serve", "--config", str(self.files.config)],
                env=os.environ | self.files.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if _healthy(self.files.url):
                return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"mediasrv did not come up:\n{self.log_tail()}")

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, timeout_s: float = 15.0) -> int:
        """SIGTERM, then waits; kills after `timeout_s`. Returns the exit status."""
        return 0 if self._process is None else end(self._process, timeout_s)

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log_tail(self, size_bytes: int = 3000) -> str:
        return self.log_path.read_bytes()[-size_bytes:].decode("utf-8", "replace")


class ApiError(Exception):
    """An answer that is an error; `code` is that of the problem document, empty where there is none."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body[:500].decode('utf-8', 'replace')}")
        self.status = status
        try:
            self.problem: dict[str, Any] = json.loads(body)
        except ValueError:
            self.problem = {}
        self.code = str(self.problem.get("code", ""))


class ApiClient:
    """The JSON API with a bearer token, blocking: for set-up and for polling in tests."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON (None where empty). Raises ApiError."""
        text = self._send(method, path, None if body is None else json.dumps(body).encode())
        return json.loads(text) if text else None

    def fetch(self, path: str) -> bytes:
        """The answer's body. Raises ApiError."""
        return self._send("GET", path, None)

    def _send(self, method: str, path: str, data: bytes | None) -> bytes:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - http only
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                body: bytes = answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                raise ApiError(refused.code, refused.read()) from None
        return body

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def cameras(self) -> dict[str, Any]:
        return {camera["id"]: camera for camera in self.get("/api/v1/cameras")["cameras"]}


def new_password() -> str:
    return secrets.token_urlsafe(12)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/healthz", timeout=1) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _toml(values: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {toml_value(value)}\n" for name, value in values.items())


def toml_value(value: Any) -> str:
    """TOML's basic strings, numbers, booleans and arrays are written as in JSON; its tables are not."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {toml_value(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value)
