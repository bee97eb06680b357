"""The real server, a real S3 server behind a proxy that can fail, and simulated cameras, to be struck by faults."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from load_tests.beside import Beside, loop_beside
from load_tests.consistency import check_all_stored
from load_tests.faulting.reckoning import LOST_MOST_S, Promise, Reckoning, reckon
from load_tests.faulting.stepped_server import set_clock
from load_tests.faulting.storage_proxy import Fault, FaultProxy, fault_proxy
from load_tests.readback import played_units
from load_tests.seaweed import SeaweedServer, seaweed
from load_tests.stack import Stack, running_stack, wait_for
from load_tests.timeline import time_line
from mediasrv.clock import from_us

RATE: Final = 25
GOP_S: Final = 1
FARM: Final = {
    "mode": "load", "audio": "pcma", "width": 640, "height": 360, "rate": RATE, "gop": GOP_S, "bitrate": 400,
}  # fmt: skip
STEPS_WITHIN: Final = timedelta(minutes=5)
"""A clock that is set leads at most so far."""
BACK_S: Final = 40.0
_OVERRIDES: Final[dict[str, dict[str, Any]]] = {
    "recording": {"object_s": 5.0},
    "pull": {"allowed_networks": ["127.0.0.0/8"], "backoff_first_s": 0.2, "backoff_most_s": 0.4},
    "storage": {"request_timeout_s": 2.0, "retry_first_s": 0.2, "retry_most_s": 1.0},
}


class FaultFound(Exception):
    """Something that must hold did not; the message says what."""


@dataclass
class Rig:
    """What a fault strikes. `dice` makes every choice, so that a seed says it all."""

    stack: Stack
    beside: Beside
    proxy: FaultProxy
    dice: random.Random
    say: Callable[[str], None]
    began: datetime
    clock_file: Path | None = None
    """Sets the server's clock, where it can be set: `stepped_server`."""
    steps: list[tuple[datetime, timedelta]] = field(default_factory=list)
    away_s: float = 10.0
    """The store is away for so long at most, once that was noticed."""
    promises: list[Promise] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    def fail_storage(self, fault: Fault, left: int = 1 << 30) -> None:
        self.beside.call(self.proxy.set(fault, left))

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.stack.client.get("/api/v1/status")
        return found

    def mains(self) -> dict[str, dict[str, Any]]:
        """The state of each camera's main stream."""
        return {camera_id: one["streams"]["main"] for camera_id, one in self.stack.client.cameras().items()}

    def durable_until(self) -> dict[str, datetime]:
        """What the server says is locally durable, for each camera that has footage."""
        untils = {camera_id: main["recording"]["durable_until"] for camera_id, main in self.mains().items()}
        return {camera_id: datetime.fromisoformat(until) for camera_id, until in untils.items() if until}

    def promise(self) -> None:
        """Takes the server at its word of this moment. Raises FaultFound where it speaks of the future."""
        for camera_id, until in self.durable_until().items():
            now = datetime.now(UTC)
            if until - self.ahead(now) > now + timedelta(seconds=1):
                raise FaultFound(f"{camera_id}: said to be durable until {until}, and it is {now + self.ahead(now)}")
            self.promises.append(Promise(camera_id, until - self.ahead(now)))

    def ahead(self, at: datetime) -> timedelta:
        """By how much the server's clock was ahead of ours at that time of ours."""
        return next((by for since, by in reversed(self.steps) if since <= at), timedelta())

    def set_clock(self, ahead: timedelta) -> None:
        if self.clock_file is None:
            raise RuntimeError("this server's clock cannot be set")
        self.steps.append((datetime.now(UTC), ahead))
        set_clock(self.clock_file, ahead // timedelta(microseconds=1))

    def note(self, **what: Any) -> None:
        """A line of the history, by which a run can be understood afterwards."""
        self.history.append({"at": datetime.now(UTC).isoformat(), **what})
        self.say("  ".join(f"{name} {value}" for name, value in what.items()))

    def record_on(self, seconds: float = 0.0) -> None:
        """Until all cameras have locally durable footage of their newest session, `seconds` of it at least."""
        self.stack.wait_until_recording()

        def recorded() -> bool:
            durable = self.durable_until()
            return all(self._has(camera_id, durable, seconds) for camera_id in self.stack.cameras)

        wait_for(recorded, BACK_S + seconds, self.stack.server.log_tail, step_s=0.05)

    def _has(self, camera_id: str, durable: Mapping[str, datetime], seconds: float) -> bool:
        sessions = self.stack.farm.sessions(camera_id)
        if not sessions or camera_id not in durable:
            return False
        since = from_us(sessions[-1]["started_us"]) + timedelta(seconds=seconds)
        return durable[camera_id] - self.ahead(datetime.now(UTC)) > since

    def end_objects(self) -> None:
        """Whatever is being recorded becomes an object to be stored: all cameras break their connections."""
        for camera_id in self.stack.cameras:
            self.stack.farm.fault(camera_id, "drop")

    def reckon(self) -> Reckoning:
        """All that was sent so far, once it is durable, held against what can be played."""
        logs = {camera_id: self.stack.farm.sessions(camera_id) for camera_id in self.stack.cameras}
        read_at = datetime.now(UTC)
        wait_for(lambda: self.durable_since(read_at), BACK_S, self.stack.server.log_tail)
        total = Reckoning()
        for camera_id, sessions in logs.items():
            start, end = self.began - STEPS_WITHIN, datetime.now(UTC) + STEPS_WITHIN
            units = played_units(self.stack.client, camera_id, start, end)
            line = time_line(self.stack.client, camera_id, start, end=end)
            mine = [one for one in self.promises if one.camera_id == camera_id]
            total += reckon(camera_id, units, sessions, self.stack.farm.key, line, mine, RATE, self.ahead)
        return total

    def durable_since(self, at: datetime) -> bool:
        """Whether every camera has durable footage of later than that time of ours."""
        durable, ahead = self.durable_until(), self.ahead(datetime.now(UTC))
        return all(camera_id in durable and durable[camera_id] - ahead > at for camera_id in self.stack.cameras)

    def settle(self) -> None:
        """Everything that has ended is stored, and `mediasrv check` finds nothing. Raises FaultFound."""
        try:
            check_all_stored(self.stack)
        except (AssertionError, RuntimeError) as error:
            raise FaultFound(f"catalogue, bucket and spool do not agree: {error}") from error

    def judge(self, lost_most_s: float | None = LOST_MOST_S) -> Reckoning:
        """`reckon`, and raises FaultFound where anything is wrong."""
        found = self.reckon()
        if not found.ok:
            raise FaultFound(str(found.as_json()))
        if lost_most_s is not None and found.worst_lost_s > lost_most_s:
            raise FaultFound(f"{found.worst_lost_s:.2f} s that were received are lost: {found.as_json()}")
        return found


Strike = Callable[[Rig], None]
"""Does its harm, and returns once that is over."""


@contextmanager
def running_rig(
    directory: Path,
    dice: random.Random,
    say: Callable[[str], None] = print,
    *,
    cameras: int = 2,
    s3: SeaweedServer | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    settable_clock: bool = False,
) -> Iterator[Rig]:
    """All of it, recording. `overrides` go over the rig's own settings, section by section."""
    sections = {name: dict(values) for name, values in _OVERRIDES.items()}
    if s3 is not None:
        name = re.sub("[^a-z0-9]", "-", directory.name.lower())[-40:].strip("-")
        sections["storage"] |= {"bucket": f"{name}-footage", "key_bucket": f"{name}-keys"}
    for section, values in (overrides or {}).items():
        sections[section] = sections.get(section, {}) | dict(values)
    directory.mkdir(parents=True, exist_ok=True)
    program: tuple[str, ...] = ("mediasrv",)
    clock_file = directory / "clock" if settable_clock else None
    if clock_file is not None:
        set_clock(clock_file, 0)
        program = ("load_tests.faulting.stepped_server", str(clock_file))
    with ExitStack() as stack:
        store = s3 or stack.enter_context(seaweed(directory / "s3"))
        beside = stack.enter_context(loop_beside())
        proxy = stack.enter_context(beside.entered(fault_proxy(store.endpoint)))
        began = datetime.now(UTC)
        running = stack.enter_context(
            running_stack(
                directory,
                {"cameras": cameras, **FARM},
                sections,
                replace(store, endpoint=proxy.endpoint),
                program=program,
            )
        )
        rig = Rig(running, beside, proxy, dice, say, began, clock_file)
        # A fault that is still on would keep the server from ending in order.
        stack.callback(rig.fail_storage, Fault.NONE)
        rig.record_on(1.0)
        yield rig


def pause(seconds: float) -> None:
    """Lets time pass that is part of the fault."""
    time.sleep(seconds)
