"""The load test of pulling, small: its figures come from a run that lost nothing."""

from __future__ import annotations

import json

import pytest

from load_tests import ingest


@pytest.mark.parametrize("watched", [True, False])
def test_a_small_run_accounts_for_every_access_unit(watched: bool, capsys: pytest.CaptureFixture[str]) -> None:
    status = ingest.main(["--cameras", "4", "--seconds", "2", "--json", *([] if watched else ["--unwatched"])])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 0
    assert result["access_units_kept"] == result["access_units_sent"] >= 4 * 40
    assert result["sounds"] >= 4 * 80
    assert result["ms_cpu_per_camera_s"] > 0
    assert (result["latency_ms_p50"] < 50) is watched, "who watches live does not wait for the beat"
