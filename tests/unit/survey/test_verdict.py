"""Every reason code of a survey, from findings alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mediasrv.reasons import reason
from mediasrv.survey import Findings, StreamFindings, Verdict, judge
from mediasrv.survey.findings import ClockOffset, Failure, Measured
from mediasrv.survey.verdict import credentials_state, is_reachable, is_shared, stream_flaw
from tests.unit.survey.devices import GOOD, LIMITS, MAIN, MEASURED, READING, SUB

SUB_MEASURED = replace(MEASURED, width=640, height=360, bitrate_kbps=400)


def with_main(**changes: Any) -> Findings:
    return replace(GOOD, main=StreamFindings(MAIN, replace(MEASURED, **changes)))


def with_sub(findings: Findings, measured: Measured = SUB_MEASURED) -> Findings:
    return replace(findings, sub=StreamFindings(SUB, measured))


def verdict_of(findings: Findings, **limits: Any) -> tuple[Verdict, str]:
    judged = judge(findings, replace(LIMITS, **limits))
    return judged.verdict, judged.code


# --- eligible ---------------------------------------------------------------------------------------


def test_a_camera_without_fault_is_eligible_without_remark() -> None:
    assert judge(GOOD, LIMITS) == replace(
        judge(GOOD, LIMITS), verdict=Verdict.ELIGIBLE, code="survey_passed", remarks=()
    )


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        (replace(GOOD, reading=replace(READING, warnings=("password_default",))), "password_default"),
        (replace(GOOD, reading=replace(READING, clock=ClockOffset(-40.0, 0.5))), "clock_off"),
        (replace(GOOD, reading=replace(READING, clock=None)), "clock_not_told"),
        (with_main(keyframe_interval_s=10.1), "keyframes_rare"),
        (replace(with_main(codec="h265"), reading=replace(READING, sub=None)), "h265_only"),
        (with_main(audio=""), "audio_unsupported"),
    ],
)
def test_what_is_unwise_is_a_remark_and_no_refusal(findings: Findings, code: str) -> None:
    assert verdict_of(findings) == (Verdict.ELIGIBLE, code)
    assert judge(findings, LIMITS).remarks == (code,)


def test_remarks_come_gravest_first_and_all_of_them() -> None:
    found = replace(
        with_main(audio="", keyframe_interval_s=30.0), reading=replace(READING, warnings=("password_empty",))
    )
    assert judge(found, LIMITS).remarks == ("password_empty", "keyframes_rare", "audio_unsupported")


def test_what_lies_on_the_bound_is_within_it() -> None:
    assert verdict_of(with_main(packets=998, lost_packets=2))[0] is Verdict.ELIGIBLE
    assert verdict_of(with_main(keyframe_interval_s=10.0))[1] == "survey_passed"
    assert verdict_of(replace(GOOD, reading=replace(READING, clock=ClockOffset(1.5, 0.5))))[1] == "survey_passed"


def test_h265_beside_a_substream_in_h264_needs_no_remark() -> None:
    assert verdict_of(with_main(codec="h265")) == (Verdict.ELIGIBLE, "survey_passed")


def test_less_than_a_whole_keyframe_interval_is_at_least_what_is_declared() -> None:
    slow = replace(MAIN, gop_units=500)
    cut_short = replace(MEASURED, keyframe_interval_s=3.0, keyframes=1)
    assert StreamFindings(slow, cut_short).keyframe_interval_s == 20.0
    assert StreamFindings(slow, MEASURED).keyframe_interval_s == 2.0  # what was seen counts
    assert verdict_of(replace(GOOD, main=StreamFindings(slow, cut_short)))[1] == "keyframes_rare"
    assert verdict_of(with_main(keyframe_interval_s=None, keyframes=0))[1] == "keyframe_missing"


def test_the_clock_of_a_plain_rtsp_camera_is_that_of_its_sender_reports() -> None:
    rtsp = replace(with_main(clock=ClockOffset(7.0, 0.01)), onvif=None, reading=replace(READING, clock=None))
    assert verdict_of(rtsp) == (Verdict.ELIGIBLE, "clock_off")


# --- main cannot be linked --------------------------------------------------------------------------

FLAWS = [
    (with_main(packets=990, lost_packets=10), "loss_too_high", {}),
    (with_main(keyframe_interval_s=None), "keyframe_missing", {}),
    (with_main(), "bitrate_too_high", {"most_stream_kbps": 3999}),
    (with_main(), "line_full", {"most_site_kbps": 3999}),
    (replace(GOOD, main=StreamFindings(replace(MAIN, codec="mpeg4"))), "codec_unsupported", {}),
    (replace(GOOD, main=StreamFindings(MAIN, failure=Failure("stalled"))), "stalled", {}),
    (
        replace(GOOD, main=StreamFindings(MAIN, failure=Failure("interleaving_unsupported"))),
        "interleaving_unsupported",
        {},
    ),
]


@pytest.mark.parametrize(("findings", "code", "limits"), FLAWS)
def test_a_flaw_of_main_leaves_the_substream_where_that_is_good(
    findings: Findings, code: str, limits: dict[str, int]
) -> None:
    assert verdict_of(findings, **limits) == (Verdict.NOT_ELIGIBLE, code)
    assert verdict_of(with_sub(findings), **limits) == (Verdict.SUBSTREAM_ONLY, code)


def test_two_bad_streams_are_not_eligible_for_the_reason_of_main() -> None:
    bad = with_sub(with_main(packets=990, lost_packets=10), replace(SUB_MEASURED, keyframe_interval_s=None))
    assert verdict_of(bad) == (Verdict.NOT_ELIGIBLE, "loss_too_high")


def test_what_others_take_of_the_line_counts() -> None:
    limits = replace(LIMITS, most_site_kbps=10_000)
    assert judge(GOOD, limits, 6000).verdict is Verdict.ELIGIBLE
    assert judge(with_sub(GOOD), limits, 6001).verdict is Verdict.SUBSTREAM_ONLY
    assert judge(with_sub(GOOD), limits, 9601).code == "line_full"
    assert judge(with_sub(GOOD), limits, 9601).verdict is Verdict.NOT_ELIGIBLE


def test_remarks_of_a_substream_are_about_it() -> None:
    found = with_sub(with_main(packets=990, lost_packets=10), replace(SUB_MEASURED, keyframe_interval_s=20.0))
    assert judge(found, LIMITS).remarks == ("keyframes_rare",)


# --- the device cannot be linked --------------------------------------------------------------------

DEVICE_CODES = ["host_unreachable", "port_closed", "credentials_wrong", "onvif_failed", "address_refused"]


@pytest.mark.parametrize("code", DEVICE_CODES)
def test_a_device_that_cannot_be_read_is_not_eligible_and_says_why(code: str) -> None:
    judged = judge(Findings(failure=Failure(code, "More is known.")), LIMITS)
    assert (judged.verdict, judged.code, judged.sentence) == (Verdict.NOT_ELIGIBLE, code, "More is known.")


def test_a_device_without_a_profile_is_not_eligible() -> None:
    assert (
        verdict_of(Findings(onvif=True, reading=replace(READING, main=None, failure=Failure("no_profile"))))[1]
        == "no_profile"
    )
    assert verdict_of(Findings(onvif=True, reading=replace(READING, main=None))) == (Verdict.NOT_ELIGIBLE, "no_profile")


def test_a_weak_password_is_a_refusal_where_the_policy_says_so() -> None:
    weak = replace(GOOD, reading=replace(READING, warnings=("password_default",)))
    refused = {"refused_warnings": frozenset({"password_default"})}
    assert verdict_of(weak, **refused) == (Verdict.NOT_ELIGIBLE, "password_default")


def test_nothing_is_eligible_that_was_not_measured() -> None:
    assert verdict_of(Findings()) == (Verdict.NOT_ELIGIBLE, "survey_unfinished")
    assert verdict_of(replace(GOOD, main=StreamFindings(MAIN))) == (Verdict.NOT_ELIGIBLE, "survey_unfinished")


def test_a_camera_in_service_shows_how_it_is_doing() -> None:
    live = replace(GOOD, main=StreamFindings(MAIN), in_service=True)
    assert verdict_of(live) == (Verdict.ELIGIBLE, "in_service")
    lost = replace(live, failure=Failure("camera_lost"))
    assert verdict_of(lost) == (Verdict.NOT_ELIGIBLE, "camera_lost")
    assert judge(lost, LIMITS).remarks == ("in_service",)


# --- what else is told ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "reachable", "credentials"),
    [
        (GOOD, True, "accepted"),
        (Findings(), None, "unknown"),
        (Findings(failure=Failure("host_unreachable")), False, "unknown"),
        (Findings(failure=Failure("port_closed")), True, "unknown"),
        (Findings(failure=Failure("address_refused")), None, "unknown"),
        (Findings(onvif=True, failure=Failure("credentials_wrong")), True, "refused"),
        (Findings(onvif=True, failure=Failure("credentials_missing")), True, "missing"),
        (replace(GOOD, main=StreamFindings(MAIN, failure=Failure("credentials_wrong"))), True, "refused"),
        (replace(GOOD, onvif=None, main=StreamFindings(MAIN, failure=Failure("host_unreachable"))), False, "unknown"),
    ],
)
def test_reachable_and_credentials(findings: Findings, reachable: bool | None, credentials: str) -> None:
    assert (is_reachable(findings), credentials_state(findings)) == (reachable, credentials)


def test_a_flaw_that_the_other_stream_shares_is_known_as_such() -> None:
    assert is_shared(Failure("credentials_wrong"))
    assert not is_shared(Failure("stream_not_found"))
    assert stream_flaw(StreamFindings(MAIN, MEASURED), LIMITS) is None


@pytest.mark.parametrize("code", ["survey_passed", "in_service", "keyframes_rare", "h265_only", "audio_unsupported",
                                  "survey_unfinished", *(code for _, code, _ in FLAWS)])  # fmt: skip
def test_every_code_has_a_sentence_in_both_languages(code: str) -> None:
    known = reason(code)
    assert code not in (known.sentence, known.sentence_vi)
    assert known.sentence != known.sentence_vi
