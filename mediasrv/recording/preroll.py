"""What came just before an event: parts in memory, as whole GOPs, which nobody sees unless an event comes."""

from __future__ import annotations

from collections import deque

from mediasrv.media.access_unit import Part, TrackKind


class PrerollMemory:
    """What all streams of a node keep together: `most_bytes` in all, `most_stream_bytes` of one stream.

    `shortened` counts how often a stream gave up some of its seconds for lack of room.
    """

    def __init__(self, most_bytes: int, most_stream_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.most_stream_bytes = most_stream_bytes
        self.used_bytes = 0
        self.shortened = 0


class Preroll:
    """The newest parts of one stream, in order. What is dropped goes from one keyframe to the next."""

    def __init__(self, memory: PrerollMemory) -> None:
        self._memory = memory
        self._parts: deque[Part] = deque()
        self._keyframes_us: deque[int] = deque()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def first(self) -> Part:
        return self._parts[0]

    def push(self, part: Part) -> None:
        self._parts.append(part)
        self._grow(part.size_bytes)
        if starts_gop(part):
            self._keyframes_us.append(part.started_us)

    def pop(self) -> Part:
        """The oldest part."""
        part = self._parts.popleft()
        self._grow(-part.size_bytes)
        if starts_gop(part):
            self._keyframes_us.popleft()
        return part

    def trim(self, before_us: int) -> None:
        """Forgets GOPs that are not needed to begin at `before_us`, and what no keyframe begins."""
        if self._parts and not starts_gop(self.first):
            self._drop()
        while len(self._keyframes_us) > 1 and self._keyframes_us[1] <= before_us:
            self._drop()

    def bound(self) -> None:
        """Gives up the oldest GOPs while there is too much; a GOP that alone is too much goes as well."""
        memory = self._memory
        while self._parts and (self._size_bytes > memory.most_stream_bytes or memory.used_bytes > memory.most_bytes):
            memory.shortened += 1
            self._drop()

    def clear(self) -> None:
        while self._parts:
            self._drop()

    def _drop(self) -> None:
        """Up to the next keyframe, or all."""
        self.pop()
        while self._parts and not starts_gop(self.first):
            self.pop()

    def _grow(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        self._memory.used_bytes += size_bytes


def starts_gop(part: Part) -> bool:
    return part.format.kind is TrackKind.VIDEO and part.independent
