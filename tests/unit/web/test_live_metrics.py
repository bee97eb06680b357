"""Nothing that is counted of viewers is kept from the metrics."""

from __future__ import annotations

import dataclasses

from mediasrv.serving.readers import ServeCounters
from mediasrv.web.live_metrics import rtsp_metrics, webrtc_metrics
from mediasrv.web.metrics import render
from mediasrv.wire.webrtc_peer import Counters


def test_every_counter_of_webrtc_is_told_with_its_value() -> None:
    names = [field.name for field in dataclasses.fields(Counters)]
    text = render(webrtc_metrics(Counters(**{name: number for number, name in enumerate(names, 1)})))
    for number, name in enumerate(names, 1):
        assert f"mediasrv_webrtc_{name}_total {number}" in text.splitlines()


def test_every_counter_of_rtsp_is_told_with_its_value() -> None:
    names = [field.name for field in dataclasses.fields(ServeCounters)]
    text = render(rtsp_metrics(ServeCounters(**{name: number for number, name in enumerate(names, 1)})))
    for number, name in enumerate(names, 1):
        assert f"mediasrv_rtsp_{name}_total {number}" in text.splitlines()
