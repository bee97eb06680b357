"""SRTP and SRTCP: RFC 3711's key derivation, and libsrtp as the peer that must understand every packet."""

from __future__ import annotations

import contextlib
import random

import pylibsrtp
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.wire import rtcp, srtp
from mediasrv.wire.srtp import ReplayWindow, SrtcpReceiver, SrtcpSender, SrtpKeys, SrtpSender

KEYS = SrtpKeys(bytes(range(16)), bytes(range(100, 112)))
SSRC = 0xCAFEBABE


def libsrtp(kind: int) -> pylibsrtp.Session:
    return pylibsrtp.Session(
        pylibsrtp.Policy(
            key=KEYS.key + KEYS.salt,
            ssrc_type=kind,
            srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
        )
    )


def test_keys_are_derived_as_rfc_3711_b3_shows() -> None:
    master = SrtpKeys(bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139"), bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6"))
    assert srtp.derive(master, 0, 16) == bytes.fromhex("C61E7A93744F39EE10734AFE3FF7A087")
    assert srtp.derive(master, 2, 14) == bytes.fromhex("30CBBC08863D8C85D49DB34A9AE1")


def test_libsrtp_opens_runs_across_several_wraps_of_the_sequence_number() -> None:
    sender, receiver = SrtpSender(KEYS, SSRC, 102), libsrtp(pylibsrtp.Policy.SSRC_ANY_INBOUND)
    index, random_source = 65_500, random.Random(1)
    while index < 3 * 65_536 + 100:
        payloads = [random_source.randbytes(20) for _ in range(60)]
        joined = sender.protect_run(index, payloads, index * 10, True)
        size = len(joined) // 60
        for place, payload in enumerate(payloads):
            packet = receiver.unprotect(joined[place * size : (place + 1) * size])
            marker = 0x80 if place == 59 else 0
            header = bytes((0x80, 102 | marker)) + (index + place & 0xFFFF).to_bytes(2, "big")
            assert packet == header + (index * 10 & 0xFFFFFFFF).to_bytes(4, "big") + SSRC.to_bytes(4, "big") + payload
        index += 60


def test_a_packet_protected_alone_is_the_one_of_its_run() -> None:
    sender = SrtpSender(KEYS, SSRC, 102)
    payloads = [bytes([i]) * 10 for i in range(10)]
    index = 2**32 - 5  # the run lies across a wrap of the sequence number
    joined = sender.protect_run(index, payloads, 7, True)
    alone = [sender.protect_run(index + i, [payload], 7, i == 9) for i, payload in enumerate(payloads)]
    assert b"".join(alone) == joined


def test_libsrtp_opens_our_rtcp() -> None:
    sender, receiver = SrtcpSender(KEYS), libsrtp(pylibsrtp.Policy.SSRC_ANY_INBOUND)
    for count in range(5):
        report = rtcp.build_sender_report(rtcp.SenderReport(SSRC, 1 << 60, 9, count, 5), "name")
        assert receiver.unprotect_rtcp(sender.protect(report)) == report


def test_we_open_the_rtcp_of_libsrtp_once() -> None:
    sender, receiver = libsrtp(pylibsrtp.Policy.SSRC_ANY_OUTBOUND), SrtcpReceiver(KEYS)
    reports = [rtcp.build_receiver_report(source) for source in (1, 2, 1, 1)]
    sealed = [sender.protect_rtcp(report) for report in reports]
    assert [receiver.unprotect(data) for data in sealed] == reports
    for data in sealed:
        with pytest.raises(ProtocolError, match="twice"):
            receiver.unprotect(data)


def test_altered_rtcp_is_refused_whichever_bit_it_is() -> None:
    sealed = SrtcpSender(KEYS).protect(rtcp.build_receiver_report(1))
    for bit in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            SrtcpReceiver(KEYS).unprotect(bytes(altered))


def test_rtcp_that_is_authentic_but_not_encrypted_is_read() -> None:
    """RFC 7714, 9.3: with the E bit clear all of it is associated data."""
    compound, trailer = rtcp.build_receiver_report(7), (5).to_bytes(4, "big")
    salt = int.from_bytes(srtp.derive(KEYS, 5, 12), "big")
    nonce = (salt ^ 7 << 48 ^ 5).to_bytes(12, "big")
    tag = AESGCM(srtp.derive(KEYS, 3, 16)).encrypt(nonce, b"", compound + trailer)
    assert SrtcpReceiver(KEYS).unprotect(compound + tag + trailer) == compound


def test_a_forged_packet_does_not_move_the_replay_window() -> None:
    sender, receiver = SrtcpSender(KEYS), SrtcpReceiver(KEYS)
    first = sender.protect(rtcp.build_receiver_report(1))
    forged = first[:-4] + (0x80000000 | 1_000_000).to_bytes(4, "big")
    with pytest.raises(ProtocolError):
        receiver.unprotect(forged)
    assert receiver.unprotect(first)


def test_a_peer_cannot_open_windows_without_end() -> None:
    receiver = SrtcpReceiver(KEYS)
    reports = [SrtcpSender(KEYS).protect(rtcp.build_receiver_report(source)) for source in range(17)]
    for report in reports[:16]:
        receiver.unprotect(report)
    with pytest.raises(ProtocolError, match="too many"):
        receiver.unprotect(reports[16])


@given(st.lists(st.integers(0, 400), max_size=200))
def test_the_replay_window_accepts_no_index_twice_and_every_new_recent_one(indices: list[int]) -> None:
    window = ReplayWindow()
    seen: set[int] = set()
    for index in indices:
        newest = max(seen, default=-1)
        expected = index not in seen and index > newest - 128
        assert window.may_accept(index) == expected
        if expected:
            window.accept(index)
            seen.add(index)


@given(st.binary(max_size=100))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        SrtcpReceiver(KEYS).unprotect(data)


def test_keys_do_not_show_in_a_repr() -> None:
    assert KEYS.key.hex() not in repr(KEYS)
    assert repr(KEYS.key) not in repr(KEYS)


def test_the_tag_covers_the_header() -> None:
    joined = bytearray(SrtpSender(KEYS, SSRC, 102).protect_run(9, [b"picture"], 1, True))
    joined[1] ^= 0x80
    nonce = (int.from_bytes(srtp.derive(KEYS, 2, 12), "big") ^ SSRC << 48 ^ 9).to_bytes(12, "big")
    with pytest.raises(InvalidTag):
        AESGCM(srtp.derive(KEYS, 0, 16)).decrypt(nonce, bytes(joined[12:]), bytes(joined[:12]))
