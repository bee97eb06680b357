"""Nothing that is counted of viewers is kept from the metrics."""

from __future__ import annotations

import dataclasses

from mediasrv.web.live_metrics import webrtc_metrics
from mediasrv.web.metrics import render
from mediasrv.wire.webrtc_peer import Counters


def test_every_counter_of_webrtc_is_told_with_its_value() -> None:
    names = [field.name for field in dataclasses.fields(Counters)]
    counters = Counters(**{name: number for number, name in enumerate(names, 1)})
    text = render(webrtc_metrics(dataclasses.asdict(counters)))
    for number, name in enumerate(names, 1):
        assert f"mediasrv_webrtc_{name}_total {number}" in text.splitlines()
