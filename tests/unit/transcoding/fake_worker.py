"""Workers without processes: what they are sent is kept, and they say what the test has them say."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from mediasrv.media.nal import NAL_IDR, NAL_SLICE, join_avcc
from mediasrv.transcoding.framing import Consumed, End, Failed, Message, Ready, Unit
from mediasrv.transcoding.process import OnMessage
from tests.unit.media.streams import PPS, SPS


class FakeWorker:
    """`obliging` ones answer at once: each unit is consumed, and unless it is priming becomes one of that time."""

    def __init__(self, job: str, on_message: OnMessage, *, obliging: bool) -> None:
        self.job = job
        self.sent: list[Message] = []
        self.killed = False
        self.obliging = obliging
        self.say = on_message
        self._generation = -1
        self._gone = asyncio.Event()

    @property
    def units(self) -> list[Unit]:
        return [message for message in self.sent if isinstance(message, Unit)]

    def send(self, messages: Sequence[Message]) -> None:
        assert not self.killed
        self.sent += messages
        for message in messages if self.obliging else ():
            asyncio.get_running_loop().call_soon(self.answer, message)

    def answer(self, message: Message) -> None:
        if self.killed or not isinstance(message, Unit | End):
            return
        if isinstance(message, Unit) and not message.priming and self.job != "jpeg":
            self.say(self._made(message) if self.job == "video" else message)
        elif isinstance(message, End):
            self.say(Unit(message.generation, 0, 0, True, b"\xff\xd8 a picture"))
        self.say(Consumed(1, 0, 1000))

    def _made(self, unit: Unit) -> Unit:
        """The first of a generation is a keyframe, whatever it was."""
        first, self._generation = unit.generation != self._generation, unit.generation
        return made(dataclasses.replace(unit, keyframe=unit.keyframe or first))

    def kill(self) -> None:
        if not self.killed:
            self.killed = True
            self._gone.set()
            self.say(Failed("It is gone."))

    async def ended(self) -> None:
        await self._gone.wait()


class FakeWorkers:
    """A `StartWorker`."""

    def __init__(self, *, obliging: bool = True, ready: bool = True) -> None:
        self.all: list[FakeWorker] = []
        self.obliging = obliging
        self.ready = ready

    async def __call__(self, job: str, nice: int, on_message: OnMessage) -> FakeWorker:
        worker = FakeWorker(job, on_message, obliging=self.obliging)
        self.all.append(worker)
        if self.ready:
            asyncio.get_running_loop().call_soon(lambda: worker.killed or on_message(Ready(True)))
        return worker

    @property
    def running(self) -> list[FakeWorker]:
        return [worker for worker in self.all if not worker.killed]


def made(unit: Unit) -> Unit:
    """What a worker for video makes of a unit: H.264 with its parameter sets."""
    nal = bytes((0x60 | (NAL_IDR if unit.keyframe else NAL_SLICE),)) + unit.pts.to_bytes(8, "big")
    payload = join_avcc([SPS, PPS, nal] if unit.keyframe else [nal])
    return Unit(unit.generation, unit.pts, unit.pts, unit.keyframe, payload)
