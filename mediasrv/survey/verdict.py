"""From what was found out about a device to a verdict and a reason code. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mediasrv.survey.findings import Failure, Findings, Measured, StreamFindings

USABLE_CODECS: Final = frozenset({"", "h264", "h265"})
"""An empty one is not known before the stream is pulled."""
UNREACHABLE: Final = frozenset({"host_unreachable", "name_unresolved"})
_REFUSED_HERE: Final = frozenset({"address_refused", "address_invalid", "udp_ports_used", "camera_failed"})
"""Says nothing about the device: we never got as far as it."""
_OF_DEVICE: Final = UNREACHABLE | _REFUSED_HERE | {
    "port_closed", "credentials_wrong", "credentials_missing", "tls_untrusted", "tls_failed", "redirect_refused"
}  # fmt: skip
"""Failures that the other stream of the device would share: it is not tried."""


class Verdict(StrEnum):
    ELIGIBLE = "eligible"
    SUBSTREAM_ONLY = "substream_only"
    NOT_ELIGIBLE = "not_eligible"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stream may be like. 0 means no bound for a bitrate. `refused_warnings` are warnings of a device that this
    server does not link."""

    most_lost_share: float
    most_keyframe_s: float
    most_stream_kbps: int
    most_site_kbps: int
    clock_alarm_s: float
    refused_warnings: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """`code` is why: of an eligible device its first remark, or `survey_passed`. `remarks` are codes of what does not
    keep the device from being linked, the gravest first. `sentence` is more than the code says, where more is known."""

    verdict: Verdict
    code: str
    sentence: str = ""
    remarks: tuple[str, ...] = ()


def stream_flaw(stream: StreamFindings, limits: Limits, site_kbps: int = 0) -> Failure | None:
    """Why this stream cannot be linked; None where it can. `site_kbps` is what others take of the site's line."""
    if stream.profile.codec not in USABLE_CODECS:
        return Failure("codec_unsupported", f"The camera's largest picture is in {stream.profile.codec.upper()}.")
    if stream.failure is not None:
        return stream.failure
    if stream.measured is None:
        return Failure("survey_unfinished")
    return _measured_flaw(stream.measured, limits, site_kbps)


def _measured_flaw(measured: Measured, limits: Limits, site_kbps: int) -> Failure | None:
    if measured.lost_share > limits.most_lost_share:
        return Failure("loss_too_high")
    if measured.keyframe_interval_s is None:
        return Failure("keyframe_missing")
    if limits.most_stream_kbps and measured.bitrate_kbps > limits.most_stream_kbps:
        return Failure("bitrate_too_high")
    if limits.most_site_kbps and site_kbps + measured.bitrate_kbps > limits.most_site_kbps:
        return Failure("line_full")
    return None


def is_shared(flaw: Failure) -> bool:
    """Whether the device's other stream would fail the same way."""
    return flaw.code in _OF_DEVICE


def judge(findings: Findings, limits: Limits, site_kbps: int = 0) -> Judgement:
    """The verdict over a device whose survey has ended."""
    if findings.in_service:
        return _judge_in_service(findings)
    failure = _device_failure(findings, limits)
    if failure is not None:
        return Judgement(Verdict.NOT_ELIGIBLE, failure.code, failure.sentence)
    if findings.main is None:
        return Judgement(Verdict.NOT_ELIGIBLE, "no_profile")
    flaw = stream_flaw(findings.main, limits, site_kbps)
    if flaw is None:
        remarks = tuple(_remarks(findings, findings.main, limits))
        return Judgement(Verdict.ELIGIBLE, remarks[0] if remarks else "survey_passed", "", remarks)
    if findings.sub is not None and stream_flaw(findings.sub, limits, site_kbps) is None:
        remarks = tuple(_remarks(findings, findings.sub, limits))
        return Judgement(Verdict.SUBSTREAM_ONLY, flaw.code, flaw.sentence, remarks)
    return Judgement(Verdict.NOT_ELIGIBLE, flaw.code, flaw.sentence)


def _judge_in_service(findings: Findings) -> Judgement:
    if findings.failure is not None:
        return Judgement(Verdict.NOT_ELIGIBLE, findings.failure.code, findings.failure.sentence, ("in_service",))
    return Judgement(Verdict.ELIGIBLE, "in_service", "", ("in_service",))


def _device_failure(findings: Findings, limits: Limits) -> Failure | None:
    if findings.failure is not None:
        return findings.failure
    if findings.reading is None:
        return Failure("survey_unfinished")
    refused = next((code for code in findings.reading.warnings if code in limits.refused_warnings), None)
    return Failure(refused) if refused else findings.reading.failure


def _remarks(findings: Findings, stream: StreamFindings, limits: Limits) -> Iterator[str]:
    measured, clock = stream.measured, findings.clock
    if findings.reading is not None:
        yield from findings.reading.warnings
    if clock is None:
        yield "clock_not_told"
    elif abs(clock.offset_s) - clock.uncertainty_s > limits.clock_alarm_s:
        yield "clock_off"
    if measured is None:
        return
    if (stream.keyframe_interval_s or 0.0) > limits.most_keyframe_s:
        yield "keyframes_rare"
    if measured.codec == "h265" and not _has_h264_beside(findings):
        yield "h265_only"
    if stream.profile.audio and not measured.audio:
        yield "audio_unsupported"


def _has_h264_beside(findings: Findings) -> bool:
    return findings.reading is not None and findings.reading.sub is not None and findings.reading.sub.codec == "h264"


def is_reachable(findings: Findings) -> bool | None:
    """Whether anything answered at the address; None where nobody knows, since nothing was sent there."""
    failure = findings.failure or (findings.main.failure if findings.main and findings.onvif is None else None)
    if failure is None:
        return None if findings.reading is None else True
    if failure.code in _REFUSED_HERE:
        return None
    return failure.code not in UNREACHABLE


def credentials_state(findings: Findings) -> str:
    """`accepted`, `refused`, `missing`, or `unknown` where nobody asked for them."""
    streams = [stream for stream in (findings.main, findings.sub) if stream is not None]
    failures = {one.code for one in (findings.failure, *(stream.failure for stream in streams)) if one is not None}
    if "credentials_wrong" in failures:
        return "refused"
    if "credentials_missing" in failures:
        return "missing"
    answered = findings.onvif or findings.in_service or any(stream.measured for stream in streams)
    return "accepted" if answered and findings.failure is None else "unknown"
