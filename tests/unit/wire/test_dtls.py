"""DTLS: a handshake with OpenSSL's client, datagram by datagram, with loss, strangers and nonsense."""

from __future__ import annotations

import contextlib
import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from mediasrv.errors import ProtocolError
from mediasrv.wire.dtls import DATAGRAM_BYTES, DtlsIdentity, DtlsServer, Fingerprint, parse_fingerprint

MADE_AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SERVER = DtlsIdentity(MADE_AT)
VIEWER = DtlsIdentity(MADE_AT)


class Client:
    """OpenSSL's DTLS client on memory buffers."""

    def __init__(self, context: SSL.Context = VIEWER.context) -> None:
        self.ssl = SSL.Connection(context, None)
        self.ssl.set_connect_state()
        self.ssl.set_ciphertext_mtu(DATAGRAM_BYTES)
        self.done = False

    def step(self, datagrams: list[bytes]) -> list[bytes]:
        """Takes datagrams, returns records: each a datagram of its own."""
        for datagram in datagrams:
            self.ssl.bio_write(datagram)
        with contextlib.suppress(SSL.WantReadError):
            self.ssl.do_handshake()
            self.done = True
        with contextlib.suppress(SSL.Error):
            flight = self.ssl.bio_read(65536)
            return [flight[at:end] for at, end in _records(flight)]
        return []


def _records(flight: bytes) -> list[tuple[int, int]]:
    spans, at = [], 0
    while at < len(flight):
        end = at + 13 + int.from_bytes(flight[at + 11 : at + 13], "big")
        spans.append((at, end))
        at = end
    return spans


def handshake(client: Client, server: DtlsServer) -> None:
    flight = client.step([])
    for _ in range(10):
        for datagram in flight:
            server.receive(datagram)
        flight = client.step(server.datagrams_to_send())
        if client.done and not flight:
            return


def server(*peer: Fingerprint) -> DtlsServer:
    return DtlsServer(SERVER, peer or (VIEWER.fingerprint,))


def test_both_sides_hold_the_same_keys_crossed() -> None:
    client, ours = Client(), server()
    handshake(client, ours)
    material = client.ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", 56, None)
    assert ours.remote_keys is not None
    assert ours.local_keys is not None
    assert (ours.remote_keys.key, ours.local_keys.key) == (material[:16], material[16:32])
    assert (ours.remote_keys.salt, ours.local_keys.salt) == (material[32:44], material[44:])
    assert client.ssl.get_selected_srtp_profile() == b"SRTP_AEAD_AES_128_GCM"
    assert ours.timeout_s() is None


def test_a_certificate_that_was_not_announced_gets_no_keys() -> None:
    stranger = Fingerprint("sha-256", bytes(32))
    ours = server(VIEWER.fingerprint, stranger)
    with pytest.raises(ProtocolError) as refused:
        handshake(Client(), ours)
    assert refused.value.code == "dtls_fingerprint"
    assert ours.local_keys is None


def test_a_viewer_without_gcm_gets_the_profile_that_all_know() -> None:
    identity = DtlsIdentity(MADE_AT)
    identity.context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
    ours = server(identity.fingerprint)
    handshake(Client(identity.context), ours)
    assert ours.local_keys is not None
    assert (ours.local_keys.aead, len(ours.local_keys.key), len(ours.local_keys.salt)) == (False, 16, 14)


def test_a_viewer_without_gcm_is_refused_where_the_settings_say_so() -> None:
    identity = DtlsIdentity(MADE_AT)
    identity.context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
    ours = DtlsServer(DtlsIdentity(MADE_AT, srtp_sha1=False), (identity.fingerprint,))
    with pytest.raises(ProtocolError) as refused:
        handshake(Client(identity.context), ours)
    assert refused.value.code == "srtp_profile"
    assert ours.local_keys is None


def test_a_flight_is_sent_once_and_its_repetition_is_due_within_a_second() -> None:
    client, ours = Client(), server()
    assert ours.timeout_s() is None
    for datagram in client.step([]):
        ours.receive(datagram)
    assert ours.datagrams_to_send()
    due_s = ours.timeout_s()
    assert due_s is not None
    assert 0.5 < due_s <= 1.0
    ours.handle_timeout()
    assert ours.datagrams_to_send() == []


def test_the_viewers_goodbye_is_noticed_and_ours_is_sent() -> None:
    client, ours = Client(), server()
    handshake(client, ours)
    ours.close()
    [goodbye] = ours.datagrams_to_send()
    client.ssl.bio_write(goodbye)
    with pytest.raises(SSL.ZeroReturnError):
        client.ssl.recv(100)
    client.ssl.shutdown()
    ours.receive(client.ssl.bio_read(65536))
    assert ours.closed


def test_no_datagram_is_longer_than_the_smallest_path() -> None:
    client, ours = Client(), server()
    for datagram in client.step([]):
        ours.receive(datagram)
    assert all(len(datagram) <= DATAGRAM_BYTES for datagram in ours.datagrams_to_send())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=5))
def test_nonsense_before_or_after_the_handshake_does_not_get_out(datagrams: list[bytes]) -> None:
    client, ours = Client(), server()
    for datagram in datagrams:
        with contextlib.suppress(ProtocolError):
            ours.receive(b"\x16" + datagram)
    handshake(client, ours)
    for datagram in datagrams:
        with contextlib.suppress(ProtocolError):
            ours.receive(b"\x17" + datagram)


def test_fingerprints_are_read_strictly_and_weak_hashes_are_not_taken() -> None:
    assert parse_fingerprint("SHA-256", VIEWER.fingerprint.value.hex(":").upper()) == VIEWER.fingerprint
    assert parse_fingerprint("sha-1", "AA:BB") is None
    for broken in ("", "zz", "AA:BB"):
        with pytest.raises(ProtocolError):
            parse_fingerprint("sha-256", broken)
