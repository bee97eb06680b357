"""Events of cameras: from the cameras into the catalogue, and from there to whoever listens in this process.

`offer` never waits. What was offered is kept a moment later, many events a commit, and published with the number it
got: so a listener that fell behind, or came back, can read on from the catalogue. Queues are bounded; one camera's
flood costs that camera's events, one slow listener its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

from mediasrv.backoff import Backoff
from mediasrv.catalogue import Catalogue, camera_events
from mediasrv.catalogue.camera_events import EventRow
from mediasrv.media.camera_event import CameraEvent, EventKind
from mediasrv.security.vault import Vault

log = logging.getLogger(__name__)

MOST_OF_A_CAMERA: Final = 200
MOST_WAITING: Final = 20_000
BATCH: Final = 500
GATHER_S: Final = 0.2
"""Events that come within so long share a commit."""
MOST_UNREAD: Final = 500
MOST_RECALLED: Final = 500
_RETRIES_S: Final = (0.5, 30.0)
_LAST_WRITE_S: Final = 2.0
_MOST_SOURCES: Final = 20_000
_CONTEXT: Final = b"mediasrv event sources v1"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event that is kept. `source` is empty where another node's key sealed it."""

    event_id: int
    camera_id: str
    kind: EventKind
    source: str
    active: bool
    camera_us: int | None
    arrived_us: int


# --- to listeners --------------------------------------------------------------------------------


class Listener:
    """Hears the events it wants, in order. `missed` counts those that it was too slow for: the oldest went."""

    def __init__(self, wants: Callable[[StoredEvent], bool]) -> None:
        self.missed = 0
        self._wants = wants
        self._unread: deque[StoredEvent] = deque()
        self._woken = asyncio.Event()

    async def next(self) -> StoredEvent:
        """The next event, however long it takes."""
        while not self._unread:
            self._woken.clear()
            await self._woken.wait()
        return self._unread.popleft()

    def hear(self, event: StoredEvent) -> None:
        if not self._wants(event):
            return
        if len(self._unread) >= MOST_UNREAD:
            self._unread.popleft()
            self.missed += 1
        self._unread.append(event)
        self._woken.set()


class EventBroker:
    """Hands events to listeners; waits for none of them."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    @contextmanager
    def listen(self, wants: Callable[[StoredEvent], bool]) -> Iterator[Listener]:
        """`wants` is asked for each event, so that it can follow what its reader may see at that moment."""
        listener = Listener(wants)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def publish(self, events: Sequence[StoredEvent]) -> None:
        for listener in self._listeners:
            for event in events:
                listener.hear(event)


# --- to the catalogue ----------------------------------------------------------------------------


class Events:
    """The door. `node_seed` seals what cameras call their sources: no event payload lies plain on a disk."""

    def __init__(self, catalogue: Catalogue, node_seed: bytes) -> None:
        self.broker = EventBroker()
        self.kept = 0
        self.dropped = 0
        self._catalogue = catalogue
        self._sources = _Sources(Vault(node_seed, _CONTEXT))
        self._waiting: deque[CameraEvent] = deque()
        self._of_camera: Counter[str] = Counter()
        self._offered = asyncio.Event()

    def offer(self, events: Sequence[CameraEvent]) -> None:
        """Takes events to be kept; drops and counts what is beyond the bounds."""
        for event in events:
            if self._of_camera[event.camera_id] >= MOST_OF_A_CAMERA or len(self._waiting) >= MOST_WAITING:
                self.dropped += 1
                continue
            self._waiting.append(event)
            self._of_camera[event.camera_id] += 1
        self._offered.set()

    async def run(self) -> None:
        """Keeps and publishes until cancelled; then keeps what is left, for two seconds at most."""
        try:
            while True:
                self._offered.clear()
                if not self._waiting:
                    await self._offered.wait()
                await asyncio.sleep(GATHER_S)
                await self._keep_persistently()
        finally:
            try:
                async with asyncio.timeout(_LAST_WRITE_S):
                    while self._waiting:
                        await self._keep()
            except Exception:
                log.exception("%d events could not be kept at the end", len(self._waiting))

    async def active(self, camera_id: str) -> set[tuple[EventKind, str]]:
        """Kinds and sources that were active when the camera was last heard, as far as its last events tell."""
        rows = await self._catalogue.read(camera_events.last_events, camera_id, MOST_RECALLED)
        states = {(row.kind, self._sources.open(camera_id, row.source)): row.active for row in rows}
        return {source for source, active in states.items() if active}

    async def find(
        self,
        camera_id: str,
        start_us: int,
        end_us: int,
        kinds: Collection[EventKind],
        limit: int,
        after: int | None = None,
    ) -> list[StoredEvent]:
        """The first `limit` events of a camera in a span of server time; no kinds: all. With `after` those kept after
        the event of that id, in the order in which they were kept.
        """
        rows = await self._catalogue.read(camera_events.find_events, camera_id, start_us, end_us, kinds, limit, after)
        return [self._opened(row, self._sources.open(camera_id, row.source)) for row in rows]

    async def _keep_persistently(self) -> None:
        """A catalogue that is away is asked again; meanwhile what is beyond the bounds is dropped."""
        backoff = Backoff(*_RETRIES_S)
        while self._waiting:
            try:
                await self._keep()
                backoff.reset()
            except Exception:
                log.exception("%d events could not be kept yet", len(self._waiting))
                await asyncio.sleep(backoff.next_s())

    async def _keep(self) -> None:
        """One commit. What fails stays at the front of the queue."""
        batch = list(islice(self._waiting, BATCH))
        rows = [self._row(event) for event in batch]
        writing = asyncio.ensure_future(self._catalogue.write(camera_events.insert_events, rows))
        try:
            await asyncio.shield(writing)
        finally:
            await asyncio.wait({writing})  # whoever cancels us must not have it written twice
            if writing.exception() is None:
                self._kept(batch, writing.result())

    def _kept(self, batch: Sequence[CameraEvent], ids: Sequence[int]) -> None:
        self.kept += len(batch)
        for event in batch:
            self._waiting.popleft()
            self._of_camera[event.camera_id] -= 1
            if not self._of_camera[event.camera_id]:
                del self._of_camera[event.camera_id]
        self.broker.publish(
            [
                StoredEvent(number, one.camera_id, one.kind, one.source, one.active, one.camera_us, one.arrived_us)
                for number, one in zip(ids, batch, strict=True)
            ]
        )

    def _row(self, event: CameraEvent) -> EventRow:
        source = self._sources.seal(event.camera_id, event.source)
        return EventRow(0, event.camera_id, event.kind, event.active, source, event.camera_us, event.arrived_us)

    @staticmethod
    def _opened(row: EventRow, source: str) -> StoredEvent:
        return StoredEvent(row.event_id, row.camera_id, row.kind, source, row.active, row.camera_us, row.arrived_us)


class _Sources:
    """Seals each source once: there are few, and a key seals 2^32 times at most."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._sealed: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def seal(self, camera_id: str, source: str) -> bytes:
        key = (camera_id, source)
        if key not in self._sealed:
            self._sealed[key] = self._vault.seal(camera_id, source.encode())
        self._sealed.move_to_end(key)
        while len(self._sealed) > _MOST_SOURCES:
            self._sealed.popitem(last=False)
        return self._sealed[key]

    def open(self, camera_id: str, sealed: bytes) -> str:
        plain = self._vault.open(camera_id, sealed)
        return plain.decode() if plain is not None else ""
