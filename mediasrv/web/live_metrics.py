"""Metrics of what serves viewers: WebRTC, RTSP, and the workers that make renditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from mediasrv.serving.readers import ServeCounters
from mediasrv.transcoding.process import WorkerCounts
from mediasrv.web.metrics import Metric, Sample, counter
from mediasrv.wire.webrtc_peer import Counters

_UDP: Final = {
    "blocked": "Datagrams lost because the socket's buffer was full.",
    "unsegmented": "Addresses for which the kernel does not segment.",
    "send_errors": "Datagrams that the network refused.",
}
_WEBRTC: Final = {
    "datagrams": "Datagrams that came to the media port.",
    "strays": "Those that belong to no viewer.",
    "malformed": "Those that were malformed or not authentic.",
    "floods": "Those dropped unread: too many from one address.",
    "handshakes": "Viewers whose handshake was done.",
    "handshakes_failed": "Viewers whose handshake failed or took too long.",
    "packets": "RTP packets sent.",
    "packets_resent": "Packets sent again.",
    "resends_refused": "Packets asked for again that were too old, never sent, or too many.",
    "keyframe_requests": "Requests for a keyframe.",
    "replays": "Times that one was answered with the cached GOP.",
    "overruns": "Times that a viewer's queue was cut to the next keyframe.",
    "thinned": "Times that pictures were left out since a line carried less than its stream.",
    **_UDP,
    "connections": "TCP connections of viewers that were accepted.",
    "connections_refused": "TCP connections beyond the bounds.",
    "consent_lost": "Viewers that vanished.",
    "viewer_failures": "Viewers dropped by a fault of ours.",
}
_RTSP: Final = {
    "connections": "Connections to the RTSP door.",
    "refused": "Those beyond its bounds.",
    "protocol_errors": "Those that broke the protocol.",
    "readers": "Times that somebody began to read a stream.",
    "sent_bytes": "Media and reports sent to readers.",
    "overruns": "Times that a slow reader lost to the next keyframe.",
    "skipped": "Pictures that such readers were not sent.",
    "stalled": "Readers ended because they took nothing.",
    "revoked": "Readers ended because their right was gone.",
    "failures": "Connections that a fault of ours ended.",
    **_UDP,
}


def worker_metrics(workers: Mapping[str, WorkerCounts]) -> Iterable[Metric]:
    """By job: `video`, `audio`, `jpeg`."""

    def metric(name: str, kind: str, help_text: str, value: Callable[[WorkerCounts], float]) -> Metric:
        samples = [Sample({"job": job}, value(counts)) for job, counts in workers.items()]
        return Metric(f"mediasrv_worker{name}", kind, help_text, samples)

    yield metric("s", "gauge", "Worker processes.", lambda counts: counts.running)
    yield metric("_starts_total", "counter", "Worker processes that were started.", lambda counts: counts.started)
    yield metric("_failures_total", "counter", "Workers that ended by themselves.", lambda counts: counts.failed)
    yield metric("_hangs_total", "counter", "Workers ended because they hung.", lambda counts: counts.hung)
    yield metric("_dropped_total", "counter", "Access units dropped: a worker was behind.", lambda one: one.dropped)
    yield metric("_damaged_total", "counter", "Access units that could not be decoded.", lambda one: one.damaged)
    yield metric("_cpu_seconds_total", "counter", "CPU of worker processes.", lambda counts: counts.cpu_us / 1e6)


def rtsp_metrics(counts: ServeCounters) -> Iterable[Metric]:
    """Of connections to the RTSP door and of its readers since the start, by the names of `_RTSP`."""
    return _counters("rtsp", counts, _RTSP)


def webrtc_metrics(counts: Counters) -> Iterable[Metric]:
    """Of viewers and their packets since the start, by the names of `_WEBRTC`."""
    return _counters("webrtc", counts, _WEBRTC)


def _counters(door: str, counts: ServeCounters | Counters, helps: Mapping[str, str]) -> Iterable[Metric]:
    """A counter for each field of `counts` that is named."""
    for name, help_text in helps.items():
        yield counter(f"mediasrv_{door}_{name}_total", help_text, getattr(counts, name))
