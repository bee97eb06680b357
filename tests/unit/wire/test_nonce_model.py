"""(SSRC, ROC, sequence) -> (header, payload) is a function: GCM's safety, under everything that can happen.

Random histories of joins, pictures, losses asked for again, keyframe requests, moves between two streams, trials of the
line, overruns, reconnects and wraps, with and without sources of repair; every nonce that was ever used is remembered
with what it protected. And the model itself must notice a broken sender.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mediasrv.wire import srtp, webrtc_peer
from mediasrv.wire.packet_ring import PacketizedUnit, PacketRing
from mediasrv.wire.rtp_sender import Epoch, RtpVideoSender
from mediasrv.wire.whep_sdp import Offer
from tests.unit.wire.peer_rig import EXTENDED_OFFER, OFFER, REPAIRED_OFFER, Rig, Timers, sequence, timestamp


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
    """Three viewers of two streams, and a random source of what happens to them."""

    def __init__(self, seed: int, offer: Offer = OFFER) -> None:
        self.random = random.Random(seed)
        self.offer = offer
        self.timers = Timers()
        self.rings = [PacketRing(2.0), PacketRing(2.0, "H265")]
        self.watched: dict[int, int] = {}
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
            self.lose,
            self.wait,
            self.reconnect,
            self.move,
            self.try_the_line,
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
        rig = Rig(self.rings[0], self.timers, burst_packets=8, offer=self.offer)
        rig.connect()
        self.rigs.append(rig)
        self.watched[rig.peer.video_ssrc] = 0
        self.happened["join"] += 1

    def picture(self, *, keyframe: bool | None = None, tick_s: float | None = None) -> None:
        # Seldom as much as the tick it stands for, so that pictures overtake the pacer.
        self.timers.advance(self.random.choice([0.0, 0.01, 0.04]) if tick_s is None else tick_s)
        self.media_time += self.random.choice([1, 90, 3600, 3600, 3600, 9000])
        for which, ring in enumerate(self.rings):
            unit = self.unit(ring, keyframe)
            for rig in self.rigs:
                if self.watched[rig.peer.video_ssrc] == which:
                    rig.peer.send_video(unit)

    def unit(self, ring: PacketRing, keyframe: bool | None) -> PacketizedUnit:
        if keyframe is None:
            keyframe = self.random.random() < 0.05
        size = self.random.choice([20, 40]) if keyframe else self.random.randint(1, 12)
        sizes = [7] * keyframe + [100] * size + [self.random.randint(1, 99)]
        payloads = [self.random.randbytes(8) + bytes(each) for each in sizes]
        return ring.push(payloads, self.media_time, keyframe=keyframe, arrived_s=self.timers.now_s)

    def move(self) -> None:
        """To the other stream, from its cached GOP, whatever is still queued of this one."""
        for rig in self.rigs:
            other = 1 - self.watched[rig.peer.video_ssrc]
            gop = self.rings[other].gop
            if gop and self.random.random() < 0.3:
                self.watched[rig.peer.video_ssrc] = other
                rig.peer.move_to(self.rings[other], gop)
                self.happened["move"] += 1

    def try_the_line(self) -> None:
        for rig in self.rigs:
            rig.peer.probe(self.random.choice([0.0, 0.0, 50_000.0]))

    def burst_of_pictures(self) -> None:
        """More than the pacer can take: the queue overruns."""
        if self.random.random() < 0.05:
            for _ in range(400):
                self.picture(keyframe=False, tick_s=0.0)

    def reconnect(self) -> None:
        for ring in self.rings:
            ring.end_gop()
        self.timers.advance(self.random.choice([0.1, 1.0, 5.0]))
        self.media_time += self.random.choice([1, 90_000, 450_000])
        self.picture(keyframe=True)

    def wait(self) -> None:
        self.timers.advance(self.random.choice([0.2, 1.0, 3.0]))

    def audio(self) -> None:
        for rig in self.rigs:
            rig.peer.send_audio(self.random.choice(["PCMA", "PCMU"]), self.random.randbytes(20), self.media_time)
            rig.peer.send_reports((self.media_time, self.media_time), None, self.timers.now_s)
            rig.peer.tick(self.timers.now_s)

    def lose(self) -> None:
        """Viewers lose packets, or do no more, and are asked to hold pictures back accordingly."""
        for rig in self.rigs:
            assert rig.peer.video is not None
            rig.peer.video.patient = self.random.random() < 0.5

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
        media, repairs = rig.media_and_repairs()
        for datagram in media:
            assert sequence(datagram) in wanted
            assert known.get(sequence(datagram)) == datagram, "a packet was not sent again as it was"
        for datagram in repairs:
            number = int.from_bytes(datagram[12:14], "big")
            assert number in wanted
            assert datagram[4:8] == known[number][4:8], "a repair has another time"
            assert known[number].endswith(datagram[14:]), "a repair is not of the packet it names"
            self.happened["repair"] += 1


class BeginsBeforeAWrap(RtpVideoSender):
    """Begins shortly before the sequence number wraps, instead of at a random number below 2^15."""

    wrap = 1 << 16

    def __init__(
        self, sources: Any, ring: PacketRing, first_index: int, timestamp_offset: int, first_repair: int
    ) -> None:
        super().__init__(sources, ring, self.wrap - 500, timestamp_offset, self.wrap - 500)


class BeginsBeforeALongWrap(BeginsBeforeAWrap):
    """So late that the ROC itself outgrows 16 bits."""

    wrap = 1 << 32


@pytest.mark.parametrize("sender", [BeginsBeforeAWrap, BeginsBeforeALongWrap])
@pytest.mark.parametrize(("seed", "offer"), [(1, OFFER), (2, REPAIRED_OFFER), (3, EXTENDED_OFFER)])
def test_no_nonce_ever_protects_two_contents(
    seed: int, offer: Offer, sender: type[RtpVideoSender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webrtc_peer, "RtpVideoSender", sender)
    history = History(seed, offer)
    history.run(3000)
    for what in ("join", "replay", "resend", "move", "overrun", "wrap"):
        assert history.happened[what] > 0, f"the history never came to a {what}"
    assert history.happened["resend"] > 500
    assert (history.happened["repair"] > 500) is (offer is REPAIRED_OFFER)
    assert len(RecordingAesGcm.used) > 20_000


class AnswersFromTheNewestEpoch(RtpVideoSender):
    """The classic mistake: forgets that older numbers belong to an older epoch."""

    def resend(self, sequence: int) -> bytes | None:
        if not self.started:
            return super().resend(sequence)
        kept = self._epochs.copy()
        self._epochs.clear()
        now = self._epoch
        self._epochs.append(Epoch(0, now.offset, now.ring, now.srtp, now.timestamps))
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


class LooksInTheNewestStream(RtpVideoSender):
    """Forgets that older numbers belong to packets of another stream."""

    def resend(self, sequence: int) -> bytes | None:
        kept = [(epoch, epoch.ring) for epoch in self._epochs]
        for epoch, _ in kept:
            epoch.ring = self._ring
        try:
            return super().resend(sequence)
        finally:
            for epoch, ring in kept:
                epoch.ring = ring


@pytest.mark.parametrize(
    "broken", [AnswersFromTheNewestEpoch, UsesNumbersAgain, ForgetsTimestamps, LooksInTheNewestStream]
)
def test_the_model_notices_a_broken_sender(broken: type[RtpVideoSender], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_peer, "RtpVideoSender", broken)
    with pytest.raises(AssertionError, match=r"two contents|as it was"):
        History(0).run(3000)


class ChangesWhatWasSent(RtpVideoSender):
    """Asks for another delay without a new epoch."""

    def renew(self, unit: Any) -> None:
        self._epoch.srtp = self._sources.media(self._ring.encoding, 3 * self.patient)


def test_the_model_notices_a_delay_that_changes_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_peer, "RtpVideoSender", ChangesWhatWasSent)
    with pytest.raises(AssertionError, match=r"two contents|as it was"):
        History(0, EXTENDED_OFFER).run(3000)


class RenewsTooEarly(RtpVideoSender):
    """Opens an epoch while pictures of the last one still wait in the pacer."""

    def admit(self, unit: Any) -> None:
        if unit.keyframe:
            self.renew(unit)
        super().admit(unit)


def test_the_model_notices_an_epoch_that_is_renewed_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_peer, "RtpVideoSender", RenewsTooEarly)
    with pytest.raises((AssertionError, OverflowError)):
        History(0, EXTENDED_OFFER).run(3000)


class RepairsUnderOneNumber(RtpVideoSender):
    """Sends a packet of repair without counting it."""

    def _repair(self, repair: Any, sent: Any) -> bytes:
        self._next_repair = 7
        return super()._repair(repair, sent)


def test_the_model_notices_broken_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_peer, "RtpVideoSender", RepairsUnderOneNumber)
    with pytest.raises(NonceUsedTwice):
        History(0, REPAIRED_OFFER).run(3000)


def test_equal_sources_of_one_transport_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_peer, "distinct_ssrcs", lambda: (5, 5, 6))
    monkeypatch.setattr(webrtc_peer, "RtpVideoSender", BeginsBeforeAWrap)
    with pytest.raises(NonceUsedTwice):
        History(1, REPAIRED_OFFER).run(3000)
