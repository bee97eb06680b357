"""Faults ordered on the command line, and those that end or come again by themselves.

An order is `CAMERAS:KIND[@AT][+FOR][/EVERY][,NAME=VALUE…]`, times in seconds from the moment the farm is ready:

    cam-3:drop@10              once, after ten seconds
    cam-2..5:stall@10+5        for five seconds
    all:loss,share=0.02        from the start on
    cam-1:drop@5/30            after 5, 35, 65 … seconds
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from load_tests.camera_farm.camera import SimulatedCamera
from load_tests.camera_farm.faults import FAULTS, apply_fault
from load_tests.camera_farm.plan import cameras_named, pairs_of

_SECONDS: Final = r"\d+(?:\.\d+)?"
_ORDER: Final = re.compile(
    rf"(?P<cameras>[^:]+):(?P<kind>\w+)(?:@(?P<at>{_SECONDS}))?(?:\+(?P<for>{_SECONDS}))?"
    rf"(?:/(?P<every>{_SECONDS}))?(?:,(?P<options>.+))?"
)


@dataclass(frozen=True, slots=True)
class FaultOrder:
    """`for_s` and `every_s` are 0 where they are not given."""

    cameras: tuple[str, ...]
    kind: str
    at_s: float
    for_s: float
    every_s: float
    options: Mapping[str, Any]


def parse_order(text: str, camera_count: int) -> FaultOrder:
    """Raises ValueError with a sentence for what is no order."""
    found = _ORDER.fullmatch(text)
    if found is None:
        raise ValueError(f"{text} is no CAMERAS:KIND@AT+FOR/EVERY,NAME=VALUE")
    order = FaultOrder(
        cameras=tuple(f"cam-{number}" for number in cameras_named(found["cameras"], camera_count)),
        kind=found["kind"],
        at_s=float(found["at"] or 0),
        for_s=float(found["for"] or 0),
        every_s=float(found["every"] or 0),
        options=pairs_of(found["options"]) if found["options"] else {},
    )
    check_kind(order.kind, order.for_s)
    return order


def check_kind(kind: str, for_s: float) -> None:
    """Raises ValueError with a sentence for a fault that does not exist, or does not last."""
    if kind not in FAULTS:
        raise ValueError(f"The kinds of fault are {', '.join(FAULTS)}.")
    if for_s and not FAULTS[kind].lasting:
        raise ValueError(f"{kind} happens at once: it cannot last {for_s:g} s")


class FaultSchedule:
    """Applies faults when they are due, one after another; `run` goes on until it is cancelled."""

    def __init__(self, cameras: Mapping[str, SimulatedCamera]) -> None:
        self._cameras = cameras
        self._loop = asyncio.get_running_loop()
        self._due: list[tuple[float, int, FaultOrder]] = []
        self._numbers = itertools.count()
        self._changed = asyncio.Event()

    def add(self, order: FaultOrder) -> None:
        """`at_s` counts from now."""
        self._push(self._loop.time() + order.at_s, order)

    async def apply(self, camera_id: str, kind: str, options: Mapping[str, Any]) -> None:
        """At once; where `for_s` is among the options it is taken back after so long. ValueError: see check_kind."""
        for_s = float(options.get("for_s", 0))
        check_kind(kind, for_s)
        await apply_fault(self._cameras[camera_id], kind, options)
        if for_s:
            self._end_after(for_s, FaultOrder((camera_id,), kind, 0, 0, 0, options))

    async def run(self) -> None:
        while True:
            self._changed.clear()
            timeout_s = self._due[0][0] - self._loop.time() if self._due else None
            if timeout_s is not None and timeout_s <= 0:
                await self._apply(heapq.heappop(self._due)[2])
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()

    async def _apply(self, order: FaultOrder) -> None:
        for camera_id in order.cameras:
            await apply_fault(self._cameras[camera_id], order.kind, order.options)
        if order.for_s:
            self._end_after(order.for_s, order)
        if order.every_s:
            self._push(self._loop.time() + order.every_s, order)

    def _end_after(self, for_s: float, order: FaultOrder) -> None:
        ended = FaultOrder(order.cameras, order.kind, 0, 0, 0, {**order.options, "on": False})
        self._push(self._loop.time() + for_s, ended)

    def _push(self, at: float, order: FaultOrder) -> None:
        heapq.heappush(self._due, (at, next(self._numbers), order))
        self._changed.set()
