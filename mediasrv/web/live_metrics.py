"""Metrics of what serves viewers: WebRTC, RTSP, and the workers that make renditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from mediasrv.web.metrics import Metric, Sample, counter

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
    "blocked": "Datagrams lost because the socket's buffer was full.",
    "unsegmented": "Addresses for which the kernel does not segment.",
    "send_errors": "Datagrams that the network refused.",
    "connections": "TCP connections of viewers that were accepted.",
    "connections_refused": "TCP connections beyond the bounds.",
    "consent_lost": "Viewers that vanished.",
    "viewer_failures": "Viewers dropped by a fault of ours.",
}


class WorkerCounts(Protocol):
    """What became of the worker processes for one job."""

    @property
    def running(self) -> int: ...

    @property
    def started(self) -> int: ...

    @property
    def failed(self) -> int: ...

    @property
    def hung(self) -> int: ...

    @property
    def dropped(self) -> int: ...

    @property
    def damaged(self) -> int: ...

    @property
    def cpu_us(self) -> int: ...


class RtspCounts(Protocol):
    """What became of connections to the RTSP door and of its readers, since the start."""

    @property
    def connections(self) -> int: ...

    @property
    def refused(self) -> int: ...

    @property
    def readers(self) -> int: ...

    @property
    def bytes_sent(self) -> int: ...

    @property
    def overruns(self) -> int: ...

    @property
    def stalled(self) -> int: ...


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


def rtsp_metrics(counts: RtspCounts) -> Iterable[Metric]:
    yield counter("mediasrv_rtsp_connections_total", "Connections to the RTSP door.", counts.connections)
    yield counter("mediasrv_rtsp_refused_total", "Those beyond its bounds.", counts.refused)
    yield counter("mediasrv_rtsp_readers_total", "Times that somebody began to read a stream.", counts.readers)
    yield counter("mediasrv_rtsp_sent_bytes_total", "Media and reports sent to readers.", counts.bytes_sent)
    yield counter(
        "mediasrv_rtsp_overruns_total", "Times that a slow reader lost to the next keyframe.", counts.overruns
    )
    yield counter("mediasrv_rtsp_stalled_total", "Readers ended because they took nothing.", counts.stalled)


def webrtc_metrics(counts: Mapping[str, int]) -> Iterable[Metric]:
    """Of viewers and their packets since the start, by the names of `_WEBRTC`."""
    for name, help_text in _WEBRTC.items():
        yield counter(f"mediasrv_webrtc_{name}_total", help_text, counts[name])
