"""GStreamer's RTSP server over UDP, over TLS, and where it allows one transport only."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from load_tests.camera_farm.certificate import CertificateKind, make_certificate
from mediasrv.rtsp_pull import RtspSource
from tests.integration.pull_rig import Pulled, pull_until_it_ends, pulling, until
from tests.peers.test_gstreamer_camera import SLOW_START, decoded_pictures, decoded_samples, gstreamer


def assert_whole(pulled: Pulled) -> None:
    report = pulled.pull.report
    assert decoded_pictures(pulled.video) == len(pulled.video)
    assert decoded_samples(pulled.audio) == sum(len(unit.payload) for unit in pulled.audio)
    assert all(later.dts > earlier.dts for earlier, later in itertools.pairwise(pulled.video))
    assert (report.lost_packets, report.damaged, report.resyncs) == (0, 0, 0)
    assert pulled.ends == []


async def test_over_udp_everything_arrives() -> None:
    settings = dataclasses.replace(SLOW_START, transport="udp")
    async with gstreamer() as url, pulling(RtspSource(url + "/pcma"), settings) as pulled:
        await until(lambda: len(pulled.video) >= 60 and len(pulled.audio) >= 60, 30)
        assert_whole(pulled)
        assert pulled.pull.report.camera_offset_us is not None, "sender reports come by a socket of their own"


@pytest.mark.parametrize(("only", "refused"), [("udp", "tcp"), ("tcp", "udp")])
async def test_where_it_allows_one_transport_that_one_is_found(only: str, refused: str) -> None:
    async with gstreamer() as url:
        source = RtspSource(f"{url}/only-{only}", preferred=refused)
        async with pulling(source, SLOW_START) as pulled:
            await until(lambda: len(pulled.video) >= 30 and len(pulled.audio) >= 30, 30)
            assert_whole(pulled)
            assert pulled.pull.report.transport == only
        error, _ = await pull_until_it_ends(source, dataclasses.replace(SLOW_START, transport=refused))
        assert error.code == "transport_refused"


async def test_over_tls_with_a_pinned_certificate(tmp_path: Path) -> None:
    certificate = make_certificate("camera", "127.0.0.1", CertificateKind.VALID)
    (tmp_path / "camera.pem").write_text(certificate.secret_pem)
    async with gstreamer("tls", str(tmp_path / "camera.pem")) as plain:
        url = plain.replace("rtsp://", "rtsps://") + "/pcma"
        error, _ = await pull_until_it_ends(RtspSource(url), SLOW_START)
        assert (error.code, certificate.sha256 in error.sentence) == ("tls_untrusted", True)
        async with pulling(RtspSource(url, tls_fingerprint=certificate.sha256), SLOW_START) as pulled:
            await until(lambda: len(pulled.video) >= 30 and len(pulled.audio) >= 30, 30)
            assert_whole(pulled)
            assert pulled.pull.report.transport == "tls"
