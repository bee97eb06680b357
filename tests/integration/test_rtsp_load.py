"""The load test of RTSP out, small: its figures come from a run that lost nothing."""

from __future__ import annotations

import json

import pytest

from load_tests import rtsp


@pytest.mark.parametrize("way", ["tcp", "udp", "tls"])
def test_a_small_run_loses_nothing(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = rtsp.main(["--readers", "4", "--seconds", "2", "--way", way, "--audio", "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 0
    assert (result["lost"], result["overruns"], result["way"]) == (0, 0, way)
    assert result["pictures"] >= 4 * 40
    assert result["ms_cpu_per_viewer_s"] > 0
