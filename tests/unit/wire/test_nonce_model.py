"""(SSRC, ROC, sequence) -> (header, payload) is a function: GCM's safety, under everything that can happen.

Random histories of joins, pictures, losses asked for again, keyframe requests, overruns, reconnects and wraps; every
nonce that was ever used is remembered with what it protected. And the model itself must notice a broken sender.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mediasrv.wire import srtp, webrtc_peer
from mediasrv.wire.packet_ring import PacketRing
from mediasrv.wire.rtp_sender import Epoch, RtpVideoSender
from tests.unit.wire.peer_rig import Rig, Timers, sequence, timestamp


class NonceUsedTwice(AssertionError):
    pass


class RecordingAesGcm:
    """Stands for AESGCM: encrypts nothing and remembers each (key, nonce) with what it protected."""

    used: dict[tuple[bytes, bytes], tuple[bytes, bytes]]

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        before = self.used.setdefault((self._key, nonce), (bytes(header), bytes(data)))
        if before != (header, data):
            raise NonceUsedTwice(f"nonce {nonce.hex()} protects two contents")
        return data + b"t" * srtp.TAG_BYTES

    def decrypt(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        return data[: -srtp.TAG_BYTES]


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    RecordingAesGcm.used = {}
    monkeypatch.setattr(srtp, "AESGCM", RecordingAesGcm)


class History:
    """Three viewers of one stream, and a random source of what happens to them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.timers = Timers()
        self.ring = PacketRing(2.0)
        self.rigs: list[Rig] = []
        self.media_time = 0
        self.happened: Counter[str] = Counter()
        self.originals: dict[int, dict[int, bytes]] = {}
        self.last: dict[int, tuple[int, int]] = {}
        self.steps: list[Callable[[], None]] = [
            *[self.picture] * 12,
            *[self.ask_again] * 5,
            self.ask_for_keyframe,
            self.audio,
            self.wait,
            self.reconnect,
            self.burst_of_pictures,
            self.join,
        ]

    def run(self, steps: int) -> None:
        self.join()
        for _ in range(steps):
            self.random.choice(self.steps)()
            for rig in self.rigs:
                self.look(rig)

    def join(self) -> None:
        if len(self.rigs) >= 3:
            if self.random.random() < 0.9:
                return
            self.rigs.pop(0).peer.close()
        rig = Rig(self.ring, self.timers, burst_packets=8)
        rig.connect()
        self.rigs.append(rig)
        self.happened["join"] += 1

    def picture(self, *, keyframe: bool | None = None, tick_s: float | None = None) -> None:
        # Seldom as much as the tick it stands for, so that pictures overtake the pacer.
        self.timers.advance(self.random.choice([0.0, 0.01, 0.04]) if tick_s is None else tick_s)
        self.media_time += self.random.choice([1, 90, 3600, 3600, 3600, 9000])
        if keyframe is None:
            keyframe = self.random.random() < 0.05
        size = self.random.choice([20, 40]) if keyframe else self.random.randint(1, 12)
        sizes = [7] * keyframe + [100] * size + [self.random.randint(1, 99)]
        payloads = [self.random.randbytes(8) + bytes(each) for each in sizes]
        unit = self.ring.push(payloads, self.media_time, keyframe=keyframe, arrived_s=self.timers.now_s)
        for rig in self.rigs:
            rig.peer.send_video(unit)

    def burst_of_pictures(self) -> None:
        """More than the pacer can take: the queue overruns."""
        if self.random.random() < 0.05:
            for _ in range(400):
                self.picture(keyframe=False, tick_s=0.0)

    def reconnect(self) -> None:
        self.ring.end_gop()
        self.timers.advance(self.random.choice([0.1, 1.0, 5.0]))
        self.media_time += self.random.choice([1, 90_000, 450_000])
        self.picture(keyframe=True)

    def wait(self) -> None:
        self.timers.advance(self.random.choice([0.2, 1.0, 3.0]))

    def audio(self) -> None:
        for rig in self.rigs:
            rig.peer.send_audio(self.random.choice(["PCMA", "PCMU"]), self.random.randbytes(20), self.media_time)
            rig.peer.send_reports((self.media_time, self.media_time), None)
            rig.peer.tick()

    def ask_for_keyframe(self) -> None:
        for rig in self.rigs:
            replays = rig.counters.replays
            rig.request_keyframe()
            self.happened["replay"] += rig.counters.replays - replays

    def ask_again(self) -> None:
        for rig in self.rigs:
            video = rig.peer.video
            assert video is not None
            newest = video._next_index - 1
            far = self.random.choice([5, 200, 3000, 40_000])
            wanted = [newest - self.random.randrange(-2, far) & 0xFFFF for _ in range(4)]
            self.look(rig)
            before = rig.counters.packets_resent
            rig.nack(*wanted)
            self.happened["resend"] += rig.counters.packets_resent - before
            self.look_at_resent(rig, wanted)

    def look(self, rig: Rig) -> None:
        """What went out for the first time: no hole in the sequence numbers, time never runs back."""
        video = rig.peer.video
        assert video is not None
        for datagram in rig.media():
            number, at = sequence(datagram), timestamp(datagram)
            before = self.last.get(rig.peer.video_ssrc)
            if before is not None:
                assert number == (before[0] + 1) & 0xFFFF
                assert 0 <= (at - before[1]) & 0xFFFFFFFF < 1 << 31
                self.happened["wrap"] += number == 0
            self.last[rig.peer.video_ssrc] = (number, at)
            self.originals.setdefault(rig.peer.video_ssrc, {})[number] = datagram
        self.happened["overrun"] = sum(each.counters.overruns for each in self.rigs) or self.happened["overrun"]

    def look_at_resent(self, rig: Rig, wanted: list[int]) -> None:
        known = self.originals.get(rig.peer.video_ssrc, {})
        for datagram in rig.media():
            assert sequence(datagram) in wanted
            assert known.get(sequence(datagram)) == datagram, "a packet was not sent again as it was"


class BeginsBeforeAWrap(RtpVideoSender):
    """Begins shortly before the sequence number wraps, instead of at a random number below 2^15."""

    wrap = 1 << 16

    def __init__(self, sender: Any, ring: PacketRing, first_index: int, timestamp_offset: int) -> None:
        super().__init__(sender, ring, self.wrap - 500, timestamp_offset)


class BeginsBeforeALongWrap(BeginsBeforeAWrap):
    """So late that the ROC itself outgrows 16 bits."""

    wrap = 1 << 32


@pytest.mark.parametrize("sender", [BeginsBeforeAWrap, BeginsBeforeALongWrap])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_nonce_ever_protects_two_contents(
    seed: int, sender: type[RtpVideoSender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webrtc_peer, "RtpVideoSender", sender)
    history = History(seed)
    history.run(3000)
    for what in ("join", "replay", "resend", "overrun", "wrap"):
        assert history.happened[what] > 0, f"the history never came to a {what}"
    assert history.happened["resend"] > 500
    assert len(RecordingAesGcm.used) > 20_000


class AnswersFromTheNewestEpoch(RtpVideoSender):
    """The classic mistake: forgets that older numbers belong to an older epoch."""

    def resend(self, sequence: int) -> bytes | None:
        kept = self._epochs.copy()
        self._epochs.clear()
        self._epochs.append(Epoch(0, self._epoch.offset, self._epoch.timestamps))
        try:
            return super().resend(sequence)
        finally:
            self._epochs = kept


class UsesNumbersAgain(RtpVideoSender):
    """Opens an epoch a little before the end of the last one."""

    def _open(self, unit: Any) -> None:
        self._next_index -= 5 if self.started else 0
        super()._open(unit)


class ForgetsTimestamps(RtpVideoSender):
    """Sends a packet again under the unit's own time, not the squeezed one."""

    def resend(self, sequence: int) -> bytes | None:
        kept = [(epoch, dict(epoch.timestamps)) for epoch in self._epochs]
        for epoch, _ in kept:
            epoch.timestamps.clear()
        try:
            return super().resend(sequence)
        finally:
            for epoch, timestamps in kept:
                epoch.timestamps.update(timestamps)


@pytest.mark.parametrize("broken", [AnswersFromTheNewestEpoch, UsesNumbersAgain, ForgetsTimestamps])
def test_the_model_notices_a_broken_sender(broken: type[RtpVideoSender], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_peer, "RtpVideoSender", broken)
    with pytest.raises(NonceUsedTwice):
        History(0).run(3000)
